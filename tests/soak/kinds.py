"""What a soak submits, and what may become of it. The kind of a task follows from its number alone, so that the client
that submits it and whoever judges it agree."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from hosts.stream import Ending, Run
from paceline import NamedTask

DOZE_S = 0.1
DELAY_S = 1.5
EXPIRES_S = 0.3
BIG_BYTES = 200_000
BACKOFF_S = 0.3
RETRIES = 6
"""Some more than FAILURES, for those that fail and are lost before that is told."""
FAILURES = 3
GIVES_UP_AFTER = 1
LIMIT_S = 0.4
BY_S = 1.0
STOPS_AFTER_S = 0.4
LONG_S = 10.0
KEEP_DEAD_S = 120
RECORD_S = 120
SLACK_S = 0.005
"""Of clocks that are read one after the other."""
BEGINS_S = 0.2
"""From when an attempt begins, from which its limit counts, until it has left its line, on a machine that is busy."""
ATTEMPTS = 5
"""More than a task may lose to kills of its nodes within its life here."""

Judge = Callable[[int, Ending, Sequence[Run], float], str]
"""(number, how it ended, its runs, when it was submitted) -> what is wrong; empty if nothing is."""


@dataclass(frozen=True, slots=True)
class Kind:
    """``weight``: how often it is chosen. ``more``: its arguments between where to write and its number."""

    name: str
    weight: int
    target: NamedTask
    judge: Judge
    more: Callable[[int], tuple[Any, ...]] = field(default=lambda number: ())
    cancel_after_s: float | None = None  # its client asks for that so long behind the call
    is_kept_dead: bool = False
    has_record: bool = False  # from which its client learns how many attempts were lost


def data_of(number: int) -> bytes:
    return Random(number).randbytes(BIG_BYTES)


def _ran(number: int, ending: Ending, runs: Sequence[Run], submitted_s: float) -> str:
    if ending.result != number * number:
        return f"ended with {ending}"
    return "" if runs else "has a result and never ran"


def _failed(number: int, ending: Ending, runs: Sequence[Run], submitted_s: float) -> str:
    return "" if ending.error == repr(ValueError(f"task {number}")) else f"ended with {ending}"


def _at_most_once(number: int, ending: Ending, runs: Sequence[Run], submitted_s: float) -> str:
    if len(runs) > 1:
        return f"started {len(runs)} times"
    return "" if ending.error.startswith("TaskLost") else _ran(number, ending, runs, submitted_s)


def _cancelled(number: int, ending: Ending, runs: Sequence[Run], submitted_s: float) -> str:
    return "" if ending.error.startswith("TaskCancelled") else _ran(number, ending, runs, submitted_s)


def _delayed(number: int, ending: Ending, runs: Sequence[Run], submitted_s: float) -> str:
    early_s = max((submitted_s + DELAY_S - run.at_s for run in runs), default=0.0)
    return f"started {early_s:.3f} s early" if early_s > 0 else _ran(number, ending, runs, submitted_s)


def _expires(number: int, ending: Ending, runs: Sequence[Run], submitted_s: float) -> str:
    return "" if ending.error.startswith("TaskExpired") else _ran(number, ending, runs, submitted_s)


def _failures_of(number: int) -> int:
    """How often a flaky task fails."""
    return number % (FAILURES + 1)


def _retried(number: int, ending: Ending, runs: Sequence[Run], submitted_s: float) -> str:
    """It runs again after each failure, and no sooner than it is to."""
    if wrong := _ran(number, ending, runs, submitted_s):
        return wrong
    if len(runs) <= _failures_of(number):
        return f"ran {len(runs)} times, and fails {_failures_of(number)} times"
    return _paused(runs, ending.lost)


def _paused(runs: Sequence[Run], lost: int) -> str:
    """A run in another process follows one that was lost, perhaps with what it had to tell, and may come at once. So
    may one in the same process, as often as an attempt was lost: a node that was given up runs what it had, and the
    next attempt comes to it once it is heard again."""
    in_order = sorted(runs, key=lambda run: run.at_s)
    early_s = [
        early
        for before, after in itertools.pairwise(in_order)
        if (before.namespace, before.pid) == (after.namespace, after.pid)
        and (early := before.at_s + BACKOFF_S - SLACK_S - after.at_s) > 0
    ]
    return f"tried again {max(early_s):.3f} s early, and {lost} were lost" if len(early_s) > lost else ""


def _given_up(number: int, ending: Ending, runs: Sequence[Run], submitted_s: float) -> str:
    if wrong := _failed(number, ending, runs, submitted_s):
        return wrong
    if len(runs) <= GIVES_UP_AFTER:
        return f"given up after {len(runs)} runs, of {GIVES_UP_AFTER + 1}"
    return _paused(runs, ending.lost)


def _timed_out(number: int, ending: Ending, runs: Sequence[Run], submitted_s: float) -> str:
    """One that was lost may be said to be killed, and runs on at a node that nobody hears; then another has run."""
    if not ending.error.startswith("TaskTimedOut"):
        return f"ended with {ending}"
    if not runs:
        return "timed out and never ran"
    early_s = min(run.at_s for run in runs) + LIMIT_S - BEGINS_S - ending.at_s
    return f"ended {early_s:.3f} s before its limit" if early_s > 0 else ""


def _ended_by(number: int, ending: Ending, runs: Sequence[Run], submitted_s: float) -> str:
    if not ending.error.startswith(("TaskTimedOut", "TaskExpired")):
        return f"ended with {ending}"
    early_s = submitted_s + BY_S - SLACK_S - ending.at_s
    return f"ended {early_s:.3f} s before its deadline" if early_s > 0 else ""


def _stopped(number: int, ending: Ending, runs: Sequence[Run], submitted_s: float) -> str:
    """It runs for far longer than its client wants it to. A client that found no leader in time has not asked."""
    if not ending.error.startswith("TaskCancelled"):
        has_run_s = max((ending.at_s - run.at_s for run in runs), default=0.0)
        return f"ended with {ending}" if has_run_s < LONG_S else _ran(number, ending, runs, submitted_s)
    early_s = submitted_s + STOPS_AFTER_S - SLACK_S - ending.at_s
    return f"cancelled {early_s:.3f} s before somebody asked for it" if early_s > 0 else ""


def _digested(number: int, ending: Ending, runs: Sequence[Run], submitted_s: float) -> str:
    data = data_of(number)
    right = [hashlib.sha256(data).hexdigest(), hashlib.sha256(data[::-1]).hexdigest()]
    return "" if ending.result == right and runs else f"ended with {ending}"


def seen(result: Any) -> Any:
    """What the client writes down of a result: of bytes, their digest."""
    if isinstance(result, list | tuple):
        return [hashlib.sha256(item).hexdigest() if isinstance(item, bytes) else item for item in result]
    return result


KINDS = (
    Kind("square", 60, NamedTask("soak_tasks.square", max_attempts=ATTEMPTS), _ran),
    Kind("fail", 8, NamedTask("soak_tasks.fail", max_attempts=ATTEMPTS), _failed),
    Kind("doze", 6, NamedTask("soak_tasks.doze", max_attempts=ATTEMPTS), _ran, lambda number: (DOZE_S,)),
    Kind("kill once", 1, NamedTask("soak_tasks.kill_once", max_attempts=ATTEMPTS), _ran),
    Kind("at most once", 8, NamedTask("soak_tasks.square", delivery="at_most_once"), _at_most_once),
    Kind("committed", 4, NamedTask("soak_tasks.square", max_attempts=ATTEMPTS, confirm="committed"), _ran),
    Kind("delayed", 4, NamedTask("soak_tasks.square", max_attempts=ATTEMPTS, delay=DELAY_S), _delayed),
    Kind("expires", 4, NamedTask("soak_tasks.square", max_attempts=ATTEMPTS, expires=EXPIRES_S), _expires),
    Kind("cancelled", 4, NamedTask("soak_tasks.square", max_attempts=ATTEMPTS), _cancelled, cancel_after_s=0.0),
    Kind(
        "stopped",
        1,
        NamedTask("soak_tasks.doze", max_attempts=ATTEMPTS, cancel_grace=0.1),
        _stopped,
        lambda number: (LONG_S,),
        cancel_after_s=STOPS_AFTER_S,
    ),
    Kind(
        "retried",
        3,
        NamedTask(
            "soak_tasks.flaky",
            max_attempts=ATTEMPTS,
            retries=RETRIES,
            backoff=BACKOFF_S,
            backoff_max=BACKOFF_S,
            jitter=False,
            result_ttl=RECORD_S,
        ),
        _retried,
        lambda number: (_failures_of(number),),
        has_record=True,
    ),
    Kind(
        "given up",
        2,
        NamedTask(
            "soak_tasks.give_up",
            max_attempts=ATTEMPTS,
            retries=GIVES_UP_AFTER,
            backoff=BACKOFF_S,
            backoff_max=BACKOFF_S,
            jitter=False,
            keep_dead=KEEP_DEAD_S,
        ),
        _given_up,
        is_kept_dead=True,
    ),
    Kind(
        "timed out",
        1,
        NamedTask("soak_tasks.doze", max_attempts=ATTEMPTS, time_limit=LIMIT_S),
        _timed_out,
        lambda number: (LONG_S,),
    ),
    Kind(
        "deadline",
        1,
        NamedTask("soak_tasks.doze", max_attempts=ATTEMPTS, deadline=BY_S),
        _ended_by,
        lambda number: (LONG_S,),
    ),
    Kind("big", 1, NamedTask("soak_tasks.digest", max_attempts=ATTEMPTS), _digested, lambda number: (data_of(number),)),
)
_WEIGHTS = [kind.weight for kind in KINDS]


def kind_of(number: int) -> Kind:
    return Random(number).choices(KINDS, _WEIGHTS)[0]
