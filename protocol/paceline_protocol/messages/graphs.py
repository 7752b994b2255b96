"""What clients and nodes say to each other of graphs: how many of their tasks are where, and which those are."""

# No ``from __future__ import annotations``: ``message.py`` says why.

from typing import Annotated, NamedTuple

from paceline_protocol.messages.live import LiveState
from paceline_protocol.messages.message import OF_ALL_CLIENTS, Name, PackedValue, Sender, message
from paceline_protocol.messages.queues import Holding

# --- client -> node ---------------------------------------------------------------------------------------------


@message(191, *OF_ALL_CLIENTS)
class GraphsRequest(NamedTuple):
    """Ask the leader for one graph, or for which there are, a page at a time. Answered by GraphsReply. It changes
    nothing, so that a second copy does no harm; a client repeats it until it has the answer."""

    request: int
    graph: str  # "" for all
    after: str  # those behind this one; "" for the first page


@message(192, *OF_ALL_CLIENTS)
class FindInGraph(NamedTuple):
    """A FindRequest for tasks of one graph, or, if it says what is to be altered, a FindToAlter. Answered by FindReply,
    as those are. It changes nothing."""

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
    graph: Name


@message(193, *OF_ALL_CLIENTS)
class TasksOfGraphRequest(NamedTuple):
    """A TasksRequest for tasks of one graph. Answered by TasksReply, as that is."""

    request: int
    name: Name  # with * for any number of characters
    states: tuple[Annotated[int, LiveState], ...]
    node: str  # only those that this node was given; "" for all
    limit: int  # so many at most
    term: int  # 0 for the first page. Else this and what follows are those of the reply before
    state: int
    part: int
    at: int
    graph: Name


# --- node -> client ---------------------------------------------------------------------------------------------


@message(194, Sender.NODE)
class GraphsReply(NamedTuple):
    request: int
    body: PackedValue  # packed map (payload.pack_value); its keys are listed in docs/protocol.md
