"""A cluster of consensus cores on a simulated network and simulated disks. After each step it is checked whether the
invariants hold (``consensus_checks.py``).

A :class:`World` only offers what can happen: a message arrives, is lost or doubled, a write completes, a node wakes,
crashes or restarts, something is proposed. Who chooses, and in which order, is a scheduler: see ``schedulers.py``.

The nodes run the real code. What is simulated is the shell's part, and as harshly as its contract allows: committed
entries are applied at once, writes take as long as the scheduler likes, and a crash leaves any prefix of a write.
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Callable
from functools import partial

from paceline.core.raft.consensus import Consensus
from paceline.core.raft.log import HardState, LogForgotten, Snapshot
from paceline.core.raft.ready import Ready
from paceline.core.raft.timing import Timing
from paceline_protocol.messages.consensus import Config, ConsensusMessage, EntryKind
from simulation.consensus_checks import Checks
from simulation.consensus_nodes import Disk, Flight, InvariantViolation, Node, Write

FORMED_INDEX = 1
COMMAND = EntryKind.ACCEPT


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
        self.checks = Checks(self.nodes)
        self.ended: dict[str, str] = {}  # nodes that ended by themselves, and why
        self._proposals = 0
        if voters != "":
            first = node_ids if voters is None else voters
            others = set(node_ids) - set(first) if learners is None else learners
            self._preform(Config(tuple(sorted(first)), tuple(sorted(others))))
        for node_id in node_ids:
            self.restart(node_id)

    def _preform(self, config: Config) -> None:
        """Start the members' disks as if the cluster had formed long ago: a snapshot of its first entry."""
        digest = hashlib.sha256(b"formed").digest()
        self.checks.formed(FORMED_INDEX, config, digest)
        for node_id in (*config.voters, *config.learners):
            node = self.nodes[node_id]
            node.disk.hard_state = HardState(1)
            node.disk.snapshot = Snapshot(FORMED_INDEX, 1, config, digest)

    @property
    def leaders(self) -> dict[int, str]:
        """Who led, by term."""
        return self.checks.leaders

    @property
    def last_committed(self) -> int:
        """The last index that is known to be committed."""
        return self.checks.last_committed

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
            try:
                node.core.step(flight.sender, flight.message, node.now)
            except LogForgotten as forgotten:
                self._end(node, forgotten)
            else:
                self.settle(node)

    def _end(self, node: Node, forgotten: LogForgotten) -> None:
        """A node ends, as it has lost what it promised."""
        if node.node_id not in self.checks.rolled_back:
            raise InvariantViolation(f"{node.node_id} has lost nothing, and ends: {forgotten}")
        self.events["ended as forgetful"] += 1
        if self.say is not None:
            self.say(f"{node.node_id} ends: {forgotten}")
        self.ended[node.node_id] = str(forgotten)
        self.crash(node)

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
            node.reads[ticket] = self.checks.last_committed
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
            self.checks.check_promise(node, recipient, message)
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

    def roll_back(self, node: Node, disk: Disk) -> None:
        """Put an earlier state of its disk back into a node that is down."""
        assert node.core is None
        self.events["rolled back"] += 1
        node.disk = disk.copy()
        self.checks.rolled_back.add(node.node_id)

    def restart(self, node_id: str) -> None:
        node = self.nodes[node_id]
        disk = node.disk
        self.checks.check_restart(node)
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
            self.checks.check(node)
            self._apply(node, ready)
            for ticket, index in ready.reads:
                self.checks.check_read(node, ticket, index)
            for peer in ready.snapshots_wanted:
                core.snapshot_for(peer, core.snapshot(node.digest))

    def _send(self, node: Node, recipient: str, message: ConsensusMessage) -> None:
        if recipient in self.nodes:
            self.on_send(Flight(node.node_id, recipient, message))

    def _apply(self, node: Node, ready: Ready) -> None:
        if ready.snapshot is not None:
            self.events["snapshot"] += 1
            node.applied_index, node.digest = ready.snapshot.index, ready.snapshot.data[:]
            self.checks.check_digest(node)
        for entry in ready.committed:
            self.checks.check_applied(node, entry)
