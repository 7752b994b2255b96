"""Runs many seeds of the simulations, on every processor, and says what they went through. Used as ``./dev simulate``.

* ``actions``: consensus cores, no clock: any message at any time.
* ``timed``: consensus cores in virtual time, which must come back once the faults end.
* ``peers``: whole nodes with their journals, clients and workers, in virtual time.
* ``peer-actions``: the same without a clock, and then in peace.

A seed reproduces its run: ``./dev simulate peers --seeds 7 --trace`` tells the story of one.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from unittest.mock import patch

from paceline.core.raft import replication as progress
from paceline.core.raft import snapshot_transfer as transfer
from simulation.action_world import ActionWorld
from simulation.faults import Faults
from simulation.schedulers import ActionRun, TimedRun
from simulation.slow_links import LINK_BYTE_S, limits_for
from simulation.world import World

Say = Callable[[str], None]

ACTION_STEPS = 3_000
PEER_STEPS = 4_000
TIMED_FAULTY_S = 8.0
PEERS_NODES = (1, 2, 3, 3, 3, 4, 5)
PEERS_S = (8.0, 15.0, 30.0)
PEERS_TASKS_PER_S = (2.0, 10.0, 50.0)
SLOW_LINKS = 0.3
"""The part of the seeds in which a byte takes time between nodes, and some tasks are large for that."""
LARGE_PER_S = 0.3
PROGRESS_S = 60.0
EXAMPLES = 8
"""Broken seeds that are named; by then there is enough to look at."""


@dataclass
class Run:
    """What one seed went through."""

    seconds: float  # simulated; 0 where there is no clock
    events: Counter[str]


@contextmanager
def small_limits() -> Iterator[None]:
    """Batches of two entries and snapshots of three chunks, so that every limit is met."""
    with (
        patch.object(progress, "APPEND_LIMIT_ENTRIES", 2),
        patch.object(progress, "IN_FLIGHT_LIMIT_APPENDS", 2),
        patch.object(transfer, "SNAPSHOT_CHUNK_BYTES", 12),
    ):
        yield


def run_actions(seed: int, say: Say | None = None) -> Run:
    with small_limits():
        run = ActionRun(seed, say)
        run.run(ACTION_STEPS)
    return _of_core(run, 0.0)


def run_timed(seed: int, say: Say | None = None) -> Run:
    """Every other seed starts with blank disks."""
    with small_limits():
        run = TimedRun(seed, bootstrap=seed % 2 == 1, say=say)
        run.run(TIMED_FAULTY_S)
    return _of_core(run, run.now)


def _of_core(run: ActionRun | TimedRun, seconds: float) -> Run:
    world = run.world
    world.events["election"] += len(world.leaders)
    world.events["committed entry"] += world.last_committed
    configs = [world.checks.configs[index] for index in sorted(world.checks.configs)]
    world.events["membership change"] += sum(before != after for before, after in itertools.pairwise(configs))
    world.events["confirmed read"] += world.checks.confirmed_reads
    return Run(seconds, world.events)


def run_peers(seed: int, say: Say | None = None) -> Run:
    """The size, the length and the load of a run follow from its seed as all else does."""
    choose = Random(seed)
    nodes, seconds, tasks_per_s = choose.choice(PEERS_NODES), choose.choice(PEERS_S), choose.choice(PEERS_TASKS_PER_S)
    is_slow = choose.random() < SLOW_LINKS
    faults = Faults(link_byte_s=LINK_BYTE_S, large=LARGE_PER_S / tasks_per_s) if is_slow else Faults()
    world = World(seed, nodes=nodes, faults=faults, trace=say)
    try:
        with limits_for(faults):
            world.run(seconds, tasks_per_second=tasks_per_s)
            world.heal_and_finish()
    finally:
        world.close()
    world.events["task"] += len(world.stories)
    return Run(world.now, world.events)


def run_peer_actions(seed: int, say: Say | None = None) -> Run:
    world = ActionWorld(seed, nodes=Random(seed).choice((1, 2, 3, 3, 3, 4, 5)), trace=say)
    try:
        world.run_actions(PEER_STEPS)
        world.heal_and_finish()
    finally:
        world.close()
    world.events["task"] += len(world.stories)
    return Run(0.0, world.events)


KINDS: dict[str, Callable[[int, Say | None], Run]] = {
    "actions": run_actions,
    "timed": run_timed,
    "peers": run_peers,
    "peer-actions": run_peer_actions,
}
STEPS = {"actions": ACTION_STEPS, "peer-actions": PEER_STEPS}


def _run_one(job: tuple[str, int]) -> tuple[int, Run | None, str]:
    kind, seed = job
    try:
        return seed, KINDS[kind](seed, None), ""
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what this seed has found
        return seed, None, f"{type(error).__name__}: {error}"


def _until(seeds: range, deadline: float) -> Iterator[int]:
    for seed in seeds:
        if time.monotonic() >= deadline:
            return
        yield seed


def simulate(kind: str, seeds: range, for_s: float, jobs: int) -> int:
    """Run seeds until they, or the seconds, are used up. Returns how many are broken."""
    started = said_at = time.monotonic()
    done, seconds, events, broken = 0, 0.0, Counter[str](), 0
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        work = ((kind, seed) for seed in _until(seeds, started + for_s))
        for seed, run, error in _in_order(pool, work, jobs):
            done += 1
            if time.monotonic() >= said_at + PROGRESS_S:
                said_at = time.monotonic()
                print(f"{kind}: {done:,} seeds up to {seed:,}, {broken} broken", file=sys.stderr, flush=True)
            if run is None:
                broken += 1
                print(f"{kind} seed {seed}: {error}\n  ./dev simulate {kind} --seeds {seed} --trace", flush=True)
                if broken == EXAMPLES:
                    break
            else:
                seconds += run.seconds
                events.update(run.events)
    passed_s = time.monotonic() - started
    hours = f" of {STEPS[kind]:,} actions" if kind in STEPS else f", {seconds / 3600:.2f} simulated hours"
    print(f"{kind}: {done} seeds{hours} in {passed_s:.0f} s ({done / passed_s:.1f} seeds/s), {broken} broken")
    print("  " + ", ".join(f"{count:,} x {event}" for event, count in sorted(events.items()) if count), flush=True)
    return broken


def _in_order(
    pool: multiprocessing.pool.Pool, work: Iterator[tuple[str, int]], jobs: int
) -> Iterator[tuple[int, Run | None, str]]:
    """The results of jobs. A few are handed out before they are needed, so that the time limit is seen in between."""
    pending = []
    for job in work:
        pending.append(pool.apply_async(_run_one, (job,)))
        if len(pending) >= 2 * jobs:
            yield pending.pop(0).get()
    for result in pending:
        yield result.get()


def replay(kind: str, seed: int) -> int:
    """One seed, with its story. Returns the exit code."""

    class Notices(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            print(f"{'':>8} {record.getMessage()}")

    logger = logging.getLogger("paceline.node")
    logger.addHandler(Notices())
    logger.setLevel(logging.INFO)
    try:
        run = KINDS[kind](seed, print)
    except Exception as error:  # noqa: BLE001 - shown, after the story that led to it
        print(f"{type(error).__name__}: {error}")
        return 1
    print(", ".join(f"{count:,} x {event}" for event, count in sorted(run.events.items()) if count))
    return 0


def planted_faults() -> str:
    """How many ways to break the product are known to be found. The tests that plant them need pytest, and these runs
    do not."""
    from simulation import test_planted_faults, test_planted_peer_faults

    consensus, nodes = test_planted_faults.FAULTS, test_planted_peer_faults.FAULTS
    replaced = [fault.method for fault in consensus] + [fault.attribute for fault in nodes]
    at_seams = sum(name.startswith("__") or not name.startswith("_") for name in replaced)
    return (
        f"planted faults that the tests find: {len(consensus)} of consensus and {len(nodes)} of whole nodes; "
        f"{at_seams} of the {len(consensus) + len(nodes)} replace something public"
    )


def _seeds(text: str) -> range:
    first, _, last = text.partition("..")
    return range(int(first), int(last or first) + 1)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev simulate", description=__doc__.splitlines()[0])
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"{', '.join(KINDS)}; all of them by default")
    parser.add_argument("--seeds", type=_seeds, metavar="A..B", help="these seeds, or this one")
    parser.add_argument(
        "--for", dest="for_s", type=float, default=float("inf"), metavar="SECONDS", help="for each kind"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="seeds at a time")
    parser.add_argument("--trace", action="store_true", help="tell the story of the first seed")
    asked = parser.parse_args()
    unknown = [kind for kind in asked.kinds if kind not in KINDS]
    if unknown:
        parser.error(f"no such kind: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    if asked.seeds is None and asked.for_s == float("inf"):
        parser.error("name the --seeds, or say --for how many seconds")
    seeds = asked.seeds if asked.seeds is not None else range(int(time.time()) * 1_000, sys.maxsize)
    kinds = asked.kinds or list(KINDS)
    if asked.trace:
        return replay(kinds[0], seeds[0])
    logging.disable(logging.CRITICAL)
    print(planted_faults(), flush=True)
    return 1 if sum(simulate(kind, seeds, asked.for_s, asked.jobs) for kind in kinds) else 0


if __name__ == "__main__":
    sys.exit(main())
