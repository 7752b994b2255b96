"""Many seeded runs of consensus cores under faults, with every invariant checked after each step.

``PACELINE_SIM_SECONDS=600`` makes each test go on for that long with more seeds; ``PACELINE_SIM_SEED=7`` replays one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest

from modes import in_seeds
from paceline.core.raft import replication as progress
from paceline.core.raft import snapshot_transfer as transfer
from simulation.schedulers import ActionRun, TimedRun

ACTION_SEEDS, ACTION_STEPS = 180, 3000
TIMED_SEEDS, TIMED_FAULTY_S = 120, 8.0


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of two entries and snapshots of three chunks, so that every limit is met."""
    monkeypatch.setattr(progress, "APPEND_LIMIT_ENTRIES", 2)
    monkeypatch.setattr(progress, "IN_FLIGHT_LIMIT_APPENDS", 2)
    monkeypatch.setattr(transfer, "SNAPSHOT_CHUNK_BYTES", 12)


def seeds(default_count: int) -> Iterator[int]:
    if "PACELINE_SIM_SEED" in os.environ:
        yield int(os.environ["PACELINE_SIM_SEED"])
        return
    yield from range(default_count)
    end = time.monotonic() + float(os.environ.get("PACELINE_SIM_SECONDS", "0"))
    seed = default_count
    while time.monotonic() < end:
        yield seed
        seed += 1


def run_all(default_count: int, run: Callable[[int], int]) -> None:
    """Run seeds; the runs must have committed something, or they would prove nothing."""
    committed = 0
    for seed in seeds(default_count):
        try:
            committed += run(seed)
        except Exception as error:
            raise AssertionError(f"{error} (PACELINE_SIM_SEED={seed} replays it)") from error
    assert committed > 0


@in_seeds
@pytest.mark.timeout(0)
def test_safety_holds_whatever_happens_in_whatever_order() -> None:
    def run(seed: int) -> int:
        actions = ActionRun(seed)
        actions.run(ACTION_STEPS)
        return actions.world.last_committed

    run_all(ACTION_SEEDS, run)


@in_seeds
@pytest.mark.timeout(0)
@pytest.mark.parametrize("bootstrap", [False, True], ids=["formed", "blank"])
def test_a_cluster_recovers_once_the_faults_end(bootstrap: bool) -> None:
    def run(seed: int) -> int:
        story = TimedRun(seed, bootstrap)
        story.run(TIMED_FAULTY_S)
        return story.world.last_committed

    run_all(TIMED_SEEDS, run)


def test_a_seed_reproduces_its_run() -> None:
    def trace(seed: int) -> tuple[dict[int, str], dict[int, tuple[int, int]], float]:
        story = TimedRun(seed)
        story.run(TIMED_FAULTY_S)
        return story.world.leaders, story.world.checks.committed, story.now

    assert trace(3) == trace(3)
