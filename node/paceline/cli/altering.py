"""``paceline tasks hold``, ``unhold``, ``move`` and ``prioritise``: tasks that wait are altered."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import click

from paceline.cli.asking import asks_the_leader, confirm, connected, of_graph, task_ids, task_name
from paceline.cli.options import Function, Seconds, to_json
from paceline.cli.output import show
from paceline.errors import RequestRefused, ResultUnknown
from paceline_protocol.messages.records import PRIORITY_MAX
from paceline_protocol.name_patterns import NamePattern

if TYPE_CHECKING:
    from paceline.client import Client

_BECAME: Final = {
    "running": "left as it is: a node has been given it, or it may start once and has",
    "ended": "it has ended; `paceline tasks show {}` says how",
    "unknown": "no task of this id was accepted, or its record is gone",
    "unlogged": 'left as it is: its durability is "none", and no other leader would know',
    "depends": "left as it is: it depends on other tasks",
    "full": "left as it is: there are too many queues for one more",
    "not_yet": "the leader does not know yet where it is; try again in a moment",
}


def _filtered(command: Function) -> Function:
    """Adds which tasks are meant."""
    for option in (
        asks_the_leader(60.0),
        click.option("--yes", is_flag=True, help="Don't ask before tasks are altered by a filter."),
        click.option("--all", "all_names", is_flag=True, help="All tasks that wait, of every name."),
        click.option(
            "--older-than", type=Seconds(), default=0.0, metavar="SECONDS", help="Only those that wait for so long."
        ),
        click.option("--queue", metavar="QUEUE", help="All tasks of this queue that wait, or with --name some."),
        of_graph,
        click.option("--name", metavar="NAME", callback=task_name, help="All of a name; * stands for any characters."),
        click.argument("ids", nargs=-1, metavar="[ID]...", callback=task_ids),
    ):
        command = option(command)
    return command


@click.command("hold")
@_filtered
def hold(**asked: Any) -> int | None:
    """Let tasks that wait not start before they are released. What a node has been given goes on.

    \b
    paceline tasks hold 5f0c5d0e3b7f4a31a6f2b7f3a90c1d2e
    paceline tasks hold --name 'reports.*' --older-than 600
    """
    return _alter("hold", "held", {}, **asked)


@click.command("unhold")
@_filtered
def unhold(**asked: Any) -> int | None:
    """Release tasks that are held: they wait behind all that wait by now."""
    return _alter("unhold", "released", {}, **asked)


@click.command("move")
@click.option("--to", required=True, metavar="QUEUE", help="The queue in which they are to wait.")
@_filtered
def move(to: str, **asked: Any) -> int | None:
    """Have tasks that wait do so in another queue.

    \b
    paceline tasks move --queue video --to slow
    """
    return _alter("move", f"moved to {to}", {"to": to}, **asked)


@click.command("prioritise")
@click.option("--priority", required=True, type=click.IntRange(0, PRIORITY_MAX), help="Which they are to have.")
@_filtered
def prioritise(priority: int, **asked: Any) -> int | None:
    """Give tasks that wait another priority."""
    return _alter("prioritise", f"now of priority {priority}", {"priority": priority}, **asked)


def _alter(
    verb: str,
    done: str,
    change: dict[str, Any],
    *,
    ids: tuple[str, ...],
    name: str | None,
    queue: str | None,
    graph: str | None,
    older_than: float,
    all_names: bool,
    yes: bool,
    timeout_s: float,
    as_json: bool,
    **where: Any,
) -> int | None:
    is_filtered = name is not None or queue is not None or graph is not None
    if bool(ids) + is_filtered + all_names != 1 or (ids and older_than):
        raise click.UsageError(
            "give the ids of tasks, or --name NAME, --queue QUEUE, --graph GRAPH or several of them, or --all"
        )
    if name is not None and NamePattern(name).names_nothing:
        raise click.UsageError(f"{name} is every name; say --all if that is meant")
    if not ids and not yes:
        confirm(f"{verb} all that matches?".capitalize())
    with connected(**where) as client:
        if ids:
            return _by_id(client, verb, done, change, ids, timeout_s, as_json)
        found: dict[str, int] = getattr(client, f"{verb}_where")(
            name, queue=queue, graph=graph, older_than=older_than, all_names=all_names, timeout=timeout_s, **change
        )
    if as_json:
        show(to_json(found))
    else:
        others = [f"{count} {word}" for word, count in found.items() if count and word != "done"]
        show("; ".join([f"{found['done']} tasks {done}", *others]))
    return None


def _by_id(
    client: Client, verb: str, done: str, change: dict[str, Any], ids: tuple[str, ...], timeout_s: float, as_json: bool
) -> int | None:
    states: dict[str, str] = getattr(client, verb)(ids, **change, timeout=timeout_s)
    if as_json:
        show(to_json(states))
    else:
        show(*(f"{task_id}: {_BECAME.get(state, done).format(task_id)}" for task_id, state in states.items()))
    counts = Counter(states.values())
    if counts["unknown"]:
        return ResultUnknown.exit_code
    return RequestRefused.exit_code if counts.total() > counts["done"] else None
