"""Tasks of this node that wait for other tasks, and so give their slots back.

A task that waits for the result of another one runs nothing. Did it keep its slot, as many such tasks as there are
slots would wait for ever: what they wait for needs a slot, too. So it is *parked*: its worker process is its own as
before, and its slot is free. What takes the slot runs in a worker that is idle, or in a *stand-in*, one more process
that the node starts for it (``runtime/children/scaling.py``).

What is kept is who waits for what, and nothing else: how many slots are in use follows. A task that goes on asks
nobody, as it holds a process and perhaps locks and connections that others need. Then more may run than there are
slots, for as long as the shortest of them takes: the node binds nothing to a worker before they are fewer again, and
the leader, which counts in the same way, sends it nothing.

A process has memory, so at most ``limit`` tasks are parked. Of what waits beyond, each keeps its slot, until one of
those before it goes on.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from paceline_protocol.limits import MAX_INT

ANY_SLOTS: Final = MAX_INT
"""As many as there are workers."""


class Parking:
    """Of the workers of one node that run one task at a time. ``waiting``: their tasks that wait, each with the one
    that it waits for, in the order in which they began to. ``slots``: how many of the others run at a time."""

    def __init__(self, limit: int) -> None:
        """``limit``: how many tasks are parked at most."""
        self.waiting: dict[bytes, bytes] = {}
        self.slots = ANY_SLOTS
        self._limit = limit

    @property
    def count(self) -> int:
        """How many tasks are parked."""
        return min(len(self.waiting), self._limit)

    @property
    def tasks(self) -> tuple[tuple[bytes, bytes], ...]:
        """The parked ones, each with the task that it waits for."""
        return tuple(islice(self.waiting.items(), self._limit))

    def room(self, busy: int) -> int:
        """How many workers more may be given a task, if so many have one."""
        return max(0, self.slots - busy + self.count)
