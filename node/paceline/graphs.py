"""Small graphs of tasks, submitted in one go: :func:`chain`, :func:`group`, :func:`chord` and :func:`map_reduce`.

Each takes the client that submits, and calls as :func:`step` makes them. They are thin: what they do can be written
with ``client.submit`` and futures among the arguments, one call after the other. Here all calls leave together, and if
one of them can't be sent, none is. With ``graph`` they have a name in common, under which the cluster counts, lists and
cancels them: see ``client.graph(name)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from paceline.client.client import Client
from paceline.client.future import Future
from paceline.client.targets import Target
from paceline.errors import ConfigError
from paceline.options import shown

FAN_IN: Final = 64
"""Of how many results :func:`map_reduce` has one call make one."""


class Step:
    """A call that is not submitted yet. ``args`` and ``kwargs`` follow what it is given of those before it."""

    __slots__ = ("args", "kwargs", "target")

    def __init__(self, target: Target, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.target = target
        self.args = args
        self.kwargs = kwargs


def step(target: Target, /, *args: Any, **kwargs: Any) -> Step:
    """A call for the functions below: ``step(add, 1)``. ``target`` as for ``client.submit``."""
    return Step(target, args, kwargs)


def chain(client: Client, *steps: Step | Target, graph: str | None = None) -> Future[Any]:
    """One after the other, each called with the result of the one before it as its first argument. The future is that
    of the last. Raises ConfigError without any, and what ``client.submit`` raises."""
    if not steps:
        raise ConfigError("chain() needs at least one step; step(task, ...) makes one")
    with client._together(graph) as together:
        future: Future[Any] | None = None
        for each in map(_as_step, steps):
            before = () if future is None else (future,)
            future = together.submit(each.target, *before, *each.args, **each.kwargs)
    assert future is not None, "there is a step"
    return future


def group(client: Client, steps: Iterable[Step | Target], *, graph: str | None = None) -> list[Future[Any]]:
    """All of them, none after another. Their futures, in order."""
    with client._together(graph) as together:
        return [together.submit(each.target, *each.args, **each.kwargs) for each in map(_as_step, steps)]


def chord(
    client: Client, steps: Iterable[Step | Target], join: Step | Target, *, graph: str | None = None
) -> Future[Any]:
    """``join``, once all steps have succeeded: called with the list of their results, in order, as its first argument.
    The future is that of ``join``."""
    joined = _as_step(join)
    with client._together(graph) as together:
        parts = [together.submit(each.target, *each.args, **each.kwargs) for each in map(_as_step, steps)]
        return together.submit(joined.target, parts, *joined.args, **joined.kwargs)


def map_reduce(
    client: Client,
    mapped: Target,
    items: Iterable[Any],
    reduced: Target,
    *,
    fan_in: int = FAN_IN,
    graph: str | None = None,
) -> Future[Any]:
    """``mapped`` for each item, and ``reduced`` of lists of results, ``fan_in`` at most, until one is left. So
    ``reduced`` takes a list of what ``mapped`` or it itself returns, and order counts. The future is that of the last.
    Raises ConfigError for a ``fan_in`` below 2, and without items."""
    if type(fan_in) is not int or fan_in < 2:
        raise ConfigError(f"fan_in is {shown(fan_in)}, and must be a whole number from 2")
    with client._together(graph) as together:
        left: Sequence[Future[Any]] = [together.submit(mapped, item) for item in items]
        if not left:
            raise ConfigError("map_reduce() needs at least one item")
        while True:
            left = [together.submit(reduced, list(left[at : at + fan_in])) for at in range(0, len(left), fan_in)]
            if len(left) == 1:
                return left[0]


def _as_step(given: Step | Target) -> Step:
    return given if isinstance(given, Step) else Step(given, (), {})
