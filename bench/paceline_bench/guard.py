"""``./dev bench-check``: whether what a task costs, measured by the floor of the same run, is within the limits.

A short run of latency, throughput and open loop. Times differ from machine to machine and from hour to hour, so nothing
here is a time: each figure is a ratio to raw pyzmq over the same hops. The limits are in a file of their own
(bench/limits.toml), so that a change of one is seen for what it is.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from paceline.errors import ConfigError, PacelineError
from paceline_bench.report.report import Report, show

SAMPLES, ROUNDS = 4_000, 4
TASKS, REPEATS = 30_000, 3
SECONDS = 4.0
SEED = 1
LOAD = 0.5  # tasks in the time of one round trip of the floor: some thousands a second, and far from saturation
BROKEN = 1


@dataclass(frozen=True, slots=True)
class Limit:
    """None: no bound on that side."""

    name: str
    at_most: float | None = None
    at_least: float | None = None

    def broken_by(self, measured: float) -> str | None:
        """How ``measured`` breaks the limit, in words; None if it does not. A value that is no number breaks every
        limit."""
        if self.at_most is not None and not measured <= self.at_most:
            return f"{self.name} is {measured:.2f}, and may be at most {self.at_most:g}"
        if self.at_least is not None and not measured >= self.at_least:
            return f"{self.name} is {measured:.2f}, and must be at least {self.at_least:g}"
        return None


def load_limits(path: Path) -> list[Limit]:
    """Raises ConfigError for a file that can't be used."""
    try:
        tables = tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"can't read the limits in {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    limits = []
    for name, table in tables.items():
        if not isinstance(table, dict) or not table or table.keys() - {"at_most", "at_least"}:
            raise ConfigError(f"{path}: [{name}] must have at_most or at_least, or both, and nothing else")
        if bad := [
            key for key, value in table.items() if isinstance(value, bool) or not isinstance(value, int | float)
        ]:
            raise ConfigError(f"{path}: {bad[0]} of [{name}] must be a number")
        limits.append(Limit(name, table.get("at_most"), table.get("at_least")))
    return limits


def measure() -> list[Report]:
    from paceline_bench.verbs import latency, open_loop, throughput

    one_at_a_time = latency.run(SAMPLES, ROUNDS)
    setup = open_loop.LoopSetup(open_loop.BODIES["noop"], SECONDS, SEED, workers=1)
    return [
        one_at_a_time,
        throughput.run(TASKS, REPEATS, workers=1),
        open_loop.run([LOAD / floor_of(one_at_a_time)["floor_p50_s"]], setup),
    ]


def floor_of(report: Report) -> dict[str, float]:
    """The details of a latency report in the first placement, which is the one to compare by."""
    placed: dict[str, float] = next(iter(report.details.values()))
    return placed


def ratios(reports: Sequence[Report]) -> dict[str, float]:
    """The ratios that the limits bound, from a report of each of the three verbs."""
    by_verb = {report.verb: report for report in reports}
    one = floor_of(by_verb["latency"])
    floor_s = one["floor_p50_s"]
    throughput, open_loop = by_verb["throughput"].details["tasks_per_s_median"], by_verb["open-loop"].details
    (trial,) = open_loop["trials"]
    return {
        "latency_p50_to_floor": one["ratio_median"],
        "latency_p99_to_floor": one["p99_s"] / one["floor_p99_s"],
        "map_tasks_in_a_floor_round_trip": throughput["map"] * floor_s,
        "submit_tasks_in_a_floor_round_trip": throughput["submit"] * floor_s,
        "open_loop_tasks_in_a_floor_round_trip": open_loop["throughput_per_s"] * floor_s,
        "open_loop_p50_to_floor": trial["p50_s"] / floor_s,
        "open_loop_p99_to_floor": trial["p99_s"] / one["floor_p99_s"],
        "open_loop_achieved": trial["achieved_per_s"] / trial["offered_per_s"],
    }


def broken(limits: Sequence[Limit], measured: Mapping[str, float], path: str) -> list[str]:
    """A line for each broken limit. Raises ConfigError if what is limited and what is measured are not the same."""
    names = {limit.name for limit in limits}
    if unknown := sorted(names - measured.keys()):
        raise ConfigError(f"{path}: nothing measures [{unknown[0]}]; the ratios are {', '.join(measured)}")
    if missing := sorted(measured.keys() - names):
        raise ConfigError(f"{path}: [{missing[0]}] is missing; every ratio has a limit")
    found = ((limit.name, limit.broken_by(measured[limit.name])) for limit in limits)
    return [f"{what} ({path}, [{name}])" for name, what in found if what]


@click.command()
@click.argument("limits_path", metavar="LIMITS")
def check(limits_path: str) -> int:
    """Measure, and compare with the limits in the file LIMITS. Ends with 1 if one is broken, or a result was wrong."""
    limits = load_limits(Path(limits_path))
    reports = measure()
    show(reports)
    measured = ratios(reports)
    lines = broken(limits, measured, limits_path)
    lines += [
        f"{report.verb}: {each.what}: {each.detail}" for report in reports for each in report.checks if each.has_failed
    ]
    click.echo()
    for limit in limits:
        click.echo(
            f"{'broken' if limit.broken_by(measured[limit.name]) else 'ok':<7} {limit.name} {measured[limit.name]:.2f}"
        )
    for line in lines:
        click.echo(f"bench-check: {line}", err=True)
    return BROKEN if lines else 0


def main(arguments: Sequence[str]) -> int:
    try:
        code: int = check.main(list(arguments), prog_name="bench-check", standalone_mode=False)
    except (PacelineError, click.ClickException) as error:
        message = error.format_message() if isinstance(error, click.ClickException) else str(error)
        click.echo(f"bench-check: error: {message}", err=True)
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
