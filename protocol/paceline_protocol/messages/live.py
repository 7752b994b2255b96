"""What clients and nodes say to each other of tasks that have not ended: which there are, and that some are to wait no
longer."""

# No ``from __future__ import annotations``: ``message.py`` says why.

from enum import IntEnum
from typing import Annotated, NamedTuple

from paceline_protocol.messages.message import (
    OF_ALL_CLIENTS,
    OF_CLIENTS,
    Id,
    Name,
    PackedValue,
    RequestIds,
    Sender,
    message,
)


class LiveState(IntEnum):
    """Where a task is that has not ended, for whoever looks for some."""

    DELAYED = 1  # it waits for its moment, or for tasks that it depends on
    WAITING = 2  # no node has been given it
    RUNNING = 3  # a node has been given it: it runs, or is about to


class RunNowState(IntEnum):
    """What a RunNow came to, of one task."""

    DUE = 1  # it waits for its moment no longer
    WAITING = 2  # it waits for a node, and for no moment
    RUNNING = 3  # a node has been given it
    ENDED = 4
    DEAD = 5  # it has ended, and is kept as a dead task
    UNKNOWN = 6
    NOT_YET = 7  # something is to be known or logged first: ask again in a moment


# --- client -> node ---------------------------------------------------------------------------------------------


@message(150, *OF_ALL_CLIENTS)
class TasksRequest(NamedTuple):
    """Ask the leader which tasks have not ended, a page at a time. Answered by TasksReply. It changes nothing, so that
    a second copy does no harm; a client repeats it until it has the answer."""

    request: int
    name: Name  # with * for any number of characters
    states: tuple[Annotated[int, LiveState], ...]
    node: str  # only those that this node was given; "" for all
    limit: int  # so many at most
    term: int  # 0 for the first page. Else this and what follows are those of the reply before
    state: int
    part: int
    at: int


@message(151, *OF_CLIENTS)
class RunNow(NamedTuple):
    """Let these tasks wait for their moments no longer. Answered by RunNowReply. One that waits for none is left as it
    is, so that a second copy does no harm."""

    request: int
    ids: RequestIds


# --- node -> client ---------------------------------------------------------------------------------------------


@message(155, Sender.NODE)
class TasksReply(NamedTuple):
    request: int
    body: PackedValue  # packed map (payload.pack_value); its keys are listed in docs/protocol.md


@message(156, Sender.NODE)
class RunNowReply(NamedTuple):
    request: int
    refused: str  # why the key of the connection does not allow it; "" if it does
    states: tuple[tuple[Id, Annotated[int, RunNowState]], ...]
