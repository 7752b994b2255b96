"""The verbs of ``paceline bench`` and ``python -m paceline_bench``."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from paceline_bench.report.output import ReportOutput
from paceline_bench.report.report import Report

CHECK_FAILED = 1
RATE_MAX_PER_S = 200_000
"""Above what one client can send; each task of a rate is kept until the rate is done."""

_samples = click.option("--samples", type=click.IntRange(min=1), default=10_000, show_default=True)
_rounds = click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
_repeats = click.option("--repeats", type=click.IntRange(min=1), default=3, show_default=True)
_secure = click.option("--secure", is_flag=True, help="Encrypt every TCP connection, with CURVE.")


def reported(verb: Callable[..., Report | Sequence[Report]]) -> Callable[..., int]:
    """Adds --json and --html to what measures. The exit code says whether every check held."""

    @click.option(
        "--json",
        "json_path",
        is_flag=False,
        flag_value="-",
        metavar="[FILE]",
        help="Write JSON to FILE, or to stdout instead of the table.",
    )
    @click.option("--html", "html_path", metavar="FILE", help="Write a page with pictures to FILE.")
    @functools.wraps(verb)
    def command(json_path: str | None, html_path: str | None, **options: Any) -> int:
        output = ReportOutput(json_path, html_path)
        output.check()
        measured = verb(**options)
        reports = [measured] if isinstance(measured, Report) else list(measured)
        output.write(reports)
        return 0 if all(report.ok for report in reports) else CHECK_FAILED

    return command


@click.group(no_args_is_help=False)
def bench() -> None:
    """Measure this installation on this machine.

    Each verb prints the machine, the software, the command and the journal setting with its figures, and exits with 1
    if a result was wrong.
    """


@bench.command()
@_samples
@_rounds
@_secure
@reported
def floor(samples: int, rounds: int, secure: bool) -> Report:
    """Raw pyzmq: what the hops of a task cost with nothing in them."""
    from paceline_bench.verbs import floor as verb

    return verb.run(samples, rounds, secure)


@bench.command()
@_samples
@_rounds
@_secure
@click.option("--stages", is_flag=True, help="Where the time goes, by the stamps of every fourth task; not in rounds.")
@reported
def latency(samples: int, rounds: int, secure: bool, stages: bool) -> Report:
    """Submit to result, one at a time, beside the floor of four hops."""
    from paceline_bench.verbs import latency as verb
    from paceline_bench.verbs import stages as trace

    if stages:
        return trace.run(samples, secure)
    return verb.run(samples, rounds, secure)


@bench.command()
@click.option("--tasks", type=click.IntRange(min=1), default=100_000, show_default=True)
@_repeats
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True)
@_secure
@reported
def throughput(tasks: int, repeats: int, workers: int, secure: bool) -> Report:
    """Tasks a second from one client, by map and by submit."""
    from paceline_bench.verbs import throughput as verb

    return verb.run(tasks, repeats, workers, secure)


def _parse_rates(context: click.Context, parameter: click.Parameter, text: str | None) -> list[float]:
    try:
        rates = [float(part) for part in text.split(",")] if text else []
    except ValueError:
        rates = [math.nan]
    if not all(0 < rate <= RATE_MAX_PER_S for rate in rates):
        raise click.BadParameter(f"{text!r} must be tasks a second, as in 100,1000; each at most {RATE_MAX_PER_S:,}")
    return rates


@bench.command(name="open-loop")
@click.option(
    "--rates",
    callback=_parse_rates,
    metavar="N,N,...",
    help="Tasks a second. Without it 50, 80 and 95 % of the throughput, which is measured first.",
)
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=10.0, show_default=True, help="At each rate.")
@click.option("--body", type=click.Choice(["noop", "1ms", "bimodal"]), default="noop", show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="Of the moments at which tasks are due.")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True)
@_secure
@reported
def open_loop(rates: list[float], seconds: float, body: str, seed: int, workers: int, secure: bool) -> Report:
    """Latency under a load that does not wait for results.

    Tasks are due at random moments that are fixed beforehand, and a latency begins when its task was due: what a slow
    cluster keeps waiting is counted. Bodies: noop; 1ms; bimodal, 99 % of 1 ms and 1 % of 100 ms.
    """
    from paceline_bench.verbs import open_loop as verb

    return verb.run(rates, verb.LoopSetup(verb.BODIES[body], seconds, seed, workers, secure))


@bench.command()
@click.option("--most", type=click.IntRange(1, 64), default=8, show_default=True, help="Workers.")
@_repeats
@_secure
@reported
def scaling(most: int, repeats: int, secure: bool) -> Report:
    """Tasks of 10 ms, 100 for each worker, on 1, 2, 4 ... workers."""
    from paceline_bench.verbs import scaling as verb

    return verb.run(most, repeats, secure)


@bench.command()
@click.option("--kills", type=click.IntRange(min=1), default=20, show_default=True)
@click.option("--rate", type=click.FloatRange(min=1), default=200.0, show_default=True, help="Tasks a second.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the moments of the kills.")
@_secure
@reported
def failover(kills: int, rate: float, seed: int, secure: bool) -> Report:
    """Kill the leader under load: how long work stands still, and whether anything is lost."""
    from paceline_bench.verbs import failover as verb

    return verb.run(kills, rate, seed, secure)


@bench.command()
@click.option("--seconds", type=click.FloatRange(min=1), default=20.0, show_default=True)
@reported
def idle(seconds: float) -> Report:
    """Processor time and memory of nodes with nothing to do."""
    from paceline_bench.verbs import idle as verb

    return verb.run(seconds)


@bench.command()
@click.option("--seconds", type=click.FloatRange(min=1), default=3.0, show_default=True, help="Of each, a round.")
@click.option("--rounds", type=click.IntRange(min=1), default=8, show_default=True)
@reported
def metrics(seconds: float, rounds: int) -> Report:
    """What it costs to be scraped each second, and how soon /metrics answers under full load."""
    from paceline_bench.verbs import metrics as verb

    return verb.run(seconds, rounds)


@bench.command()
@click.option("--samples", type=click.IntRange(min=1), default=2_000, show_default=True, help="One at a time, a round.")
@click.option("--tasks", type=click.IntRange(min=1), default=30_000, show_default=True, help="By map, a round.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@reported
def durability(samples: int, tasks: int, rounds: int) -> Report:
    """What safety costs: one voter and three, with each journal."""
    from paceline_bench.verbs import durability as verb

    return verb.run(samples, tasks, rounds)


@bench.command()
@click.option("--tasks", type=click.IntRange(min=1), default=100_000, show_default=True)
@reported
def restart(tasks: int) -> Report:
    """Kill every node while many tasks wait, and start them again."""
    from paceline_bench.verbs import restart as verb

    return verb.run(tasks)


@bench.command()
@click.option("--tasks", type=click.IntRange(min=1), default=1_000_000, show_default=True)
@click.option("--samples", type=click.IntRange(min=1), default=5_000, show_default=True)
@_secure
@reported
def memory(tasks: int, samples: int, secure: bool) -> Report:
    """A million tasks that wait: what each weighs, and how soon an urgent one gets through."""
    from paceline_bench.verbs import memory as verb

    return verb.run(tasks, samples, secure)


@bench.command()
@click.option(
    "--tasks", type=click.IntRange(min=1, max=200_000), default=100_000, show_default=True, help="That begin."
)
@click.option("--rate", type=click.FloatRange(min=1), default=2_000.0, show_default=True, help="Of them, a second.")
@click.option("--waiting", type=click.IntRange(min=1), default=1_000_000, show_default=True, help="That do not begin.")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=10.0, show_default=True, help="Beside them.")
@click.option("--seed", type=int, default=1, show_default=True, help="Of the moments.")
@reported
def delayed(tasks: int, rate: float, waiting: int, seconds: float, seed: int) -> Report:
    """Tasks that wait for their moment: how late each begins, and what a million of them cost meanwhile."""
    from paceline_bench.verbs import delayed as verb

    return verb.run(tasks, rate, waiting, seconds, seed)


@bench.command()
@click.option("--tasks", type=click.IntRange(min=1, max=200_000), default=10_000, show_default=True)
@click.option("--times", type=click.IntRange(0, 1_000), default=5, show_default=True, help="That each fails.")
@click.option("--workers", type=click.IntRange(min=1), default=2, show_default=True)
@reported
def retries(tasks: int, times: int, workers: int) -> Report:
    """Tasks that all fail a few times and are tried again 10 ms later."""
    from paceline_bench.verbs import retries as verb

    return verb.run(tasks, times, workers)


@bench.command()
@click.option("--kills", type=click.IntRange(min=1), default=100, show_default=True)
@reported
def limits(kills: int) -> Report:
    """Tasks that hang are killed by their time limit: how soon the next one begins."""
    from paceline_bench.verbs import limits as verb

    return verb.run(kills)


@bench.command()
@click.option("--samples", type=click.IntRange(min=1), default=2_000, show_default=True, help="Of each, one by one.")
@click.option("--tasks", type=click.IntRange(min=1), default=20_000, show_default=True, help="Of each, at once.")
@_rounds
@reported
def options(samples: int, tasks: int, rounds: int) -> Report:
    """What each option costs a task that does nothing, beside one that asks for nothing."""
    from paceline_bench.verbs import options as verb

    return verb.run(samples, tasks, rounds)


@bench.command(name="stub-nodes")
@click.option("--tasks", type=click.IntRange(min=10_000), default=100_000, show_default=True, help="A round, at once.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@_secure
@reported
def stub_nodes(tasks: int, rounds: int, secure: bool) -> Report:
    """What a task costs the leader with 1, 16 and 256 nodes that run nothing."""
    from paceline_bench.verbs import stub_nodes as verb

    return verb.run(tasks, rounds, secure)


def _parse_names(context: click.Context, parameter: click.Parameter, text: str | None) -> list[str]:
    from paceline_bench.rivals.files import chosen, discover

    names = [name.strip() for name in text.split(",")] if text else []
    try:
        chosen(discover(), names)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    return names


@bench.command()
@click.option("--only", callback=_parse_names, metavar="NAME,NAME,...", help="These systems; without it all.")
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--samples", type=click.IntRange(min=1), default=2_000, show_default=True, help="One at a time, in all.")
@click.option(
    "--rate", type=click.FloatRange(1, 500), default=100.0, show_default=True, help="Tasks a second, of the open loop."
)
@click.option(
    "--venvs",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Where the systems' environments are, or are made. Without it in the user's cache directory.",
)
@click.option("--quick", is_flag=True, help="One round of little work: to see that each runs, not to quote.")
@reported
def rivals(only: list[str], rounds: int, samples: int, rate: float, venvs: Path | None, quick: bool) -> Report:
    """Celery, Dask, Ray and others beside paceline, each in an environment of its own.

    The first run installs them, with pip. Those that need Redis or RabbitMQ get private servers, of the programs that
    are installed. What can't be installed or does not start is listed with its reason.
    """
    from paceline_bench.rivals import run as verb
    from paceline_bench.rivals.plan import plan

    return verb.run(only, plan(rounds, samples, rate, quick), venvs and venvs.absolute())


def _parse_floods(context: click.Context, parameter: click.Parameter, text: str | None) -> list[str]:
    from paceline_bench.bodies.floods import FLOODS

    names = [name.strip() for name in text.split(",")] if text else []
    if unknown := [name for name in names if name not in FLOODS]:
        raise click.BadParameter(f"{', '.join(unknown)}: there is {', '.join(FLOODS)}")
    return names


@bench.command()
@click.option("--only", callback=_parse_floods, metavar="NAME,NAME,...", help="These floods; without it all.")
@click.option("--seconds", type=click.FloatRange(0.1, 600), default=3.0, show_default=True, help="Of each flood.")
@reported
def floods(only: list[str], seconds: float) -> Report:
    """What a normal client notices while another one floods the node, and how much memory that takes."""
    from paceline_bench.verbs import floods as verb

    return verb.run(only, seconds)


@bench.command()
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--tasks", type=click.IntRange(min=100), default=5_000, show_default=True, help="That wait, a round.")
@click.option("--samples", type=click.IntRange(min=1), default=300, show_default=True, help="One at a time, a round.")
@reported
def bridge(rounds: int, tasks: int, samples: int) -> Report:
    """The bridge beside a Celery worker and a dramatiq worker, on the same messages.

    It needs the packages celery and dramatiq beside the extra rabbitmq; RabbitMQ is a private one, of the programs that
    are installed.
    """
    from paceline_bench.verbs import bridge as verb

    return verb.run(rounds, tasks, samples)


@bench.command()
@click.option("--rounds", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--tasks", type=click.IntRange(min=10), default=500, show_default=True, help="Of 5 ms, a round.")
@click.option("--crashes", type=click.IntRange(min=1), default=10, show_default=True, help="Of them, end their worker.")
@reported
def crashes(rounds: int, tasks: int, crashes: int) -> Report:
    """Tasks that end their worker, among others: paceline beside Celery, on two workers each.

    It needs the package celery; RabbitMQ is a private one, of the programs that are installed.
    """
    from paceline_bench.verbs import crashes as verb

    if crashes > tasks:
        raise click.BadParameter(f"{crashes} of {tasks} tasks can't crash", param_hint="--crashes")
    return verb.run(rounds, tasks, crashes)


@bench.command(name="all")
@click.option(
    "--quick",
    is_flag=True,
    help="A tenth of the work: to see that all is right, not to quote. No figure is held against a limit.",
)
@reported
def everything(quick: bool) -> list[Report]:
    """Every verb but `rivals`, `bridge`, `floods`, `crashes`, `delayed`, `retries`, `limits` and `options`, with its
    defaults, in one table. Takes about ten minutes."""
    from paceline_bench.verbs import (
        durability,
        failover,
        floor,
        idle,
        latency,
        memory,
        metrics,
        open_loop,
        restart,
        scaling,
        throughput,
    )
    from paceline_bench.verbs import stub_nodes as stubs

    share = 10 if quick else 1

    def offered(body: str) -> Report:
        return open_loop.run([], open_loop.LoopSetup(open_loop.BODIES[body], 10.0 / share, seed=1, workers=2))

    steps: list[tuple[str, Callable[[], Report]]] = [
        ("floor", lambda: floor.run(10_000 // share, 5)),
        ("latency", lambda: latency.run(10_000 // share, 5)),
        ("latency, encrypted", lambda: latency.run(10_000 // share, 5, secure=True)),
        ("throughput", lambda: throughput.run(100_000 // share, 3, 2)),
        ("durability", lambda: durability.run(2_000 // share, 30_000 // share, 3)),
        ("open-loop", lambda: offered("noop")),
        ("open-loop, bimodal", lambda: offered("bimodal")),
        ("scaling", lambda: scaling.run(2 if quick else 8, 3)),
        ("stub-nodes", lambda: stubs.run(100_000 // share, 1 if quick else 3)),
        ("memory", lambda: memory.run(1_000_000 // share, 5_000 // share)),
        ("restart", lambda: restart.run(100_000 // share)),
        ("failover", lambda: failover.run(20 // share, 200.0, 1)),
        ("metrics", lambda: metrics.run(3.0 / share, 8)),
        ("idle", lambda: idle.run(20.0 / share)),
    ]
    reports = []
    for name, step in steps:
        click.echo(f"measuring {name} ...", err=True)
        report = step()
        reports.append(report.of_little_work() if quick else report)
    return reports
