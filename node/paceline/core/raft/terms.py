"""Which term a message speaks for. A term has one leader at most, and a node that hears of a later term enters it.

Every message carries the term of its sender, and moves its receiver to that term, with one exception: a pre-vote and
its grant carry the term in which the candidate would campaign. They are hypothetical, so they change no node's term.
"""

from __future__ import annotations

from paceline_protocol.messages import (
    Append,
    AppendResponse,
    Confirm,
    ConsensusMessage,
    SnapshotChunk,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)

_OF_A_LEADER = (Append, SnapshotChunk, TimeoutNow, Confirm)


def is_from_leader(message: ConsensusMessage) -> bool:
    """Whether only the leader of its term sends such a message."""
    return isinstance(message, _OF_A_LEADER)


def is_hypothetical(message: ConsensusMessage) -> bool:
    """Whether its term is not the sender's own, but the one in which a candidate would campaign."""
    if isinstance(message, VoteRequest):
        return message.pre
    return isinstance(message, VoteResponse) and message.pre and message.granted


def refusal(message: ConsensusMessage, term: int) -> VoteResponse | AppendResponse | None:
    """The answer to a message of an earlier term than ``term``: a deposed leader or a late candidate learns the term
    from it. Late answers are dropped."""
    if isinstance(message, VoteRequest):
        return VoteResponse(term, False, message.pre)
    return AppendResponse(term, False, 0) if isinstance(message, _OF_A_LEADER) else None
