"""When the shell is to take the node's effects, and when the log is to hear of what happened.

Every event says how urgent it is, with one of four constants; whoever handles an event has to return one of them, so
that none can be forgotten. Most are AT_ONCE. Tasks and outcomes alone may linger: the log hears of them together with
the others of the same moment, since an entry costs a write on the disks of a majority. An ANSWER of a peer, or of the
journal, is passed on at once and brings the log nothing: if it did, each task would be logged alone.
"""

from __future__ import annotations

from math import inf
from typing import Final

NOTHING: Final = 0
"""Nothing follows from the event now."""
TASK: Final = 1
"""A task came or ended."""
ANSWER: Final = 2
"""The effects are due, and the log hears of tasks when it would have anyway."""
AT_ONCE: Final = 3
"""The effects are due, and so is the log."""

LINGERING_EVENTS: Final = 32
"""Frames of tasks and outcomes that wait for the log together, at most."""


class Pacing:
    """Two deadlines: of the effects, and of the log, which is never due earlier than they are."""

    __slots__ = ("_linger_s", "_lingering_events", "_log_at", "effects_at")

    def __init__(self, linger_s: float, now: float) -> None:
        """``linger_s``: how long the log waits for more tasks."""
        self.effects_at = now
        self._log_at = inf
        self._linger_s = linger_s
        self._lingering_events = 0  # since the log was last due

    def after(self, urgency: int, now: float) -> None:
        """An event of this urgency was handled."""
        if urgency == TASK:
            self._linger(now)
        elif urgency != NOTHING:
            self.effects_at = -inf
            if urgency == AT_ONCE:
                self._log_at = -inf

    def _linger(self, now: float) -> None:
        """The log hears of a task soon, with the others of this moment, unless they are many."""
        self._lingering_events += 1
        if self._lingering_events >= LINGERING_EVENTS:
            self.effects_at = self._log_at = -inf
        elif self._log_at == inf:
            self._log_at = now + self._linger_s
            if self._log_at < self.effects_at:
                self.effects_at = self._log_at

    def take(self, now: float, *, log_stands_still: bool) -> bool:
        """The effects are being taken. True if the log is due.

        While the log stands still it stays due, and the effects are not due for its sake: the next heartbeat looks
        again."""
        is_log_due = now >= self._log_at
        if is_log_due and log_stands_still:
            self.effects_at = inf
            return False
        if is_log_due:
            self._log_at = inf
            self._lingering_events = 0
        self.effects_at = self._log_at
        return is_log_due
