"""Who drives the sockets: the shell around the session, shared by all threads that use one client.

One lock guards the session, the sockets and the futures. The rules:

- **The caller that waits drives.** A thread that waits for something and finds no driver becomes the driver: it reads
  the sockets and resolves futures until what it waits for has come. No thread hands anything to another on this path.
  It sleeps outside the lock, so that others can submit meanwhile.
- Other waiting threads sleep on a lock of their own. Whoever changes anything looks whether one of them is ready, and
  the driver, when it is done, makes one of them the next driver.
- A background thread keeps up the connection when no caller does, every ``TICK_S``. It drives promptly only while
  somebody counts on it: a callback, an ``await``. A loop of submit and result does not wake it.
- Callbacks run outside the lock, by a thread that is not the driver at that moment: they may wait for other futures.

Interrupts: Ctrl-C may strike while a frame is processed. The session notes an end before it forgets a task, and a frame
that was read and not processed shows up as a gap in the Updates, which makes the session ask again.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from paceline.client.driver.connections import Connections
from paceline.client.future import PENDING, REFUSED, Future
from paceline.client.session.sampling import Sampler, Stamps
from paceline.client.session.session import Session, State
from paceline.errors import ClientClosed
from paceline.security import CurveKeys
from paceline_protocol.messages import CancelState, Options

TICK_S = 0.02
IDLE_TICK_S = 0.5
IDLE_AFTER_S = 1.0
SLEEP_LIMIT_S = 0.05
PILE_CALLS = 16
PILE_S = 0.002
PILE_FRAMES = 64
"""While calls pile up, their submitter looks for the leader's answers after so many of them, or for so long. The last
few of a burst leave when somebody waits, or at the next tick."""
TOGETHER_CALLS = 64
"""How many of a sequence of calls are taken in before another thread gets its turn."""
THREAD_END_LIMIT_S = 1.0
ID_PREFIX_BYTES = 10

_IDLE = State.IDLE  # looked up for each call, where a global costs less than a member of an Enum
_logger = logging.getLogger("paceline.client")
Ready = Callable[[], object]
PackedCall = tuple[str, int, bytes, Options | None]
"""(name, priority, args, options): a Call without its id."""
ACCEPTED = PENDING
News = tuple[bytes, int, bytes | Exception]
"""(task id, state, payload) for a relay: ACCEPTED, how the task ended (TaskEnd), or REFUSED with the exception."""


class _Waiter:
    __slots__ = ("lock", "ready")

    def __init__(self, ready: Ready) -> None:
        self.ready = ready
        self.lock = threading.Lock()
        self.lock.acquire()


class Driver:
    """The session, its sockets, and the threads that wait."""

    def __init__(self, session: Session, keys: CurveKeys | None, *, prompt: bool = False, trace_every: int = 0) -> None:
        self.session = session
        self.unusable: Callable[[], Exception] | None = None  # closed, or inherited through a fork
        self._connections = Connections(session, keys)
        self._prompt = prompt
        self._lock = threading.Lock()
        self._futures: dict[bytes, Future[Any]] = {}
        self._id_prefix = os.urandom(ID_PREFIX_BYTES)
        self._serial = 0
        self._waiting: deque[_Waiter] = deque()
        self._driver_ready: Ready | None = None  # what the driver waits for; None: nobody drives
        self._asleep = False  # the driver sleeps on the sockets
        self._ended: deque[Future[Any]] = deque()  # their callbacks are due
        self._tick_at_s = 0.0
        self._read_at_s = 0.0  # when the sockets were looked at last
        self._sampler = Sampler(trace_every)
        self.news: deque[News] = deque()  # for a relay
        self._on_news: Callable[[], object] | None = None
        # The background thread.
        self._eager = 0  # unresolved futures with callbacks
        self._background: threading.Thread | None = None
        self._thread_wake = threading.Event()
        self._thread_idle = False
        self._used_at_s = 0.0

    # --- submitting ----------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Wait until the leader is found. Raises NoNodeFound, NoLeader, IncompatibleVersion, ClientClosed."""
        session = self.session
        with self._lock:
            self._check_usable()
            self._start_thread()
            now = time.monotonic()
            session.connect(now)
            self._connections.flush(now)
        self.wait_until(lambda: session.state is not State.SEEKING, None)
        if session.failure is not None:
            raise session.failure.with_traceback(None)

    def submit(self, call: PackedCall) -> Future[Any]:
        """Send one call, or queue it behind those that are under way."""
        session = self.session
        if session.state is _IDLE:
            self.connect()
        if not session.has_room:
            self._wait_for_room()
        with self._lock:
            if self.unusable is not None:
                raise self.unusable()
            now = time.monotonic()
            future = self._add(call, now)
            self._after_submit(now)
        if self._ended:
            self._run_callbacks()
        return future

    def submit_many(self, calls: Sequence[PackedCall]) -> list[Future[Any]]:
        """The same for several, in full batches."""
        session = self.session
        if session.state is State.IDLE:
            self.connect()
        futures: list[Future[Any]] = []
        while len(futures) < len(calls):
            self._wait_for_room()
            with self._lock:
                self._check_usable()
                now = time.monotonic()
                # Some at a time: other threads get their turn, and a batch that is full leaves.
                for call in calls[len(futures) : len(futures) + TOGETHER_CALLS]:
                    if not session.has_room:
                        break
                    futures.append(self._add(call, now))
        with self._lock:
            self._after_submit(time.monotonic())
            if session.queued:
                self._pump()
        self._run_callbacks()
        return futures

    def _add(self, call: PackedCall, now: float) -> Future[Any]:
        self._serial += 1
        task_id = self._id_prefix + self._serial.to_bytes(16 - ID_PREFIX_BYTES)
        future: Future[Any] = Future(self, task_id, call[0])
        self._futures[task_id] = future
        if self._serial == self._sampler.next_serial:
            call = (*call[:3], self._sampler.sample(task_id, call[3], time.monotonic_ns()))
        self.session.submit((task_id, *call), now, prompt=self._prompt)
        return future

    def relay(self, on_news: Callable[[], object]) -> None:
        """From now on what becomes of tasks goes to :attr:`news`, and ``on_news()`` is called under the lock when there
        is some: it may wake a thread, and nothing else. The background thread drives at all times."""
        with self._lock:
            self._check_usable()
            self._on_news = on_news
            self._eager += 1  # never taken back
            self._start_thread()
            self._thread_wake.set()

    def submit_as(self, task_id: bytes, call: PackedCall) -> None:
        """For a relay: send a call under an id of the caller's, of whom no task with this id is outstanding."""
        session = self.session
        if not session.has_room:
            self._wait_for_room()
        with self._lock:
            self._check_usable()
            now = time.monotonic()
            session.submit((task_id, *call), now, prompt=self._prompt)
            self._after_submit(now)

    def ask_again(self, ids: Iterable[bytes]) -> None:
        """For a relay: have the ends of these tasks told here."""
        with self._lock:
            if self.unusable is None:
                now = time.monotonic()
                self.session.ask_again(ids, now)
                self._connections.flush(now)
                if self._asleep:
                    self._pump()

    def look_up(self, task_id: bytes) -> None:
        """For a relay: have the end of this task told here, if the cluster has it."""
        with self._lock:
            self._check_usable()
            now = time.monotonic()
            self.session.look_up(task_id, now)
            self._connections.flush(now)
            if self._asleep:
                self._pump()

    def release(self, ids: Iterable[bytes]) -> None:
        """For a relay: the cluster may forget the results of these tasks."""
        with self._lock:
            if self.unusable is None:
                self.session.release(ids, time.monotonic())

    def _after_submit(self, now: float) -> None:
        self._used_at_s = now
        session = self.session
        if session.outbox:
            self._connections.flush(now)
        queued = session.queued
        if self._asleep or (queued and queued % PILE_CALLS == 0):
            # The send may have taken the edge that the sleeping driver waits for; and what piles up leaves when the
            # leader's answer is read, which costs more than a call: not for each.
            self._pump()
        elif queued and now >= self._read_at_s + PILE_S:
            # Calls that come one by one, and nobody reads: all that has come, or answers would come faster than that.
            for _ in range(PILE_FRAMES):
                if not self._pump():
                    break
        if self._thread_idle:
            self._thread_idle = False
            self._thread_wake.set()

    def _wait_for_room(self) -> None:
        if not self.session.has_room:
            self.wait_until(lambda: self.session.has_room, None)

    # --- waiting -------------------------------------------------------------------------------------------------

    def wait_until(self, ready: Ready, timeout_s: float | None) -> bool:
        """Drive, or sleep while another drives, until ``ready()`` or the timeout. False: the timeout.

        ``ready`` is called under the lock. It must become true when the client is closed.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            with self._lock:
                if self.unusable is not None:
                    raise self.unusable()
                if self._driver_ready is None:
                    done = self._drive(ready, deadline_s)
                else:
                    if not ready():
                        self._wait_turn(ready, deadline_s)
                    done = bool(ready())
            if self._ended:
                self._run_callbacks()
            if done:
                return True
            if deadline_s is not None and time.monotonic() >= deadline_s:
                return False

    def _drive(self, ready: Ready, deadline_s: float | None) -> bool:
        """Called and left with the lock held. True: ``ready()``. False: the timeout, or callbacks are due, which must
        not run in a driver."""
        self._driver_ready = ready
        try:
            while True:
                more = self._pump()
                if ready():
                    return True
                if self._ended:
                    return False
                if more:
                    continue
                now = time.monotonic()
                if deadline_s is not None and now >= deadline_s:
                    return False
                until_s = min(self.session.next_deadline(), now + SLEEP_LIMIT_S)
                self._sleep(max(0.0, (until_s if deadline_s is None else min(until_s, deadline_s)) - now))
        finally:
            self._driver_ready = None
            if self.unusable is not None:
                self._connections.close_pipe()  # which close() left open for this sleeper
            if self._waiting or self._eager:
                self._hand_on()

    def _sleep(self, timeout_s: float) -> None:
        self._asleep = True
        self._lock.release()
        try:
            self._connections.sleep(timeout_s)
        finally:
            self._lock.acquire()
            self._asleep = False

    def _hand_on(self) -> None:
        """Make a waiting thread the driver, or tell the background thread that nobody is."""
        if self._waiting:
            self._waiting.popleft().lock.release()
        elif self._eager:
            self._thread_wake.set()

    def _wait_turn(self, ready: Ready, deadline_s: float | None) -> None:
        """Sleep until what is waited for has come, or until it is this thread's turn to drive."""
        waiter = _Waiter(ready)
        self._waiting.append(waiter)
        self._lock.release()
        try:
            waiter.lock.acquire(timeout=-1 if deadline_s is None else max(0.0, deadline_s - time.monotonic()))
        finally:
            self._lock.acquire()
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif self._driver_ready is None and (
                ready() or (deadline_s is not None and time.monotonic() >= deadline_s)
            ):
                self._hand_on()  # this thread may have been meant to drive, and has no reason to

    def _pump(self) -> bool:
        """One turn, under the lock: read, do what is due, send, resolve. True if there may be more to read."""
        session, now = self.session, time.monotonic()
        self._read_at_s = now
        more = self._connections.deliver(now)
        if now >= self._tick_at_s and not more:
            self._tick_at_s = now + TICK_S
            session.tick(now)
            if session.outbox:
                self._connections.flush(now)
                more = True
        if session.results or session.failed or session.accepted:
            self._resolve()
        if self._waiting:
            self._wake_ready()
        if self._asleep and (self._connections.changed or more or self._ended or self._is_driver_ready()):
            self._connections.interrupt()
        self._connections.changed = False
        return more

    def _is_driver_ready(self) -> bool:
        return self._driver_ready is not None and bool(self._driver_ready())

    def _wake_ready(self) -> None:
        for waiter in [waiter for waiter in self._waiting if waiter.ready()]:
            self._waiting.remove(waiter)
            waiter.lock.release()

    # --- resolving -----------------------------------------------------------------------------------------------

    def _resolve(self) -> None:
        session = self.session
        if self._on_news is not None:
            self._pass_on(self._on_news)
            return
        for task_id, state, payload in session.results:
            self._end(task_id, state, payload)
        session.results.clear()
        if session.failed:
            for task_id, error in session.failed:
                self._end(task_id, REFUSED, error)
            session.failed.clear()

    def _pass_on(self, on_news: Callable[[], object]) -> None:
        session, news = self.session, self.news
        news.extend((task_id, ACCEPTED, b"") for task_id in session.accepted)
        news.extend(session.results)
        news.extend((task_id, REFUSED, error) for task_id, error in session.failed)
        session.accepted.clear()
        session.results.clear()
        session.failed.clear()
        on_news()

    def _end(self, task_id: bytes, state: int, payload: bytes | Exception) -> None:
        future = self._futures.get(task_id)
        if future is None:
            return
        sampled = self._sampler.under_way
        if sampled and task_id in sampled:
            self._sampler.came_back(task_id, time.monotonic_ns())
        future._payload = payload
        future._state = state
        if future._sinks is not None:
            for sink in future._sinks:
                sink.append(future)
            future._sinks = None
        if future._callbacks is not None:
            self._eager -= 1
            self._ended.append(future)
        self._futures.pop(task_id, None)

    def _run_callbacks(self) -> None:
        while self._ended:
            try:
                future = self._ended.popleft()
            except IndexError:
                return  # another thread took it
            callbacks, future._callbacks = future._callbacks or [], None
            for callback in callbacks:
                self._call_back(callback, future)

    def _call_back(self, callback: Callable[[Future[Any]], object], future: Future[Any]) -> None:
        try:
            callback(future)
        except Exception:
            _logger.exception("a callback of %r failed", future)

    # --- what futures ask ----------------------------------------------------------------------------------------

    def add_done_callback(self, future: Future[Any], callback: Callable[[Future[Any]], object]) -> None:
        with self._lock:
            if future._state == PENDING:
                if future._callbacks is None:
                    future._callbacks = []
                    self._eager += 1
                    if self._driver_ready is None:
                        self._thread_wake.set()
                future._callbacks.append(callback)
                return
        self._call_back(callback, future)

    def collect(self, future: Future[Any], sink: deque[Future[Any]]) -> None:
        """Append the future to ``sink`` when it ends, at once if it has."""
        with self._lock:
            if future._state != PENDING:
                sink.append(future)
            elif future._sinks is None:
                future._sinks = [sink]
            else:
                future._sinks.append(sink)

    def wait_accepted(self, future: Future[Any], timeout_s: float | None) -> bool:
        session, task_id = self.session, future.task_id
        if future._state != PENDING:
            return True
        with self._lock:
            self._check_usable()
            now = time.monotonic()
            session.press(task_id, now)
            self._connections.flush(now)
        return self.wait_until(lambda: future._state != PENDING or session.is_accepted(task_id), timeout_s)

    def cancel(self, future: Future[Any], timeout_s: float) -> bool:
        if future._state != PENDING:
            return future.cancelled()
        session = self.session
        request = self._request(lambda now: session.cancel((future.task_id,), now))
        replies = session.cancel_replies
        try:
            if not self.wait_until(lambda: request in replies or future._state != PENDING, timeout_s):
                raise TimeoutError(f"the request to cancel task {future.name} was not answered within {timeout_s} s")
            states = dict(replies.get(request, ()))
        finally:
            with self._lock:
                session.forget_request(request)
        if future._state == REFUSED:
            raise future._error()
        return states.get(future.task_id) == CancelState.CANCELLED or future.cancelled()

    def abandon(self, futures: Iterable[Future[Any]]) -> None:
        """Cancel without waiting for the answer, as nobody wants the results any more."""
        ids = tuple(future.task_id for future in futures if future._state == PENDING)
        if ids and self.unusable is None:
            request = self._request(lambda now: self.session.cancel(ids, now))
            with self._lock:
                self.session.forget_request(request)

    def status(self, timeout_s: float, about: tuple[tuple[str, str], ...]) -> bytes | None:
        """The packed status of the leader, or of any node while there is none. None: no answer in time."""
        session = self.session
        request = self._request(lambda now: session.status(now, about))
        replies = session.status_replies
        failed = session.failure
        try:
            self.wait_until(lambda: request in replies or session.failure is not failed, timeout_s)
            if request not in replies and session.failure is not None:
                raise session.failure.with_traceback(None)
            return replies.get(request)
        finally:
            with self._lock:
                session.forget_request(request)

    def admin(self, op: int, argument: str, timeout_s: float) -> tuple[bool, str] | None:
        """(done, detail) of a change of the cluster. None: no answer in time."""
        session = self.session
        request = self._request(lambda now: session.admin(op, argument, now))
        replies = session.admin_replies
        failed = session.failure
        try:
            self.wait_until(lambda: request in replies or session.failure is not failed, timeout_s)
            if request not in replies and session.failure is not None:
                raise session.failure.with_traceback(None)
            return replies.get(request)
        finally:
            with self._lock:
                session.forget_request(request)

    def take_traces(self) -> dict[bytes, Stamps]:
        """By task id, of the sampled calls of which everything is here."""
        with self._lock:
            self._sampler.tell(self.session.traces)
            self.session.traces.clear()
            return self._sampler.take()

    def _request(self, ask: Callable[[float], int]) -> int:
        with self._lock:
            self._check_usable()
            self._start_thread()
            now = time.monotonic()
            request = ask(now)
            self._connections.flush(now)
            if self._asleep:
                self._pump()
        self._run_callbacks()
        return request

    # --- the background thread -----------------------------------------------------------------------------------

    def add_addresses(self, addresses: Iterable[str]) -> None:
        """More nodes to try, from any thread."""
        with self._lock:
            if self.unusable is None:
                now = time.monotonic()
                self.session.add_addresses(addresses, now)
                self._connections.flush(now)
                self._pump()
        self._run_callbacks()

    def _start_thread(self) -> None:
        if self._background is None:
            self._background = threading.Thread(target=self._maintain, name="paceline-client", daemon=True)
            self._background.start()

    def _maintain(self) -> None:
        while self.unusable is None:
            self._thread_wake.wait(self._rest_s())
            self._thread_wake.clear()
            try:
                if self._eager:
                    self.wait_until(lambda: not self._eager or self.unusable is not None, None)
                elif self._driver_ready is None:
                    self.wait_until(lambda: True, 0)
            except ClientClosed:
                return

    def _rest_s(self) -> float:
        with self._lock:
            busy = self.session.expects_answer or time.monotonic() - self._used_at_s < IDLE_AFTER_S
            self._thread_idle = not busy and self.session.state is not State.SEEKING
            return IDLE_TICK_S if self._thread_idle else TICK_S

    # --- the end -------------------------------------------------------------------------------------------------

    def close(self, timeout_s: float) -> None:
        """Wait until what was submitted is accepted, at most so long; then fail what has not ended, and close."""
        session = self.session
        with self._lock:
            if self.unusable is not None:
                return
            now = time.monotonic()
            session.press_all(now)
            self._connections.flush(now)
        try:
            if session.has_unaccepted and timeout_s > 0:
                self.wait_until(lambda: not session.has_unaccepted or self.unusable is not None, timeout_s)
        finally:
            self._shut_down()

    def _shut_down(self) -> None:
        with self._lock:
            if self.unusable is not None:
                return
            self.unusable = ClientClosed
            for task_id in list(self._futures):
                self._end(task_id, REFUSED, ClientClosed())
            self.session.close()
            self.session.failure = ClientClosed()
            for waiter in self._waiting:
                waiter.lock.release()
            self._waiting.clear()
            self._connections.interrupt()
            self._thread_wake.set()
        if self._background is not None and self._background is not threading.current_thread():
            self._background.join(THREAD_END_LIMIT_S)  # it may be in a callback that takes long
        with self._lock:
            self._connections.close()
            if self._driver_ready is None:
                self._connections.close_pipe()
        self._run_callbacks()

    def disown(self, error: Callable[[], Exception]) -> None:
        """In a forked child: everything here belongs to the parent, even the lock."""
        self.unusable = error
        self._lock = threading.Lock()
        self._background = None

    def _check_usable(self) -> None:
        if self.unusable is not None:
            raise self.unusable()
