"""A cluster in one process and in virtual time: real cores, reactors and codec, real client sessions, simulated wires.

What is real: everything from the frame inwards (``Reactor``, ``NodeCore``, ``Session``, the codec) and the journal's
files. What is simulated: the network (``MemoryTransport``), time, the disk's speed and its power (writes take time, and
a crash cuts them off in the middle), and the workers, which answer ``args`` reversed after a while or die.

One seed decides everything, so that a failure is replayed by its seed. After every step the world checks what must hold
at every instant; :meth:`World.heal_and_finish` then repairs all faults and checks what must hold in the end.
"""

from __future__ import annotations

import copy
import random
import shutil
import tempfile
import weakref
from dataclasses import dataclass, field
from pathlib import Path

from journal.disk import Disk, PowerCut
from paceline.client.session import Session
from paceline.core.consensus import Consensus, Log, Persist, Snapshot, Timing
from paceline.core.membership import Identity
from paceline.core.node import NodeCore
from paceline.core.settings import Settings
from paceline.core.snapshots import restore, snapshot_of
from paceline.runtime.journal import Writer
from paceline.runtime.memory_transport import Kind, MemoryEndpoint, MemoryNetwork
from paceline.runtime.reactor import Reactor
from paceline.runtime.recovery import Recovered, read_journal
from paceline_protocol.codec import decode, decode_calls, decode_outcomes, encode, split_ids
from paceline_protocol.messages import (
    AT_MOST_ONCE,
    COMMITTED,
    NO_LOG,
    Config,
    Done,
    EntryKind,
    Options,
    Outcome,
    Run,
    Stop,
    TaskEnd,
    WorkerReady,
)

TASK = "reverse"
STEP_S = 0.002
SEGMENT_BYTES = 8_192
ONCE: Options = {"delivery": AT_MOST_ONCE}
CONFIRMED: Options = {"confirm": COMMITTED}
UNLOGGED: Options = {"durability": NO_LOG}
MIX: tuple[Options | None, ...] = (None, ONCE, CONFIRMED, UNLOGGED)
WEIGHTS = (5, 2, 1, 2)
EVENTS = ("crash", "cut write", "torn tail", "partition", "pause", "worker death", "snapshot", "own snapshot")
TURNS_AT_ONCE = 10  # what follows at once from becoming leader, and the few pages of a snapshot here
FINISH_WITHIN_S = 60.0
DIGEST_EVERY_ENTRIES = 8


class InvariantBroken(AssertionError):
    """What must never happen has happened. The message ends with the seed that shows it."""


@dataclass(slots=True)
class Faults:
    """How bad the network, the disks and the workers are. Probabilities per frame, or rates per simulated second."""

    drop: float = 0.02
    duplicate: float = 0.01
    slow: float = 0.05  # delayed by up to 100 ms, and so reordered
    crash_rate: float = 0.15
    partition_rate: float = 0.1
    pause_rate: float = 0.05
    worker_death_rate: float = 0.2
    disk_delay_s: float = 0.01


def _clean_up(writers: list[Writer], directory: Path) -> None:
    for writer in writers:
        writer.close()
    shutil.rmtree(directory, ignore_errors=True)


class SimulatedJournal:
    """A real journal, on a disk whose power the world cuts: in the middle of a write, with what was not synced lost."""

    failure = None

    def __init__(self, world: World, directory: Path) -> None:
        self._world = world
        self._directory = directory
        self._pending: list[tuple[float, Persist | Snapshot]] = []
        self._durable_seq = 0
        self._snapshot_index = 0
        directory.mkdir()

    def open(self) -> Recovered:
        """What the disk holds, as a node reads it when it starts."""
        recovered = read_journal(self._directory)
        self._world.events["torn tail"] += recovered.torn is not None
        self._disk = Disk()
        self._writer = Writer(self._directory, recovered, self._disk, sync=True, segment_bytes=SEGMENT_BYTES)
        self._world.writers.append(self._writer)
        self._durable_seq = 0
        self._snapshot_index = recovered.snapshot.index if recovered.snapshot is not None else 0
        return recovered

    def submit(self, persist: Persist) -> None:
        self._begin(copy.copy(persist))

    def save_snapshot(self, snapshot: Snapshot) -> None:
        self._world.events["own snapshot"] += 1
        self._begin(snapshot)

    def _begin(self, write: Persist | Snapshot) -> None:
        delay_s = self._world.rng.uniform(0, self._world.faults.disk_delay_s)
        due = max(self._world.now + delay_s, self._pending[-1][0] if self._pending else 0.0)
        self._pending.append((due, write))
        if not self._world.faults.disk_delay_s:
            self.settle()

    def durable_seq(self) -> int:
        return self._durable_seq

    def snapshot_index(self) -> int:
        return self._snapshot_index

    def settle(self) -> None:
        """Make durable what is due, as one group."""
        batch: list[Persist | Snapshot] = []
        while self._pending and self._pending[0][0] <= self._world.now:
            batch.append(self._pending.pop(0)[1])
        if not batch:
            return
        self._writer.write(batch)
        for write in batch:
            if isinstance(write, Snapshot):
                self._snapshot_index = write.index
            else:
                self._durable_seq = write.seq
                if write.snapshot is not None:
                    self._snapshot_index = write.snapshot.index

    def crash(self) -> None:
        """The power goes while some of what was under way is written."""
        rng = self._world.rng
        batch = [write for _, write in self._pending[: rng.randint(0, len(self._pending))]]
        self._pending = []
        try:
            if batch:
                self._disk.cut_after(rng.choice((0, 0, 1, 2, 8)))
                self._writer.write(batch)
        except PowerCut:
            self._world.events["cut write"] += 1
        self._writer.close()
        self._disk.lose_unsynced(rng)


@dataclass(slots=True, eq=False)
class SimulatedWorker:
    """Answers each task with its arguments reversed, after a while."""

    worker_id: bytes
    endpoint: MemoryEndpoint
    queue: list[tuple[float, Outcome]] = field(default_factory=list)

    def step(self, world: World) -> None:
        for frame in self.endpoint.receive():
            message = decode(frame)
            if isinstance(message, Run):
                start = self.queue[-1][0] if self.queue else world.now
                for task_id, attempt, _name, args, _options in message.tasks:
                    start += world.rng.choice((0.0, 0.0, 0.001, 0.02))
                    world.started(task_id)
                    self.queue.append((start, (task_id, attempt, TaskEnd.SUCCEEDED, args[::-1], 50)))
            else:
                assert isinstance(message, Stop)
        done = [outcome for due, outcome in self.queue if due <= world.now]
        if done:
            self.queue = self.queue[len(done) :]
            self.endpoint.send(encode(Done(tuple(done))))


class SimulatedNode:
    """One machine: its disk survives a crash, everything else does not."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.address = f"node-{number}:7077"
        self.journal = SimulatedJournal(world, world.directory / str(number))
        self.identity = Identity(f"n{number}", incarnation=0)
        self.saved_identity = copy.copy(self.identity)
        self.reactor: Reactor | None = None
        self.workers: list[SimulatedWorker] = []
        self.paused_until = 0.0
        self.checked_digest = 0
        self.checked_index = 0
        self._starts = 0

    @property
    def core(self) -> NodeCore | None:
        return None if self.reactor is None else self.reactor.core

    def start(self) -> None:
        """Boot, from whatever the disk holds."""
        world, journal = self.world, self.journal
        self._starts += 1
        self.identity = copy.copy(self.saved_identity)
        self.identity.incarnation = self._starts
        recovered = journal.open()
        snapshot = recovered.snapshot
        log = Log(snapshot.index, snapshot.term, recovered.entries) if snapshot else Log(entries=recovered.entries)
        consensus = Consensus(
            self.identity.node_id,
            timing=world.settings.timing,
            random=random.Random(world.rng.getrandbits(64)),
            now=world.now,
            hard_state=recovered.hard_state,
            log=log,
            config=snapshot.config if snapshot else Config(),
        )
        core = NodeCore(
            world.settings,
            self.identity,
            address=self.address,
            spare_cluster_id=f"cluster-of-{self.identity.node_id}",
            random=random.Random(world.rng.getrandbits(64)),
            now=world.now,
            consensus=consensus,
        )
        if snapshot:
            restore(core.table, snapshot.data)
        for other in world.nodes:
            if other is not self:
                core.on_address(other.address, seed=True)
        transport = world.network.node(self.address)
        self.reactor = Reactor(core, transport, journal, clock=lambda: world.now)
        self.workers = []
        for _ in range(world.workers_per_node):
            self.add_worker()

    def add_worker(self) -> None:
        worker_id = self.world.rng.randbytes(8)
        worker = SimulatedWorker(worker_id, self.world.network.worker(self.address, worker_id))
        worker.endpoint.send(encode(WorkerReady(1, (TASK,))))
        self.workers.append(worker)

    def lose_worker(self) -> None:
        """A worker process dies, and another is started."""
        assert self.core is not None
        worker = self.workers.pop(self.world.rng.randrange(len(self.workers)))
        worker.endpoint.close()
        self.core.on_worker_lost(worker.worker_id, "signal 9", self.world.now)
        self.add_worker()

    def crash(self) -> None:
        """Power off."""
        self.reactor = None
        self.workers = []
        self.world.network.crash(self.address)
        self.journal.crash()
        self.checked_digest = 0
        self.checked_index = 0

    def step(self) -> None:
        if self.reactor is None or self.world.now < self.paused_until:
            return
        for worker in self.workers:
            worker.step(self.world)
        self.journal.settle()
        turns = 0
        while not turns or self.reactor.core.next_deadline() <= self.world.now:
            self.reactor.turn()
            turns += 1
            if turns > TURNS_AT_ONCE:
                raise InvariantBroken(f"{self.address} has a deadline that its turns don't meet: its loop would spin")
        self.saved_identity = copy.copy(self.identity)


class SimulatedClient:
    """A real Session on simulated connections. Remembers what was accepted and what came back."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.session = Session(
            number.to_bytes(16, "big"),
            [node.address for node in world.nodes],
            random=random.Random(world.rng.getrandbits(64)),
            failover_timeout_s=10 * FINISH_WITHIN_S,
            connect_timeout_s=10 * FINISH_WITHIN_S,
        )
        self.submitted: dict[bytes, bytes] = {}
        self.options: dict[bytes, Options] = {}  # of those that have any
        self.accepted: set[bytes] = set()
        self.results: dict[bytes, tuple[int, bytes]] = {}
        self._connections: dict[str, MemoryEndpoint] = {}
        self._sessions = 0

    def submit(self) -> None:
        """One more task."""
        number = len(self.submitted)
        task_id = self.number.to_bytes(8, "big") + number.to_bytes(8, "big")
        args = self.world.rng.randbytes(8)
        self.submitted[task_id] = args
        priority = self.world.rng.randrange(10)
        options = self.world.rng.choices(MIX, WEIGHTS)[0]
        if options:
            self.options[task_id] = options
        if options is ONCE:
            self.world.once.add(task_id)
        self.session.submit((task_id, TASK, priority, args, options), self.world.now)

    def step(self) -> None:
        session, now = self.session, self.world.now
        for address, endpoint in list(self._connections.items()):
            for frame in endpoint.receive():
                if self._connections.get(address) is endpoint:
                    session.received(address, frame, now)
                    self._send()
        if now >= session.next_deadline():
            session.tick(now)
        self._send()
        self._collect()

    def _send(self) -> None:
        outbox, self.session.outbox = self.session.outbox, []
        for address, frame in outbox:
            if frame is None:
                endpoint = self._connections.pop(address, None)
                if endpoint is not None:
                    endpoint.close()
                continue
            endpoint = self._connections.get(address)
            if endpoint is None or endpoint.node_gone:
                if self.world.network.node_at(address) is None:
                    continue  # nobody listens there: lost, as in the queue of a connection that never stands
                self._sessions += 1
                key = self.number.to_bytes(2, "big") + self._sessions.to_bytes(4, "big")
                endpoint = self._connections[address] = self.world.network.client(address, key)
            endpoint.send(frame)

    def _collect(self) -> None:
        session = self.session
        for task_id, end, payload in session.results:
            known = self.results.setdefault(task_id, (end, payload))
            if known != (end, payload):
                raise InvariantBroken(f"task {task_id.hex()} ended twice, differently; {self.world.replay}")
            if self.options.get(task_id) in (ONCE, CONFIRMED) and self.world.outcomes.get(task_id) != (end, payload):
                raise InvariantBroken(
                    f"task {task_id.hex()} is told to end before that is committed; {self.world.replay}"
                )
        session.results.clear()
        for task_id in self.submitted:
            # A result may come before its task is accepted; only what the leader called accepted must survive it.
            if task_id in self.accepted or task_id in self.results or self.options.get(task_id) is UNLOGGED:
                continue
            if session.is_accepted(task_id):
                self.accepted.add(task_id)
        if session.failed:
            raise InvariantBroken(f"the client was told {session.failed}; {self.world.replay}")


class World:
    """Nodes, clients, wires, faults and the invariants."""

    def __init__(
        self, seed: int, *, nodes: int = 3, clients: int = 2, workers_per_node: int = 2, faults: Faults | None = None
    ) -> None:
        self.seed = seed
        self.replay = f"replay with seed {seed}"
        self.rng = random.Random(seed)
        self.now = 0.0
        self.faults = faults or Faults()
        self.workers_per_node = workers_per_node
        self.settings = Settings(
            cluster_name="simulated",
            expect=nodes,
            voters=nodes if nodes % 2 else max(1, nodes - 1),
            timing=Timing(),
            attempt_limit=1_000,  # deaths here say nothing about the task
            log_keep_entries=self.rng.choice((64, 256, 4_096)),
            snapshot_log_entries=self.rng.choice((30, 300, 100_000)),
        )
        self.network = MemoryNetwork(self._deliver)
        self.events: dict[str, int] = dict.fromkeys(EVENTS, 0)
        self.directory = Path(tempfile.mkdtemp(prefix="paceline-world-"))
        self.writers: list[Writer] = []
        weakref.finalize(self, _clean_up, self.writers, self.directory)
        self.nodes = [SimulatedNode(self, number) for number in range(nodes)]
        self.clients = [SimulatedClient(self, number) for number in range(1, clients + 1)]
        self.executions: dict[bytes, int] = {}
        self.once: set[bytes] = set()  # tasks that may start at most once
        self.outcomes: dict[bytes, tuple[int, bytes]] = {}  # what is committed
        self.cut: set[tuple[str, str]] = set()  # (from, to) machines between which nothing arrives
        self.log: dict[int, tuple[int, int, bytes]] = {}  # what was applied anywhere, by index
        self.leaders: dict[int, str] = {}  # term -> who led
        self.checked_leaders: set[tuple[int, str]] = set()
        self.digests: dict[int, bytes] = {}
        for node in self.nodes:
            node.start()

    # --- the network --------------------------------------------------------------------------------------------

    def _deliver(self, kind: Kind, source: str, destination: str) -> tuple[float, ...]:
        rng, faults = self.rng, self.faults
        if kind is Kind.WORKER:
            return (0.0001,)
        if (source.split("/")[0], destination.split("/")[0]) in self.cut:
            return ()
        if kind is Kind.CLIENT:  # a TCP connection: it loses nothing in the middle, but it may hang
            return (0.0005,)
        if rng.random() < faults.drop:
            return ()
        delay_s = rng.uniform(0.0001, 0.1 if rng.random() < faults.slow else 0.001)
        if rng.random() < faults.duplicate:
            return (delay_s, rng.uniform(0.0001, 0.5))
        return (delay_s,)

    # --- steps --------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """One step of simulated time: deliver, let every machine run, check."""
        self.now += STEP_S
        self.network.now = self.now
        self.network.deliver_due()
        for node in self.rng.sample(self.nodes, len(self.nodes)):
            node.step()
        for client in self.clients:
            client.step()
        self.check()

    def run(self, seconds: float, *, tasks_per_second: float = 100.0) -> None:
        """Let time pass, with load and faults."""
        for _ in range(round(seconds / STEP_S)):
            for client in self.clients:
                if self.rng.random() < tasks_per_second * STEP_S / len(self.clients) and client.session.has_room:
                    client.submit()
            self._misfortune()
            self.step()

    def _misfortune(self) -> None:
        rng, faults = self.rng, self.faults

        def happens(rate: float) -> bool:
            return rng.random() < rate * STEP_S

        for node in self.nodes:
            if node.reactor is None:
                if happens(2.0):
                    node.start()
                continue
            if happens(faults.crash_rate):
                node.crash()
                self.events["crash"] += 1
                continue
            if happens(faults.pause_rate):
                node.paused_until = self.now + rng.uniform(0.05, 2.0)
                self.events["pause"] += 1
            if happens(faults.worker_death_rate):
                node.lose_worker()
                self.events["worker death"] += 1
        if happens(faults.partition_rate):
            self._partition()
        elif self.cut and happens(1.0):
            self.cut.clear()

    def _partition(self) -> None:
        """Cut one machine off, in both directions or in one, or any one link."""
        self.events["partition"] += 1
        alone, other = self.rng.sample(self.nodes, 2) if len(self.nodes) > 1 else (self.nodes[0], self.nodes[0])
        kind = self.rng.randrange(3)
        others = [node.address for node in self.nodes if node is not alone]
        if kind == 0:
            self.cut |= {(alone.address, address) for address in others}
        if kind in (0, 1):
            self.cut |= {(address, alone.address) for address in others}
        if kind == 2:
            self.cut.add((alone.address, other.address))

    def heal_and_finish(self) -> None:
        """Repair everything, wait until every task has its result, then check what must hold in the end."""
        self.faults = Faults(0, 0, 0, 0, 0, 0, 0, self.faults.disk_delay_s)
        self.cut.clear()
        for node in self.nodes:
            node.paused_until = 0.0
            if node.reactor is None:
                node.start()
        deadline = self.now + FINISH_WITHIN_S
        while any(len(client.results) < len(client.submitted) for client in self.clients):
            if self.now > deadline:
                missing = {c.number: len(c.submitted) - len(c.results) for c in self.clients}
                raise InvariantBroken(f"tasks without a result after healing, by client: {missing}; {self.replay}")
            self.step()
        self._until_all_applied(deadline)
        self.check_end()
        self.close()

    def _until_all_applied(self, deadline: float) -> None:
        """A client has a result before its record is committed: wait for the records, and for every follower."""
        while True:
            cores = [node.core for node in self.nodes]
            assert all(core is not None for core in cores)
            replicas = [c for c in cores if c is not None and c.node_id in c.consensus.config.voters]
            settled = [core for core in replicas if core.leader is not None and not core.table.tasks]
            if settled and len({core.consensus.applied_index for core in replicas}) == 1:
                return
            if self.now > deadline:
                raise InvariantBroken(f"not every voter caught up after healing; {self.replay}")
            self.step()

    # --- what must hold -----------------------------------------------------------------------------------------

    def started(self, task_id: bytes) -> None:
        """A worker begins with a task."""
        count = self.executions[task_id] = self.executions.get(task_id, 0) + 1
        if count > 1 and task_id in self.once:
            raise InvariantBroken(f"task {task_id.hex()} started {count} times and may once; {self.replay}")

    def check(self) -> None:
        """What must hold at every instant."""
        for node in self.nodes:
            if node.core is not None:
                self._check_applied(node, node.core)
                self._check_leader(node.core)
                self._check_digest(node, node.core)

    def _check_leader(self, core: NodeCore) -> None:
        consensus = core.consensus
        if not consensus.is_leader:
            return
        known = self.leaders.setdefault(consensus.term, core.node_id)
        if known != core.node_id:
            raise InvariantBroken(f"{known} and {core.node_id} both lead in term {consensus.term}; {self.replay}")
        if (consensus.term, core.node_id) not in self.checked_leaders:
            self.checked_leaders.add((consensus.term, core.node_id))
            self._check_complete(core)

    def _check_complete(self, core: NodeCore) -> None:
        """Leader completeness: a new leader's log has every entry that was committed in an earlier term."""
        log = core.consensus.log
        for index, (term, _kind, _data) in self.log.items():
            if term < core.consensus.term and index > log.snapshot_index and log.term_at(index) != term:
                raise InvariantBroken(f"{core.node_id} leads without committed entry {index}; {self.replay}")

    def _check_applied(self, node: SimulatedNode, core: NodeCore) -> None:
        """Log matching and state-machine safety: what one node applies, no node applies differently."""
        log = core.consensus.log
        if node.checked_index and log.snapshot_index > node.checked_index:
            self.events["snapshot"] += 1
        for entry in log.entries_to(max(log.first_index, node.checked_index + 1), log.applied_index):
            if entry.index not in self.log and entry.kind == EntryKind.OUTCOME:
                for task_id, _attempt, end, payload, _duration_us in decode_outcomes(entry.data):
                    self.outcomes.setdefault(task_id, (end, payload))
            found = (entry.term, entry.kind, entry.data)
            if self.log.setdefault(entry.index, found) != found:
                raise InvariantBroken(f"{core.node_id} has applied another entry {entry.index}; {self.replay}")
        node.checked_index = log.applied_index

    def _check_digest(self, node: SimulatedNode, core: NodeCore) -> None:
        """Equal logs make equal states, byte for byte."""
        applied = core.consensus.applied_index
        if core._restoring is not None:
            return  # its table is that of an earlier index
        if applied < node.checked_digest + DIGEST_EVERY_ENTRIES:
            return
        node.checked_digest = applied
        digest = snapshot_of(core.table)
        if self.digests.setdefault(applied, digest) != digest:
            raise InvariantBroken(f"{core.node_id} has another state after entry {applied}; {self.replay}")

    def close(self) -> None:
        """Let go of the disks. Nothing can happen afterwards."""
        _clean_up(self.writers, self.directory)

    def check_end(self) -> None:
        """No accepted task is lost, none ended twice, every result is right."""
        accepted, ended = self._read_log()
        for client in self.clients:
            for task_id, args in client.submitted.items():
                end, payload = client.results[task_id]
                if end == TaskEnd.LOST and task_id in self.once:
                    continue
                if end != TaskEnd.SUCCEEDED or payload != args[::-1]:
                    raise InvariantBroken(f"task {task_id.hex()} came back as {end} {payload!r}; {self.replay}")
            lost = [task_id for task_id in client.accepted if task_id not in accepted]
            if lost:
                raise InvariantBroken(f"{len(lost)} tasks were called accepted and are not in the log; {self.replay}")
        unfinished = accepted - ended
        if unfinished:
            raise InvariantBroken(f"{len(unfinished)} accepted tasks have no outcome in the log; {self.replay}")
        for node in self.nodes:
            core = node.core
            if core is not None and core.leader is not None and core.table.recorded != len(accepted):
                raise InvariantBroken(f"{core.table.recorded} outcomes of {len(accepted)} tasks; {self.replay}")

    def _read_log(self) -> tuple[set[bytes], set[bytes]]:
        """From the log alone, without the table: the accepted ids, and those of them that ended."""
        accepted: set[bytes] = set()
        ended: set[bytes] = set()
        for index in sorted(self.log):
            _term, kind, data = self.log[index]
            if kind == EntryKind.ACCEPT:
                accepted.update(call[0] for call in decode_calls(data))
            elif kind == EntryKind.OUTCOME:
                ended.update(outcome[0] for outcome in decode_outcomes(data) if outcome[0] in accepted)
            elif kind == EntryKind.RELEASE:
                early = [task_id for task_id in split_ids(data) if task_id not in ended]
                if early:
                    raise InvariantBroken(f"{len(early)} results were released before they existed; {self.replay}")
        return accepted, ended
