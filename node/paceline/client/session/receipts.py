"""Which Updates of one epoch are here, and up to which of them the leader is told so.

An acknowledgement travels with whatever is sent next, and if nothing is, after ``ACK_DELAY_S`` by itself. What is
acknowledged, the cluster forgets.

A relay passes results on, and acknowledges an Update only when all its results are released: until then the cluster
keeps them, and gives them to whoever submits the task again. Acknowledgements go in order, so one result that is held
keeps the later ones, too. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

ACK_DELAY_S: Final = 0.05


class Receipts:
    """``seen``: every Update up to this number is here. ``ack``: up to this one it may be forgotten; less than ``seen``
    only while results are held. ``ack_due_s``: when that has to be said; math.inf if it has been."""

    def __init__(self) -> None:
        self.seen = 0
        self.ack = 0
        self.ack_due_s = math.inf
        self._held: dict[int, int] = {}  # Update.update_seq, in order -> how many of its results are held
        self._held_in: dict[bytes, int] = {}  # id -> the Update that brought its result

    def misses_one_before(self, update_seq: int) -> bool:
        """An Update was dropped on the way, before this one."""
        return update_seq > self.seen + 1

    def received(self, update_seq: int, now: float) -> None:
        """This Update is here, and all before it."""
        if update_seq > self.seen:
            self.seen = update_seq
            self._advance(now)

    def acknowledged(self) -> None:
        """``ack`` was sent."""
        self.ack_due_s = math.inf

    def hold(self, task_id: bytes, update_seq: int) -> None:
        """This Update brought its result. An earlier one may have, if the task was submitted again since."""
        self._let_go(task_id)
        self._held[update_seq] = self._held.get(update_seq, 0) + 1
        self._held_in[task_id] = update_seq

    def release(self, ids: Iterable[bytes], now: float) -> None:
        """The results of these tasks are held no longer. Ids of which none is held are ignored."""
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
