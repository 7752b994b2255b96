"""``paceline graphs``: which graphs there are, how far each is, and cancelling one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import click

from paceline.cli.asking import asks_the_leader, confirm, connected, graph_name
from paceline.cli.options import to_json
from paceline.cli.output import show
from paceline.client.graphs import ENDS, LIVE
from paceline_protocol.texts import one_line

if TYPE_CHECKING:
    from paceline.client.graphs import GraphProgress

PARTS: Final = (*LIVE, "logging", *ENDS)


@click.group(no_args_is_help=False)
def graphs() -> None:
    """Show how far graphs are, and cancel them.

    A graph is a name that tasks have in common, which their calls give with graph=. `paceline tasks ls --graph NAME`
    lists those that have not ended.
    """


@graphs.command("ls")
@asks_the_leader(30.0)
def ls(timeout_s: float, as_json: bool, **where: Any) -> None:
    """List graphs: those that are not over first, with how many of their tasks have not ended."""
    with connected(**where) as client:
        found = sorted(client.graphs(timeout_s), key=lambda each: each.is_over)
    if as_json:
        show(to_json({"graphs": [_as_json(each) for each in found]}))
    else:
        show(*_rows(found))


def _rows(found: list[GraphProgress]) -> Iterator[str]:
    if not found:
        yield "no graph"
        return
    yield f"{'tasks':>10} {'ended':>10} {'succeeded':>10}  graph"
    for each in found:
        yield f"{each.total:>10,} {each.ended:>10,} {each.succeeded:>10,}  {one_line(each.name)}"


@graphs.command("show")
@click.argument("name", metavar="GRAPH", callback=graph_name)
@asks_the_leader(30.0)
def show_graph(name: str, timeout_s: float, as_json: bool, **where: Any) -> None:
    """Show how many tasks of a graph run, wait and have ended, and how."""
    with connected(**where) as client:
        told = client.graph(name).progress(timeout_s)
    if as_json:
        show(to_json(_as_json(told)))
    else:
        show(*_lines(told))


def _as_json(told: GraphProgress) -> dict[str, Any]:
    return asdict(told) | {"ended": told.ended, "is_over": told.is_over}


def _lines(told: GraphProgress) -> Iterator[str]:
    yield f"{one_line(told.name)}: {told.ended:,} of {told.total:,} tasks have ended"
    for part in PARTS:
        if count := getattr(told, part):
            yield f"{count:>10,} {part.replace('_', ' ')}"


@graphs.command()
@click.argument("name", metavar="GRAPH", callback=graph_name)
@click.option("--yes", is_flag=True, help="Don't ask before tasks are cancelled.")
@asks_the_leader(60.0)
def cancel(name: str, yes: bool, timeout_s: float, as_json: bool, **where: Any) -> None:
    """Cancel all tasks of a graph that have not ended. What runs is asked to stop."""
    with connected(**where) as client:
        graph = client.graph(name)
        if not yes:
            told = graph.progress(timeout_s)
            confirm(f"{told.total - told.ended} tasks of {one_line(name)} have not ended. Cancel them?")
        done = graph.cancel(timeout_s)
    if as_json:
        show(to_json({"graph": name, **done}))
    else:
        show(", ".join(f"{count} {word}" for word, count in done.items() if count) or "nothing was left to cancel")
