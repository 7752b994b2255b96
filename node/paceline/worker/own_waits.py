"""The task of this worker waits for another one: then it says so, and that it goes on. What its node makes of that has
``core/work/parking.py``.

The thread in which tasks run alone can say it. A thread that a task has started may wait while the task computes, and
so says nothing; nor does a process that it has forked, whose node is not its own. A handler of signals may raise
anywhere in here, as a soft time limit does. So a frame is sent in one piece or not at all, and what is not said of a
task is told by its end.

Not among the compiled modules, where nothing looks for signals that have come.
"""

from __future__ import annotations

import os
from _thread import get_ident  # the name of before a module has patched it
from collections.abc import Callable

from paceline.worker import current
from paceline_protocol.codec import encode
from paceline_protocol.messages.children import GoesOn, Waits


class OwnWaits:
    """Of one worker that runs one task at a time, in its main thread, where this is made. ``send``: a frame to the
    node."""

    def __init__(self, send: Callable[[bytes], None], flush: Callable[[], None] = lambda: None) -> None:
        """``flush``: tells what stood before the task that runs."""
        self._send = send
        self._flush = flush
        self._thread = get_ident()
        self._pid = os.getpid()

    def waits(self, waits_for: bytes) -> Callable[[], None] | None:
        """See ``ParentDeadline.waits``."""
        if get_ident() != self._thread or os.getpid() != self._pid:
            return None
        found = current.running_id()
        if found is None:
            return None
        task_id, name = found
        current.has_waited.add(name)
        self._flush()
        self._send(encode(Waits(task_id, waits_for)))
        return lambda: self._send(encode(GoesOn(task_id)))
