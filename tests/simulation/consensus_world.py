"""A cluster of consensus cores on a simulated network and simulated disks, and the invariants checked after each step.

A :class:`World` only offers what can happen: a message arrives, is lost or doubled, a write completes, a node wakes,
crashes or restarts, something is proposed. Who chooses, and in which order, is a scheduler: see ``schedulers.py``.

The nodes run the real code. What is simulated is the shell's part, and as harshly as its contract allows: committed
entries are applied at once, writes take as long as the scheduler likes, and a crash leaves any prefix of a write.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from paceline.core.raft.consensus import Consensus, Entry, HardState, Log, Persist, Ready, Snapshot, Timing
from paceline_protocol.codec import decode_config
from paceline_protocol.messages import AppendResponse, Config, ConsensusMessage, EntryKind, VoteResponse

FORMED_INDEX = 1
COMMAND = EntryKind.ACCEPT


class InvariantViolation(AssertionError):
    """The cluster did something that the replicated log must never do."""


@dataclass
class Disk:
    """What of one node survives a crash."""

    hard_state: HardState = field(default_factory=HardState)
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(0, 0, Config(), b""))
    entries: dict[int, Entry] = field(default_factory=dict)

    def steps(self, persist: Persist) -> list[Callable[[], None]]:
        """One write as the steps between which a crash may fall."""
        steps: list[Callable[[], None]] = []
        if persist.hard_state is not None:
            steps.append(partial(setattr, self, "hard_state", persist.hard_state))
        if persist.snapshot is not None:
            steps.append(partial(self._replace, persist.snapshot))
        if persist.truncate_from is not None:
            steps.append(partial(self._cut, persist.truncate_from))
        return [*steps, *(partial(self._append, entry) for entry in persist.entries)]

    def save_snapshot(self, snapshot: Snapshot) -> None:
        if snapshot.index > self.snapshot.index:
            self.snapshot = snapshot
            self.entries = {index: entry for index, entry in self.entries.items() if index > snapshot.index}

    def last_index(self) -> int:
        return max(self.entries, default=self.snapshot.index)

    def holds(self, index: int, term: int) -> bool:
        return index <= self.snapshot.index or (index in self.entries and self.entries[index].term == term)

    def log(self) -> Log:
        return Log(self.snapshot.index, self.snapshot.term, [self.entries[index] for index in sorted(self.entries)])

    def _replace(self, snapshot: Snapshot) -> None:
        self.snapshot, self.entries = snapshot, {}

    def _cut(self, index: int) -> None:
        self.entries = {at: entry for at, entry in self.entries.items() if at < index}

    def _append(self, entry: Entry) -> None:
        if entry.index != self.last_index() + 1:
            raise InvariantViolation(f"entry {entry.index} is written behind {self.last_index()}")
        self.entries[entry.index] = Entry(entry.index, entry.term, entry.kind, entry.data)


@dataclass
class Write:
    """What waits for a disk, and what may be sent only afterwards."""

    persist: Persist | None
    snapshot: Snapshot | None  # one that the node took itself
    send_after: list[tuple[str, ConsensusMessage]]


@dataclass
class Node:
    node_id: str
    disk: Disk = field(default_factory=Disk)
    core: Consensus | None = None  # None while it is down
    now: float = 0.0
    writes: deque[Write] = field(default_factory=deque)
    snapshot_queued: bool = False
    applied_index: int = 0
    digest: bytes = b""
    checked_to: tuple[int, int, int] = (0, 0, 0)
    checked_commit: int = 0
    checked_lead: tuple[int, ...] = ()
    reads: dict[int, int] = field(default_factory=dict)  # ticket -> what was committed when it was asked for


@dataclass
class Flight:
    """A message under way."""

    sender: str
    recipient: str
    message: ConsensusMessage


def next_digest(digest: bytes, entry: Entry) -> bytes:
    return hashlib.sha256(b"%b|%d|%d|%d|%b" % (digest, entry.index, entry.term, entry.kind, entry.data)).digest()


class World:
    """Nodes, disks, messages under way, and what is known to be committed."""

    def __init__(
        self,
        node_ids: str,
        seed: int,
        *,
        timing: Timing | None = None,
        voters: str | None = None,
        learners: str | None = None,
        on_send: Callable[[Flight], None] | None = None,
        on_write: Callable[[Node], None] | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        """``say`` is given a line for all that happens."""
        self.say = say  # guarded at each use: to describe all that happens takes longer than to let it happen
        self.events: Counter[str] = Counter()
        self.random = random.Random(seed)
        self.timing = timing or Timing()
        self.network: list[Flight] = []
        self.on_send = on_send or self.network.append
        self.on_write = on_write or (lambda node: None)
        self.nodes = {node_id: Node(node_id) for node_id in node_ids}
        self.leaders: dict[int, str] = {}  # term -> who led it
        self.votes: dict[tuple[str, int], str] = {}  # (voter, term) -> for whom a vote left
        self.promised: dict[str, int] = {}  # node -> the highest term that left it
        self.identity: dict[tuple[int, int], tuple[int, int, bytes]] = {}  # (index, term) -> (term before, kind, data)
        self.committed: dict[int, tuple[int, int]] = {}  # index -> (term, term in which it was found committed)
        self.last_committed = 0
        self.configs: dict[int, Config] = {0: Config()}  # index -> the configuration in force there, if committed
        self.digests: dict[int, bytes] = {0: b""}
        self._proposals = 0
        self.confirmed_reads = 0
        if voters != "":
            first = node_ids if voters is None else voters
            others = set(node_ids) - set(first) if learners is None else learners
            self._preform(Config(tuple(sorted(first)), tuple(sorted(others))))
        for node_id in node_ids:
            self.restart(node_id)

    def _preform(self, config: Config) -> None:
        """Start the members' disks as if the cluster had formed long ago: a snapshot of its first entry."""
        digest = hashlib.sha256(b"formed").digest()
        self.digests[FORMED_INDEX] = digest
        self.committed[FORMED_INDEX] = (1, 1)
        self.last_committed = FORMED_INDEX
        self.configs[FORMED_INDEX] = config
        for node_id in (*config.voters, *config.learners):
            node = self.nodes[node_id]
            node.disk.hard_state = HardState(1)
            node.disk.snapshot = Snapshot(FORMED_INDEX, 1, config, digest)

    # --- what can happen ---

    def up(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.core is not None]

    def leader(self) -> Node | None:
        """The leader of the highest term, if one is up."""
        leaders = [node for node in self.up() if node.core is not None and node.core.is_leader]
        return max(leaders, key=lambda node: node.core.term if node.core else 0, default=None)

    def deliver(self, flight: Flight) -> None:
        node = self.nodes[flight.recipient]
        if node.core is not None:
            if self.say is not None:
                self.say(f"{flight.sender} -> {flight.recipient}: {flight.message}")
            node.core.step(flight.sender, flight.message, node.now)
            self.settle(node)

    def wake(self, node: Node) -> None:
        """Move the node's clock to what it waits for."""
        assert node.core is not None
        deadline = node.core.next_deadline()
        if deadline < float("inf"):
            self.tick(node, max(node.now, deadline))

    def tick(self, node: Node, now: float) -> None:
        assert node.core is not None
        node.now = now
        node.core.tick(now)
        self.settle(node)

    def bootstrap(self, node: Node) -> None:
        assert node.core is not None
        node.core.bootstrap(node.now)
        self.settle(node)

    def campaign(self, node: Node, transfer: bool) -> None:
        assert node.core is not None
        node.core.campaign(node.now, transfer)
        self.settle(node)

    def transfer_leadership(self, node: Node, to: str) -> bool:
        assert node.core is not None
        done = node.core.transfer_leadership(to, node.now)
        self.events["transfer"] += done
        self.settle(node)
        return done

    def read(self, node: Node) -> int | None:
        assert node.core is not None
        ticket = node.core.read_index(node.now)
        if ticket is not None:
            node.reads[ticket] = self.last_committed
        self.settle(node)
        return ticket

    def propose(self, node: Node) -> int | None:
        assert node.core is not None
        self._proposals += 1
        index = node.core.propose(COMMAND, b"%d" % self._proposals)
        self.settle(node)
        return index

    def propose_config(self, node: Node, config: Config) -> bool:
        assert node.core is not None
        done = node.core.propose_config(config)
        if self.say is not None:
            self.say(f"{node.node_id} proposes {config}: {'done' if done else 'refused'}")
        self.settle(node)
        return done

    def complete_write(self, node: Node) -> None:
        """The oldest write of this node becomes durable; what waited for it leaves."""
        assert node.core is not None
        write = node.writes.popleft()
        if self.say is not None:
            self.say(f"{node.node_id} has written")
        if write.persist is not None:
            for step in node.disk.steps(write.persist):
                step()
            node.core.persisted(write.persist.seq)
        if write.snapshot is not None:
            node.disk.save_snapshot(write.snapshot)
            node.core.compact(write.snapshot.index)
            node.snapshot_queued = False
        for recipient, message in write.send_after:
            self._check_promise(node, recipient, message)
            self._send(node, recipient, message)
        self.settle(node)

    def take_snapshot(self, node: Node) -> None:
        """Have the node write a snapshot and then compact its log, in the order of its other writes."""
        if node.core is None or node.snapshot_queued or node.applied_index <= node.disk.snapshot.index:
            return
        node.snapshot_queued = True
        node.writes.append(Write(None, node.core.snapshot(node.digest), []))
        self.on_write(node)

    def crash(self, node: Node) -> None:
        """Lose everything but the disk. Of the writes under way, any prefix may have been done, nothing was sent."""
        steps: list[Callable[[], None]] = []
        for write in node.writes:
            steps += node.disk.steps(write.persist) if write.persist is not None else []
            steps += [partial(node.disk.save_snapshot, write.snapshot)] if write.snapshot is not None else []
        done = self.random.randint(0, len(steps))
        for step in steps[:done]:
            step()
        self.events["crash"] += 1
        self.events["torn write"] += 0 < done < len(steps)
        if self.say is not None:
            self.say(f"{node.node_id} crashes; of its writes {done} of {len(steps)} steps are done")
        node.core = None
        node.writes.clear()

    def restart(self, node_id: str) -> None:
        node = self.nodes[node_id]
        disk = node.disk
        if disk.hard_state.term < self.promised.get(node_id, 0):
            raise InvariantViolation(f"{node_id} restarts in term {disk.hard_state.term}, behind what it promised")
        node.core = Consensus(
            node_id,
            timing=self.timing,
            random=random.Random(self.random.random()),
            now=node.now,
            hard_state=disk.hard_state,
            log=disk.log(),
            config=disk.snapshot.config,
        )
        node.applied_index, node.digest = disk.snapshot.index, disk.snapshot.data[:]
        node.snapshot_queued = False
        node.reads.clear()
        node.checked_to, node.checked_lead, node.checked_commit = (0, 0, 0), (), node.core.commit_index
        if self.say is not None:
            self.say(f"{node_id} starts: term {disk.hard_state.term}, log {disk.snapshot.index}..{disk.last_index()}")

    # --- the shell's part ---

    def settle(self, node: Node) -> None:
        """Take what the core wants done, and check the node."""
        core = node.core
        assert core is not None
        while ready := core.take_ready():
            for recipient, message in ready.send_now:
                self._send(node, recipient, message)
            if ready.persist is not None or ready.send_after:
                node.writes.append(Write(ready.persist, None, ready.send_after))
                self.on_write(node)
            self._check(node)
            self._apply(node, ready)
            for ticket, index in ready.reads:
                self._check_read(node, ticket, index)
            for peer in ready.snapshots_wanted:
                core.snapshot_for(peer, core.snapshot(node.digest))

    def _send(self, node: Node, recipient: str, message: ConsensusMessage) -> None:
        if recipient in self.nodes:
            self.on_send(Flight(node.node_id, recipient, message))

    def _apply(self, node: Node, ready: Ready) -> None:
        if ready.snapshot is not None:
            self.events["snapshot"] += 1
            node.applied_index, node.digest = ready.snapshot.index, ready.snapshot.data[:]
            self._check_digest(node)
        for entry in ready.committed:
            if entry.index != node.applied_index + 1:
                raise InvariantViolation(f"{node.node_id} is given {entry.index} after {node.applied_index}")
            node.applied_index, node.digest = entry.index, next_digest(node.digest, entry)
            self._check_digest(node)

    # --- invariants ---

    def _check_digest(self, node: Node) -> None:
        """State-machine safety: whoever applied up to an index is in the same state."""
        if self.digests.setdefault(node.applied_index, node.digest) != node.digest:
            raise InvariantViolation(f"{node.node_id} applied something else up to {node.applied_index}")

    def _check_read(self, node: Node, ticket: int, index: int) -> None:
        """A read sees all that was committed anywhere when it was asked for, and is answered once."""
        committed = node.reads.pop(ticket)
        if index < committed:
            raise InvariantViolation(f"{node.node_id} reads at {index}, when {committed} was committed")
        if index > node.applied_index:
            raise InvariantViolation(f"{node.node_id} reads at {index} and has applied {node.applied_index}")
        self.confirmed_reads += 1

    def _check_promise(self, node: Node, recipient: str, message: ConsensusMessage) -> None:
        self.promised[node.node_id] = max(self.promised.get(node.node_id, 0), node.disk.hard_state.term)
        if isinstance(message, VoteResponse) and message.granted and not message.pre:
            voted = self.votes.setdefault((node.node_id, message.term), recipient)
            if voted != recipient:
                raise InvariantViolation(f"{node.node_id} votes for {voted} and {recipient} in term {message.term}")
        if isinstance(message, AppendResponse) and message.success and message.index > node.disk.last_index():
            raise InvariantViolation(f"{node.node_id} acknowledges {message.index}, durable: {node.disk.last_index()}")

    def _check(self, node: Node) -> None:
        core = node.core
        assert core is not None
        self._check_commit(node, core)
        self._check_log(node, core)
        if core.is_leader:
            self._check_leader(node, core)

    def _check_log(self, node: Node, core: Consensus) -> None:
        """Log matching: an (index, term) names one entry and one predecessor. The last configuration rules."""
        log = core.log
        state = (log.snapshot_index, log.last_index, log.last_term)
        if state == node.checked_to:
            return
        node.checked_to = state
        before, config = log.snapshot_term, self.configs[log.snapshot_index]
        for entry in log.entries(log.first_index):
            config = decode_config(entry.data) if entry.kind == EntryKind.CONFIG else config
            identity = (before, entry.kind, entry.data)
            if self.identity.setdefault((entry.index, entry.term), identity) != identity:
                raise InvariantViolation(
                    f"two entries are ({entry.index}, term {entry.term}); one is on {node.node_id}"
                )
            before = entry.term
        if core.config != config:
            raise InvariantViolation(f"{node.node_id} goes by {core.config}, and its log says {config}")

    def _check_commit(self, node: Node, core: Consensus) -> None:
        log = core.log
        for index in range(node.checked_commit + 1, log.commit_index + 1):
            term = log.term_at(index)
            if term is None:
                continue  # a snapshot was installed: its digest is compared
            known = self.committed.get(index)
            if known is None:
                self._check_durable_quorum(core, index, term)
                self.committed[index] = (term, core.term)
                entry = log.entries(index, limit_entries=1)[0]
                changed = entry.kind == EntryKind.CONFIG
                self.configs[index] = decode_config(entry.data) if changed else self.configs[index - 1]
                self.last_committed = max(self.last_committed, index)
            elif known[0] != term:
                raise InvariantViolation(f"{node.node_id} commits {index} of term {term}, others of term {known[0]}")
        node.checked_commit = max(node.checked_commit, log.commit_index)

    def _check_durable_quorum(self, core: Consensus, index: int, term: int) -> None:
        voters = core.config.voters
        holding = sum(self.nodes[voter].disk.holds(index, term) for voter in voters)
        if holding <= len(voters) // 2:
            raise InvariantViolation(f"{index} is committed, and durable at {holding} of {len(voters)} voters")

    def _check_leader(self, node: Node, core: Consensus) -> None:
        """Election safety, leader completeness, and one uncommitted configuration at most."""
        if self.leaders.setdefault(core.term, node.node_id) != node.node_id:
            raise InvariantViolation(f"{self.leaders[core.term]} and {node.node_id} lead in term {core.term}")
        log = core.log
        state = (core.term, log.snapshot_index, log.last_index, log.last_term, self.last_committed)
        if state == node.checked_lead:
            return
        node.checked_lead = state
        for index in range(log.first_index, self.last_committed + 1):
            term, found_in = self.committed[index]
            if found_in < core.term and log.term_at(index) != term:
                raise InvariantViolation(f"{node.node_id} leads term {core.term} without {index}, which is committed")
        configs = [entry for entry in log.entries(log.first_index) if entry.kind == EntryKind.CONFIG]
        if sum(entry.index > self.last_committed for entry in configs) > 1:
            raise InvariantViolation(f"{node.node_id} has two uncommitted configurations in its log")
