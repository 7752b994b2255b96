"""A cluster in one process and in virtual time: real cores, reactors and codec, real client sessions, simulated wires.

What is real: everything from the frame inwards (``Reactor``, ``NodeCore``, ``Session``, the codec) and the journal's
files. What is simulated: the network (``MemoryTransport``), time, the disk's speed, its cache and its power (writes
take time, a crash cuts them off in the middle, and one of the machine takes what was not synced), and the workers,
which answer ``args`` reversed after a while or die.

One seed decides everything, so that a failure is replayed by its seed. After every step the world checks what must hold
at every instant (here for nodes, in ``history.py`` for tasks); :meth:`World.heal_and_finish` then repairs all faults
and checks what must hold in the end.
"""

from __future__ import annotations

import copy
import math
import random
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from paceline.core.incarnation import INCARNATION_SHIFT
from paceline.core.node import NodeCore
from paceline.core.raft.consensus import Timing
from paceline.core.scheduling.live_tasks import Misplaced
from paceline.core.settings import Settings
from paceline.core.state.snapshots import digests_of
from paceline.runtime.journal.writer import Writer
from paceline.runtime.transport.memory_transport import LinkKind
from paceline_protocol.messages import AdminOp, EntryKind
from simulation.clients import SimulatedClient
from simulation.history import History, InvariantBroken
from simulation.machines import SimulatedNode
from simulation.stale_frames import RememberingNetwork

STEP_S = 0.002
IDLE_STEPS = 25
"""Time moves to the next event, and at most so many steps at once: what the world does to the cluster is drawn then."""
LEADER_WITHIN_S = 1.0
CAUGHT_UP_WITHIN_S = 10.0
FINISH_WITHIN_S = 60.0
DIGEST_EVERY_ENTRIES = 8
CHANGE_TAKES_S = 8.0


@dataclass(slots=True)
class Faults:
    """How bad the network, the disks, the workers and the operators are. Probabilities per frame, or rates per second
    of each machine, or for what concerns all of them, of the cluster."""

    drop: float = 0.02
    duplicate: float = 0.01
    slow: float = 0.05  # delayed by up to 100 ms, and so reordered
    crash_rate: float = 0.15
    partition_rate: float = 0.1
    pause_rate: float = 0.05
    worker_death_rate: float = 0.2
    disk_delay_s: float = 0.01
    disk_byte_s: float = 1e-6  # 1 MB/s: slow, as all that is written here is small
    disk_failure_rate: float = 0.02
    wipe_rate: float = 0.02
    clock_jump_rate: float = 0.02
    reboot_rate: float = 0.01
    admin_rate: float = 0.05
    cancel: float = 0.05  # for each task that is submitted, one is cancelled with this probability
    move: float = 0.1  # a node that starts again has another address with this probability
    cut_at_save: float = 0.1  # the power goes with this probability while a node writes down who it is
    stale: float = 0.3  # a node that starts again brings back frames of seconds ago with this probability
    late: float = 0.0  # a node is not there from the beginning, with this probability


PEACE = Faults(**{**dict.fromkeys(Faults.__slots__, 0), "disk_delay_s": 0.001})


def _clean_up(writers: list[Writer], directory: Path) -> None:
    for writer in writers:
        writer.close()
    shutil.rmtree(directory, ignore_errors=True)


class World:
    """Nodes, clients, wires, faults and the invariants."""

    def __init__(
        self,
        seed: int,
        *,
        nodes: int = 3,
        clients: int = 2,
        workers_per_node: int = 2,
        faults: Faults | None = None,
        expect: int | None = None,
        journal: str = "fsync",
        trace: Callable[[str], None] | None = None,
    ) -> None:
        """``expect``: how many blank nodes form the cluster, unless all. ``trace`` is given a line for everything that
        a person would want to know of the run."""
        self.seed = seed
        self.rng = random.Random(seed)
        self.now = 0.0
        self.faults = faults or Faults()
        self.workers_per_node = workers_per_node
        self._trace = trace
        self._steps = 0
        self.settings = Settings(
            cluster_name="simulated",
            expect=expect or nodes,
            journal=journal,
            voters=nodes if nodes % 2 else max(1, nodes - 1),
            timing=Timing(),
            attempt_limit=1_000,  # deaths here say nothing about the task
            log_keep_entries=self.rng.choice((8, 256, 4_096)),
            log_keep_bytes=self.rng.choice((2_000, 16 << 20)),
            snapshot_log_entries=self.rng.choice((30, 300, 100_000)),
            snapshot_log_bytes=self.rng.choice((20_000, 64 << 20)),
            voter_timeout_s=self.rng.choice((1.5, 4.0)),
            learner_timeout_s=4.0,
            learner_stable_s=1.0,
        )
        self.network = RememberingNetwork(self._deliver)
        self.events: Counter[str] = Counter()
        self.directory = Path(tempfile.mkdtemp(prefix="paceline-world-"))
        self.writers: list[Writer] = []
        weakref.finalize(self, _clean_up, self.writers, self.directory)
        self.history = History()
        self.clocks_tell_time = True  # so that something can be concluded from when a node did something
        self.cut: set[tuple[str, str]] = set()  # (from, to) machines between which nothing arrives
        self.log: dict[int, tuple[int, int, bytes]] = {}  # what was applied anywhere, by index
        self.leaders: dict[int, str] = {}  # term -> who led
        self._sent_at: dict[tuple[str, str], float] = {}  # (node, to an address): when it last sent what is not lost
        self._change_at = -math.inf  # when somebody changed the voters last, or made a change necessary
        self._checked_leaders: set[tuple[int, str]] = set()
        self._digests: dict[int, dict[str, bytes]] = {}
        self._cluster_id = ""  # of the only one that may ever be formed
        self.addresses: set[str] = set()  # that nodes have, or had
        self.nodes: list[SimulatedNode] = []
        self.nodes += [SimulatedNode(self, number) for number in range(nodes)]
        self.clients = [SimulatedClient(self, number) for number in range(1, clients + 1)]
        for node in self.nodes:
            if not self.faults.late or self.rng.random() >= self.faults.late:
                node.start()

    def say(self, text: str) -> None:
        """For whoever reads the trace."""
        if self._trace is not None:
            self._trace(f"{self.now:8.3f} {text}")

    # --- the network --------------------------------------------------------------------------------------------

    def _deliver(self, kind: LinkKind, source: str, destination: str) -> tuple[float, ...]:
        rng, faults = self.rng, self.faults
        if kind is LinkKind.WORKER:
            return (0.0001,)
        if (source.split("/")[0], destination.split("/")[0]) in self.cut:
            return ()
        if kind is LinkKind.CLIENT:  # a TCP connection: it loses nothing in the middle, but it may hang
            return (0.0005,)
        if rng.random() < faults.drop:
            return ()
        sender = next(node for node in self.nodes if node.address == source)
        self._sent_at[sender.identity.node_id, destination] = self.now
        delay_s = rng.uniform(0.0001, 0.1 if rng.random() < faults.slow else 0.001)
        if rng.random() < faults.duplicate:
            return (delay_s, rng.uniform(0.0001, 0.5))
        return (delay_s,)

    # --- steps --------------------------------------------------------------------------------------------------

    def step(self, until: float = math.inf) -> float:
        """To the next event: deliver, let every machine run that has something to do, check. Returns the time that
        passed, in seconds."""
        due = min(self.network.next_delivery() or math.inf, until)
        due = min(due, *(node.next_at() for node in self.nodes), *(client.next_at() for client in self.clients))
        due = min(max(due, self.now), self.now + IDLE_STEPS * STEP_S)
        steps = max(1, math.ceil((due - self.now) / STEP_S - 1e-6))
        self._steps += steps
        self.now = self._steps * STEP_S
        self.network.now = self.now
        self._time_passed(steps * STEP_S)
        self.network.deliver_due()
        for node in self.rng.sample(self.nodes, len(self.nodes)):
            if node.next_at() <= self.now:
                node.step()
        for client in self.clients:
            if client.next_at() <= self.now:
                client.step()
        return steps * STEP_S

    def _time_passed(self, passed_s: float) -> None:
        """The clocks of the nodes have moved with the world's."""

    def run(self, seconds: float, *, tasks_per_second: float = 100.0) -> None:
        """Let time pass, with load and faults. Raises InvariantBroken, naming the seed."""
        try:
            end = self.now + seconds
            next_task = self.now + self.rng.expovariate(tasks_per_second)
            while self.now < end:
                passed_s = self.step(next_task)
                while next_task <= self.now:
                    next_task += self.rng.expovariate(tasks_per_second)
                    self._use(self.rng.choice(self.clients))
                self._misfortune(passed_s)
        except InvariantBroken as broken:
            raise InvariantBroken(f"{broken} (seed {self.seed})") from broken

    def _use(self, client: SimulatedClient) -> None:
        if client.session.has_room:
            client.submit()
        if self.rng.random() < self.faults.cancel:
            client.cancel()
            self.events["cancel"] += 1

    # --- misfortune ---------------------------------------------------------------------------------------------

    def _happens(self, rate: float, passed_s: float) -> bool:
        return self.rng.random() < rate * passed_s

    def _misfortune(self, passed_s: float) -> None:
        faults = self.faults
        for node in self.nodes:
            if node.reactor is None:
                if self._happens(2.0, passed_s):
                    if node.number and self.rng.random() < faults.move:
                        node.move()
                        self.events["address change"] += 1
                    node.start()
                    if self.rng.random() < faults.stale:
                        self.events["stale frame"] += self.network.repeat(node.address, self.rng)
            else:
                self._befall(node, passed_s)
        if self._happens(faults.reboot_rate, passed_s):
            self.events["total reboot"] += 1
            self.say("the power fails everywhere")
            for node in self.nodes:
                if node.reactor is not None:
                    node.crash(power_fails=True)
                else:
                    node.journal.lose_power()
        if self._happens(faults.partition_rate, passed_s):
            self._partition()
        elif self.cut and self._happens(1.0, passed_s):
            self.cut.clear()
            self.say("every link works again")
        if self._happens(faults.admin_rate, passed_s):
            self._administer()

    def _befall(self, node: SimulatedNode, passed_s: float) -> None:
        """What may happen to one machine."""
        rng, faults = self.rng, self.faults
        if self._happens(faults.crash_rate, passed_s):
            power_fails = rng.random() < 0.5
            if power_fails and self.settings.journal == "os":
                power_fails = self._may_lose_disk(node)
                self._change_at = self.now if power_fails else self._change_at
            self.events["power cut" if power_fails else "kill"] += 1
            node.crash(power_fails=power_fails)
            return
        if self._happens(faults.wipe_rate, passed_s) and self._may_lose_disk(node):
            self.events["wiped disk"] += 1
            self._change_at = self.now
            self.say(f"{node.address} loses its disk")
            node.wipe()
            return
        if self._happens(faults.disk_failure_rate, passed_s):
            self.events["disk failure"] += 1
            node.journal.fail()
        if self._happens(faults.pause_rate, passed_s):
            self.events["pause"] += 1
            node.paused_until = self.now + rng.uniform(0.05, 2.0)
            self.say(f"{node.address} stands still until {node.paused_until:.3f}")
        if self._happens(faults.clock_jump_rate, passed_s):
            self.events["clock jump"] += 1
            node.ahead_s += rng.uniform(0.05, 3.0)
            self.say(f"the clock of {node.address} jumps")
        if self._happens(faults.worker_death_rate, passed_s):
            self.events["worker death"] += 1
            node.lose_worker()

    def _may_lose_disk(self, node: SimulatedNode) -> bool:
        """A cluster survives the loss of one disk, and of another once the first is replaced: not two of its voters."""
        leader = self._leader()
        if leader is None or not leader.consensus.config_committed or self.now < self._change_at + CHANGE_TAKES_S:
            return False
        voters = leader.consensus.config.voters
        disks = {each.identity.node_id for each in self.nodes if each is not node}
        return len(voters) >= 3 and all(voter in disks for voter in voters if voter != node.identity.node_id)

    def _leader(self) -> NodeCore | None:
        """Whoever leads, and is followed."""
        for node in self.nodes:
            core = node.core
            if core is not None and core.leader is not None and core.consensus.has_quorum_lease(node.now):
                return core
        return None

    def _partition(self) -> None:
        """Cut one machine off, in both directions or in one, or any one link."""
        if len(self.nodes) == 1:
            return
        self.events["partition"] += 1
        alone, other = self.rng.sample(self.nodes, 2)
        kind = self.rng.randrange(3)
        others = [node.address for node in self.nodes if node is not alone]
        if kind == 0:
            self.cut |= {(alone.address, address) for address in others}
        if kind in (0, 1):
            self.cut |= {(address, alone.address) for address in others}
        if kind == 2:
            self.cut.add((alone.address, other.address))
        self.say(f"nothing gets through: {', '.join(f'{source} to {to}' for source, to in sorted(self.cut))}")

    def _administer(self) -> None:
        """Somebody changes something, at any moment: who leads, who votes, how many."""
        rng = self.rng
        self._change_at = self.now
        node_id = rng.choice(self.nodes).identity.node_id
        op, argument = rng.choice(
            (
                (AdminOp.TRANSFER, node_id),
                (AdminOp.TRANSFER, ""),
                (AdminOp.PROMOTE, node_id),
                (AdminOp.REMOVE, node_id),
                (AdminOp.VOTERS, rng.choice("135")),
            )
        )
        self.events["admin request"] += 1
        self.say(f"somebody asks for {op.name} {argument}")
        rng.choice(self.clients).administer(op, argument)

    # --- the end ------------------------------------------------------------------------------------------------

    def heal_and_finish(self) -> None:
        """Repair everything, wait until every task has its result, then check what must hold in the end."""
        try:
            self._heal()
            deadline = self.now + FINISH_WITHIN_S
            if self.leaders:  # otherwise there is no cluster yet
                self._come_back(self.now)
            while not all(client.is_done for client in self.clients):
                if self.now > deadline:
                    waiting = {client.number: len(client.open) for client in self.clients}
                    raise InvariantBroken(f"tasks without a result after healing, by client: {waiting}")
                self._step_in_peace()
            leader = self._until_all_applied(deadline)
            recorded = self.history.check_end()
            if leader.table.recorded != recorded:
                raise InvariantBroken(f"{leader.table.recorded} outcomes are recorded, of {recorded} tasks")
        except InvariantBroken as broken:
            raise InvariantBroken(f"{broken} (seed {self.seed})") from broken
        self.events["election"] += len(self.leaders)
        self.events["membership change"] += sum(kind == EntryKind.CONFIG for _, kind, _ in self.log.values())
        self.close()

    def _heal(self) -> None:
        self.say("all faults end")
        disk = {"disk_delay_s": min(self.faults.disk_delay_s, 0.01), "disk_byte_s": self.faults.disk_byte_s}
        self.faults = Faults(**{**dict.fromkeys(Faults.__slots__, 0), **disk})
        self.cut.clear()
        for node in self.nodes:
            node.paused_until = 0.0
            node.journal.fail_no_more()
            if node.reactor is not None and node.journal.failure is not None:
                node.crash(power_fails=False)

    def _step_in_peace(self) -> None:
        for node in self.nodes:
            if node.reactor is None:
                node.start()
        self.step()

    def _come_back(self, healed_at: float) -> None:
        """Soon there is a leader, and a little later everybody has what it had then."""
        while (leader := self._leader()) is None:
            if self.now > healed_at + LEADER_WITHIN_S:
                raise InvariantBroken(f"nobody leads within {LEADER_WITHIN_S} s of healing")
            self._step_in_peace()
        index = leader.consensus.applied_index
        while leader is None or any(core.consensus.applied_index < index for core in self._members(leader)):
            if self.now > healed_at + CAUGHT_UP_WITHIN_S:
                raise InvariantBroken(f"not every member caught up within {CAUGHT_UP_WITHIN_S} s of healing")
            self._step_in_peace()
            leader = self._leader()

    def _members(self, leader: NodeCore) -> list[NodeCore]:
        """The nodes that keep the log, as far as they exist: a voter whose disk is gone stays one if somebody has
        removed whatever could take its place."""
        cores = {node.core.node_id: node.core for node in self.nodes if node.core is not None}
        config = leader.consensus.config
        return [cores[member] for member in (*config.voters, *config.learners) if member in cores]

    def _until_all_applied(self, deadline: float) -> NodeCore:
        """A client has a result before its record is committed: wait for the records, and for every follower. Returns
        the leader."""
        while True:
            leader = self._leader()
            if leader is not None and not leader.table.tasks:
                applied = {core.consensus.applied_index for core in self._members(leader)}
                if applied == {leader.consensus.applied_index}:
                    return leader
            if self.now > deadline:
                raise InvariantBroken("not every member caught up in the end")
            self._step_in_peace()

    def close(self) -> None:
        """Let go of the disks. Nothing can happen afterwards."""
        _clean_up(self.writers, self.directory)

    # --- what must hold -----------------------------------------------------------------------------------------

    def check(self, node: SimulatedNode) -> None:
        """What must hold at every instant: behind each turn of a node."""
        if node.core is not None:
            self._check_consents(node)
            self._check_applied(node, node.core)
            self._check_leader(node.core)
            self._check_digest(node, node.core)
            if self.clocks_tell_time:
                self._check_lease(node, node.core)

    def _check_consents(self, node: SimulatedNode) -> None:
        """One cluster is formed: each consent is at one node, or on its way from one that has handed it on."""
        identity = node.identity
        if node.checked_identity == identity:
            return
        node.checked_identity = copy.copy(identity)
        if identity.cluster_id:
            self._cluster_id = self._cluster_id or identity.cluster_id
            if identity.cluster_id != self._cluster_id:
                raise InvariantBroken(f"{identity.cluster_id} is formed beside {self._cluster_id}")
        known = [each.saved_identity if each.core is None else each.identity for each in self.nodes]
        held = Counter(consent for each in known if not each.handed_to for consent in each.consents)
        twice = sorted(consent for consent, holders in held.items() if holders > 1)
        if twice:
            raise InvariantBroken(f"more than one node holds the consents of {', '.join(twice)}")

    def _check_leader(self, core: NodeCore) -> None:
        consensus = core.consensus
        if not consensus.is_leader:
            return
        known = self.leaders.setdefault(consensus.term, core.node_id)
        if known != core.node_id:
            raise InvariantBroken(f"{known} and {core.node_id} both lead in term {consensus.term}")
        if (consensus.term, core.node_id) not in self._checked_leaders:
            self._checked_leaders.add((consensus.term, core.node_id))
            self.say(f"{core.node_id} leads in term {consensus.term}")
            self._check_complete(core)

    def _check_complete(self, core: NodeCore) -> None:
        """Leader completeness: a new leader's log has every entry that was committed in an earlier term."""
        log = core.consensus.log
        for index, (term, _kind, _data) in self.log.items():
            if term < core.consensus.term and index > log.snapshot_index and log.term_at(index) != term:
                raise InvariantBroken(f"{core.node_id} leads without committed entry {index}")

    def _check_applied(self, node: SimulatedNode, core: NodeCore) -> None:
        """Log matching and state-machine safety: what one node applies, no node applies differently."""
        log = core.consensus.log
        if node.checked_index and log.snapshot_index > node.checked_index:
            self.events["snapshot"] += 1
            self.say(f"{core.node_id} has a snapshot up to {log.snapshot_index}")
        held = {
            each.index: each for each in log.entries_to(max(log.first_index, node.checked_index + 1), log.last_index)
        }
        for index in range(node.checked_index + 1, log.applied_index + 1):
            entry = held.get(index)
            if entry is None and index not in self.log:
                entry = node.unapplied.get(index)  # the turn that committed it has dropped it, too
            if entry is None:
                continue
            found = (entry.term, entry.kind, entry.data)
            known = self.log.get(index)
            if known is None:
                self.log[index] = found
                self.history.committed(entry.kind, entry.data, self.now)
                if entry.kind == EntryKind.CONFIG:
                    self.say(f"entry {index}: {core.consensus.config}")
            elif known != found:
                raise InvariantBroken(f"{core.node_id} has applied another entry {index}")
        node.unapplied = {index: entry for index, entry in held.items() if index > log.applied_index}
        node.checked_index = log.applied_index

    def _check_lease(self, node: SimulatedNode, core: NodeCore) -> None:
        """Whoever dispatches has lately heard from a majority of the voters."""
        leader = core.leader
        if leader is None:
            node.dispatched = {}
            return
        states = leader.nodes.by_id
        before, node.dispatched = node.dispatched, {each: state.dispatch_seq for each, state in states.items()}
        first = 1 << INCARNATION_SHIFT  # the numbers begin anew with each start of a node
        if all(seq == before.get(each, 0) or not seq % first for each, seq in node.dispatched.items()):
            return
        since = self.now - self.settings.timing.election_timeout_min_s
        voters = core.consensus.config.voters
        heard = [each for each in voters if self._sent_at.get((each, node.address), -math.inf) >= since]
        if len({core.node_id, *heard}.intersection(voters)) <= len(voters) // 2:
            raise InvariantBroken(f"{core.node_id} dispatches, and can have heard only {heard} of {voters}")

    def _check_places(self, core: NodeCore) -> None:
        """Every task of a leader is in exactly one place."""
        if core.leader is None:
            return
        try:
            core.leader.tasks.check()
        except Misplaced as misplaced:
            raise InvariantBroken(f"{core.node_id}, which leads: {misplaced}") from misplaced

    def _check_digest(self, node: SimulatedNode, core: NodeCore) -> None:
        """Equal logs make equal states, byte for byte."""
        applied = core.consensus.applied_index
        if not core.applied.is_current:
            return  # its table is that of an earlier index
        if applied < node.checked_digest + DIGEST_EVERY_ENTRIES:
            return
        node.checked_digest = applied
        self._check_places(core)
        digests = digests_of(core.table)
        known = self._digests.setdefault(applied, digests)
        if known != digests:
            names = ", ".join(name for name in digests if digests[name] != known[name])
            raise InvariantBroken(f"{core.node_id} has another state after entry {applied}: {names}")
