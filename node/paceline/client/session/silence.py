"""How long the leader of one epoch has said nothing: when it is asked, and when it is given up.

A leader that lives answers a Ping. But the Ping stands behind what was sent before it, and the answer behind what the
leader has sent, and of a frame that is half through nobody knows but its sender. So the answer may take as long as
these bytes do on a slow link. What the client has sent it knows, and what is large in the other direction the leader
announces (``Coming``). While neither is under way, which is nearly always, the limit is as short as it can be.

Pure.
"""

from __future__ import annotations

import math
from typing import Final

from paceline_protocol.limits import LINK_BYTES_PER_S, MAX_FRAME_BYTES

PING_INTERVAL_S: Final = 0.1
PING_ANSWER_LIMIT_S: Final = 0.3
"""With the interval: a leader that is silent for 400 ms is given up. Counted from the unanswered Ping, not from the
last frame, so that a client that was itself stopped for a while does not blame the leader."""
USUAL_BYTES_PER_S: Final = LINK_BYTES_PER_S / 2
"""What a client's link is taken for. A frame shares its link with others, and TCP needs a moment to make use of it."""
SLOWER_BY: Final = 8
SLOWEST_BYTES_PER_S: Final = USUAL_BYTES_PER_S / SLOWER_BY**2
"""What a link may turn out to be: 80 KiB a second. What is not announced is through in time there, too."""


class Silence:
    """The silence of one leader, from the beginning of its epoch. Silence counts only while the client waits for
    something: the caller looks at the deadlines only then.

    ``limit_s``: when the leader is given up; math.inf while no Ping is unanswered. ``awaited_bytes``: how many the
    answer to the unanswered Ping may have to wait for."""

    def __init__(self, now: float, bytes_per_s: float = USUAL_BYTES_PER_S) -> None:
        """``bytes_per_s``: what the link is taken for."""
        self.limit_s = math.inf
        self.awaited_bytes = 0.0
        self._bytes_per_s = bytes_per_s
        self._since_s = now
        self._next_ping_s = now
        self._sent_by_s = now  # all that was sent but Submits is expected to have arrived
        self._coming_bytes = 0
        self._announced_at_s = -math.inf

    def begin(self, now: float) -> None:
        """The leader was heard, or the client begins to wait for something."""
        self._since_s = now
        self.limit_s = math.inf

    def sent(self, size: int, now: float) -> None:
        """So many bytes were sent, and it will not be heard when they have arrived."""
        self._sent_by_s = max(self._sent_by_s, now) + size / self._bytes_per_s

    def coming(self, size: int) -> None:
        """The leader, which was just heard, announces that the next frame has this size."""
        self._coming_bytes = min(size, MAX_FRAME_BYTES)
        self._announced_at_s = self._since_s

    def pinged(self, now: float, unheard_bytes: int) -> None:
        """A Ping was sent, behind so many bytes of which it is not heard that they have arrived."""
        if self.limit_s == math.inf:
            self.awaited_bytes = unheard_bytes + max(0.0, self._sent_by_s - now) * self._bytes_per_s
            if self._announced_at_s == self._since_s:  # nothing has come since
                self.awaited_bytes += self._coming_bytes
            self.limit_s = now + PING_ANSWER_LIMIT_S + self.awaited_bytes / self._bytes_per_s
        self._next_ping_s = now + PING_INTERVAL_S

    @property
    def ping_due_s(self) -> float:
        return max(self._since_s + PING_INTERVAL_S, self._next_ping_s)
