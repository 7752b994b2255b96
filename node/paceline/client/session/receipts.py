"""Which Updates of one epoch were received, and which are acknowledged.

An acknowledgement travels with the next message to the leader; if there is none, it is sent by itself after
``ACK_DELAY_S``. The cluster forgets the results of acknowledged Updates.

A relay passes results on, and acknowledges an Update only when all its results are released: until then the cluster
keeps them, and sends them to a client that submits the task again. Updates are acknowledged in order, so one result
that is held holds the later ones, too. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

ACK_DELAY_S: Final = 0.05


class Receipts:
    """``seen``: every Update up to this number was received. ``ack``: every Update up to this number may be forgotten;
    it is less than ``seen`` only while results are held. ``ack_due_s``: when the acknowledgement is due; math.inf if it
    was sent."""

    def __init__(self) -> None:
        self.seen = 0
        self.ack = 0
        self.ack_due_s = math.inf
        self._held: dict[int, int] = {}  # Update.update_seq, in order -> how many of its results are held
        self._held_in: dict[bytes, int] = {}  # id -> the Update that brought its result

    def misses_one_before(self, update_seq: int) -> bool:
        """Whether an Update before this one was lost on the way."""
        return update_seq > self.seen + 1

    def received(self, update_seq: int, now: float) -> None:
        """This Update was received, and all before it."""
        if update_seq > self.seen:
            self.seen = update_seq
            self._advance(now)

    def acknowledged(self) -> None:
        """``ack`` was sent."""
        self.ack_due_s = math.inf

    def hold(self, task_id: bytes, update_seq: int) -> None:
        """This Update brought the result of the task. An earlier one may have done so, too, if the task was submitted
        again."""
        self._let_go(task_id)
        self._held[update_seq] = self._held.get(update_seq, 0) + 1
        self._held_in[task_id] = update_seq

    def release(self, ids: Iterable[bytes], now: float) -> None:
        """Stop holding the results of these tasks. Ids without a held result are ignored."""
        for task_id in ids:
            self._let_go(task_id)
        self._advance(now)

    def _let_go(self, task_id: bytes) -> None:
        seq = self._held_in.pop(task_id, 0)
        if seq:
            self._held[seq] -= 1
            if not self._held[seq]:
                del self._held[seq]

    def _advance(self, now: float) -> None:
        ack = next(iter(self._held)) - 1 if self._held else self.seen
        if ack > self.ack:
            self.ack = ack
            if self.ack_due_s == math.inf:
                self.ack_due_s = now + ACK_DELAY_S
