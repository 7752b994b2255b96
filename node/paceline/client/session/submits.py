"""The Submits of one epoch: how calls form batches, and what is sent again if no answer comes.

Batches form by themselves. A Submit leaves at once while fewer than ``WINDOW_SUBMITS`` are unaccepted; beyond that
calls pile up until an Update frees a place, or the batch is full. With many tasks outstanding the leader is busy, and
the window narrows to ``BUSY_SUBMITS``, and one more a millisecond: calls that come faster travel together. The Submit
that fills the window asks for prompt acceptance, so that places come free even if all its tasks are long.

Submits are numbered from 1, and each carries the acknowledgement of Updates. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from paceline.client.session.ledger import Batch, CallLedger
from paceline.client.session.output import Output
from paceline.client.session.receipts import Receipts
from paceline.client.session.silence import USUAL_BYTES_PER_S
from paceline_protocol import codec
from paceline_protocol.errors import ProtocolError
from paceline_protocol.messages.client import Submit
from paceline_protocol.messages.records import Call

WINDOW_SUBMITS: Final = 8
BUSY_SUBMITS: Final = 2
BUSY_FROM_TASKS: Final = 16
BUSY_INTERVAL_S: Final = 0.001
REPAIR_AFTER_S: Final = 1.0
"""Without an Update for this long, the oldest unaccepted Submit is sent again: its frame may have been dropped. What is
large waits as long again as it is on its way: its leader may only be slow, and the link has better things to carry."""
LARGE_BYTES: Final = 64 * 1024
"""What is smaller is on its way for no time that would count beside REPAIR_AFTER_S."""
_CANT_BE_PACKED: Final = (ProtocolError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError)
"""What packing raises. Anything else may be a signal handler's, which says nothing of the calls."""


class Submits:
    """``repair_at_s``: when :meth:`repair` is due; math.inf while every Submit is accepted."""

    def __init__(
        self, ledger: CallLedger, output: Output, receipts: Receipts, put: Callable[[bytes, float], None]
    ) -> None:
        """``put``: sends a frame to the leader."""
        self.repair_at_s = math.inf
        self._ledger = ledger
        self._output = output
        self._receipts = receipts
        self._put = put
        self._seq = 0
        self._sent_at_s = -math.inf  # the last one
        self._repair_delay_s = REPAIR_AFTER_S
        self._on_way_s = 0.0  # how long the largest is on its way of those that may be unaccepted; 0 if none is large

    def has_window(self, now: float) -> bool:
        """Whether a call is sent at once. Otherwise it waits until a Submit that is under way is accepted."""
        ledger = self._ledger
        unaccepted = len(ledger.sent)
        if unaccepted < BUSY_SUBMITS:
            return True
        busy = len(ledger.tasks) >= BUSY_FROM_TASKS and now < self._sent_at_s + BUSY_INTERVAL_S
        return unaccepted < WINDOW_SUBMITS and not busy

    def send_one(self, call: Call, now: float) -> None:
        """Send one call at once, past the queue. The caller sees that the window has room and nothing is queued."""
        ledger = self._ledger
        self._seq += 1
        ledger.add_sent(self._seq, call)
        self._send((call,), ledger.prompt, now)
        ledger.prompt = False

    def send_queued(self, now: float, *, prompt: bool = False) -> None:
        """Send all queued calls, in as many Submits as that takes. ``prompt``: somebody waits until they are
        accepted."""
        ledger = self._ledger
        while calls := ledger.take():
            self._seq += 1
            ledger.record_sent(self._seq, calls)
            self._send(calls, prompt or ledger.prompt, now)
        ledger.prompt = False

    def answered(self, now: float) -> None:
        """An Update came."""
        self._repair_delay_s = REPAIR_AFTER_S
        if self._ledger.sent:
            self.repair_at_s = now + REPAIR_AFTER_S + self._on_way_s
        else:
            self.repair_at_s, self._on_way_s = math.inf, 0.0

    def repair(self, now: float) -> None:
        """Send the oldest unaccepted Submit again, under its number. The leader admits the calls that it does not have,
        and accepts the Submit once it has all."""
        self.repair_at_s = math.inf
        batch: Batch | None = next(iter(self._ledger.sent.values()), None)
        if batch is None:
            return
        self._submit(batch.seq, list(batch.calls.values()), True, now)
        self._repair_delay_s *= 2  # so that a slow leader is not buried under what it has already
        self.repair_at_s = now + self._repair_delay_s + self._on_way_s

    def postpone_repair(self, now: float) -> None:
        """It may only be slow."""
        self.repair_at_s = now + REPAIR_AFTER_S + self._on_way_s

    def _send(self, calls: Sequence[Call], prompt: bool, now: float) -> None:
        """Send these calls as Submit number ``_seq``, and note when it is to be repaired."""
        self._sent_at_s = now
        unaccepted = len(self._ledger.sent)
        fills = unaccepted >= WINDOW_SUBMITS or (unaccepted == BUSY_SUBMITS and not self.has_window(now))
        self._submit(self._seq, calls, prompt or fills, now)
        if self.repair_at_s == math.inf:
            self.repair_at_s = now + self._repair_delay_s + self._on_way_s

    def _submit(self, seq: int, calls: Sequence[Call], prompt: bool, now: float) -> None:
        receipts = self._receipts
        try:
            frame = codec.encode_fields(Submit, (seq, receipts.ack, codec.encode_calls(calls), prompt))
        except _CANT_BE_PACKED as error:  # these calls end with it, and no others do
            self._fail(calls, error)
            return
        receipts.acknowledged()
        if len(frame) > LARGE_BYTES:
            self._on_way_s = max(self._on_way_s, len(frame) / USUAL_BYTES_PER_S)
        self._put(frame, now)

    def _fail(self, calls: Sequence[Call], error: Exception) -> None:
        """They can't be packed. What users give is checked before, so this is for mistakes of our own."""
        for call in calls:
            if call[0] in self._ledger:
                self._output.failed.append((call[0], error))
                self._ledger.end(call[0])
