"""What a node does while it leads: admits tasks, dispatches them, records outcomes, answers clients.

A Leader is made once the first entry of its own term is applied: then the table holds everything that was ever
accepted, and nothing is admitted twice. It is thrown away when the node stops leading; all that it knows can be
rebuilt.

Its parts are its conversations, and each handles the messages of its own:

- ``admission``: clients submit, wait and acknowledge. ``sessions`` has what they are owed, ``releases`` the results
  that are not kept any more.
- ``nodes``: nodes beat, enrol, report and give back; the leader sends them tasks.
- ``recording``: an event of a task is written at once into the queue (``tasks``), the draft of the log, and the
  session.
- ``cancelling``: the cancel requests of tasks that have not ended.
- ``remarks``: what clients want to know of what running tasks say of themselves.
- ``queues``: what clients have said of queues; ``alterations``: of tasks that wait.
- ``schedules``: what is done at moments of the wall clock, and what clients have said of that.
- ``dead``: what clients have requeued and discarded of the dead tasks, and which are kept no longer.

This module has what concerns several of them, and its order. The way of a task: in one turn of the reactor
``admission.submit`` puts it in the queue and :meth:`Leader.dispatch` sends it to a node; ``nodes.on_outcomes`` passes
the result on. Beside that, :meth:`Leader.log` proposes the draft, and :meth:`Leader.applied` tells submitters what is
accepted, and nodes which outcomes they may forget.

A task may ask for more, or for less. ``delivery`` at most once: it is given a place at a node, waits until its start is
logged, and is sent there only then; a later leader that finds it at no node ends it as LOST. ``confirm`` committed: its
result stays here until its outcome is applied. ``durability`` none: it is never proposed.
"""

from __future__ import annotations

from collections.abc import Iterable

from paceline.core.clients.session_table import SessionTable
from paceline.core.clients.sessions import ClientSession
from paceline.core.measures.traces import Traces
from paceline.core.scheduling.admission import Admission
from paceline.core.scheduling.alter_requests import AlterRequests
from paceline.core.scheduling.cancelling import Cancelling
from paceline.core.scheduling.dead_limits import DeadLimits
from paceline.core.scheduling.dead_task_requests import DeadTaskRequests
from paceline.core.scheduling.defaults import Defaults
from paceline.core.scheduling.dispatch import Dispatcher
from paceline.core.scheduling.draft import Propose
from paceline.core.scheduling.due_tasks import DueTasks
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.scheduling.nodes import Nodes
from paceline.core.scheduling.queue_requests import QueueRequests
from paceline.core.scheduling.recent_names import RecentNames
from paceline.core.scheduling.recording import Recording
from paceline.core.scheduling.releases import Releases
from paceline.core.scheduling.remark_requests import RemarkRequests
from paceline.core.scheduling.schedule_keeper import ScheduleKeeper
from paceline.core.scheduling.unheard import Notice, Unheard
from paceline.core.scheduling.unserved import UNPLACED, Unserved
from paceline.core.settings import Settings
from paceline.core.state.table import TaskTable
from paceline.core.state.task import Task
from paceline_protocol.limits import MAX_INT
from paceline_protocol.messages.client import Cancel, CancelState, Update


class Leader:
    """The leading half of a node, for one term."""

    def __init__(
        self,
        settings: Settings,
        term: int,
        table: TaskTable,
        propose: Propose,
        now: float,
        tasks: LiveTasks,
        due: DueTasks,
        traces: Traces | None = None,
        notice: Notice | None = None,
        ran_lately: Iterable[str] = (),
    ) -> None:
        """``tasks``: the tasks that were taken over from the table. ``due``: their moments. ``notice``: has a line
        logged. ``ran_lately``: the nodes that may have run tasks in the last minute."""
        self.term = term
        self.since = now
        self.tasks = tasks
        tasks.owners.begin(now)
        self.sessions = SessionTable(settings.client_bounds)
        self.cancelling = Cancelling()
        tasks.inputs.limit_bytes = settings.payload_limit_bytes
        self.releases = Releases(settings, table, propose, due.retention, tasks.inputs)
        self.dispatcher = Dispatcher(tasks)
        self._applied_index = 0
        self._durable_index = MAX_INT  # without a disk there is nothing to wait for
        self._is_held_back = False
        self._settled_at = now
        self._unserved = Unserved(notice)
        self._unplaced = Unserved(notice, UNPLACED)
        self._notice = notice
        self._due = due
        self._settings = settings
        self._traces = traces if traces is not None else Traces()
        dead_limits = DeadLimits(settings, tasks.tally, notice)
        self.recording = Recording(
            settings,
            table,
            propose,
            tasks,
            self.sessions,
            self.cancelling,
            self.dispatcher.durations,
            self._traces,
            due,
            Unheard(notice),
            dead_limits,
        )
        self.recording.is_awaited = bool(tasks.inputs.failed)
        recent_names = RecentNames(now, ran_lately)
        self.defaults = Defaults(tasks.ledgers, notice)
        self.nodes = Nodes(
            settings,
            term,
            now,
            tasks,
            self.dispatcher,
            self.recording,
            self.cancelling,
            recent_names,
            self.defaults,
            due,
        )
        self.admission = Admission(
            settings,
            table,
            tasks,
            self.sessions,
            self.recording,
            self.releases,
            self._traces,
            recent_names,
            due,
            self.defaults,
        )

        self.remarks = RemarkRequests(term, self.nodes, self.tasks, self.recording)
        self.queues = QueueRequests(table, tasks, self.recording)
        due.altering = tasks.altering
        self.alterations = AlterRequests(table, tasks, self.recording, self.admission, due)
        self.schedules = ScheduleKeeper(table, propose, self.recording, self.admission, due, notice, now)
        self.dead = DeadTaskRequests(table, self.recording, self.admission, due, dead_limits)

    @property
    def queue_bytes(self) -> int:
        """What counts for the limit of the queue: tasks that are live, or whose ends the log does not have yet."""
        return self.tasks.live_bytes + self.tasks.inputs.kept_bytes + self.recording.unlogged_bytes

    def dispatch(self, now: float) -> None:
        """Hand out what there is credit for, unless moments wait to be met."""
        if self._due.is_any_reached(now):
            return
        self._is_held_back = self.recording.is_full
        given = self.dispatcher.dispatch(now, only_unlogged=self._is_held_back)
        self.nodes.send(given.by_ledger, now)
        if given.traced:
            self._traces.leaving.update(given.traced)
        if given.starting:
            self.recording.reserve(given.starting)

    def time_paces(self, now: float) -> None:
        """Turns of paces are to come back (``paces.py``). To be called in the turn in which that is so."""
        if self.tasks.is_settled:
            self._due.pace(self.tasks.time_paces(now, self._settled_at))

    def cancel(self, session: ClientSession, cancel: Cancel, now: float) -> None:
        """Cancel the tasks that have not started, and reply once that is committed. A task that is at a node is asked
        of that, and the node's answer decides: it gives the task back, or asks its worker to stop it. A task that an
        earlier leader may have sent to a node waits for the nodes' accounts."""
        answered: list[tuple[bytes, int]] = []
        asked: list[Task] = []
        new: list[Task] = []  # those that nobody has asked back before
        for task_id in dict.fromkeys(cancel.ids):
            task = self.recording.open_task(task_id)
            if task is not None:
                if self.cancelling.ask(task_id, session, cancel.request, now):
                    new.append(task)
                asked.append(task)
            elif self.recording.knows(task_id):
                answered.append((task_id, CancelState.FINISHED))
            else:
                answered.append((task_id, CancelState.UNKNOWN))
        self._take_back(new, asked, now)
        if answered:
            self.cancelling.reply(session, cancel.request, tuple(answered))

    def _take_back(self, new: list[Task], unwanted: list[Task], now: float) -> None:
        """Cancel those of the tasks that no node has. ``new``: of which no node was asked yet."""
        self.nodes.ask_back(new)
        self.recording.cancel(
            [task for task in unwanted if not task.has_ended and not self.tasks.may_be_at_a_node(task)], now
        )

    def _cancel_lost(self, now: float) -> None:
        """Cancel tasks that end with their clients, and whose clients are gone."""
        lost = self.tasks.owners.take_lost(self._settings.session_timeout_s, now)
        if lost:
            if self._notice is not None:
                self._notice("info", f"{len(lost)} tasks are cancelled, as the clients that had them are gone")
            self._take_back([task for task in lost if self.cancelling.give_up(task.id, now)], lost, now)

    def meet_moments(self, now: float) -> None:
        """Moments of tasks are reached. What was kept for a time is kept no longer. What expires ends at once if no
        node has it; what a node has is asked back, and runs if it has started there."""
        self.releases.expire(self._due.retention.take_reached(now))
        self.dead.expire(self._due.retention.take_dead_reached(now))
        self.schedules.meet(now)
        expired = self.recording.moments_reached(now)
        for task in expired:
            self.cancelling.ask_back(task.id)
        self.nodes.ask_back(expired)
        self.recording.end_unwanted([task for task in expired if not self.tasks.may_be_at_a_node(task)], now)

    # --- the log ------------------------------------------------------------------------------------------------

    def log(self, now: float) -> None:
        """Propose the draft, and the releases that are due."""
        self.schedules.log(now)
        if self.tasks.inputs.failed:
            self.recording.end_upstream_failed(now)
        self.recording.propose()
        self.releases.propose(now)
        self._review_due(now)
        self._confirm(now)

    def applied(self, index: int, now: float) -> None:
        """Everything up to this log entry is committed and applied."""
        self._applied_index = index
        self.releases.applied(index)
        self._confirm(now)
        if self.schedules.applied(index, now):
            self._is_held_back = True
        self.dead.drop_past_limits()
        self.recording.logged(min(index, self._durable_index))

    def durable(self, index: int) -> None:
        """This node's own disk has the log up to this entry. It may be behind those of a majority."""
        self._durable_index = index
        self.recording.logged(min(index, self._applied_index))

    @property
    def waits_for_own_disk(self) -> bool:
        """Whether tasks are held back for this node's disk alone: a majority has written what it has not."""
        return self.recording.is_full and not self.recording.is_full_behind(self._applied_index)

    def goes_on(self) -> bool:
        """True once, when tasks were held back for the log and that has moved on."""
        if not self._is_held_back or self.recording.is_full:
            return False
        self._is_held_back = False
        return True

    def _confirm(self, now: float) -> None:
        """For each draft that is applied: tell clients what is accepted or ended and nodes what is recorded, and start
        tasks."""
        while (draft := self.recording.confirm(self._applied_index, now)) is not None:
            self.nodes.recorded(draft.recorded)
            if self.tasks.inputs.needed and self.recording.inputs_ended(draft.outcomes, now):
                self._is_held_back = True  # what has waited for tasks may start
            if draft.requeued or draft.discarded:
                self.dead.have_left([*(task_id for task_id, _ in draft.requeued), *draft.discarded])
                self._is_held_back = self._is_held_back or bool(draft.requeued)
            if draft.alterations:
                self.alterations.have_been_altered(draft.alterations, now)
                self._is_held_back = True  # they wait again
            if draft.limited:
                self._is_held_back = True
            if draft.queues:
                self.queues.have_been_set(draft.queues)
                self._is_held_back = True  # what was paused may go on
            if draft.starting:
                self._end_late(draft.starting, now)
                started = self.nodes.start(draft.starting, now)
                self._traces.leaving.update([task.id for task in started if task.is_traced])

    def _end_late(self, starting: list[Task], now: float) -> None:
        """End those of the tasks whose starts are logged that have expired meanwhile. Moments may be held, and then
        nobody else has looked."""
        late = [
            task
            for task in starting
            if task.is_starting and task.options is not None and self._due.is_late(task.options, now)
        ]
        self.recording.end_unwanted(late, now)

    # --- time ---------------------------------------------------------------------------------------------------

    def tick(self, now: float, expected: Iterable[str]) -> list[str]:
        """Do what is due. ``expected``: the nodes that should give an account before recovered tasks run again.

        Returns the nodes that have been silent for too long, whose tasks are lost.
        """
        gone = self.nodes.tick(now)
        if self.sessions.unheard:
            self.recording.clients_left()
        if self.remarks:
            self.remarks.tick(now)
        if not self.tasks.is_settled and self.recording.is_logging:  # in a transfer no task may end
            is_late = now - self.since >= self._settings.recovery_grace_s
            if is_late or self.nodes.have_enrolled(expected):
                self._settle(now)
        if self.recording.is_logging:
            self._cancel_lost(now)
            self.schedules.review(self.nodes, is_settled=self.tasks.is_settled, now=now)
        if self._unserved.is_due(now):
            self._unserved.review(self.tasks.unserved_by_name(), now)
            self._unplaced.review(self.tasks.unplaced(), now)
        return gone

    def _settle(self, now: float) -> None:
        """Tasks that are still recovered are at no node. They may run again, unless they may start only once and did,
        or have a cancel request."""
        live = self.tasks.live
        self.tasks.settle()
        self._settled_at = now
        self._due.settle()
        self.recording.give_up_exhausted(now)
        asked = [live[task_id] for task_id in self.cancelling.asked if task_id in live]
        self.recording.end_unwanted([task for task in asked if not self.tasks.may_be_at_a_node(task)], now)
        self.tasks.open_gates()

    def expire_sessions(self, now: float) -> None:
        """Forget clients that wait for nothing and have been silent for long."""
        self.sessions.expire(now - self._settings.session_timeout_s)

    def set_logging(self, on: bool, now: float) -> None:
        """Set whether the caller calls log(). While it does not, releases and drafts are not due."""
        if self.recording.is_logging != on or (not on and now >= self.due):
            self.recording.is_logging = on
            self._due.transfer(not on)
            self._find_due()

    @property
    def due(self) -> float:
        """The earliest deadline of clients: an `accepted` that waits, or ids to release."""
        accepted, release = self.sessions.due, self.releases.due
        return accepted if accepted < release else release

    def _review_due(self, now: float) -> None:
        if now >= self.due:
            self._find_due()

    def _find_due(self) -> None:
        self.sessions.find_due()
        self.releases.find_due(self.recording.is_logging)

    def take_updates(self, now: float) -> list[tuple[bytes, Update]]:
        """The Updates that are due to clients."""
        updates = self.sessions.take_updates(now)
        self._review_due(now)
        return updates
