"""What connections say that their keys do not allow: who sent it is told what to do, and the operator that it came.

Nothing of such a message counts. The log has the first of each holder and kind, and then a line for each power of ten
(``core/measures/repeats.py``).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from paceline.core.measures.repeats import is_power_of_ten
from paceline.runtime.counters import Counters
from paceline.security import KeyRole, Standing
from paceline_protocol.codec import encode
from paceline_protocol.messages.client import (
    Admin,
    AdminReply,
    ClientReply,
    DeadChanges,
    DeadTaskReply,
    DeadTaskRequest,
    Discard,
    Failure,
    OutputReply,
    OutputRequest,
    Refusal,
    Requeue,
)
from paceline_protocol.messages.live import RunNow, RunNowReply
from paceline_protocol.messages.message import Sender, sent_by
from paceline_protocol.messages.queues import AlterReply, AlterTasks, SetQueue, SetQueueReply
from paceline_protocol.messages.schedules import (
    BackfillReply,
    BackfillSchedule,
    ChangeSchedule,
    PutSchedule,
    ScheduleAnswer,
    ScheduleReply,
    TriggerSchedule,
)

PAIRS_MAX: Final = 256
"""Holders and kinds that are told apart. Beyond it only the counter tells."""

MAY_SEND: Final[dict[KeyRole, frozenset[type[Any]]]] = {
    KeyRole.NODE: sent_by(Sender.OPERATOR),
    KeyRole.CLIENT: sent_by(Sender.CLIENT),
    KeyRole.OBSERVER: sent_by(Sender.OBSERVER),
    KeyRole.NOBODY: frozenset(),
}
"""What comes alone, as from a client. What comes in a batch with an Envelope may come from nodes only."""
ANYTHING: Final = "anything"
BATCH: Final = "what nodes say to each other"

_ADVICE: Final[dict[KeyRole, str]] = {
    KeyRole.CLIENT: "changes of the cluster need the cluster file of the nodes itself",
    KeyRole.OBSERVER: "an observer may only ask; `paceline key client NAME` issues a key that may have tasks run",
    KeyRole.NOBODY: "whoever has the cluster file can issue another with `paceline key client NAME`",
}

_logger = logging.getLogger("paceline.node")


class Forbidden:
    """Drops what is not allowed, and counts it (``frames_forbidden``)."""

    def __init__(self, counters: Counters) -> None:
        self._counters = counters
        self._counts: dict[tuple[str, str], int] = {}

    def refuse(self, standing: Standing, kind: type[Any] | None, fields: tuple[Any, ...]) -> bytes:
        """A client's message is dropped. Returns the frame that tells it so. ``kind``: None if it was not looked at."""
        self.drop(standing, ANYTHING if kind is None else kind.__name__)
        return encode(_answer(standing, kind, fields))

    def drop(self, standing: Standing, what: str, frames: int = 1) -> None:
        """A message is dropped. ``what``: its kind."""
        self._counters.frames_forbidden += frames
        pair = (standing.who, what)
        if pair not in self._counts and len(self._counts) >= PAIRS_MAX:
            return
        count = self._counts[pair] = self._counts.get(pair, 0) + 1
        if is_power_of_ten(count):
            times = "" if count == 1 else f" ({count} times by now)"
            _logger.warning("%s sent %s, which is not allowed to it, and is dropped%s", standing.who, what, times)


def _answer(standing: Standing, kind: type[Any] | None, fields: tuple[Any, ...]) -> ClientReply:
    if standing.role is KeyRole.NOBODY:
        return Failure(Refusal.KEY_REVOKED, f"{standing.who} may say nothing: {_ADVICE[KeyRole.NOBODY]}")
    said = f"{standing.who} may not do that: {_ADVICE[standing.role]}"
    answer = _ANSWERS.get(kind)
    return Failure(Refusal.FORBIDDEN, said) if answer is None else answer(fields[0], said)


def _dead_changes(request: int, said: str) -> ClientReply:
    return DeadChanges(request, said, ())


def _schedule_reply(request: int, said: str) -> ClientReply:
    return ScheduleReply(request, said, ScheduleAnswer.REFUSED, "")


_ANSWERS: Final[dict[type[Any] | None, Callable[[int, str], ClientReply]]] = {
    Admin: lambda request, said: AdminReply(request, False, said),
    DeadTaskRequest: lambda request, said: DeadTaskReply(request, said, b""),
    Requeue: _dead_changes,
    Discard: _dead_changes,
    SetQueue: lambda request, said: SetQueueReply(request, said, False, 0),
    AlterTasks: lambda request, said: AlterReply(request, said, ()),
    RunNow: lambda request, said: RunNowReply(request, said, ()),
    PutSchedule: _schedule_reply,
    ChangeSchedule: _schedule_reply,
    TriggerSchedule: _schedule_reply,
    BackfillSchedule: lambda request, said: BackfillReply(request, said, ScheduleAnswer.REFUSED, "", 0, 0),
    OutputRequest: lambda request, said: OutputReply(request, said, b""),
}
"""Kind of a request -> its reply, which says why it is not carried out. The others are answered by a Failure."""
