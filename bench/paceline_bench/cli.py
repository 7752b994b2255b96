"""The verbs of ``paceline bench`` and ``python -m paceline_bench``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from paceline_bench.report import Report, show, to_json

CHECK_FAILED = 1
Function = TypeVar("Function", bound=Callable[..., Any])

_json = click.option(
    "--json",
    "json_path",
    is_flag=False,
    flag_value="-",
    metavar="[FILE]",
    help="Write JSON to FILE, or to stdout instead of the table.",
)
_samples = click.option("--samples", type=click.IntRange(min=1), default=10_000, show_default=True)
_rounds = click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)


def _finish(reports: list[Report], json_path: str | None) -> int:
    """Shows or writes the reports; the exit code says whether every check held."""
    if json_path == "-":
        click.echo(to_json(reports))
    else:
        if json_path is not None:
            Path(json_path).write_text(to_json(reports) + "\n")
        show(reports)
    return 0 if all(report.ok for report in reports) else CHECK_FAILED


@click.group(no_args_is_help=False)
def bench() -> None:
    """Measure this installation on this machine.

    Each verb prints the machine, the software, the command and the journal setting with its figures, and exits with 1
    if a result was wrong.
    """


@bench.command()
@_samples
@_rounds
@_json
def floor(samples: int, rounds: int, json_path: str | None) -> int:
    """Raw pyzmq: what the hops of a task cost with nothing in them."""
    from paceline_bench import floor as verb

    return _finish([verb.run(samples, rounds)], json_path)


@bench.command()
@_samples
@_rounds
@_json
def latency(samples: int, rounds: int, json_path: str | None) -> int:
    """Submit to result, one at a time, beside the floor of four hops."""
    from paceline_bench import latency as verb

    return _finish([verb.run(samples, rounds)], json_path)


@bench.command()
@click.option("--tasks", type=click.IntRange(min=1), default=100_000, show_default=True)
@click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True)
@_json
def throughput(tasks: int, repeats: int, workers: int, json_path: str | None) -> int:
    """Tasks a second from one client, by map and by submit."""
    from paceline_bench import throughput as verb

    return _finish([verb.run(tasks, repeats, workers)], json_path)


@bench.command()
@click.option("--kills", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--rate", type=click.FloatRange(min=1), default=200.0, show_default=True, help="Tasks a second.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the moments of the kills.")
@_json
def failover(kills: int, rate: float, seed: int, json_path: str | None) -> int:
    """Kill the leader under load: how long work stands still, and whether anything is lost."""
    from paceline_bench import failover as verb

    return _finish([verb.run(kills, rate, seed)], json_path)


@bench.command()
@click.option("--seconds", type=click.FloatRange(min=1), default=20.0, show_default=True)
@_json
def idle(seconds: float, json_path: str | None) -> int:
    """Processor time and memory of nodes with nothing to do."""
    from paceline_bench import idle as verb

    return _finish([verb.run(seconds)], json_path)


@bench.command()
@click.option("--samples", type=click.IntRange(min=1), default=2_000, show_default=True, help="One at a time, a round.")
@click.option("--tasks", type=click.IntRange(min=1), default=30_000, show_default=True, help="By map, a round.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@_json
def durability(samples: int, tasks: int, rounds: int, json_path: str | None) -> int:
    """What safety costs: one voter and three, with each journal."""
    from paceline_bench import durability as verb

    return _finish([verb.run(samples, tasks, rounds)], json_path)


@bench.command()
@click.option("--tasks", type=click.IntRange(min=1), default=100_000, show_default=True)
@_json
def restart(tasks: int, json_path: str | None) -> int:
    """Kill every node while many tasks wait, and start them again."""
    from paceline_bench import restart as verb

    return _finish([verb.run(tasks)], json_path)


@bench.command()
@click.option("--tasks", type=click.IntRange(min=1), default=1_000_000, show_default=True)
@click.option("--samples", type=click.IntRange(min=1), default=5_000, show_default=True)
@_json
def memory(tasks: int, samples: int, json_path: str | None) -> int:
    """A million tasks that wait: what each weighs, and how soon an urgent one gets through."""
    from paceline_bench import memory as verb

    return _finish([verb.run(tasks, samples)], json_path)


@bench.command(name="all")
@click.option("--quick", is_flag=True, help="A tenth of the work: to see that it runs, not to quote.")
@_json
def everything(quick: bool, json_path: str | None) -> int:
    """Every verb with its defaults, in one table."""
    from paceline_bench import failover, floor, idle, latency, throughput

    share = 10 if quick else 1
    steps: list[tuple[str, Callable[[], Report]]] = [
        ("floor", lambda: floor.run(10_000 // share, 5)),
        ("latency", lambda: latency.run(10_000 // share, 5)),
        ("throughput", lambda: throughput.run(100_000 // share, 3, 1)),
        ("failover", lambda: failover.run(20 // share, 200.0, 1)),
        ("idle", lambda: idle.run(20.0 / share)),
    ]
    reports = []
    for name, step in steps:
        click.echo(f"measuring {name} ...", err=True)
        reports.append(step())
    return _finish(reports, json_path)
