"""Simulated nodes that the speakers of ``speakers.py`` speak to, beside clients that behave. A seed decides everything.

What must hold, whoever speaks: no node ends, each can say how it is, and each can be started from its disk; and once
nobody speaks any more, a cluster that had formed is of use.

If nobody speaks as a node, also: all that the oracle of the simulator knows of a cluster without faults, for the tasks
of the clients that behave; they all get their one right outcome, and new ones do so within a second once there is calm;
no honest node has a reason to refuse what another says; and each frame that is malformed, or not its sender's to send,
is dropped and counted, and no other is. A Raft trusts its nodes, so that one of them could rightly lead, or forge
results.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from fuzz.speakers import ROLES, Speaker, Verdicts, WorkerSpeaker
from paceline.runtime.children.causes import KILLED
from paceline.runtime.children.pool import ChildEnd
from paceline.runtime.transport.memory_transport import LinkKind, MemoryEndpoint
from paceline.runtime.transport.transport import Received, Sent, Source
from paceline.security import KeyRole, Standing
from paceline_protocol.errors import ProtocolError
from simulation.hostile_peer import DeafOracle, HostileWorld
from simulation.machines import SimulatedNode
from simulation.oracle.events import Event, Submitted
from simulation.oracle.oracle import Oracle
from simulation.oracle.promise import InvariantBroken
from simulation.oracle.record import Story
from simulation.workers import SimulatedChildren
from simulation.world import World

TRUSTED: Final = "node"
BURST: Final = 48
"""Frames of all speakers in one step. Less than a node takes in one, so that those who behave are heard, too."""
NORMAL_TASKS_PER_S: Final = 20.0
DONE_WITHIN_S: Final = 60.0
"""Virtual seconds from the last bad frame until all tasks of those who behave have ended."""


class Witnesses(dict[bytes, Story]):
    """The stories of the tasks of clients that behave. Of any other task there is one that nobody keeps."""

    def __missing__(self, task_id: bytes) -> Story:
        return Story(task_id, {}, (0, b""), 0.0)


class WitnessOracle(Oracle):
    """Hears of the tasks of clients that behave, and of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.record.stories = Witnesses()

    def hear(self, event: Event) -> None:
        task_id = getattr(event, "task_id", None)
        if task_id is None or task_id in self.record.stories or type(event) is Submitted:
            super().hear(event)


class PlayedChildren(SimulatedChildren):
    """The children of a simulated node as its reactor sees them, of which a speaker may be one."""

    def __init__(self, node: SimulatedNode) -> None:
        super().__init__(node)
        self.workers: dict[bytes, WorkerSpeaker] = {}
        self._gone: set[bytes] = set()
        self._ended: dict[int, ChildEnd] = {}
        self._descriptors = 0

    def end(self, worker_id: bytes, how: str) -> None:
        """A process has ended, which the node sees in its next turn."""
        self.workers.pop(worker_id, None)
        self._gone.add(worker_id)
        self._descriptors += 1
        self._ended[self._descriptors] = ChildEnd(worker_id, how, KILLED)
        transport = self._node._transport
        transport.watch(self._descriptors)
        transport.make_readable(self._descriptors)

    def kill(self, worker_id: bytes) -> None:
        speaker = self.workers.get(worker_id)
        if worker_id in self._gone:
            return  # what it had sent before its end is still heard
        if speaker is None:
            super().kill(worker_id)  # one that behaves, for what a task has left in it
            return
        speaker.killed()
        self._node.world.events["worker killed for what it said"] += 1
        self.end(worker_id, "signal 9")

    def reap(self, fd: int) -> ChildEnd | None:
        self._node._transport._readable.discard(fd)
        return self._ended.pop(fd, None)

    def stand_in(self, worker_id: bytes, had_task: bool, now: float) -> tuple[bytes, tuple[str, ...]] | None:
        return None

    def respawn(self, now: float) -> None:
        """Nobody is due."""


class FuzzWorld(HostileWorld):
    """A World without faults but for what these roles say."""

    def __init__(
        self, seed: int, roles: Sequence[str], *, nodes: int = 3, trace: Callable[[str], None] | None = None
    ) -> None:
        self.roles = tuple(roles)
        self.is_trusted = TRUSTED in roles
        self.verdicts = Verdicts()
        self.sent_frames = 0
        self.children: dict[int, PlayedChildren] = {}
        self.taken = Verdicts()
        self.ignored = 0  # frames of connections that are heard no more
        self.refused = 0  # messages in which the core found what is malformed
        self.polled: dict[int, tuple[int, list[Received]]] = {}
        super().__init__(seed, nodes=nodes, trace=trace)
        self.has_hostile_peer = self.is_trusted
        self.speakers = [ROLES[role](self) for role in roles]

    def make_oracle(self) -> Oracle:
        return DeafOracle() if self.is_trusted else WitnessOracle()

    def check(self, node: SimulatedNode) -> None:
        super().check(node)  # whatever it is asked, it can answer
        if not self.is_trusted:
            World.check(self, node)

    # --- sending

    def send(self, speaker: Speaker, end: MemoryEndpoint, frame: bytes) -> None:
        """To the node at the other end."""
        if end.send(frame) is Sent.OK:
            self._tell(speaker, end.name, [frame])

    def send_peer(self, speaker: Speaker, node: SimulatedNode, frames: list[bytes]) -> None:
        """To the socket for peers, with an address of the cluster."""
        target = self.network.node_at(node.address)
        if target is not None:
            sender = self.rng.choice(self.nodes).address
            received: Received = (Source.PEER, sender.encode(), frames)
            if self.network.send(LinkKind.PEER, sender, node.address, target.peer_inbox, received) is Sent.OK:
                self._tell(speaker, node.address, frames, Source.PEER)

    def _tell(self, speaker: Speaker, to: str, frames: list[bytes], source: Source | None = None) -> None:
        self.sent_frames += len(frames)
        verdict = self.verdicts.judge(source or speaker.source, frames)
        if self._trace is not None:
            shown = " ".join(frame[:100].hex() + ("..." if len(frame) > 100 else "") for frame in frames)
            self.say(f"{speaker.role} to {to}, {verdict}: {shown}")

    def give_key(self, node: SimulatedNode, session: bytes, standing: Standing) -> None:
        """What a session that is about to begin may say."""
        node._transport.standings[session] = standing

    def said_by_nodes(self) -> list[list[bytes]]:
        """The last batches between nodes."""
        heard = self.heard.heard
        return [heard[-number][2][2] for number in range(1, min(8, len(heard)) + 1)]

    def ids_of_others(self) -> list[bytes]:
        """Some tasks that a client which behaves waits for."""
        return list(self.rng.choice(self.clients).open)[:2]

    def is_given_away(self, task_id: bytes) -> None:
        """A hostile worker has this task, and may end it as it likes. It ends, and that is all that can be said."""
        self.oracle.record.stories.pop(task_id, None)

    # --- running

    def start_all(self) -> None:
        """Until a cluster has formed and is of use, in peace: a node that speaks before can keep it from forming. In
        some runs it may try."""
        self.has_formed = not self.is_trusted or self.rng.random() < 0.8
        if self.has_formed:
            self._must_be_of_use()

    def has_started(self, node: SimulatedNode) -> None:
        """Have its reactor see the children that are played here, and note what it takes in each turn."""
        assert node.reactor is not None
        self.children[node.number] = PlayedChildren(node)
        node.reactor._children._children = self.children[node.number]
        transport, reactor, core = node._transport, node.reactor, node.reactor.core
        poll, receive_more, on_client = transport.poll, transport.receive_more, core.on_client

        def polled(timeout_s: float) -> list[Received]:
            self.polled[node.number] = (reactor.counters.frames_received, [])
            found = poll(timeout_s)
            for item in found:
                if item[0] not in (Source.CLIENT, Source.PEER):
                    self._note(node, item)
            return found

        def received() -> Received | None:
            item = receive_more()
            if item is not None:
                self._note(node, item)
            return item

        def heard(key: bytes, message: Any, now: float) -> None:
            try:
                on_client(key, message, now)
            except ProtocolError:
                self.refused += 1
                raise

        transport.poll = polled  # type: ignore[method-assign]
        transport.receive_more = received  # type: ignore[method-assign]
        core.on_client = heard  # type: ignore[method-assign]

    def _note(self, node: SimulatedNode, item: Received) -> None:
        """A node is about to take this."""
        source, key, frames = item
        self.polled[node.number][1].append(item)
        if frames:
            role = node._transport.standing(key).role if isinstance(key, bytes) else KeyRole.NODE
            self.taken.judge(source, frames, role)
        elif source is Source.CLIENT:
            is_ignored = key in node._transport.unread.sessions
            self.ignored += is_ignored
            self.taken.malformed += not is_ignored  # it is longer than any of a client

    def last_taken(self) -> str:
        """The message at which a node ended, or each one's last."""
        lines = []
        for node in self.nodes:
            before, found = self.polled.get(node.number, (0, []))
            if node.reactor is not None:
                count = node.reactor.counters.frames_received - before
                taken = [received for received in found if received[2]]
                for source, key, frames in taken:
                    count -= len(frames)
                    if count <= 0:
                        lines.append(f"{node.address} took of {source.name} {key!r}: {[each.hex() for each in frames]}")
                        break
        return "\n".join(lines)

    def speak_until(self, frames: int) -> None:
        """Until so many were sent. Raises whatever a node ends with."""
        while self.sent_frames < frames:
            passed_s = self.step()
            for speaker in self.speakers:
                speaker.listen()
                for _ in range(BURST // len(self.speakers)):
                    speaker.speak()
            if self._strikes(NORMAL_TASKS_PER_S * passed_s):
                self._use(self.rng.choice(self.clients))
            if self.is_trusted:
                self._restart_some(passed_s)

    def _restart_some(self, passed_s: float) -> None:
        for node in self.nodes:
            if node.reactor is None:
                node.start()
        if self._strikes(0.5 * passed_s):
            self._restart(self.rng.choice(self.nodes))

    def _must_be_of_use(self) -> None:
        """A task that is submitted now ends. Raises InvariantBroken."""
        client, end = self.clients[0], self.now + DONE_WITHIN_S
        before = set(client.open)
        client.submit()
        (task_id,) = client.open.keys() - before
        while task_id in client.open:
            if self.now > end:
                raise InvariantBroken(f"the cluster is of no use {DONE_WITHIN_S} s later")
            for node in self.nodes:
                if node.reactor is None:
                    node.start()
            self.step()

    def finish(self) -> None:
        """Nobody speaks any more. Raises InvariantBroken for what does not hold."""
        for speaker in self.speakers:
            speaker.listen()
            speaker.close()
        if self.is_trusted:
            for power_fails in (False, True):
                if self.has_formed:
                    self._must_be_of_use()
                for node in self.nodes:
                    if node.reactor is not None:
                        node.crash(power_fails=power_fails)
                    node.start()
        else:
            self._wait_for_results()
            self._must_have_counted()
            self._until_nobody_is_to_lead_instead()
            self._use_in_calm()
        self.close()

    def _wait_for_results(self) -> None:
        end = self.now + DONE_WITHIN_S
        for _ in range(10):  # what was said last arrives
            self.step()
        while not all(client.is_done for client in self.clients) or any(n._transport.waiting for n in self.nodes):
            if self.now > end:
                waiting = {client.number: len(client.open) for client in self.clients if client.open}
                raise InvariantBroken(f"{DONE_WITHIN_S} s later tasks have not ended, by client: {waiting}")
            self.step()

    def _until_nobody_is_to_lead_instead(self) -> None:
        """A client may have asked for that, with its last words."""
        end = self.now + DONE_WITHIN_S
        while (
            (leader := self.leader()) is None
            or leader.consensus.transfer_target(self.now)
            or leader.role.keeper._requests
        ):
            if self.now > end:
                raise InvariantBroken(f"{DONE_WITHIN_S} s later somebody is still to lead in place of who does")
            self.step()

    def _must_have_counted(self) -> None:
        counters = [node.reactor.counters for node in self.nodes if node.reactor is not None]
        taken = self.taken
        must = {
            "frames_malformed": taken.malformed + self.refused,
            "frames_unexpected": taken.unexpected,
            "frames_forbidden": taken.forbidden,
            "frames_ignored": self.ignored,
        }
        counted = {name: sum(getattr(each, name) for each in counters) for name in must}
        if counted != must:
            raise InvariantBroken(f"of the frames that nodes have taken {must} were to be dropped, and {counted} are")
