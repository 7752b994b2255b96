"""Paces: how many tasks of one name and key may start in a second, a minute or an hour (``rate``).

A pace has as many *turns* as tasks may start together, most often one. A task takes one when it is handed out. It
starts at some moment after that, when its node gives it to a worker, which the node then says; so the turn comes back
one *window* after the leader has heard that the task has started, or that it has left its node. Of any tasks that start
within one window, the last that was handed out found the turns of the others taken. So in each window no more start
than there are turns, however long a frame travels or a task stands behind another one. A period consists of so many
whole windows that no more start in it than may.

A leader that is new does not know which tasks have started before. All turns are taken until one window after the nodes
have said what they hold: of a pace of "5/h" that is 12 minutes, as one of its tasks starts in 12 minutes, and not five
in an hour. Nothing of that is in the log: a start costs no entry, and no clock of another machine counts.

Here no clock is read: what comes back is counted, and given its moment once the turn of the leader has a time
(:meth:`Pace.time`).
"""

from __future__ import annotations

from collections import deque
from math import ceil
from typing import Final

from paceline_protocol.rates import PERIODS_S, parts_of

TOGETHER_S: Final = 0.1
"""So many as may start in this time may start together: nobody is woken more often for them."""
_KEY_BYTES: Final = 8


class Pace:
    """The starts of those tasks of one gate that say the same rate. ``turns``: as many may start in ``window_ms``.
    ``taken``: how many turns are."""

    __slots__ = ("_comes_back", "_returned", "_unknown", "key", "rate", "taken", "turns", "under_way", "window_ms")

    def __init__(self, number: int, rate: int, *, is_known: bool) -> None:
        """``number``: of no other pace. ``is_known``: nothing has started before this leader."""
        self.key = number.to_bytes(_KEY_BYTES)
        self.rate = rate
        count, unit = parts_of(rate)
        self.turns = _turns(count, int(count * TOGETHER_S / PERIODS_S[unit]))
        self.window_ms = ceil(PERIODS_S[unit] * 1_000 / (count // self.turns))
        self.under_way: set[bytes] = set()  # handed out, and not known to have started
        self._returned = 0  # turns that are to come back one window from now on
        self._unknown = 0 if is_known else self.turns  # likewise, from when the leader knew what runs
        self._comes_back: deque[tuple[int, int]] = deque()  # when, and how many
        self.taken = self._unknown

    @property
    def free(self) -> int:
        """How many tasks may be handed out."""
        return self.turns - self.taken

    @property
    def is_idle(self) -> bool:
        return not self.taken

    @property
    def next_ms(self) -> int:
        """When the next turn comes back, by the monotonic clock; 0 if that is not known."""
        return self._comes_back[0][0] if self._comes_back else 0

    def takes(self, task_id: bytes) -> None:
        """A task is handed out, or is at a node."""
        if task_id not in self.under_way:
            self.under_way.add(task_id)
            self.taken += 1

    def starts(self, task_id: bytes) -> bool:
        """It has started, or has left its node. False if that is no news."""
        if task_id not in self.under_way:
            return False
        self.under_way.remove(task_id)
        self._returned += 1
        return True

    def time(self, now: float, known_since: float) -> None:
        """Give what was returned its moment, and take back what has come. ``known_since``: when this leader knew what
        runs."""
        if self._unknown:
            self._comes_back.append((ceil(known_since * 1_000) + self.window_ms, self._unknown))
            self._unknown = 0
        if self._returned:
            self._comes_back.append((ceil(now * 1_000) + self.window_ms, self._returned))
            self._returned = 0
        while self._comes_back and now >= self._comes_back[0][0] / 1_000:
            self.taken -= self._comes_back.popleft()[1]

    def wrong(self, at_nodes: set[bytes]) -> str:
        """What is counted wrongly; "" if nothing is. ``at_nodes``: its tasks that are."""
        back = sum([count for _, count in self._comes_back])
        if self.taken != len(self.under_way) + self._returned + self._unknown + back:
            return f"{self.taken} turns are counted as taken"
        if not self.under_way <= at_nodes:
            return f"{len(self.under_way)} tasks have turns and have not started, and not all of them are at nodes"
        return ""


def _turns(count: int, most: int) -> int:
    """How many may start together, so that hardly fewer than ``count`` start in a period of whole windows."""
    if most <= 1:
        return 1
    return min(range((most + 1) // 2, most + 1), key=lambda turns: (count % turns, -turns))
