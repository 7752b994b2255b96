"""Looking for nodes by multicast, on a thread of its own, for a client that was given no address.

Each search for the leader that begins without one looks anew: nodes start and move after the client was made. One look
at a time, and none within PAUSE_S after the last: a program that asks again and again does not flood its network.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from paceline.client.driver.turns import Turns
from paceline.client.session.session import Session, SessionState
from paceline.errors import OutOfResources
from paceline.exiting import NO_THREAD, is_exiting

LOOK_LIMIT_S: Final = 3600.0
PAUSE_S = 1.0
"""RFC 6762, section 5.2: the least from one query to the next."""

_logger = logging.getLogger("paceline.client")


class Discovering:
    """Of one client. ``timeout_s``: how long one look lasts that finds nothing."""

    def __init__(self, session: Session, turns: Turns, timeout_s: float) -> None:
        self._session = session
        self._turns = turns
        self._timeout_s = min(timeout_s, LOOK_LIMIT_S)
        self._looker: threading.Thread | None = None  # mypyc makes a word of C of `_thread`
        self._is_wanted = False
        self._again_at_s = 0.0
        self._is_told = False  # that it does not work

    def begin(self) -> None:
        """Under the lock of the turns: a search begins, and nobody is known to lead. Raises OutOfResources."""
        self._is_wanted = True
        if self._looker is not None and self._looker.is_alive():
            return
        self._looker = threading.Thread(target=self._run, name="paceline-discovery", daemon=True)
        try:
            self._looker.start()
        except RuntimeError as error:
            if not is_exiting():
                raise OutOfResources(f"the discovery of nodes needs a thread ({error})") from None
            what = f"the discovery of nodes needs a thread, and {NO_THREAD}"
            raise OutOfResources(what, "name a node, as in Client('host:7077')") from None

    def _run(self) -> None:
        while self._is_to_look():
            try:
                self._look()
            finally:
                self._again_at_s = time.monotonic() + PAUSE_S

    def _is_to_look(self) -> bool:
        """After the pause. False: the thread ends."""
        time.sleep(max(0.0, self._again_at_s - time.monotonic()))
        turns = self._turns
        with turns.lock:
            is_to_look = self._is_wanted and turns.unusable is None and self._session.state is not SessionState.ATTACHED
            self._is_wanted = False
            if not is_to_look:
                self._looker = None
            return is_to_look

    def _look(self) -> None:
        session, turns = self._session, self._turns
        try:
            from paceline.discovery import find_nodes

            found = find_nodes(session.cluster_name or None, loopback=None, timeout_s=self._timeout_s)
        except OSError as error:
            if not self._is_told:
                self._is_told = True
                _logger.warning("no discovery on this network (%s); name a node with Client('host:7077')", error)
            return

        def add(now: float) -> None:
            session.add_addresses(found, now)
            turns.flush(now)

        if found:
            turns.change_if_usable(add)
