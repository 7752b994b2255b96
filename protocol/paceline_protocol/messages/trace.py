"""When a sampled task passed where."""

# No ``from __future__ import annotations``: ``message.py`` says why.

from enum import IntEnum
from typing import Annotated, NamedTuple

from paceline_protocol.messages.message import Id, Sender, message


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


@message(100, Sender.WORKER, Sender.PEER, Sender.NODE, trusted=True)
class Trace(NamedTuple):
    """When a task with the option ``trace`` passed where, as far as the sender knows: beside its outcome, on the whole
    way back. Each process adds what it saw. Not repeated if it is lost.

    Moments are nanoseconds of the monotonic clock of the machine on which they were taken. All processes of one machine
    share that clock; moments of two machines can't be compared, only spans that were taken on one.
    """

    id: Id
    stamps: tuple[tuple[Annotated[int, Stage], int], ...]  # each stage once at most; the moment in ns
