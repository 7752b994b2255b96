"""``paceline cron``: tasks that the cluster runs at moments of the wall clock."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import click

from paceline.cli.asking import asks_the_leader, connected, task_name
from paceline.cli.options import parse_value, to_json
from paceline.cli.output import show
from paceline.cli.submit import asks_for_options, checked_name, given_options, parse_keywords
from paceline.errors import UnknownSchedule
from paceline.schedules import Timetable, at, cron, every
from paceline_protocol.messages.schedules import MISFIRES_MAX
from paceline_protocol.moments import read_moment, read_time, shown
from paceline_protocol.texts import one_line

if TYPE_CHECKING:
    from paceline.client import ScheduledTask

MOMENTS_SHOWN: Final = 5
MOMENTS_SHOWN_MAX: Final = 1_000


@click.group("cron", no_args_is_help=False)
def schedules() -> None:
    """Have tasks run at moments of the wall clock, and show what became of these."""


def _schedule_name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    name = task_name(ctx, param, value)
    assert name is not None, "an argument that is required"
    return name


_named = click.argument("name", metavar="NAME", callback=_schedule_name)


@schedules.command("ls")
@click.option("--name", metavar="NAME", callback=task_name, help="Only such. * stands for any characters.")
@asks_the_leader(30.0)
def list_schedules(name: str | None, timeout_s: float, as_json: bool, **where: Any) -> None:
    """List schedules, with the next moment of each, its last firing and what became of that."""
    with connected(**where) as client:
        found = list(client.schedules(name, timeout_s))
    if as_json:
        show(to_json({"schedules": [_as_json(each) for each in found]}))
    else:
        show(*_lines(found))


@schedules.command("next")
@_named
@click.option(
    "-n",
    "--count",
    type=click.IntRange(1, MOMENTS_SHOWN_MAX),
    default=MOMENTS_SHOWN,
    show_default=True,
    help="Show so many moments.",
)
@asks_the_leader(30.0)
def next_moments(name: str, count: int, timeout_s: float, as_json: bool, **where: Any) -> None:
    """Show the next moments of a schedule, in UTC. One that is paused, or over, has none."""
    with connected(**where) as client:
        found = next((each for each in client.schedules(name, timeout_s) if each.name == name), None)
    if found is None:
        raise UnknownSchedule(name)
    moments = [shown(moment) for moment in islice(found.moments(), count)]
    if as_json:
        show(to_json({"name": name, "next": moments}))
    else:
        show(*moments)


@schedules.command()
@_named
@click.argument("task", metavar="TASK", callback=checked_name)
@click.argument("args", nargs=-1)
@click.option("--kw", "keywords", multiple=True, metavar="KEY=VALUE", help="A keyword argument; may be repeated.")
@click.option("--cron", "expression", metavar="EXPRESSION", help="At these moments: '30 2 * * MON-FRI', or @daily.")
@click.option("--tz", metavar="ZONE", help="Of --cron: the time zone. Default: UTC.")
@click.option("--every", "interval", metavar="TIME", help="Every so often: 30, 5m, 1h30m.")
@click.option("--at", "moment", metavar="MOMENT", help="Once: 2026-12-01T02:00+01:00.")
@click.option(
    "--misfire",
    type=click.Choice(("skip", "once", "all")),
    default="once",
    show_default=True,
    help="What becomes of moments at which nobody could fire: nothing, the last is made up for, or all are.",
)
@click.option(
    "--misfire-limit",
    type=click.IntRange(1, MISFIRES_MAX),
    default=100,
    show_default=True,
    help="Of --misfire all: no more than the last so many.",
)
@click.option(
    "--overlap",
    type=click.Choice(("allow", "skip", "queue")),
    default="allow",
    show_default=True,
    help="What becomes of a moment while a task of an earlier one has not ended: it fires, is left out, or waits.",
)
@asks_for_options
@asks_the_leader(30.0)
def add(
    name: str,
    task: str,
    args: tuple[str, ...],
    keywords: tuple[str, ...],
    expression: str | None,
    tz: str | None,
    interval: str | None,
    moment: str | None,
    misfire: Any,
    misfire_limit: int,
    overlap: Any,
    timeout_s: float,
    as_json: bool,
    addresses: tuple[str, ...],
    cluster_path: str | None,
    connect_timeout_s: float,
    **options: Any,
) -> None:
    """Have TASK run at moments, as the schedule NAME. One of that name makes way for it.

    TASK and ARGS are those of `paceline submit`. What no option says is as `@task` says it where the nodes run the
    task, and counts from each firing on.

    \b
    paceline cron add nightly reports.build --cron '0 2 * * *' --tz Europe/Berlin --overlap skip
    paceline cron add beat tasks.beat --every 5m
    """
    from paceline.client import NamedTask

    when = _timetable(expression, tz, interval, moment)
    target = NamedTask(task, **given_options(options))
    with connected(addresses, cluster_path, connect_timeout_s) as client:
        is_changed = client.add_schedule(
            name,
            when,
            target,
            args=[parse_value(text) for text in args],
            kwargs=parse_keywords(keywords),
            misfire=misfire,
            misfire_limit=misfire_limit,
            overlap=overlap,
            timeout=timeout_s,
        )
    _tell(name, "added" if is_changed else "unchanged", as_json)


def _timetable(expression: str | None, tz: str | None, interval: str | None, moment: str | None) -> Timetable:
    if sum(given is not None for given in (expression, interval, moment)) != 1:
        raise click.UsageError("say when: --cron EXPRESSION, --every TIME or --at MOMENT, one of them")
    if tz is not None and expression is None:
        raise click.UsageError("--tz is the zone of --cron")
    if expression is not None:
        return cron(expression, tz=tz or "UTC")
    try:
        if interval is not None:
            return every(seconds=read_time(interval).total_seconds())
        return at(read_moment(moment or ""))
    except ValueError as error:
        what = "--every" if interval is not None else "--at"
        raise click.BadParameter(f"{interval or moment!r} can't be used: {error}.", param_hint=what) from None


@schedules.command("rm")
@_named
@asks_the_leader(30.0)
def remove(name: str, timeout_s: float, as_json: bool, **where: Any) -> None:
    """Remove a schedule. Tasks that it has made stay."""
    with connected(**where) as client:
        client.remove_schedule(name, timeout_s)
    _tell(name, "removed", as_json)


@schedules.command()
@_named
@asks_the_leader(30.0)
def pause(name: str, timeout_s: float, as_json: bool, **where: Any) -> None:
    """Let a schedule fire no more until it is resumed."""
    with connected(**where) as client:
        is_changed = client.pause_schedule(name, timeout_s)
    _tell(name, "paused" if is_changed else "unchanged", as_json)


@schedules.command()
@_named
@asks_the_leader(30.0)
def resume(name: str, timeout_s: float, as_json: bool, **where: Any) -> None:
    """Let a schedule fire again, from its next moment on."""
    with connected(**where) as client:
        is_changed = client.resume_schedule(name, timeout_s)
    _tell(name, "resumed" if is_changed else "unchanged", as_json)


@schedules.command()
@_named
@asks_the_leader(30.0)
def trigger(name: str, timeout_s: float, as_json: bool, **where: Any) -> None:
    """Have the task of a schedule run now, beside its moments, and print its id."""
    with connected(**where) as client:
        task_id = client.trigger_schedule(name, timeout_s).task_id.hex()
    show(to_json({"name": name, "task_id": task_id}) if as_json else task_id)


@schedules.command()
@_named
@click.option("--from", "begin", required=True, metavar="MOMENT", help="The first moment: 2026-12-01T02:00+01:00.")
@click.option("--to", "end", required=True, metavar="MOMENT", help="The last one, included.")
@asks_the_leader(30.0)
def backfill(name: str, begin: str, end: str, timeout_s: float, as_json: bool, **where: Any) -> None:
    """Have the tasks of past moments of a schedule, of those that have had none."""
    moments = []
    for what, text in (("--from", begin), ("--to", end)):
        try:
            moments.append(read_moment(text))
        except ValueError as error:
            raise click.BadParameter(f"{text!r} can't be used: {error}.", param_hint=what) from None
    with connected(**where) as client:
        found = client.backfill_schedule(name, moments[0], moments[1], timeout_s)
    if as_json:
        show(to_json({"name": name, "waiting": found.waiting, "made": found.made}))
    else:
        show(f"{one_line(name)}: {found.waiting} moments have their tasks made now, {found.made} had theirs before")


def _tell(name: str, state: str, as_json: bool) -> None:
    show(to_json({"name": name, "state": state}) if as_json else f"{one_line(name)}: {state}")


def _as_json(schedule: ScheduledTask) -> dict[str, Any]:
    told: dict[str, Any] = {}
    for field in fields(schedule):
        value = getattr(schedule, field.name)
        if isinstance(value, datetime):
            value = shown(value)
        elif isinstance(value, bytes):
            value = value.hex()
        told[field.name] = str(value) if isinstance(value, Timetable) else value
    return told


def _lines(found: list[ScheduledTask]) -> Iterator[str]:
    for number, each in enumerate(found):
        if number:
            yield ""
        yield f"{one_line(each.name)}: {one_line(each.task)}, {one_line(str(each.when))}"
        yield "  next   " + ("paused" if each.paused else "never" if each.next is None else shown(each.next))
        if each.last is not None and each.last_task_id is not None:
            yield f"  last   {shown(each.last)}  {each.last_task_id.hex()}  {each.last_state}"
        if each.owner:
            yield f"  owner  {one_line(each.owner)}, the module that it comes with"
        counts = [("fired", each.fired), ("missed", each.missed), ("overlapped", each.overlapped)]
        counts += [("waiting", each.waiting), ("to backfill", each.backfill)]
        yield "  so far " + ", ".join(f"{count} {what}" for what, count in counts if count or what == "fired")
        if each.why:
            yield f"  due, and has no task yet: {one_line(each.why)}"
    if not found:
        yield "no such schedule; `paceline cron add` makes one"
