"""The ledger of the deliveries that RabbitMQ has sent to the bridge and that the bridge has not acknowledged yet.

The rule: **the bridge acknowledges a delivery when the cluster holds all that is still owed for it.** If nobody waits
for a reply, that is when the task is accepted, or has ended: then nothing is owed, even if the leader that has told the
end dies before any log has it. If a caller waits, it is when RabbitMQ has confirmed the final reply. So whenever the
bridge dies, either RabbitMQ delivers again, or the cluster has the task. A task that runs for longer than ``LONG_S`` is
the exception: RabbitMQ gives up a consumer that keeps a delivery for 30 minutes, so the bridge acknowledges it earlier.
Then only this process knows that a reply is owed. It keeps what the reply needs, once however many messages asked for
the same reply, and no body and no arguments, of which nobody knows how much there would be. It passes the task on to
the next life of the bridge, which waits at the cluster to learn how it ends.

The caller sets a window, which bounds the tasks that are submitted and have not ended. Deliveries beyond the window
wait here, at most the prefetch of each queue, and all others stay with RabbitMQ. A delivery that has waited for
``GIVE_BACK_S`` is returned to RabbitMQ, which delivers it anew.

A task that may not start yet is **delayed** once the cluster has accepted it (``delayed.py``). It takes no place in the
window, so that any number of them keep no other task waiting. When its moment comes, it is treated as if it had just
been delivered, but that it still takes no place. So is a task that has failed and waits to be tried again, once the
cluster has said so (``POSTPONED_S``).

Pure: no socket, no clock. Return values say what the caller has to do.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from paceline_bridge.delayed import RETAIN_S, Delayed
from paceline_bridge.message import Refused, ReplyAddress, TaskCall
from paceline_bridge.owed import Delivery, OwedTask

STARTED_AFTER_S = 0.2
"""A caller is told STARTED if its task has not ended so long after the bridge has submitted it."""
LONG_S = 15 * 60.0
GIVE_BACK_S = 20 * 60.0
POSTPONED_S = 1.0
"""A task that is tried again sooner keeps its place in the window: most of such tasks are about to run."""
RETAINED_BYTES = 128 << 20
"""Half of what a bridge of one queue may hold unless it is told otherwise."""
LARGE_BYTES = 64 << 10
"""Of packed arguments: they are let go of as soon as the cluster has them."""
CALLERS_LIMIT = 100
"""How many replies of one task may be owed for deliveries that are acknowledged, until no other caller joins them."""


class Ledger:
    """Every task that a delivery asked for, until all of its deliveries are settled. ``entries``: all of them, for
    others to read only."""

    def __init__(self, retained_limit: int, patience: float = 1.0, *, retained_bytes: int = RETAINED_BYTES) -> None:
        """How many deliveries of a queue may stay unacknowledged for delayed tasks, and what these may weigh.
        ``patience``: RabbitMQ's, as a part of the 30 minutes that the limits here are made for."""
        self._long_s = LONG_S * patience
        self._give_back_s = GIVE_BACK_S * patience
        self.entries: dict[bytes, OwedTask] = {}
        self._in_turn: dict[bytes, OwedTask] = {}  # without those whose moment is ahead, in order of ``since``
        self._waiting: deque[bytes] = deque()
        self._delayed = Delayed(retained_limit, retained_bytes, RETAIN_S * patience)
        self.outstanding = 0  # submitted and not ended, without those that are delayed or were
        self.delayed = 0  # those
        self.unacked = 0

    @property
    def waiting(self) -> int:
        """How many tasks were delivered and are not submitted yet."""
        return len(self._waiting)

    def owed(self) -> list[OwedTask]:
        """The tasks with replies that RabbitMQ will not ask for again, since their deliveries are acknowledged. In
        order of ``since``."""
        found = []
        for entry in sorted(self.entries.values(), key=lambda entry: entry.since):
            deliveries = [delivery for delivery in entry.deliveries if delivery.acked and delivery.reply is not None]
            if deliveries:
                found.append(replace(entry, deliveries=deliveries, outcome=None))
        return found

    def carry(self, owed: list[OwedTask]) -> None:
        """Take over the replies that the last life's ledger owed. To be called first. The cluster has accepted these
        tasks: nobody submits them again."""
        for entry in owed:
            self.entries[entry.call.task_id] = entry
            if entry.delayed:
                self.delayed += 1
                self._delayed.add(entry)  # until the next moment, if its own has passed
            else:
                self.outstanding += 1
                self._in_turn[entry.call.task_id] = entry

    def delivered(self) -> None:
        """A message was delivered: RabbitMQ waits for one more acknowledgement."""
        self.unacked += 1

    def add(self, call: TaskCall, delivery: Delivery, now: float, due_s: float = 0.0) -> bool:
        """Add the call that a delivery asks for. ``due_s``: when its task may start, if that is not yet. True if the
        delivery can be settled at once, because an earlier delivery of the same task has led to its acceptance or its
        end."""
        entry = self.entries.get(call.task_id)
        delivery.came_s = now
        if entry is None:
            entry = OwedTask(call, now, max(now, due_s), [delivery])
            self.entries[call.task_id] = self._in_turn[call.task_id] = entry
            self._waiting.append(call.task_id)
            return False
        entry.deliveries.append(delivery)
        if call.task_id in self._delayed:
            self._delayed.retain(entry, delivery)
        return entry.outcome is not None or (entry.accepted and call.reply is None and not entry.call.is_late)

    def is_crowded(self, call: TaskCall) -> bool:
        """Whether so many callers wait for the task already, of messages that are acknowledged, that no other can."""
        entry = self.entries.get(call.task_id)
        if entry is None or entry.outcome is not None or call.reply is None or call.reply in entry.owing:
            return False
        return len(entry.owing) >= CALLERS_LIMIT

    def _forget(self, task_id: bytes) -> None:
        del self.entries[task_id]
        self._in_turn.pop(task_id, None)

    def take(self, window: int) -> TaskCall | None:
        """The next task to submit. None if there is none, or if the window is full."""
        if not self._waiting or self.outstanding >= window:
            return None
        entry = self.entries[self._waiting.popleft()]
        entry.submitted = True
        self.outstanding += 1
        return entry.call

    def put_back(self, task_id: bytes) -> None:
        """The cluster has no room for the task now. It is submitted again later, after the tasks that wait."""
        self.entries[task_id].submitted = False
        self.outstanding -= 1
        self._waiting.append(task_id)

    def give_back(self, now: float) -> list[Delivery]:
        """Forget the tasks that have waited for GIVE_BACK_S. Returns their deliveries, to be returned to RabbitMQ
        before it gives up the consumer."""
        if not self._waiting:
            return []
        found: list[Delivery] = []
        gone: set[bytes] = set()
        for task_id, entry in self._in_turn.items():
            if now < entry.since + self._give_back_s:
                break
            if entry.submitted:
                continue
            found += entry.deliveries
            gone.add(task_id)
        if gone:
            self._waiting = deque(task_id for task_id in self._waiting if task_id not in gone)
            for task_id in gone:
                self._forget(task_id)
        self.unacked -= len(found)
        return found

    def accept(self, task_id: bytes, now: float) -> list[Delivery]:
        """The cluster has accepted the task. Returns the deliveries to settle: none for a late task, which may have
        been accepted only to expire."""
        entry = self.entries.get(task_id)
        if entry is None or entry.outcome is not None:
            return []
        entry.accepted = True
        if now < entry.due_s and not entry.delayed:
            self._delay(entry)
        if entry.delayed or len(entry.call.packed) > LARGE_BYTES:
            # Nobody submits it again. There may be many, and they may wait or run for long.
            entry.call.packed = b""
        return [] if entry.call.is_late else [delivery for delivery in entry.deliveries if delivery.reply is None]

    def postpone(self, task_id: bytes, due_s: float, now: float) -> None:
        """The task has failed, and is tried again at ``due_s``."""
        entry = self._in_turn.get(task_id)
        if entry is None or not entry.accepted or entry.outcome is not None or due_s < now + POSTPONED_S:
            return
        entry.due_s = due_s
        entry.call.packed = b""
        self._delay(entry)

    def _delay(self, entry: OwedTask) -> None:
        """Nothing is done for a task until its moment."""
        if not entry.delayed:
            entry.delayed = True
            self.outstanding -= 1
            self.delayed += 1
        del self._in_turn[entry.call.task_id]
        self._delayed.add(entry)

    def take_surplus(self) -> list[Delivery]:
        """The deliveries of delayed tasks to acknowledge though replies are owed for them. Those of a task that has
        ended meanwhile are being settled."""
        surplus = self._delayed.take_surplus()
        return [_before_its_reply(entry, delivery) for entry, delivery in surplus if entry.outcome is None]

    def come_due(self, now: float) -> None:
        """Delayed tasks whose moments have come take their turn from now on."""
        for entry in self._delayed.take_due(now):
            entry.since = now
            self._in_turn[entry.call.task_id] = entry

    def end(self, task_id: bytes, outcome: tuple[int, bytes] | Refused) -> list[Delivery]:
        """The task has ended, or the cluster has refused it. Returns the deliveries to settle. A task without
        deliveries is forgotten."""
        entry = self.entries.get(task_id)
        if entry is None or entry.outcome is not None:
            return []
        self.outstanding -= not entry.delayed
        self.delayed -= entry.delayed
        self._delayed.forget(entry)
        entry.outcome = outcome
        if not entry.deliveries:
            self._forget(task_id)
        return list(entry.deliveries)

    def settle(self, task_id: bytes, delivery: Delivery) -> None:
        """Nothing more is owed for this delivery. A task that has ended is forgotten with its last delivery."""
        self.acked(delivery)
        entry = self.entries[task_id]
        entry.deliveries.remove(delivery)
        if entry.outcome is not None and not entry.deliveries:
            self._forget(task_id)

    def acked(self, delivery: Delivery) -> None:
        """The delivery is acknowledged, even if a reply is still owed."""
        if not delivery.acked:
            delivery.acked = True
            self.unacked -= 1
            self._delayed.let_go(delivery)

    @property
    def unaccepted(self) -> bool:
        """Whether a task that nobody waits for is submitted, and not accepted yet."""
        return any(
            entry.submitted and not entry.accepted and entry.outcome is None and entry.call.reply is None
            for entry in self._in_turn.values()
        )

    def due_started(self, now: float) -> list[ReplyAddress]:
        """The callers that are to be told STARTED."""
        found: list[ReplyAddress] = []
        for entry in self._in_turn.values():
            if now < entry.since + STARTED_AFTER_S:
                break
            if entry.accepted and entry.outcome is None and not entry.told_started:
                entry.told_started = True
                found += [delivery.reply for delivery in entry.deliveries if delivery.reply is not None]
        return found

    def accepted_before(self, moment: float, *, in_window: bool = False) -> list[bytes]:
        """The tasks that were delivered or became due before ``moment`` and have not ended. ``in_window``: those that
        have a place there. A message that was published twice may be at two bridges, and the cluster reports the end to
        the one that submitted last. So a bridge that has waited for long asks again."""
        return [
            task_id
            for task_id, entry in self._in_turn.items()
            if entry.since < moment and entry.accepted and entry.outcome is None and not (in_window and entry.delayed)
        ]

    def long_running(self, now: float) -> list[Delivery]:
        """Deliveries of accepted tasks that RabbitMQ would soon give up on: to acknowledge, as those above."""
        found: list[Delivery] = []
        for entry in self._in_turn.values():
            if now < entry.since + self._long_s:
                break
            if entry.accepted:
                # Not those that wait for a dead letter: nobody would know of them if this process died.
                found += [
                    _before_its_reply(entry, delivery)
                    for delivery in list(entry.deliveries)
                    if not delivery.acked and (entry.outcome is None or delivery.reply is not None)
                ]
        return found


def _before_its_reply(entry: OwedTask, delivery: Delivery) -> Delivery:
    """A delivery to acknowledge before its reply. Of its message all is let go of that the reply does not need; and the
    delivery, too, if another that is acknowledged owes the same reply."""
    delivery.message = replace(delivery.message, body=b"", headers={}, others={})
    entry.call.packed = b""
    if entry.outcome is None:
        if delivery.reply in entry.owing:
            entry.deliveries.remove(delivery)
        else:
            entry.owing = (*entry.owing, delivery.reply)
    return delivery
