"""A node that is process 1, as in a container without an init, gets the orphans of its machine: what a task has started
and left behind becomes its child, and stays a zombie until somebody waits for it.

The node's own children are waited for by their pools, which must get their exit codes. So this module looks at who has
ended without taking it, and leaves what is the node's own. That is the first in line until its pool has taken it; the
orphans behind it are looked for again in the next turn, which the end of that child brings about.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Container
from types import FrameType

FIRST_PROCESS = 1


class Orphans:
    """Waits for the children of this process that are not its own. One thread."""

    def __init__(self, own: Callable[[], Container[int]], wake: Callable[[], None]) -> None:
        """``own``: the processes that others wait for. ``wake``: called by a signal handler, to have :meth:`reap`
        called soon."""
        self.are_due = True
        self._own = own
        self._wake = wake

    def watch(self) -> None:
        """From now on the end of any child makes the orphans due. In the main thread."""
        signal.signal(signal.SIGCHLD, self._ended)

    def _ended(self, _number: int, _frame: FrameType | None) -> None:
        self.are_due = True
        self._wake()

    def reap(self) -> int:
        """Wait for the orphans that have ended. Returns how many."""
        own = self._own()
        count = 0
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:  # there is no child at all
                ended = None
            if ended is None:
                self.are_due = False
                return count
            if ended.si_pid in own:
                return count
            os.waitpid(ended.si_pid, os.WNOHANG)
            count += 1
