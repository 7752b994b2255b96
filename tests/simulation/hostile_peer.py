"""A cluster with a peer that sends what nodes send each other, with fields changed: in virtual time, whole nodes.

A forged vote or entry may break safety, since a Raft trusts its nodes. So the oracle is not asked here. What must hold
whatever comes: no node ends, each can be started from its disk at any time, and each can say how it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from random import Random
from typing import Any

from paceline.core.incarnation import INCARNATION_SHIFT
from paceline.core.reports.metrics import metrics
from paceline.core.reports.status import status
from paceline.runtime.transport.memory_transport import LinkKind, _Inbox
from paceline.runtime.transport.transport import Received, Sent
from paceline_protocol.codec import decode, encode, encode_config
from paceline_protocol.errors import ProtocolError
from paceline_protocol.limits import MAX_INT
from paceline_protocol.messages.consensus import Config
from paceline_protocol.messages.membership import Envelope
from paceline_protocol.payload import pack_value
from simulation.faults import PEACE
from simulation.machines import SimulatedNode
from simulation.oracle.events import Event
from simulation.oracle.oracle import Oracle
from simulation.stale_frames import RememberingNetwork
from simulation.world import World

FORGED_PER_S = 40.0
RESTARTS_PER_S = 0.5
REMEMBERED = 2_000
SAMPLES = (b"", b"\xc1", bytes(16), b"\x90", b"\x00\x00\x00\x01\x90", encode_config(Config(("n0",))))


class DeafOracle(Oracle):
    """Hears nothing."""

    def hear(self, event: Event) -> None:
        pass


class ListeningNetwork(RememberingNetwork):
    """Keeps what nodes have sent each other, for whoever changes it."""

    def __init__(self, policy: Callable[..., Any]) -> None:
        super().__init__(policy)
        self.heard: deque[tuple[str, str, Received]] = deque(maxlen=REMEMBERED)

    def send(self, kind: LinkKind, source: str, destination: str, inbox: _Inbox, received: Received) -> Sent:
        if kind is LinkKind.PEER:
            self.heard.append((source, destination, received))
        return super().send(kind, source, destination, inbox, received)


def forged(value: Any, random: Random) -> Any:
    """A value of the same type: at the ends of what a frame can say, near the true one, or nonsense."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        near = (value + 1, max(0, value - 1), value + random.randrange(100), value * 2)
        return random.choice((0, 1, MAX_INT, MAX_INT - 1, 1 << INCARNATION_SHIFT, 1 << 62, *near)) & MAX_INT
    if isinstance(value, str):
        return random.choice(("", "x", "n0", "n1", "n2", value + "x", "y" * 4_096))
    if isinstance(value, bytes):
        cut = value[: random.randint(0, len(value))]
        flipped = bytearray(value or b"\0")
        flipped[random.randrange(len(flipped))] ^= 1 << random.randrange(8)
        return random.choice((*SAMPLES, cut, value + b"\xc1", bytes(flipped)))
    if isinstance(value, tuple) and value:
        at = random.randrange(len(value))
        whole = (*value[:at], forged(value[at], random), *value[at + 1 :])
        if hasattr(value, "_fields"):
            return type(value)(*whole)
        if random.random() < 0.7:
            return whole
        return random.choice(((), value + value[:1], value[at:], value[::-1]))
    return value


class HostileWorld(World):
    """A World without faults, but for what somebody sends in the name of its nodes, and restarts."""

    def __init__(self, seed: int, *, nodes: int = 3, trace: Callable[[str], None] | None = None) -> None:
        super().__init__(seed, nodes=nodes, faults=PEACE, trace=trace)
        self.has_hostile_peer = True

    def make_network(self) -> RememberingNetwork:
        self.heard = ListeningNetwork(self._deliver)
        return self.heard

    def make_oracle(self) -> Oracle:
        return DeafOracle()

    def check(self, node: SimulatedNode) -> None:
        """Whatever it is asked, it can answer."""
        if node.core is not None and self.rng.random() < 0.02:
            pack_value(metrics(node.core, node.now))
            pack_value(status(node.core, node.now))

    def run_against(self, seconds: float, *, tasks_per_second: float = 20.0) -> None:
        """So many seconds with load, forged frames and restarts. Raises whatever a node ends with."""
        end = self.now + seconds
        while self.now < end:
            passed_s = self.step()
            for _ in range(self._strikes(FORGED_PER_S * passed_s)):
                self._forge()
            if self._strikes(tasks_per_second * passed_s):
                self._use(self.rng.choice(self.clients))
            for node in self.nodes:
                if node.reactor is None:
                    node.start()
            if self._strikes(RESTARTS_PER_S * passed_s):
                self._restart(self.rng.choice(self.nodes))

    def _strikes(self, expected: float) -> int:
        return int(expected + self.rng.random())

    def _restart(self, node: SimulatedNode) -> None:
        """From its disk, at any moment."""
        if node.reactor is not None:
            node.crash(power_fails=False)
        node.start()
        self.events["restart"] += 1

    def _forge(self) -> None:
        """Send a batch once more, with one of its messages changed, or with its envelope."""
        random, heard = self.rng, self.heard.heard
        if not heard:
            return
        source, destination, received = random.choice(heard)
        target = self.network.node_at(destination)
        if target is None:
            return
        envelope, *messages = (decode(frame) for frame in received[2])
        assert isinstance(envelope, Envelope)
        if random.random() < 0.05 or not messages:
            envelope = forged(envelope, random)
        else:
            at = random.randrange(len(messages))
            for _ in range(random.choice((1, 1, 1, 2, 3))):
                messages[at] = forged(messages[at], random)
        try:
            frames = [encode(envelope), *map(encode, messages)]
        except ProtocolError:
            return  # it can't be sent
        self.events["forged batch"] += 1
        super(ListeningNetwork, self.heard).send(
            LinkKind.PEER, source, destination, target.peer_inbox, (received[0], received[1], frames)
        )
