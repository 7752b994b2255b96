"""Records the events of a task: it is accepted, starts, comes back from a node, ends.

Three books have to agree on them: the queue (``LiveTasks``), the draft of the log (``draft.py``), and the session of
the submitter. So each method is one event, and writes all its consequences into all three. No other module writes into
the draft, and none admits, ends or takes back a task. The file is long for that: it has every event that there is.

The log follows later. :meth:`Recording.propose` proposes the draft. :meth:`Recording.confirm` tells submitters what is
accepted, and passes on the results that had to wait for the commit (``_withheld``): of tasks with ``confirm`` committed
or at most once, and of those that were cancelled or expired. Between its end and its commit a task is in ``_ending`` or
in ``_withheld``, so that a client that asks for it gets the result, or waits for it as the submitter does.

A disk may stand still, and then nothing commits. So what tasks take that have ended, until the log has their ends,
still counts for the limit of the queue, and beyond a bound (``Recording.is_full``) no task that needs the log is handed
out: it waits in the queue, which refuses more by name once it is full, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from paceline.core.clients.session_table import SessionTable
from paceline.core.clients.sessions import ClientSession
from paceline.core.measures.durations import Durations
from paceline.core.measures.traces import Traces
from paceline.core.scheduling.cancelling import Cancelling
from paceline.core.scheduling.dead_limits import DeadLimits
from paceline.core.scheduling.draft import ITEM_BYTES, Draft, Proposals, Propose
from paceline.core.scheduling.due_tasks import DueTasks, expiry_of
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.scheduling.losses import Losses, loss_on
from paceline.core.scheduling.unheard import Unheard
from paceline.core.scheduling.upstream import too_large_error, upstream_error
from paceline.core.settings import Settings
from paceline.core.state.call_options import CallOptions
from paceline.core.state.records import record_bytes
from paceline.core.state.retries import FailedAttempts, failed_again
from paceline.core.state.table import TaskTable
from paceline.core.state.task import Task
from paceline_protocol.cancelled import NOT_AGAIN
from paceline_protocol.codec import decode_failed_attempt
from paceline_protocol.errors import PeerViolation, RemoteProtocolError
from paceline_protocol.limits import MAX_ATTEMPT
from paceline_protocol.messages.client import CancelState, Submit
from paceline_protocol.messages.records import (
    CALL_ARGS,
    CALL_ID,
    CALL_NAME,
    CALL_OPTIONS,
    CALL_PRIORITY,
    DEAD_ENDS,
    MAY_RETRY,
    OUTCOME_PAYLOAD,
    OUTCOME_STATE,
    RETRY_ID,
    Alteration,
    Call,
    EndRecord,
    Outcome,
    QueueSettings,
    TaskEnd,
)
from paceline_protocol.payload import ErrorInfo, pack_error_info, with_earlier

_SUCCEEDED: Final = int(TaskEnd.SUCCEEDED)
_FAILED: Final = int(TaskEnd.FAILED)
_CANCELLED: Final = int(TaskEnd.CANCELLED)
_LOST: Final = int(TaskEnd.LOST)
_EXPIRED: Final = int(TaskEnd.EXPIRED)
_TIMED_OUT: Final = int(TaskEnd.TIMED_OUT)
_UPSTREAM_FAILED: Final = int(TaskEnd.UPSTREAM_FAILED)
_OF_WHAT_RAN: Final = frozenset((_SUCCEEDED, _FAILED, _CANCELLED, _TIMED_OUT, MAY_RETRY))
_OF_WHAT_WAS_LOST: Final = frozenset((_LOST,))
_NO_RESULT: Final = (_LOST, b"")
UNLOGGED_BYTES: Final = 64 << 20
"""What tasks may take that have ended, with their results, until the log has their ends; a quarter of the queue's limit
if that is less. A disk that takes 0.1 s for a sync stays far below that with 100,000 small tasks a second."""
COPIES_LIMIT: Final = 16_384
"""Submits of tasks that are known, and not accepted yet. Beyond that they are left unanswered: clients repeat them."""
_DECIDED_HERE: Final = frozenset((_CANCELLED, _EXPIRED, _UPSTREAM_FAILED))
"""Ends of what has not run to its end: were they told before they are committed, the next leader could run the task."""


class Recording:
    """The recorder of one leader. ``is_awaited``: tasks or results wait for the draft to be proposed.
    ``may_log_losses``: whether all nodes can read in a record how attempts were lost; the caller keeps it up to date.
    """

    def __init__(
        self,
        settings: Settings,
        table: TaskTable,
        propose: Propose,
        tasks: LiveTasks,
        sessions: SessionTable,
        cancelling: Cancelling,
        durations: Durations,
        traces: Traces,
        due: DueTasks,
        unheard: Unheard,
        dead_limits: DeadLimits,
    ) -> None:
        self.is_awaited = False
        self.may_log_losses = False
        self._settings = settings
        self._table = table
        self._tasks = tasks
        self._sessions = sessions
        self._cancelling = cancelling
        self._durations = durations
        self._traces = traces
        self._due = due
        self._unheard = unheard
        self._dead_limits = dead_limits
        self._proposals = Proposals(propose)
        self._unlogged_limit_bytes = min(UNLOGGED_BYTES, settings.queue_limit_bytes // 4)
        self._late: list[Task] = []  # of the Submit that is being taken in: they had expired before it came
        self._ending: dict[bytes, tuple[int, bytes]] = {}  # how tasks ended, until that is applied
        self._losses = Losses()
        self._withheld: dict[bytes, Task] = {}  # ended, and their submitters learn of it once that is applied

    @property
    def is_logging(self) -> bool:
        """False during a leadership transfer, in which the log must not grow. Then no task may start or end here, since
        the next leader would not know of it; the nodes report their outcomes to that one."""
        return self._proposals.may_propose

    @is_logging.setter
    def is_logging(self, on: bool) -> None:
        self._proposals.may_propose = on

    @property
    def unlogged_bytes(self) -> int:
        """What tasks take that have ended, with their results, and whose ends the log does not have yet."""
        return self._proposals.kept_bytes

    @property
    def is_full(self) -> bool:
        """Whether that is too much, so that no task may be handed out whose end will have to be logged."""
        return self._proposals.kept_bytes > self._unlogged_limit_bytes

    def is_full_behind(self, index: int) -> bool:
        """Whether it would be too much also if the log had everything up to this entry."""
        return self._proposals.kept_behind(index) > self._unlogged_limit_bytes

    # --- what is known ------------------------------------------------------------------------------------------

    def open_task(self, task_id: bytes) -> Task | None:
        """A task whose submitter does not have its result yet."""
        task = self._tasks.live.get(task_id)
        return self._withheld.get(task_id) if task is None and self._withheld else task

    def is_ending(self, task_id: bytes) -> bool:
        """Whether it has ended, and that is not committed yet."""
        return task_id in self._ending

    def result_of(self, task_id: bytes) -> tuple[int, bytes] | None:
        """How a task ended, whether that is committed yet or not; of a dead task as long as that is kept."""
        return self._ending.get(task_id) or self._table.results.get(task_id) or self.dead_end_of(task_id)

    def has_result(self, task_id: bytes) -> bool:
        """Whether a task has ended, and its result is kept."""
        return task_id in self._ending or task_id in self._table.results

    def record_of(self, task_id: bytes) -> EndRecord | None:
        """What else is known of a task that has ended, if it asked for that."""
        record = self._table.records.get(task_id) or self._due.retention.new_record(task_id)
        if record is None and (dead := self._table.dead.get(task_id)) is not None:
            return dead.record
        return record

    def losses_of(self, task_id: bytes) -> list[tuple[int, str]]:
        """How attempts of a live task were lost, as far as this leader has heard of it: (attempt, where and how)."""
        return self._losses.of(task_id)

    def dead_end_of(self, task_id: bytes) -> tuple[int, bytes] | None:
        """How a task ended that is kept as a dead one."""
        dead = self._table.dead.get(task_id)
        return None if dead is None else (dead.end, dead.payload)

    def without_kept(self, ids: list[bytes]) -> list[bytes]:
        """Those of these tasks that have ended whose results are not kept for a time."""
        if not self._table.records and not self._due.retention.has_new:
            return ids
        records, retention = self._table.records, self._due.retention
        return [task_id for task_id in ids if task_id not in records and not retention.keeps_new_result(task_id)]

    def has_expired(self, task_id: bytes) -> bool:
        """Whether the time is over for which the result of this task was kept, as far as this cluster remembers."""
        return task_id in self._table.expired

    def knows(self, task_id: bytes) -> bool:
        """Whether a task that is not open was accepted, as far as this cluster remembers."""
        return task_id in self._ending or self._table.knows(task_id)

    # --- tasks are accepted -------------------------------------------------------------------------------------

    def make_room(self, submit: Submit, calls: int) -> None:
        """Propose the draft first, if this Submit of so many calls would make it too large."""
        self._proposals.make_room(max(len(submit.calls), calls * ITEM_BYTES))

    def admit(self, session: ClientSession, call: Call, now: float, *, is_verbatim: bool = True) -> Task:
        """Make a call a task. After all calls of a Submit, :meth:`submitted` is called. ``is_verbatim``: the call is as
        its client has packed it.

        One with a limit is handed out once the log has it. Else this leader could die while the task runs, and the next
        one would not know that it does."""
        asked = call[CALL_OPTIONS]
        if asked:
            call = self._as_logged(call, now)
            is_verbatim = is_verbatim and call[CALL_OPTIONS] is asked
        task = Task(call)
        task.session = session
        session.open_tasks += 1
        options = task.options
        if options is not None and options.is_limited:
            self._due.retrying.waits_for_log(task.id)
            self._proposals.draft.limited.append(task)
            self.is_awaited = True
        self._tasks.admit(task, now, delayed=options is not None and self._due.is_early(task, now))
        if options is None or options.is_logged:
            self._proposals.draft.accept(task, call, is_verbatim=is_verbatim)
        if options is not None and options.has_moment:
            self._due.watch(task, now)
            if self._due.is_late(options, now):
                self._late.append(task)
        return task

    def requeue(self, task_id: bytes, call: Call, now: float) -> None:
        """Make a call a task, in the place of this dead one. Nobody waits for it.

        It is handed out once the log has that. Its id follows from that of the dead one: were it handed out before, and
        this leader died, the next one could make the same id with other arguments, and take what became of this one for
        the end of that."""
        task = Task(call)
        self._tasks.admit(task, now, delayed=True)
        self._proposals.requeue(task_id, task)
        if task.options is not None and task.options.has_moment:
            self._due.watch(task, now)
        self.is_awaited = True

    def fire(self, call: Call, now: float) -> Task:
        """Make the call of a schedule a task. Nobody waits for it. It is handed out once the log has it, as with
        :meth:`requeue`: :meth:`fired` says so."""
        task = Task(self._as_logged(call, now))
        self._tasks.admit(task, now, delayed=True)
        return task

    def _as_logged(self, call: Call, now: float) -> Call:
        """A call with its moments as the log has them."""
        asked = call[CALL_OPTIONS]
        if not asked:
            return call
        logged = self._due.at_admission(asked, now)
        return call[CALL_ID], call[CALL_NAME], call[CALL_PRIORITY], call[CALL_ARGS], logged

    def count_moment(self, what: int, missed: int) -> None:
        """The log has what became of a moment of a schedule, a Fired, and how many before it were missed."""
        self._tasks.tally.moments[what] += 1
        self._tasks.tally.missed_moments += missed

    def fired(self, task: Task, now: float) -> None:
        """The log has the task of a schedule."""
        self._tasks.tally.accepted += 1
        self._may_start(task, now)

    def _may_start(self, task: Task, now: float) -> None:
        """The log has a task that waited for that."""
        if not task.is_delayed:  # it was cancelled meanwhile
            return
        if not self._due.is_early(task, now):
            self._tasks.come_due(task, now)
        if task.options is not None and task.options.has_moment:
            self._due.watch(task, now)

    def discard(self, ids: Iterable[bytes]) -> None:
        """These dead tasks are kept no longer."""
        self._proposals.discard(ids)
        self.is_awaited = True

    def set_queue(self, settings: QueueSettings) -> None:
        """This is said of a queue from now on."""
        self._proposals.set_queue(settings)
        self.is_awaited = True

    def alter(self, alteration: Alteration) -> None:
        """A task that is set aside has another queue or priority from now on, or is held, or not any more."""
        self._proposals.alter(alteration)
        self.is_awaited = True

    def submitted(
        self, session: ClientSession, submit: Submit, tasks: list[Task], now: float, *, complete: bool, copies: bool
    ) -> None:
        """All calls of a Submit were taken. Its session is told ``submit.seq`` once ``tasks`` are committed: those of
        its tasks that are new and to be logged. ``complete``: they are all of its tasks. ``copies``: tasks are among
        them that may not be committed yet."""
        if tasks or (copies and self._proposals.waiting_submits < COPIES_LIMIT):
            self._proposals.submitted(session, submit, tasks, complete=complete)
        elif not copies:
            self._accepted(session, submit.seq, now, prompt=submit.prompt)
        if self._tasks.inputs.failed:
            self.is_awaited = True
        if self._late:
            late, self._late = self._late, []
            self.end_unwanted(late, now)

    # --- tasks start, and come back -----------------------------------------------------------------------------

    def reserve(self, tasks: list[Task]) -> None:
        """These tasks have their places at nodes, and are sent there once their starts are logged."""
        self._proposals.start(tasks)
        self.is_awaited = True

    def give_back(self, tasks: list[Task], now: float) -> None:
        """These tasks did not start at their nodes."""
        for task in reversed(tasks):  # the oldest is put in front last
            if task.is_dispatched and self._due.is_early(task, now):
                self._tasks.postpone(task)  # an earlier leader, whose clock was ahead of this one's, had it started
            else:
                self._tasks.give_back(task, now)
        self.end_unwanted(tasks, now)

    def moments_reached(self, now: float) -> list[Task]:
        """The clock shows moments of tasks. What was delayed may be handed out; what expires is returned."""
        expired: list[Task] = []
        for task_id in self._due.take_reached(now):
            task = self._tasks.live.get(task_id)
            if task is None:
                self._tasks.gates.reached(task_id)
                continue
            if task.options is not None and self._due.is_late(task.options, now):
                expired.append(task)
                continue
            if task.is_delayed and not self._due.is_early(task, now):
                self._tasks.come_due(task, now)
            self._due.watch(task, now)
        return expired

    def run_now(self, task: Task, now: float) -> bool:
        """A delayed task is to wait for its moment no longer. False: the log does not have yet that it waits."""
        if not self._due.hurry(task):
            return False
        self._tasks.come_due(task, now)
        self._due.watch(task, now)
        return True

    def cancel(self, tasks: Iterable[Task], now: float) -> None:
        """Cancel these tasks. No node has them."""
        self.end([_cancelled(task) for task in tasks], now)

    def end_unwanted(self, tasks: Iterable[Task], now: float) -> None:
        """No node has these tasks. End those that have expired, and those that have a cancel request."""
        ends: list[Outcome] = []
        for task in tasks:
            if task.options is not None and self._due.is_late(task.options, now):
                ends.append((task.id, task.attempt, _EXPIRED, _expired_error(task.options), 0))
            elif self._cancelling.is_asked_for(task):
                ends.append(_cancelled(task))
            elif task.options is not None and task.options.has_moment:
                self._cancelling.keep(task.id)  # it was late, and the clock was set back
                self._due.watch(task, now)
        if ends:
            self.end(ends, now)

    def inputs_ended(self, outcomes: list[Outcome], now: float) -> bool:
        """The log has these ends. Tasks that depend on them may start, once all their inputs have ended, or are to end.
        True: some may start."""
        inputs, live = self._tasks.inputs, self._tasks.live
        for outcome in outcomes:
            inputs.ended(outcome[0], live)
        ready, inputs.ready = inputs.ready, []
        for task_id in ready:
            task = live[task_id]
            self._tasks.inputs_have_ended(task, now, delayed=self._due.is_early(task, now))
            self._due.watch(task, now)
        if inputs.failed:
            self.is_awaited = True
        return bool(ready)

    def end_upstream_failed(self, now: float) -> None:
        """End the tasks of which an input did not succeed, and those that would be called with too much."""
        inputs, live = self._tasks.inputs, self._tasks.live
        failed, inputs.failed = inputs.failed, {}
        ends: list[Outcome] = []
        for task_id, input_id in failed.items():
            task = live[task_id]
            if input_id:
                ends.append(
                    (
                        task_id,
                        task.attempt,
                        _UPSTREAM_FAILED,
                        upstream_error(input_id, *self._table.results.get(input_id, _NO_RESULT)),
                        0,
                    )
                )
            else:
                size_bytes = task.sent_bytes
                ends.append((task_id, task.attempt, _FAILED, too_large_error(size_bytes, inputs.limit_bytes), 0))
        self.end(ends, now, is_decided_here=True)

    def attempts_lost(self, outcomes: list[Outcome], node_id: str, now: float) -> None:
        """These attempts were lost with their worker or node: the tasks run again, or end as LOST."""
        tasks, limit = self._tasks, self._settings.attempt_limit
        again: list[Task] = []
        logged: list[bytes] = []
        given_up: list[Outcome] = []
        for task_id, attempt, _end, payload, _duration_us in reversed(outcomes):  # the oldest is put in front last
            task = tasks.live.get(task_id)
            if task is None or not task.is_dispatched_to(node_id) or task.attempt != attempt:
                continue
            losses = tasks.losses_with(task, attempt)
            loss = loss_on(node_id, payload)
            if tasks.lose_attempt(task, limit, now):
                self._losses.add(task_id, attempt, loss)
                again.append(task)
                if task.is_logged and losses > task.lost_attempts:  # otherwise an earlier leader has logged it
                    logged.append(task_id)
            else:
                detail = self._losses.all_of(task_id, loss)
                if task.options is not None and task.options.may_be_kept:
                    self._losses.add(task_id, attempt, loss)  # for its record
                given_up.append((task_id, attempt, _LOST, _lost_error(losses, detail), 0))
        self._proposals.lose_attempts(logged)
        self.end_unwanted(again, now)
        self.end(given_up, now)

    def attempts_failed(self, outcomes: list[Outcome], node_id: str, now: float) -> None:
        """These attempts failed, of tasks that may be tried again: they are, from their moments on, or end as FAILED.
        One that is not the task's last is ignored, as another is under way. The next attempt of a logged task waits for
        the log, too: so no leader counts fewer failures than there were. Raises ProtocolError, with nothing changed,
        for one that can't be read."""
        failed = [(outcome, decode_failed_attempt(outcome[OUTCOME_PAYLOAD])) for outcome in outcomes]
        if any(outcome[1] > MAX_ATTEMPT for outcome in outcomes):
            raise PeerViolation("it reports an attempt that there is not")
        tasks, failures = self._tasks, self._due.retrying.by_id
        unwanted: list[Task] = []
        given_up: list[Outcome] = []
        for (task_id, attempt, _end, _payload, duration_us), failure in failed:
            task = tasks.live.get(task_id)
            if task is None or not task.is_dispatched_to(node_id) or attempt < task.attempt:
                continue
            task.attempt = attempt  # an earlier leader may have made more of them than this one knows
            before = failures.get(task_id)
            retry = self._due.fails(task, failure, now)
            if retry is None:
                given_up.append((task_id, attempt, failure[2], failure[3], duration_us))
                continue
            self._observe(task, duration_us, now)
            tasks.fail_attempt(task, failed_again(before, retry))
            self._cancelling.keep(task_id)  # it has started in time
            if self._cancelling.is_asked_for(task):
                unwanted.append(task)
                continue
            tasks.tally.retried += 1
            if task.is_logged:
                self._proposals.retry(retry)
                self.is_awaited = True
            else:
                self._due.watch(task, now)
        self.cancel(unwanted, now)
        self.end(given_up, now, is_decided_here=True)

    def give_up_exhausted(self, now: float) -> None:
        """End as LOST the recovered tasks whose last attempt an earlier leader had started, and that no node has."""
        given_up: list[Outcome] = []
        for task_id in self._table.lost_attempts:
            task = self._tasks.live.get(task_id)
            if task is None or not (task.is_recovered or task.is_limited):
                continue
            if task.lost_attempts >= task.attempt_limit(self._settings.attempt_limit):
                error = _lost_error(task.lost_attempts, "an earlier leader had it started, and no node has it now")
                given_up.append((task_id, task.attempt - 1, _LOST, error, 0))
        self.end(given_up, now)

    # --- tasks end ----------------------------------------------------------------------------------------------

    def report(self, node_id: str, seq: int, outcomes: list[Outcome], now: float) -> None:
        """A node's batch of outcomes. It may forget them once this is committed. Raises ProtocolError, with nothing
        changed, for ends of both sorts, and for a failed attempt that can't be read."""
        ends = {outcome[2] for outcome in outcomes}
        if ends == _OF_WHAT_WAS_LOST:
            self.attempts_lost(outcomes, node_id, now)
        elif ends <= _OF_WHAT_RAN:
            if MAY_RETRY in ends:
                self.attempts_failed([outcome for outcome in outcomes if outcome[2] == MAY_RETRY], node_id, now)
                outcomes = [outcome for outcome in outcomes if outcome[2] != MAY_RETRY]
            self.end(outcomes, now, node_id)
        else:
            raise RemoteProtocolError(f"a node can't report the ends {sorted(ends)} in one batch")
        self._proposals.draft.recorded[node_id] = seq

    def end(self, outcomes: list[Outcome], now: float, node_id: str = "", *, is_decided_here: bool = False) -> None:
        """Pass outcomes on to the submitters, and into the draft. An outcome of a task that is not live is a copy, and
        ignored. ``node_id``: that reports them, which need not have the task by now. ``is_decided_here``: another
        leader might decide otherwise, so that they are told once committed, as those are of tasks that had failed
        before and do not succeed."""
        tasks, tally, failed = self._tasks, self._tasks.tally, self._due.retrying.by_id
        for outcome in outcomes:
            task_id, attempt, end, payload, duration_us = outcome
            retried = failed.get(task_id) if failed else None
            failures = retried if end != _SUCCEEDED else None
            task = tasks.finish(task_id, end)
            if task is None:
                continue
            losses = self._losses.take(task_id) if self._losses else ()
            if failures is not None:  # it is told with what it had failed with before
                payload = with_earlier(payload, failures.kept)
            record: EndRecord | None = None
            is_dead = False
            tally.finished[end] += 1
            if end in (_SUCCEEDED, _FAILED, _TIMED_OUT):
                self._observe(task, duration_us, now)
            if task.options is not None:
                if task.options.has_moment:
                    self._due.forget(task_id)
                if task.is_traced and task.session is not None:
                    self._traces.ended(task_id, task.session.key)
                if not task.is_logged:
                    self._pass_on(task, end, payload)
                    continue
                if task.options.may_be_kept:
                    record, is_dead = self._kept(task, outcome, payload, node_id or task.node, retried, losses, now)
            ended = outcome if failures is None else (task_id, attempt, end, payload, duration_us)
            self._proposals.end(ended, task.size_bytes(), record, is_dead=is_dead)
            is_withheld = is_decided_here or failures is not None or (end != _SUCCEEDED and end in _DECIDED_HERE)
            if tasks.inputs.needed and task_id in tasks.inputs.needed:  # they wait for the log
                self.is_awaited = True
            if is_withheld or (task.options is not None and task.waits_for_commit):
                self._withheld[task_id] = task
                self.is_awaited = True
            else:
                self._ending[task_id] = (end, payload)
                self._pass_on(task, end, payload)

    def _kept(
        self,
        task: Task,
        outcome: Outcome,
        payload: bytes,
        node_id: str,
        failures: FailedAttempts | None,
        losses: tuple[tuple[int, str], ...],
        now: float,
    ) -> tuple[EndRecord | None, bool]:
        """The record of a task that has ended, if its result is kept for a time, or it is kept as a dead one; and
        whether it is. ``payload``: with what it had failed with before."""
        options = task.options
        if not self.may_log_losses:
            losses = ()
        assert options is not None, "who asks for nothing is not kept"
        is_dead = bool(options.keep_dead_ms) and outcome[OUTCOME_STATE] in DEAD_ENDS
        if is_dead:
            lines = len(losses) + (0 if failures is None else len(failures.kept))
            size_bytes = record_bytes(task.name, node_id, lines)
            is_dead = self._dead_limits.may_keep(task, payload, size_bytes)
        if not is_dead and not options.result_ttl_ms:
            return None, False
        return self._due.retention.begins(task, outcome, node_id, failures, losses, now, is_dead=is_dead), is_dead

    def _observe(self, task: Task, duration_us: int, now: float) -> None:
        """An attempt of a task ran to its end."""
        # No longer than it was away: a node may say anything.
        duration_us = min(duration_us, int((now - task.sent_at) * 1e6))
        self._durations.observe(task.name, duration_us)
        if task.sent_at and task.found_worker:
            self._tasks.tally.dispatch_latency.observe_s(now - task.sent_at - duration_us * 1e-6)

    def _pass_on(self, task: Task, end: int, payload: bytes) -> None:
        """Tell the submitter, and the clients with a cancel request, that a task ended."""
        session = task.session
        if session is not None:
            session.open_tasks -= 1
            self._sessions.add_result(session, task.id, end, payload)
        if self._sessions.somebody_waits_too:
            self._sessions.add_result_for_others(task.id, end, payload, is_final=not task.is_logged)
        if end != _SUCCEEDED and end not in _DECIDED_HERE:
            self._note_failure(task, payload)
        if self._cancelling.asked:
            self._cancelling.answer(task.id, CancelState.CANCELLED if end == _CANCELLED else CancelState.FINISHED)

    def _note_failure(self, task: Task, payload: bytes) -> None:
        """A task failed or was lost: say so if no client waits for it, now or once its client leaves."""
        session = task.session
        if session is None or session.closed:
            self._unheard.add(task.name, task.id, payload)
        else:
            session.add_failed(task.id, task.name)

    def clients_left(self) -> None:
        """Say what failed whose clients have left before they heard of it."""
        unheard, self._sessions.unheard = self._sessions.unheard, {}
        for task_id, name in unheard.items():
            known = self.result_of(task_id)
            if known is not None:
                self._unheard.add(name, task_id, known[1])

    # --- the log ------------------------------------------------------------------------------------------------

    def propose(self) -> None:
        """Propose what came since the last time."""
        self.is_awaited = False
        self._proposals.propose_draft()

    def confirm(self, index: int, now: float) -> Draft | None:
        """Take the oldest draft that is applied, and tell clients what it accepted or ended. Returns the draft, for
        what nodes have to be told; None if there is none."""
        draft = self._proposals.pop_applied(index)
        if draft is None:
            return None
        self._tasks.tally.accepted += len(draft.new) + len(draft.requeued)
        for task in draft.limited:
            self._due.retrying.is_accepted(task.id)
            self._may_start(task, now)
        for _, new in draft.requeued:
            if new.is_delayed:  # and was not cancelled meanwhile
                self._tasks.come_due(new, now)
        for retry in draft.retries:
            failed = self._tasks.live.get(retry[RETRY_ID])
            if failed is not None:
                self._due.failure_is_logged(failed, now)
        for task_id in draft.records:
            self._due.retention.is_logged(task_id)
        for tasks, session, seq, prompt in draft.submits:
            all_ended = bool(tasks) and all(task.has_ended for task in tasks)  # which says as much
            if not all_ended:
                self._accepted(session, seq, now, prompt=prompt)
        for task_id, _attempt, end, payload, _duration_us in draft.outcomes:
            withheld = self._withheld.pop(task_id, None) if self._withheld else None
            if withheld is None:
                del self._ending[task_id]
            else:
                self._pass_on(withheld, end, payload)
            if self._sessions.somebody_waits_too:
                self._sessions.add_result_for_others(task_id, end, payload, is_final=True)
        return draft

    def _accepted(self, session: ClientSession, seq: int, now: float, *, prompt: bool) -> None:
        self._sessions.add_accepted(session, seq, now if prompt else now + self._settings.accept_linger_s)

    def logged(self, index: int) -> None:
        """The log has everything up to this entry: it is applied, and on this node's disk, too."""
        self._proposals.logged(index)


def _lost_error(attempts: int, detail: str) -> bytes:
    return pack_error_info(ErrorInfo("TaskLost", "paceline.errors", detail, (attempts, detail), ""))


def _cancelled(task: Task) -> Outcome:
    """The end of a task that is at no node."""
    return task.id, task.attempt, _CANCELLED, NOT_AGAIN if task.attempt > 1 else b"", 0


def _expired_error(options: CallOptions) -> bytes:
    moment = expiry_of(options)
    return pack_error_info(ErrorInfo("TaskExpired", "paceline.errors", moment, (moment,), ""))
