"""Whether what comes from a peer by its quick connection counts: only while the main one brings what it should.

There are two connections from one node to another (``outbox.py``), and either may end, or swallow what it is given,
while the other works. A peer that only the quick one reaches can say that it leads or lives, and nobody can do anything
with it: no entry, no task and no outcome comes through. So the two share one fate (docs/decisions/0036). It is the one
who listens who finds out. All that a process sends says how much it has sent this node by its main connection. A quick
batch may well overtake that. But if nothing comes by the main connection for as long as it may take, quick batches
count for nothing, and for no sign of life either. Then whoever sent them is not answered, or not heard, and both sides
see what they would if there was one connection: silence.

What is missing may be all that there was to send, and lost with a connection that was made anew since. So the peer is
asked for an answer by the main connection, long before that.
"""

from __future__ import annotations

from math import inf
from typing import Final

from paceline_protocol.limits import LINK_BYTES_PER_S
from paceline_protocol.messages.membership import Envelope

SILENT_S: Final = 1.0
"""So long a main connection may bring nothing though there is something to bring. A node timeout later its node is
given up, and all that is over before the kernel has the connection made anew (``zmq_sockets.py``: 3 s)."""
SLOWEST_BYTES_PER_S = LINK_BYTES_PER_S / 16
"""What is under way gives it more time by that. No link is taken for slower than LINK_BYTES_PER_S; but to be wrong here
is to take a leader from a cluster whose links carry something large."""
ASK_AFTER_S: Final = 0.25
ASK_EVERY_S: Final = 2.0
"""A peer of which something has been missing for so long is asked for an answer, and again each time that this has
doubled, and at least so often. What is large may take minutes, and the answers stand behind it."""
RECIPIENTS_MAX = 4_096


class SentByMain:
    """How many bytes this process has sent by its main connections, to each node. For whoever sends, at the moment in
    which it does: what waits for a disk is not under way."""

    __slots__ = ("_all", "_to")

    def __init__(self) -> None:
        self._all = 0
        self._to: dict[str, int] = {}

    def label(self, envelope: Envelope, size_bytes: int, is_quick: bool) -> Envelope:
        """The envelope for a batch of this size that is about to leave."""
        recipient = envelope.recipient
        if not recipient:  # only an address, which may not be the one that the others are sent to
            return envelope
        if not is_quick:
            if recipient not in self._to and len(self._to) >= RECIPIENTS_MAX:
                self._to.clear()
            self._all += size_bytes
            # Who is new, or forgotten, begins above all that it can have been told before.
            self._to[recipient] = self._to.get(recipient, self._all - size_bytes) + size_bytes
        return envelope._replace(main_bytes=self._to.get(recipient, 0), is_quick=is_quick)


class MainConnection:
    """What has come from one process of a peer by its main connection. ``is_silent``: what comes by the quick one does
    not count."""

    __slots__ = ("_arrived_bytes", "_ask_at", "_is_reported", "_missing_since", "_silent_at", "is_silent", "start")

    def __init__(self, start: int = 0) -> None:
        self.start = start  # of the process
        self.is_silent = False
        self._is_reported = False
        self._arrived_bytes = 0
        self._missing_since = inf
        self._silent_at = inf  # quick batches don't count from then on, unless something comes
        self._ask_at = inf

    def hear(self, envelope: Envelope, now: float) -> bool:
        """A batch has come. Whether it counts."""
        missing_bytes = envelope.main_bytes - self._arrived_bytes
        if missing_bytes <= 0:
            return True
        if not envelope.is_quick:
            self._arrived_bytes = envelope.main_bytes
            self._missing_since = self._silent_at = self._ask_at = inf
            self.is_silent = self._is_reported = False
            return True
        if self._missing_since == inf:
            # Of a process that nothing has come from yet, nearly all of that is from before this one began.
            under_way_bytes = missing_bytes if self._arrived_bytes else 0
            self._missing_since = now
            self._silent_at = now + SILENT_S + under_way_bytes / SLOWEST_BYTES_PER_S
            self._ask_at = now + ASK_AFTER_S
        self.is_silent = now >= self._silent_at
        return not self.is_silent

    def is_to_ask(self, now: float) -> bool:
        """Whether the peer is to be asked for an answer now."""
        if now < self._ask_at:
            return False
        self._ask_at = now + min(now - self._missing_since, ASK_EVERY_S)
        return True

    def is_news(self) -> bool:
        """Whether a person is to be told that it is silent: once, until something comes again."""
        if not self.is_silent or self._is_reported:
            return False
        self._is_reported = True
        return True
