"""The leader's conversation with clients about dead tasks: what they have requeued and discarded. And which are
discarded without being asked: those whose time is over, and past the limits the oldest.

A request is answered once the log has what was done for all of its tasks. Until then a dead task is *leaving*: it is in
the table, and nothing else is done with it; whoever asks for the same meanwhile waits for the same entry. A leader that
dies before that takes the whole of it along, and the client asks the next one. One that dies afterwards leaves a new
task of an id that follows from that of the dead one: so the next leader knows that it was requeued.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from paceline.core.scheduling.admission import Admission
from paceline.core.scheduling.dead_limits import DeadLimits
from paceline.core.scheduling.due_tasks import DueTasks
from paceline.core.scheduling.recording import Recording
from paceline.core.state.dead_tasks import DeadTask
from paceline.core.state.table import TaskTable
from paceline_protocol.errors import LimitExceeded
from paceline_protocol.inputs import has_inputs
from paceline_protocol.limits import MAX_DETAIL_CHARS
from paceline_protocol.messages.client import DeadChanges, DeadState, Discard, Requeue
from paceline_protocol.messages.records import CALL_ARGS, CALL_NAME, CALL_OPTIONS, CALL_PRIORITY, Call
from paceline_protocol.requeued import requeued_id

DISCARD_AT_ONCE_TASKS: Final = 4_096
"""In one turn. A leader may keep far less than the one before it did."""
OPEN_REQUESTS: Final = 1_024
"""Requests that wait for the log. Beyond that they are refused: a disk may stand still."""
_TOO_MANY: Final = "too many requests to change dead tasks wait for the log; ask again in a moment"
_TAKEN: Final = "a task of the id that the new one would have was submitted before"


class _Change:
    """A request that waits for the log. ``states``: what is known by now."""

    __slots__ = ("key", "number", "states", "waits_for")

    def __init__(self, key: bytes, number: int) -> None:
        self.key: Final = key
        self.number: Final = number
        self.states: list[tuple[bytes, int, str]] = []
        self.waits_for = 0


class DeadTaskRequests:
    """``replies``: for clients, by connection; emptied by the caller."""

    __slots__ = (
        "_admission",
        "_due",
        "_leaving",
        "_leaving_bytes",
        "_limits",
        "_open",
        "_recording",
        "_table",
        "_waiting",
        "replies",
    )

    def __init__(
        self,
        table: TaskTable,
        recording: Recording,
        admission: Admission,
        due: DueTasks,
        limits: DeadLimits,
    ) -> None:
        self.replies: list[tuple[bytes, DeadChanges]] = []
        self._table = table
        self._recording = recording
        self._admission = admission
        self._due = due
        self._limits = limits
        # By dead task: what the log will say of it, a DeadState, and its size.
        self._leaving: dict[bytes, tuple[int, int]] = {}
        self._leaving_bytes = 0
        self._open: dict[tuple[bytes, int], _Change] = {}
        self._waiting: dict[bytes, list[tuple[_Change, int]]] = {}  # by dead task: who is told what

    # --- what clients ask for -----------------------------------------------------------------------------------

    def requeue(self, key: bytes, request: Requeue, now: float) -> None:
        """Make new tasks of these, and reply once that is committed. ``key``: the client's connection. Raises
        LimitExceeded, and does nothing, for several with the same arguments: the log would have these of each."""
        ids = dict.fromkeys(request.ids)
        if request.args and len(ids) > 1:
            raise LimitExceeded("tasks in one Requeue with arguments", len(ids), 1)
        change = self._begin(key, request.request, ids)
        if change is None:
            return
        for task_id in ids:
            dead = self._table.dead.get(task_id)
            if dead is None:
                is_requeued = self._is_known(requeued_id(task_id))
                state = DeadState.REQUEUED_BEFORE if is_requeued else DeadState.UNKNOWN
                change.states.append((task_id, state, ""))
            elif task_id in self._leaving:
                is_requeued = self._leaving[task_id][0] == DeadState.REQUEUED
                self._wait(change, task_id, DeadState.REQUEUED_BEFORE if is_requeued else DeadState.UNKNOWN)
            elif detail := self._requeue(task_id, dead, request.args, now):
                change.states.append((task_id, DeadState.REFUSED, detail[:MAX_DETAIL_CHARS]))
            else:
                self._wait(change, task_id, DeadState.REQUEUED)
        self._end_if_known(change)

    def _requeue(self, task_id: bytes, dead: DeadTask, args: bytes, now: float) -> str:
        """Make a new task of this one. Returns why that can't be done now, "" if it is."""
        new_id = requeued_id(task_id)
        if self._is_known(new_id):
            return _TAKEN
        if has_inputs(dead.call[CALL_OPTIONS]) and not args:
            return "it was called with results of tasks that are over; requeue it with args, and kwargs"
        options = self._due.at_requeue(dead.call[CALL_OPTIONS] or {}, task_id, now)
        call: Call = (new_id, dead.call[CALL_NAME], dead.call[CALL_PRIORITY], args or dead.call[CALL_ARGS], options)
        refusal = self._admission.refusal(call, now)
        if refusal is not None:
            return refusal[1]
        self._recording.requeue(task_id, call, now)
        self._leave(task_id, dead, DeadState.REQUEUED)
        return ""

    def _is_known(self, task_id: bytes) -> bool:
        """Whether a task of this id was submitted, as far as this cluster remembers."""
        return self._recording.open_task(task_id) is not None or self._recording.knows(task_id)

    def discard(self, key: bytes, request: Discard) -> None:
        """Keep these dead tasks no longer, and reply once that is committed."""
        change = self._begin(key, request.request, request.ids)
        if change is None:
            return
        for task_id in dict.fromkeys(request.ids):
            dead = self._table.dead.get(task_id)
            if dead is None:
                change.states.append((task_id, DeadState.UNKNOWN, ""))
                continue
            if task_id not in self._leaving:
                self._discard(task_id, dead)
            is_requeued = self._leaving[task_id][0] == DeadState.REQUEUED
            self._wait(change, task_id, DeadState.REQUEUED_BEFORE if is_requeued else DeadState.DISCARDED)
        self._end_if_known(change)

    def _begin(self, key: bytes, number: int, ids: Iterable[bytes]) -> _Change | None:
        """A request has come. None: there is nothing to do for it, as it is a copy, or one too many."""
        if (key, number) in self._open:
            return None
        if len(self._open) >= OPEN_REQUESTS:
            states = tuple([(task_id, int(DeadState.REFUSED), _TOO_MANY) for task_id in dict.fromkeys(ids)])
            self.replies.append((key, DeadChanges(number, "", states)))
            return None
        change = self._open[key, number] = _Change(key, number)
        return change

    def _wait(self, change: _Change, task_id: bytes, state: int) -> None:
        """This request is told ``state`` once the log has what becomes of the dead task."""
        self._waiting.setdefault(task_id, []).append((change, state))
        change.waits_for += 1

    def _end_if_known(self, change: _Change) -> None:
        if not change.waits_for:
            del self._open[change.key, change.number]
            self.replies.append((change.key, DeadChanges(change.number, "", tuple(change.states))))

    # --- what is discarded by itself ----------------------------------------------------------------------------

    def expire(self, ids: Iterable[bytes]) -> None:
        """The time is over for which these dead tasks were kept."""
        for task_id in ids:
            dead = self._table.dead.get(task_id)
            if dead is not None and task_id not in self._leaving:
                self._discard(task_id, dead)

    def drop_past_limits(self) -> None:
        """Discard the oldest past the limits, as many as one turn does."""
        if not self._is_past_limits():
            return
        dropped = 0
        for task_id, dead in self._table.dead.items():
            if dropped == DISCARD_AT_ONCE_TASKS or not self._is_past_limits():
                break
            if task_id not in self._leaving:
                self._discard(task_id, dead)
                dropped += 1
        if dropped:
            self._limits.no_room_for(dropped)

    def _is_past_limits(self) -> bool:
        table = self._table
        return (
            len(table.dead) - len(self._leaving) > self._limits.limit_tasks
            or table.dead_bytes - self._leaving_bytes > self._limits.limit_bytes
        )

    # --- the log ------------------------------------------------------------------------------------------------

    def _discard(self, task_id: bytes, dead: DeadTask) -> None:
        self._recording.discard((task_id,))
        self._leave(task_id, dead, DeadState.DISCARDED)

    def _leave(self, task_id: bytes, dead: DeadTask, state: int) -> None:
        self._leaving[task_id] = state, dead.size_bytes
        self._leaving_bytes += dead.size_bytes
        self._due.retention.forget_dead(task_id)

    def have_left(self, ids: Iterable[bytes]) -> None:
        """The log has what has become of these dead tasks."""
        for task_id in ids:
            _state, size_bytes = self._leaving.pop(task_id)
            self._leaving_bytes -= size_bytes
            for change, state in self._waiting.pop(task_id, ()):
                change.states.append((task_id, state, ""))
                change.waits_for -= 1
                self._end_if_known(change)
