"""``paceline tasks ls`` and ``retry``: the tasks that have not ended, and letting some wait no longer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from paceline.cli.asking import asks_the_leader, connected, of_graph, task_ids, task_name
from paceline.cli.cluster import node_id_of
from paceline.cli.options import to_json
from paceline.cli.output import show
from paceline.client.session.listing import ALL_STATES, list_request
from paceline.errors import ConfigError, RequestRefused, ResultUnknown
from paceline_protocol.moments import shown
from paceline_protocol.texts import one_line

if TYPE_CHECKING:
    from paceline.client import LivePage, LiveTask

TASKS_SHOWN: Final = 40
WIDTH_CHARS: Final = 80
NODE_CHARS: Final = 8
"""Of the id of a node, as `paceline status` takes the beginning of one."""
LONGEST_NAME_CHARS: Final = 26
"""What is left of a line, beside an id, a time and a node. Of a longer name the end is shown."""


def _place(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Where a list ended."""
    try:
        list_request(None, ALL_STATES, None, 1, value)
    except ConfigError as error:
        raise click.BadParameter(str(error), ctx, param) from None
    return value


@click.command("ls")
@click.option(
    "--name", metavar="NAME", callback=task_name, help="Only tasks of this name. * stands for any characters."
)
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(ALL_STATES),
    help="Only those that run, wait for a node, or are delayed. May be repeated.",
)
@click.option("--node", metavar="NODE", help="Only those that this node was given: its id, or the beginning of it.")
@of_graph
@click.option(
    "--limit", type=click.IntRange(1), default=TASKS_SHOWN, show_default=True, metavar="TASKS", help="List so many."
)
@click.option(
    "--after", metavar="PLACE", callback=_place, help="Those behind an earlier list, which ended by naming this place."
)
@asks_the_leader(30.0)
def list_tasks(
    name: str | None,
    states: tuple[str, ...],
    node: str | None,
    graph: str | None,
    limit: int,
    after: str | None,
    timeout_s: float,
    as_json: bool,
    **where: Any,
) -> None:
    """List the tasks that have not ended: what runs, what waits, what is delayed.

    What runs is listed node by node, what each has had for longest first; what waits in the order in which it goes out;
    what is delayed as it comes due, if there are no more than 2,000, and else by name.

    \b
    paceline tasks ls --state running --node 1f3a
    paceline tasks ls --name 'reports.*' --limit 1000 --json
    """
    with connected(**where) as client:
        node_id = None if node is None else node_id_of(node, client.status(timeout_s))
        page = client.live_tasks(
            name, state=states or ALL_STATES, node=node_id, graph=graph, limit=limit, after=after, timeout=timeout_s
        )
    if as_json:
        told = {"tasks": [_as_json(task) for task in page.tasks], "next": page.next}
        show(to_json(told | {state: getattr(page, state) for state in ALL_STATES}))
    else:
        show(*_lines(page, after, is_filtered=bool(name or node or graph or states)))


def _as_json(task: LiveTask) -> dict[str, Any]:
    told = {field.name: getattr(task, field.name) for field in fields(task)}
    not_before = None if task.not_before is None else shown(task.not_before)
    return told | {"task_id": task.task_id.hex(), "not_before": not_before}


def _lines(page: LivePage, after: str | None, *, is_filtered: bool) -> Iterator[str]:
    """A heading for each state, and a line for each task: no wider than a terminal of 80 columns."""
    yield ", ".join(f"{getattr(page, state):,} {state}" for state in ALL_STATES) + (" in all" if is_filtered else "")
    before = ""
    for task in page.tasks:
        if task.state != before:
            yield ""
            yield _HEADINGS[task.state]
            before = task.state
        yield f"{task.task_id.hex()}  {_when(task):>8}  {_detail(task):<8}  {_short(task.name)}"
    if not page.tasks:
        yield "no such task" if is_filtered else "no more tasks" if after else "no task that has not ended"
    if page.next is not None:
        yield f"there may be more: --after {page.next}"


_HEADINGS: Final = {
    "running": f"{'running':<32}  {'for':>8}  {'on node':<8}  task",
    "waiting": f"{'waiting':<32}  {'for':>8}  {'priority':<8}  task",
    "delayed": f"{'delayed':<32}  {'still':>8}  {'attempt':<8}  task",
}


def _when(task: LiveTask) -> str:
    """How long it has been so; of one that is delayed how long it still is."""
    if task.state != "delayed":
        return "" if task.since_s is None else span(task.since_s)
    if task.not_before is None:
        return ""
    return span(max(0.0, (task.not_before - datetime.now(UTC)).total_seconds()))


def span(seconds: float) -> str:
    """A span of time for a person, in eight characters at most."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    for unit, name, next_unit in ((60, "min", 3600), (3600, "h", 86_400)):
        if seconds < next_unit:
            return f"{seconds / unit:.1f} {name}"
    return f"{seconds / 86_400:.0f} d"


def _detail(task: LiveTask) -> str:
    if task.state == "running":
        return task.node[:NODE_CHARS]
    return str(task.priority if task.state == "waiting" else task.attempt)


def _short(name: str) -> str:
    """Its end tells more than its beginning."""
    name = one_line(name)
    return name if len(name) <= LONGEST_NAME_CHARS else "\u2026" + name[1 - LONGEST_NAME_CHARS :]


@click.command("retry")
@click.argument("ids", nargs=-1, required=True, metavar="ID...", callback=task_ids)
@asks_the_leader(30.0)
def retry(ids: tuple[str, ...], timeout_s: float, as_json: bool, **where: Any) -> int | None:
    """Let tasks run now that wait for their next attempt, or are delayed.

    How often they are tried does not change. A dead task is none that waits: `paceline dead requeue` makes a new one of
    it. Whoever has the place of a leader that dies before they have started leaves them waiting; ask again then.
    """
    with connected(**where) as client:
        states = client.run_now(ids, timeout_s)
    if as_json:
        show(to_json(states))
    else:
        show(*(f"{task_id}: {_BECAME[state].format(task_id)}" for task_id, state in states.items()))
    counts = Counter(states.values())
    if counts["unknown"]:
        return ResultUnknown.exit_code
    return RequestRefused.exit_code if counts["ended"] or counts["dead"] or counts["not_yet"] else None


_BECAME: Final = {
    "due": "it runs as soon as a node has room",
    "waiting": "it waits for a node, and for no moment; `paceline tasks why {}` says more",
    "running": "a node has it already",
    "ended": "not tried again: it has ended; `paceline tasks show {}` says how",
    "dead": "not tried again: it is dead; `paceline dead requeue {}` runs it once more, as a new task",
    "unknown": "no task of this id was accepted, or its record is gone",
    "not_yet": "the leader does not know yet where it is; try again in a moment",
}
