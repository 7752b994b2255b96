"""The ledger of what RabbitMQ has given to the bridge and is still waiting to have acknowledged, and why.

The rule: **a delivery is acknowledged when the cluster holds all that is still owed for it.** If nobody waits for a
reply, that is when the task is accepted, or has ended, which implies it. If somebody does, it is when the final reply
is confirmed by RabbitMQ. So whenever the bridge dies, what is owed is either with RabbitMQ, which delivers again, or
with the cluster. A task that runs for longer than ``LONG_S`` is the exception: RabbitMQ gives up a consumer that keeps
a delivery for 30 minutes, so it is acknowledged before, and its reply is then owed by this process alone: it goes on
to the next life of the bridge, where the task is submitted again, under its id, to hear how it ended.

What is submitted and has not ended is bounded by the window, which the caller sets; what is delivered and over the
window waits here, at most the prefetch of each queue, and the rest stays with RabbitMQ. What has waited for
``GIVE_BACK_S`` goes back to RabbitMQ, too, which delivers it anew.

Pure: no socket, no clock. It tells by its return values what is to be done.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from paceline_bridge.message import Message, Refused, ReplyAddress, TaskCall

STARTED_AFTER_S = 0.2
"""A caller is told STARTED if its task has not ended so long after the bridge has submitted it."""
LONG_S = 15 * 60.0
GIVE_BACK_S = 20 * 60.0

Tag = tuple[int, int]
"""(channel number, delivery tag): what RabbitMQ calls a delivery."""


@dataclass(slots=True)
class Delivery:
    """One message, not acknowledged."""

    tag: Tag
    message: Message
    reply: ReplyAddress | None
    protocol: str
    acked: bool = False


@dataclass(slots=True)
class Entry:
    """One task, and the deliveries that asked for it: more than one if a message was published twice."""

    call: TaskCall
    since: float
    deliveries: list[Delivery] = field(default_factory=list)
    submitted: bool = False
    accepted: bool = False
    told_started: bool = False
    outcome: tuple[int, bytes] | Refused | None = None


class Ledger:
    """Every task that was asked for and is not settled."""

    def __init__(self) -> None:
        self.entries: dict[bytes, Entry] = {}
        self._waiting: deque[bytes] = deque()
        self.outstanding = 0  # submitted and not ended
        self.unacked = 0

    @property
    def waiting(self) -> int:
        """Delivered, and not submitted yet."""
        return len(self._waiting)

    def owed(self) -> list[Entry]:
        """The tasks with replies that RabbitMQ will not ask for again, since their deliveries are acknowledged."""
        found = []
        for entry in self.entries.values():
            deliveries = [delivery for delivery in entry.deliveries if delivery.acked and delivery.reply is not None]
            if deliveries:
                found.append(Entry(entry.call, entry.since, deliveries, told_started=entry.told_started))
        return found

    def carry(self, owed: list[Entry]) -> None:
        """Take on what an earlier ledger owed. Before anything else."""
        for entry in owed:
            self.entries[entry.call.task_id] = entry
            self._waiting.append(entry.call.task_id)

    def delivered(self) -> None:
        """RabbitMQ waits for one more acknowledgement."""
        self.unacked += 1

    def add(self, call: TaskCall, delivery: Delivery, now: float) -> bool:
        """What a delivery asks for. True if it can be settled at once: the task has ended, or was accepted, by what an
        earlier delivery brought."""
        entry = self.entries.get(call.task_id)
        if entry is None:
            self.entries[call.task_id] = Entry(call, now, [delivery])
            self._waiting.append(call.task_id)
            return False
        entry.deliveries.append(delivery)
        return entry.outcome is not None or (entry.accepted and call.reply is None)

    def take(self, window: int) -> TaskCall | None:
        """The next task to submit, None if there is none or the window is full."""
        if not self._waiting or self.outstanding >= window:
            return None
        entry = self.entries[self._waiting.popleft()]
        entry.submitted = True
        self.outstanding += 1
        return entry.call

    def put_back(self, task_id: bytes) -> None:
        """The cluster has no room for it now: it is submitted again later, after what waits."""
        self.entries[task_id].submitted = False
        self.outstanding -= 1
        self._waiting.append(task_id)

    def give_back(self, now: float) -> list[Delivery]:
        """Forget the tasks whose turn did not come. Returns their deliveries, on which RabbitMQ would soon give up."""
        if not self._waiting:
            return []
        found: list[Delivery] = []
        gone: set[bytes] = set()
        for task_id, entry in self.entries.items():
            if now < entry.since + GIVE_BACK_S:
                break
            if entry.submitted:
                continue
            found += [delivery for delivery in entry.deliveries if not delivery.acked]
            entry.deliveries = [delivery for delivery in entry.deliveries if delivery.acked]
            if not entry.deliveries:
                gone.add(task_id)
        if gone:
            self._waiting = deque(task_id for task_id in self._waiting if task_id not in gone)
            for task_id in gone:
                del self.entries[task_id]
        self.unacked -= len(found)
        return found

    def accept(self, task_id: bytes) -> list[Delivery]:
        """The deliveries to settle since the cluster has the task."""
        entry = self.entries.get(task_id)
        if entry is None or entry.outcome is not None:
            return []
        entry.accepted = True
        return [delivery for delivery in entry.deliveries if delivery.reply is None]

    def end(self, task_id: bytes, outcome: tuple[int, bytes] | Refused) -> list[Delivery]:
        """The deliveries to settle since the task has ended, or the cluster does not take it. If none is left, it is
        forgotten."""
        entry = self.entries.get(task_id)
        if entry is None or entry.outcome is not None:
            return []
        self.outstanding -= 1
        entry.outcome = outcome
        if not entry.deliveries:
            del self.entries[task_id]
        return list(entry.deliveries)

    def settle(self, task_id: bytes, delivery: Delivery) -> None:
        """Nothing more is owed for this delivery. A task that has ended is forgotten with its last one."""
        self.acked(delivery)
        entry = self.entries[task_id]
        entry.deliveries.remove(delivery)
        if entry.outcome is not None and not entry.deliveries:
            del self.entries[task_id]

    def acked(self, delivery: Delivery) -> None:
        """It is acknowledged, whatever else is owed."""
        if not delivery.acked:
            delivery.acked = True
            self.unacked -= 1

    @property
    def unaccepted(self) -> bool:
        """Whether a task that nobody waits for is submitted, and not accepted yet."""
        return any(
            entry.submitted
            and not entry.accepted
            and entry.outcome is None
            and entry.call.reply is None
            and not entry.call.expired
            for entry in self.entries.values()
        )

    def due_started(self, now: float) -> list[ReplyAddress]:
        """The callers to tell that their task goes on."""
        found: list[ReplyAddress] = []
        for entry in self.entries.values():
            if now < entry.since + STARTED_AFTER_S:
                break  # in the order of arrival
            if entry.accepted and entry.outcome is None and not entry.told_started:
                entry.told_started = True
                found += [delivery.reply for delivery in entry.deliveries if delivery.reply is not None]
        return found

    def accepted_before(self, moment: float) -> list[bytes]:
        """Tasks that have not ended, and were delivered before the moment. A message that was published twice may be at
        two bridges, and the cluster tells the end to the one that submitted last: whoever waits for long asks again."""
        return [
            task_id
            for task_id, entry in self.entries.items()
            if entry.since < moment and entry.accepted and entry.outcome is None
        ]

    def long_running(self, now: float) -> list[Delivery]:
        """Deliveries of accepted tasks that RabbitMQ would soon give up on."""
        found: list[Delivery] = []
        for entry in self.entries.values():
            if now < entry.since + LONG_S:
                break
            # Of what is looked up nothing is told but its end; had the cluster not had it, it had said so.
            if entry.accepted or (entry.submitted and entry.call.expired):
                found += [delivery for delivery in entry.deliveries if not delivery.acked]
        return found
