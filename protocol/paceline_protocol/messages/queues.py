"""What clients and nodes say to each other of queues."""

# No ``from __future__ import annotations``: ``message.py`` says why.

from enum import IntEnum
from typing import Annotated, NamedTuple

from paceline_protocol.messages.live import LiveState
from paceline_protocol.messages.message import (
    OF_ALL_CLIENTS,
    OF_CLIENTS,
    Id,
    Name,
    PackedValue,
    QueueName,
    RequestIds,
    Sender,
    message,
)


class Pausing(IntEnum):
    """What a SetQueue does to whether its queue is paused."""

    LEAVE = 0
    PAUSE = 1
    RESUME = 2


class Holding(IntEnum):
    """What an AlterTasks does to whether tasks are held."""

    LEAVE = 0
    HOLD = 1
    RELEASE = 2


class AlterState(IntEnum):
    """What an AlterTasks came to, of one task."""

    DONE = 1  # it is so, and the log has it
    RUNNING = 2  # a node has been given it, or it may start once and has: it is left as it is
    ENDED = 3
    UNKNOWN = 4
    NOT_YET = 5  # something is to be known or logged first: ask again in a moment
    UNLOGGED = 6  # durability "none": the log knows nothing of it
    FULL = 7  # there are too many queues for one more
    DEPENDS = 8  # on other tasks: it is left as it is


# --- client -> node ---------------------------------------------------------------------------------------------


@message(170, *OF_CLIENTS)
class SetQueue(NamedTuple):
    """Pause a queue, let it go on, or give it another weight. Answered by SetQueueReply once that is committed. To ask
    again, also another leader, changes nothing that is done."""

    request: int
    queue: QueueName
    pausing: Annotated[int, Pausing]
    weight: int  # 0 to leave it as it is


@message(171, *OF_ALL_CLIENTS)
class QueuesRequest(NamedTuple):
    """Ask the leader which queues there are. Answered by QueuesReply. It changes nothing, so that a second copy does no
    harm; a client repeats it until it has the answer."""

    request: int


@message(172, *OF_ALL_CLIENTS)
class FindInQueue(NamedTuple):
    """A FindRequest for tasks of one queue. Answered by FindReply, as that is."""

    request: int
    name: Name  # with * for any number of characters
    states: tuple[Annotated[int, LiveState], ...]
    term: int  # 0 for the first page. Else this and what follows are those of the reply before
    until: int
    state: int
    part: int
    at: int
    queue: QueueName


@message(176, *OF_CLIENTS)
class AlterTasks(NamedTuple):
    """Hold these tasks, release them, or give them another queue or priority, as long as they wait. Answered by
    AlterReply once that is committed. To ask again, also another leader, changes nothing that is done."""

    request: int
    ids: RequestIds
    holding: Annotated[int, Holding]
    queue: str  # "" to leave it as it is
    priority: int  # with 1 added; 0 to leave it as it is


@message(177, *OF_ALL_CLIENTS)
class FindToAlter(NamedTuple):
    """A FindRequest for tasks of one queue, or of all, of which an AlterTasks would change something. Answered by
    FindReply, as that is. It changes nothing."""

    request: int
    name: Name  # with * for any number of characters
    states: tuple[Annotated[int, LiveState], ...]
    term: int  # 0 for the first page. Else this and what follows are those of the reply before
    until: int
    state: int
    part: int
    at: int
    of_queue: str  # "" for all
    older_than_ms: int  # since this leader has them, or took them over
    holding: Annotated[int, Holding]
    queue: str
    priority: int


# --- node -> client ---------------------------------------------------------------------------------------------


@message(173, Sender.NODE)
class SetQueueReply(NamedTuple):
    request: int
    refused: str  # why the key of the connection does not allow it, or it can't be; "" if it is done
    paused: bool  # what is the case now, as of the next
    weight: int  # 0 if it is the key that does not allow it


@message(178, Sender.NODE)
class AlterReply(NamedTuple):
    request: int
    refused: str  # why the key of the connection does not allow it, or it can't be; "" if it may
    states: tuple[tuple[Id, Annotated[int, AlterState]], ...]


@message(174, Sender.NODE)
class QueuesReply(NamedTuple):
    request: int
    body: PackedValue  # packed map (payload.pack_value); its keys are listed in docs/protocol.md
