"""One client's side of the protocol, joined: the search for the leader, the epoch with it, and what outlives both.

Pure: no socket, clock, thread or global random source, so that a simulator can run it in virtual time. A shell
(``client/driver``, or the simulator) keeps these rules:

- It calls a method with ``now`` (monotonic seconds), then does what the outbox of :attr:`Session.output` holds.
- It reports what happens: :meth:`~Session.received` for a frame, :meth:`~Session.opened` when a connection comes up,
  :meth:`~Session.lost` when one breaks or a frame could not be sent. It hands over frames that wait before it calls
  :meth:`~Session.tick`, at the latest at :meth:`~Session.next_deadline`.
- It takes what ended from the other lists of :attr:`Session.output`, and what is answered from the ``replies`` of
  :attr:`Session.requests`.

How a client follows the leader. It *seeks* (``seeking.py``) until a node answers that it leads. There it is *attached*,
and a new epoch begins (``epoch.py``). A Redirect, a broken connection, a gap in the Updates or an unanswered Ping ends
the epoch, and it seeks again, on new connections. A connection is a stream: it carries Hellos, then at most one epoch.
Results may arrive twice; the second is ignored.

The file is long, and has little state: it is all that a shell calls, and the only one that sees a phase end and the
next begin. What a phase knows and decides is in its own file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from enum import Enum
from typing import ClassVar, Final

from paceline.client.session.candidates import Candidates, Jitter
from paceline.client.session.epoch import Epoch
from paceline.client.session.ledger import CallLedger
from paceline.client.session.listing import ListRequest
from paceline.client.session.output import Output
from paceline.client.session.refusals import Unready
from paceline.client.session.requests import RULES, Request, Requests
from paceline.client.session.seeking import Search, SearchOptions
from paceline.client.session.silence import SLOWER_BY, SLOWEST_BYTES_PER_S, USUAL_BYTES_PER_S
from paceline.client.session.sweep import PageRequest
from paceline.errors import IncompatibleVersion, NotAllowed
from paceline_protocol import codec
from paceline_protocol.errors import ProtocolError, VersionMismatch
from paceline_protocol.limits import ANNOUNCED_BYTES, MAX_REQUEST_TASKS
from paceline_protocol.messages import Message
from paceline_protocol.messages.client import (
    Admin,
    Cancel,
    DeadTaskRequest,
    DeadTasksRequest,
    Discard,
    Failure,
    FindRequest,
    Hello,
    OutputRequest,
    ProgressRequest,
    Redirect,
    Refusal,
    Requeue,
    StatusReply,
    StatusRequest,
    TaskRequest,
    Update,
    WaitingRequest,
    Welcome,
)
from paceline_protocol.messages.graphs import FindInGraph, GraphsRequest, TasksOfGraphRequest
from paceline_protocol.messages.live import RunNow, TasksRequest
from paceline_protocol.messages.queues import AlterTasks, FindInQueue, FindToAlter, QueuesRequest, SetQueue
from paceline_protocol.messages.records import CALL_ID, CALL_OPTIONS, Call
from paceline_protocol.messages.schedules import (
    BackfillSchedule,
    ChangeSchedule,
    PutSchedule,
    SchedulesRequest,
    TriggerSchedule,
)

OUTSTANDING_LIMIT_TASKS: Final = 200_000
UNACCEPTED_LIMIT_BYTES: Final = 256 * 1024 * 1024
_NO_CHANGE: Final = (0, "", 0)


class SessionState(Enum):
    """IDLE: nobody wants anything. SEEKING: looking for the leader. ATTACHED: talking to it."""

    IDLE = "idle"
    SEEKING = "seeking"
    ATTACHED = "attached"


class Session:
    """The session of one client. The shell may read ``ledger``. ``failure``: why the last search for a leader was given
    up. ``payload_limit_bytes``: the limit of the last leader for the packed arguments of a call."""

    _relays: ClassVar[bool] = False

    def __init__(
        self,
        client_id: bytes,
        addresses: Iterable[str],
        *,
        random: Jitter,
        cluster_name: str = "",
        connect_timeout_s: float = 10.0,
        failover_timeout_s: float = 30.0,
        outstanding_limit_tasks: int = OUTSTANDING_LIMIT_TASKS,
    ) -> None:
        self.output = Output()
        self.requests = Requests()
        self.failure: Exception | None = None
        self.payload_limit_bytes = codec.PAYLOAD_LIMIT_BYTES
        self.ledger = CallLedger()
        self._unready = Unready(failover_timeout_s, random)
        self._candidates = Candidates(addresses, random)
        self._search_options = SearchOptions(
            codec.encode(Hello(client_id, cluster_name)), cluster_name, connect_timeout_s, failover_timeout_s
        )
        self._outstanding_limit_tasks = outstanding_limit_tasks
        self._search: Search | None = None  # the last one, while there is an epoch; None: nobody wants anything
        self._epoch: Epoch | None = None
        self._leader = ("", 0)  # the last one, and its term
        self._link_bytes_per_s = USUAL_BYTES_PER_S  # what the link to it is taken for
        self._found_slow = False  # it was given up while something large was under way

    # --- what the shell asks -------------------------------------------------------------------------------------

    @property
    def state(self) -> SessionState:
        if self._epoch is not None:
            return SessionState.ATTACHED
        return SessionState.IDLE if self._search is None else SessionState.SEEKING

    @property
    def is_idle(self) -> bool:
        return self._search is None

    @property
    def leader_address(self) -> str:
        """Where it is attached, "" otherwise."""
        return self._epoch.address if self._epoch is not None else ""

    @property
    def has_room(self) -> bool:
        """Whether the shell may submit. False at a limit, until calls have ended or were accepted."""
        ledger = self.ledger
        return len(ledger.tasks) < self._outstanding_limit_tasks and ledger.unaccepted_bytes < UNACCEPTED_LIMIT_BYTES

    @property
    def cluster_name(self) -> str:
        """Of the only cluster that counts, "" for any."""
        return self._search_options.cluster_name

    @property
    def addresses(self) -> tuple[str, ...]:
        return self._candidates.addresses

    @property
    def expects_answer(self) -> bool:
        return bool(self.ledger.tasks or self.requests)

    @property
    def has_unsettled(self) -> bool:
        """Whether the cluster has yet to hear of something: a call, or that tasks are abandoned."""
        return self.ledger.has_unaccepted or self.requests.has_unheard

    # --- what the user wants -------------------------------------------------------------------------------------

    def connect(self, now: float) -> None:
        """Begin to look for the leader, if that is not under way."""
        if self._search is None:
            options = self._search_options
            self.failure = None
            self._search = Search(
                options,
                self._candidates,
                self.requests,
                self.output.outbox,
                now=now,
                next_round_s=now,
                timeout_s=options.connect_timeout_s,
            )
            self.tick(now)

    def add_addresses(self, addresses: Iterable[str], now: float) -> None:
        """More places to look at, as discovery finds them."""
        self._candidates.add(addresses)
        if self._search is not None and self._epoch is None:
            self._search.hurry(now)
            self.tick(now)

    def look_again(self, now: float) -> None:
        """A name that did not resolve does now."""
        self.add_addresses((), now)

    def unresolved(self, address: str, why: str) -> None:
        """The name in this address does not resolve; ``why`` is "" if it does, or if nobody can tell yet."""
        self._candidates.unresolved(address, why)

    def starved(self, why: str) -> None:
        """The shell can't connect to any node, for want of what the system gives this process; "" if it can."""
        self._candidates.starved = why

    def no_node_found(self, waited_s: float) -> Exception:
        """What to say when no node has answered."""
        return self._candidates.no_node_found(waited_s)

    def submit(self, call: Call, now: float, *, prompt: bool = False) -> None:
        """Submit a call. The shell looks at :attr:`has_room` first. ``prompt``: somebody waits for its acceptance."""
        ledger = self.ledger
        if not ledger.tasks:
            self._begin_waiting(now)
        if prompt:
            ledger.prompt = True
        if call[CALL_OPTIONS]:
            ledger.note_read_before(call[CALL_ID])
        if self._epoch is not None:
            self._epoch.submit(call, now)
        else:
            ledger.add(call)
            self.connect(now)

    def submit_together(self, calls: Iterable[Call], now: float, *, prompt: bool = False) -> None:
        """Submit calls as :meth:`submit` does one, but all of them before the first leaves."""
        ledger = self.ledger
        if not ledger.tasks:
            self._begin_waiting(now)
        ledger.prompt = ledger.prompt or prompt
        for call in calls:
            if call[CALL_OPTIONS]:
                ledger.note_read_before(call[CALL_ID])
            ledger.add(call)
        if self._epoch is not None:
            self._epoch.send_together(now)
        else:
            self.connect(now)

    def read(self, task_id: bytes, now: float) -> None:
        """Have the cluster tell how this task ended or ends, whoever submitted it, and take it from nobody. Of one that
        is outstanding here it is told anyway. The shell looks at :attr:`has_room` first."""
        ledger = self.ledger
        if task_id in ledger:
            return
        if not ledger.tasks:
            self._begin_waiting(now)
        ledger.add_read(task_id)
        if self._epoch is not None:
            self._epoch.read((task_id,), now)
        else:
            self.connect(now)

    def press(self, task_id: bytes, now: float) -> None:
        """Somebody waits for the acceptance of this task: send it without waiting for more calls."""
        if self.ledger.is_queued(task_id):
            self.press_all(now)

    def press_all(self, now: float) -> None:
        """Somebody waits for the acceptance of all tasks."""
        if self._epoch is not None:
            self._epoch.send_queued(now, prompt=True)

    def cancel(self, ids: tuple[bytes, ...], now: float) -> int:
        """Ask the leader to cancel. Returns the key under which ``requests.replies`` will hold the CancelReply."""
        return self._ask(Cancel(self.requests.next_number(), ids), now)

    def abandon(self, ids: Iterable[bytes], now: float) -> None:
        """Nobody wants the results of these tasks any more: cancel those that have not ended. Whichever leader there is
        or will be is asked, and nobody waits for the answer."""
        open_ids = [task_id for task_id in dict.fromkeys(ids) if task_id in self.ledger]
        for start in range(0, len(open_ids), MAX_REQUEST_TASKS):
            some = tuple(open_ids[start : start + MAX_REQUEST_TASKS])
            self._ask(Cancel(self.requests.next_number(), some), now, wanted=False)

    def status(self, now: float, about: tuple[tuple[str, str], ...] = ()) -> int:
        """Ask the leader, or while there is none any node. ``about``: what this client says of itself. Returns the key
        of the StatusReply."""
        return self._ask(StatusRequest(self.requests.next_number(), about), now)

    def admin(self, op: int, argument: str, now: float) -> int:
        """Ask the leader for a change of the cluster (AdminOp). Returns the key of the AdminReply."""
        return self._ask(Admin(self.requests.next_number(), op, argument), now)

    def where_is(self, task_id: bytes, now: float) -> int:
        """Ask the leader where a task is. Returns the key of the TaskReply."""
        return self._ask(TaskRequest(self.requests.next_number(), task_id), now)

    def progress(self, task_id: bytes, now: float) -> int:
        """Ask the leader how far a task says it is. Returns the key of the ProgressReply."""
        return self._ask(ProgressRequest(self.requests.next_number(), task_id), now)

    def output_of(self, task_id: bytes, now: float) -> int:
        """Ask the leader what a task has printed and logged. Returns the key of the OutputReply."""
        return self._ask(OutputRequest(self.requests.next_number(), task_id), now)

    def waiting(self, name: str, skip: int, now: float) -> int:
        """Ask the leader which tasks wait, by name. Returns the key of the WaitingReply."""
        return self._ask(WaitingRequest(self.requests.next_number(), name, skip), now)

    def dead_tasks(self, name: str, error: str, skip: int, now: float) -> int:
        """Ask the leader which dead tasks are kept. Returns the key of the DeadTasksReply."""
        return self._ask(DeadTasksRequest(self.requests.next_number(), name, error, skip), now)

    def dead_task(self, task_id: bytes, now: float) -> int:
        """Ask the leader for all of a dead task. Returns the key of the DeadTaskReply."""
        return self._ask(DeadTaskRequest(self.requests.next_number(), task_id), now)

    def requeue(self, ids: tuple[bytes, ...], args: bytes, now: float) -> int:
        """Ask the leader to requeue dead tasks; ``args``: with these, if there are any. Returns the key of the
        DeadChanges."""
        return self._ask(Requeue(self.requests.next_number(), ids, args), now)

    def discard(self, ids: tuple[bytes, ...], now: float) -> int:
        """Ask the leader to discard dead tasks. Returns the key of the DeadChanges."""
        return self._ask(Discard(self.requests.next_number(), ids), now)

    def find(self, page: PageRequest, now: float) -> int:
        """Ask the leader for ids of tasks. Returns the key of the FindReply."""
        name, states, term, until, cursor, queue, older_than_ms, change, graph = page
        number = self.requests.next_number()
        if graph:
            altered = change or _NO_CHANGE
            meant_there = FindInGraph(number, name, states, term, until, *cursor, queue, older_than_ms, *altered, graph)
            return self._ask(meant_there, now)
        if change is not None:
            meant = FindToAlter(number, name, states, term, until, *cursor, queue, older_than_ms, *change)
            return self._ask(meant, now)
        if queue:
            return self._ask(FindInQueue(number, name, states, term, until, *cursor, queue), now)
        return self._ask(FindRequest(number, name, states, term, until, *cursor), now)

    def live_tasks(self, page: ListRequest, now: float) -> int:
        """Ask the leader which tasks have not ended. Returns the key of the TasksReply."""
        number = self.requests.next_number()
        if page.graph:
            return self._ask(TasksOfGraphRequest(number, *page), now)
        return self._ask(TasksRequest(number, *page[:-1]), now)

    def graphs(self, name: str, after: str, now: float) -> int:
        """Ask the leader for a graph, or for those behind one. Returns the key of the GraphsReply."""
        return self._ask(GraphsRequest(self.requests.next_number(), name, after), now)

    def queues(self, now: float) -> int:
        """Ask the leader which queues there are. Returns the key of the QueuesReply."""
        return self._ask(QueuesRequest(self.requests.next_number()), now)

    def set_queue(self, name: str, pausing: int, weight: int, now: float) -> int:
        """Ask the leader to change a queue. Returns the key of the SetQueueReply."""
        return self._ask(SetQueue(self.requests.next_number(), name, pausing, weight), now)

    def alter(self, ids: tuple[bytes, ...], change: tuple[int, str, int], now: float) -> int:
        """Ask the leader to alter these tasks. Returns the key of the AlterReply."""
        return self._ask(AlterTasks(self.requests.next_number(), ids, *change), now)

    def run_now(self, ids: tuple[bytes, ...], now: float) -> int:
        """Ask the leader to let these wait no longer. Returns the key of the RunNowReply."""
        return self._ask(RunNow(self.requests.next_number(), ids), now)

    def schedules(self, name: str, after: str, now: float) -> int:
        """Ask the leader which schedules there are. Returns the key of the SchedulesReply."""
        return self._ask(SchedulesRequest(self.requests.next_number(), name, after), now)

    def put_schedule(self, name: str, definition: bytes, now: float) -> int:
        """Ask the leader to have this schedule. Returns the key of the ScheduleReply."""
        return self._ask(PutSchedule(self.requests.next_number(), name, definition), now)

    def change_schedule(self, name: str, op: int, now: float) -> int:
        """Ask the leader to remove, pause or resume a schedule. Returns the key of the ScheduleReply."""
        return self._ask(ChangeSchedule(self.requests.next_number(), name, op), now)

    def backfill_schedule(self, name: str, from_ms: int, to_ms: int, now: float) -> int:
        """Ask the leader for the tasks of past moments of a schedule. Returns the key of the BackfillReply."""
        return self._ask(BackfillSchedule(self.requests.next_number(), name, from_ms, to_ms), now)

    def trigger_schedule(self, name: str, task_id: bytes, now: float) -> int:
        """Ask the leader to have the task of a schedule run now. Returns the key of the ScheduleReply."""
        return self._ask(TriggerSchedule(self.requests.next_number(), name, task_id), now)

    def _ask(self, request: Request, now: float, *, wanted: bool = True) -> int:
        self._begin_waiting(now)
        self.requests.add(request, wanted=wanted)
        if self._epoch is not None:
            self._epoch.ask(request, now)
        elif self._search is None:
            self.connect(now)
        elif RULES[type(request)].of_any_node:
            self._search.ask(request)
        return request.request

    def fail(self, error: Exception) -> None:
        """What the shell was doing here failed: no mistake of the user's, and nobody knows where it left off. Whatever
        is outstanding ends with this error, and the next use begins anew."""
        self._give_up(error)

    def start_over(self, open_ids: Iterable[bytes] | None, now: float) -> None:
        """The shell was interrupted somewhere in here, and has dropped every connection. Look for the leader again, as
        after the loss of one, with all that is outstanding: ``open_ids``, the tasks whose ends nobody was told of; None
        if the shell does not know. May be interrupted, and done again."""
        output, ledger, requests = self.output, self.ledger, self.requests
        told = {result[0] for result in output.results} | {task_id for task_id, _ in output.failed}
        output.outbox.clear()
        self._epoch = None
        ledger.mend(ledger.tasks if open_ids is None else open_ids, told)
        requests.mend()
        if self._search is None and not self.expects_answer:
            return
        self.failure = None
        self._search = Search(
            self._search_options,
            self._candidates,
            requests,
            output.outbox,
            now=now,
            next_round_s=now,
            timeout_s=self._search_options.failover_timeout_s,
        )
        self.tick(now)

    def close(self) -> None:
        """Drop every connection. What is outstanding stays with the shell, which fails it."""
        if self._search is not None:
            self._search.close()
        self._search = self._epoch = None
        self.ledger.clear()
        self.requests.clear()
        self._unready.forget()

    def _begin_waiting(self, now: float) -> None:
        if not self.expects_answer and self._search is not None:
            self._search.begin_waiting(now)
            if self._epoch is not None:
                self._epoch.silence.begin(now)

    # --- what happens --------------------------------------------------------------------------------------------

    def opened(self, address: str, now: float) -> None:
        """A connection came up."""
        if self._search is not None and self._epoch is None:
            self._search.opened(address)

    def lost(self, address: str, now: float) -> None:
        """A connection broke, or does not take a frame."""
        if self._epoch is not None and address == self._epoch.address:
            self._end_epoch(now)

    def refused(self, address: str, why: str, *, is_said: bool) -> None:
        """The node at this address takes connections, and not this client's. See :meth:`Search.refused`."""
        if self._search is not None:
            self._search.refused(address, why, is_said=is_said)

    def received(self, address: str, frame: bytes, now: float) -> None:
        """A frame from the connection to this address."""
        search = self._search
        if search is None or address not in search.connections:
            return
        try:
            cls, fields = codec.decode_fields(frame)
        except VersionMismatch as error:
            self._give_up(IncompatibleVersion(error.ours, error.theirs))
            return
        except ProtocolError:
            self.output.malformed_frames += 1
            return
        search.answered = True
        epoch = self._epoch
        if epoch is None:
            self._from_node(search, address, cls(*fields), now)
            return
        epoch.silence.heard(now)
        if cls is Update:  # nearly every frame; its fields do without the object
            if not epoch.on_update(now, *fields):
                self._end_epoch(now)
            return
        message = cls(*fields)
        if isinstance(message, Failure) and message.code == Refusal.KEY_REVOKED:
            self._give_up(NotAllowed(message.detail))
            return
        if not epoch.on_message(message, now):
            if isinstance(message, Redirect | Welcome):
                self._candidates.redirected(message.term, message.leader_address, now)
            self._end_epoch(now)

    def _from_node(self, search: Search, address: str, message: Message, now: float) -> None:
        if isinstance(message, Welcome):
            if search.on_welcome(message, now):
                self._attach(search, address, message, now)
        elif isinstance(message, Redirect):
            search.on_redirect(message, now)
        elif isinstance(message, StatusReply):
            self.requests.answered_by_another(message)
        elif isinstance(message, Failure) and message.code == Refusal.KEY_REVOKED:
            search.refused(address, f"says of {message.detail}", is_said=True)

    def tick(self, now: float) -> None:
        """Do what is due."""
        search, epoch = self._search, self._epoch
        if epoch is not None:
            if not epoch.tick(now, self.expects_answer):
                self._found_slow = epoch.silence.awaited_bytes >= ANNOUNCED_BYTES
                self._end_epoch(now)
        elif search is not None:
            if now >= search.gives_up_at_s:
                self._give_up(search.error(now))
            else:
                search.tick(now)

    def next_deadline(self) -> float:
        """When :meth:`tick` has something to do; math.inf if nothing is due before the next event."""
        if self._epoch is not None:
            return self._epoch.next_deadline(self.expects_answer)
        return self._search.next_deadline() if self._search is not None else math.inf

    # --- from one phase to the next ------------------------------------------------------------------------------

    def _attach(self, search: Search, address: str, welcome: Welcome, now: float) -> None:
        self.payload_limit_bytes = min(welcome.payload_limit_bytes, codec.PAYLOAD_LIMIT_MAX_BYTES)
        search.settle(address, now)
        leader = (welcome.leader_id, welcome.term)
        if leader != self._leader:
            self._leader, self._link_bytes_per_s = leader, USUAL_BYTES_PER_S
        elif self._found_slow:  # it has led all the while
            self._link_bytes_per_s = max(SLOWEST_BYTES_PER_S, self._link_bytes_per_s / SLOWER_BY)
        self._found_slow = False
        self._epoch = Epoch(
            address,
            now,
            link_bytes_per_s=self._link_bytes_per_s,
            ledger=self.ledger,
            requests=self.requests,
            output=self.output,
            unready=self._unready,
            payload_limit_bytes=self.payload_limit_bytes,
            relays=self._relays,
        )
        self._epoch.begin(now)

    def _end_epoch(self, now: float) -> None:
        """The leader is lost. Look for the next, with the calls that this one has not accepted."""
        search, epoch = self._search, self._epoch
        assert search is not None
        assert epoch is not None
        self._epoch = self.failure = None
        if epoch.proved or not self.expects_answer:
            self._search = search.successor(now)
        else:
            search.resume(epoch.address, now)
        self.ledger.requeue_sent()
        self.tick(now)

    def _give_up(self, error: Exception) -> None:
        """Everything that is outstanding fails. The next use looks for a leader again."""
        self.failure = error
        self.output.failed.extend([(task_id, error) for task_id in self.ledger.tasks])  # before the ledger forgets
        self.requests.fail(error)
        self.close()
