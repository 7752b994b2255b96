"""What clients and nodes say to each other."""

# No ``from __future__ import annotations``: ``message.py`` says why.

from enum import IntEnum
from typing import Annotated, NamedTuple, TypeAlias

from paceline_protocol.messages.graphs import FindInGraph, GraphsReply, GraphsRequest, TasksOfGraphRequest
from paceline_protocol.messages.live import LiveState, RunNow, RunNowReply, TasksReply, TasksRequest
from paceline_protocol.messages.message import (
    OF_ALL_CLIENTS,
    OF_CLIENTS,
    Id,
    Name,
    PackedArgs,
    PackedCalls,
    PackedValue,
    RequestIds,
    Sender,
    message,
)
from paceline_protocol.messages.queues import (
    AlterReply,
    AlterTasks,
    FindInQueue,
    FindToAlter,
    QueuesReply,
    QueuesRequest,
    SetQueue,
    SetQueueReply,
)
from paceline_protocol.messages.records import Result
from paceline_protocol.messages.schedules import (
    BackfillReply,
    BackfillSchedule,
    ChangeSchedule,
    PutSchedule,
    ScheduleReply,
    SchedulesReply,
    SchedulesRequest,
    TriggerSchedule,
)
from paceline_protocol.messages.trace import Trace


class AdminOp(IntEnum):
    """What somebody may ask of the leader."""

    VOTERS = 1  # have so many voters, as soon as there are as many nodes
    PROMOTE = 2  # this node votes
    REMOVE = 3  # this node neither votes nor replicates, until it is promoted
    TRANSFER = 4  # this node leads
    STEP_DOWN = 5  # this node does not lead
    SERVE = 6  # this node takes tasks
    QUIET = 7  # this node takes no tasks, and goes on with what it runs
    DRAIN = 8  # the same, and gives back what still runs after a time


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
    RESULT_EXPIRED = 10  # the time is over for which the result of the task was kept
    INPUT_OVER = 11  # the result of a task that the call depends on is kept no longer, or there was no such task


class CancelState(IntEnum):
    """What a Cancel found."""

    CANCELLED = 1
    RUNNING = 2  # and goes on, as not all nodes know how to stop it
    FINISHED = 3
    UNKNOWN = 4
    STOPPING = 5  # its worker is asked to stop it. Another answer follows, once it has ended


class DeadState(IntEnum):
    """What a Requeue or a Discard came to, of one task."""

    REQUEUED = 1
    DISCARDED = 2
    UNKNOWN = 3  # it is no dead task, or none any more
    REQUEUED_BEFORE = 4
    REFUSED = 5  # the cluster does not take the new task now


Refused: TypeAlias = Annotated[tuple[Id, Annotated[int, Refusal], str], "refused"]
"""(task id, why, detail for a person)"""


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
    """Tasks that were accepted earlier and whose results the client still wants, as after a leader change. Answered by
    the results, as they come, by refusals, and by Postponed for those that wait to be tried again."""

    ack: int
    ids: RequestIds


@message(4, *OF_CLIENTS)
class Cancel(NamedTuple):
    """Cancel tasks that have not ended: what runs is asked to stop. Answered by CancelReplies."""

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
    argument: str  # a node id; of VOTERS the number; of DRAIN the node id, a space and milliseconds


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


@message(10, *OF_CLIENTS)
class Read(NamedTuple):
    """Tasks of which the client wants to know how they ended or end, whoever submitted them. Answered in Updates, once
    that is recorded. What it acknowledges of them is not released. It changes nothing, so that a second copy does no
    harm; a client names them again on each new connection until it knows."""

    ack: int
    ids: RequestIds


@message(19, *OF_ALL_CLIENTS)
class FindRequest(NamedTuple):
    """Ask the leader for ids of tasks by name and state, a page at a time. Answered by FindReply. It changes nothing,
    so that a second copy does no harm; a client repeats it until it has the answer."""

    request: int
    name: Name  # with * for any number of characters
    states: tuple[Annotated[int, LiveState], ...]
    term: int  # 0 for the first page. Else this and what follows are those of the reply before
    until: int
    state: int
    part: int
    at: int


@message(110, *OF_ALL_CLIENTS)
class DeadTasksRequest(NamedTuple):
    """Ask the leader which dead tasks are kept. Answered by DeadTasksReply. It changes nothing, so that a second copy
    does no harm; a client repeats it until it has the answer."""

    request: int
    name: str  # "" for all names
    error: str  # the type of the error, as a traceback shows it; "" for all
    skip: int  # how many of them are left out, the oldest first


@message(111, *OF_CLIENTS)
class DeadTaskRequest(NamedTuple):
    """Ask the leader for all of one dead task, with its arguments and its error. Answered by DeadTaskReply. It changes
    nothing, as DeadTasksRequest."""

    request: int
    id: Id


@message(112, *OF_CLIENTS)
class Requeue(NamedTuple):
    """Make new tasks of dead ones. Answered by DeadChanges once that is committed. Repeated, also to another leader, it
    makes no second one: the id of the new task follows from that of the dead one (``requeued.py``)."""

    request: int
    ids: RequestIds
    args: PackedArgs  # of the new task, if there is one id; empty: those of the dead ones


@message(113, *OF_CLIENTS)
class Discard(NamedTuple):
    """Keep dead tasks no longer. Answered by DeadChanges once that is committed. To ask again, also another leader,
    changes nothing that is done."""

    request: int
    ids: RequestIds


@message(130, *OF_ALL_CLIENTS)
class ProgressRequest(NamedTuple):
    """Ask the leader how far a task says it is, whoever submitted it. Answered by ProgressReply once the nodes that may
    know have told the leader, or after a second. It changes nothing, so that a second copy does no harm; a client
    repeats it until it has the answer."""

    request: int
    id: Id


@message(131, *OF_CLIENTS)
class OutputRequest(NamedTuple):
    """Ask the leader for the end of what a task has printed and logged. Answered by OutputReply, as a ProgressRequest
    is. It changes nothing either."""

    request: int
    id: Id


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


@message(31, Sender.NODE)
class Postponed(NamedTuple):
    """Follows a Wait: those of its tasks that have failed and wait to be tried again. It promises nothing and changes
    nothing, so that a lost or late copy does no harm: who wants to know says its Wait again."""

    tasks: tuple[tuple[Id, int], ...]  # (task id, ms that it still waits)


@message(39, Sender.NODE)
class FindReply(NamedTuple):
    request: int
    body: PackedValue  # packed map (payload.pack_value); its keys are listed in docs/protocol.md


@message(114, Sender.NODE)
class DeadTasksReply(NamedTuple):
    request: int
    body: PackedValue  # packed map (payload.pack_value); its keys are listed in docs/protocol.md


@message(115, Sender.NODE)
class DeadTaskReply(NamedTuple):
    request: int
    refused: str  # why the key of the connection does not allow it; "" if it does
    body: PackedValue  # packed map (payload.pack_value); its keys are listed in docs/protocol.md; empty if refused


@message(116, Sender.NODE)
class DeadChanges(NamedTuple):
    request: int
    refused: str  # as of DeadTaskReply
    states: tuple[tuple[Id, Annotated[int, DeadState], str], ...]  # (task id, what it came to, detail for a person)


@message(132, Sender.NODE)
class ProgressReply(NamedTuple):
    request: int
    body: PackedValue  # a packed map, see docs/protocol.md


@message(133, Sender.NODE)
class OutputReply(NamedTuple):
    request: int
    refused: str  # as of DeadTaskReply
    body: PackedValue  # likewise


ClientMessage: TypeAlias = (
    Hello
    | Submit
    | Wait
    | Cancel
    | Ping
    | StatusRequest
    | Admin
    | TaskRequest
    | WaitingRequest
    | Read
    | DeadTasksRequest
    | DeadTaskRequest
    | Requeue
    | Discard
    | FindRequest
    | TasksRequest
    | RunNow
    | ProgressRequest
    | OutputRequest
    | SetQueue
    | QueuesRequest
    | FindInQueue
    | AlterTasks
    | FindToAlter
    | GraphsRequest
    | FindInGraph
    | TasksOfGraphRequest
    | SchedulesRequest
    | PutSchedule
    | ChangeSchedule
    | TriggerSchedule
    | BackfillSchedule
)
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
    | Postponed
    | DeadTasksReply
    | DeadTaskReply
    | DeadChanges
    | FindReply
    | TasksReply
    | RunNowReply
    | ProgressReply
    | OutputReply
    | SetQueueReply
    | AlterReply
    | QueuesReply
    | GraphsReply
    | SchedulesReply
    | ScheduleReply
    | BackfillReply
    | Trace
)
