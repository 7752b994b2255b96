"""How much of each system is measured, and what one system's measurement is made of."""

from __future__ import annotations

from dataclasses import dataclass, field

from paceline_bench.report.histogram import LatencyHistogram
from paceline_bench.rivals.files import RivalVariant

ROUND_TRIP_WORKERS = 1
WORKERS = 2
CALIBRATION_TASKS = (100, 500)  # the first to warm up
BURST_TASKS = (100, 100_000)  # at least and at most
SHORT_S = 0.001
LONG_S = 0.1
LONG_SHARE = 0.01


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of each is measured."""

    rounds: int
    samples: int  # one at a time, all rounds together
    warm_up: int
    burst_s: float  # so long that a burst takes about so many seconds
    rate_per_s: float  # of the open loop
    open_loop_s: float
    seed: int = 1

    @property
    def samples_per_round(self) -> int:
        return max(1, self.samples // self.rounds)


def plan(rounds: int, samples: int, rate_per_s: float, quick: bool) -> Plan:
    if quick:
        return Plan(1, min(samples, 100), 20, 0.2, rate_per_s, 1.0)
    return Plan(rounds, samples, 200, 2.0, rate_per_s, 10.0)


@dataclass(frozen=True, slots=True)
class Burst:
    tasks: int
    submit_s: float
    total_s: float

    @property
    def tasks_per_s(self) -> float:
        return self.tasks / self.total_s


@dataclass
class Measured:
    """The measurements of one system, one for each round. ``failed``: why some are missing."""

    peer: RivalVariant
    versions: dict[str, str] = field(default_factory=dict)
    starts_s: list[float] = field(default_factory=list)
    round_trips: list[LatencyHistogram] = field(default_factory=list)
    bursts: list[Burst] = field(default_factory=list)
    chunked: list[Burst] = field(default_factory=list)
    short: list[LatencyHistogram] = field(default_factory=list)  # latencies of the short tasks under the open loop
    wrong: int = 0
    burst_tasks: int = 0  # 0: not calibrated yet
    failed: str = ""
