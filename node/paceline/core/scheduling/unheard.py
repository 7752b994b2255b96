"""What tasks raised that no client waits for: the leader says it, or nobody would.

Whoever submits a task and goes away never asks how it ended. The leader decides that when it passes a result on: the
task has no session by then, since its client has left, or has not come back to this leader yet.

A task that always fails must not fill the log. Of each name the first ``TOLD_FIRST`` failures are told with their
tracebacks, and then the 10th, the 100th, the 1,000th in a line each. All of that begins anew with each leader.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from paceline.core.measures.repeats import is_power_of_ten
from paceline_protocol.errors import PayloadError
from paceline_protocol.payload import unpack_error
from paceline_protocol.texts import cut, excerpt

TOLD_FIRST: Final = 3
NAMES_LIMIT: Final = 200
"""Names that are counted apart; all others are counted together."""
TRACEBACK_CHARS: Final = 4_000
TRACEBACK_LINES: Final = 60
MESSAGE_CHARS: Final = 1_000
TYPE_CHARS: Final = 255

Notice = Callable[[str, str], None]
"""(level, text)"""


class Unheard:
    """The failures of one leader's time that no client waited for."""

    def __init__(self, notice: Notice | None = None) -> None:
        """``notice``: has a line logged; without it nothing is said."""
        self._notice = notice
        self._failures: dict[str, int] = {}  # by name of the task

    def add(self, name: str, task_id: bytes, payload: bytes) -> None:
        """A task failed or was lost, and no client waits for it. ``payload``: its packed error."""
        if self._notice is None:
            return
        if name not in self._failures and len(self._failures) >= NAMES_LIMIT:
            name = "other tasks"
        count = self._failures[name] = self._failures.get(name, 0) + 1
        if count <= TOLD_FIRST:
            what, traceback = _described(payload)
            text = f"task {name} ({task_id.hex()}) ended with {what}, and no client waits for it"
            self._notice("warning", text + (f"\n{traceback}" if traceback else ""))
        elif is_power_of_ten(count):
            what, _ = _described(payload)
            text = f"{count} times a task {name} failed that no client waited for, the last with {what}"
            self._notice("warning", text)


def _described(payload: bytes) -> tuple[str, str]:
    """(the error in a line, its traceback). What a worker sent may be anything."""
    try:
        error = unpack_error(payload)
    except PayloadError:
        return "an error that can't be read", ""
    message = cut(error.message.partition("\n")[0], MESSAGE_CHARS)
    shown = excerpt(error.traceback.rstrip(), TRACEBACK_CHARS, TRACEBACK_LINES, keep_end=True)
    name = cut(error.type_name.partition("\n")[0], TYPE_CHARS)
    return f"{name}: {message}" if message else name, shown
