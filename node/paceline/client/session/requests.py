"""The requests of a client that have no answer yet: cancel, status, where a task is and what it says of itself, what
waits, which tasks there are, dead tasks, cluster changes.

One rule holds for every kind. A request is sent when it is made, to each connected node that may answer it, and sent
again to each such node that is connected later, until it is answered or nobody wants it any more. So a
request may be carried out twice; every kind is such that the second time changes nothing. Only the first answer of a
leader counts; that of another node is the second best.

The kinds differ by their :class:`Rule`. And a Cancel shrinks: a task whose result has arrived is taken out of it. The
next leader may not know of that result and may have to run the task again, and must not cancel it instead. When every
task of a Cancel has ended so, that is its answer. A task that is asked to stop has not ended yet: of that the leader
says STOPPING first, and the request stands, also when nobody waits for its answer any more (:meth:`Requests.leave`).

Pure bookkeeping: the search and the epoch send.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from paceline_protocol import codec
from paceline_protocol.messages.client import (
    Admin,
    AdminReply,
    Cancel,
    CancelReply,
    CancelState,
    DeadChanges,
    DeadTaskReply,
    DeadTaskRequest,
    DeadTasksReply,
    DeadTasksRequest,
    Discard,
    FindReply,
    FindRequest,
    OutputReply,
    OutputRequest,
    ProgressReply,
    ProgressRequest,
    Requeue,
    StatusReply,
    StatusRequest,
    TaskReply,
    TaskRequest,
    WaitingReply,
    WaitingRequest,
)
from paceline_protocol.messages.graphs import FindInGraph, GraphsReply, GraphsRequest, TasksOfGraphRequest
from paceline_protocol.messages.live import RunNow, RunNowReply, TasksReply, TasksRequest
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
from paceline_protocol.messages.records import Result, TaskEnd
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
from paceline_protocol.options import (
    DEAD_LEVEL,
    FAIRNESS_LEVEL,
    GRAPHS_LEVEL,
    LISTS_LEVEL,
    LOST_CLIENTS_LEVEL,
    MODULE_SCHEDULES_LEVEL,
    PROGRESS_LEVEL,
    QUEUES_LEVEL,
    SCHEDULES_LEVEL,
)

Request: TypeAlias = (
    Cancel
    | StatusRequest
    | Admin
    | TaskRequest
    | WaitingRequest
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
Reply: TypeAlias = (
    CancelReply
    | StatusReply
    | AdminReply
    | TaskReply
    | WaitingReply
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
)


@dataclass(frozen=True, slots=True)
class Rule:
    """``answer``: the class of the reply. ``of_any_node``: a node that does not lead answers it, too. ``behind_calls``:
    it concerns calls that may be queued, which must be sent to the leader first. ``since_level``: the feature level
    from which on each node can read it."""

    answer: type[Reply]
    of_any_node: bool
    behind_calls: bool
    since_level: int = 1


RULES: Final[dict[type[Request], Rule]] = {
    Cancel: Rule(CancelReply, of_any_node=False, behind_calls=True),
    StatusRequest: Rule(StatusReply, of_any_node=True, behind_calls=False),
    Admin: Rule(AdminReply, of_any_node=False, behind_calls=False),
    TaskRequest: Rule(TaskReply, of_any_node=False, behind_calls=True),
    WaitingRequest: Rule(WaitingReply, of_any_node=False, behind_calls=True),
    DeadTasksRequest: Rule(DeadTasksReply, of_any_node=False, behind_calls=False, since_level=DEAD_LEVEL),
    DeadTaskRequest: Rule(DeadTaskReply, of_any_node=False, behind_calls=False, since_level=DEAD_LEVEL),
    Requeue: Rule(DeadChanges, of_any_node=False, behind_calls=False, since_level=DEAD_LEVEL),
    Discard: Rule(DeadChanges, of_any_node=False, behind_calls=False, since_level=DEAD_LEVEL),
    FindRequest: Rule(FindReply, of_any_node=False, behind_calls=True, since_level=LOST_CLIENTS_LEVEL),
    TasksRequest: Rule(TasksReply, of_any_node=False, behind_calls=True, since_level=LISTS_LEVEL),
    RunNow: Rule(RunNowReply, of_any_node=False, behind_calls=True, since_level=LISTS_LEVEL),
    ProgressRequest: Rule(ProgressReply, of_any_node=False, behind_calls=True, since_level=PROGRESS_LEVEL),
    OutputRequest: Rule(OutputReply, of_any_node=False, behind_calls=True, since_level=PROGRESS_LEVEL),
    SetQueue: Rule(SetQueueReply, of_any_node=False, behind_calls=False, since_level=QUEUES_LEVEL),
    QueuesRequest: Rule(QueuesReply, of_any_node=False, behind_calls=True, since_level=QUEUES_LEVEL),
    FindInQueue: Rule(FindReply, of_any_node=False, behind_calls=True, since_level=QUEUES_LEVEL),
    AlterTasks: Rule(AlterReply, of_any_node=False, behind_calls=True, since_level=FAIRNESS_LEVEL),
    FindToAlter: Rule(FindReply, of_any_node=False, behind_calls=True, since_level=FAIRNESS_LEVEL),
    GraphsRequest: Rule(GraphsReply, of_any_node=False, behind_calls=True, since_level=GRAPHS_LEVEL),
    FindInGraph: Rule(FindReply, of_any_node=False, behind_calls=True, since_level=GRAPHS_LEVEL),
    TasksOfGraphRequest: Rule(TasksReply, of_any_node=False, behind_calls=True, since_level=GRAPHS_LEVEL),
    SchedulesRequest: Rule(SchedulesReply, of_any_node=False, behind_calls=False, since_level=SCHEDULES_LEVEL),
    PutSchedule: Rule(ScheduleReply, of_any_node=False, behind_calls=False, since_level=SCHEDULES_LEVEL),
    ChangeSchedule: Rule(ScheduleReply, of_any_node=False, behind_calls=False, since_level=SCHEDULES_LEVEL),
    BackfillSchedule: Rule(BackfillReply, of_any_node=False, behind_calls=False, since_level=MODULE_SCHEDULES_LEVEL),
    TriggerSchedule: Rule(ScheduleReply, of_any_node=False, behind_calls=False, since_level=SCHEDULES_LEVEL),
}


class _CancelAnswers:
    """What is known of the tasks of one Cancel, which the leader answers in any number of replies. ``wanted``: those
    that have not ended, as far as is known; of these some may be ``known`` to be stopping."""

    __slots__ = ("known", "wanted")

    def __init__(self, ids: Iterable[bytes]) -> None:
        self.wanted = dict.fromkeys(ids)  # in the order in which they were given
        self.known: dict[bytes, int] = {}

    def note(self, task_id: bytes, state: int) -> bool:
        """False: it was known before, or nobody asked, or that is no end."""
        if task_id not in self.wanted:
            return False
        self.known[task_id] = state
        if state == CancelState.STOPPING:
            return False
        del self.wanted[task_id]
        return True


class Requests:
    """Requests by their number. ``replies``: the answers, until :meth:`forget`. ``second_best``: those of nodes that do
    not lead, to requests which the leader has not answered; the first of each. ``failures``: why there will be no
    answer, until :meth:`forget`. ``unwanted``: requests without a final answer, for which nobody waits."""

    def __init__(self) -> None:
        self.replies: dict[int, Reply] = {}
        self.second_best: dict[int, Reply] = {}
        self.failures: dict[int, Exception] = {}
        self.unwanted: set[int] = set()
        self._unanswered: dict[int, Request] = {}
        self._cancels: dict[int, _CancelAnswers] = {}  # of the Cancels among them
        self._cancels_of: dict[bytes, tuple[int, ...]] = {}  # their numbers, by task of which nothing is known
        self._numbers = 0

    def __len__(self) -> int:
        """How many are not answered."""
        return len(self._unanswered)

    @property
    def has_unheard(self) -> bool:
        """Whether there is a request without any answer that nobody waits for."""
        return any(self.cancel_states(number) is None for number in self.unwanted)

    def is_open(self, number: int) -> bool:
        """Whether a request may still be answered."""
        return number in self._unanswered

    def cancel_states(self, number: int) -> dict[bytes, int] | None:
        """What is known of each task of a Cancel, until :meth:`forget`; None while nothing is of one of them."""
        cancelled = self._cancels.get(number)
        if cancelled is not None:
            return (
                None if any(task_id not in cancelled.known for task_id in cancelled.wanted) else dict(cancelled.known)
            )
        reply = self.replies.get(number)
        return dict(reply.states) if isinstance(reply, CancelReply) else None

    def next_number(self) -> int:
        """For a new request."""
        self._numbers += 1
        return self._numbers

    def add(self, request: Request, *, wanted: bool = True) -> None:
        """Add a request. ``wanted``: somebody waits for the answer, which is kept until :meth:`forget`.

        Raises LocalProtocolError or LimitExceeded for one that can't be sent, which is not kept: each epoch would send
        it again."""
        codec.encode(request)
        self._unanswered[request.request] = request
        if not wanted:
            self.unwanted.add(request.request)
        if isinstance(request, Cancel):
            self._add_cancel(request)

    def _add_cancel(self, cancel: Cancel) -> None:
        number, of = cancel.request, self._cancels_of
        self._cancels[number] = cancelled = _CancelAnswers(cancel.ids)
        for task_id in cancelled.wanted:
            of[task_id] = (*of.get(task_id, ()), number)

    def to_send(self, *, of_any_node: bool) -> list[Request]:
        """The unanswered requests that any node answers, or those that only the leader answers, oldest first."""
        found = [request for request in self._unanswered.values() if RULES[type(request)].of_any_node is of_any_node]
        return [self._shrunk(request) if isinstance(request, Cancel) else request for request in found]

    def _shrunk(self, cancel: Cancel) -> Cancel:
        """Without the tasks of which the end is known."""
        return cancel._replace(ids=tuple(self._cancels[cancel.request].wanted))

    def second_answered(self) -> list[Request]:
        """The unanswered requests to which a node has replied that did not lead, or not yet."""
        return [self._unanswered[number] for number in self.second_best if number in self._unanswered]

    def note_results(self, results: Iterable[Result]) -> None:
        """The client has these results."""
        if not self._cancels_of:
            return
        for task_id, end, _ in results:
            state = int(CancelState.CANCELLED if end == TaskEnd.CANCELLED else CancelState.FINISHED)
            for number in self._cancels_of.get(task_id, ()):
                cancelled = self._cancels[number]
                self._note(number, cancelled, task_id, state)
                self._answer_cancel(number, cancelled)

    def _note(self, number: int, cancelled: _CancelAnswers, task_id: bytes, state: int) -> None:
        if cancelled.note(task_id, state):
            self._unlist(number, task_id)

    def _unlist(self, number: int, task_id: bytes) -> None:
        others = tuple(each for each in self._cancels_of[task_id] if each != number)
        if others:
            self._cancels_of[task_id] = others
        else:
            del self._cancels_of[task_id]

    def _answer_cancel(self, number: int, cancelled: _CancelAnswers) -> None:
        """Once all of it is known."""
        if not cancelled.wanted:
            self._answer(CancelReply(number, tuple(cancelled.known.items())))

    def is_answer(self, reply: Reply) -> bool:
        """Whether this is a reply to a request that has no answer yet."""
        request = self._unanswered.get(reply.request)
        return request is not None and type(reply) is RULES[type(request)].answer

    def answered(self, reply: Reply) -> bool:
        """A node has replied. False: nobody waits for the reply, or it is a second one."""
        number = reply.request
        request = self._unanswered.get(number)
        if request is None or not self.is_answer(reply):
            return False
        if isinstance(reply, CancelReply):
            cancelled = self._cancels[number]
            for task_id, state in reply.states:
                self._note(number, cancelled, task_id, state)
            self._answer_cancel(number, cancelled)
        else:
            self._answer(reply)
        return True

    def answered_by_another(self, reply: Reply) -> None:
        """A node that does not lead has replied. It stays asked of the leader."""
        request = self._unanswered.get(reply.request)
        if request is not None and type(reply) is RULES[type(request)].answer:
            self.second_best.setdefault(reply.request, reply)

    def _answer(self, reply: Reply) -> None:
        if reply.request not in self.unwanted:
            self.replies[reply.request] = reply
        self._drop(reply.request)

    def _drop(self, number: int) -> None:
        self._unanswered.pop(number, None)
        cancelled = self._cancels.pop(number, None)
        if cancelled is not None:
            for task_id in cancelled.wanted:
                self._unlist(number, task_id)
        self.unwanted.discard(number)

    def mend(self) -> None:
        """Whatever changed these was interrupted. May be interrupted, and done again."""
        cancels = {
            number: self._cancels.get(number) or _CancelAnswers(request.ids)
            for number, request in self._unanswered.items()
            if isinstance(request, Cancel)
        }
        of: dict[bytes, list[int]] = {}
        for number, cancelled in cancels.items():
            for task_id in cancelled.wanted:
                of.setdefault(task_id, []).append(number)
        self._cancels = cancels
        self._cancels_of = {task_id: tuple(numbers) for task_id, numbers in of.items()}
        self.unwanted.intersection_update(self._unanswered)
        for number, cancelled in list(cancels.items()):
            self._answer_cancel(number, cancelled)

    def leave(self, number: int) -> None:
        """Nobody waits for the answer of this request any more. A Cancel whose tasks are all asked to stop, or have
        ended, stands; once for each set of tasks, however often it was made."""
        cancelled = self._cancels.get(number)
        if cancelled is not None and self.cancel_states(number) is not None and not self._is_double(number, cancelled):
            self.unwanted.add(number)
        else:
            self.forget(number)

    def _is_double(self, number: int, cancelled: _CancelAnswers) -> bool:
        """Whether other Cancels that nobody waits for ask for all that this one does."""
        return all(
            any(other != number and other in self.unwanted for other in self._cancels_of[task_id])
            for task_id in cancelled.wanted
        )

    def forget(self, number: int) -> None:
        """Nobody wants the answer of this request any more."""
        self._drop(number)
        self.replies.pop(number, None)
        self.second_best.pop(number, None)
        self.failures.pop(number, None)

    def refuse_cancels(self, error: Exception) -> None:
        """This client may cancel nothing."""
        for number in list(self._cancels):
            if number not in self.unwanted:
                self.failures[number] = error
            self._drop(number)

    def fail(self, error: Exception) -> None:
        """The search for a leader is given up, and no request will be answered."""
        for number in self._unanswered:
            if number not in self.unwanted:
                self.failures[number] = error
        self.clear()

    def not_read(self, error: Exception) -> None:
        """The leader could not read a frame and can't tell which: a request that an older node does not know, if there
        is one."""
        for number, request in list(self._unanswered.items()):
            if RULES[type(request)].since_level > 1:
                self.failures[number] = error
                self._drop(number)

    def clear(self) -> None:
        """Drop all requests without an answer. The answers stay."""
        self._unanswered.clear()
        self._cancels.clear()
        self._cancels_of.clear()
        self.unwanted.clear()
