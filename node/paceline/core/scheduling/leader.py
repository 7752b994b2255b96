"""What a node does while it leads: admits tasks, dispatches them, records outcomes, answers clients.

A Leader is made once the first entry of its own term is applied: then the table holds everything that was ever
accepted, and nothing is admitted twice. It is thrown away when the node stops leading; all that it knows can be
rebuilt.

The way of a task through here: in one turn of the reactor ``submit`` puts it in the queue and ``dispatch`` sends it to
a node; ``on_outcomes`` passes the result on. Beside that, ``log`` proposes what came since it was called last, and
``applied`` tells submitters what is accepted, and nodes which outcomes they may forget.

A task may ask for more, or for less. ``delivery`` at most once: it takes its place at a node, waits until the log says
that it started, and only then goes there; a later leader that finds it with no node gives it up. ``confirm`` committed:
its result stays here, in ``_withheld``, until its outcome is applied. ``durability`` none: it is never proposed.

It is one long module because a task's way is: whatever a client, a node or the log says of a task changes the queue,
the draft and a session together, and the promise is that these three agree. What each of them is lies in files of its
own (``dispatch``, ``draft``, ``sessions``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from paceline.core.clients.sessions import ClientSession
from paceline.core.incarnation import INCARNATION_SHIFT
from paceline.core.measures.traces import Traces
from paceline.core.scheduling.dispatch import Dispatcher
from paceline.core.scheduling.draft import DRAFT_BYTES, Draft
from paceline.core.scheduling.nodes import BEAT_UNCHANGED_S, NodeState, chunks
from paceline.core.settings import Settings
from paceline.core.state.table import TaskTable
from paceline.core.state.task import END_EVENTS, ENDED, Event, State, Task
from paceline_protocol.codec import decode_calls, encode_outcomes, join_ids
from paceline_protocol.errors import RemoteProtocolError
from paceline_protocol.messages import (
    Assignment,
    Beat,
    Call,
    Cancel,
    CancelReply,
    CancelState,
    Dispatch,
    Enrol,
    EntryKind,
    NodeBeat,
    Outcome,
    Refusal,
    Revoke,
    Revoked,
    Submit,
    TaskEnd,
    Update,
    Wait,
    WorkMessage,
)
from paceline_protocol.payload import ErrorInfo, pack_error_info

RELEASE_TASKS = 256
"""Under load ids are released as soon as there are so many, as thousands at once would hold up what runs."""

_RAN = frozenset((int(TaskEnd.SUCCEEDED), int(TaskEnd.FAILED)))
_LOST = {int(TaskEnd.LOST)}

Propose = Callable[[int, bytes, Any], int]
"""(kind, data, decoded) -> the index of the new log entry."""


class Leader:
    """The leading half of a node, for one term. ``to_nodes`` and ``to_clients`` are emptied by the caller."""

    def __init__(
        self,
        settings: Settings,
        term: int,
        table: TaskTable,
        propose: Propose,
        now: float,
        tasks: Dispatcher,
        traces: Traces | None = None,
    ) -> None:
        """``tasks``: what was taken over from the table."""
        self._settings = settings
        self.term = term
        self._table = table
        self._propose = propose
        self._applied_index = 0
        self.since = now
        self.missing_voters = 0  # below min_voters nothing is accepted; the caller keeps this up to date
        self.tasks = tasks
        self._traces = traces if traces is not None else Traces()
        self.nodes: dict[str, NodeState] = {}
        self.sessions: dict[bytes, ClientSession] = {}
        self.to_nodes: list[tuple[str, WorkMessage]] = []
        self.to_clients: list[tuple[bytes, CancelReply]] = []
        self._dirty: dict[bytes, ClientSession] = {}
        self._draft = Draft()
        self._proposed: deque[tuple[int, Draft]] = deque()  # (the last index, what was proposed up to there)
        self._proposed_index = 0
        self._ending: dict[bytes, tuple[int, bytes]] = {}  # how tasks ended, until that is applied
        self._withheld: dict[bytes, Task] = {}  # ended, and their submitters learn of it once that is applied
        self._cancelling: dict[bytes, list[tuple[ClientSession, int]]] = {}
        self._to_release: list[bytes] = []
        self._release_at = float("inf")
        # The caller stops that while another takes over, who needs a log that stands still. Then nothing starts and
        # nothing ends here, or the next leader would not know of it: the nodes report their outcomes to that one.
        self.is_logging = True
        self.due = float("inf")  # nothing of clients is due earlier: an `accepted` that waits, ids to release
        self._ticked_at = now
        self.log_is_awaited = False  # tasks or results wait for what log() would propose

    # --- clients ------------------------------------------------------------------------------------------------

    def open_session(self, key: bytes, now: float) -> None:
        """A client said Hello on a connection."""
        if key not in self.sessions:
            if len(self.sessions) >= self._settings.session_limit:
                self._forget_oldest_idle_session()
            self.sessions[key] = ClientSession(key, now)

    def close_session(self, key: bytes) -> None:
        """The connection is gone. What the client was owed stays in the table until it asks again."""
        session = self.sessions.pop(key, None)
        self._dirty.pop(key, None)
        if session is not None:
            session.closed = True

    def submit(self, session: ClientSession, submit: Submit, now: float) -> None:
        """Admit a batch of calls. Raises ProtocolError, with nothing admitted, if ``submit.calls`` is malformed."""
        calls = decode_calls(submit.calls)
        self.tasks.now = now
        self.acknowledge(session, submit.ack, now)
        new: list[Task] = []
        admitted: list[Call] = [call for call in calls if self._admit(session, call, new)]
        self._make_room(len(submit.calls))
        self._draft.accept(session, submit, admitted, new, complete=len(new) == len(calls))

    def _admit(self, session: ClientSession, call: Call, new: list[Task]) -> bool:
        """Take one call: True if it became a new task for the log, which is then the last of ``new``."""
        task_id = call[0]
        task = self._open_task(task_id)
        if task is not None:
            self._attach(task, session)
            return False
        result = self._result_of(task_id)
        if result is not None:
            session.results.append((task_id, *result))
            self._dirty[session.key] = session
            return False
        refusal = self._refusal(call)
        if refusal is not None:
            session.refuse(task_id, *refusal)
            self.tasks.tally.refuse(refusal[0])
            self._dirty[session.key] = session
            return False
        task = Task(call)
        task.session = session
        session.open_tasks += 1
        self.tasks.admit(task)
        if task.options is not None:
            if task.is_traced:
                self._traces.submitted(task_id)
            if not task.is_logged:
                return False
        new.append(task)
        return True

    def _refusal(self, call: Call) -> tuple[Refusal, str] | None:
        """Why a call can't be admitted, if it can't."""
        settings, tasks = self._settings, self.tasks
        task_id, name, _priority, args, _options = call
        if self.missing_voters:
            return Refusal.NOT_READY, f"{self.missing_voters} of {settings.min_voters} voters are still to come"
        if task_id in self._table.released:
            return Refusal.UNKNOWN_ID, "this task ended earlier and its result was released"
        if len(args) > settings.payload_limit_bytes:
            return (
                Refusal.PAYLOAD_TOO_LARGE,
                f"the arguments take {len(args)} bytes, the cluster allows {settings.payload_limit_bytes}",
            )
        if len(tasks.live) >= settings.queue_limit_tasks:
            return Refusal.QUEUE_FULL, f"the cluster holds {len(tasks.live)} tasks, its limit"
        if tasks.live_bytes + len(args) > settings.queue_limit_bytes:
            return Refusal.QUEUE_FULL, f"the cluster's tasks take {tasks.live_bytes} bytes, its limit"
        if tasks.settled and not tasks.ready.served_by(name) and any(node.slots for node in tasks.ledgers.values()):
            return Refusal.UNKNOWN_TASK, _unknown_name(name, tasks.ready.known_names())
        return None

    def wait(self, session: ClientSession, wait: Wait, now: float) -> None:
        """After a leader change: attach a client to tasks that were accepted earlier."""
        self.acknowledge(session, wait.ack, now)
        for task_id in wait.ids:
            task = self._open_task(task_id)
            result = self._result_of(task_id)
            if task is not None:
                self._attach(task, session)
            elif result is not None:
                session.results.append((task_id, *result))
            else:
                session.refuse(task_id, Refusal.UNKNOWN_ID, "this cluster has no record of the task")
        self._dirty[session.key] = session

    def cancel(self, session: ClientSession, cancel: Cancel) -> None:
        """Cancel what has not started, and say so once that is committed. What a node has already is asked back; its
        answer decides. What an earlier leader may have given to a node waits for the accounts."""
        states: list[tuple[bytes, int]] = []
        ended: list[Outcome] = []
        at_nodes: list[Task] = []
        for task_id in dict.fromkeys(cancel.ids):
            task = self._open_task(task_id)
            if task is None:
                known = task_id in self._ending or self._table.knows(task_id)
                states.append((task_id, CancelState.FINISHED if known else CancelState.UNKNOWN))
                continue
            self._cancelling.setdefault(task_id, []).append((session, cancel.request))
            if task.state is State.DISPATCHED:
                at_nodes.append(task)
            elif task.state not in ENDED and not self.tasks.awaits_accounts(task):
                ended.append((task_id, task.attempt, TaskEnd.CANCELLED, b"", 0))
        self._ask_back(at_nodes)
        self._end(ended)
        if states:
            self.to_clients.append((session.key, CancelReply(cancel.request, tuple(states))))

    def _ask_back(self, tasks: Iterable[Task]) -> None:
        by_node: dict[str, list[bytes]] = {}
        for task in tasks:
            by_node.setdefault(task.node, []).append(task.id)
        self.to_nodes += [(node_id, Revoke(self.term, tuple(ids))) for node_id, ids in by_node.items()]

    def acknowledge(self, session: ClientSession, ack: int, now: float) -> None:
        """The client has everything up to this Update; its results are released together with others."""
        acknowledged = session.acknowledge(ack, now)
        released = [task_id for task_id in acknowledged if self._result_of(task_id)]  # of what is logged
        if released:
            if not self._to_release:
                self._release_at = now + self._settings.release_interval_s
                self.due = min(self.due, self._release_at)
            self._to_release += released

    def _result_of(self, task_id: bytes) -> tuple[int, bytes] | None:
        """How a task ended, whether that is committed yet or not."""
        return self._ending.get(task_id) or self._table.results.get(task_id)

    def _open_task(self, task_id: bytes) -> Task | None:
        """A task whose result is still to come for its submitter."""
        return self.tasks.live.get(task_id) or self._withheld.get(task_id)

    def _attach(self, task: Task, session: ClientSession) -> None:
        if task.session is not session:
            if task.session is not None:
                task.session.open_tasks -= 1
            task.session = session
            session.open_tasks += 1

    def _forget_oldest_idle_session(self) -> None:
        idle = [session for session in self.sessions.values() if session.idle()]
        if idle:
            self.close_session(min(idle, key=lambda session: session.heard_at).key)

    # --- nodes --------------------------------------------------------------------------------------------------

    def beat(self, node_ids: Iterable[str], now: float) -> None:
        """Tell every node that we lead, and what we have sent and heard; ask again for what was not answered. A node of
        which there is nothing new is told less often: with hundreds of them that is most of what an idle leader does.
        """
        for node_id in node_ids:
            state = self.nodes.get(node_id)
            if state is None:
                state = self.nodes[node_id] = NodeState(now)
            news = (state.account, state.dispatch_seq, state.outcome_seq)
            if news != state.told or now >= state.told_at + BEAT_UNCHANGED_S or not state.enrolled:
                state.told, state.told_at = news, now
                self.to_nodes.append((node_id, Beat(self.term, *news)))
        live = self.tasks.live
        asked = (live[task_id] for task_id in self._cancelling if task_id in live)
        self._ask_back(task for task in asked if task.state is State.DISPATCHED)

    def on_node_beat(self, node_id: str, beat: NodeBeat, now: float) -> None:
        """A node is alive."""
        state = self.nodes.get(node_id)
        if state is not None and beat.term == self.term:
            state.heard_at = now
            state.beat = beat

    def on_enrol(self, node_id: str, enrol: Enrol, now: float) -> None:
        """A node's account: what it offers, and what it holds of what we believe it to hold."""
        state = self.nodes.get(node_id)
        if state is None or enrol.term != self.term:
            return
        state.heard_at = now
        if state.enrolled and enrol.version <= state.account:
            return
        held = dict(enrol.held)
        incarnation = enrol.version >> INCARNATION_SHIFT
        if state.account >> INCARNATION_SHIFT < incarnation:
            self._node_restarted(node_id, held)
            state.dispatch_seq = max(state.dispatch_seq, incarnation << INCARNATION_SHIFT)
        state.account = enrol.version
        state.enrolled = True
        state.outcome_seen = max(state.outcome_seen, enrol.outcome_seq)
        state.outcome_seq = max(state.outcome_seq, enrol.outcome_seq)
        ledger = self.tasks.enrol(node_id, enrol.slots, enrol.names)
        sent = (task for task in ledger.held.values() if task.state is State.DISPATCHED)
        missing = [task for task in sent if held.get(task.id, 0) < task.attempt]
        came_back = [task for task in missing if task.sent_seq <= enrol.dispatch_seq]
        for task in reversed(came_back):  # the oldest is put in front last
            self.tasks.give_back(task)
        self._cancel_if_asked([task.id for task in came_back])
        for task_id, attempt in enrol.held:
            recovered = self.tasks.live.get(task_id)
            if recovered is not None and recovered.state is State.RECOVERED:
                self.tasks.adopt(recovered, node_id, attempt)

    def on_outcomes(self, node_id: str, term: int, seq: int, outcomes: list[Outcome], now: float) -> None:
        """A node reports ends of attempts: a NodeOutcomes, unpacked. Raises ProtocolError for ends of both sorts."""
        state = self.nodes.get(node_id)
        if state is None or not state.enrolled or term != self.term or not self.is_logging:
            return
        state.heard_at = now
        if seq != state.outcome_seen + 1:
            return  # a copy, or one behind a gap: the node reports again whatever is not acknowledged
        self.tasks.now = now
        ends = {outcome[2] for outcome in outcomes}
        if ends == _LOST:
            self._attempts_lost(outcomes, node_id)
        elif ends <= _RAN:
            self._end(outcomes)
        else:
            raise RemoteProtocolError(f"a node can't report the ends {sorted(ends)} in one batch")
        state.outcome_seen = seq
        self._draft.recorded[node_id] = seq

    def on_revoked(self, node_id: str, revoked: Revoked) -> None:
        """A node answered what can still be cancelled. If nobody wants it cancelled any more, this is a copy of an
        answer, and what it gave back then may have been sent there again."""
        if revoked.term != self.term:
            return
        came_back: list[bytes] = []
        for task_id in reversed(revoked.given_back):
            task = self.tasks.live.get(task_id) if task_id in self._cancelling else None
            if task is not None and task.state is State.DISPATCHED and task.node == node_id:
                self.tasks.give_back(task)
                came_back.append(task_id)
        self._cancel_if_asked(came_back)
        for task_id in revoked.kept:
            self._answer_cancel(self._cancelling.pop(task_id, None), task_id, CancelState.RUNNING)

    def _cancel_if_asked(self, came_back: list[bytes]) -> None:
        """Tasks that came back from a node, in whatever way: what somebody wants cancelled goes to no other node."""
        if self._cancelling:
            ids = [task_id for task_id in came_back if task_id in self._cancelling]
            self._end([(task_id, self.tasks.live[task_id].attempt, TaskEnd.CANCELLED, b"", 0) for task_id in ids])

    def _answer_cancel(self, asked: list[tuple[ClientSession, int]] | None, task_id: bytes, state: CancelState) -> None:
        for session, request in asked or ():
            self.to_clients.append((session.key, CancelReply(request, ((task_id, state),))))

    # --- ends ---------------------------------------------------------------------------------------------------

    def _end(self, outcomes: list[Outcome]) -> None:
        """Pass ends on to the submitters and into the draft. What is not new is recorded already, or in the draft."""
        tasks = self.tasks
        observe = tasks.durations.observe
        tally, now = tasks.tally, tasks.now
        for outcome in outcomes:
            task_id, _attempt, end, payload, duration_us = outcome
            task = tasks.finish(task_id, END_EVENTS[end])
            if task is None:
                continue
            tally.finished[end] += 1
            if end in _RAN:
                observe(task.name, duration_us)
                if task.sent_at:
                    tally.dispatch_latency.observe_s(now - task.sent_at - duration_us * 1e-6)
            is_logged, is_withheld = True, end == TaskEnd.CANCELLED
            if task.options is not None:
                is_logged, is_withheld = task.is_logged, is_withheld or task.waits_for_commit
                if task.is_traced and task.session is not None:
                    self._traces.ended(task_id, task.session.key)
            if is_logged:
                self._make_room(len(payload))
                self._draft.end(outcome)
                if is_withheld:
                    self._withheld[task_id] = task
                    self.log_is_awaited = True
                    continue
                self._ending[task_id] = (end, payload)
            self._pass_on(task, end, payload)

    def _pass_on(self, task: Task, end: int, payload: bytes) -> None:
        """Tell the submitter, and whoever wants it cancelled, that a task ended."""
        session = task.session
        if session is not None:
            session.open_tasks -= 1
            if not session.closed:
                session.results.append((task.id, end, payload))
                self._dirty[session.key] = session
        if self._cancelling:
            state = CancelState.CANCELLED if end == TaskEnd.CANCELLED else CancelState.FINISHED
            self._answer_cancel(self._cancelling.pop(task.id, None), task.id, state)

    def _attempts_lost(self, outcomes: list[Outcome], node_id: str) -> None:
        """Attempts that ended with their worker or node: run again, or give up."""
        again: list[bytes] = []
        logged: list[bytes] = []
        given_up: list[Outcome] = []
        for task_id, attempt, _end, payload, _duration_us in reversed(outcomes):  # the oldest is put in front last
            task = self.tasks.live.get(task_id)
            if task is None or task.state is not State.DISPATCHED or task.node != node_id or task.attempt != attempt:
                continue
            is_new = attempt > task.lost_attempts  # an earlier leader may have logged that it is lost
            if self.tasks.lost_attempt(task, self._settings.attempt_limit):
                again.append(task_id)
                if task.is_logged and is_new:
                    logged.append(task_id)
            else:
                detail = f"last on node {node_id}: {payload.decode(errors='replace')}"
                given_up.append((task_id, attempt, TaskEnd.LOST, _lost_error(attempt, detail), 0))
        self._draft.attempts_lost += logged
        self._cancel_if_asked(again)
        self._end(given_up)

    def _node_restarted(self, node_id: str, held: dict[bytes, int]) -> None:
        """A node came back as a new process: what the old one had ended with it."""
        ledger = self.tasks.ledgers.get(node_id)
        if ledger is not None:
            lost = [task for task in ledger.held.values() if held.get(task.id, 0) < task.attempt]
            self._lost_with_node(node_id, lost, "the node was restarted")

    def _node_gone(self, node_id: str, now: float) -> None:
        """A node has been silent for too long: what it held is redelivered."""
        silent_ms = round((now - self.nodes[node_id].heard_at) * 1000)
        self.nodes[node_id].enrolled = False
        self.nodes[node_id].account = 0
        self.nodes[node_id].beat = None
        held = list(self.tasks.ledgers[node_id].held.values())
        self._lost_with_node(node_id, held, f"the node was silent for {silent_ms} ms")
        for task in reversed(held):
            if task.state is State.STARTING:
                self.tasks.give_back(task)
        self.tasks.remove_node(node_id)

    def _lost_with_node(self, node_id: str, tasks: list[Task], how: str) -> None:
        """The attempts of these tasks ended, though the node did not say so."""
        self._attempts_lost([(task.id, task.attempt, TaskEnd.LOST, how.encode(), 0) for task in tasks], node_id)

    def _give_up_exhausted(self) -> None:
        """Recovered tasks that an earlier leader had started for the last time, and that no node has."""
        given_up: list[Outcome] = []
        for task_id in self._table.lost_attempts:
            task = self.tasks.live.get(task_id)
            if (
                task is not None
                and task.state is State.RECOVERED
                and task.lost_attempts >= task.attempt_limit(self._settings.attempt_limit)
            ):
                error = _lost_error(task.lost_attempts, "an earlier leader had it started, and no node has it now")
                given_up.append((task_id, task.lost_attempts, TaskEnd.LOST, error, 0))
        self._end(given_up)

    # --- the log ------------------------------------------------------------------------------------------------

    def _make_room(self, size_bytes: int) -> None:
        """Propose what is there if the entries would grow too large with what comes."""
        if self._draft.size_bytes + size_bytes > DRAFT_BYTES and self._draft:
            self._propose_draft()

    def _propose_draft(self) -> None:
        draft, self._draft = self._draft, Draft()
        if draft.new:
            self._proposed_index = self._propose(EntryKind.ACCEPT, draft.packed_calls(), draft.new)
        used_up = draft.attempts_lost + [task.id for task in draft.starting]
        if used_up:
            self._proposed_index = self._propose(EntryKind.ATTEMPT, join_ids(used_up), None)
        if draft.outcomes:
            self._proposed_index = self._propose(EntryKind.OUTCOME, encode_outcomes(draft.outcomes), draft.outcomes)
        # If nothing of it was new, it is durable when the originals are, which were proposed before.
        self._proposed.append((self._proposed_index, draft))

    def log(self, now: float) -> None:
        """Propose what came since the last time."""
        self.log_is_awaited = False
        if self._draft:
            self._propose_draft()
        if now >= self._release_at or len(self._to_release) >= RELEASE_TASKS:
            self._propose(EntryKind.RELEASE, join_ids(self._to_release), None)
            self._to_release = []
            self._release_at = float("inf")
        if now >= self.due:
            self._find_due()
        self._confirm(now)

    def applied(self, index: int, now: float) -> None:
        """Everything up to this log entry is committed and applied."""
        self._applied_index = index
        self._confirm(now)

    def _confirm(self, now: float) -> None:
        """As far as it is applied: tell clients what is accepted or ended, and nodes what is recorded; start tasks."""
        proposed = self._proposed
        while proposed and proposed[0][0] <= self._applied_index:
            _, draft = proposed.popleft()
            self.tasks.tally.accepted += len(draft.new)
            for tasks, session, submit in draft.submits:
                all_ended = bool(tasks) and all(task.state in ENDED for task in tasks)  # which says as much
                if not session.closed and not all_ended:
                    due = now if submit.prompt else now + self._settings.accept_linger_s
                    session.add_accepted(submit.seq, due)
                    self.due = min(self.due, due)
                    self._dirty[session.key] = session
            for node_id, seq in draft.recorded.items():
                self.nodes[node_id].outcome_seq = max(self.nodes[node_id].outcome_seq, seq)
            for task_id, _attempt, end, payload, _duration_us in draft.outcomes:
                withheld = self._withheld.pop(task_id, None) if self._withheld else None
                if withheld is None:
                    del self._ending[task_id]
                else:
                    self._pass_on(withheld, end, payload)
            if draft.starting:
                self._start(draft.starting)

    def _start(self, tasks: list[Task]) -> None:
        """The log says that these started: they may go to where they have their place. Not if they were cancelled
        meanwhile, or lost that node; then they may go to another as any task does."""
        given: dict[str, list[Assignment]] = {}
        for task in tasks:
            task.lost_attempts = 1
            if task.state is State.STARTING:
                task.move(Event.DISPATCH)
                given.setdefault(task.node, []).append(task.assignment)
                if task.is_traced:
                    self._traces.leaving.add(task.id)
        self._send_out(given)

    # --- time ---------------------------------------------------------------------------------------------------

    def tick(self, now: float, expected: Iterable[str]) -> list[str]:
        """Whatever is due. ``expected``: the nodes that should give an account before recovered tasks run again.

        Returns the nodes that were given up for gone.
        """
        if now - self._ticked_at > self._settings.node_timeout_s / 2:
            # It was this process that stood still: what the nodes said meanwhile has not been read yet.
            for state in self.nodes.values():
                state.heard_at = now
        self._ticked_at = now
        before = now - self._settings.node_timeout_s
        gone = [node_id for node_id, state in self.nodes.items() if state.enrolled and state.heard_at < before]
        for node_id in gone:
            self._node_gone(node_id, now)
        if not self.tasks.settled:
            complete = all(node_id in self.nodes and self.nodes[node_id].enrolled for node_id in expected)
            if complete or now - self.since >= self._settings.recovery_grace_s:
                self.tasks.settle()
                self._give_up_exhausted()
                live = self.tasks.live
                asked = [task_id for task_id in self._cancelling if task_id in live]
                self._cancel_if_asked([task_id for task_id in asked if live[task_id].state is State.RECOVERED])
        return gone

    def expire_sessions(self, now: float) -> None:
        """Forget clients that wait for nothing and have been silent for long."""
        before = now - self._settings.session_timeout_s
        for session in [session for session in self.sessions.values() if session.heard_at < before and session.idle()]:
            self.close_session(session.key)

    def set_logging(self, on: bool, now: float) -> None:
        """Whether log() is called when something is due. If it is not, what waits for it is not due either."""
        if self.is_logging != on or (not on and now >= self.due):
            self.is_logging = on
            self._find_due()

    def _find_due(self) -> None:
        due = [session.accept_due for session in self._dirty.values() if session.accept_due is not None]
        self.due = min([self._release_at if self.is_logging else float("inf"), *due])

    # --- what leaves --------------------------------------------------------------------------------------------

    def dispatch(self) -> None:
        """Hand out what there is credit for."""
        self._send_out(self.tasks.dispatch())
        if self.tasks.traced:
            self._traces.leaving.update(self.tasks.traced)
            self.tasks.traced = []
        if self.tasks.starting:
            self._draft.starting += self.tasks.starting
            self.tasks.starting = []
            self.log_is_awaited = True

    def _send_out(self, given: dict[str, list[Assignment]]) -> None:
        for node_id, assignments in given.items():
            state = self.nodes[node_id]
            for chunk in chunks(assignments) if len(assignments) > 1 else (assignments,):
                state.dispatch_seq += 1
                for assignment in chunk:
                    self.tasks.live[assignment[0]].sent_seq = state.dispatch_seq
                self.to_nodes.append((node_id, Dispatch(self.term, state.dispatch_seq, tuple(chunk))))

    @property
    def owes_clients(self) -> bool:
        """Whether take_updates may have something."""
        return bool(self._dirty)

    def take_updates(self, now: float) -> list[tuple[bytes, Update]]:
        """The Updates that are due to clients."""
        updates: list[tuple[bytes, Update]] = []
        for key, session in list(self._dirty.items()):
            if not session.closed:
                updates += [(key, update) for update in session.take_updates(now)]
            if session.closed or session.accept_due is None:
                del self._dirty[key]
        if now >= self.due:
            self._find_due()
        return updates


def _unknown_name(name: str, known: list[str]) -> str:
    shown = ", ".join(known[:20]) + (", ..." if len(known) > 20 else "")
    return f"no node knows a task named {name!r}; the nodes run: {shown or 'no task at all'}"


def _lost_error(attempts: int, detail: str) -> bytes:
    return pack_error_info(ErrorInfo("TaskLost", "paceline.errors", detail, (attempts, detail), ""))
