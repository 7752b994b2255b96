"""Whether what comes from a peer by its quick connection counts: only while the main one brings what it should.

There are two connections from one node to another (``outbox.py``), and either may end, or swallow what it is given,
while the other works. A peer that only the quick one reaches can say that it leads or lives, and nobody can do anything
with it: no entry, no task and no outcome comes through. So the two share one fate (docs/decisions/0036). It is the one
who listens who finds out. All that a process sends says how much it has sent this node by its main connection. A quick
batch may well overtake that. But if nothing comes by the main connection for as long as it may take, quick batches
count for nothing, and for no sign of life either. Then whoever sent them is not answered, or not heard, and both sides
see what they would if there was one connection: silence.

What is missing may be all that there was to send, and lost with a connection that was made anew since. So the peer is
asked for an answer by the main connection, long before that. A path that lets small packets through alone looks well
each time that the connection is made anew, until something large stands in front again. What tells it is that much was
lost, again and again, and nothing large came between: from then on what is under way gives no time.
"""

from __future__ import annotations

from math import inf
from typing import Final

from paceline_protocol.limits import LINK_BYTES_PER_S, MAX_FRAME_BYTES
from paceline_protocol.messages.membership import Envelope

SILENT_S: Final = 1.0
"""So long a main connection may bring nothing though there is something to bring. A node timeout later its node is
given up, and all that is over before the kernel has the connection made anew (``zmq_sockets.py``: 3 s)."""
SLOWEST_BYTES_PER_S = LINK_BYTES_PER_S / 16
"""What is under way gives it more time by that, or by a part of LINK_BYTES_PER_S for each peer, if that is less: they
may share a link. No link is taken for slower than LINK_BYTES_PER_S; but to be wrong here is to take a leader from a
cluster whose links carry something large."""
UNDER_WAY_BYTES: Final = MAX_FRAME_BYTES
"""More than that is not under way at a time, but counted from before."""
FIRST_UNDER_WAY_BYTES: Final = 16 << 20
"""The same, of a process that nothing has come from yet: nearly all that it has sent is from before this one began."""
LARGE_BYTES: Final = 64 << 10
LOSSES: Final = 2
"""So often so much may be lost by the main connection, without as large a batch that comes: a link that was cut, or a
peer that stood still."""
SAID_AFTER_S: Final = 1.0
"""So long it has to be silent until somebody is told: after a cut, one connection is made anew before the other."""
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
        if is_quick:
            before = sent = self._to.get(recipient, 0)
        else:
            if recipient not in self._to and len(self._to) >= RECIPIENTS_MAX:
                self._to.clear()
            # Who is new, or forgotten, begins above all that it can have been told before.
            before = self._to.get(recipient, self._all)
            self._all += size_bytes
            sent = self._to[recipient] = before + size_bytes
        return envelope._replace(main_before=before, main_bytes=sent, is_quick=is_quick)


class MainConnection:
    """What has come from one process of a peer by its main connection."""

    __slots__ = (
        "_arrived_bytes",
        "_ask_at",
        "_is_reported",
        "_losses",
        "_missing_since",
        "_silent_at",
        "start",
    )

    def __init__(self, start: int = 0) -> None:
        self.start = start  # of the process
        self._is_reported = False
        self._arrived_bytes = 0
        self._losses = 0  # of LARGE_BYTES, since as large a batch came
        self._missing_since = inf
        self._silent_at = inf  # quick batches don't count from then on, unless something comes
        self._ask_at = inf

    def hear(self, envelope: Envelope, now: float, peers: int = 1) -> bool:
        """A batch has come. Whether it counts. ``peers``: how many nodes may share the links."""
        missing_bytes = envelope.main_bytes - self._arrived_bytes
        if missing_bytes <= 0:
            return True
        if not envelope.is_quick:
            self._arrive(envelope)
            return True
        if self._missing_since == inf:
            self._missing_since, self._ask_at = now, now + ASK_AFTER_S
        if now < self._missing_since + SILENT_S:  # what is sent later explains nothing, or it could do so for ever
            takes_s = self._under_way(missing_bytes) / min(SLOWEST_BYTES_PER_S, LINK_BYTES_PER_S / peers)
            self._silent_at = self._missing_since + SILENT_S + takes_s
        return now < self._silent_at

    def _arrive(self, envelope: Envelope) -> None:
        """A batch has come by the main connection."""
        if envelope.main_bytes - envelope.main_before >= LARGE_BYTES:
            self._losses = 0
        elif self._arrived_bytes and envelope.main_before - self._arrived_bytes >= LARGE_BYTES:
            self._losses += 1
        self._arrived_bytes = envelope.main_bytes
        self._missing_since = self._silent_at = self._ask_at = inf
        self._is_reported = False

    def _under_way(self, missing_bytes: int) -> int:
        if self._losses >= LOSSES:
            return 0
        return min(missing_bytes, UNDER_WAY_BYTES if self._arrived_bytes else FIRST_UNDER_WAY_BYTES)

    def is_to_ask(self, now: float) -> bool:
        """Whether the peer is to be asked for an answer now."""
        if now < self._ask_at:
            return False
        self._ask_at = now + min(now - self._missing_since, ASK_EVERY_S)
        return True

    def is_news(self, now: float) -> bool:
        """Whether a person is to be told that it is silent: once, until something comes again."""
        if now < self._silent_at + SAID_AFTER_S or self._is_reported:
            return False
        self._is_reported = True
        return True
