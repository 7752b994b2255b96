"""The alarm clock of a worker's process, which a task may set and leave behind: a time limit that is not taken back on
each way out. It would strike the worker while it waits for its node, or the task of somebody else.

Not among the compiled modules, where nothing looks for signals that have come: :meth:`Alarm.end` is called within what
catches all that a task raises, and one that has struck just before that raises there. One that repeats may strike again
wherever Python looks for signals, the first line of a function among that: so whoever catches the first strike calls
``setitimer`` before anything else.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from signal import ITIMER_REAL, getitimer, setitimer

from paceline.worker.registry import tasks
from paceline_protocol.messages.records import Assignment

_logger = logging.getLogger("paceline.worker")


class Alarm:
    """Made once the modules are imported. What one of them has set is its own, as that of a profiler, and stays
    (``is_of_module``)."""

    def __init__(self) -> None:
        self.is_of_module = getitimer(ITIMER_REAL)[0] > 0
        self._told: set[str] = set()  # names of tasks; bounded by the registry

    def end(self, name: str) -> None:
        """Switch off what the task of this name has left, and tell of it."""
        if not self.is_of_module and setitimer(ITIMER_REAL, 0)[0] > 0:
            self.tell(name)

    def was_left_by(self, run: Sequence[Assignment]) -> None:
        """One of these tasks has left what was switched off. Tell of it if one alone may have."""
        names = {name for _, _, name, _, _ in run}
        if len(names) == 1:
            self.tell(names.pop())

    def tell(self, name: str) -> None:
        """Say, once, that this task has left an alarm."""
        if name in tasks and name not in self._told:
            self._told.add(name)
            _logger.warning(
                "task %s has left an alarm that would have struck other tasks; it is off now. Let the task switch it "
                "off on each way out, as by signal.alarm(0) in a finally",
                name,
                extra={"task_name": name},
            )
