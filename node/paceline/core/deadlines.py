"""When a node has something to do: named deadlines, moments of tasks, and which of all comes first.

The shell asks in every turn, and a deadline is set a few times in a heartbeat. So the earliest is kept, and searched
for again only when it is moved to a later moment. Moments of tasks are those of the wall clock (``wall_clock.py``); the
earliest of them is translated whenever it is asked for, as the clock may have been set since. Tasks that wait for a
time, and not for a moment, do so by the monotonic clock.
"""

from __future__ import annotations

from heapq import heappop, heappush
from math import inf
from typing import Final

from paceline.core.wall_clock import WallClock
from paceline_protocol.messages.records import TASK_ID_BYTES

CONSENSUS: Final = 0
"""An election timeout, a heartbeat, or another deadline of the log."""
HELLO: Final = 1
"""Hellos may be due to some addresses."""
REVIEW: Final = 2
"""Peers and sessions that have been silent for long may be forgotten."""
BEAT: Final = 3
"""A new leader says that it leads, before the next heartbeat."""
DRAIN: Final = 4
"""This node drains, and what it still runs is to be given back."""
_COUNT: Final = 5

NEVER_MS: Final = 1 << 60
"""A moment that no clock shows: some 36 million years from now."""
SLICE_MOMENTS: Final = 4_096
"""Moments that are met in a turn: a few milliseconds. A leader that met a million at once would be deposed over it."""
STALE_MOMENTS: Final = 64
"""Moments that were moved or dropped and are still kept: beyond so many, and as many as there are others, they are
sorted out."""
SORTED_OUT_AT_ONCE: Final = 8
"""Whenever a moment is set or dropped, so many are sorted out: all are before as many more are stale."""
STALE_AT_ONCE: Final = 2
"""Whenever a moment is set or dropped, so many stale ones in front are removed: they become fewer and fewer."""
_ID_BITS: Final = 8 * (TASK_ID_BYTES + 1)
_ID_MASK: Final = (1 << _ID_BITS) - 1


class Deadlines:
    """The deadlines of one node, in seconds of the monotonic clock; infinity for one that is not set."""

    __slots__ = ("_at", "_clock", "_earliest", "_monotonic", "dead", "fires", "moments", "retained", "waits")

    def __init__(self, clock: WallClock) -> None:
        self.moments = Moments()
        self.fires = Moments()  # of schedules; by the wall clock, too
        self.waits = Moments()  # of the monotonic clock
        self.retained = Moments()  # of tasks that have ended: until then their results are kept; as `waits`
        self.dead = Moments()  # the same, of dead tasks
        self._clock = clock
        self._monotonic = WallClock()
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
        """Whether the moment of some task, or of a schedule, is reached."""
        if self._clock.has_reached(min(self.moments.wakes_ms, self.fires.wakes_ms), now):
            return True
        return self._monotonic.has_reached(self._wakes_ms(), now)

    def _wakes_ms(self) -> int:
        """The earliest moment of the monotonic clock."""
        of_ended_ms = min(self.retained.wakes_ms, self.dead.wakes_ms)  # by twos: compiled, that is a comparison
        return min(self.waits.wakes_ms, of_ended_ms)

    def clear_tasks(self) -> None:
        """Nothing is to become of any task any more."""
        self.moments.clear()
        self.fires.clear()
        self.waits.clear()
        self.retained.clear()
        self.dead.clear()

    def next(self) -> float:
        """The earliest of all deadlines, if the wall clock is not set before."""
        earliest = self._earliest
        shown_ms = min(self.moments.wakes_ms, self.fires.wakes_ms)
        if shown_ms != NEVER_MS:
            earliest = min(earliest, self._clock.monotonic_at(shown_ms))
        wakes_ms = self._wakes_ms()
        if wakes_ms != NEVER_MS:
            earliest = min(earliest, self._monotonic.monotonic_at(wakes_ms))
        return earliest


def _moment(ms: int, task_id: bytes) -> int:
    """Both in one number, in the order of the moments. A byte in front keeps zeros that an id begins with."""
    return max(0, ms) << _ID_BITS | int.from_bytes(b"\1" + task_id)


def _id_of(moment: int) -> bytes:
    low = moment & _ID_MASK
    return low.to_bytes((low.bit_length() + 7) // 8)[1:]


class Moments:
    """One moment of a clock for each of many tasks: before it the task does not start, or after it not any more.

    Setting and dropping a moment takes logarithmic time, whatever was set and dropped before. ``earliest_ms`` takes
    none: no moment is before it, and it is NEVER_MS if nothing is kept. The part that sets a moment must take it out
    when it is reached: the node is woken for it in every turn until then, unless moments are held. ``wakes_ms``: the
    moment that the node is woken for.

    A moment that was moved or dropped is *stale*, and stays until it is in front or is sorted out. Either is done a few
    at a time, so ``earliest_ms`` may be that of a stale one: then the node is woken in vain, and removes it.

    A million may wait here, so each is one number: the milliseconds, and below them the id (:func:`_moment`).
    """

    __slots__ = ("_heap", "_is_held", "_known", "_unsorted", "earliest_ms", "wakes_ms")

    def __init__(self) -> None:
        self.earliest_ms = NEVER_MS
        self.wakes_ms = NEVER_MS
        self._is_held = False
        self._known: dict[bytes, int] = {}  # by the id of the task; what is in a heap and not here is stale
        self._heap: list[int] = []
        self._unsorted: list[int] = []  # another heap, which those that are not stale leave for the first

    def __len__(self) -> int:
        return len(self._known)

    def set(self, task_id: bytes, ms: int) -> None:
        """Set the moment of a task, below NEVER_MS, in place of an earlier one. If it is the same, nothing is done: a
        task whose moment is set whenever it comes back from a node would be kept here as often."""
        moment = _moment(ms, task_id)
        if self._known.get(task_id) == moment:
            return
        self._known[task_id] = moment
        heappush(self._heap, moment)
        self._tidy()

    def drop(self, task_id: bytes) -> None:
        """Remove the moment of a task. Unknown ids are ignored."""
        if self._known.pop(task_id, None) is not None:
            self._tidy()

    def take_reached(self, clock: WallClock, now: float) -> list[bytes]:
        """Take the tasks whose moments are reached, the earliest first; none while moments are held. SLICE_MOMENTS at
        most are looked at: for the others the node is woken in its next turn. They have no moment from now on."""
        reached: list[bytes] = []
        for _ in range(SLICE_MOMENTS):
            if not clock.has_reached(self.wakes_ms, now):
                break
            moment = heappop(self._front())
            task_id = _id_of(moment)
            if self._known.get(task_id) == moment:
                del self._known[task_id]
                reached.append(task_id)
            self._find_earliest()
        return reached

    def hold(self, on: bool) -> None:
        """Whether the node is not woken for any of them for now, and takes none when it is woken for another."""
        self._is_held = on
        self._find_earliest()

    def clear(self) -> None:
        self._known.clear()
        self._heap.clear()
        self._unsorted.clear()
        self._is_held = False
        self.earliest_ms = self.wakes_ms = NEVER_MS

    def _front(self) -> list[int]:
        """The heap that has the earliest moment in front."""
        heap, unsorted = self._heap, self._unsorted
        return unsorted if unsorted and (not heap or unsorted[0] < heap[0]) else heap

    def _find_earliest(self) -> None:
        front = self._front()
        self.earliest_ms = front[0] >> _ID_BITS if front else NEVER_MS
        self.wakes_ms = NEVER_MS if self._is_held else self.earliest_ms

    def _tidy(self) -> None:
        """Do a little of what removes stale moments."""
        heap, known = self._heap, self._known
        if self._unsorted:
            self._sort_out()
            heap = self._front()
        elif len(heap) - len(known) > max(STALE_MOMENTS, len(known)):
            self._unsorted, self._heap = heap, self._unsorted
        left = STALE_AT_ONCE
        while left and heap and known.get(_id_of(heap[0])) != heap[0]:
            heappop(heap)
            left -= 1
        self._find_earliest()

    def _sort_out(self) -> None:
        heap, unsorted, known = self._heap, self._unsorted, self._known
        for _ in range(min(SORTED_OUT_AT_ONCE, len(unsorted))):
            moment = unsorted.pop()  # the last of a heap: what is left is one
            if known.get(_id_of(moment)) == moment:
                heappush(heap, moment)
