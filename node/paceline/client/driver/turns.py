"""Who drives the sockets: the threads that use one client take turns.

One lock guards the session, the sockets and the futures. The rules:

- **The caller that waits drives.** A thread that waits for something and finds no driver becomes the driver: it reads
  the sockets and resolves futures until what it waits for has come. No thread hands anything to another on this path.
  It sleeps outside the lock, so that others can submit meanwhile.
- Other waiting threads sleep on a lock of their own. Whoever changes anything looks whether one of them is ready, and
  the driver, when it is done, makes one of them the next driver.
- A background thread keeps up the connection when no caller does. It drives promptly only while somebody counts on it:
  a callback, an ``await``. A loop of submit and result does not wake it.
- A turn that fails ends what the client waited for, with the error, and no thread: who reads the sockets next would
  otherwise be told of what others did, or nobody read them any more.
- Callbacks run outside the lock, by a thread that is not the driver at that moment: they may wait for other futures.

Interrupts: Ctrl-C may strike while a frame is processed. The session notes an end before it forgets a task, and a frame
that was read and not processed shows up as a gap in the Updates, which makes the session ask again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from paceline.client.driver.connections import Connections
from paceline.client.driver.resolving import Resolver
from paceline.client.session.session import Session
from paceline.errors import ClientClosed

TICK_S = 0.02
SLEEP_LIMIT_S: Final = 0.05

_logger = logging.getLogger("paceline.client")

Ready = Callable[[], object]


class _Waiter:
    __slots__ = ("lock", "ready")

    def __init__(self, ready: Ready) -> None:
        self.ready = ready
        self.lock = threading.Lock()
        self.lock.acquire()


class Turns:
    """``unusable``: what to raise, once the client is closed or was inherited through a fork. ``asleep``: the driver
    sleeps on the sockets. ``read_at_s``: when the sockets were looked at last. ``undriven`` is set when somebody counts
    on the sockets being read and nobody waits: it wakes the background thread."""

    def __init__(self, session: Session, connections: Connections, resolver: Resolver) -> None:
        self.lock = threading.Lock()
        self.unusable: Callable[[], Exception] | None = None
        self.asleep = False
        self.read_at_s = 0.0
        self.undriven = threading.Event()
        self._session = session
        self._connections = connections
        connections.names.on_change = self._look_again
        self._resolver = resolver
        self._waiting: deque[_Waiter] = deque()
        self._driver_ready: Ready | None = None  # what the driver waits for; None: nobody drives
        self._tick_at_s = 0.0
        self._abandoned: deque[tuple[bytes, ...]] = deque()  # ids to cancel; bounded by what is outstanding

    @property
    def has_driver(self) -> bool:
        return self._driver_ready is not None

    def check_usable(self) -> None:
        if self.unusable is not None:
            raise self.unusable()

    # --- waiting -------------------------------------------------------------------------------------------------

    def wait_until(self, ready: Ready, timeout_s: float | None) -> bool:
        """Drive, or sleep while another drives, until ``ready()`` or the timeout. False: the timeout.

        ``ready`` is called under the lock. It must become true when the client is closed.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        resolver = self._resolver
        while True:
            with self.lock:
                if self.unusable is not None:
                    raise self.unusable()
                if self._driver_ready is None:
                    done = self._drive(ready, deadline_s)
                else:
                    if not ready():
                        self._wait_turn(ready, deadline_s)
                    done = bool(ready())
            if resolver.ended:
                resolver.run_callbacks()
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
                more = self.pump()
                if ready():
                    return True
                if self._resolver.ended:
                    return False
                if more:
                    continue
                now = time.monotonic()
                if deadline_s is not None and now >= deadline_s:
                    return False
                until_s = min(self._session.next_deadline(), now + SLEEP_LIMIT_S)
                self._sleep(max(0.0, (until_s if deadline_s is None else min(until_s, deadline_s)) - now))
        finally:
            self._driver_ready = None
            if self.unusable is not None:
                self._connections.close_pipe()  # which close() left open for this sleeper
            if self._waiting or self._resolver.eager:
                self._hand_on()

    def _sleep(self, timeout_s: float) -> None:
        self.asleep = True
        self.lock.release()
        try:
            self._connections.sleep(timeout_s)
        finally:
            self.lock.acquire()
            self.asleep = False

    def _hand_on(self) -> None:
        """Make a waiting thread the driver, or tell the background thread that nobody is."""
        if self._waiting:
            self._waiting.popleft().lock.release()
        elif self._resolver.eager:
            self.undriven.set()

    def _wait_turn(self, ready: Ready, deadline_s: float | None) -> None:
        """Sleep until what is waited for has come, or until it is this thread's turn to drive."""
        waiter = _Waiter(ready)
        self._waiting.append(waiter)
        self.lock.release()
        try:
            waiter.lock.acquire(timeout=-1 if deadline_s is None else max(0.0, deadline_s - time.monotonic()))
        finally:
            self.lock.acquire()
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif self._driver_ready is None and (
                ready() or (deadline_s is not None and time.monotonic() >= deadline_s)
            ):
                self._hand_on()  # this thread may have been meant to drive, and has no reason to

    # --- one turn ------------------------------------------------------------------------------------------------

    def pump(self) -> bool:
        """One turn, under the lock: read, do what is due, send, resolve. True if there may be more to read."""
        session, connections, resolver = self._session, self._connections, self._resolver
        now = time.monotonic()
        self.read_at_s = now
        try:
            if self._abandoned:
                self.cancel_abandoned(now)
            more = connections.deliver(now)
            if now >= self._tick_at_s and not more:
                self._tick_at_s = now + TICK_S
                session.tick(now)
                if session.output.outbox:
                    connections.flush(now)
                    more = True
        except Exception as error:
            _logger.exception("the client failed, and with it every task that it waited for; it starts anew")
            session.fail(error)
            connections.flush(now)  # which only closes
            more = False
        resolver.resolve(session.output)
        if self._waiting:
            self._wake_ready()
        if self.asleep and (connections.changed or more or resolver.ended or self._is_driver_ready()):
            connections.interrupt()
        connections.changed = False
        return more

    def _is_driver_ready(self) -> bool:
        return self._driver_ready is not None and bool(self._driver_ready())

    def _wake_ready(self) -> None:
        for waiter in [waiter for waiter in self._waiting if waiter.ready()]:
            self._waiting.remove(waiter)
            waiter.lock.release()

    def flush(self, now: float) -> None:
        """Under the lock, after the session was asked for something: send it, and let a sleeping driver see what
        came of that."""
        self._connections.flush(now)
        if self.asleep:
            self.pump()

    def _look_again(self) -> None:
        """A name resolves. Called by a thread that has found out."""
        with self.lock:
            if self.unusable is None:
                now = time.monotonic()
                self._session.look_again(now)
                self.flush(now)
        self._resolver.run_callbacks()

    def abandon(self, ids: tuple[bytes, ...]) -> None:
        """Cancel these tasks, now or at the next turn, which is due while they have not ended.

        Never waits for the lock: the garbage collector drops iterators at any moment, as in a thread that has it."""
        self._abandoned.append(ids)
        if self.lock.acquire(False):
            try:
                if self.unusable is None:
                    self.cancel_abandoned(time.monotonic())
            finally:
                self.lock.release()

    def cancel_abandoned(self, now: float) -> None:
        """Under the lock."""
        while self._abandoned:
            self._session.abandon(self._abandoned.popleft(), now)
        self._connections.flush(now)
        if self.asleep:
            self._connections.interrupt()  # a send takes the edge that the sleeper waits for

    # --- the end -------------------------------------------------------------------------------------------------

    def end(self, unusable: Callable[[], Exception]) -> None:
        """End every wait, and let none begin. Called under the lock."""
        self.unusable = unusable
        for waiter in self._waiting:
            waiter.lock.release()
        self._waiting.clear()
        self._connections.interrupt()
        self.undriven.set()

    def shut_down(self, join: Callable[[], None]) -> None:
        """Fail what has not ended, and close. ``join()`` waits for the background thread."""
        with self.lock:
            if self.unusable is not None:
                return
            self.end(ClientClosed)
            self._resolver.fail_all(ClientClosed)
            self._session.close()
            self._session.failure = ClientClosed()
        join()
        self.close()
        self._resolver.run_callbacks()

    def close(self) -> None:
        """Close the sockets; and the pipe, unless a thread still sleeps on it, which closes it then."""
        with self.lock:
            self._connections.close()
            if self._driver_ready is None:
                self._connections.close_pipe()

    def disown(self, unusable: Callable[[], Exception]) -> None:
        """In a forked child: everything here belongs to the parent, even the lock."""
        self.unusable = unusable
        self.lock = threading.Lock()
