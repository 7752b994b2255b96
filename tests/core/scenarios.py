"""Runs a scripted scenario of the consensus core and writes down what happened.

A scenario is a text file of blocks: commands, a line ``----``, what they printed, an empty line. Running it again must
print the same; ``PACELINE_REWRITE=1`` writes the file anew. The commands (nodes are single letters):

===================================  ==========================================================================
``cluster abc voters=a learners=b``  start these nodes; the cluster of the voters (by default all) formed earlier
``blank abc``                        start these nodes without a cluster
``bootstrap a``                      a forms a cluster of its own
``advance 0.3``                      all clocks move on; nobody is woken
``tick a``                           a is woken and sees the time
``elect a from abc``                 a becomes leader with the votes of these nodes; all else under way is lost
``beat a``                           a heartbeat interval passes, and a is woken
``live ab 0.6``                      these nodes are woken every so often and hear each other, silently
``propose a hello``                  a client's entry
``config a voters=abc learners=d``   a configuration change
``transfer a b``                       a transfers the leadership to b
``read a``, ``reads``                a read that must not be stale; how many have been confirmed
``write a``                          all writes of a complete, and what waited for them leaves
``deliver ab [1]``                   the messages from a to b that are under way arrive (or the first of them)
``deliver ab reversed``              they arrive in the wrong order
``repeat ab [1]``                    they arrive, and copies of them are still under way
``drop ab``, ``drop a``              the messages from a to b, or of a, are lost
``settle abc``                       writes complete and messages between these nodes arrive, until nothing moves
``quietly COMMAND``                  the same without printing
``compact a``                        a snapshots its state machine and drops its log up to there
``crash a``, ``restart a``           a loses everything but its disk; a starts from it
``copy a``, ``roll_back a``          somebody copies the disk of a; while a is down, that copy takes the disk's place
``status abc``                       role, term, commit index, configuration and log of each
===================================  ==========================================================================
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from paceline.core.raft.log import ConsensusViolation
from paceline_protocol.codec import decode_config
from paceline_protocol.errors import PeerViolation
from paceline_protocol.messages.consensus import (
    Append,
    AppendResponse,
    Config,
    Confirm,
    Confirmed,
    ConsensusMessage,
    EntryKind,
    Forgotten,
    Removed,
    SnapshotChunk,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from simulation.consensus_nodes import Disk, Flight, InvariantViolation, Node
from simulation.consensus_world import COMMAND, World

SEPARATOR = "----"
ELECTION_ROUNDS = 4
"""A node that was away may first have to learn the term."""


class Scenario:
    """One run of a scenario's commands."""

    def __init__(self) -> None:
        self._world: World | None = None
        self._lines: list[str] = []
        self._now = 0.0
        self._copies: dict[str, Disk] = {}

    def run(self, text: str) -> str:
        """The scenario's text with what its commands print now."""
        return "\n\n".join(self._run_block(block) for block in text.strip().split("\n\n")) + "\n"

    def _run_block(self, block: str) -> str:
        commands = block.split(f"\n{SEPARATOR}")[0]
        self._lines = []
        for command in commands.splitlines():
            if not command.startswith("#"):
                self._run_command(command)
        if all(command.startswith("#") for command in commands.splitlines()):
            return commands
        return "\n".join([commands, SEPARATOR, *(self._lines or ["ok"])])

    def _run_command(self, command: str) -> None:
        name, *words = command.split()
        if name == "quietly":
            kept = self._lines
            self._lines = []
            self._run_command(command.removeprefix("quietly "))
            self._lines = kept
            return
        actions: dict[str, Callable[..., None]] = {
            name: getattr(self, f"_do_{name}")
            for name in (
                *("cluster", "blank", "bootstrap", "advance", "tick", "elect", "propose", "config", "write", "deliver"),
                *("beat", "live", "drop", "settle", "compact", "crash", "restart", "status", "read", "reads"),
                *("transfer", "repeat", "copy", "roll_back"),
            )
        }
        try:
            actions[name](*words)
        except (ConsensusViolation, InvariantViolation, PeerViolation) as violation:
            self._lines.append(f"{type(violation).__name__}: {violation}")

    @property
    def world(self) -> World:
        assert self._world is not None, "a scenario starts with cluster or blank"
        return self._world

    def _node(self, node_id: str) -> Node:
        node = self.world.nodes[node_id]
        assert node.core is not None, f"{node_id} is down"
        node.now = self._now
        return node

    # --- commands ---

    def _do_cluster(self, nodes: str, *options: str) -> None:
        parts = dict(option.split("=") for option in options)
        voters, learners = parts.get("voters", nodes), parts.get("learners", "")
        self._world = World(nodes, seed=1, voters=voters, learners=learners)

    def _do_blank(self, nodes: str) -> None:
        self._world = World(nodes, seed=1, voters="")

    def _do_bootstrap(self, node_id: str) -> None:
        self.world.bootstrap(self._node(node_id))

    def _do_advance(self, seconds: str) -> None:
        self._now += float(seconds)

    def _do_tick(self, node_id: str) -> None:
        self.world.tick(self._node(node_id), self._now)

    def _do_elect(self, node_id: str, _from: str, nodes: str) -> None:
        """Silence first, since the others don't help while they hear a leader."""
        node = self._node(node_id)
        for _ in range(ELECTION_ROUNDS):
            self._now += 0.6
            self.world.tick(self._node(node_id), self._now)
            while node.core is not None and not node.core.is_leader and self._move(nodes):
                pass
            if node.core is not None and node.core.is_leader:
                break
        self._lines = [describe_node(node)]
        self.world.network.clear()

    def _do_beat(self, node_id: str) -> None:
        self._now += self.world.timing.heartbeat_interval_s
        self._do_tick(node_id)

    def _do_live(self, nodes: str, seconds: str) -> None:
        end = self._now + float(seconds)
        while self._now < end:
            for node_id in nodes:
                self._do_beat(node_id)
                self._do_settle(nodes)
        self._lines = []

    def _do_propose(self, node_id: str, data: str) -> None:
        node = self._node(node_id)
        assert node.core is not None
        index = node.core.propose(COMMAND, data.encode())
        self.world.settle(node)
        self._lines.append(f"{node_id}: {'refused' if index is None else f'index {index}'}")

    def _do_config(self, node_id: str, *options: str) -> None:
        parts = dict(option.split("=") for option in options)
        config = Config(tuple(parts.get("voters", "")), tuple(parts.get("learners", "")))
        try:
            done = self.world.propose_config(self._node(node_id), config)
        except ValueError as error:
            self._lines.append(f"{node_id}: {error}")
        else:
            self._lines.append(f"{node_id}: {'appended' if done else 'refused'}")

    def _do_transfer(self, node_id: str, to: str) -> None:
        done = self.world.transfer_leadership(self._node(node_id), to)
        self._lines.append(f"{node_id}: {'transfers the leadership' if done else 'refused'}")

    def _do_read(self, node_id: str) -> None:
        ticket = self.world.read(self._node(node_id))
        self._lines.append(f"{node_id}: {'refused' if ticket is None else f'read {ticket}'}")

    def _do_reads(self) -> None:
        self._lines.append(f"confirmed: {self.world.checks.confirmed_reads}")

    def _do_write(self, node_id: str) -> None:
        node = self._node(node_id)
        for _ in range(len(node.writes)):
            self.world.complete_write(node)

    def _do_deliver(self, link: str, limit: str = "99") -> None:
        flights = self._take(link) if limit == "reversed" else self._take(link, int(limit))
        for flight in flights[::-1] if limit == "reversed" else flights:
            self._deliver(flight)

    def _do_repeat(self, link: str, limit: str = "99") -> None:
        flights = self._take(link, int(limit))
        self.world.network[:0] = flights
        for flight in flights:
            self._deliver(flight)

    def _do_drop(self, link: str) -> None:
        for flight in self._take(link):
            self._lines.append(f"lost: {flight.sender}->{flight.recipient} {describe(flight.message)}")

    def _do_settle(self, nodes: str) -> None:
        while self._move(nodes):
            pass

    def _move(self, nodes: str) -> bool:
        """Let every write complete and every message between these nodes arrive, once."""
        moved = False
        for node_id in nodes:
            while self._node(node_id).writes:
                self.world.complete_write(self._node(node_id))
                moved = True
        for sender in nodes:
            for recipient in nodes:
                for flight in self._take(sender + recipient):
                    self._deliver(flight)
                    moved = True
        return moved

    def _do_compact(self, node_id: str) -> None:
        self.world.take_snapshot(self._node(node_id))
        self._do_write(node_id)

    def _do_crash(self, node_id: str) -> None:
        node = self._node(node_id)
        node.writes.clear()
        self.world.crash(node)

    def _do_restart(self, node_id: str) -> None:
        self.world.nodes[node_id].now = self._now
        self.world.restart(node_id)

    def _do_copy(self, node_id: str) -> None:
        self._copies[node_id] = self.world.nodes[node_id].disk.copy()

    def _do_roll_back(self, node_id: str) -> None:
        self.world.roll_back(self.world.nodes[node_id], self._copies[node_id])

    def _do_status(self, nodes: str) -> None:
        self._lines.extend(describe_node(self._node(node_id)) for node_id in nodes)

    def _take(self, link: str, limit: int = 99) -> list[Flight]:
        """What is under way on a link (two letters), or to and from a node (one)."""
        network = self.world.network
        flights = [flight for flight in network if link in (flight.sender + flight.recipient)][:limit]
        self.world.network[:] = [flight for flight in network if flight not in flights]
        return flights

    def _deliver(self, flight: Flight) -> None:
        self._lines.append(f"{flight.sender}->{flight.recipient} {describe(flight.message)}")
        self._node(flight.recipient)
        self.world.deliver(flight)
        if flight.recipient in self.world.ended:
            self._lines.append(f"{flight.recipient} ends: {self.world.ended.pop(flight.recipient)}")


# --- words for what is printed ---


def describe_entry(kind: int, data: bytes) -> str:
    if kind == EntryKind.CONFIG:
        return describe_config(decode_config(data))
    return data.decode() if kind == COMMAND else EntryKind(kind).name.lower()


def describe_config(config: Config) -> str:
    learners = f"+{''.join(config.learners)}" if config.learners else ""
    return f"<{''.join(config.voters)}{learners}>"


def describe_node(node: Node) -> str:
    core = node.core
    assert core is not None
    log = core.log
    entries = [f"{entry.term}:{describe_entry(entry.kind, entry.data)}" for entry in log.entries(log.first_index)]
    leader = f" of {core.leader_id}" if core.leader_id not in ("", node.node_id) else ""
    lost = "".join(peer for peer, progress in core.progress(node.now).items() if progress.has_forgotten)
    leader += f" without {lost}" if lost else ""
    return (
        f"{node.node_id}: {core.role.value}{leader}, term {core.term}, commit {core.commit_index}, "
        f"config {describe_config(core.config)}, log ({log.snapshot_index}) {' '.join(entries)}"
    ).rstrip()


def describe(message: ConsensusMessage) -> str:
    match message:
        case VoteRequest():
            name = "PreVoteRequest" if message.pre else "VoteRequest"
            return f"{name} term {message.term}, log ends at {message.last_index}/{message.last_term}"
        case VoteResponse():
            name = "PreVoteResponse" if message.pre else "VoteResponse"
            return f"{name} term {message.term}, {'granted' if message.granted else 'refused'}"
        case Append():
            batch = " ".join(f"{term}:{describe_entry(kind, data)}" for term, kind, data in message.entries)
            place = f"after {message.prev_index}/{message.prev_term}"
            return f"Append term {message.term}, {place}, commit {message.commit}: {batch or 'heartbeat'}"
        case AppendResponse(success=True):
            return f"AppendResponse term {message.term}, holds {message.index}"
        case AppendResponse():
            hint = f"{message.hint_index}/{message.hint_term}"
            return f"AppendResponse term {message.term}, refuses {message.index}, hint {hint}"
        case SnapshotChunk():
            part = f"bytes {message.offset}+{len(message.data)} of {message.total}"
            return f"SnapshotChunk term {message.term}, to {message.index}/{message.index_term}, {part}"
        case SnapshotResponse():
            return f"SnapshotResponse term {message.term}, to {message.index}, wants offset {message.offset}"
        case TimeoutNow():
            return f"TimeoutNow term {message.term}"
        case Confirm():
            return f"Confirm {message.number} term {message.term}"
        case Confirmed():
            return f"Confirmed {message.number} term {message.term}"
        case Forgotten():
            return f"Forgotten term {message.term}, {message.index}/{message.index_term}"
        case Removed():
            return f"Removed by {message.index}/{message.term}"


def run_file(path: Path) -> str:
    return Scenario().run(path.read_text())
