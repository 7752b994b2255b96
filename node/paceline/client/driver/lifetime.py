"""How a client ends: closed by its program, at the exit of the interpreter, or because nobody has it any more.

Nothing here refers to the driver, which programs and futures hold: so who has a Lifetime does not keep a client alive
that everybody else has dropped.
"""

from __future__ import annotations

from collections.abc import Callable

from paceline.client.driver.background import Background
from paceline.client.driver.turns import Turns
from paceline.client.session.session import Session
from paceline.errors import ClientClosed


class Lifetime:
    """The end of one client."""

    def __init__(self, session: Session, turns: Turns, background: Background) -> None:
        self._session = session
        self._turns = turns
        self._background = background

    @property
    def has_ended(self) -> bool:
        return self._turns.unusable is not None

    def close(self, timeout_s: float) -> int:
        """Wait until what was submitted is accepted, at most so long; then fail what has not ended, and close.

        Returns how many tasks the cluster did not accept meanwhile."""
        session, turns = self._session, self._turns
        if turns.is_closed:
            return 0

        def press(now: float) -> int:
            count = session.ledger.count_unaccepted()
            session.press_all(now)
            turns.cancel_abandoned(now)
            turns.flush(now)
            return count

        try:
            unaccepted = turns.change(press)
            if session.has_unsettled and timeout_s > 0:
                turns.wait_until(lambda: not session.has_unsettled or turns.unusable is not None, timeout_s)
            # A search that was given up meanwhile has emptied the ledger.
            return session.ledger.count_unaccepted() if session.failure is None else unaccepted
        except ClientClosed:  # by another thread, meanwhile or in part
            return 0
        finally:
            turns.shut_down(self._background.join)

    def drop(self) -> bool:
        """Nobody has the client any more. False: it was closed. Called by the garbage collector, so that it waits for
        nothing: the background thread closes the client at its next turn. Without one nobody ever used it, or its
        close() was interrupted."""
        was_open = not self.has_ended
        if not self._background.drop():
            self._turns.shut_down(self._background.join)
        return was_open

    def disown(self, error: Callable[[], Exception]) -> None:
        """In a forked child: everything here belongs to the parent."""
        self._turns.disown(error)
        self._background.disown()
