"""Outcomes that a node has reported and its leader has not recorded."""

from __future__ import annotations

from typing import Final

from paceline_protocol.codec import encode_outcomes
from paceline_protocol.limits import MAX_BATCH_ITEMS
from paceline_protocol.messages.records import OUTCOME_PAYLOAD, Outcome
from paceline_protocol.messages.work import NodeOutcomes

BATCH_BYTES: Final = 4 << 20
"""The payloads of one batch; a single outcome may have more, up to what a worker may send."""
OUTCOME_BYTES: Final = 64
"""Counted for each outcome beside its payload."""


class UnrecordedBatch:
    """Outcomes that are kept until the leader has recorded them. ``begins_at``: the bytes of all batches before it, in
    this run of the node."""

    __slots__ = ("begins_at", "items", "seq", "size_bytes")

    def __init__(self, seq: int, items: list[Outcome], begins_at: int) -> None:
        self.seq = seq
        self.items = items
        self.begins_at = begins_at
        self.size_bytes = size_of(items)  # whatever is withdrawn of it

    def withdraw(self, copies: dict[bytes, int]) -> list[Outcome]:
        """Take out the outcomes of these attempts, which move to a later batch. If they stood in both, the first would
        take their tasks out of what is held, and the second would still name them in accounts, and end nothing."""
        found = [outcome for outcome in self.items if copies.get(outcome[0]) == outcome[1]]
        if found:
            self.items = [outcome for outcome in self.items if copies.get(outcome[0]) != outcome[1]]
        return found

    def message(self, term: int) -> NodeOutcomes:
        """The message that reports them to the leader of ``term``, packed anew: few are reported twice, and many may be
        kept. A leader in this process takes ``items`` instead."""
        return NodeOutcomes(term, self.seq, encode_outcomes(self.items))


def size_of(outcomes: list[Outcome]) -> int:
    """What outcomes count for, in bytes."""
    size_bytes = 0
    for outcome in outcomes:
        size_bytes += OUTCOME_BYTES + len(outcome[OUTCOME_PAYLOAD])
    return size_bytes


def batches_of(outcomes: list[Outcome]) -> list[list[Outcome]]:
    """Cut outcomes into batches that fit into a frame, in their order."""
    if len(outcomes) == 1 or (len(outcomes) <= MAX_BATCH_ITEMS and size_of(outcomes) <= BATCH_BYTES):
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
