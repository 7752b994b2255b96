"""Who speaks to simulated nodes as nobody should: one speaker for each role, on the same wires as those who behave.

A speaker says what its role may say, right and wrong, in any order, some of it again, and now and then what only others
may say. It keeps a session as its role does (a Hello, a WorkerReady, an envelope around what goes to a peer), since
frames before that are dropped early. It listens, so that what it makes up is near what is the case. Of each thing that
it says it knows what the node has to do with it: take it, or drop and count it (:class:`Verdicts`).
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final

from fuzz.frames import Frames, packed
from fuzz.samples import CLASSES
from paceline.runtime.transport.memory_transport import LinkKind, MemoryEndpoint
from paceline.runtime.transport.transport import Source
from paceline.security import KeyRole, Standing
from paceline_protocol.codec import decode, decode_fields, encode
from paceline_protocol.errors import ProtocolError
from paceline_protocol.messages.children import Done, Run, WorkerReady
from paceline_protocol.messages.client import Hello, Wait
from paceline_protocol.messages.membership import Envelope
from paceline_protocol.messages.message import Sender, sent_by
from simulation import tasks
from simulation.machines import SimulatedNode

if TYPE_CHECKING:
    from fuzz.world import FuzzWorld

AGAIN: Final = 0.04
OF_OTHERS: Final = 0.08
"""How often a frame is one that was said before, or of a kind that only others may say."""
NEW_SESSION: Final = 0.004
KEPT_FRAMES: Final = 64
ALL_UPDATES: Final = 1 << 40
"""Acknowledges whatever was sent."""

_SENDERS: Final = {Source.CLIENT: Sender.OPERATOR, Source.WORKER: Sender.WORKER, Source.WEB: Sender.WEB}
_MAY_SEND: Final = {source: sent_by(sender) for source, sender in _SENDERS.items()}
_ROLES_MAY_SEND: Final = {
    KeyRole.CLIENT: sent_by(Sender.CLIENT),
    KeyRole.OBSERVER: sent_by(Sender.OBSERVER),
}
_PEERS_MAY_SEND: Final = sent_by(Sender.PEER) - {Envelope}


class Verdicts:
    """What the nodes have to say of frames."""

    def __init__(self) -> None:
        self.malformed = 0
        self.unexpected = 0
        self.forbidden = 0  # by the key of the connection
        self.kinds: Counter[str] = Counter()  # what came, by who sent it, the kind of message and the verdict

    def judge(self, source: Source, frames: list[bytes], role: KeyRole = KeyRole.NODE) -> str:
        """``role``: what the connection of a client or peer may say."""
        try:
            if source is Source.CLIENT and role is not KeyRole.NODE:
                kind, _ = decode_fields(frames[0])
                return self._of_role(role, kind)
            if source is not Source.PEER:
                kind, _ = decode_fields(frames[0])
                return self._count(source, kind.__name__, 0 if kind in _MAY_SEND[source] else 1)
            envelope, *rest = (decode(frame) for frame in frames)
        except ProtocolError as error:
            self.malformed += 1
            verdict = type(error).__name__
            self.kinds[f"{source.name}: {verdict}"] += 1
            return verdict
        is_right = isinstance(envelope, Envelope) and all(type(each) in _PEERS_MAY_SEND for each in rest)
        names = "+".join(sorted({type(each).__name__ for each in rest})[:1])
        return self._count(source, names, 0 if is_right else len(frames))

    def _of_role(self, role: KeyRole, kind: type[Any]) -> str:
        verdict = "taken" if kind in _ROLES_MAY_SEND[role] else "forbidden"
        self.forbidden += verdict == "forbidden"
        self.kinds[f"{role.name}: {kind.__name__} {verdict}"] += 1
        return verdict

    def _count(self, source: Source, name: str, unexpected: int) -> str:
        self.unexpected += unexpected
        verdict = "unexpected" if unexpected else "taken"
        self.kinds[f"{source.name}: {name} {verdict}"] += 1
        return verdict


class Speaker:
    """What all have in common. ``role``: its name."""

    role = ""
    source = Source.CLIENT

    def __init__(self, world: FuzzWorld) -> None:
        self.world = world
        self.random = world.rng
        self.frames = Frames(world.rng)
        self.may_send = [cls for cls in CLASSES if cls in _MAY_SEND.get(self.source, ())]
        self._sent: deque[bytes] = deque(maxlen=KEPT_FRAMES)
        self._end: MemoryEndpoint | None = None

    def speak(self) -> None:
        """Send one thing, if there is somebody to send it to."""
        random = self.random
        if self._end is None or self._end.node_gone or random.random() < NEW_SESSION:
            self._begin_anew()
        else:
            self._say(self._next())

    def _next(self) -> bytes:
        random = self.random
        if self._sent and random.random() < AGAIN:
            return random.choice(self._sent)
        frame = self.frames.frame(random.choice(CLASSES if random.random() < OF_OTHERS else self.may_send))
        self._sent.append(frame)
        return frame

    def _begin_anew(self) -> None:
        self.close()
        node = self.random.choice(self.world.nodes)
        if node.reactor is not None:
            self._end = self.attach(node)
            if (first := self.first()) is not None:
                self._say(encode(first))

    def _say(self, frame: bytes) -> None:
        if self._end is not None:
            self.world.send(self, self._end, frame)

    def listen(self) -> None:
        """Learn from what was answered."""
        if self._end is not None:
            for frame in self._end.receive():
                message = decode(frame)
                self.frames.known.hear(message)
                self.heard(message)

    def close(self) -> None:
        if self._end is not None:
            self._end.close()
            self._end = None

    # --- what differs

    def attach(self, node: SimulatedNode) -> MemoryEndpoint:
        return self.world.network.client(node.address, self.random.randbytes(5))

    def first(self) -> Any:
        """What a session of this role begins with, None for nothing."""

    def heard(self, message: Any) -> None:
        """A node has said this."""


class Stranger(Speaker):
    """Speaks no role's language: noise, and frames of all kinds behind one another."""

    role = "stranger"

    def __init__(self, world: FuzzWorld) -> None:
        super().__init__(world)
        self.may_send = [cls for cls in CLASSES if cls not in _MAY_SEND[Source.CLIENT]]

    def speak(self) -> None:
        if self.random.random() < 0.2:
            frames = [self.random.randbytes(self.random.choice((0, 3, 40))), *(self._next() for _ in range(2))]
            self.world.send_peer(self, self.random.choice(self.world.nodes), frames)
        else:
            super().speak()


class ClientSpeaker(Speaker):
    """A client with nothing good in mind, and the key of a node, of a client, or of an observer."""

    role = "client"

    def __init__(self, world: FuzzWorld) -> None:
        super().__init__(world)
        self._waits_for_others = False

    def attach(self, node: SimulatedNode) -> MemoryEndpoint:
        self._waits_for_others = False
        session = self.random.randbytes(5)
        key = self.random.choice((*[KeyRole.NODE] * 4, KeyRole.CLIENT, KeyRole.OBSERVER))
        self.world.give_key(node, session, Standing(key, key.value))
        return self.world.network.client(node.address, session)

    def first(self) -> Any:
        return Hello(self.random.choice(self.frames.known.ids), "") if self.random.random() < 0.9 else None

    def listen(self) -> None:
        if self._end is not None and self._waits_for_others:
            self._end.receive()  # it learns no ids from that, since it may cancel what it knows
            return
        super().listen()
        ids = self.world.ids_of_others() if self.random.random() < 0.1 else []
        if ids:  # whoever knows the name of a task can ask for the ids of those that wait, and then for their results
            self._waits_for_others = True
            self._say(encode(Wait(self.random.choice((0, ALL_UPDATES)), tuple(ids))))


class WebSpeaker(Speaker):
    """The web process, if it were taken over."""

    role = "web"
    source = Source.WEB

    def attach(self, node: SimulatedNode) -> MemoryEndpoint:
        return self.world.network.web(node.address, self.random.randbytes(8))


class WorkerSpeaker(Speaker):
    """A worker in whose place user code speaks. What it is given it may end as it likes, and nothing else."""

    role = "worker"
    source = Source.WORKER

    def __init__(self, world: FuzzWorld) -> None:
        super().__init__(world)
        self._node: SimulatedNode | None = None
        self._worker_id = b""

    def attach(self, node: SimulatedNode) -> MemoryEndpoint:
        self._node, self._worker_id = node, self.random.randbytes(8)
        self.world.children[node.number].workers[self._worker_id] = self
        return self.world.network.worker(node.address, self._worker_id)

    def first(self) -> Any:
        return WorkerReady(1, tasks.NAMES) if self.random.random() < 0.9 else None

    def listen(self) -> None:
        super().listen()
        if self.random.random() < 0.1:  # it has heard of tasks that others have
            self.frames.known.ids.extend(self.world.ids_of_others())

    def heard(self, message: Any) -> None:
        if type(message) is not Run:
            return
        for task_id, attempt, name, args, _ in message.tasks:
            self.world.is_given_away(task_id)
            self.frames.known.ids.append(task_id)
            if self.random.random() < 0.7:
                self._say(packed(Done, [[(task_id, attempt, *tasks.answer(name, args), 50)]]))

    def close(self) -> None:
        """Its process ends: the node is told by whoever watches it."""
        if self._end is not None and self._node is not None:
            self.world.children[self._node.number].end(self._worker_id, "it ended")
        super().close()

    def killed(self) -> None:
        super().close()


class NodeSpeaker(Speaker):
    """A node, of the cluster or not, that says what no node says."""

    role = "node"
    source = Source.PEER

    def __init__(self, world: FuzzWorld) -> None:
        super().__init__(world)
        self.may_send = [cls for cls in CLASSES if cls in _PEERS_MAY_SEND]
        self._batches: deque[list[bytes]] = deque(maxlen=KEPT_FRAMES)

    def speak(self) -> None:
        random = self.random
        if self._batches and random.random() < AGAIN:
            frames = random.choice(self._batches)
        else:
            frames = [self._envelope(), *(self._next() for _ in range(random.choice((1, 1, 1, 2, 4, 16))))]
            self._batches.append(frames)
        self.world.send_peer(self, random.choice(self.world.nodes), frames)

    def _envelope(self) -> bytes:
        random = self.random
        if random.random() < 0.1:
            return self.frames.frame(Envelope)
        return self.frames.right(Envelope)

    def listen(self) -> None:
        for frames in self.world.said_by_nodes():
            for frame in frames:
                try:
                    self.frames.known.hear(decode(frame))
                except ProtocolError:
                    pass  # another of these speakers said it


ROLES: Final[dict[str, type[Speaker]]] = {
    speaker.role: speaker for speaker in (Stranger, ClientSpeaker, NodeSpeaker, WorkerSpeaker, WebSpeaker)
}
"""Who may speak, by the name of the role. A new role is a class here."""

LINKS: Final = {Source.CLIENT: LinkKind.CLIENT, Source.PEER: LinkKind.PEER}
