"""Outcomes that a node has reported and its leader has not recorded."""

from __future__ import annotations

from paceline_protocol.codec import encode_outcomes
from paceline_protocol.messages import NodeOutcomes, Outcome


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
