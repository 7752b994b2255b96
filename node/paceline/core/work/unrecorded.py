"""Outcomes that a node has reported and its leader has not recorded."""

from __future__ import annotations

from typing import Final

from paceline_protocol.codec import encode_outcomes
from paceline_protocol.limits import MAX_BATCH_ITEMS
from paceline_protocol.messages import OUTCOME_PAYLOAD, NodeOutcomes, Outcome

BATCH_BYTES: Final = 4 << 20
"""The payloads of one batch; a single outcome may have more, up to what a worker may send."""


class UnrecordedBatch:
    """Outcomes that were reported to the leader, and are kept until the leader has recorded them."""

    __slots__ = ("_data", "items", "reported_at", "seq")

    def __init__(self, seq: int, items: list[Outcome], now: float) -> None:
        self.seq = seq
        self.items = items
        self.reported_at = now
        self._data = b""

    def withdraw(self, copies: dict[bytes, int]) -> list[Outcome]:
        """Take out the outcomes of these attempts, which move to a later batch. If they stood in both, the first would
        take their tasks out of what is held, and the second would still name them in accounts, and end nothing."""
        found = [outcome for outcome in self.items if copies.get(outcome[0]) == outcome[1]]
        if found:
            self.items = [outcome for outcome in self.items if copies.get(outcome[0]) != outcome[1]]
            self._data = b""
        return found

    def message(self, term: int) -> NodeOutcomes:
        """The message that reports them to the leader of ``term``. A leader in this process takes ``items`` instead."""
        if not self._data:
            self._data = encode_outcomes(self.items)
        return NodeOutcomes(term, self.seq, self._data)


def batches_of(outcomes: list[Outcome]) -> list[list[Outcome]]:
    """Cut outcomes into batches that fit into a frame, in their order."""
    if len(outcomes) == 1:
        return [outcomes]
    cut: list[list[Outcome]] = []
    batch: list[Outcome] = []
    size = 0
    for outcome in outcomes:
        size += len(outcome[OUTCOME_PAYLOAD])
        if batch and (size > BATCH_BYTES or len(batch) == MAX_BATCH_ITEMS):
            cut.append(batch)
            batch, size = [], len(outcome[OUTCOME_PAYLOAD])
        batch.append(outcome)
    if batch:
        cut.append(batch)
    return cut
