"""``paceline tasks``: what the leader knows of single tasks and of what waits, and cancelling either."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from paceline.cli.options import Function, Seconds, connect, reaches_a_cluster, to_json
from paceline.cli.output import show
from paceline.errors import ResultUnknown
from paceline_protocol.limits import MAX_NAME_CHARS

if TYPE_CHECKING:
    from paceline.client import Client

NAMES_SHOWN = 40
IDS_SHOWN = 10
ASK_FROM_TASKS = 2
"""Fewer tasks of a name are cancelled without a question."""


@click.group(no_args_is_help=False)
def tasks() -> None:
    """Show which tasks wait and why, and cancel them."""


def _task_id(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """The id of a task as people write it, in the form in which it is printed."""
    from paceline.client.targets import task_id_of

    try:
        return task_id_of(value).hex()
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _task_ids(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_task_id(ctx, param, value) for value in values))


def _task_name(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not 0 < len(value) <= MAX_NAME_CHARS:
        raise click.BadParameter(f"a name has 1 to {MAX_NAME_CHARS} characters, as tasks.add.", ctx, param)
    return value


def _asks_the_leader(timeout_s: float) -> Callable[[Function], Function]:
    """Adds --timeout, --json and how the cluster is reached."""

    def add(command: Function) -> Function:
        for option in (
            reaches_a_cluster,
            click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
            click.option(
                "--timeout",
                "timeout_s",
                type=Seconds(),
                default=timeout_s,
                show_default=True,
                metavar="SECONDS",
                help="Wait at most this long for the leader's answer (exit 23).",
            ),
        ):
            command = option(command)
        return command

    return add


@contextmanager
def _connected(addresses: tuple[str, ...], cluster_path: str | None, connect_timeout_s: float) -> Iterator[Client]:
    client = connect(addresses, cluster_path, connect_timeout_s)
    try:
        client.connect()
        yield client
    finally:
        client.close(timeout=0)


@tasks.command()
@click.argument("task_id", metavar="ID", callback=_task_id)
@_asks_the_leader(5.0)
def why(task_id: str, timeout_s: float, as_json: bool, **where: Any) -> None:
    """Say where a task is, and why it does not run.

    ID is what `paceline submit` printed, whoever submitted it.
    """
    with _connected(**where) as client:
        found = client.where_is(task_id, timeout_s)
    if found["state"] == "unknown":
        raise ResultUnknown(f"{task_id}: {found['why']}")
    show(to_json({"task_id": task_id, **found}) if as_json else f"{found['state']}: {found['why']}")


@tasks.command()
@click.option("--name", metavar="NAME", callback=_task_name, help="Only tasks of this name, with the ids of the first.")
@_asks_the_leader(5.0)
def waiting(name: str | None, timeout_s: float, as_json: bool, **where: Any) -> None:
    """Show how many tasks wait, by name, and how many nodes run each.

    Names that no node runs come first: what waits under them never starts unless a node comes that has them.
    """
    with _connected(**where) as client:
        found = client.waiting(name or "", timeout_s)
    ids = [task_id.hex() for task_id in found["ids"]]
    if as_json:
        show(to_json({**found, "ids": ids}))
        return
    show(*_waiting_lines(found, ids, name))


def _waiting_lines(found: dict[str, Any], ids: list[str], name: str | None) -> Iterator[str]:
    """A line for each name, the counts first, so that names of any length keep them in columns."""
    rows = found["names"][:NAMES_SHOWN]
    if not rows:
        yield f"no task named {name} waits" if name else "no task waits"
        return
    yield f"{'waiting':>10} {'delayed':>10} {'nodes':>6}  task"
    for row in rows:
        note = "" if row["nodes"] else "  (no node runs it)"
        yield f"{row['waiting']:>10,} {row['delayed']:>10,} {row['nodes']:>6,}  {row['name']}{note}"
    more = len(found["names"]) - len(rows) + found["more_names"]
    if more:
        yield f"and {more} other names; --json shows more of them, --name one"
    if ids:
        yield "ids: " + ", ".join(ids[:IDS_SHOWN]) + (", ..." if len(ids) > IDS_SHOWN else "")


@tasks.command()
@click.argument("ids", nargs=-1, metavar="[ID]...", callback=_task_ids)
@click.option(
    "--name",
    metavar="NAME",
    callback=_task_name,
    help="All tasks of this name that no node has been given, also delayed ones.",
)
@click.option("--yes", is_flag=True, help="Don't ask before several tasks of a name are cancelled.")
@_asks_the_leader(60.0)
def cancel(
    ids: tuple[str, ...], name: str | None, yes: bool, timeout_s: float, as_json: bool, **where: Any
) -> int | None:
    """Cancel tasks that have not started, whoever submitted them.

    \b
    paceline tasks cancel 5f0c5d0e3b7f4a31a6f2b7f3a90c1d2e
    paceline tasks cancel --name shop.old_name
    """
    if bool(ids) == (name is not None):
        raise click.UsageError("give the ids of tasks, or --name NAME")
    with _connected(**where) as client:
        if name is None:
            return _cancel_by_id(client, ids, timeout_s, as_json)
        rows = client.waiting(name, timeout_s)["names"]
        count = sum(row["waiting"] + row["delayed"] for row in rows if row["name"] == name)
        if count >= ASK_FROM_TASKS and not yes:
            _confirm(f"{count} tasks named {name} wait. Cancel them?")
        done = client.cancel_waiting(name, timeout_s) if count else {"cancelled": 0, "started": 0}
    if as_json:
        show(to_json({"name": name, **done}))
    elif not count:
        show(f"no task named {name} waits; `paceline tasks waiting` shows what does")
    else:
        started = f"; {done['started']} had started or ended by then" if done["started"] else ""
        show(f"cancelled {done['cancelled']} of {count} tasks named {name}{started}")
    return None


def _confirm(question: str) -> None:
    """Ends the command unless the answer is yes. Whoever can't be asked has to say it beforehand."""
    if not sys.stdin or not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody can be asked here, since stdin is no terminal: say --yes")
    click.confirm(question, abort=True, err=True)


def _cancel_by_id(client: Client, ids: tuple[str, ...], timeout_s: float, as_json: bool) -> int | None:
    states = client.cancel_tasks(ids, timeout_s)
    if as_json:
        show(to_json(states))
    else:
        for task_id in ids:
            show(f"{task_id}: {_STATES[states[task_id]]}")
    counts = Counter(states.values())
    return ResultUnknown.exit_code if counts["unknown"] else None


_STATES = {
    "cancelled": "cancelled",
    "running": "not cancelled: it runs",
    "finished": "not cancelled: it has ended",
    "unknown": "no task of this id was accepted, or its record is gone",
}
