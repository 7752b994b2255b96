"""A thousand tasks that do nothing, under a thousand names: more than a node counts apart."""

from __future__ import annotations

from types import FunctionType

from paceline.worker.registry import task

NAMES = tuple(f"many.noop_{number:03}" for number in range(1_000))


def noop(value: int) -> int:
    """Gives back what it got."""
    return value


for _name in NAMES:
    # A function of its own for each: a function has one name as a task.
    task(name=_name)(FunctionType(noop.__code__, globals(), noop.__name__))
