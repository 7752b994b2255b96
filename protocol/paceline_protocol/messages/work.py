"""What the leader and each node say to each other of tasks."""

# No ``from __future__ import annotations``: ``message.py`` says why.

from enum import IntEnum
from typing import Annotated, Final, NamedTuple, TypeAlias

from paceline_protocol.messages.message import (
    Amounts,
    Id,
    Name,
    PackedDefaults,
    PackedHeld,
    PackedOutcomes,
    PackedOwnSchedules,
    PackedValue,
    QueueNames,
    Sender,
    Tags,
    message,
)
from paceline_protocol.messages.records import Assignment
from paceline_protocol.messages.trace import Trace

QUIET_LEVEL: Final = 13
"""The feature level of a node that can be told to take no tasks, and says why it takes none."""
DEMAND_LEVEL: Final = 15
"""The feature level of a leader that can be asked for how many more workers there would be use."""
PARKED_LEVEL: Final = 25
"""The feature level of a leader that is told which tasks have given their slots back."""


MAX_DRAIN_MS: Final = 10**11
"""Longer drains nobody asks for: three years."""


class Availability(IntEnum):
    """Whether a node takes tasks."""

    SERVES = 0  # it does
    QUIET = 1  # none, until it is to serve again; what it runs goes on
    DRAINS = 2  # none, and what runs past a deadline is given back
    ENDS = 3  # as DRAINS, and then its process ends: nothing changes that


@message(60, Sender.PEER, trusted=True)
class Beat(NamedTuple):
    """Leader to every node, each heartbeat interval: I lead, and this is what I have sent and heard."""

    term: int
    account: int  # Enrol.version of the last account received from this node in this term, 0 for none
    dispatch_seq: int  # the last Dispatch.seq sent to this node in this term, or the last that it has named
    outcome_seq: int  # every NodeOutcomes up to this one is recorded: the node may forget it
    outcome_seen: int = 0  # every one up to this one has arrived: the node need not repeat it to this leader


@message(61, Sender.PEER, trusted=True)
class NodeBeat(NamedTuple):
    """A node's answer to Beat."""

    term: int
    dispatch_seq: int  # the last Dispatch.seq received in sequence in this term
    slots: int
    running: int
    queued: int  # dispatched here, not yet given to a worker


@message(62, Sender.PEER)
class Enrol(NamedTuple):
    """A node's whole account of itself. Repeated until a Beat names its version.

    A node makes one for each new leader, when its workers change, and when it sees a gap in the dispatch sequence.
    What the leader believes to be here, sent up to ``dispatch_seq`` and not in ``held``, never arrived.
    """

    term: int
    version: int  # grows with each account that a node gives; its incarnation is above bit 40
    dispatch_seq: int  # everything up to here is accounted for in `held`
    outcome_seq: int  # every NodeOutcomes up to this one was recorded; the rest follows, in sequence
    slots: int
    names: tuple[Name, ...]  # the tasks its workers can run
    held: PackedHeld  # codec.encode_held: tasks and attempts that are queued, running, or ended and not yet recorded
    runs_tasks: bool = True  # False: it has no workers, and is to have none


@message(63, Sender.PEER, trusted=True)
class Dispatch(NamedTuple):
    term: int
    seq: int  # from 1 in each term, per node
    tasks: tuple[Assignment, ...]


@message(64, Sender.PEER, trusted=True)
class NodeOutcomes(NamedTuple):
    """Outcomes of one node, repeated until a Beat says that they have arrived, and kept until one says that they are
    recorded. A batch either holds outcomes of tasks that
    ended, or only lost attempts (TaskEnd.LOST, payload: how the worker died, as UTF-8); the leader decides what
    becomes of those."""

    term: int
    seq: int  # without gaps; the first is 1 above the incarnation shifted left by 40
    outcomes: PackedOutcomes  # codec.encode_outcomes: kept as bytes so that the log entry is what the node wrote


@message(65, Sender.PEER)
class Revoke(NamedTuple):
    """Leader to node: give these back if they have not started. Answered by one Revoked or several, as it becomes known
    of each, and repeated by the leader. More than a message may name are named in several."""

    term: int
    ids: tuple[Id, ...]


@message(66, Sender.PEER)
class Revoked(NamedTuple):
    """Node to leader. Of what a Revoke named and is in neither, the node does not know it yet, or has it not."""

    term: int
    given_back: tuple[Id, ...]
    kept: tuple[Id, ...]  # a worker has begun them, or is to begin them next


@message(67, Sender.PEER)
class StopTasks(NamedTuple):
    """Leader to node: as a Revoke, of tasks that somebody wants cancelled, and whose workers are asked to stop them if
    they have begun. Repeated until each is given back, is stopping or has ended. At feature level 5."""

    term: int
    tasks: tuple[tuple[Id, int], ...]  # each with its attempt, as this leader counts: none before it is stopped


@message(68, Sender.PEER)
class Stopping(NamedTuple):
    """Node to leader: these attempts of a StopTasks have begun, and their workers are asked to stop them, now or
    before. If it is lost, the next StopTasks is answered in the same way."""

    term: int
    ids: tuple[Id, ...]


@message(69, Sender.PEER)
class EnrolWithDefaults(NamedTuple):
    """An :class:`Enrol`, to a leader that understands feature level 7, with what the node announces of its tasks. One
    message, so that a leader which knows the names knows the options, too."""

    term: int
    version: int
    dispatch_seq: int
    outcome_seq: int
    slots: int
    names: tuple[Name, ...]
    held: PackedHeld
    runs_tasks: bool
    defaults: PackedDefaults  # codec.encode_defaults: of those of the names that ask for something

    @property
    def enrol(self) -> Enrol:
        """The same without them."""
        return Enrol(*self[:-1])


@message(134, Sender.PEER)
class RemarkQuery(NamedTuple):
    """Leader to node: what do you keep of what this task has said? Answered by RemarkAnswer, and repeated until that
    comes or nobody waits for it: a lost, late or doubled copy does no harm. To nodes of feature level PROGRESS_LEVEL.
    """

    term: int
    number: int  # of the question, in this term
    id: Id
    output: bool  # whether the end of its output is wanted, too


@message(135, Sender.PEER)
class RemarkAnswer(NamedTuple):
    """Node to the leader that has asked. One that comes late or twice is to no question any more."""

    term: int
    number: int
    id: Id
    attempt: int  # which said that; 0: nothing is kept of this task
    heard_ms: int  # when it was last heard of, by this node's wall clock
    progress_ms: int  # when it said how far it is; 0 if it never did
    progress: PackedValue  # how far that is: a packed tuple (done, total, text), b"" if it never said so
    output: bytes  # the end of what it has printed and logged: UTF-8, but for what was cut in the middle
    skipped: int  # how many bytes came before that


@message(140, Sender.PEER)
class EnrolQuiet(NamedTuple):
    """An :class:`EnrolWithDefaults` of a node that takes no tasks, to a leader that understands feature level 13. It
    offers no slots. An older leader is sent the same without the reason, and takes it for a node without workers."""

    term: int
    version: int
    dispatch_seq: int
    outcome_seq: int
    slots: int
    names: tuple[Name, ...]
    held: PackedHeld
    runs_tasks: bool
    defaults: PackedDefaults
    availability: Annotated[int, Availability]
    left_ms: int  # about until what still runs is given back; 0 unless it drains

    @property
    def enrol(self) -> Enrol:
        """The same without what is of this message alone."""
        return Enrol(*self[:8])


@message(141, Sender.PEER, trusted=True)
class SetAvailability(NamedTuple):
    """Leader to node: an operator wants it to serve, to be quiet or to drain. Repeated until its account says so. At
    feature level 13."""

    term: int
    availability: Annotated[int, Availability]
    drain_ms: int  # how long what runs may take; only to drain


@message(120, Sender.PEER)
class EnrolWithAsync(NamedTuple):
    """An :class:`EnrolWithDefaults`, to a leader that understands feature level 11, of a node that runs many tasks at
    once in a worker. Those names have slots of their own, beside ``slots``."""

    term: int
    version: int
    dispatch_seq: int
    outcome_seq: int
    slots: int
    names: tuple[Name, ...]  # all of them
    held: PackedHeld
    runs_tasks: bool
    defaults: PackedDefaults
    async_slots: int
    async_names: tuple[Name, ...]  # those of the names

    @property
    def enrol(self) -> Enrol:
        """The same without what is announced."""
        return Enrol(*self[:-3])


@message(160, Sender.PEER)
class DemandQuery(NamedTuple):
    """Node to leader: all my workers are busy, and I may have more; for how many would there be use? Asked again as
    long as that is so. At feature level DEMAND_LEVEL."""

    term: int


@message(161, Sender.PEER, trusted=True)
class Demand(NamedTuple):
    """Leader to node, in answer: so many more workers would have what waits here begin in time. It is of a moment: a
    lost, late or doubled copy does no harm."""

    term: int
    workers: int


@message(175, Sender.PEER)
class EnrolWithQueues(NamedTuple):
    """An :class:`EnrolWithAsync`, to a leader that understands feature level 16, of a node that takes tasks of some
    queues alone."""

    term: int
    version: int
    dispatch_seq: int
    outcome_seq: int
    slots: int
    names: tuple[Name, ...]
    held: PackedHeld
    runs_tasks: bool
    defaults: PackedDefaults
    async_slots: int
    async_names: tuple[Name, ...]
    queues: QueueNames

    @property
    def enrol(self) -> Enrol:
        """The same without what is announced."""
        return Enrol(*self[:8])


@message(196, Sender.PEER)
class EnrolWithPlaces(NamedTuple):
    """An :class:`EnrolWithQueues` to a leader of feature level 22, with what tasks may ask of the node."""

    term: int
    version: int
    dispatch_seq: int
    outcome_seq: int
    slots: int
    names: tuple[Name, ...]
    held: PackedHeld
    runs_tasks: bool
    defaults: PackedDefaults
    async_slots: int
    async_names: tuple[Name, ...]
    queues: QueueNames  # none: it takes tasks of all
    tags: Tags
    amounts: Amounts  # of resources, that the tasks at it may take together

    @property
    def enrol(self) -> Enrol:
        """The same without what is announced."""
        return Enrol(*self[:8])


@message(200, Sender.PEER)
class OwnSchedules(NamedTuple):
    """Node to leader: the schedules that the modules of this node have. Repeated until a SchedulesHeard names its
    version, so that a lost copy is; a late or second one has a version that is known. To a leader of feature level
    MODULE_SCHEDULES_LEVEL, from nodes that have some, or had."""

    term: int
    version: int  # grows with each; its incarnation is above bit 40
    schedules: PackedOwnSchedules  # codec.encode_own_schedules


@message(201, Sender.PEER)
class SchedulesHeard(NamedTuple):
    """Leader to node: an OwnSchedules of this version has arrived."""

    term: int
    version: int


@message(212, Sender.PEER)
class Parked(NamedTuple):
    """Node to leader: these of its tasks wait for others, and have given their slots back. It is all of them, and comes
    again with each answer to a Beat once there was one: of several the one with the highest number counts. At feature
    level PARKED_LEVEL."""

    term: int
    number: int  # grows with each, as account versions do
    tasks: tuple[tuple[Id, Id], ...]  # each with the task that it waits for


@message(187, Sender.PEER)
class Begun(NamedTuple):
    """Node to leader: these of its tasks have started, which have rates. It says so in that turn, and of all that it
    has again with each answer to a Beat; so neither a lost copy nor a late or doubled one matters. At feature level
    LIMITS_LEVEL."""

    term: int
    tasks: tuple[tuple[Id, int], ...]  # each with the number of the Dispatch that brought it


WorkMessage: TypeAlias = (
    Beat
    | NodeBeat
    | Enrol
    | Dispatch
    | NodeOutcomes
    | Revoke
    | Revoked
    | StopTasks
    | Stopping
    | EnrolWithDefaults
    | EnrolWithAsync
    | RemarkQuery
    | RemarkAnswer
    | EnrolQuiet
    | EnrolWithQueues
    | EnrolWithPlaces
    | SetAvailability
    | DemandQuery
    | Demand
    | OwnSchedules
    | SchedulesHeard
    | Parked
    | Begun
    | Trace
)
