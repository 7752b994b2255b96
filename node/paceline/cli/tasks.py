"""``paceline tasks``: what the leader knows of single tasks and of what waits, and cancelling either."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from paceline.cli.altering import hold, move, prioritise, unhold
from paceline.cli.asking import asks_the_leader, confirm, connected, of_graph, task_ids, task_name
from paceline.cli.exits import message_of
from paceline.cli.live_tasks import list_tasks, retry
from paceline.cli.options import show_value, to_json
from paceline.cli.output import show
from paceline.cli.result import task_id as task_id_of
from paceline.errors import NotAllowed, RequestRefused, ResultExpired, ResultUnknown
from paceline_protocol.messages.live import LiveState
from paceline_protocol.moments import shown
from paceline_protocol.name_patterns import NamePattern

if TYPE_CHECKING:
    from paceline.client import Client, TaskRecord

NAMES_SHOWN = 40
IDS_SHOWN = 10
ASK_FROM_TASKS = 2
"""Fewer tasks that wait are cancelled without a question."""
STATES_THAT_WAIT = ("waiting", "delayed")
STATES = tuple(state.name.lower() for state in LiveState)


@click.group(no_args_is_help=False)
def tasks() -> None:
    """List tasks, show single ones, let them run now, and cancel them."""


tasks.add_command(list_tasks)
tasks.add_command(retry)
for altering in (hold, unhold, move, prioritise):
    tasks.add_command(altering)


@tasks.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...", callback=task_ids)
@asks_the_leader(5.0)
def why(ids: tuple[str, ...], timeout_s: float, as_json: bool, **where: Any) -> int | None:
    """Say where a task is, and why it does not run.

    ID is what `paceline submit` printed, whoever submitted it. Of several each has a line.
    """
    with connected(**where) as client:
        found = {task_id: client.where_is(task_id, timeout_s) for task_id in ids}
    if len(ids) == 1:
        _tell_why(ids[0], found[ids[0]], as_json)
        return None
    if as_json:
        show(to_json({"tasks": [{"task_id": task_id, **told} for task_id, told in found.items()]}))
    else:
        show(*(f"{task_id}  {told['state']}: {told['why']}" for task_id, told in found.items()))
    return ResultUnknown.exit_code if any(told["state"] == "unknown" for told in found.values()) else None


def _tell_why(task_id: str, found: dict[str, Any], as_json: bool) -> None:
    if found["state"] == "unknown":
        raise ResultUnknown(f"{task_id}: {found['why']}")
    show(to_json({"task_id": task_id, **found}) if as_json else f"{found['state']}: {found['why']}")


@tasks.command("show")
@click.argument("task_id", metavar="ID", callback=task_id_of)
@asks_the_leader(5.0)
def show_task(task_id: str, timeout_s: float, as_json: bool, **where: Any) -> None:
    """Show what is known of a task: where it is, or how and when it ended, its attempts, and its result.

    ID is what `paceline submit` printed, whoever submitted it. Of a task that has ended there is more to show if it
    has a --result-ttl.
    """
    with connected(**where) as client:
        record = client.record(task_id, timeout_s)
        end = _end_of(client, record, timeout_s) if record.has_ended else {}
    if as_json:
        show(to_json(_as_json(record) | end))
    else:
        show(*_record_lines(record, end))


def _end_of(client: Client, record: TaskRecord, timeout_s: float) -> dict[str, Any]:
    """Its result, or its error in words, as far as it is there and this key may read it."""
    future = client.task(record.task_id)
    error = future.exception(timeout_s)
    if error is None:
        return {"result": future.described(0)}
    if isinstance(error, ResultUnknown | ResultExpired):
        return {}
    if isinstance(error, NotAllowed):
        return {"not_shown": message_of(error)}
    return {"error": message_of(error)}


def _as_json(record: TaskRecord) -> dict[str, Any]:
    told = {field.name: getattr(record, field.name) for field in fields(record)}
    readable = {name: shown(value) if isinstance(value, datetime) else value for name, value in told.items()}
    failures = [{"attempt": number, "failed_at": shown(at), "error": why} for number, at, why in record.failures]
    losses = [{"attempt": number, "how": how} for number, how in record.losses]
    return {**readable, "task_id": record.task_id.hex(), "failures": failures, "losses": losses}


def _record_lines(record: TaskRecord, end: dict[str, Any]) -> Iterator[str]:
    """A line for each thing that is known."""
    rows: list[tuple[str, Any]] = [
        ("task", record.task_id.hex()),
        ("name", record.name),
        ("state", f"{record.state}: {record.why}"),
        ("priority", record.priority),
        ("attempt", _attempts(record)),
        ("node", record.node or None),
        ("accepted", record.accepted_at),
        ("not before", record.not_before),
        ("expires", record.expires),
        ("started", record.started_at),
        ("ended", record.ended_at),
        ("kept until", record.kept_until),
    ]
    rows += [("failed", f"attempt {number}, {shown(at)}: {why}") for number, at, why in record.failures]
    rows += [("lost", f"attempt {number}, {how}") for number, how in record.losses]
    rows += [(name.replace("_", " "), show_value(value)) for name, value in end.items()]
    for name, value in rows:
        if value is not None:
            first, *others = (shown(value) if isinstance(value, datetime) else str(value)).splitlines() or [""]
            yield f"{name:<11} {first}"
            yield from (f"{'':<11} {line}" for line in others)


def _attempts(record: TaskRecord) -> str | None:
    if record.attempt is None:
        return None
    return f"{record.attempt} ({record.failed_attempts} failed, {record.lost_attempts} lost)"


@tasks.command()
@click.option("--name", metavar="NAME", callback=task_name, help="Only tasks of this name, with the ids of the first.")
@asks_the_leader(5.0)
def waiting(name: str | None, timeout_s: float, as_json: bool, **where: Any) -> None:
    """Show how many tasks wait, by name, and how many nodes run each.

    Names that no node runs come first: what waits under them never starts unless a node comes that has them.
    """
    with connected(**where) as client:
        found = client.waiting(name, timeout_s)
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
        if row.get("idle_nodes"):  # an older leader does not say
            note = "  (the nodes that run it take no tasks)"
        yield f"{row['waiting']:>10,} {row['delayed']:>10,} {row['nodes']:>6,}  {row['name']}{note}"
    more = len(found["names"]) - len(rows) + found["more_names"]
    if more:
        yield f"and {more} other names; --json shows more of them, --name one"
    if ids:
        yield "ids: " + ", ".join(ids[:IDS_SHOWN]) + (", ..." if len(ids) > IDS_SHOWN else "")


@tasks.command()
@click.argument("ids", nargs=-1, metavar="[ID]...", callback=task_ids)
@click.option(
    "--name",
    metavar="NAME",
    callback=task_name,
    help="All tasks of this name that no node has been given, also delayed ones. * stands for any characters.",
)
@of_graph
@click.option("--all", "all_names", is_flag=True, help="The same, whatever their names.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(STATES),
    help="Only those that wait for a node, are delayed, or run. May be repeated.",
)
@click.option("--yes", is_flag=True, help="Don't ask before several tasks are cancelled by name.")
@asks_the_leader(60.0)
def cancel(
    ids: tuple[str, ...],
    name: str | None,
    graph: str | None,
    all_names: bool,
    states: tuple[str, ...],
    yes: bool,
    timeout_s: float,
    as_json: bool,
    **where: Any,
) -> int | None:
    """Cancel tasks, whoever submitted them. What runs is asked to stop.

    \b
    paceline tasks cancel 5f0c5d0e3b7f4a31a6f2b7f3a90c1d2e
    paceline tasks cancel --name shop.old_name
    paceline tasks cancel --name 'reports.*' --state running
    paceline tasks cancel --graph nightly
    """
    is_filtered = name is not None or graph is not None
    if bool(ids) + is_filtered + all_names != 1 or (ids and states):
        raise click.UsageError("give the ids of tasks, or --name NAME, --graph GRAPH or both, or --all")
    if name is not None and NamePattern(name).names_nothing:
        raise click.UsageError(f"{name} is every name; say --all if that is meant")
    with connected(**where) as client:
        if ids:
            return _cancel_by_id(client, ids, timeout_s, as_json)
        meant = tuple(dict.fromkeys(states)) or STATES_THAT_WAIT
        _cancel_where(client, name, graph, meant, yes, timeout_s, as_json)
    return None


def _cancel_where(
    client: Client,
    name: str | None,
    graph: str | None,
    states: tuple[str, ...],
    yes: bool,
    timeout_s: float,
    as_json: bool,
) -> None:
    named = "of any name" if name is None else f"named {name}"
    if graph is not None:
        named = f"of the graph {graph}" if name is None else f"{named} of the graph {graph}"
        if not yes:
            confirm(f"Cancel the tasks {named}?")
    elif not yes:
        waiting, is_all = _count_waiting(client, name, states, timeout_s)
        if "running" in states or waiting >= ASK_FROM_TASKS or not is_all:
            count = f"{waiting}" if is_all else f"{waiting} and more"
            begin = f"{count} tasks {named} wait. Cancel them" if waiting else f"Cancel the tasks {named}"
            confirm(begin + (", and ask those that run to stop?" if "running" in states else "?"))
    done = client.cancel_where(
        name, state=states, all_names=name is None and graph is None, graph=graph, timeout=timeout_s
    )
    if as_json:
        show(to_json({"name": name or "*", "states": list(states), **done}))
    elif any(done.values()):
        others = [f"{done[word]} {says}" for word, says in _OTHERS.items() if done[word]]
        show("; ".join([f"cancelled {done['cancelled']} tasks {named}", *others]))
    else:
        show(f"no task {named} is {' or '.join(states)}; `paceline tasks waiting` shows what waits")


def _count_waiting(client: Client, name: str | None, states: tuple[str, ...], timeout_s: float) -> tuple[int, bool]:
    """How many tasks of such names wait, in these states; and whether these are all, as of very many names some are
    not told."""
    pattern = NamePattern(name or "*")
    told = client.waiting(name if name is not None and "*" not in name else None, timeout_s)
    rows = [row for row in told["names"] if pattern.matches(row["name"])]
    return sum(row[state] for row in rows for state in STATES_THAT_WAIT if state in states), not told["more_names"]


def _cancel_by_id(client: Client, ids: tuple[str, ...], timeout_s: float, as_json: bool) -> int | None:
    states = client.cancel_tasks(ids, timeout_s)
    if as_json:
        show(to_json(states))
    else:
        for task_id in ids:
            show(f"{task_id}: {_STATES[states[task_id]].format(task_id)}")
    counts = Counter(states.values())
    if counts["unknown"]:
        return ResultUnknown.exit_code
    return RequestRefused.exit_code if counts["finished"] else None


_OTHERS = {
    "stopping": "had been given to nodes and are asked to stop",
    "running": "run on, as a node is too old to stop them",
    "ended": "had ended by then",
}
_STATES = {
    "cancelled": "cancelled",
    "stopping": "asked to stop: it runs",
    "running": "not cancelled: it runs, and a node is too old to stop it; `paceline status` says which",
    "finished": "not cancelled: it has ended; `paceline tasks show {}` says how",
    "unknown": "no task of this id was accepted, or its record is gone",
}
