"""The leader's end of its conversation with each node, and how tasks for a node are cut into frames."""

from __future__ import annotations

from collections.abc import Iterable

from paceline_protocol.messages import (
    Assignment,
    NodeBeat,
)

BEAT_UNCHANGED_S = 0.2
"""Between Beats to a node that is enrolled and of which there is nothing new: some of them fit into its timeout."""
DISPATCH_TASKS = 4_096
DISPATCH_BYTES = 4 << 20


class NodeState:
    """The leader's end of its conversation with one node, for one term."""

    __slots__ = (
        "account",
        "beat",
        "dispatch_seq",
        "enrolled",
        "heard_at",
        "outcome_seen",
        "outcome_seq",
        "told",
        "told_at",
    )

    def __init__(self, now: float) -> None:
        self.enrolled = False
        self.heard_at = now
        self.account = 0
        self.dispatch_seq = 0  # kept across a loss and return of the node: the sequence is per term
        self.outcome_seen = 0  # received up to here
        self.outcome_seq = 0  # recorded up to here
        self.told = (-1, -1, -1)  # the account and the two numbers that its last Beat had
        self.told_at = now
        self.beat: NodeBeat | None = None


def chunks(assignments: list[Assignment]) -> Iterable[list[Assignment]]:
    """Cut a node's assignments into frames of bounded size."""
    chunk: list[Assignment] = []
    size = 0
    for assignment in assignments:
        if chunk and (len(chunk) >= DISPATCH_TASKS or size + len(assignment[3]) > DISPATCH_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(assignment)
        size += len(assignment[3])
    if chunk:
        yield chunk
