"""A network that remembers what nodes have sent each other, and delivers some of it again, seconds later.

As what lies in the buffers of a connection does when its ends come back: it arrives at whoever listens at that address
by then, from a node that may have been started anew since. What goes on between the two need not know of it.
"""

from __future__ import annotations

from collections import deque
from random import Random

from paceline.runtime.transport.memory_transport import BETWEEN_NODES, LinkKind, MemoryNetwork, Policy, _Inbox
from paceline.runtime.transport.transport import Received, Sent

REMEMBERED_FRAMES = 4_000
STALE_S = 8.0
"""No frame is older when it is sent again."""
BURST_FRAMES = 30
SPREAD_S = 0.5


class RememberingNetwork(MemoryNetwork):
    """A MemoryNetwork that can repeat itself."""

    def __init__(self, policy: Policy) -> None:
        super().__init__(policy)
        self._sent: deque[tuple[float, str, str, Received]] = deque(maxlen=REMEMBERED_FRAMES)

    def send(self, kind: LinkKind, source: str, destination: str, inbox: _Inbox, received: Received) -> Sent:
        if kind in BETWEEN_NODES:
            self._sent.append((self.now, source, destination, received))
        return super().send(kind, source, destination, inbox, received)

    def repeat(self, address: str, random: Random) -> int:
        """Send again some of what was sent to or from this address, or lost on the way. Returns how many frames."""
        recent = [
            (source, destination, received)
            for at, source, destination, received in self._sent
            if at >= self.now - STALE_S and address in (source, destination)
        ]
        chosen = random.sample(recent, min(len(recent), random.randint(1, BURST_FRAMES)))
        policy = self.policy
        self.policy = lambda kind, source, destination, size_bytes: (random.uniform(0.0, SPREAD_S),)
        for source, destination, received in chosen:
            node = self.node_at(destination)
            if node is not None:
                super().send(LinkKind.PEER, source, destination, node.peer_inbox, received)
        self.policy = policy
        return len(chosen)
