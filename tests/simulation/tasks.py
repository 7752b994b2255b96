"""The tasks that simulated workers run: some fail, always or at first, some take their time, some kill their worker.

What a task does follows from its name and arguments alone, as that of a function does, so that each run that ends by
itself ends alike; but for what is flaky, and for what kills its worker, of which the number of the attempt decides. How
long it takes is the worker's affair.
"""

from __future__ import annotations

from enum import IntEnum
from math import inf
from random import Random

from paceline_protocol.codec import encode_failed_attempt
from paceline_protocol.messages.records import AT_MOST_ONCE, MAY_RETRY, NO_LOG, Options, TaskEnd
from simulation.faults import Faults

REVERSE, RAISE, SLEEP, KILL, FLAKY = "reverse", "raise", "sleep", "kill", "flaky"
NAMES = (REVERSE, RAISE, SLEEP, KILL, FLAKY)
ASYNC_NAMES = (SLEEP, KILL, FLAKY)
"""Those of which workers run many at once, in worlds where nodes are to."""
ARGS_BYTES = 8
LARGE_BYTES = 30_000
LASTS, LASTS_S = b"\xff" * ARGS_BYTES, 5.0
"""With these arguments a task takes so long, whatever its name lets expect."""
STOPS, RETURNS = b"\xfd" * ARGS_BYTES, b"\xfb" * ARGS_BYTES
"""With these a task would take as long, but does as :func:`when_asked` says."""
LEAVES = b"\xfe" * ARGS_BYTES
"""With these arguments a task leaves something that its worker has to end before it begins another."""
WAITS = b"\xfc" * ARGS_BYTES
"""With these arguments a task submits another one, and ends once that has."""
FAILS_TWICE = b"\x02" * ARGS_BYTES
"""With these arguments a flaky task fails twice."""
UNTIL_IT_SUCCEEDS: Options = {"retries": 2, "backoff": 40, "jitter": 1}
ANNOUNCED: dict[str, Options] = {FLAKY: UNTIL_IT_SUCCEEDS, SLEEP: {"delivery": AT_MOST_ONCE}}
"""What every node announces of its tasks, for calls by name alone."""
TO_STOP: tuple[tuple[str, bytes, Options | None], ...] = (
    (REVERSE, STOPS, None),
    (REVERSE, RETURNS, {"delivery": AT_MOST_ONCE}),
    (REVERSE, LASTS, {"cancel_grace": 150}),
    (REVERSE, LASTS, {"cancel_grace": 150, "durability": NO_LOG}),
    (FLAKY, RETURNS, UNTIL_IT_SUCCEEDS),
    (KILL, RETURNS, None),
)
"""Tasks that are cancelled while they run: one for each way in which they may come to their end."""
SLEEPS_S = 1.0
"""At most. Longer than an election takes, and than two heartbeats."""


def choose(rng: Random, faults: Faults) -> str:
    """The name of the next task."""
    drawn = rng.random()
    for name, probability in (
        (RAISE, faults.task_fails),
        (SLEEP, faults.task_is_slow),
        (KILL, faults.task_kills),
        (FLAKY, faults.task_is_flaky),
    ):
        if drawn < probability:
            return name
        drawn -= probability
    return REVERSE


def large(number: int) -> bytes:
    """Arguments that are large for slow links."""
    return number.to_bytes(LARGE_BYTES, "little")


def answer(name: str, args: bytes) -> tuple[int, bytes]:
    """(TaskEnd, payload) of every run that its worker survives, but for the first ones of what is flaky."""
    return (TaskEnd.FAILED, failure(args)) if name == RAISE else (TaskEnd.SUCCEEDED, args[::-1])


def failure(args: bytes) -> bytes:
    """The error of a run that fails."""
    return b"failed " + args[::-1]


def outcome(name: str, args: bytes, attempt: int, options: Options | None) -> tuple[int, bytes]:
    """What a worker answers for this attempt, which it survives."""
    end, payload = answer(name, args)
    if name == FLAKY and attempt <= args[0] % 4:
        end, payload = TaskEnd.FAILED, failure(args)
    if end == TaskEnd.FAILED and options is not None and options.get("retries", 0):
        return MAY_RETRY, encode_failed_attempt(("it failed", 0, int(end), payload))
    return end, payload


def takes_s(name: str, args: bytes, rng: Random) -> float:
    """How long a run takes."""
    if args in (LASTS, STOPS, RETURNS):
        return LASTS_S
    if args == WAITS:
        return inf
    if args == LEAVES:
        return 0.001
    return rng.uniform(0.0, SLEEPS_S) if name == SLEEP else rng.choice((0.0, 0.0, 0.001, 0.02))


class WhenAsked(IntEnum):
    """What a task does once it is asked to stop."""

    GOES_ON = 0
    STOPS = 1
    ENDS = 2  # as it would have in the end, but now


def when_asked(args: bytes) -> WhenAsked:
    """What a run does."""
    return WhenAsked(int.from_bytes(args[1:2]) % 3)


def leaves_s(args: bytes, rng: Random) -> float:
    """How long its worker then takes to clean up, 0 for a task that leaves nothing."""
    return rng.choice((0.01, 0.9, inf)) if args == LEAVES else 0.0


def kills_worker(name: str, args: bytes, attempt: int) -> bool:
    """Whether this attempt ends with its worker: the first one to three do."""
    return name == KILL and attempt <= 1 + args[0] % 3
