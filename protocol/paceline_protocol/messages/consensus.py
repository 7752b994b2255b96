"""What nodes say to each other of the replicated log, and what stands in that."""

# No ``from __future__ import annotations``: ``message.py`` says why.

from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, NamedTuple, TypeAlias

from paceline_protocol.messages.message import PackedConfig, Sender, message


class EntryKind(IntEnum):
    """What a log entry holds. The numbers are in the log: never renumber."""

    NOOP = 0  # the first entry of a leader's term
    CONFIG = 1  # voters, learners, the feature level (codec.encode_config)
    ACCEPT = 2  # the packed calls of one Submit, as the client sent them
    OUTCOME = 3  # packed outcomes, as the node sent them
    RELEASE = 4  # task ids, joined: their results are not kept any more
    ATTEMPT = 5  # task ids, joined: one attempt of each is used up: lost, or about to start if there is to be only one
    RETRY = 6  # attempts that failed, and when their tasks are tried again (codec.encode_retries)
    RECORD = 7  # outcomes of tasks that are remembered, each with the record of its task (codec.encode_kept)
    EXPIRE = 8  # task ids, joined: the time is over for which their results were kept
    DEAD = 12  # outcomes of tasks that are kept as dead ones, each with the record of its task (codec.encode_kept)
    REQUEUE = 13  # dead tasks, each with the call of the new task in its place (codec.encode_requeued)
    DISCARD = 14  # task ids, joined: these dead tasks are kept no longer
    QUEUES = 15  # queues, each with whether it is paused and with its weight (codec.encode_queues)
    ALTER = 16  # tasks that wait, each with its queue, its priority and whether it is held (codec.encode_alterations)
    SCHEDULE = 17  # changes of schedules (codec.encode_schedule_changes)
    FIRING = 18  # moments of schedules, each with the task that it makes (codec.encode_firings)
    HELD = 19  # task ids, joined: their owners have their results, on which tasks that live depend
    BACKFILL = 24  # moments of schedules of which tasks are wanted (codec.encode_backfills)


WireEntry: TypeAlias = Annotated[tuple[int, Annotated[int, "entry-kind"], bytes], "entry"]
"""A log entry on the wire: (term, kind, data). Its index follows from its place in the Append."""


@dataclass(frozen=True, slots=True)
class Config:
    """Who replicates the log. Node ids only: addresses change, and an address in the log could not be corrected."""

    voters: tuple[str, ...] = ()  # sorted
    learners: tuple[str, ...] = ()  # sorted; replicate, don't vote
    excluded: tuple[str, ...] = ()  # sorted; somebody removed them: not taken in again until somebody promotes them
    limit: int = 0  # how many voters somebody asked for: 1, 3 or 5; 0 if nobody did
    level: int = 1  # the feature level: what may stand in the log from here on, since all replicas understand it


@message(50, Sender.PEER)
class VoteRequest(NamedTuple):
    term: int  # of a pre-vote: the term the candidate would campaign in
    last_index: int
    last_term: int
    pre: bool
    transfer: bool = False  # the leader asked for this election: the lease does not stand in its way


@message(51, Sender.PEER)
class VoteResponse(NamedTuple):
    term: int
    granted: bool
    pre: bool


@message(52, Sender.PEER, trusted=True)
class Append(NamedTuple):
    """Entries after (prev_index, prev_term). Without entries: a heartbeat."""

    term: int
    prev_index: int
    prev_term: int
    commit: int
    entries: tuple[WireEntry, ...]


@message(53, Sender.PEER)
class AppendResponse(NamedTuple):
    term: int
    success: bool
    # success: the last verified and durable index. Refusal: the prev_index that was refused.
    index: int  # type: ignore[assignment]  # the method of tuples is not missed
    hint_index: int = 0  # refusal: the largest index at which the logs may agree
    hint_term: int = 0
    round: int = 0  # the latest Confirm of this term that was heard before this was said


@message(54, Sender.PEER, trusted=True)
class SnapshotChunk(NamedTuple):
    term: int
    # The last entry that the snapshot covers.
    index: int  # type: ignore[assignment]
    index_term: int
    config: PackedConfig  # codec.encode_config
    offset: int
    total: int
    data: bytes


@message(55, Sender.PEER)
class SnapshotResponse(NamedTuple):
    term: int
    index: int  # type: ignore[assignment]
    offset: int  # the offset wanted next; == total once the snapshot is installed


@message(56, Sender.PEER)
class TimeoutNow(NamedTuple):
    """Leadership transfer: leader to a voter that has caught up, campaign at once (Ongaro's thesis, 3.10)."""

    term: int


@message(57, Sender.PEER)
class Removed(NamedTuple):
    """The answer to a VoteRequest of a node that is no voter any more, and may not know it: campaign no longer. True
    for ever, since it speaks of what is committed; only a later configuration can make the node a voter again."""

    term: int  # of the entry at ``index``
    index: int  # type: ignore[assignment]  # from here on the configuration, which is committed, is without that vote


@message(58, Sender.PEER)
class Confirm(NamedTuple):
    """Leader to its peers, with each heartbeat and for reads that must not be stale: do you still follow me?"""

    term: int
    number: int  # of the round, from 1 in each term; a later one covers the earlier ones


@message(59, Sender.PEER)
class Confirmed(NamedTuple):
    """The answer of a peer that knows no higher term. It counts as of when the round began."""

    term: int
    number: int


@message(70, Sender.PEER)
class Forgotten(NamedTuple):
    """Leader to a peer whose log ends below what it had acknowledged: what it promised is gone from its disk."""

    term: int
    index: int  # type: ignore[assignment]  # the last entry that it had acknowledged in this term
    index_term: int  # of that entry; 0 if the leader does not know it any more


ConsensusMessage: TypeAlias = (
    VoteRequest
    | VoteResponse
    | Append
    | AppendResponse
    | SnapshotChunk
    | SnapshotResponse
    | TimeoutNow
    | Removed
    | Confirm
    | Confirmed
    | Forgotten
)
