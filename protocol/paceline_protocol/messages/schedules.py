"""What clients and nodes say to each other of schedules, and what the log has of them."""

# No ``from __future__ import annotations``: ``message.py`` says why.

from enum import IntEnum
from typing import Annotated, Final, NamedTuple, TypeAlias

from paceline_protocol.messages.message import (
    OF_ALL_CLIENTS,
    OF_CLIENTS,
    Id,
    Name,
    PackedDefinition,
    PackedValue,
    Sender,
    message,
)
from paceline_protocol.messages.records import Call, Options

MISFIRES_MAX: Final = 1_000
"""The most moments of one schedule that are made up for at once."""


class WhenKind(IntEnum):
    """What a schedule goes by. The numbers are in the log: never renumber."""

    CRON = 1  # ``text``, in ``zone``
    EVERY = 2  # ``every_ms``, counted from ``from_ms``
    ONCE = 3  # ``from_ms``


class When(NamedTuple):
    """When a schedule fires. What a kind does not use is "" or 0. The moments: ``when.py``."""

    kind: int
    text: str = ""
    zone: str = ""
    every_ms: int = 0
    from_ms: int = 0


class Misfire(IntEnum):
    """What becomes of moments at which nobody could fire. The numbers are in the log: never renumber."""

    SKIP = 1  # nothing
    ONCE = 2  # the last one is made up for
    ALL = 3  # all are, up to a bound


class Overlap(IntEnum):
    """What becomes of a moment while the task of an earlier firing has not ended. The numbers are in the log."""

    ALLOW = 1  # it fires
    SKIP = 2  # nothing
    QUEUE = 3  # it fires once that has ended


class ScheduleDefinition(NamedTuple):
    """What somebody wants to be done, and when: as PutSchedule and the log have it, packed."""

    task: str
    args: bytes  # packed arguments
    priority: int
    options: Options | None  # as those of a call
    when: When
    misfire: int = Misfire.ONCE
    misfire_limit: int = 100  # of ALL: no more than the last so many
    overlap: int = Overlap.ALLOW
    owner: str = ""  # the module that it came with; "" for none


class ScheduleOp(IntEnum):
    """What becomes of a schedule. The numbers are in the log: never renumber."""

    PUT = 1  # it is there from now on, in place of another one of its name
    REMOVE = 2
    PAUSE = 3
    RESUME = 4


class Fired(IntEnum):
    """What has become of a moment of a schedule. The numbers are in the log: never renumber."""

    FIRED = 1  # its task is accepted
    TRIGGERED = 2  # somebody wanted one now, which is no moment of the schedule
    SKIPPED = 3  # nobody could fire in time
    QUEUED = 4  # the task of an earlier firing has not ended: it waits for that
    OVERLAPPED = 5  # as it has not ended, nothing
    DEQUEUED = 6  # what was QUEUED has its task now
    BACKFILLED = 7  # somebody wanted the task of this past moment, and it is accepted
    HAD_TASK = 8  # there was a task of it before, though somebody wants one, or it is due


MAKES_TASK: Final = frozenset((int(Fired.FIRED), int(Fired.TRIGGERED), int(Fired.DEQUEUED), int(Fired.BACKFILLED)))
"""What has a task."""
ScheduleChange: TypeAlias = tuple[int, str, ScheduleDefinition | None, int, int]
"""``(op, name, definition, next_ms, at_ms)``: the definition of PUT alone; of PUT and RESUME the next moment, 0 for
none, and the moment up to which nothing fires. What a SCHEDULE entry has of each."""
OwnSchedule: TypeAlias = tuple[str, ScheduleDefinition]
"""``(name, definition)`` of one that comes with a module, which is its owner."""
Firing: TypeAlias = tuple[str, int, int, int, int, Call | None]
"""``(name, moment_ms, what, missed, next_ms, call)``: what became of a moment (:class:`Fired`), how many before it were
missed, the moment behind it, 0 for none, and the call of its task. What a FIRING entry has of each."""


BackfillMoments: TypeAlias = tuple[str, tuple[int, ...]]
"""``(name, moments)``: moments of a schedule of which tasks are wanted. What a BACKFILL entry has of each."""


class ScheduleAnswer(IntEnum):
    """What a request to change a schedule came to."""

    DONE = 1
    UNCHANGED = 2  # it was so before
    UNKNOWN = 3  # there is no schedule of this name
    REFUSED = 4
    OWNED = 5  # it comes with a module, which a node has: that is to be changed


# --- client -> node ---------------------------------------------------------------------------------------------


@message(180, *OF_ALL_CLIENTS)
class SchedulesRequest(NamedTuple):
    """Ask the leader which schedules there are, a page at a time. Answered by SchedulesReply. It changes nothing, so
    that a second copy does no harm; a client repeats it until it has the answer."""

    request: int
    name: Name  # with * for any number of characters
    after: str  # only those behind this name, in the order of names; "" for the first page


@message(181, *OF_CLIENTS)
class PutSchedule(NamedTuple):
    """Have a schedule of this name, in place of one that there may be. Answered by ScheduleReply once that is
    committed. One that is so already is left as it is, so that a second copy does no harm."""

    request: int
    name: Name
    definition: PackedDefinition  # codec.encode_definition


@message(182, *OF_CLIENTS)
class ChangeSchedule(NamedTuple):
    """Remove, pause or resume a schedule. Answered by ScheduleReply once that is committed. A second copy finds it so,
    or gone."""

    request: int
    name: Name
    op: Annotated[int, ScheduleOp]  # any but PUT


@message(183, *OF_CLIENTS)
class TriggerSchedule(NamedTuple):
    """Have the task of a schedule run now, beside its moments. Answered by ScheduleReply once that is committed. The
    client names the task, so that a second copy, also to another leader, makes no second one."""

    request: int
    name: Name
    id: Id


@message(184, *OF_CLIENTS)
class BackfillSchedule(NamedTuple):
    """Have the tasks of those past moments of a schedule that have had none. Answered by BackfillReply once that is
    committed. A second copy finds them waiting, or made. To leaders of feature level MODULE_SCHEDULES_LEVEL."""

    request: int
    name: Name
    from_ms: int
    to_ms: int  # included, as the first one


# --- node -> client ---------------------------------------------------------------------------------------------


@message(185, Sender.NODE)
class SchedulesReply(NamedTuple):
    request: int
    body: PackedValue  # packed map (payload.pack_value); its keys are listed in docs/protocol.md


@message(186, Sender.NODE)
class ScheduleReply(NamedTuple):
    request: int
    refused: str  # why the key of the connection does not allow it; "" if it does
    answer: Annotated[int, ScheduleAnswer]
    detail: str  # for a person


@message(202, Sender.NODE)
class BackfillReply(NamedTuple):
    request: int
    refused: str  # as in a ScheduleReply
    answer: Annotated[int, ScheduleAnswer]
    detail: str
    waiting: int  # how many of the moments have their tasks made now
    made: int  # how many had theirs before
