"""What a soak submits, and what may become of it. The kind of a task follows from its number alone, so that the client
that submits it and whoever judges it agree."""

from __future__ import annotations

import hashlib
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
    is_cancelled: bool = False  # its client asks for that right behind the call


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
    Kind("cancelled", 4, NamedTask("soak_tasks.square", max_attempts=ATTEMPTS), _cancelled, is_cancelled=True),
    Kind("big", 1, NamedTask("soak_tasks.digest", max_attempts=ATTEMPTS), _digested, lambda number: (data_of(number),)),
)
_WEIGHTS = [kind.weight for kind in KINDS]


def kind_of(number: int) -> Kind:
    return Random(number).choices(KINDS, _WEIGHTS)[0]
