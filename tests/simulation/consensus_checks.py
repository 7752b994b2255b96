"""What must hold of consensus cores at every instant: the properties of Raft (figure 3 of the paper), and that a
promise leaves a node only once it is durable there."""

from __future__ import annotations

from paceline.core.raft.consensus import Consensus
from paceline.core.raft.log import Entry
from paceline_protocol.codec import decode_config
from paceline_protocol.messages.consensus import AppendResponse, Config, ConsensusMessage, EntryKind, VoteResponse
from simulation.consensus_nodes import InvariantViolation, Node, next_digest


class Checks:
    """What is known of all nodes, and whether it fits together. Every method raises InvariantViolation."""

    def __init__(self, nodes: dict[str, Node]) -> None:
        self._nodes = nodes
        self.leaders: dict[int, str] = {}  # term -> who led it
        self.votes: dict[tuple[str, int], str] = {}  # (voter, term) -> for whom a vote left
        self.promised: dict[str, int] = {}  # node -> the highest term that left it
        self.identity: dict[tuple[int, int], tuple[int, int, bytes]] = {}  # (index, term) -> (term before, kind, data)
        self.committed: dict[int, tuple[int, int]] = {}  # index -> (term, term in which it was found committed)
        self.last_committed = 0
        self.configs: dict[int, Config] = {0: Config()}  # index -> the configuration in force there, if committed
        self.digests: dict[int, bytes] = {0: b""}
        self.confirmed_reads = 0
        self.rolled_back: set[str] = set()  # nodes that may have forgotten what they promised

    def formed(self, index: int, config: Config, digest: bytes) -> None:
        """The log begins behind a snapshot up to here."""
        self.digests[index] = digest
        self.committed[index] = (1, 1)
        self.last_committed = index
        self.configs[index] = config

    def check_restart(self, node: Node) -> None:
        if node.node_id in self.rolled_back:
            return
        if node.disk.hard_state.term < self.promised.get(node.node_id, 0):
            term = node.disk.hard_state.term
            raise InvariantViolation(f"{node.node_id} restarts in term {term}, behind what it promised")

    def check_applied(self, node: Node, entry: Entry) -> None:
        """A node applies the next entry."""
        if entry.index != node.applied_index + 1:
            raise InvariantViolation(f"{node.node_id} is given {entry.index} after {node.applied_index}")
        node.applied_index, node.digest = entry.index, next_digest(node.digest, entry)
        self.check_digest(node)

    def check_digest(self, node: Node) -> None:
        """State-machine safety: whoever applied up to an index is in the same state."""
        if self.digests.setdefault(node.applied_index, node.digest) != node.digest:
            raise InvariantViolation(f"{node.node_id} applied something else up to {node.applied_index}")

    def check_read(self, node: Node, ticket: int, index: int) -> None:
        """A read sees all that was committed anywhere when it was asked for, and is answered once."""
        committed = node.reads.pop(ticket)
        if index < committed:
            raise InvariantViolation(f"{node.node_id} reads at {index}, when {committed} was committed")
        if index > node.applied_index:
            raise InvariantViolation(f"{node.node_id} reads at {index} and has applied {node.applied_index}")
        self.confirmed_reads += 1

    def check_promise(self, node: Node, recipient: str, message: ConsensusMessage) -> None:
        self.promised[node.node_id] = max(self.promised.get(node.node_id, 0), node.disk.hard_state.term)
        if isinstance(message, VoteResponse) and message.granted and not message.pre:
            voted = self.votes.setdefault((node.node_id, message.term), recipient)
            if voted != recipient:
                raise InvariantViolation(f"{node.node_id} votes for {voted} and {recipient} in term {message.term}")
        if isinstance(message, AppendResponse) and message.success and message.index > node.disk.last_index():
            raise InvariantViolation(f"{node.node_id} acknowledges {message.index}, durable: {node.disk.last_index()}")

    def check(self, node: Node) -> None:
        """Behind each step of a node."""
        core = node.core
        assert core is not None
        self.check_commit(node, core)
        self.check_log(node, core)
        if core.is_leader:
            self.check_leader(node, core)

    def check_log(self, node: Node, core: Consensus) -> None:
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

    def check_commit(self, node: Node, core: Consensus) -> None:
        log = core.log
        for index in range(node.checked_commit + 1, log.commit_index + 1):
            term = log.term_at(index)
            if term is None:
                continue  # a snapshot was installed: its digest is compared
            known = self.committed.get(index)
            if known is None:
                self.check_durable_quorum(core, index, term)
                self.committed[index] = (term, core.term)
                entry = log.entries(index, limit_entries=1)[0]
                changed = entry.kind == EntryKind.CONFIG
                self.configs[index] = decode_config(entry.data) if changed else self.configs[index - 1]
                self.last_committed = max(self.last_committed, index)
            elif known[0] != term:
                raise InvariantViolation(f"{node.node_id} commits {index} of term {term}, others of term {known[0]}")
        node.checked_commit = max(node.checked_commit, log.commit_index)

    def check_durable_quorum(self, core: Consensus, index: int, term: int) -> None:
        voters = core.config.voters
        holding = sum(self._nodes[voter].disk.holds(index, term) for voter in voters)
        if holding <= len(voters) // 2:
            raise InvariantViolation(f"{index} is committed, and durable at {holding} of {len(voters)} voters")

    def check_leader(self, node: Node, core: Consensus) -> None:
        """Election safety, leader completeness, and one uncommitted configuration at most."""
        if self.leaders.setdefault(core.term, node.node_id) != node.node_id:
            raise InvariantViolation(f"{self.leaders[core.term]} and {node.node_id} lead in term {core.term}")
        for peer, progress in core.progress(node.now).items():
            if progress.has_forgotten and peer not in self.rolled_back:
                raise InvariantViolation(f"{node.node_id} believes that {peer} has forgotten, and it has not")
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
