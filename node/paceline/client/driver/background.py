"""The thread that keeps up a client's connection while no caller waits.

Nothing but the end of the client ends it: what fails in a turn, as for want of memory, is logged, and what that left
halfway is mended by the next one. When the client ends it sees to it that all is closed: close() may be interrupted.

It takes a turn every ``TICK_S``, or now and then if there is nothing to wait for and nobody has submitted for a while.
It drives promptly, as a caller that waits does, only while somebody counts on it: a callback, an ``await``, a relay.

A client that is first used as the interpreter exits may have no such thread, since Python starts none then
(``exiting.py``). Who waits drives there as everywhere, and what counts on the thread is refused.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from paceline.client.driver.resolving import Resolver
from paceline.client.driver.turns import TICK_S, Turns
from paceline.client.session.session import Session, SessionState
from paceline.errors import ClientClosed, OutOfResources
from paceline.exiting import NO_THREAD, is_exiting
from paceline.importing import refuse_while_importing

IDLE_TICK_S = 0.5
IDLE_AFTER_S: Final = 1.0
THREAD_END_LIMIT_S: Final = 1.0
FAILED_PAUSE_S: Final = 0.1
"""After a turn that failed: the next may fail as well."""

_logger = logging.getLogger("paceline.client")


class Background:
    """The background thread of one client. It is started with the first use of the client."""

    def __init__(self, session: Session, turns: Turns, resolver: Resolver) -> None:
        self._session = session
        self._turns = turns
        self._resolver = resolver
        self._keeper: threading.Thread | None = None
        self._is_idle = False
        self._is_refused = False  # the thread, for good
        self._is_dropped = False
        self._used_at_s = 0.0
        self._failure: BaseException | None = None  # of the last turn, until it is logged

    def start(self) -> None:
        """Under the lock. Raises UsedWhileImporting in a worker that is not ready yet, and OutOfResources. There may be
        none afterwards, as the interpreter exits."""
        if self._is_alive():
            return
        refuse_while_importing("a client of the cluster")
        self._keeper = keeper = threading.Thread(target=self._run, name="paceline-client", daemon=True)
        try:
            keeper.start()
        except RuntimeError as error:
            self._is_refused = is_exiting()
            if not self._is_refused:
                raise OutOfResources(f"a client of a cluster needs a thread of its own ({error})") from None

    def check(self, what: str, instead: str) -> None:
        """Of what counts on the thread. Raises OutOfResources if the client has to do without."""
        if self._is_refused:
            raise OutOfResources(f"{what} needs a thread, and {NO_THREAD}", instead)

    def _is_alive(self) -> bool:
        """Asked of the thread: its start may have been interrupted."""
        return self._keeper is not None and self._keeper.is_alive()

    def used(self, now: float) -> None:
        """Under the lock: something was submitted."""
        self._used_at_s = now
        if self._is_idle:
            self._is_idle = False
            self._turns.undriven.set()

    def join(self) -> None:
        """Outside the lock, after the turns have ended. It may be in a callback that takes long."""
        keeper = self._keeper
        if keeper is not None and keeper is not threading.current_thread() and keeper.is_alive():
            keeper.join(THREAD_END_LIMIT_S)

    def drop(self) -> bool:
        """Have the thread close the client at its next turn. False: there is no thread. Takes no lock."""
        self._is_dropped = True
        return self._is_alive()

    def disown(self) -> None:
        """Forget the thread: a forked child does not have it."""
        self._keeper = None

    def _run(self) -> None:
        turns = self._turns
        while self._keeper is threading.current_thread():  # else its start was interrupted, and there is another
            try:
                if self._failure is not None:
                    self._tell_failure()
                if self._is_dropped:
                    turns.shut_down(self.join)
                    return
                if turns.unusable is not None:
                    turns.fail_open()
                    turns.close()  # but the callbacks are for who called close()
                    if self._is_dropped:
                        continue
                    return
                self._take_turn()
            except ClientClosed:
                continue
            except BaseException as error:  # noqa: BLE001 - it is logged, with what memory there is by then
                self._failure = error

    def _tell_failure(self) -> None:
        self._turns.undriven.wait(FAILED_PAUSE_S)
        _logger.error("the thread that keeps up a client's connection failed, and goes on", exc_info=self._failure)
        self._failure = None

    def _take_turn(self) -> None:
        turns, resolver = self._turns, self._resolver

        def has_something_else() -> bool:
            return not resolver.eager or bool(resolver.ended) or turns.unusable is not None

        turns.undriven.wait(self._rest_s())
        if self._is_dropped:
            return
        if resolver.ended:
            resolver.run_callbacks()
        if turns.has_abandoned:
            turns.change(turns.cancel_abandoned)
        if resolver.eager:
            turns.wait_until(has_something_else, None)
            resolver.run_callbacks()
        elif not turns.has_driver:
            turns.wait_until(lambda: True, 0)

    def _rest_s(self) -> float:
        with self._turns.lock:
            busy = self._session.expects_answer or time.monotonic() - self._used_at_s < IDLE_AFTER_S
            self._is_idle = not busy and self._session.state is not SessionState.SEEKING
            return IDLE_TICK_S if self._is_idle else TICK_S
