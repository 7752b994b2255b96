"""``paceline dead``: the dead tasks that are kept, and what becomes of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import fields
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from paceline.cli.asking import asks_the_leader, confirm, connected, task_ids, task_name
from paceline.cli.exits import message_of
from paceline.cli.options import Function, show_value, to_json
from paceline.cli.output import show
from paceline.cli.result import task_id as task_id_of
from paceline.client.dead_tasks import not_dead
from paceline.errors import RequestRefused, ResultUnknown
from paceline_protocol.limits import MAX_STRING_CHARS
from paceline_protocol.moments import shown

if TYPE_CHECKING:
    from paceline.client import Client
    from paceline.client.dead_tasks import DeadDetails, DeadGroup, DeadRecord, Requeued

TASKS_SHOWN = 40
ASK_FROM_TASKS = 2
"""Fewer tasks are changed by a filter without a question."""
_NONE_SUCH = "no such dead task is kept; `paceline dead ls` shows what is"


@click.group(no_args_is_help=False)
def dead() -> None:
    """Show dead tasks, and requeue or discard them.

    A task is dead that failed for good, was lost or timed out. It is kept if its call asked for that, with keep_dead.
    """


def _error_type(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """The type of an error. What is empty, as a variable that is not set, would be that of all."""
    if value is not None and not 0 < len(value) <= MAX_STRING_CHARS:
        raise click.BadParameter("give the type of an exception, as ValueError; for all types leave it out", ctx, param)
    return value


def _filters(command: Function) -> Function:
    """Adds --name and --error."""
    for option in (
        click.option(
            "--error",
            metavar="TYPE",
            callback=_error_type,
            help="Only those that ended by this type of exception, as ValueError.",
        ),
        click.option("--name", metavar="NAME", callback=task_name, help="Only those of this name."),
    ):
        command = option(command)
    return command


def _chooses(command: Function) -> Function:
    """Adds ids, the filters, --all and --yes."""
    for option in (
        click.option("--yes", is_flag=True, help="Don't ask before several tasks are changed."),
        click.option("--all", "all_of_them", is_flag=True, help="All of them."),
        _filters,
        click.argument("ids", nargs=-1, metavar="[ID]...", callback=task_ids),
    ):
        command = option(command)
    return command


# --- looking --------------------------------------------------------------------------------------------------------


@dead.command("ls")
@_filters
@click.option(
    "--limit", type=click.IntRange(1), default=TASKS_SHOWN, show_default=True, metavar="TASKS", help="List so many."
)
@asks_the_leader(30.0)
def ls(name: str | None, error: str | None, limit: int, timeout_s: float, as_json: bool, **where: Any) -> None:
    """List dead tasks: how many there are by name and error, and those that died first."""
    with connected(**where) as client:
        groups = client.dead_groups(name, error, timeout_s)
        records = list(islice(client.dead_tasks(name, error, timeout_s), limit))
    if as_json:
        show(to_json({"groups": [_as_json(group) for group in groups], "tasks": [_as_json(each) for each in records]}))
    else:
        is_filtered = name is not None or error is not None
        show(*_list_lines(groups, records, _NONE_SUCH if is_filtered else "no dead task is kept"))


def _as_json(told: DeadGroup | DeadRecord) -> dict[str, Any]:
    return {field.name: _plain(getattr(told, field.name)) for field in fields(told)}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return shown(value)
    return value.hex() if isinstance(value, bytes) else value


def _list_lines(groups: list[DeadGroup], records: list[DeadRecord], none: str) -> Iterator[str]:
    """The counts first, so that names of any length keep them in columns. ``none``: what is said if there are none."""
    if not groups:
        yield none
        return
    yield f"{'dead':>8}  {'the last':<24}  task: error"
    for group in groups:
        yield f"{group.count:>8,}  {_when(group.newest):<24}  {group.name}: {group.error_type}"
    yield ""
    for record in records:
        yield f"{record.task_id.hex()}  {_when(record.died_at)}  {record.name}: {record.error}"
    more = sum(group.count for group in groups) - len(records)
    if more > 0:
        yield f"and {more} more; --limit shows more of them, --name and --error others"


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


@dead.command("show")
@click.argument("task_id", metavar="ID", callback=task_id_of)
@asks_the_leader(30.0)
def show_dead(task_id: str, timeout_s: float, as_json: bool, **where: Any) -> None:
    """Show all of a dead task: its arguments, its error with the traceback, its attempts, its options."""
    with connected(**where) as client:
        details = client.dead_task(task_id, timeout_s)
    if as_json:
        show(to_json(_details_as_json(details)))
    else:
        show(*_details_lines(details))


def _details_as_json(details: DeadDetails) -> dict[str, Any]:
    failures = [{"attempt": number, "failed_at": shown(at), "error": why} for number, at, why in details.failures]
    return {
        **_as_json(details.record),
        "args": details.args,
        "kwargs": details.kwargs,
        "failures": failures,
        "losses": [{"attempt": number, "how": how} for number, how in details.losses],
        "options": details.options,
        "exception": message_of(details.exception),
    }


def _details_lines(details: DeadDetails) -> Iterator[str]:
    record = details.record
    attempts = f"{record.attempt} ({record.failed_attempts} failed, {record.lost_attempts} lost)"
    rows: list[tuple[str, Any]] = [
        ("task", record.task_id.hex()),
        ("name", record.name),
        ("state", f"{record.end}: {record.error}"),
        ("args", show_value(list(details.args))),
        ("kwargs", show_value(details.kwargs) if details.kwargs else None),
        ("priority", record.priority),
        ("attempt", attempts),
        ("node", record.node or None),
        ("started", record.started_at),
        ("died", record.died_at),
        ("kept until", record.kept_until),
        ("takes", f"{record.size_bytes:,} bytes"),
        ("requeued from", None if record.requeued_from is None else record.requeued_from.hex()),
        ("options", show_value(details.options) if details.options else None),
    ]
    rows += [("failed", f"attempt {number}, {shown(at)}: {why}") for number, at, why in details.failures]
    rows += [("lost", f"attempt {number}, {how}") for number, how in details.losses]
    rows.append(("error", message_of(details.exception)))
    for name, value in rows:
        if value is not None:
            first, *others = (shown(value) if isinstance(value, datetime) else str(value)).splitlines() or [""]
            yield f"{name:<13} {first}"
            yield from (f"{'':<13} {line}" for line in others)


# --- changing -------------------------------------------------------------------------------------------------------


def _json_of(kind: type, what: str) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    def read(ctx: click.Context, param: click.Parameter, value: str | None) -> Any:
        if value is None:
            return None
        try:
            found = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise click.BadParameter(f"it is no JSON ({error}); write {what}", ctx, param) from None
        if not isinstance(found, kind):
            raise click.BadParameter(f"write {what}", ctx, param)
        return found

    return read


@dead.command()
@_chooses
@click.option(
    "--args",
    metavar="JSON",
    callback=_json_of(list, "a list, as '[\"order-7\", 2]'"),
    help="Call it with these positional arguments instead; of one task alone.",
)
@click.option(
    "--kwargs",
    metavar="JSON",
    callback=_json_of(dict, "an object, as '{\"dry_run\": true}'"),
    help="Call it with these keyword arguments instead; of one task alone.",
)
@asks_the_leader(60.0)
def requeue(
    ids: tuple[str, ...],
    name: str | None,
    error: str | None,
    all_of_them: bool,
    yes: bool,
    args: list[Any] | None,
    kwargs: dict[str, Any] | None,
    timeout_s: float,
    as_json: bool,
    **where: Any,
) -> int | None:
    """Run dead tasks once more. For each a new task takes its place, of another id.

    \b
    paceline dead requeue 5f0c5d0e3b7f4a31a6f2b7f3a90c1d2e
    paceline dead requeue 5f0c5d0e3b7f4a31a6f2b7f3a90c1d2e --args '["order-7", 2]'
    paceline dead requeue --name shop.charge --error requests.exceptions.Timeout
    """
    _check_choice(ids, name, error, all_of_them)
    is_changed = args is not None or kwargs is not None
    if is_changed and len(ids) != 1:
        raise click.UsageError("--args and --kwargs are of one task: give its ID, and no other")
    with connected(**where) as client:
        if not ids:
            if not _is_wanted(client, name, error, yes, timeout_s, "Requeue them?"):
                return _nothing(as_json)
            counts = client.requeue_all(name, error, timeout_s, all_names=all_of_them)
            return _tell_counts(counts, as_json)
        requeued = client.requeue(ids, timeout_s, args=args, kwargs=kwargs)
    return _tell_requeued(requeued, as_json, is_changed=is_changed)


@dead.command()
@_chooses
@asks_the_leader(60.0)
def discard(
    ids: tuple[str, ...],
    name: str | None,
    error: str | None,
    all_of_them: bool,
    yes: bool,
    timeout_s: float,
    as_json: bool,
    **where: Any,
) -> int | None:
    """Keep dead tasks no longer.

    \b
    paceline dead discard 5f0c5d0e3b7f4a31a6f2b7f3a90c1d2e
    paceline dead discard --name shop.old_name --yes
    """
    _check_choice(ids, name, error, all_of_them)
    with connected(**where) as client:
        if not ids:
            if not _is_wanted(client, name, error, yes, timeout_s, "Discard them?"):
                return _nothing(as_json)
            return _tell_counts(client.discard_all(name, error, timeout_s, all_names=all_of_them), as_json)
        states = client.discard(ids, timeout_s)
    if as_json:
        show(to_json(states))
    else:
        show(*(_discarded_line(task_id, state) for task_id, state in states.items()))
    return _exit_code(Counter(states.values()))


def _check_choice(ids: tuple[str, ...], name: str | None, error: str | None, all_of_them: bool) -> None:
    if sum((bool(ids), name is not None or error is not None, all_of_them)) != 1:
        raise click.UsageError("give the ids of dead tasks, or --name NAME, --error TYPE or both, or --all")


def _is_wanted(client: Client, name: str | None, error: str | None, yes: bool, timeout_s: float, question: str) -> bool:
    """False if there are none; ends the command if somebody is asked, and does not want it."""
    count = sum(group.count for group in client.dead_groups(name, error, timeout_s))
    if count >= ASK_FROM_TASKS and not yes:
        confirm(f"{count} tasks are dead. {question}")
    return count > 0


def _nothing(as_json: bool) -> int:
    show(to_json({}) if as_json else _NONE_SUCH)
    return ResultUnknown.exit_code


def _tell_counts(counts: dict[str, int], as_json: bool) -> int | None:
    if as_json:
        show(to_json(counts))
    else:
        show(", ".join(f"{count} {state.replace('_', ' ')}" for state, count in counts.items()))
    return RequestRefused.exit_code if counts.get("refused") else None


def _tell_requeued(requeued: dict[str, Requeued], as_json: bool, *, is_changed: bool) -> int | None:
    if as_json:
        told = {task_id: {**_as_json_of(each)} for task_id, each in requeued.items()}
        show(to_json(told))
    else:
        show(*(_requeued_line(task_id, each) for task_id, each in requeued.items()))
    counts = Counter(each.state for each in requeued.values())
    if is_changed and counts["requeued_before"]:
        return RequestRefused.exit_code  # it runs, or ran, with other arguments
    return _exit_code(counts)


def _as_json_of(requeued: Requeued) -> dict[str, Any]:
    return {"state": requeued.state, "new_id": _plain(requeued.new_id), "detail": requeued.detail}


def _requeued_line(task_id: str, requeued: Requeued) -> str:
    if requeued.new_id is None:
        if requeued.state == "unknown":
            return not_dead(bytes.fromhex(task_id))
        return f"{task_id}: not requeued: {requeued.detail}"
    before = "requeued" if requeued.state == "requeued" else "not requeued: it was before"
    return f"{task_id}: {before}, as {requeued.new_id.hex()}"


def _discarded_line(task_id: str, state: str) -> str:
    return not_dead(bytes.fromhex(task_id)) if state == "unknown" else f"{task_id}: {_DISCARDED[state]}"


def _exit_code(counts: Counter[str]) -> int | None:
    if counts["unknown"]:
        return ResultUnknown.exit_code
    return RequestRefused.exit_code if counts["refused"] else None


_DISCARDED = {
    "discarded": "discarded",
    "requeued_before": "not discarded: it was requeued",
    "refused": "not discarded: too much waits for the log; try again in a moment",
}
