"""When a node has something to do: named deadlines, moments of tasks, and which of all comes first.

The shell asks in every turn, and a deadline is set a few times in a heartbeat. So the earliest is kept, and searched
for again only when it is moved to a later moment. Moments of tasks are those of the wall clock (``wall_clock.py``); the
earliest of them is translated whenever it is asked for, as the clock may have been set since.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from math import inf
from typing import Final

from paceline.core.wall_clock import WallClock

CONSENSUS: Final = 0
"""An election timeout, a heartbeat, or another deadline of the log."""
HELLO: Final = 1
"""Hellos may be due to some addresses."""
REVIEW: Final = 2
"""Peers and sessions that have been silent for long may be forgotten."""
BEAT: Final = 3
"""A new leader says that it leads, before the next heartbeat."""
_COUNT: Final = 4

NEVER_MS: Final = 1 << 60
"""A moment that no clock shows: some 36 million years from now."""
SLICE_MOMENTS: Final = 4_096
"""Moments that are met in a turn: a few milliseconds. A leader that met a million at once would be deposed over it."""
STALE_MOMENTS: Final = 64
"""Moments that were moved or dropped and are still in the heap: beyond so many, and as many as there are others, the
heap is made anew."""


class Deadlines:
    """The deadlines of one node, in seconds of the monotonic clock; infinity for one that is not set."""

    __slots__ = ("_at", "_clock", "_earliest", "moments")

    def __init__(self, clock: WallClock) -> None:
        self.moments = Moments()
        self._clock = clock
        self._earliest = inf
        self._at = [inf] * _COUNT

    def set(self, which: int, at: float) -> None:
        """Set one of the named deadlines."""
        before = self._at[which]
        self._at[which] = at
        if at <= self._earliest:
            self._earliest = at
        elif before <= self._earliest:
            self._earliest = min(self._at)

    def is_due(self, which: int, now: float) -> bool:
        return now >= self._at[which]

    def is_any_due(self, now: float) -> bool:
        """Whether a named deadline is due."""
        return now >= self._earliest

    def is_moment_due(self, now: float) -> bool:
        """Whether the moment of some task is reached."""
        return self._clock.has_reached(self.moments.wakes_ms, now)

    def next(self) -> float:
        """The earliest of all deadlines, if the wall clock is not set before."""
        if self.moments.wakes_ms == NEVER_MS:
            return self._earliest
        return min(self._earliest, self._clock.monotonic_at(self.moments.wakes_ms))


class Moments:
    """One moment of the wall clock for each of many tasks: before it the task does not start, or after it not any more.

    Setting and dropping a moment takes logarithmic time. ``earliest_ms`` takes none, and is NEVER_MS if there is no
    moment. The part that sets a moment must take it out when it is reached: the node is woken for it in every turn
    until then, unless moments are held. ``wakes_ms``: the moment that the node is woken for.
    """

    __slots__ = ("_heap", "_is_held", "_ms", "earliest_ms", "wakes_ms")

    def __init__(self) -> None:
        self.earliest_ms = NEVER_MS
        self.wakes_ms = NEVER_MS
        self._is_held = False
        self._ms: dict[bytes, int] = {}
        self._heap: list[tuple[int, bytes]] = []  # may hold moments that were moved or dropped, but not in front

    def __len__(self) -> int:
        return len(self._ms)

    def set(self, task_id: bytes, ms: int) -> None:
        """Set the moment of a task, below NEVER_MS, in place of an earlier one."""
        self._ms[task_id] = ms
        heappush(self._heap, (ms, task_id))
        self._tidy()

    def drop(self, task_id: bytes) -> None:
        """Remove the moment of a task. Unknown ids are ignored."""
        if self._ms.pop(task_id, None) is not None:
            self._tidy()

    def take_reached(self, clock: WallClock, now: float) -> list[bytes]:
        """Take the tasks whose moments are reached, the earliest first, SLICE_MOMENTS at most: for the others the node
        is woken in its next turn. They have no moment from now on."""
        reached: list[bytes] = []
        while len(reached) < SLICE_MOMENTS and clock.has_reached(self.earliest_ms, now):
            task_id = self._heap[0][1]
            del self._ms[task_id]
            reached.append(task_id)
            self._tidy()
        return reached

    def hold(self, on: bool) -> None:
        """Whether the node is not woken for any of them for now."""
        self._is_held = on
        self._tidy()

    def clear(self) -> None:
        self._ms.clear()
        self._heap.clear()
        self._is_held = False
        self.earliest_ms = self.wakes_ms = NEVER_MS

    def _tidy(self) -> None:
        heap, known = self._heap, self._ms
        while heap and known.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        if len(heap) - len(known) > max(STALE_MOMENTS, len(known)):
            heap[:] = [(ms, task_id) for task_id, ms in known.items()]
            heapify(heap)
        self.earliest_ms = heap[0][0] if heap else NEVER_MS
        self.wakes_ms = NEVER_MS if self._is_held else self.earliest_ms
