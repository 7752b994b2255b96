"""What a node holds: the tasks that were dispatched to it, until a leader says that their outcomes are recorded.

A task is held from the moment it is taken, whether it waits, runs or has ended. Its outcome is kept in a batch under
the next number, and only a leader that has recorded the batch takes it, and with it the task, away from here. So the
account that a new leader gets names all that this node has begun or is to begin, and no outcome is lost with the leader
that received it.

Of several attempts of one task the latest is held, and those before it through their outcomes alone. A task that leaves
the node unrun (:meth:`HeldTasks.let_go`) is held as the attempt before, if of that an outcome is not recorded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final

from paceline.core.work.unrecorded import UnrecordedBatch
from paceline_protocol.messages.records import MAY_RETRY, Outcome, TaskEnd

HELD_LIMIT: Final = 1 << 20
"""A node that holds so many tasks begins no other until outcomes are recorded. Its account has to fit into a frame."""

_GO_ON: Final = (int(TaskEnd.LOST), MAY_RETRY)

UNRECORDED_BYTES: Final = 256 << 20
"""Nor one that keeps so much of outcomes."""


class HeldTasks:
    """The tasks that one node holds, and the outcomes that its leader has not recorded."""

    def __init__(self, first_seq: int = 1) -> None:
        """``first_seq`` numbers the first batch of outcomes."""
        self.attempts: dict[bytes, int] = {}  # task id -> attempt: what was taken and neither left nor was recorded
        self.unrecorded: deque[UnrecordedBatch] = deque()
        self.next_seq = first_seq  # of the next batch of outcomes
        self._reported_bytes = 0  # of all batches, since the node runs

    @property
    def is_full(self) -> bool:
        """Whether no other task is to begin."""
        return len(self.attempts) >= HELD_LIMIT or self._unrecorded_bytes >= UNRECORDED_BYTES

    @property
    def _unrecorded_bytes(self) -> int:
        return self._reported_bytes - self.unrecorded[0].begins_at if self.unrecorded else 0

    def account(self) -> tuple[tuple[bytes, int], ...]:
        """The ids of all tasks that the node holds, with their attempts: those that it has, and those of every outcome
        that is not recorded."""
        held = dict(self.attempts)
        for batch in self.unrecorded:
            for task_id, attempt, _end, _payload, _duration_us in batch.items:
                held.setdefault(task_id, attempt)
        return tuple(held.items())

    def let_go(self, ids: set[bytes]) -> None:
        """These tasks leave, unrun. The node still holds an earlier attempt of which an outcome is not recorded."""
        held = self.attempts
        for task_id in ids:
            held.pop(task_id, None)
        for batch in self.unrecorded:
            for outcome in batch.items:
                if outcome[0] in ids:
                    held[outcome[0]] = max(outcome[1], held.get(outcome[0], 0))

    # --- outcomes -----------------------------------------------------------------------------------------------

    def report(self, items: list[Outcome]) -> UnrecordedBatch:
        """Keep outcomes until the leader has recorded them."""
        batch = UnrecordedBatch(self.next_seq, items, self._reported_bytes)
        self.next_seq += 1
        self._reported_bytes += batch.size_bytes
        self.unrecorded.append(batch)
        return batch

    def withdraw(self, copies: dict[bytes, int]) -> list[Outcome]:
        """Take out the outcomes of these attempts, to be reported once more."""
        return list({each[0]: each for batch in self.unrecorded for each in batch.withdraw(copies)}.values())

    def bytes_through(self, seq: int) -> int:
        """The bytes of all batches up to ``seq``, of this run. Not of one before the last that is recorded."""
        unrecorded = self.unrecorded
        following = seq + 1 - unrecorded[0].seq if unrecorded else 0
        return unrecorded[following].begins_at if following < len(unrecorded) else self._reported_bytes

    def reported_after(self, seq: int) -> Iterable[UnrecordedBatch]:
        """The batches behind ``seq``, in order."""
        return islice(self.unrecorded, seq + 1 - self.unrecorded[0].seq, None) if self.unrecorded else ()

    def recorded(self, seq: int) -> bool:
        """The leader has recorded every batch up to ``seq``. True if the node stops holding an attempt by that behind
        which the task goes on: one that was lost, or has failed and may be made again.

        A leader that learned of the loss late may have dispatched that attempt here once more, and :meth:`Slots.take`
        dropped the copy. And one that was given the task anew, by a client that had missed its end, may take an account
        of before for one of now, and wait for what has failed. Only a new account can tell the leader so.
        """
        held = self.attempts
        lost = False
        while self.unrecorded and self.unrecorded[0].seq <= seq:
            for outcome in self.unrecorded.popleft().items:
                task_id = outcome[0]
                if held.get(task_id) == outcome[1]:  # else a later attempt was dispatched here
                    del held[task_id]
                    lost = lost or outcome[2] in _GO_ON
        return lost
