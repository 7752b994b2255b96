"""How many workers a node has, between the fewest and the most that it may have.

It has more as tasks wait that it could run. Whether any do, the leader alone knows: a node with all its workers busy
asks, every LOOK_S, for how many more there would be use (``core/scheduling/demand.py``). It starts as many, and at most
as many as it has: so a short burst starts few processes, and a long queue all of them within some seconds. Before the
new ones are ready it does not ask again. Each node with busy workers is told the same number, so that several may start
more together than one would have to; those go again.

It has fewer once it did not need them for KEPT_S: the most workers that were busy in that time stay. One leaves at a
time, between two tasks, and its modules need not be imported again for the next burst within that time. One that is not
ready leaves first: where modules can't be imported any more, those that are would have no successors.

Beside these it has *stand-ins*, as tasks that wait for others give their slots back (``core/work/parking.py``): one at
most for each of them, started once tasks wait for such a slot, and all of them at once: each is waited for by somebody
who can't go on. They go as others do, once there were more than tasks that waited for KEPT_S.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import Final

LOOK_S: Final = 0.25
KEPT_S: Final = 60.0
_PARTS: Final = 6
"""Of KEPT_S, for each of which it is remembered how many workers were busy; and of one more, which grows."""
NOT_NEEDED: Final = "there was nothing to do for it"
"""Why a worker leaves in whose place nobody is to be."""


class Scaling:
    """Of one node. ``size``: how many workers there are to be. ``look_at``: when to look next; inf: never, as there are
    always as many."""

    def __init__(self, fewest: int, most: int) -> None:
        self.size = fewest
        self.look_at = inf if fewest == most else 0.0
        self._fewest = fewest
        self._most = most
        self._busiest: deque[int] = deque([0], _PARTS + 1)  # the most busy workers in each part, the current one last
        self._part_ends_at = 0.0
        self._kept_until = 0.0

    def look(self, busy: int, now: float) -> None:
        """So many workers run something."""
        self.look_at = now + LOOK_S
        if not self._part_ends_at:
            self._kept_until = now + KEPT_S
        if now >= self._part_ends_at:
            self._busiest.append(0)
            self._part_ends_at = now + KEPT_S / _PARTS
        self._busiest[-1] = max(self._busiest[-1], busy)

    def asks(self, busy: int, ready: int) -> bool:
        """Whether to ask for how many more workers there would be use."""
        return self.size <= ready == busy and self.size < self._most

    def grow(self, wanted: int, now: float) -> int:
        """There would be use for so many more. Returns how many are to be started."""
        more = min(wanted, self._most - self.size, self.size)
        if more > 0:
            self.size += more
            self._kept_until = now + KEPT_S
        return max(0, more)

    def may_shrink(self, now: float) -> bool:
        """Whether one may leave: fewer were busy for KEPT_S, and that long ago the last ones were started."""
        needed = max(self._fewest, *self._busiest)
        return now >= self._kept_until and self.size > needed

    def shrink(self) -> None:
        """One leaves."""
        self.size -= 1


class StandIns:
    """Of one node. ``count``: how many workers there are to be beyond the slots. ``look_at``: when to look next; inf:
    never, as there are none."""

    def __init__(self) -> None:
        self.count = 0
        self.look_at = inf
        self._needed_at = 0.0  # when each of them was needed last

    def start(self, parked: int, waiting: int, now: float) -> int:
        """So many tasks have given their slots back, and so many wait for a slot. Returns how many stand-ins are to be
        started."""
        more = max(0, min(parked - self.count, waiting))
        if more:
            self.count += more
            self._needed_at = now
            self.look_at = now + LOOK_S
        return more

    def may_leave(self, parked: int, now: float) -> bool:
        """Whether one may: that many were not needed for KEPT_S. To be called at ``look_at``."""
        self.look_at = now + LOOK_S
        if parked >= self.count:
            self._needed_at = now
        return now >= self._needed_at + KEPT_S

    def leaves(self) -> None:
        """One leaves."""
        self.count -= 1
        if not self.count:
            self.look_at = inf
