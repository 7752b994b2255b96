"""``paceline queues``: which queues there are, and pausing, resuming, weighing and purging them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from paceline.cli.asking import asks_the_leader, confirm, connected
from paceline.cli.options import Function, to_json
from paceline.cli.output import show
from paceline_protocol.limits import MAX_WEIGHT
from paceline_protocol.option_types import QUEUE_NAME_RULE, is_queue_name

if TYPE_CHECKING:
    from paceline.client import Client
    from paceline.client.queues import QueueInfo

WAITING_STATES = ("waiting", "delayed")
ASK_FROM_TASKS = 2
"""Fewer tasks are cancelled without a question."""


@click.group(no_args_is_help=False)
def queues() -> None:
    """Show queues; pause, resume, weigh and purge them.

    A task waits in the queue that its call names with queue=, and else in the one named default.
    """


def _name(ctx: click.Context, param: click.Parameter, value: str) -> str:
    if not is_queue_name(value):
        raise click.BadParameter(f"{value!r} is no queue: its name has {QUEUE_NAME_RULE}", ctx, param)
    return value


def _names(ctx: click.Context, param: click.Parameter, values: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(_name(ctx, param, value) for value in values))


def _of_queues(command: Function) -> Function:
    return click.argument("names", nargs=-1, required=True, metavar="QUEUE...", callback=_names)(command)


@queues.command("ls")
@asks_the_leader(30.0)
def ls(timeout_s: float, as_json: bool, **where: Any) -> None:
    """List queues: those that are paused, then those in which most wait."""
    with connected(**where) as client:
        found = client.queues(timeout_s)
    if as_json:
        show(to_json({"queues": [asdict(each) for each in found]}))
    else:
        show(*_lines(found))


def _lines(found: list[QueueInfo]) -> Iterator[str]:
    yield f"{'waiting':>10} {'running':>10} {'delayed':>10} {'weight':>9} {'nodes':>6}  queue"
    for each in found:
        notes = ["paused"] * each.paused + ["no node takes its tasks"] * (not each.nodes)
        oldest = [] if each.oldest_s is None else [f"the oldest waits for {each.oldest_s:.1f} s"]
        told = f"  ({'; '.join(notes + oldest)})" if notes or oldest else ""
        yield (
            f"{each.waiting:>10,} {each.running:>10,} {each.delayed:>10,} {each.weight:>9,} {each.nodes:>6,}  "
            f"{each.name}{told}"
        )


@queues.command()
@_of_queues
@asks_the_leader(30.0)
def pause(names: tuple[str, ...], timeout_s: float, as_json: bool, **where: Any) -> None:
    """Have no task of these queues begin any more. What has begun goes on."""
    _change(names, lambda client, name: client.pause_queue(name, timeout_s), "paused", as_json, where)


@queues.command()
@_of_queues
@asks_the_leader(30.0)
def resume(names: tuple[str, ...], timeout_s: float, as_json: bool, **where: Any) -> None:
    """Let the tasks of these queues begin again."""
    _change(names, lambda client, name: client.resume_queue(name, timeout_s), "resumed", as_json, where)


@queues.command()
@click.argument("name", metavar="QUEUE", callback=_name)
@click.argument("weight", type=click.IntRange(1, MAX_WEIGHT))
@asks_the_leader(30.0)
def weigh(name: str, weight: int, timeout_s: float, as_json: bool, **where: Any) -> None:
    """Give a queue a weight: one of 3 is given three tasks while one of 1 is given one."""
    _change((name,), lambda client, each: client.weigh_queue(each, weight, timeout_s), "weighed", as_json, where)


def _change(
    names: tuple[str, ...],
    change: Callable[[Client, str], None],
    done: str,
    as_json: bool,
    where: dict[str, Any],
) -> None:
    with connected(**where) as client:
        for name in names:
            change(client, name)
    show(to_json({done: list(names)}) if as_json else f"{done}: {', '.join(names)}")


@queues.command()
@click.argument("name", metavar="QUEUE", callback=_name)
@click.option("--yes", is_flag=True, help="Don't ask before several tasks are cancelled.")
@asks_the_leader(60.0)
def purge(name: str, yes: bool, timeout_s: float, as_json: bool, **where: Any) -> None:
    """Cancel all tasks of a queue that no node has been given, also delayed ones."""
    with connected(**where) as client:
        if not yes:
            count = sum(each.waiting + each.delayed for each in client.queues(timeout_s) if each.name == name)
            if count >= ASK_FROM_TASKS:
                confirm(f"{count} tasks wait in {name}. Cancel them?")
        done = client.cancel_where(queue=name, state=WAITING_STATES, timeout=timeout_s)
    if as_json:
        show(to_json({"queue": name, **done}))
    else:
        show(f"cancelled {done['cancelled']} tasks of {name}" if any(done.values()) else f"no task of {name} waits")
