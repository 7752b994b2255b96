"""How long the leader of one epoch has said nothing: when it is asked, and when it is given up.

A leader that lives answers a Ping. But the Ping stands behind what was sent before it, and the answer behind what the
leader has sent, and of a frame that is half through nobody knows but its sender. So the answer may take as long as
these bytes do on a slow link. While little is under way, which is nearly always, the limit is as short as it can be.

What is under way is counted in bytes of whole frames, of any kind. Of its own the client counts all that it has sent
and the leader has not proved to have: a connection keeps its order, and a leader answers each Ping, so the answer to a
Ping proves that what was sent before it has arrived. A Ping goes behind every PING_AFTER_BYTES, so that this is known
without a silence, too. Of what comes the other way the leader announces each frame that is large (``Coming``). What is
not large is through within the limit as it is, on the slowest link.

Pure.
"""

from __future__ import annotations

import math
from collections import deque
from typing import Final

from paceline_protocol.limits import LINK_BYTES_PER_S, MAX_FRAME_BYTES

PING_INTERVAL_S: Final = 0.1
PING_ANSWER_LIMIT_S: Final = 0.3
"""With the interval: a leader that is silent for 400 ms is given up. Counted from the unanswered Ping, or from when the
silence would have called for one, and not from the last frame, so that a client that was itself stopped for a while
does not blame the leader."""
PING_AFTER_BYTES: Final = 64 * 1024
"""A Ping follows when so much was sent behind the one before: about as much may have arrived and count as under way."""
NOTED_PINGS: Final = 1_024
"""For so many unanswered Pings it is kept what was sent before them. The answers to more prove nothing."""
USUAL_BYTES_PER_S: Final = LINK_BYTES_PER_S / 2
"""What a client's link is taken for. A frame shares its link with others, and TCP needs a moment to make use of it."""
SLOWER_BY: Final = 8
SLOWEST_BYTES_PER_S: Final = USUAL_BYTES_PER_S / SLOWER_BY**2
"""What a link may turn out to be: 80 KiB a second."""


class Silence:
    """The silence of one leader, from the beginning of its epoch. Silence counts only while the client waits for
    something: the caller looks at the deadlines only then.

    ``limit_s``: when the leader is given up; math.inf while no Ping is unanswered. ``awaited_bytes``: how many the
    answer to the unanswered Ping may have to wait for."""

    def __init__(self, now: float, bytes_per_s: float = USUAL_BYTES_PER_S) -> None:
        """``bytes_per_s``: what the link is taken for."""
        self.limit_s = math.inf
        self.awaited_bytes = 0
        self._bytes_per_s = bytes_per_s
        self._since_s = now
        self._next_ping_s = now
        self._sent_bytes = 0  # since the beginning of the epoch, as all of these
        self._arrived_bytes = 0  # of them, as far as that is proved
        self._pinged_bytes = 0  # of them, up to the last Ping
        self._pings = 0
        self._pongs = 0
        self._noted: deque[tuple[int, int]] = deque()  # unanswered Pings: the number of each, and the bytes up to it
        self._coming_bytes = 0

    def begin(self, now: float) -> None:
        """The client begins to wait for something."""
        self._since_s = now
        self.limit_s = math.inf

    def heard(self, now: float) -> None:
        """A frame of the leader has come, and with it what was announced before."""
        self.begin(now)
        self._coming_bytes = 0

    def coming(self, size: int) -> None:
        """The leader, which was just heard, announces that the next frame has this size."""
        self._coming_bytes = min(size, MAX_FRAME_BYTES)

    def sent(self, size: int) -> bool:
        """A frame of this size was sent. True: a Ping is to follow."""
        self._sent_bytes += size
        return self._sent_bytes - self._pinged_bytes >= PING_AFTER_BYTES

    def pinged(self, size: int, now: float) -> None:
        """A Ping was sent, in a frame of this size."""
        self._sent_bytes += size
        self._pinged_bytes = self._sent_bytes
        self._pings += 1
        if len(self._noted) < NOTED_PINGS:
            self._noted.append((self._pings, self._sent_bytes))
        if self.limit_s == math.inf:
            self.awaited_bytes = self.under_way_bytes + self._coming_bytes
            due_s = max(now, self._since_s + PING_INTERVAL_S)  # an early Ping has no earlier limit
            self.limit_s = due_s + PING_ANSWER_LIMIT_S + self.awaited_bytes / self._bytes_per_s
        self._next_ping_s = now + PING_INTERVAL_S

    def answered(self) -> None:
        """The leader has answered the first of the Pings that were unanswered."""
        self._pongs = min(self._pongs + 1, self._pings)
        while self._noted and self._noted[0][0] <= self._pongs:
            _, self._arrived_bytes = self._noted.popleft()

    @property
    def under_way_bytes(self) -> int:
        """Of what was sent, all that may not have arrived."""
        return self._sent_bytes - self._arrived_bytes

    @property
    def ping_due_s(self) -> float:
        return max(self._since_s + PING_INTERVAL_S, self._next_ping_s)
