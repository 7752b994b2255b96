"""A cluster in one process and in virtual time: real cores, reactors and codec, real client sessions, simulated wires.

What is real: everything from the frame inwards (``Reactor``, ``NodeCore``, ``Session``, the codec) and the journal's
files. What is simulated: the network (``MemoryTransport``), time, the disk's speed, its cache and its power (writes
take time, a crash cuts them off in the middle, and one of the machine takes what was not synced), and the workers,
which run the tasks of ``tasks.py`` or die.

One seed decides everything, so that a failure is replayed by its seed. What happens is told to an oracle
(``oracle/``), which says at each event what that breaks; :meth:`World.heal_and_finish` then repairs all faults and asks
it what must hold in the end.
"""

from __future__ import annotations

import math
import random
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from journal.disk import memory
from paceline.core.clients.session_table import ClientBounds
from paceline.core.node import NodeCore
from paceline.core.raft.timing import Timing
from paceline.core.reports.graphs import graphs
from paceline.core.settings import Settings
from paceline.runtime.journal.writer import Writer
from paceline.runtime.transport.memory_transport import LinkKind
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.graphs import GraphsRequest
from paceline_protocol.messages.queues import Holding, Pausing
from paceline_protocol.messages.records import AT_MOST_ONCE, CANCEL, Call, Options
from paceline_protocol.messages.work import Availability
from simulation import tasks
from simulation.clients import GRAPHS, QUEUES, SimulatedClient, graph_told
from simulation.faults import Faults
from simulation.machines import SimulatedNode
from simulation.misfortune import DRAINS_S, WAYS, Misfortune
from simulation.oracle.events import Burst, Calm, Totals, Wait, Waited
from simulation.oracle.lost_clients import GRACE_S
from simulation.oracle.oracle import Oracle
from simulation.oracle.promise import InvariantBroken
from simulation.oracle.record import Story
from simulation.oracle.timing import DEADLINE, EXPIRES
from simulation.schedules import ScheduleUse
from simulation.stale_frames import RememberingNetwork
from simulation.tasks import ARGS_BYTES, LASTS, LEAVES, STOPS, TO_STOP, WAITS
from simulation.wall_clocks import right_ms
from simulation.watcher import Watcher

STEP_S = 0.002
DRAINS_EVERY = 3
IDLE_STEPS = 25
"""Time moves to the next event, and at most so many steps at once: what the world does to the cluster is drawn then."""

CALM_TASKS = 5
BESIDE_LONG_TASKS = 40
UNWANTED_SOON = 0.2
"""Of these tasks: so many expire soon, and as many are to be cancelled."""
LARGE_TASKS = 3
BESIDE_DRAIN = 0.5
"""In each step beside a drain, a task comes with this probability."""
KEPT = {"result_ttl": 400}
KEPT_DEAD = {"keep_dead": 500}
LATE_MS = 100_000_000
JOINED_S = 3.0
"""Since healing, a node that has joined is a replica."""
QUICK_ALONE_S = 2.0
"""So long after a node could know that the main connection had swallowed something, what comes by the quick one counts
for nothing."""


@dataclass(slots=True)
class MainCut:
    """A main connection that carries nothing. The quick one beside it gives it away: each of its batches says how much
    was sent by the main one before."""

    has_swallowed: bool = False
    told_at: float = math.inf  # when the first quick batch left behind something that was swallowed


def _clean_up(writers: list[Writer], directory: Path) -> None:
    for writer in writers:
        writer.close()
    shutil.rmtree(directory, ignore_errors=True)


REPLACED_AFTER_TASKS = 5
"""A worker is replaced so soon, in a quarter of the worlds."""
ASKS_HOW_FAR = 7
"""In one world of so many."""
ASYNC_SLOTS = 3
MAX_PARKED = 64
"""Of one worker, in a third of the worlds."""
NARROW_WINDOW_BYTES = 200  # of outcomes on their way to a leader: three, or one with a payload; so of arguments
NARROW = ClientBounds(window_bytes=400, waiting_bytes=1_200, all_waiting_bytes=2_000, waits_too=2)
"""A result or two are under way to a client, a few wait, and for few tasks does one beside another, so that every bound
is met."""


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
        self.drains = self.faults.drains > 0 and seed % DRAINS_EVERY == 0  # its nodes are drained now and then
        self.drain_rng = random.Random(seed)
        self.queue_rng = random.Random(seed)
        self.has_places = self.faults.places > 0
        self.place_rng = random.Random(seed)
        self.limit_rng = random.Random(seed)
        self.has_graphs = self.faults.graphs > 0
        self.graph_rng = random.Random(seed)
        self.batch_rng = random.Random(seed)
        self.has_queues = self.faults.queues > 0
        self.alters = self.faults.alters > 0
        self.alter_rng = random.Random(seed)
        self.queues_asked: set[str] = set()  # queues of which somebody has asked for a change, and has no answer
        self._trace = trace
        self._steps = 0
        self._processes = 0
        self.has_async = seed % 3 == 0  # nodes run many tasks at once in a worker
        self.settings = Settings(
            cluster_name="simulated",
            expect=expect or nodes,
            journal=journal,
            voters=nodes if nodes % 2 else max(1, nodes - 1),
            timing=Timing(),
            attempt_limit=1_000,  # deaths here say nothing about the task
            async_slots=ASYNC_SLOTS if self.has_async else 1,
            max_parked=MAX_PARKED,
            worker_max_tasks=REPLACED_AFTER_TASKS if seed % 4 == 3 else 0,
            log_keep_entries=self.rng.choice((8, 256, 4_096)),
            log_keep_bytes=self.rng.choice((2_000, 16 << 20)),
            snapshot_log_entries=self.rng.choice((30, 300, 100_000)),
            snapshot_log_bytes=self.rng.choice((20_000, 64 << 20)),
            voter_timeout_s=self.rng.choice((1.5, 4.0)),
            learner_timeout_s=4.0,
            learner_stable_s=1.0,
            session_timeout_s=GRACE_S,
            client_bounds=self.rng.choice((ClientBounds(), NARROW)),
            outcome_window_bytes=NARROW_WINDOW_BYTES if seed % 2 else 8 << 20,
            dispatch_window_bytes=NARROW_WINDOW_BYTES if seed % 2 or self.faults.link_byte_s else 8 << 20,
        )
        self.has_schedules = self.faults.schedules > 0
        self.schedule_rng = random.Random(seed)
        self._schedules = ScheduleUse(self)
        self.network = self.make_network()
        self.events: Counter[str] = Counter()
        self.may_die: dict[bytes, Call] = {}  # tasks that are kept if they die, by id
        self.children: dict[bytes, bytes] = {}  # of tasks that wait for others: the others
        self.keyed: dict[bytes, Call] = {}  # calls with a key, by id
        self.directory = Path(tempfile.mkdtemp(prefix="paceline-world-", dir=memory()))
        self.writers: list[Writer] = []
        weakref.finalize(self, _clean_up, self.writers, self.directory)
        self.oracle = self.make_oracle()
        self.asks_how_far = not seed % ASKS_HOW_FAR  # its tasks say that, and its clients ask; at the end in any case
        self.has_hostile_peer = False  # otherwise no node ever has a reason to refuse what a peer says
        self.clocks_tell_time = True  # so that something can be concluded from when a node did something
        self.cut: set[tuple[str, str]] = set()  # (from, to) machines between which nothing arrives
        self.cut_mains: dict[tuple[str, str], MainCut] = {}  # from here to there nothing by the main connection
        self.sent_at: dict[tuple[str, str], float] = {}  # (node, to an address): when it last sent what is not lost
        self._wire_free_at: dict[tuple[LinkKind, str, str], float] = {}  # of each connection between nodes
        self.addresses: set[str] = set()  # that nodes have, or had
        self.nat_address = ""  # what every node announces in place of its address, as behind a NAT; "" for none
        self.watcher = Watcher(self)
        self._misfortune = Misfortune(self)
        self.nodes: list[SimulatedNode] = []
        self.nodes += [SimulatedNode(self, number) for number in range(nodes)]
        self._clients = 0
        self.clients = [SimulatedClient(self, self.next_client()) for _ in range(clients)]
        for node in self.nodes:
            if not self.faults.late or self.rng.random() >= self.faults.late:
                node.start()

    def make_network(self) -> RememberingNetwork:
        return RememberingNetwork(self._deliver)

    def make_oracle(self) -> Oracle:
        return Oracle()

    @property
    def log(self) -> dict[int, tuple[int, int, bytes]]:
        """(term, kind, data) of what was applied anywhere, by index."""
        return self.oracle.record.log

    @property
    def leaders(self) -> dict[int, str]:
        """Who led, by term."""
        return self.oracle.record.leaders

    @property
    def stories(self) -> dict[bytes, Story]:
        """Of all tasks, by id."""
        return self.oracle.record.stories

    def clone(self, node: SimulatedNode) -> SimulatedNode:
        """A machine with a copy of the disk of another one, which goes on. It is down."""
        clone = SimulatedNode(self, len(self.nodes))
        clone.put_in(node.copy_disk())
        clone.is_clone, node.is_rival = True, True
        clone.has_been_upgraded()
        self.nodes.append(clone)
        return clone

    def next_start(self) -> int:
        """Of a process that begins now: higher than that of every one before."""
        self._processes += 1
        return (self._processes << 30) | self.rng.getrandbits(30)

    def next_client(self) -> int:
        """The number of a client that nobody else has."""
        self._clients += 1
        return self._clients

    def say(self, text: str) -> None:
        """For whoever reads the trace."""
        if self._trace is not None:
            self._trace(f"{self.now:8.3f} {text}")

    # --- the network --------------------------------------------------------------------------------------------

    def _deliver(self, kind: LinkKind, source: str, destination: str, size_bytes: int) -> tuple[float, ...]:
        rng, faults = self.rng, self.faults
        if kind in (LinkKind.WORKER, LinkKind.WEB):
            return (0.0001,)
        if (source.split("/")[0], destination.split("/")[0]) in self.cut:
            return ()
        if kind is LinkKind.CLIENT:  # a TCP connection: it loses nothing in the middle, but it may hang
            return (0.0005,)
        cut = self.cut_mains.get((source, destination))
        if cut is not None and kind is LinkKind.PEER:
            cut.has_swallowed = True
        if rng.random() < faults.drop or (kind is LinkKind.PEER and cut is not None):
            return ()
        sender = next(node for node in self.nodes if node.address == source)
        if cut is not None and cut.has_swallowed:
            cut.told_at = min(cut.told_at, self.now)
        if cut is None or self.now < cut.told_at + QUICK_ALONE_S or faults.link_byte_s:
            self.sent_at[sender.identity.node_id, destination] = self.now
        wire_s = self._wire_s((kind, source, destination), size_bytes) if faults.link_byte_s else 0.0
        delay_s = wire_s + rng.uniform(0.0001, 0.1 if rng.random() < faults.slow else 0.001)
        if rng.random() < faults.duplicate:
            return (delay_s, rng.uniform(0.0001, 0.5))
        return (delay_s,)

    def _wire_s(self, link: tuple[LinkKind, str, str], size_bytes: int) -> float:
        """Until the last of these bytes has left, behind all that was sent on this connection before."""
        free_at = max(self._wire_free_at.get(link, 0.0), self.now) + size_bytes * self.faults.link_byte_s
        self._wire_free_at[link] = free_at
        return free_at - self.now

    def has_started(self, node: SimulatedNode) -> None:
        """A node has just booted. For whoever looks at each."""

    def connections_end(self, address: str) -> None:
        """What the node there had not sent yet is lost with it, and the next one begins anew."""
        self._wire_free_at = {link: at for link, at in self._wire_free_at.items() if address not in link}

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
                self._misfortune.strike(passed_s)
        except InvariantBroken as broken:
            raise InvariantBroken(f"{broken} (seed {self.seed})") from broken

    def _use(self, client: SimulatedClient) -> None:
        if client.session.has_room:
            client.submit()
        if self.faults.schedules and self.schedule_rng.random() < self.faults.schedules:
            self._schedules.use(client)
        if self.rng.random() < self.faults.cancel:
            client.cancel()
            self.events["cancel"] += 1

    def leader(self) -> NodeCore | None:
        """Whoever leads, and is followed."""
        for node in self.nodes:
            core = node.core
            if core is not None and core.leader is not None and core.consensus.has_quorum_lease(node.now):
                return core
        return None

    # --- the end ------------------------------------------------------------------------------------------------

    def heal_and_finish(self) -> None:
        """Repair everything, wait until every task has its result, then check what must hold in the end."""
        try:
            uses_cut_mains = len(self.nodes) > 2 and self.rng.random() < self.faults.mains_alone
            uses_cut_mains = uses_cut_mains and not self.faults.link_byte_s
            self._heal()
            healed_at = self.now
            if self.leaders:  # otherwise there is no cluster yet
                self._come_back(healed_at)
                if self.has_queues:
                    self._resume_queues(healed_at)
                if self.has_schedules:
                    self._schedules.end(self.now, self._wait)
            self._until_all_done(healed_at)
            if uses_cut_mains:
                self._use_beside_cut_mains()
            self._let_clients_find_the_leader()
            self._until_all_applied(self.now if uses_cut_mains else healed_at)
            self._use_in_calm()
            leader = self._until_all_applied(self.now)
            self.oracle.hear(Totals(self.now, leader.table.recorded))
            if self.has_graphs:
                self._tell_graphs(leader)
            self.oracle.end()
        except InvariantBroken as broken:
            raise InvariantBroken(f"{broken} (seed {self.seed})") from broken
        self.events["election"] += len(self.leaders)
        self.events["membership change"] += sum(kind == EntryKind.CONFIG for _, kind, _ in self.log.values())
        self.close()

    def _heal(self) -> None:
        self.say("all faults end")
        stays = {
            "disk_delay_s": min(self.faults.disk_delay_s, 0.01),
            "disk_byte_s": self.faults.disk_byte_s,
            "link_byte_s": self.faults.link_byte_s,
        }
        self.faults = Faults(**{**dict.fromkeys(Faults.__slots__, 0), **stays})
        self.cut.clear()
        self.cut_mains.clear()
        for node in self.nodes:
            node.paused_until = 0.0
            node.wall_clock.heal(node.ahead_s)
            node.journal.fail_no_more()
            if node.core is not None:
                node.core.leader_link.set_availability(Availability.SERVES, node.now)
                self.watcher.look_at_availability(node, node.core)
            is_to_end = node.journal.failure is not None or node.is_outdated or node.drains_until < math.inf
            if node.reactor is not None and is_to_end:
                node.crash(power_fails=False)

    def _wait(self, wait: Wait, since_s: float, detail: str = "") -> None:
        """One step in peace, if there is still time for it."""
        self.oracle.hear(Waited(self.now, wait, since_s, detail))
        for node in self.nodes:
            if node.reactor is None:
                node.start()
            elif self.has_places and node.core is not None:  # what somebody had asked for may arrive only now
                node.core.leader_link.set_availability(Availability.SERVES, node.now)
                self.watcher.look_at_availability(node, node.core)
        self.step()

    def _come_back(self, healed_at: float) -> None:
        """Soon there is a leader, and a little later everybody has what it had then. Whoever leads has to bring others
        its state first, a slice for each answer, which takes its time on slow links."""
        has_brought_at = healed_at + 2 * self.faults.link_byte_s * max(self._state_bytes(node) for node in self.nodes)
        while (leader := self.leader()) is None:
            self._wait(Wait.LEADER, has_brought_at)
        index = leader.consensus.applied_index
        while leader is None or any(core.consensus.applied_index < index for core in self._members(leader)):
            self._wait(Wait.CAUGHT_UP, healed_at)
            leader = self.leader()

    def _until_all_done(self, since_s: float) -> None:
        while not all(client.is_done for client in self.clients):
            waiting = {client.number: len(client.open) for client in self.clients if client.open}
            if self.alters:
                self._release_held()
            self._wait(Wait.RESULTS, since_s, f"(by client: {waiting})")

    def cut_mains_of(self, alone: SimulatedNode, ways: str) -> None:
        """Nothing gets through by the main connections between this machine and all others, in one of WAYS. The quick
        ones work."""
        others = [node.address for node in self.nodes if node is not alone]
        cut: set[tuple[str, str]] = set()
        if ways != "to it":
            cut.update((alone.address, address) for address in others)
        if ways != "from it":
            cut.update((address, alone.address) for address in others)
        self.cut_mains = {pair: MainCut() for pair in sorted(cut)} | self.cut_mains
        pairs = ", ".join(f"{source} to {to}" for source, to in sorted(self.cut_mains))
        self.say(f"the main connections carry nothing: {pairs}")

    def _use_beside_cut_mains(self) -> None:
        """Whoever is reached by quick connections alone does not lead on, and keeps no task from running, if the others
        are a majority."""
        since = self.now
        alone = self.rng.choice(self.nodes)
        leader = self.leader()
        if leader is None:
            return
        config = leader.consensus.config
        voters = {*config.voters, *config.learners}  # a learner may be made one meanwhile
        there = {node.core.node_id for node in self.nodes if node.core is not None and node is not alone}
        if len(there.intersection(voters)) <= len(voters) // 2:
            return
        has_led = leader is alone.core
        self.cut_mains_of(alone, self.rng.choice(WAYS))
        for number in range(2 * self.workers_per_node * len(self.nodes)):
            self.clients[number % len(self.clients)].submit()
        while has_led and self.leader() in (None, alone.core):
            self._wait(Wait.SUCCESSOR, since)
        self._until_all_done(since)
        self.cut_mains.clear()
        self.say("the main connections work again")
        since = self.now
        while not self.has_all_accounts():
            self._wait(Wait.APPLIED, since)

    def has_all_accounts(self) -> bool:
        """Whether every node has told the leader what it has."""
        leader = self.leader()
        there = [node.core.node_id for node in self.nodes if node.core is not None]
        return leader is not None and leader.leader is not None and leader.leader.nodes.have_enrolled(there)

    def _let_clients_find_the_leader(self) -> None:
        """One that has asked for nothing meanwhile may not have noticed that its node is gone, and takes some tenths of
        a second to: its next task is late, and nobody else's fault."""
        for client in self.clients:
            client.submit(bytes(ARGS_BYTES))
        self._until_all_done(self.now)

    def _state_bytes(self, node: SimulatedNode) -> int:
        """Of the snapshot and the entries that it may have to bring to another."""
        if node.core is None:
            return 0
        log = node.core.consensus.log
        entries = log.entries_to(log.first_index, log.last_index)
        return node.journal.snapshot_bytes() + sum(len(entry.data) for entry in entries)

    def _members(self, leader: NodeCore) -> list[NodeCore]:
        """The nodes that keep the log, as far as they exist: a voter whose disk is gone stays one if somebody has
        removed whatever could take its place."""
        cores = {node.core.node_id: node.core for node in self.nodes if node.core is not None}
        config = leader.consensus.config
        return [cores[member] for member in (*config.voters, *config.learners) if member in cores]

    def _until_all_applied(self, healed_at: float) -> NodeCore:
        """A client has a result before its record is committed: wait for the records, for every follower, and for a
        leader that knows what its nodes hold, which is held back until then, and which of them are gone, and of which
        nobody wants anything any more: it may have been asked to leave. Slow links have to be done with what a node
        lacks that joins now. Returns that leader."""
        joined_at = healed_at + (JOINED_S if self.faults.link_byte_s else 0.0)
        while True:
            leader = self.leader()
            links_free_at = max(self._wire_free_at.values(), default=0.0)
            is_quiet = self.now >= max(joined_at, links_free_at - STEP_S)
            is_over = leader is not None and not (leader.table.tasks or leader.table.records or leader.table.dead)
            if is_quiet and is_over and leader is not None and leader.leader is not None:
                there = {node.core.node_id for node in self.nodes if node.core is not None}
                is_settled = leader.leader.tasks.is_settled and leader.leader.tasks.ledgers.keys() <= there
                is_asked = leader.consensus.transfer_target(self.now) or leader.role.keeper._requests
                applied = {core.consensus.applied_index for core in self._members(leader)}
                if is_settled and not is_asked and applied == {leader.consensus.applied_index}:
                    return leader
            self._wait(Wait.APPLIED, healed_at)

    def _use_in_calm(self) -> None:
        """It is not enough that all is done: the cluster is of use to whoever comes now."""
        self.oracle.hear(Calm(self.now))
        for _ in range(CALM_TASKS):
            since = self.now
            client = self.rng.choice(self.clients)
            client.submit()
            while not client.is_done:
                self._wait(Wait.RESULTS, since)
        since, client = self.now, self.rng.choice(self.clients)
        client.submit(tasks.FAILS_TWICE, tasks.UNTIL_IT_SUCCEEDS, name=tasks.FLAKY)
        client.submit(LASTS, {"time_limit": 250})
        client.submit(LASTS, {DEADLINE: right_ms(self.now) + 300})
        while not client.is_done:
            self._wait(Wait.RESULTS, since)
        for name, args, asked in TO_STOP:
            self._stop_one(name, args, asked)
        if len(self.clients) > 1:
            self._read_what_is_kept()
            self._use_dead_tasks()
        self._use_beside_long_tasks()
        if self.has_async:
            self._use_many_at_once()
        if self.faults.link_byte_s:
            self._use_for_large_tasks()
        self._lose_a_client()
        self._ask_how_far()
        self._wait_for_tasks_in_tasks()
        if self.drains:
            self._drain_in_calm()

    def _tell_graphs(self, core: NodeCore) -> None:
        """Nothing is under way any more."""
        assert core.leader is not None
        for name in GRAPHS:
            told = graphs(core.leader, core.table, GraphsRequest(1, name, ""))
            self.oracle.hear(graph_told(self.now, name, told, self.now))

    def _resume_queues(self, since: float) -> None:
        """What waits in paused queues is to end."""
        for queue in QUEUES:
            while queue in self.queues_asked:
                self._wait(Wait.RESULTS, since)
            self.queue_rng.choice(self.clients).change_queue(queue, Pausing.RESUME)

    def _release_held(self) -> None:
        """What somebody holds is to end; what a client has asked for that died may be done only now."""
        leader = self.leader()
        if leader is not None and not any(client.alters for client in self.clients):
            held = [task.id for task in leader.table.tasks.values() if task.is_held]
            if held:
                self.clients[0].alter(tuple(held[:256]), (Holding.RELEASE, "", 0))

    def _ask_how_far(self) -> None:
        """Of a task that is tried again, and of one that lasts, all the time."""
        self.asks_how_far = True
        since, client = self.now, self.rng.choice(self.clients)
        asked = [
            client.submit(tasks.FAILS_TWICE, tasks.UNTIL_IT_SUCCEEDS, name=tasks.FLAKY),
            client.submit(LASTS, {"time_limit": 400}),
        ]
        while not client.is_done:
            for task_id in asked:
                if task_id in client.open and not client.has_asked_how_far(task_id):
                    client.ask_how_far(task_id)
            self._wait(Wait.RESULTS, since)

    def _drain_in_calm(self) -> None:
        """Each node is stopped and started again, one after the other, while tasks run that end in time and others that
        don't. Nothing is lost by that, and nothing runs twice."""
        for node in self.drain_rng.sample(self.nodes, len(self.nodes)):
            since, client = self.now, self.rng.choice(self.clients)
            asked: list[Options | None] = [{"delivery": AT_MOST_ONCE}, None]
            slots = len(self.nodes) * self.workers_per_node
            lasts = [client.submit(LASTS, asked[n % 2]) for n in range(self.drain_rng.randint(1, slots - 1))]
            while not all(self.stories[task_id].starts for task_id in lasts):
                self._wait(Wait.RESULTS, since)
            node.drain(self.drain_rng.choice(DRAINS_S))
            while node.drains_until < math.inf:
                if self.drain_rng.random() < BESIDE_DRAIN:
                    client.submit()
                self._wait(Wait.RESULTS, since)
            while not (client.is_done and self.has_all_accounts()):
                self._wait(Wait.RESULTS, since)

    def _use_many_at_once(self) -> None:
        """Of tasks that run beside each other some are over their limits: one stops when it is cancelled, one goes on,
        and its worker is killed; beside them are others that may go on."""
        since, client = self.now, self.rng.choice(self.clients)
        for args, options in ((STOPS, {"time_limit": 250}), (LASTS, {"time_limit": 250, "delivery": AT_MOST_ONCE})):
            client.submit(args, options, name=tasks.FLAKY)
            for _ in range(3):
                client.submit(STOPS, {"cancel_grace": 1_000}, name=tasks.FLAKY)
        while not client.is_done:
            self._wait(Wait.RESULTS, since)

    def child_of(self, task_id: bytes) -> bytes:
        """The task that this one submits, and waits for."""
        if task_id not in self.children:
            self.children[task_id] = self.clients[0].submit(bytes(ARGS_BYTES))
        return self.children[task_id]

    def _wait_for_tasks_in_tasks(self) -> None:
        """More tasks than there are slots wait for others. Then others come, for which there are more workers than
        slots by then."""
        since, client = self.now, self.rng.choice(self.clients)
        parents = len(self.nodes) * self.workers_per_node + 2
        for _ in range(parents):
            client.submit(WAITS)
        while not (client.is_done and self.clients[0].is_done):
            self._wait(Wait.RESULTS, since)
            for node in self.nodes:
                for worker in node.workers:
                    worker.look_after_parent(node)
        since = self.now
        for _ in range(4 * parents):
            client.submit(STOPS, {"time_limit": 50})
        while not client.is_done:
            self._wait(Wait.RESULTS, since)

    def _lose_a_client(self) -> None:
        """A client dies that has one task which can't run for long, one which runs, and others which do not end with
        it."""
        client = self.rng.choice(self.clients)
        lost = [self.submit_late(client, on_client_lost=CANCEL), client.submit(STOPS, {"on_client_lost": CANCEL})]
        kept = [client.submit(bytes(ARGS_BYTES)), client.submit(LASTS)]
        stories, since = [self.stories[task_id] for task_id in (*lost, *kept)], self.now
        while not (stories[1].starts and all(story.accepted_at is not None for story in stories)):
            self._wait(Wait.RESULTS, since)
        client.dies()
        since = self.now + GRACE_S
        while any(story.outcome is None for story in stories):
            self._wait(Wait.RESULTS, since)

    def submit_late(self, client: SimulatedClient, **asked: int) -> bytes:
        """A task that may start only when all of this is over."""
        return client.submit(bytes(ARGS_BYTES), {"not_before": right_ms(self.now) + LATE_MS, **asked})

    def _stop_one(self, name: str, args: bytes, asked: Options | None) -> None:
        """A task that lasts is cancelled once it has begun."""
        since, client = self.now, self.rng.choice(self.clients)
        client.submit(args, asked, name=name)
        task_id, story = next(reversed(self.stories.items()))
        while not story.starts:
            self._wait(Wait.RESULTS, since)
        client.cancel(task_id)
        while not client.is_done:
            self._wait(Wait.RESULTS, since)

    def _read_what_is_kept(self) -> None:
        """A client has the result of a task, and another asks for it by its id, before its time is over and then."""
        since, (client, reader) = self.now, self.rng.sample(self.clients, 2)
        task_id = client.submit(bytes(ARGS_BYTES), KEPT)
        story = self.stories[task_id]
        while not client.is_done or story.outcome is None:
            self._wait(Wait.RESULTS, since)
        for is_over in (lambda: True, lambda: story.result_expired):
            while not is_over():
                self._wait(Wait.RESULTS, since)
            reader.read(task_id)
            while not reader.is_done:
                self._wait(Wait.RESULTS, since)

    def _use_dead_tasks(self) -> None:
        """One is requeued, by two clients at a time, one is discarded, and one left to its time."""
        since, (client, other) = self.now, self.rng.sample(self.clients, 2)
        dead = [client.submit(bytes([number]) * ARGS_BYTES, KEPT_DEAD, name=tasks.RAISE) for number in range(3)]
        while not client.is_done or any(self.stories[task_id].outcome is None for task_id in dead):
            self._wait(Wait.RESULTS, since)
        for each in (client, other):
            each.change_dead(dead[0], is_requeue=True)
        other.change_dead(dead[1], is_requeue=False)
        while not (client.is_done and other.is_done):
            self._wait(Wait.RESULTS, since)

    def _use_for_large_tasks(self) -> None:
        """What is large for the links takes its time, and disturbs nobody else."""
        since = self.now
        for number in range(LARGE_TASKS * len(self.nodes)):
            self.rng.choice(self.clients).submit(tasks.large(number))
        while not all(client.is_done for client in self.clients):
            self._wait(Wait.RESULTS, since)

    def _use_beside_long_tasks(self) -> None:
        """Some tasks last, or leave something that does, and nobody could know; others of their name come together with
        them, and afterwards. One worker is left for these. Of some it is soon over that they are wanted, wherever they
        wait."""
        since, client = self.now, self.rng.choice(self.clients)
        self.oracle.hear(Burst(since))
        workers = len(self.nodes) * self.workers_per_node
        last = self.rng.sample(range(BESIDE_LONG_TASKS), max(1, workers - 1))
        holds = dict.fromkeys(last, LASTS)
        if len(last) > 1:
            holds[last[0]] = LEAVES
        for number in range(2 * BESIDE_LONG_TASKS):
            args = holds.get(number, number.to_bytes(ARGS_BYTES, "big"))
            expires = self.rng.random() < UNWANTED_SOON and number not in last
            client.submit(args, {EXPIRES: right_ms(self.now) + self.rng.randint(5, 300)} if expires else None)
            if number >= BESIDE_LONG_TASKS:
                if self.rng.random() < UNWANTED_SOON:
                    client.cancel()
                self._wait(Wait.RESULTS, since)
                self.watcher.look_at_waits()
        while not client.is_done:
            self._wait(Wait.RESULTS, since)
            self.watcher.look_at_waits()

    def close(self) -> None:
        """Let go of the disks. Nothing can happen afterwards."""
        _clean_up(self.writers, self.directory)

    def check(self, node: SimulatedNode) -> None:
        """Behind each turn of a node, the oracle hears what that has done."""
        if node.core is not None:
            # Two processes with one identity are told what is meant for the other.
            if node.core.violations.total and not (self.has_hostile_peer or node.is_rival):
                raise InvariantBroken(
                    f"{node.core.node_id} refuses what an honest node said: {self._refusals(node.core)}"
                )
            self.watcher.look(node, node.core)

    def _refusals(self, core: NodeCore) -> str:
        return ", ".join(f"{kind} of {sender}" for sender, kind in core.violations.counts)
