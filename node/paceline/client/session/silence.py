"""How long the leader of one epoch has said nothing: when it is asked, and when it is given up. Pure."""

from __future__ import annotations

import math
from typing import Final

PING_INTERVAL_S: Final = 0.1
PING_ANSWER_LIMIT_S: Final = 0.3
"""With the interval: a leader that is silent for 400 ms is given up. Counted from the unanswered Ping, not from the
last frame, so that a client that was itself stopped for a while does not blame the leader."""


class Silence:
    """The silence of one leader, from the beginning of its epoch. Silence counts only while the client waits for
    something: the caller looks at the deadlines only then."""

    def __init__(self, now: float) -> None:
        self._since_s = now
        self._pinged_at_s = math.inf  # the first Ping that nothing has answered
        self._next_ping_s = now

    def begin(self, now: float) -> None:
        """The leader was heard, or the client begins to wait for something."""
        self._since_s = now
        self._pinged_at_s = math.inf

    def pinged(self, now: float) -> None:
        self._pinged_at_s = min(self._pinged_at_s, now)
        self._next_ping_s = now + PING_INTERVAL_S

    @property
    def ping_due_s(self) -> float:
        return max(self._since_s + PING_INTERVAL_S, self._next_ping_s)

    @property
    def limit_s(self) -> float:
        """When the leader is given up; math.inf while no Ping is unanswered."""
        return self._pinged_at_s + PING_ANSWER_LIMIT_S
