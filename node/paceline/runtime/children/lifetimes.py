"""Which workers are old or large, or have imported their modules before a reload: those are to be replaced. And which
have more memory than they may have. How many tasks one may run the core knows itself (``core/work/slots.py``).

The node looks at its workers every LOOK_S, and every LIMIT_LOOK_S if one that is too large is to be killed; and only if
it was told to. What counts is the resident memory of the worker itself: pages that it shares with others count in each,
and processes that a task has started do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import inf
from typing import Final, NamedTuple

from paceline.runtime.children.causes import size

LOOK_S: Final = 1.0
LIMIT_LOOK_S: Final = 0.1
RELOAD_LOOK_S: Final = 0.05
RELOAD_PATIENCE_S: Final = 1.0
"""Of a reload: while a worker that leaves still runs something, the next one waits so long before it leaves, too."""
OUTDATED: Final = "its modules are to be imported anew"


@dataclass(frozen=True, slots=True)
class LifetimeLimits:
    """What a worker may come to before it is replaced, and what it may not have while it runs a task; None:
    anything."""

    max_age_s: float | None = None
    max_rss_bytes: int | None = None
    memory_limit_bytes: int | None = None


class Finding(NamedTuple):
    """A worker that is old or large. ``is_over``: it has more than the limit of memory."""

    worker_id: bytes
    why: str
    is_large: bool
    is_over: bool


class Lifetimes:
    """Of the workers of one node that get tasks. ``look_at``: when to look at them next; inf: never."""

    def __init__(self, limits: LifetimeLimits) -> None:
        self._limits = limits
        self._look_s = inf if limits == LifetimeLimits() else LOOK_S
        self._large_bytes = min([each for each in (limits.max_rss_bytes, limits.memory_limit_bytes) if each], default=0)
        if limits.memory_limit_bytes is not None:
            self._look_s = LIMIT_LOOK_S
        self._since: dict[bytes, float] = {}
        self._outdated: set[bytes] = set()  # workers that have imported their modules before a reload
        self.look_at = inf

    def serves(self, worker_id: bytes, now: float) -> None:
        """From now on this worker gets tasks."""
        if self._look_s < inf:
            self._since[worker_id] = now
            self.look_at = min(self.look_at, now + self._look_s)

    def reload(self, worker_ids: Iterable[bytes], now: float) -> None:
        """These workers are to be replaced by others, which import the modules as they are now."""
        self._outdated.update(worker_ids)
        self.look_at = now

    def is_outdated(self, worker_id: bytes) -> bool:
        return worker_id in self._outdated

    @property
    def outdated(self) -> int:
        """How many workers are still to be replaced after a reload."""
        return len(self._outdated)

    def ends(self, worker_id: bytes) -> None:
        """This worker has ended, or gets no tasks any more."""
        self._since.pop(worker_id, None)
        self._outdated.discard(worker_id)

    def look(self, now: float, memory_of: Callable[[bytes], int]) -> list[Finding]:
        """The workers that are old or large, until they have ended. ``memory_of``: how many bytes one has now."""
        self.look_at = now + self._look_s if self._since else inf
        found = [self._find(worker_id, now - since, memory_of) for worker_id, since in self._since.items()]
        if self._outdated:
            self.look_at = min(self.look_at, now + RELOAD_LOOK_S)
            found += [Finding(worker_id, OUTDATED, False, False) for worker_id in self._outdated]
        return [each for each in found if each is not None]

    def _find(self, worker_id: bytes, age_s: float, memory_of: Callable[[bytes], int]) -> Finding | None:
        limits = self._limits
        memory_bytes = memory_of(worker_id) if self._large_bytes else 0
        if memory_bytes > self._large_bytes:
            limit_bytes = limits.memory_limit_bytes
            has = f"it has {size(memory_bytes)} of memory"
            if limit_bytes is not None and memory_bytes > limit_bytes:
                return Finding(worker_id, f"{has}, and its limit is {size(limit_bytes)}", True, True)
            return Finding(worker_id, has, True, False)
        if limits.max_age_s is not None and age_s >= own_max_age_s(worker_id, limits.max_age_s):
            return Finding(worker_id, f"it has run for {age_s:.0f} s", False, False)
        return None


def own_max_age_s(worker_id: bytes, max_age_s: float) -> float:
    """How old this worker may become: up to a tenth less than is allowed, by its id, which is random. So workers that
    began together are not all replaced together."""
    return max_age_s * (1 - worker_id[-1] / 2560)
