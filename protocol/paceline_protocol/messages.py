"""Every message that a paceline process sends to another, as plain typed values.

What lives here: the shapes, all of them, in the order of the grammar in docs/protocol.md, so that the two can be read
side by side. What does not: bytes (``codec.py``), meaning (the core, the client, the worker).

What there is to say of a message stands in one place: over its class its number on the wire and who sends it, in it its
fields, whose types say what is valid. The tables of the codec (``kinds.py``) and of the receivers (:func:`sent_by`)
follow from that; the unions at the end are the same once more for the type checker, and a test compares them.

A message is one frame, and a named tuple, so that the codec packs it as it is. Messages between peers travel as a
batch: one :class:`Envelope` frame, then any number of message frames, so that cluster id and sender are written once
per batch.

Tuples on the hot path. A task crosses five processes, and an object per hop costs more than the hop, so four records
are documented tuples and not classes:

=============  ==============================================  =====================================
``Call``       ``(id, name, priority, args, options)``         what a client submits
``Assignment`` ``(id, attempt, name, args, options)``          what a leader gives a node, a node a worker
``Outcome``    ``(id, attempt, state, payload, duration_us)``  what a worker answers
``Result``     ``(id, state, payload)``                        what the submitter gets
=============  ==============================================  =====================================

``id`` is 16 bytes, chosen by the client. ``args`` and ``payload`` are opaque bytes (``payload.py``): the leader never
decodes them. ``options`` is a map of the keys that ``options.py`` has rows for, or None for all defaults. The places
have names (``CALL_ARGS``, ...), which compiled code reads as the numbers that they are.
"""

# Annotations are objects here and not strings, which ``kinds.py`` would take ten milliseconds to read in each process.

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Annotated, Any, Final, NamedTuple, TypeAlias, TypeVar

PROTOCOL_VERSION: Final = 1
"""Written in the second byte of every frame. A change that an older reader can't take raises it."""

TASK_ID_BYTES: Final = 16
PRIORITY_MAX: Final = 9
PRIORITY_DEFAULT: Final = 4

Options: TypeAlias = dict[str, Any]
"""Never changed once it is made: calls share it."""
Call: TypeAlias = tuple[bytes, str, int, bytes, Options | None]
Assignment: TypeAlias = Annotated[tuple[bytes, int, str, bytes, Options | None], "assignment"]
Outcome: TypeAlias = Annotated[tuple[bytes, int, int, bytes, int], "outcome"]
Result: TypeAlias = Annotated[tuple[bytes, int, bytes], "result"]

# Types of fields that say more than Python's own. Each is named as in the grammar, and has its check in ``kinds.py``.
Id: TypeAlias = Annotated[bytes, "id"]
Name: TypeAlias = Annotated[str, "name"]
RequestIds: TypeAlias = Annotated[tuple[Id, ...], "request-ids"]
LongString: TypeAlias = Annotated[str, "long-string"]
PackedCalls: TypeAlias = Annotated[bytes, "bytes<calls>"]
PackedOutcomes: TypeAlias = Annotated[bytes, "bytes<outcomes>"]
PackedHeld: TypeAlias = Annotated[bytes, "bytes<held>"]
PackedConfig: TypeAlias = Annotated[bytes, "bytes<config>"]
PackedValue: TypeAlias = Annotated[bytes, "bytes<payload>"]

# The places in each record. Written out, since a compiler that unpacks a range would not know the numbers.
CALL_ID: Final = 0
CALL_NAME: Final = 1
CALL_PRIORITY: Final = 2
CALL_ARGS: Final = 3
CALL_OPTIONS: Final = 4
ASSIGNMENT_ID: Final = 0
ASSIGNMENT_ATTEMPT: Final = 1
ASSIGNMENT_NAME: Final = 2
ASSIGNMENT_ARGS: Final = 3
ASSIGNMENT_OPTIONS: Final = 4
OUTCOME_ID: Final = 0
OUTCOME_ATTEMPT: Final = 1
OUTCOME_STATE: Final = 2
OUTCOME_PAYLOAD: Final = 3
OUTCOME_DURATION_US: Final = 4
RESULT_ID: Final = 0
RESULT_STATE: Final = 1
RESULT_PAYLOAD: Final = 2

AT_MOST_ONCE: Final = 1
"""Of ``delivery``: each start is logged before it is made, and there is one."""
COMMITTED: Final = 1
"""Of ``confirm``: the result is passed on once its outcome is committed."""
NO_LOG: Final = 1
"""Of ``durability``: the leader alone knows of the task, and its client, which submits it again to the next leader."""
TRACED: Final = 1
"""Of ``trace``: the submitter is told when the task passed where (:class:`Trace`)."""


class TaskEnd(IntEnum):
    """How a task can end. The numbers are on the wire and in the log: never renumber."""

    SUCCEEDED = 1  # payload: the packed return value
    FAILED = 2  # payload: a packed error (payload.pack_error)
    CANCELLED = 3  # payload: empty
    LOST = 4  # payload: a packed error that says how often and where it was lost
    EXPIRED = 5  # payload: a packed error that says when


class EntryKind(IntEnum):
    """What a log entry holds. The numbers are in the log: never renumber."""

    NOOP = 0  # the first entry of a leader's term
    CONFIG = 1  # voters, learners, the feature level (codec.encode_config)
    ACCEPT = 2  # the packed calls of one Submit, as the client sent them
    OUTCOME = 3  # packed outcomes, as the node sent them
    RELEASE = 4  # task ids, joined: their results are not kept any more
    ATTEMPT = 5  # task ids, joined: one attempt of each is used up: lost, or about to start if there is to be only one


class AdminOp(IntEnum):
    """What somebody may ask of the leader."""

    VOTERS = 1  # have so many voters, as soon as there are as many nodes
    PROMOTE = 2  # this node votes
    REMOVE = 3  # this node neither votes nor replicates, until it is promoted
    TRANSFER = 4  # this node leads
    STEP_DOWN = 5  # this node does not lead


class Refusal(IntEnum):
    """Why a leader refused a task, or a node a request."""

    UNKNOWN_TASK = 1
    QUEUE_FULL = 2
    PAYLOAD_TOO_LARGE = 3
    UNKNOWN_ID = 4  # a Wait names a task that this cluster never accepted, or forgot long ago
    BAD_REQUEST = 5
    NOT_READY = 6  # the cluster can't accept yet (forming, too few voters)
    LEVEL_TOO_LOW = 7  # some node is too old for what the call asks for
    FORBIDDEN = 8  # the key of the connection does not allow it
    KEY_REVOKED = 9  # the key of the connection allows nothing any more


class Stage(IntEnum):
    """Where a sampled task is at a moment of its way. In the order of the way."""

    SUBMITTED = 1  # in the client, packed
    LEADER_IN = 2
    DISPATCHED = 3  # about to be packed and sent, to another node or to a worker of the leader's own
    NODE_IN = 4  # in another node than the leader's
    WORKER_START = 5
    WORKER_END = 6
    LEADER_BACK = 7  # the leader has the outcome
    CLIENT_BACK = 8  # the client has it


class CancelState(IntEnum):
    """What a Cancel found."""

    CANCELLED = 1
    RUNNING = 2
    FINISHED = 3
    UNKNOWN = 4


Refused: TypeAlias = Annotated[tuple[Id, Annotated[int, Refusal], str], "refused"]
"""(task id, why, detail for a person)"""
WireEntry: TypeAlias = Annotated[tuple[int, Annotated[int, "entry-kind"], bytes], "entry"]
"""A log entry on the wire: (term, kind, data). Its index follows from its place in the Append."""


class Sender(Enum):
    """Who sends a message, as its receiver sees it."""

    # Clients, to any node. What their connections showed says which of these they are.
    OBSERVER = "observer"  # may ask, and change nothing
    CLIENT = "client"  # has tasks run
    OPERATOR = "operator"  # a client with the key of the nodes
    NODE = "node"  # to a client
    PEER = "peer"  # a node to another
    WORKER = "worker"  # to its node
    WEB = "web process"  # to its node
    PARENT = "parent"  # a node to a child of its own


class Said(NamedTuple):
    """What is said of a message over its class."""

    kind: int  # on the wire: never renumbered, never used again
    senders: frozenset[Sender]
    # Its fields were checked when they came into the sending process, and a second look would cost more than packing
    # them. All other kinds are read back before they leave.
    trusted: bool


OF_ALL_CLIENTS: Final = (Sender.OBSERVER, Sender.CLIENT, Sender.OPERATOR)
OF_CLIENTS: Final = (Sender.CLIENT, Sender.OPERATOR)

MESSAGES: dict[type[Any], Said] = {}
"""Every message class, in the order of this file."""
_Class = TypeVar("_Class", bound=type[Any])


def message(kind: int, *senders: Sender, trusted: bool = False) -> Callable[[_Class], _Class]:
    """The class below is a message."""

    def register(cls: _Class) -> _Class:
        MESSAGES[cls] = Said(kind, frozenset(senders), trusted)
        return cls

    return register


def sent_by(sender: Sender) -> frozenset[type[Any]]:
    """The classes of the messages that this one may send."""
    return frozenset(cls for cls, said in MESSAGES.items() if sender in said.senders)


# --- client -> node ---------------------------------------------------------------------------------------------


@message(1, *OF_ALL_CLIENTS)
class Hello(NamedTuple):
    """The first message of a client on a connection. Answered by Welcome, whoever leads."""

    client_id: Id  # 16 bytes, one per Client object
    cluster_name: str  # "" for any


@message(2, *OF_CLIENTS, trusted=True)
class Submit(NamedTuple):
    """A batch of calls. Answered by Updates that name ``seq`` under ``accepted``, refusals, and results."""

    seq: int  # numbers the client's batches on this connection, from 1
    ack: int  # the last Update.seq that the client has processed
    calls: PackedCalls  # codec.encode_calls: kept as bytes so that the log entry is what the client wrote
    prompt: bool = False  # True: send `accepted` as soon as it holds; False: it may wait to travel with a result


@message(3, *OF_CLIENTS)
class Wait(NamedTuple):
    """After a leader change: tasks that were accepted earlier and whose results the client still wants."""

    ack: int
    ids: RequestIds


@message(4, *OF_CLIENTS)
class Cancel(NamedTuple):
    """Cancel tasks that have not started. Answered by CancelReply."""

    request: int
    ids: RequestIds


@message(5, *OF_ALL_CLIENTS)
class Ping(NamedTuple):
    """Sent by a client that waits and has heard nothing, that has something to acknowledge and nothing else to say, or
    that has sent much and does not know whether it has arrived. Answered by Pong, or by Redirect."""

    ack: int


@message(6, *OF_ALL_CLIENTS)
class StatusRequest(NamedTuple):
    """Ask any node what it knows. Answered by StatusReply."""

    request: int
    about: tuple[tuple[str, str], ...] = ()  # what the client says of itself, for whoever asks after it: names, values


@message(7, Sender.OPERATOR)
class Admin(NamedTuple):
    """Ask the leader to change the cluster. Answered by AdminReply once it is done, or can't be. To ask again, also
    another leader, changes nothing that is done."""

    request: int
    op: Annotated[int, AdminOp]
    argument: str  # a node id; of VOTERS the number


@message(8, *OF_ALL_CLIENTS)
class TaskRequest(NamedTuple):
    """Ask the leader where a task is, whoever submitted it. Answered by TaskReply. It changes nothing, so that a second
    copy does no harm; a client repeats it until it has the answer."""

    request: int
    id: Id


@message(9, *OF_ALL_CLIENTS)
class WaitingRequest(NamedTuple):
    """Ask the leader which tasks wait, by name. Answered by WaitingReply. It changes nothing, so that a second copy
    does no harm; a client repeats it until it has the answer."""

    request: int
    name: str  # "" for all names; else the answer has ids of its tasks, too
    skip: int  # how many tasks were looked at for that before


# --- node -> client ---------------------------------------------------------------------------------------------


@message(20, Sender.NODE)
class Welcome(NamedTuple):
    """Answer to Hello: who this node is, who leads, where the others are."""

    node_id: str
    cluster_id: str  # "" while the cluster is forming
    cluster_name: str
    term: int
    leader_id: str  # "" when unknown
    leader_address: str  # "" when unknown
    addresses: tuple[str, ...]  # every node this one knows, itself first
    payload_limit_bytes: int


@message(21, Sender.NODE)
class Redirect(NamedTuple):
    """This node does not lead (any more). Nothing of the request was kept."""

    term: int
    leader_id: str  # "" when unknown
    leader_address: str


@message(22, Sender.NODE, trusted=True)
class Update(NamedTuple):
    """What became of a client's tasks since the last Update on this connection."""

    seq: int  # from 1 on each connection; acknowledged by the `ack` of what the client sends next
    accepted: tuple[int, ...]  # Submit.seq whose calls are committed (those not listed as refused)
    refused: tuple[Refused, ...]
    results: tuple[Result, ...]


@message(23, Sender.NODE)
class CancelReply(NamedTuple):
    request: int
    states: tuple[tuple[Id, Annotated[int, CancelState]], ...]


@message(24, Sender.NODE)
class Pong(NamedTuple):
    """Answers one Ping. They come in the order of the Pings, so each proves that all has arrived that was sent before
    its Ping."""

    term: int


@message(25, Sender.NODE)
class StatusReply(NamedTuple):
    request: int
    body: PackedValue  # packed map (payload.pack_value); its keys are listed in docs/protocol.md


@message(26, Sender.NODE)
class Failure(NamedTuple):
    """The node could not take a frame. Its version byte is the sender's, so that a client of another version can
    tell."""

    code: Annotated[int, Refusal]
    detail: str


@message(27, Sender.NODE)
class AdminReply(NamedTuple):
    request: int
    done: bool
    detail: str  # what is the case now, or why it can't be


@message(28, Sender.NODE)
class TaskReply(NamedTuple):
    request: int
    body: PackedValue  # packed map (payload.pack_value); its keys are listed in docs/protocol.md


@message(29, Sender.NODE)
class WaitingReply(NamedTuple):
    request: int
    body: PackedValue  # packed map (payload.pack_value); its keys are listed in docs/protocol.md


@message(30, Sender.NODE)
class Coming(NamedTuple):
    """Sent right before a large frame: nothing else comes before all of it has, which may take long. Without it a
    client on a slow link may take its leader for silent, and comes back; one too many only has it wait for longer until
    it does."""

    size: int  # of that frame, in bytes


# --- peer -> peer: who is there, first boot ---------------------------------------------------------------------


@message(40, Sender.PEER)
class Envelope(NamedTuple):
    """The first frame of a batch between peers."""

    cluster_id: str  # "" while the sender belongs to no cluster
    sender: str  # node id
    incarnation: int  # grows with each start of a node id
    recipient: str  # node id, "" when the sender knows only an address
    start: int = 0  # another one for each process that runs as this node; of two, that which began later has the higher


@message(41, Sender.PEER)
class PeerHello(NamedTuple):
    """Who I am and whom I know. Sent to every address that discovery or a peer names, until it answers with its own."""

    address: str  # where the sender's ROUTER can be reached
    cluster_name: str
    expect: int  # nodes that must consent before a cluster forms
    leader_id: str
    term: int
    known: tuple[tuple[str, str], ...]  # (node id, address) of live peers
    reply: bool  # True: this answers a PeerHello, don't answer it again
    metrics_address: str = (
        ""  # where the sender's metrics are served, "" if nowhere; a loopback address is on its machine
    )
    feature_level: int = 1  # the highest that the sender understands
    cluster_level: int = 0  # of its cluster, 0 if the sender keeps no log that says so
    version: str = ""  # of the sender's package, for people
    others: tuple[str, ...] = ()  # where the sender's ROUTER may be reached besides, for who can't at its address
    to: str = ""  # the address that this was sent to; of an answer, the one that what it answers was sent to


@message(42, Sender.PEER)
class Consent(NamedTuple):
    """Gives first-boot consents. Each node has exactly one, and gives on what it holds at most once."""

    holders: tuple[str, ...]  # node ids whose consent this carries


@message(43, Sender.PEER)
class ConsentReceived(NamedTuple):
    holders: tuple[str, ...]


@message(44, Sender.PEER)
class OtherStart(NamedTuple):
    """To a process, at its address: another one runs, or ran, as the same node. Late ones harm nobody: they name whom
    they are for."""

    start: int  # the process that this is for
    other: int  # the start of the other one
    address: str  # where the other one is
    incarnation: int  # of the other one
    ends: (
        bool  # True: the recipient is to end. False: the other one counts, unless the recipient still lives and says so
    )


# --- peer -> peer: the replicated log ---------------------------------------------------------------------------


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


# --- leader <-> node: tasks -------------------------------------------------------------------------------------


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


# --- node <-> worker --------------------------------------------------------------------------------------------


@message(80, Sender.WORKER)
class WorkerReady(NamedTuple):
    pid: int
    names: tuple[Name, ...]


@message(81, Sender.WORKER)
class WorkerFailed(NamedTuple):
    """The worker can't serve: one of its modules does not import."""

    pid: int
    module: str
    error: LongString
    traceback: LongString


@message(82, Sender.PARENT, trusted=True)
class Run(NamedTuple):
    """Tasks for one worker, run in order."""

    tasks: tuple[Assignment, ...]


@message(83, Sender.WORKER, trusted=True)
class Done(NamedTuple):
    outcomes: tuple[Outcome, ...]


@message(84, Sender.PARENT)
class Stop(NamedTuple):
    """Finish what you run, then exit."""


@message(85, Sender.WORKER, trusted=True)
class CleaningUp(NamedTuple):
    """As Done, but the last of these tasks has left something that the worker ends now. It begins no other task until
    it has answered for that one again, with the end CANCELLED."""

    outcomes: tuple[Outcome, ...]


@message(86, Sender.PARENT)
class NodeMoved(NamedTuple):
    """Workers are started with the address of their node, which listens at another one from now on. A worker that runs
    a task hears it behind that."""

    address: str


# --- node <-> its web process -------------------------------------------------------------------------------------


@message(90, Sender.WEB)
class MetricsRequest(NamedTuple):
    """Somebody asked the web process how the node is. It asks again only once it has the answer."""


@message(91, Sender.PARENT)
class MetricsReply(NamedTuple):
    """Counts, and how things stand; that it comes says that the node's loop turns."""

    body: PackedValue  # a packed map


# --- worker -> node -> leader -> client -------------------------------------------------------------------------


@message(100, Sender.WORKER, Sender.PEER, Sender.NODE, trusted=True)
class Trace(NamedTuple):
    """When a task with the option ``trace`` passed where, as far as the sender knows: beside its outcome, on the whole
    way back. Each process adds what it saw. Not repeated if it is lost.

    Moments are nanoseconds of the monotonic clock of the machine on which they were taken. All processes of one machine
    share that clock; moments of two machines can't be compared, only spans that were taken on one.
    """

    id: Id
    stamps: tuple[tuple[Annotated[int, Stage], int], ...]  # each stage once at most; the moment in ns


ClientMessage: TypeAlias = Hello | Submit | Wait | Cancel | Ping | StatusRequest | Admin | TaskRequest | WaitingRequest
ClientReply: TypeAlias = (
    Welcome
    | Redirect
    | Update
    | CancelReply
    | Pong
    | StatusReply
    | Failure
    | AdminReply
    | TaskReply
    | WaitingReply
    | Coming
    | Trace
)
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
MembershipMessage: TypeAlias = PeerHello | Consent | ConsentReceived | OtherStart
WorkMessage: TypeAlias = Beat | NodeBeat | Enrol | Dispatch | NodeOutcomes | Revoke | Revoked | Trace
PeerMessage: TypeAlias = ConsensusMessage | MembershipMessage | WorkMessage
WorkerMessage: TypeAlias = WorkerReady | WorkerFailed | Done | CleaningUp | Trace
ToWorkerMessage: TypeAlias = Run | Stop | NodeMoved
WebMessage: TypeAlias = MetricsRequest | MetricsReply
Message: TypeAlias = ClientMessage | ClientReply | Envelope | PeerMessage | WorkerMessage | ToWorkerMessage | WebMessage


@dataclass(frozen=True, slots=True)
class Config:
    """Who replicates the log. Node ids only: addresses change, and an address in the log could not be corrected."""

    voters: tuple[str, ...] = ()  # sorted
    learners: tuple[str, ...] = ()  # sorted; replicate, don't vote
    excluded: tuple[str, ...] = ()  # sorted; somebody removed them: not taken in again until somebody promotes them
    limit: int = 0  # how many voters somebody asked for: 1, 3 or 5; 0 if nobody did
    level: int = 1  # the feature level: what may stand in the log from here on, since all replicas understand it
