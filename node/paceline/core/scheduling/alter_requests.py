"""The leader's conversation with clients about tasks that wait: they hold them, release them, move them to another
queue and give them another priority.

A task that is to be altered is set aside at once: nobody hands it out until the log has the change. Then it is another
object with another call, which waits behind all that wait by then; or, held, for whoever releases it. What a node has
been given by the time of the request is left as it is, and told. So a client that is told that a task is held, or
moved, knows that for any leader from then on. A leader that dies before takes the request along, and the client asks
the next one.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Final, TypeAlias

from paceline.core.scheduling.admission import Admission
from paceline.core.scheduling.due_tasks import DueTasks
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.scheduling.placement import key_of
from paceline.core.scheduling.recording import Recording
from paceline.core.state.table import TaskTable
from paceline.core.state.task import Task
from paceline_protocol.messages.graphs import FindInGraph
from paceline_protocol.messages.queues import AlterReply, AlterState, AlterTasks, FindToAlter, Holding
from paceline_protocol.messages.records import PRIORITY_MAX, Alteration
from paceline_protocol.option_types import QUEUE_NAME_RULE, is_queue_name
from paceline_protocol.options import FAIRNESS_LEVEL

OPEN_REQUESTS: Final = 64
"""Requests that wait for the log. Beyond that the others are asked again: a disk may stand still."""
Change: TypeAlias = AlterTasks | FindToAlter | FindInGraph
"""What says how tasks are to be altered."""
_age: Final = attrgetter("age")
ANSWERED_REQUESTS: Final = 4_096
"""So many that were answered are remembered."""


class _Open:
    """A request that waits for the log. ``states``: what is known; ``waits_for``: the tasks that the log does not have
    as they are to be."""

    __slots__ = ("states", "waits_for")

    def __init__(self) -> None:
        self.states: dict[bytes, int] = {}
        self.waits_for: set[bytes] = set()


class AlterRequests:
    """``replies``: for clients, by connection; emptied by the caller."""

    __slots__ = ("_admission", "_answered", "_due", "_open", "_recording", "_table", "_tasks", "replies")

    def __init__(
        self, table: TaskTable, tasks: LiveTasks, recording: Recording, admission: Admission, due: DueTasks
    ) -> None:
        self.replies: list[tuple[bytes, AlterReply]] = []
        self._admission = admission
        self._table = table
        self._tasks = tasks
        self._recording = recording
        self._due = due
        self._open: dict[tuple[bytes, int], _Open] = {}
        self._answered: dict[tuple[bytes, int], None] = {}  # the oldest first

    def alter(self, key: bytes, request: AlterTasks) -> None:
        """Have the log say this of these tasks, and reply once it does. ``key``: the client's connection."""
        at = key, request.request
        if at in self._open:
            return
        refused = self.why_not(request)
        if refused:
            self.replies.append((key, AlterReply(request.request, refused, ())))
            return
        is_copy = at in self._answered
        wait = _Open()
        changed: list[Task] = []
        for task_id in dict.fromkeys(request.ids):
            state = self._state_of(task_id, request, is_copy=is_copy)
            wait.states[task_id] = int(AlterState.DONE if state is None else state)
            if state is None:
                changed.append(self._tasks.live[task_id])
                wait.waits_for.add(task_id)
        for task in sorted(changed, key=_age):  # in the order in which they will wait again
            self._tasks.set_aside(task)
            self._recording.alter(altered(task, request))
        self._open[at] = wait
        if not wait.waits_for:
            self._answer(at)

    def why_not(self, request: Change) -> str:
        """Why nothing can be altered so; "" if it can."""
        if request.queue and not is_queue_name(request.queue):
            return f"the name of a queue has {QUEUE_NAME_RULE}"
        if not 0 <= request.priority <= PRIORITY_MAX + 1:
            return f"a priority is a whole number from 0 to {PRIORITY_MAX}"
        return self._admission.cluster_level.refusal(FAIRNESS_LEVEL, "to alter tasks that wait")

    def _state_of(self, task_id: bytes, request: AlterTasks, *, is_copy: bool) -> AlterState | None:
        """What there is to say of a task at once; None if it is to be altered."""
        tasks, recording = self._tasks, self._recording
        task = tasks.live.get(task_id)
        if task is None:
            is_known = recording.open_task(task_id) is not None or recording.knows(task_id)
            return AlterState.ENDED if is_known else AlterState.UNKNOWN
        if not tasks.is_settled or not recording.is_logging:
            return AlterState.NOT_YET
        if task.has_place_at_node or (task.lost_attempts and task.options is not None and task.options.starts_once):
            return AlterState.RUNNING
        if not task.is_logged:
            return AlterState.UNLOGGED
        if task.options is not None and task.options.has_inputs:
            return AlterState.DEPENDS
        if task_id not in self._table.tasks or task_id in tasks.altering:
            return AlterState.NOT_YET
        if is_copy or not would_change(task, request):
            return AlterState.DONE
        if request.queue and not self._has_room(task, request.queue):
            return AlterState.FULL
        return AlterState.NOT_YET if len(self._open) >= OPEN_REQUESTS else None

    def _has_room(self, task: Task, queue: str) -> bool:
        queues, options = self._tasks.queues, task.options
        if not queues.has_room_for(queue):
            return False
        if options is not None and options.is_limited:
            moved = task.altered(queue, task.priority, is_held=False).options
            if moved is not None and self._tasks.gates.refusal(task.name, moved):
                return False
        return options is None or not options.is_placed or queues.has_room_to_place(queue, key_of(task.name, options))

    def have_been_altered(self, alterations: list[Alteration], now: float) -> None:
        """The log says this now."""
        for task_id, *_ in alterations:
            self._tasks.altering.discard(task_id)
            old, new = self._tasks.live.get(task_id), self._table.tasks.get(task_id)
            if old is not None and new is not None:  # else it has ended meanwhile
                self._tasks.replace(old, new)
                if not self._due.is_early(new, now):
                    self._tasks.come_due(new, now)
                self._due.watch(new, now)
            for at, wait in list(self._open.items()):
                if task_id in wait.waits_for:
                    wait.waits_for.remove(task_id)
                    if old is None:
                        wait.states[task_id] = int(AlterState.ENDED)
                    if not wait.waits_for:
                        self._answer(at)

    def _answer(self, at: tuple[bytes, int]) -> None:
        states = self._open.pop(at).states
        if len(self._answered) >= ANSWERED_REQUESTS:
            del self._answered[next(iter(self._answered))]
        self._answered[at] = None
        self.replies.append((at[0], AlterReply(at[1], "", tuple(states.items()))))


def would_change(task: Task, request: Change) -> bool:
    """Whether this would make another task of it."""
    return altered(task, request) != (task.id, task.queue, task.priority, task.is_held)


def altered(task: Task, request: Change) -> Alteration:
    """The task as it is to be."""
    is_held = task.is_held if request.holding == Holding.LEAVE else request.holding == Holding.HOLD
    priority = request.priority - 1 if request.priority else task.priority
    return task.id, request.queue or task.queue, priority, is_held
