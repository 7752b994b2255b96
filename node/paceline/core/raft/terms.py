"""Which term a message speaks for. A term has one leader at most, and a node that hears of a later term enters it.

Every message carries the term of its sender, and moves its receiver to that term, with one exception: a pre-vote and
its grant carry the term in which the candidate would campaign. They are hypothetical, so they change no node's term.
"""

from __future__ import annotations

from typing import Final

from paceline_protocol.errors import PeerViolation
from paceline_protocol.messages.consensus import (
    Append,
    AppendResponse,
    Confirm,
    ConsensusMessage,
    Forgotten,
    SnapshotChunk,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)

TERM_STEP: Final = 2**32
"""No message's term is further above its receiver's. A term costs an election, and a candidate waits at least a
heartbeat interval before it begins the next: at twenty elections a second, for as long as a node is away, that is six
years of nothing but elections. A blank node has term 0, and may join any cluster that is younger than that."""

_OF_A_LEADER = (Append, SnapshotChunk, TimeoutNow, Confirm, Forgotten)


def is_from_leader(message: ConsensusMessage) -> bool:
    """Whether only the leader of its term sends such a message."""
    return isinstance(message, _OF_A_LEADER)


def check_term(message: ConsensusMessage, term: int) -> None:
    """Raises PeerViolation for a term that no election can have made since this node was in ``term``. Whoever took it
    would write it down, and could count no further once it is at the top of what a frame can say."""
    if message.term > term + TERM_STEP:
        raise PeerViolation(f"term {message.term}, and this node knows of {term}")


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
