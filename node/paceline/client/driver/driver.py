"""What a client asks of its session, from any thread: submit calls, wait for them, cancel them, ask the cluster.

Each method takes the lock, tells the session, and sends what comes of it; who waits for an answer takes its turn at
driving the sockets (``turns.py``).

The file is long, as it has each thing that a client asks for, in a few lines: what they share is elsewhere.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TypeVar

from paceline.client.driver.background import Background
from paceline.client.driver.connections import Connections
from paceline.client.driver.discovering import Discovering
from paceline.client.driver.lifetime import Lifetime
from paceline.client.driver.resolving import Resolver, call_back
from paceline.client.driver.turns import Ready, Turns
from paceline.client.future import REFUSED, Callback, Future, FutureOfAny, Sink
from paceline.client.inputs import InputsOfCalls
from paceline.client.parents import ParentWatch
from paceline.client.session.listing import ListRequest
from paceline.client.session.requests import Reply
from paceline.client.session.sampling import Sampler, Stamps
from paceline.client.session.session import Session, SessionState
from paceline.client.session.sweep import PageRequest
from paceline.client_keys import ClientKeys
from paceline.errors import InputUnknown, UpstreamFailed
from paceline.own_cluster import in_worker
from paceline_protocol.errors import PayloadError
from paceline_protocol.inputs import has_inputs
from paceline_protocol.keyed import key_of, keyed_id
from paceline_protocol.limits import MAX_REQUEST_TASKS
from paceline_protocol.messages.client import (
    AdminReply,
    CancelState,
    DeadChanges,
    DeadTaskReply,
    DeadTasksReply,
    FindReply,
    OutputReply,
    ProgressReply,
    StatusReply,
    TaskReply,
    WaitingReply,
)
from paceline_protocol.messages.graphs import GraphsReply
from paceline_protocol.messages.live import RunNowReply, TasksReply
from paceline_protocol.messages.queues import AlterReply, QueuesReply, SetQueueReply
from paceline_protocol.messages.records import TASK_ID_BYTES, Call, Options
from paceline_protocol.messages.schedules import BackfillReply, ScheduleReply, SchedulesReply
from paceline_protocol.payload import unpack_value

if TYPE_CHECKING:
    import asyncio

PILE_CALLS: Final = 16
PILE_S = 0.002
PILE_FRAMES: Final = 64
"""While calls pile up, their submitter looks for the leader's answers after so many of them, or for so long. The last
few of a burst leave when somebody waits, or at the next tick."""
TOGETHER_CALLS: Final = 64
"""How many of a sequence of calls are taken in before another thread gets its turn."""
ID_PREFIX_BYTES: Final = 10
_SERIAL_BYTES: Final = 16 - ID_PREFIX_BYTES

ReplyT = TypeVar("ReplyT", bound=Reply)
PackedCall = tuple[str, int, bytes, Options | None]
"""(name, priority, args, options): a Call without its id."""
LEADER_FIRST_S: Final = 1.0
"""How long a status waits for the leader when other nodes have answered: an election takes less."""


class PacksAgain:
    """Takes calls that depend on results which the cluster does not have. It knows no Driver, as whoever has this, the
    thread among them, must not keep a client alive that nobody has any more."""

    def __init__(self, session: Session, connections: Connections, inputs: InputsOfCalls) -> None:
        self._session = session
        self._connections = connections
        self._inputs = inputs

    def __call__(self, call: Call, detail: str) -> Exception | None:
        """Under the lock: what this client has of the inputs by now it gives itself, and submits the call again.
        Returns why it can't."""
        try:
            again = self._inputs.packed_again(call, detail, self._session.ledger.is_accepted)
        except (InputUnknown, UpstreamFailed, PayloadError) as error:
            return error
        now = time.monotonic()
        self._session.submit(again, now)
        self._connections.flush(now)
        return None


class Driver:
    """The session, its sockets, and the threads that wait."""

    def __init__(
        self,
        session: Session,
        keys: ClientKeys,
        *,
        prompt: bool = False,
        trace_every: int = 0,
        discovery_timeout_s: float | None = None,
    ) -> None:
        self.session = session
        self._connections = Connections(session, keys)
        self._sampler = Sampler(trace_every)
        self._inputs = InputsOfCalls()
        self.resolver = Resolver(self._sampler, PacksAgain(session, self._connections, self._inputs))
        self.turns = Turns(session, self._connections, self.resolver)
        self.background = Background(session, self.turns, self.resolver)
        self._discovering = (
            None if discovery_timeout_s is None else Discovering(session, self.turns, discovery_timeout_s)
        )
        self.lifetime = Lifetime(session, self.turns, self.background)
        self.parents = ParentWatch(self.where_is) if in_worker() else None
        self.lease: object = None  # of the client: it goes when nobody has this driver any more
        self._prompt = prompt
        self._id_prefix = os.urandom(ID_PREFIX_BYTES)
        self._serial = 0

    # --- submitting ----------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Wait until the leader is found. Raises NoNodeFound, NoLeader, IncompatibleVersion, ClientClosed."""
        session, turns = self.session, self.turns

        def begin(now: float) -> None:
            self._start()
            session.connect(now)
            turns.flush(now)

        turns.change(begin)
        turns.wait_until(lambda: session.state is not SessionState.SEEKING, None)
        if session.failure is not None:
            raise session.failure.with_traceback(None)

    def _start(self) -> None:
        """Under the lock: somebody asks for something. Raises UsedWhileImporting and OutOfResources."""
        self.background.start()
        if self._discovering is not None and self.session.is_idle:
            self._discovering.begin()

    def submit(self, call: PackedCall) -> Future[Any]:
        """Send one call, or queue it behind those that are under way."""
        session, turns = self.session, self.turns
        if session.is_idle:
            self.connect()
        if not session.has_room:
            self.wait_for_room()
        turns.check_entry()
        with turns.lock:  # as turns.change() does it, which costs a little more
            if turns.unusable is not None:
                raise turns.unusable()
            turns.begin()
            now = time.monotonic()
            future = self._add(call, now)
            self.after_submit(now)
            turns.done()
        if self.resolver.ended:
            turns.run_callbacks()
        return future

    def submit_many(self, calls: Sequence[PackedCall], futures: deque[Future[Any]]) -> None:
        """Send several calls as :meth:`submit` does one, in full batches. Each future is appended before its call
        leaves: whoever is interrupted knows them all."""
        session, turns = self.session, self.turns
        if session.is_idle:
            self.connect()
        count = 0

        def add_some(now: float) -> None:
            # Some at a time: other threads get their turn, and a batch that is full leaves.
            nonlocal count
            for call in calls[count : count + TOGETHER_CALLS]:
                if not session.has_room:
                    break
                count += 1
                self._add(call, now, futures)

        def send(now: float) -> None:
            self.after_submit(now)
            if session.ledger.queue:
                turns.pump()

        while count < len(calls):
            self.wait_for_room()
            turns.change(add_some)
        turns.change(send)

    def _add(self, call: PackedCall, now: float, among: deque[Future[Any]] | None = None) -> Future[Any]:
        self._serial += 1
        task_id = self._id_prefix + self._serial.to_bytes(_SERIAL_BYTES)
        if call[3] and (key := key_of(call[3])):
            task_id = keyed_id(call[0], key)
            open_future = self.resolver.open_future(task_id)
            if open_future is not None:
                return open_future
        future: Future[Any] = Future(self, task_id, call[0])
        if among is not None:
            among.append(future)
        self.resolver.add(future)
        if call[3] and has_inputs(call[3]):
            self._inputs.keep(task_id, call, self.session.ledger.is_accepted)
        if self._serial == self._sampler.next_serial:
            call = (*call[:3], self._sampler.sample(task_id, call[3], time.monotonic_ns()))
        self.session.submit((task_id, *call), now, prompt=self._prompt)
        return future

    def ended(self, name: str, error: Exception) -> Future[Any]:
        """The future of a call that is not submitted, as it is known how it would end."""
        future: Future[Any] = Future(self, os.urandom(TASK_ID_BYTES), name)
        future.resolve(REFUSED, error)
        return future

    def future_for(self, call: PackedCall) -> Future[Any]:
        """The future of a call that is to be submitted with others, so that those may depend on it; of an open task
        with the same key that of this. None of these calls is sampled."""
        key = key_of(call[3]) if call[3] else ""
        task_id = keyed_id(call[0], key) if key else os.urandom(TASK_ID_BYTES)
        return (self.resolver.open_future(task_id) if key else None) or Future(self, task_id, call[0])

    def submit_together(self, calls: Sequence[tuple[Future[Any], PackedCall]]) -> None:
        """Send calls of which the futures are there already, in as few Submits as they fit into."""
        if calls and self.session.is_idle:
            self.connect()
        count = 0

        def add_some(now: float) -> None:
            nonlocal count
            some: list[Call] = []
            for future, call in calls[count : count + MAX_REQUEST_TASKS]:
                if not self.session.has_room:
                    break
                count += 1
                if self.resolver.open_future(future.task_id) is not None:  # of the same key
                    continue
                self.resolver.add(future)
                if call[3] and has_inputs(call[3]):
                    self._inputs.keep(future.task_id, call, self.session.ledger.is_accepted)
                some.append((future.task_id, *call))
            self.session.submit_together(some, now, prompt=self._prompt)
            self.after_submit(now)

        while count < len(calls):
            self.wait_for_room()
            self.turns.change(add_some)

    def submit_as(self, task_id: bytes, call: PackedCall) -> None:
        """Send a call without a future, under an id that the caller chose and that no outstanding task has."""
        self.wait_for_room()

        def add(now: float) -> None:
            self.session.submit((task_id, *call), now, prompt=self._prompt)
            self.after_submit(now)

        self.turns.change(add)

    def read(self, task_id: bytes, *, waits: bool) -> Future[Any]:
        """The future of a task that anybody may have submitted. ``waits``: until the leader has said whether the task
        has ended, so that the future tells."""
        if self.session.is_idle:
            self.connect()
        self.wait_for_room()

        def add(now: float) -> Future[Any]:
            future = self.resolver.made_again(task_id)
            if future is None:
                self.session.read(task_id, now)
                future = FutureOfAny(self, task_id, task_id.hex())
                self.resolver.add_made_again(future)
            self.turns.flush(now)
            return future

        future = self.turns.change(add)
        if waits:
            self._learn_state(future)
        return future

    def _learn_state(self, future: Future[Any]) -> None:
        """Wait until the leader, asked behind what was asked of the future's task before, has said where the task is;
        if it has ended, until the future has."""
        session, requests = self.session, self.session.requests
        number = self._send(lambda now: session.where_is(future.task_id, now))
        try:
            self.turns.wait_until(lambda: not requests.is_open(number) or future.done(), None)
            reply = requests.replies.get(number)
            if reply is None and not future.done():
                self._check_failure(number)
        finally:
            self._forget(number)
        if isinstance(reply, TaskReply):
            where = unpack_value(reply.body)
            future.name = where["name"] or future.name
            # A call of this client's own that the leader was not ready to take is unknown there, and has not ended.
            may_come = where["state"] == "unknown" and not session.ledger.is_accepted(future.task_id)
            if not where["is_open"] and not may_come:
                self.turns.wait_until(future.done, None)

    def after_submit(self, now: float) -> None:
        """Under the lock: send what is to be sent, and see to it that what piles up leaves."""
        session, turns = self.session, self.turns
        if session.output.outbox:
            self._connections.flush(now)
        queued = len(session.ledger.queue)
        if turns.asleep or (queued and queued % PILE_CALLS == 0):
            # The send may have taken the edge that the sleeping driver waits for; and what piles up leaves when the
            # leader's answer is read, which costs more than a call: not for each.
            turns.pump()
        elif queued and now >= turns.read_at_s + PILE_S:
            # Calls that come one by one, and nobody reads: all that has come, or answers would come faster than that.
            for _ in range(PILE_FRAMES):
                if not turns.pump():
                    break
        self.background.used(now)

    def wait_for_room(self) -> None:
        """Wait until the session takes another call."""
        if not self.session.has_room:
            self.turns.wait_until(lambda: self.session.has_room, None)

    # --- futures -------------------------------------------------------------------------------------------------

    def wait_until(self, ready: Ready, timeout_s: float | None, future: Future[Any] | None = None) -> bool:
        """See :meth:`Turns.wait_until`. ``future``: one that is waited for."""
        if self.parents is None or future is None:
            return self.turns.wait_until(ready, timeout_s)
        return self.parents.wait(self.turns.wait_until, ready, timeout_s, future)

    def watch(self, future: Future[Any], loop: asyncio.AbstractEventLoop) -> asyncio.TimerHandle | None:
        """See :meth:`ParentWatch.watch`; None if this is no worker."""
        return None if self.parents is None else self.parents.watch(future, loop)

    def add_done_callback(self, future: Future[Any], callback: Callback) -> None:
        """Call back when the future has ended, at once if it has."""
        turns = self.turns
        if not future.done():
            self.background.check("a callback or an await", "wait with result()")

        def add(_: float) -> bool:
            waits = self.resolver.add_callback(future, callback)
            if waits and not turns.has_driver:
                turns.undriven.set()
            return waits

        if future.done() or not turns.change(add):
            call_back(callback, future)

    def remove_done_callback(self, future: Future[Any], callback: Callback) -> int:
        """Remove a callback. Returns how often it had been added and not called yet."""
        if self.turns.unusable is not None:  # all were called, or nobody will
            return 0
        return self.turns.change(lambda _: self.resolver.remove_callback(future, callback))

    def collect(self, futures: Iterable[Future[Any]], sink: Sink) -> None:
        """Have the futures collected as they end, at once those that have."""
        waiting: list[Future[Any]] = []
        for future in futures:
            if future.done():
                sink.ended.append(future)
            else:
                waiting.append(future)

        def collect(_: float) -> None:
            for future in waiting:
                future.collect_in(sink)

        if waiting:
            self.turns.change(collect)

    def wait_accepted(self, future: Future[Any], timeout_s: float | None) -> bool:
        """Wait until the cluster has accepted the task, or it has ended. False: the timeout passed first."""
        session, turns, task_id = self.session, self.turns, future.task_id

        def press(now: float) -> None:
            session.press(task_id, now)
            turns.flush(now)

        turns.change(press)
        return turns.wait_until(lambda: future.done() or session.ledger.is_accepted(task_id), timeout_s)

    def cancel(self, future: Future[Any], timeout_s: float) -> bool:
        """Ask the leader to cancel a task, and wait for its end if it is asked to stop. Returns whether it is
        cancelled, as far as is known. Raises TimeoutError if there is no answer."""
        session = self.session
        number = self._send(lambda now: session.cancel((future.task_id,), now))
        requests = session.requests
        try:
            self.turns.wait_until(lambda: not requests.is_open(number) or future.done(), timeout_s)
            states = requests.cancel_states(number)
            if states is None and not future.done():
                self._check_failure(number)
        finally:
            self._leave(number)
        if states is None and not future.done():
            raise TimeoutError(f"the request to cancel task {future.name} was not answered within {timeout_s} s")
        return states is not None and states.get(future.task_id) == CancelState.CANCELLED

    def abandon(self, futures: Iterable[Future[Any]]) -> None:
        """Cancel, as nobody wants the results any more. Waits for nothing, not even for the lock."""
        ids = tuple(future.task_id for future in futures if not future.done())
        if ids and self.turns.unusable is None:
            self.turns.abandon(ids)

    # --- questions to the cluster --------------------------------------------------------------------------------

    def status(self, timeout_s: float, about: tuple[tuple[str, str], ...]) -> bytes | None:
        """The packed status of the leader; that of any node if the leader has not answered within LEADER_FIRST_S. None:
        no answer in time. Raises why the search for a leader was given up, if no node had answered."""
        session, requests = self.session, self.session.requests
        number = self._send(lambda now: session.status(now, about))
        first_s = min(timeout_s, LEADER_FIRST_S)
        try:
            self.turns.wait_until(lambda: not requests.is_open(number), first_s)
            self.turns.wait_until(
                lambda: not requests.is_open(number) or number in requests.second_best, timeout_s - first_s
            )
            reply = requests.replies.get(number) or requests.second_best.get(number)
            if reply is None:
                self._check_failure(number)
        finally:
            self._forget(number)
        return reply.body if isinstance(reply, StatusReply) else None

    def admin(self, op: int, argument: str, timeout_s: float) -> tuple[bool, str] | None:
        """(done, detail) of a change of the cluster. None: no answer in time."""
        reply = self._answer(AdminReply, lambda now: self.session.admin(op, argument, now), timeout_s)
        return None if reply is None else (reply.done, reply.detail)

    def where_is(self, task_id: bytes, timeout_s: float) -> bytes | None:
        """The packed answer of the leader. None: no answer in time."""
        reply = self._answer(TaskReply, lambda now: self.session.where_is(task_id, now), timeout_s)
        return None if reply is None else reply.body

    def progress(self, task_id: bytes, timeout_s: float) -> bytes | None:
        """The packed answer of the leader. None: no answer in time."""
        reply = self._answer(ProgressReply, lambda now: self.session.progress(task_id, now), timeout_s)
        return None if reply is None else reply.body

    def output_of(self, task_id: bytes, timeout_s: float) -> OutputReply | None:
        """The answer of the leader. None: no answer in time."""
        return self._answer(OutputReply, lambda now: self.session.output_of(task_id, now), timeout_s)

    def waiting(self, name: str, skip: int, timeout_s: float) -> bytes | None:
        """The packed answer of the leader. None: no answer in time."""
        reply = self._answer(WaitingReply, lambda now: self.session.waiting(name, skip, now), timeout_s)
        return None if reply is None else reply.body

    def dead_tasks(self, name: str, error: str, skip: int, timeout_s: float) -> bytes | None:
        """The packed answer of the leader. None: no answer in time."""
        reply = self._answer(DeadTasksReply, lambda now: self.session.dead_tasks(name, error, skip, now), timeout_s)
        return None if reply is None else reply.body

    def dead_task(self, task_id: bytes, timeout_s: float) -> DeadTaskReply | None:
        """The answer of the leader. None: no answer in time."""
        return self._answer(DeadTaskReply, lambda now: self.session.dead_task(task_id, now), timeout_s)

    def requeue(self, ids: tuple[bytes, ...], args: bytes, timeout_s: float) -> DeadChanges | None:
        """What became of each. None: no answer in time."""
        return self._answer(DeadChanges, lambda now: self.session.requeue(ids, args, now), timeout_s)

    def discard(self, ids: tuple[bytes, ...], timeout_s: float) -> DeadChanges | None:
        """What became of each. None: no answer in time."""
        return self._answer(DeadChanges, lambda now: self.session.discard(ids, now), timeout_s)

    def find(self, page: PageRequest, timeout_s: float) -> bytes | None:
        """The packed answer of the leader. None: no answer in time."""
        reply = self._answer(FindReply, lambda now: self.session.find(page, now), timeout_s)
        return None if reply is None else reply.body

    def live_tasks(self, page: ListRequest, timeout_s: float) -> bytes | None:
        """The packed answer of the leader. None: no answer in time."""
        reply = self._answer(TasksReply, lambda now: self.session.live_tasks(page, now), timeout_s)
        return None if reply is None else reply.body

    def queues(self, timeout_s: float) -> bytes | None:
        """The packed answer of the leader. None: no answer in time."""
        reply = self._answer(QueuesReply, self.session.queues, timeout_s)
        return None if reply is None else reply.body

    def graphs(self, name: str, after: str, timeout_s: float) -> bytes | None:
        """The packed answer of the leader. None: no answer in time."""
        reply = self._answer(GraphsReply, lambda now: self.session.graphs(name, after, now), timeout_s)
        return None if reply is None else reply.body

    def set_queue(self, name: str, pausing: int, weight: int, timeout_s: float) -> SetQueueReply | None:
        """What is the case now. None: no answer in time."""
        return self._answer(SetQueueReply, lambda now: self.session.set_queue(name, pausing, weight, now), timeout_s)

    def alter(self, ids: tuple[bytes, ...], change: tuple[int, str, int], timeout_s: float) -> AlterReply | None:
        """What became of each. None: no answer in time."""
        return self._answer(AlterReply, lambda now: self.session.alter(ids, change, now), timeout_s)

    def run_now(self, ids: tuple[bytes, ...], timeout_s: float) -> RunNowReply | None:
        """What became of each. None: no answer in time."""
        return self._answer(RunNowReply, lambda now: self.session.run_now(ids, now), timeout_s)

    def schedules(self, name: str, after: str, timeout_s: float) -> bytes | None:
        """The packed answer of the leader. None: no answer in time."""
        reply = self._answer(SchedulesReply, lambda now: self.session.schedules(name, after, now), timeout_s)
        return None if reply is None else reply.body

    def put_schedule(self, name: str, definition: bytes, timeout_s: float) -> ScheduleReply | None:
        """What came of it. None: no answer in time."""
        return self._answer(ScheduleReply, lambda now: self.session.put_schedule(name, definition, now), timeout_s)

    def change_schedule(self, name: str, op: int, timeout_s: float) -> ScheduleReply | None:
        """What came of it. None: no answer in time."""
        return self._answer(ScheduleReply, lambda now: self.session.change_schedule(name, op, now), timeout_s)

    def backfill_schedule(self, name: str, from_ms: int, to_ms: int, timeout_s: float) -> BackfillReply | None:
        """What came of it. None: no answer in time."""
        return self._answer(
            BackfillReply, lambda now: self.session.backfill_schedule(name, from_ms, to_ms, now), timeout_s
        )

    def trigger_schedule(self, name: str, task_id: bytes, timeout_s: float) -> ScheduleReply | None:
        """What came of it. None: no answer in time."""
        return self._answer(ScheduleReply, lambda now: self.session.trigger_schedule(name, task_id, now), timeout_s)

    def cancel_tasks(self, ids: tuple[bytes, ...], timeout_s: float) -> dict[bytes, int] | None:
        """What became of each (CancelState), whoever submitted them. None: no answer in time."""
        session, requests = self.session, self.session.requests
        number = self._send(lambda now: session.cancel(ids, now))
        try:
            self.turns.wait_until(
                lambda: not requests.is_open(number) or requests.cancel_states(number) is not None, timeout_s
            )
            states = requests.cancel_states(number)
            if states is None:
                self._check_failure(number)
            return states
        finally:
            self._leave(number)

    def _answer(self, kind: type[ReplyT], request: Callable[[float], int], timeout_s: float) -> ReplyT | None:
        """The answer to a request, which is of this kind, or None after the timeout. ``request(now)`` makes it, and
        returns its number. Raises why the search for a leader was given up, if that happened meanwhile."""
        number = self._send(request)
        requests = self.session.requests
        try:
            self.turns.wait_until(lambda: not requests.is_open(number), timeout_s)
            reply = requests.replies.get(number)
            if reply is None:
                self._check_failure(number)
            return reply if isinstance(reply, kind) else None
        finally:
            self._forget(number)

    def _check_failure(self, number: int) -> None:
        """Raises why a request will not be answered, though others may have begun a search since."""
        error = self.session.requests.failures.get(number)
        if error is not None:
            raise error.with_traceback(None)
        self.turns.check_usable()

    def _send(self, request: Callable[[float], int]) -> int:
        def send(now: float) -> int:
            self._start()
            number = request(now)
            self.turns.flush(now)
            return number

        return self.turns.change(send)

    def _forget(self, number: int) -> None:
        self.turns.change_if_usable(lambda _: self.session.requests.forget(number))

    def _leave(self, number: int) -> None:
        self.turns.change_if_usable(lambda _: self.session.requests.leave(number))

    def take_traces(self) -> dict[bytes, Stamps]:
        """Take the stamps of the sampled calls of which all have come, by task id."""

        def take() -> dict[bytes, Stamps]:
            traces = self.session.output.traces
            self._sampler.tell(traces)
            traces.clear()
            return self._sampler.take()

        if self.turns.unusable is not None:  # nobody changes them any more
            return take()
        return self.turns.change(lambda _: take())
