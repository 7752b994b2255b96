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
  The main thread leaves them to the background thread, as a signal handler that raises would lose them.

Interrupts: a signal handler that raises, as Ctrl-C does, may strike between any two steps of the main thread. So:

- Whoever changes what the lock guards says so before, and once it is whole again (``_is_changing``). Who takes the lock
  and finds that the last one did not get so far **mends**: every connection is dropped, the session looks for the
  leader again, and the futures that have not ended say what is outstanding. Nothing is lost by that, as little as by a
  change of leaders, and the interrupted call raises what the handler raised.
- A wait that is interrupted takes itself out of what stands here. A second signal may keep it from that. So nobody
  trusts for longer than ``STALE_S`` that a driver which is not heard of drives, and nobody sleeps for longer.
- What a handler or a finalizer asks of a client in the midst of a change by the same thread is refused at once, with
  UsedWithinItself: it would wait for itself. At any other moment it is like a call of another thread.

All that takes the lock, sleeps or wakes is in this one file, long as it is: whether the rules hold shows only to who
sees every place where they may not.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from threading import get_ident
from typing import Any, Final, TypeVar

from paceline.client.driver.connections import Connections
from paceline.client.driver.interrupts import Wake, is_from_outside, is_main_thread, let_handlers_run
from paceline.client.driver.resolving import Resolver
from paceline.client.session.session import Session
from paceline.errors import ClientClosed, UsedWithinItself

TICK_S = 0.02
SLEEP_LIMIT_S: Final = 0.05
STALE_S = 1.0
"""A driver takes a turn every SLEEP_LIMIT_S. One that has not for so long was interrupted for good."""

# What a step of a wait returns if it is over, where it is no time to sleep.
_READY: Final = -1.0
_LATE: Final = -2.0
_AGAIN: Final = -3.0

_logger = logging.getLogger("paceline.client")

Ready = Callable[[], object]
T = TypeVar("T")


class _Waiter:
    """A thread in :meth:`Turns.wait_until`. ``seen_s``: when it was there last. ``wake``: it is set to wake the thread
    while another drives; most drive themselves, and have none."""

    __slots__ = ("ident", "ready", "seen_s", "wake")

    def __init__(self, ready: Ready) -> None:
        self.ready = ready
        self.ident = get_ident()
        self.seen_s = 0.0
        self.wake: Wake | None = None

    def wake_up(self) -> None:
        if self.wake is not None:
            self.wake.set()


class Turns:
    """``unusable``: what to raise, once the client is being closed or was inherited through a fork. ``is_closed``:
    nothing is left to close. ``asleep``: the driver sleeps on the sockets. ``read_at_s``: when the sockets were looked
    at last. ``undriven`` is set when somebody counts on the sockets being read and nobody waits, or callbacks are due:
    it wakes the background thread."""

    def __init__(self, session: Session, connections: Connections, resolver: Resolver) -> None:
        self.lock: Any = threading.RLock()  # the only one that tells whether this thread has it
        self.unusable: Callable[[], Exception] | None = None
        self.is_closed = False
        self.asleep = False
        self.read_at_s = 0.0
        self.undriven = Wake()
        self._session = session
        self._connections = connections
        connections.names.on_change = self._look_again
        self._resolver = resolver
        self._is_changing = False
        self._waiting: deque[_Waiter] = deque()
        self._driver: _Waiter | None = None
        self._tick_at_s = 0.0
        self._abandoned: deque[tuple[bytes, ...]] = deque()  # ids to cancel; bounded by what is outstanding
        self._leaving: list[bytes] = []  # the same, which the session is just being asked to cancel

    @property
    def has_driver(self) -> bool:
        driver = self._driver
        return driver is not None and time.monotonic() < driver.seen_s + STALE_S

    def check_usable(self) -> None:
        if self.unusable is not None:
            raise self.unusable()

    # --- changes -------------------------------------------------------------------------------------------------

    def check_entry(self) -> None:
        """Before the lock is taken. Raises UsedWithinItself if this thread has it."""
        if self.lock._is_owned():
            raise UsedWithinItself

    def begin(self) -> None:
        """Under the lock, before anything is changed: mend what the last one left halfway."""
        if self._is_changing:
            self._mend()
        self._is_changing = True

    def done(self) -> None:
        """Under the lock: all is whole again."""
        self._is_changing = False

    def change(self, action: Callable[[float], T]) -> T:
        """Have ``action(now)`` change what the lock guards. Raises ClientClosed and UsedWithinItself."""
        self.check_entry()
        with self.lock:
            self.check_usable()
            self.begin()
            try:
                result = action(time.monotonic())
            except Exception as error:
                if not is_from_outside(error):
                    self.done()  # a refusal of our own, which changed nothing
                raise
            self.done()
        if self._resolver.ended:
            self.run_callbacks()
        return result

    def change_if_usable(self, action: Callable[[float], object]) -> None:
        """The same, and nothing if the client is closed."""
        try:
            self.change(action)
        except Exception as error:
            if self.unusable is None or is_from_outside(error):
                raise

    def _mend(self) -> None:
        """Whoever had the lock was interrupted in the midst of a change. May be interrupted itself, and is done again
        then."""
        now = time.monotonic()
        _logger.debug("a change was interrupted; the connections are made anew")
        session, resolver = self._session, self._resolver
        self._connections.reset()
        resolver.resolve(session.output)
        session.start_over(resolver.open_ids(), now)
        self._connections.flush(now)
        self._tick_at_s = 0.0
        self._connections.interrupt()
        if self._waiting:
            self._wake_ready(now)

    def run_callbacks(self) -> None:
        """Outside the lock: run those that are due, or have the background thread do so."""
        if self.unusable is None and is_main_thread():
            self.undriven.set()
        else:
            self._resolver.run_callbacks()

    # --- waiting -------------------------------------------------------------------------------------------------

    def wait_until(self, ready: Ready, timeout_s: float | None) -> bool:
        """Drive, or sleep while another drives, until ``ready()`` or the timeout. False: the timeout.

        ``ready`` is called under the lock. It must become true when the client is closed.
        """
        self.check_entry()
        deadline_s = math.inf if timeout_s is None else time.monotonic() + timeout_s
        me = _Waiter(ready)
        try:
            while True:
                with self.lock:
                    if self.unusable is not None and ready():  # it was closed meanwhile, and has failed what is open
                        self._leave(me)
                        return True
                    self.check_usable()
                    now = time.monotonic()
                    drives = self._may_drive(me, now)
                    rest_s = self._drive(me, deadline_s) if drives else self._wait_turn(me, now, deadline_s)
                if self._resolver.ended:
                    self.run_callbacks()
                if rest_s in (_READY, _LATE):
                    return rest_s == _READY
                let_handlers_run()
                if rest_s == _AGAIN:
                    continue
                if drives:
                    self._connections.sleep(rest_s)
                elif me.wake is not None:
                    me.wake.wait(rest_s)
        except BaseException:
            with self.lock:
                self._leave(me)
            raise

    def _may_drive(self, me: _Waiter, now: float) -> bool:
        """Nobody else drives. A driver of this very thread was interrupted by what waits now."""
        driver = self._driver
        return driver is None or driver is me or driver.ident == me.ident or now >= driver.seen_s + STALE_S

    def _drive(self, me: _Waiter, deadline_s: float) -> float:
        """Take turns until there is nothing to read. Returns how long to sleep then, as the driver; or, as nobody who
        drives any more, _READY, _LATE, or _AGAIN after callbacks, which must not run in a driver."""
        self._driver = me
        self.asleep = False
        if self._waiting and me in self._waiting:
            self._waiting.remove(me)
        self.begin()
        while True:
            more = self.pump()
            if me.ready():
                rest_s = _READY
                break
            if self._resolver.ended and not is_main_thread():
                rest_s = _AGAIN
                break
            if more:
                continue
            now = time.monotonic()
            if now >= deadline_s:
                rest_s = _LATE
                break
            until_s = min(self._session.next_deadline(), deadline_s)
            rest_s = max(0.0, min(until_s - now, SLEEP_LIMIT_S))
            me.seen_s = now
            self.asleep = True
            break
        self.done()
        if rest_s < 0:
            self._leave(me)
        return rest_s

    def _wait_turn(self, me: _Waiter, now: float, deadline_s: float) -> float:
        """Returns how long to sleep until what is waited for has come, or it is this thread's turn to drive; else
        _READY or _LATE."""
        if me.ready() or now >= deadline_s:
            self._leave(me)
            return _READY if me.ready() else _LATE
        me.seen_s = now
        if me.wake is None:
            me.wake = Wake()
        if me not in self._waiting:
            self._waiting.append(me)
        return min(STALE_S, deadline_s - now)

    def _leave(self, me: _Waiter) -> None:
        """Under the lock: this thread waits no more, or does not drive for a while."""
        if self._driver is me:
            self._driver = None
            self.asleep = False
            if self.unusable is not None:
                self._connections.close_pipe()  # which close() left open for this sleeper
        elif me in self._waiting:
            self._waiting.remove(me)
            return
        if self._driver is None and (self._waiting or self._resolver.eager):
            self._hand_on()

    def _hand_on(self) -> None:
        """Make a waiting thread the driver, or tell the background thread that nobody is."""
        if self._waiting:
            self._waiting.popleft().wake_up()
        else:
            self.undriven.set()

    # --- one turn ------------------------------------------------------------------------------------------------

    def pump(self) -> bool:
        """One turn, under the lock: read, do what is due, send, resolve. True if there may be more to read."""
        session, connections, resolver = self._session, self._connections, self._resolver
        now = time.monotonic()
        self.read_at_s = now
        try:
            if self._abandoned or self._leaving:
                self._cancel_abandoned(now)
            more = connections.deliver(now)
            if now >= self._tick_at_s and not more:
                self._tick_at_s = now + TICK_S
                session.tick(now)
                if session.output.outbox:
                    connections.flush(now)
                    more = True
        except Exception as error:
            if is_from_outside(error):
                raise
            _logger.exception("the client failed, and with it every task that it waited for; it starts anew")
            session.fail(error)
            connections.flush(now)  # which only closes
            more = False
        resolver.resolve(session.output)
        if self._waiting:
            self._wake_ready(now)
        if self.asleep and (connections.changed or more or resolver.ended or self._is_driver_ready()):
            connections.interrupt()
        connections.changed = False
        return more

    def _is_driver_ready(self) -> bool:
        return self._driver is not None and bool(self._driver.ready())

    def _wake_ready(self, now: float) -> None:
        """Those that are ready, and those that nobody has seen for long: they were interrupted, or look again."""
        for waiter in [each for each in self._waiting if each.ready() or now > each.seen_s + 10 * STALE_S]:
            self._waiting.remove(waiter)
            waiter.wake_up()

    def flush(self, now: float) -> None:
        """Under the lock, after the session was asked for something: send it, and let a sleeping driver see what
        came of that."""
        self._connections.flush(now)
        if self.asleep:
            self.pump()

    def _look_again(self) -> None:
        """A name resolves. Called by a thread that has found out."""

        def look(now: float) -> None:
            self._session.look_again(now)
            self.flush(now)

        self.change_if_usable(look)

    @property
    def has_abandoned(self) -> bool:
        return bool(self._abandoned or self._leaving)

    def abandon(self, ids: tuple[bytes, ...]) -> None:
        """Have these tasks cancelled at the next turn, for which the background thread is woken.

        Takes no lock: the garbage collector drops iterators at any moment, as in a thread that has it."""
        self._abandoned.append(ids)
        self.undriven.set()

    def cancel_abandoned(self, now: float) -> None:
        """Under the lock."""
        self._cancel_abandoned(now)
        if self.asleep:
            self._connections.interrupt()  # a send takes the edge that the sleeper waits for

    def _cancel_abandoned(self, now: float) -> None:
        while self._abandoned:  # all together: each wait that is cancelled abandons one task
            self._leaving.extend(self._abandoned[0])
            self._abandoned.popleft()
        self._session.abandon(self._leaving, now)
        self._leaving = []
        self._connections.flush(now)

    # --- the end -------------------------------------------------------------------------------------------------

    def end(self, unusable: Callable[[], Exception]) -> None:
        """End every wait, and let none begin. Called under the lock."""
        self.unusable = unusable
        for waiter in self._waiting:
            waiter.wake_up()
        self._waiting.clear()
        self._connections.interrupt()
        self.undriven.set()

    def shut_down(self, join: Callable[[], None]) -> None:
        """Fail what has not ended, and close. ``join()`` waits for the background thread.

        A signal handler may end this halfway, when the client is of no use any more, and not closed yet: whoever comes
        next goes on with it, as the background thread, a second close(), the exit of the interpreter."""
        self.check_entry()
        self.fail_open()
        join()
        self.close()
        self._resolver.run_callbacks()

    def fail_open(self) -> None:
        """Nothing begins any more, and what has not ended fails."""
        with self.lock:
            if not self.is_closed:
                self.end(ClientClosed)
                self._session.failure = ClientClosed()
                self._resolver.fail_all(ClientClosed)
                self._session.close()

    def close(self) -> None:
        """Close the sockets; and the pipe, unless another thread still sleeps on it, which closes it then."""
        with self.lock:
            if self.is_closed:
                return
            self._connections.close()
            driver = self._driver
            if driver is None or driver.ident == get_ident() or not self.has_driver:
                self._connections.close_pipe()
            self.is_closed = True

    def disown(self, unusable: Callable[[], Exception]) -> None:
        """In a forked child: everything here belongs to the parent, even the locks."""
        self.unusable = unusable
        self.is_closed = True
        self.lock = threading.RLock()
        self.undriven = Wake()
