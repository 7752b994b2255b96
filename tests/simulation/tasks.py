"""The tasks that simulated workers run: some fail, some take their time, some kill their worker.

What a task does follows from its name and arguments alone, as that of a function does, so that each run that ends by
itself ends alike. Only how long it takes is the worker's affair.
"""

from __future__ import annotations

from math import inf
from random import Random

from paceline_protocol.messages.records import TaskEnd
from simulation.faults import Faults

REVERSE, RAISE, SLEEP, KILL = "reverse", "raise", "sleep", "kill"
NAMES = (REVERSE, RAISE, SLEEP, KILL)
ARGS_BYTES = 8
LARGE_BYTES = 30_000
LASTS, LASTS_S = b"\xff" * ARGS_BYTES, 5.0
"""With these arguments a task takes so long, whatever its name lets expect."""
LEAVES = b"\xfe" * ARGS_BYTES
"""With these arguments a task leaves something that its worker has to end before it begins another."""
SLEEPS_S = 1.0
"""At most. Longer than an election takes, and than two heartbeats."""


def choose(rng: Random, faults: Faults) -> str:
    """The name of the next task."""
    drawn = rng.random()
    for name, probability in ((RAISE, faults.task_fails), (SLEEP, faults.task_is_slow), (KILL, faults.task_kills)):
        if drawn < probability:
            return name
        drawn -= probability
    return REVERSE


def large(number: int) -> bytes:
    """Arguments that are large for slow links."""
    return number.to_bytes(LARGE_BYTES, "little")


def answer(name: str, args: bytes) -> tuple[int, bytes]:
    """(TaskEnd, payload) of every run that its worker survives."""
    return (TaskEnd.FAILED if name == RAISE else TaskEnd.SUCCEEDED), args[::-1]


def takes_s(name: str, args: bytes, rng: Random) -> float:
    """How long a run takes."""
    if args == LASTS:
        return LASTS_S
    if args == LEAVES:
        return 0.001
    return rng.uniform(0.0, SLEEPS_S) if name == SLEEP else rng.choice((0.0, 0.0, 0.001, 0.02))


def leaves_s(args: bytes, rng: Random) -> float:
    """How long its worker then takes to clean up, 0 for a task that leaves nothing."""
    return rng.choice((0.01, 0.9, inf)) if args == LEAVES else 0.0


def kills_worker(name: str, args: bytes, attempt: int) -> bool:
    """Whether this attempt ends with its worker: the first one to three do."""
    return name == KILL and attempt <= 1 + args[0] % 3
