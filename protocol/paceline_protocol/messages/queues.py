"""What clients and nodes say to each other of queues."""

# No ``from __future__ import annotations``: ``message.py`` says why.

from enum import IntEnum
from typing import Annotated, NamedTuple

from paceline_protocol.messages.live import LiveState
from paceline_protocol.messages.message import (
    OF_ALL_CLIENTS,
    OF_CLIENTS,
    Name,
    PackedValue,
    QueueName,
    Sender,
    message,
)


class Pausing(IntEnum):
    """What a SetQueue does to whether its queue is paused."""

    LEAVE = 0
    PAUSE = 1
    RESUME = 2


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


# --- node -> client ---------------------------------------------------------------------------------------------


@message(173, Sender.NODE)
class SetQueueReply(NamedTuple):
    request: int
    refused: str  # why the key of the connection does not allow it, or it can't be; "" if it is done
    paused: bool  # what is the case now, as of the next
    weight: int  # 0 if it is the key that does not allow it


@message(174, Sender.NODE)
class QueuesReply(NamedTuple):
    request: int
    body: PackedValue  # packed map (payload.pack_value); its keys are listed in docs/protocol.md
