"""The tasks that each node was given and has not answered for, and which node is given the next task.

A node may hold its slots plus a few spare tasks, which hide one round trip; and it may hold more than that as long as
everything it holds is expected to take less than ``SPARE_TIME_US`` a slot, so that short tasks travel in batches (see
``durations.py``). Credit follows from this and is never guessed from socket buffers.

A task waits at a node only for what is about to end: behind a long task it would wait while another node has a slot
free. So a node gets no spare task once as many long tasks as it has slots are there. What tasks take is only expected:
what has waited at a node for ``OVERDUE_S`` is asked back, and until one of its tasks ends the node gets no more than
its slots hold (:meth:`NodeLedger.overdue`).

Nor may a node have more on its way to it than a window of bytes, or one task: what is large for the network waits here,
where it can go to any node, and not in front of all else that the connection to this one carries. What has arrived, the
node says (``nodes.py``).

A task that waits for another one has given its slot back, and is *parked* (``work/parking.py``). It is held as before,
and takes no slot: all that is said here of what a node holds is said of the others. Meanwhile a node gets no spare task
that is not short: it would begin at once when the next task is parked, and before what that waits for.

Calls that are handed to their function together take one slot: the first of them is charged, and the others *ride*
with it. A later leader, which adopts them, does not know which went together, and takes as many for one call as may
have been.

A node has one ledger more if it runs many tasks at once in a worker: of those tasks, which have slots of their own.
There it holds what its workers run at once, and nothing beyond: such a task does not wait for the end of another, so
that none has to stand by. Neither ledger counts what is in the other: however many tasks of one kind there are, they
take no slot of the other kind (decision 47).

The nodes of a lane are kept in order, the next one in front, as a heap: a task costs the logarithm of their number,
however many there are. First those that hold less than their slots and spare tasks, the least loaded in front; behind
them those that have only time left for short tasks, the one with most in front; and between the two the nodes on which
all tasks crash (``LOSSES_IN_A_ROW``). So if the first has no credit for a task, no other has.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final

from paceline.core.scheduling.placement import Room
from paceline.core.state.task import Task
from paceline_protocol.limits import MAX_INT

SPARE_TIME_US: Final = 2_000
OVERDUE_S: Final = 0.2
"""A task that has waited at its node for so long waits at the leader instead. Long beside a round trip."""
LONG_US: Final = int(OVERDUE_S * 1e6)
"""A task that is expected to take so long is long: what stood behind it would be asked back."""
ASKED_BACK_TASKS: Final = 4_096
"""At a time, of one node."""
WINDOW_PARTS: Final = 64
"""What is on its way to a node is remembered in such parts of its window: Dispatches that take less than one are
remembered together. A node that names none would have any number of them remembered, as each may take a byte."""

LOSSES_IN_A_ROW: Final = 3
"""After so many ends of workers and no end of a task, a node is given a task only if no other has credit for it. A
machine on which every task crashes would be free again at once each time, and so attract those of all others."""

RIDES: Final = 0
"""What a task is expected to take that goes with another. No other is expected to take nothing."""
ASYNC_SUFFIX: Final = " async"
"""No node id has a space."""
_NO_CREDIT: Final = (0, -1)  # in tasks, and in time
_DOUBTFUL: Final = 1e12
_FULL: Final = 1e15
"""Nodes that have room for short tasks only have ranks from about here on."""


class NodeLedger:
    """The tasks that one node was given and has not answered for."""

    __slots__ = (
        "_cost_limit_us",
        "_count_limit",
        "_is_stuck",
        "_long",
        "_losses",
        "_part_bytes",
        "_part_seq",
        "_sent",
        "_window_bytes",
        "announced",
        "cost_us",
        "held",
        "is_async",
        "key",
        "names",
        "node_id",
        "on_way_bytes",
        "parked",
        "parked_cost_us",
        "parked_long",
        "queues",
        "rank",
        "riding",
        "room",
        "seats",
        "slots",
    )

    def __init__(
        self,
        node_id: str,
        slots: int,
        names: frozenset[str],
        window_bytes: int = MAX_INT,
        *,
        is_async: bool = False,
        room: Room | None = None,
    ) -> None:
        """``is_async``: of the tasks of one node that run many at once in a worker. ``key``: of the ledger, where those
        of all nodes stand side by side. ``room``: of its node, which both of its ledgers share."""
        self.node_id = node_id
        self.is_async = is_async
        self.key = node_id + ASYNC_SUFFIX if is_async else node_id
        self.announced = names  # all names of its node
        self.queues: frozenset[str] = frozenset()  # those whose tasks its node takes; empty: of all
        self.room = room if room is not None else Room()
        self.held: dict[bytes, Task] = {}
        self.parked: dict[bytes, bytes] = {}  # which of them wait for other tasks, and for which
        self.parked_cost_us = 0  # of these alone
        self.parked_long = 0
        self.cost_us = 0
        self.riding = 0  # of those that it holds: they go with others, and take no slot
        self.on_way_bytes = 0  # of arguments, given to the node and not known to have arrived
        self._window_bytes = window_bytes
        self._sent: deque[tuple[int, int]] = deque()  # (number of the last, bytes) of the Dispatches of a part
        self._part_seq = 0  # the same of the part that grows, behind them
        self._part_bytes = 0
        self._long = 0  # of the tasks that it holds
        self._is_stuck = False  # tasks have waited there for too long, and since then none has ended
        self._losses = 0  # attempts that were lost with workers there since a task last ended
        self.slots = 0
        self.rank = 0.0
        self.seats: list[Seat] = []
        self.resize(slots, names)

    def resize(self, slots: int, names: frozenset[str]) -> None:
        """The node has this many workers now, which can run these tasks. Without workers it gets nothing."""
        for seat in self.seats:
            seat.row.slots += slots - self.slots
        self.slots = slots
        self.names = names
        self.moved()

    def takes(self, queue: str) -> bool:
        """Whether its node takes tasks of this queue."""
        return not self.queues or queue in self.queues

    def put(self, task: Task, cost_us: int) -> None:
        """The node is given a task. After the last of several, call moved()."""
        task.node = self.node_id
        task.is_async = self.is_async
        task.cost_us = cost_us
        self.held[task.id] = task
        self.cost_us += cost_us
        if cost_us >= LONG_US:
            self._long += 1
        if task.options is not None and task.options.is_placed:
            self.room.take(task.options.amounts)
            self.riding += cost_us == RIDES

    def give(self, task: Task, cost_us: int) -> None:
        """The node is given a task that is to be sent there; see put()."""
        self.put(task, cost_us)
        self.on_way_bytes += task.sent_bytes
        if self.on_way_bytes >= self._window_bytes:
            self._count_limit, self._cost_limit_us = _NO_CREDIT

    def sent(self, seq: int, size_bytes: int) -> None:
        """The Dispatch of this number has left, with so many bytes of arguments."""
        if not size_bytes:
            return
        if self._part_bytes and self._part_bytes + size_bytes > self._window_bytes // WINDOW_PARTS:
            self._sent.append((self._part_seq, self._part_bytes))
            self._part_bytes = 0
        self._part_seq = seq
        self._part_bytes += size_bytes

    def sent_bytes(self) -> int:
        """What has left and is not known to have arrived."""
        return sum(size_bytes for _, size_bytes in self._sent) + self._part_bytes

    def arrived(self, seq: int) -> None:
        """The Dispatches up to this number have arrived."""
        before, sent = self.on_way_bytes, self._sent
        while sent and sent[0][0] <= seq:
            self.on_way_bytes -= sent.popleft()[1]
        if self._part_seq <= seq:  # and so are all before
            self.on_way_bytes -= self._part_bytes
            self._part_bytes = 0
        if before >= self._window_bytes > self.on_way_bytes:
            self.moved()

    def park(self, tasks: dict[bytes, bytes]) -> None:
        """These of its tasks, and no others, wait for other tasks."""
        held = self.held
        self.parked = {task_id: waits_for for task_id, waits_for in tasks.items() if task_id in held}
        self.parked_cost_us = sum([held[task_id].cost_us for task_id in self.parked])
        self.parked_long = sum([held[task_id].cost_us >= LONG_US for task_id in self.parked])
        self.moved()

    def park_too(self, task_id: bytes, waits_for: bytes) -> None:
        """This one does, too."""
        if task_id in self.held and task_id not in self.parked:
            self.park({**self.parked, task_id: waits_for})

    def goes_on(self, task_id: bytes) -> None:
        """What this one waited for has ended."""
        if task_id in self.parked:
            self._goes_on(self.held[task_id])
            self.moved()

    def _goes_on(self, task: Task) -> None:
        if self.parked.pop(task.id, b""):
            self.parked_cost_us -= task.cost_us
            self.parked_long -= task.cost_us >= LONG_US

    @property
    def busy(self) -> int:
        """How many tasks it holds that are not parked, and do not ride with others."""
        return len(self.held) - len(self.parked) - self.riding

    def take(self, task: Task) -> None:
        """The node has answered for a task that it was given."""
        del self.held[task.id]
        if self.parked:
            self._goes_on(task)
        if task.is_starting:  # it was never sent
            self.on_way_bytes -= task.sent_bytes
        self.cost_us -= task.cost_us
        if task.cost_us >= LONG_US:
            self._long -= 1
        if task.options is not None and task.options.is_placed:
            self.room.give_back(task.options.amounts)
            self.riding -= task.cost_us == RIDES
        self.moved()

    def overdue(self, now: float) -> list[Task]:
        """The tasks that the node was sent OVERDUE_S ago, if they are more than its workers can have begun: which these
        are, the node knows. Then it is stuck until a task ends there."""
        if self.busy <= self.slots:
            return []
        overdue: list[Task] = []
        limit = self.slots + len(self.parked) + ASKED_BACK_TASKS
        riding = 0
        for task in islice(self.held.values(), limit):  # in the order in which they were sent
            if task.sent_at > now - OVERDUE_S:
                break
            if task.is_dispatched and task.id not in self.parked:
                overdue.append(task)
                riding += task.cost_us == RIDES
        if len(overdue) - riding <= self.slots:
            return []
        if not self._is_stuck:
            self._is_stuck = True
            self.moved()
        return overdue

    def task_ended(self, losses: int = 0) -> None:
        """The node has reported the end of a task, or so many attempts as lost with workers."""
        if losses:
            self._losses += losses
        elif not self._losses and not self._is_stuck:
            return
        else:
            self._losses = 0
        self._is_stuck = False
        self.moved()

    def has_credit(self, cost_us: int) -> bool:
        """Whether the node may be given a task of this expected time."""
        return self.busy < self._count_limit or self.has_time(cost_us)

    @property
    def is_doubtful(self) -> bool:
        """Whether all tasks crash there (``LOSSES_IN_A_ROW``)."""
        return self._losses >= LOSSES_IN_A_ROW

    def has_place(self) -> bool:
        """Whether it holds less than its slots and spare tasks."""
        return len(self.held) - self.riding < self._count_limit

    def has_time(self, cost_us: int) -> bool:
        """Whether it may even beyond its number of tasks, since all that it holds is short."""
        return self.cost_us - self.parked_cost_us + cost_us <= self._cost_limit_us

    def moved(self) -> None:
        """Find the node's new limits, and its new place in its rows."""
        held, slots = self.busy, self.slots
        gets_no_spare = self._is_stuck or self._long - self.parked_long >= slots or len(self.parked) > 0
        self._count_limit = slots if gets_no_spare else slots + (slots + 1) // 2
        self._cost_limit_us = 0 if self._is_stuck else slots * SPARE_TIME_US
        if self.is_async:
            self._count_limit, self._cost_limit_us = slots, -1
        if self.on_way_bytes >= self._window_bytes:
            self._count_limit, self._cost_limit_us = _NO_CREDIT
        if held < self._count_limit:
            self.rank = held / slots + (_DOUBTFUL if self._losses >= LOSSES_IN_A_ROW else 0.0)
        else:
            self.rank = _FULL + (self.cost_us - self.parked_cost_us - self._cost_limit_us)
        for seat in self.seats:
            seat.row.move(seat)


class Seat:
    """The place of one node in the row of one lane."""

    __slots__ = ("index", "ledger", "place", "row")

    def __init__(self, row: Row, ledger: NodeLedger, place: int) -> None:
        self.row = row
        self.ledger = ledger
        self.place = place  # of equal ones the lowest comes first
        self.index = place  # in the heap


class Row:
    """The nodes that can run the tasks of a lane. ``slots``: of all of them together."""

    __slots__ = ("_heap", "slots")

    def __init__(self, ledgers: Iterable[NodeLedger]) -> None:
        """``ledgers``: of equally loaded nodes the first is taken first."""
        self._heap: list[Seat] = []
        self.slots = 0
        for ledger in ledgers:
            self.slots += ledger.slots
            seat = Seat(self, ledger, len(self._heap))
            self._heap.append(seat)
            ledger.seats.append(seat)
            self._rise(seat)

    def leave(self) -> None:
        """The nodes are in this row no longer."""
        for seat in self._heap:
            seat.ledger.seats.remove(seat)
        self._heap = []

    def next(self, cost_us: int) -> NodeLedger | None:
        """The node for a task of this expected time; None if no node has the credit."""
        if not self._heap:
            return None
        ledger = self._heap[0].ledger
        return ledger if ledger.has_credit(cost_us) else None

    def move(self, seat: Seat) -> None:
        """The rank of a seat's node has changed."""
        if len(self._heap) > 1:
            self._rise(seat)
            self._sink(seat)

    def _rise(self, seat: Seat) -> None:
        heap, index = self._heap, seat.index
        while index:
            above = heap[(index - 1) >> 1]
            if not _precedes(seat, above):
                break
            heap[index] = above
            above.index, index = index, above.index
        heap[index] = seat
        seat.index = index

    def _sink(self, seat: Seat) -> None:
        heap, index, end = self._heap, seat.index, len(self._heap)
        while (child := 2 * index + 1) < end:
            if child + 1 < end and _precedes(heap[child + 1], heap[child]):
                child += 1
            below = heap[child]
            if not _precedes(below, seat):
                break
            heap[index] = below
            below.index, index = index, child
        heap[index] = seat
        seat.index = index


def _precedes(one: Seat, other: Seat) -> bool:
    mine, theirs = one.ledger.rank, other.ledger.rank
    return mine < theirs or (mine == theirs and one.place < other.place)
