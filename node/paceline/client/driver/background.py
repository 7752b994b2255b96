"""The thread that keeps up a client's connection while no caller waits.

It takes a turn every ``TICK_S``, or now and then if there is nothing to wait for and nobody has submitted for a while.
It drives promptly, as a caller that waits does, only while somebody counts on it: a callback, an ``await``, a relay.
"""

from __future__ import annotations

import threading
import time
from typing import Final

from paceline.client.driver.resolving import Resolver
from paceline.client.driver.turns import TICK_S, Turns
from paceline.client.session.session import Session, SessionState
from paceline.errors import ClientClosed, OutOfResources
from paceline.importing import refuse_while_importing

IDLE_TICK_S = 0.5
IDLE_AFTER_S: Final = 1.0
THREAD_END_LIMIT_S: Final = 1.0


class Background:
    """The background thread of one client. It is started with the first use of the client."""

    def __init__(self, session: Session, turns: Turns, resolver: Resolver) -> None:
        self._session = session
        self._turns = turns
        self._resolver = resolver
        self._keeper: threading.Thread | None = None
        self._is_idle = False
        self._is_dropped = False
        self._used_at_s = 0.0

    def start(self) -> None:
        """Under the lock. Raises UsedWhileImporting in a worker that is not ready yet, and OutOfResources."""
        if self._keeper is not None:
            return
        refuse_while_importing("a client of the cluster")
        self._keeper = keeper = threading.Thread(target=self._run, name="paceline-client", daemon=True)
        try:
            keeper.start()
        except RuntimeError as error:
            self._keeper = None
            raise OutOfResources(f"a client of a cluster needs a thread of its own ({error})") from None
        except BaseException:
            if keeper.ident is None:  # interrupted before it ran
                self._keeper = None
            raise

    def used(self, now: float) -> None:
        """Under the lock: something was submitted."""
        self._used_at_s = now
        if self._is_idle:
            self._is_idle = False
            self._turns.undriven.set()

    def join(self) -> None:
        """Outside the lock, after the turns have ended. It may be in a callback that takes long."""
        if self._keeper is not None and self._keeper is not threading.current_thread():
            self._keeper.join(THREAD_END_LIMIT_S)

    def drop(self) -> bool:
        """Have the thread close the client at its next turn. False: there is no thread. Takes no lock."""
        self._is_dropped = True
        return self._keeper is not None

    def disown(self) -> None:
        """Forget the thread: a forked child does not have it."""
        self._keeper = None

    def _run(self) -> None:
        turns, resolver = self._turns, self._resolver

        def has_something_else() -> bool:
            return not resolver.eager or bool(resolver.ended) or turns.unusable is not None

        while turns.unusable is None:
            turns.undriven.wait(self._rest_s())
            if self._is_dropped:
                turns.shut_down(self.join)
                return
            if resolver.ended:
                resolver.run_callbacks()
            try:
                if turns.has_abandoned:
                    turns.change(turns.cancel_abandoned)
                if resolver.eager:
                    turns.wait_until(has_something_else, None)
                    resolver.run_callbacks()
                elif not turns.has_driver:
                    turns.wait_until(lambda: True, 0)
            except ClientClosed:
                return

    def _rest_s(self) -> float:
        with self._turns.lock:
            busy = self._session.expects_answer or time.monotonic() - self._used_at_s < IDLE_AFTER_S
            self._is_idle = not busy and self._session.state is not SessionState.SEEKING
            return IDLE_TICK_S if self._is_idle else TICK_S
