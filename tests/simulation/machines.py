"""The machines of a simulated cluster: a real node core, reactor and journal on simulated wires, disk and workers."""

from __future__ import annotations

import copy
import errno
import random
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from journal.disk import Crash, Disk
from paceline.core.membership.identity import Identity
from paceline.core.node import NodeCore
from paceline.core.raft.consensus import Consensus, Log, Persist, Snapshot
from paceline.core.reports.status import status
from paceline.core.state.snapshots import restore
from paceline.errors import JournalFailed
from paceline.runtime.journal.recovery import Recovered, read_journal
from paceline.runtime.journal.writer import Writer
from paceline.runtime.reactor import Reactor
from paceline.runtime.transport.memory_transport import MemoryEndpoint, MemoryTransport
from paceline_protocol.codec import decode, encode
from paceline_protocol.messages import Config, Done, Outcome, Run, Stop, WorkerReady
from simulation import tasks
from simulation.oracle.events import Crashed, Finished, Started
from simulation.oracle.promise import InvariantBroken
from simulation.wall_clocks import WallClock
from simulation.watcher import Seen

if TYPE_CHECKING:
    from simulation.world import World

SEGMENT_BYTES = 8_192
SLICE_BYTES = 2_048
TURNS_AT_ONCE = 10  # what follows at once from becoming leader, and the few pages of a snapshot here


class SimulatedJournal:
    """A real journal, on a disk that outlives the node. The world kills the node in the middle of a write, or cuts its
    power, then or later: with that, what was not synced is lost."""

    def __init__(self, world: World, directory: Path) -> None:
        self.failure: JournalFailed | None = None
        self._world = world
        self._directory = directory
        self._pending: list[tuple[float, Persist | Snapshot | None]] = []  # None: a slice of a snapshot
        self._free_at = 0.0  # when the disk has moved the bytes that it was given last
        self._durable_seq = 0
        self._disk = Disk()
        directory.mkdir()

    def open(self) -> Recovered:
        """What the disk holds, as a node reads it when it starts."""
        recovered = read_journal(self._directory)
        self._world.events["torn tail"] += recovered.torn is not None
        self._disk.start_again()
        sync = self._world.settings.journal == "fsync"
        self._writer = Writer(
            self._directory, recovered, self._disk, sync=sync, segment_bytes=SEGMENT_BYTES, slice_bytes=SLICE_BYTES
        )
        self._world.writers.append(self._writer)
        self.failure = None
        self._durable_seq = 0
        return recovered

    def submit(self, persist: Persist) -> None:
        self._begin(copy.copy(persist))

    def save_snapshot(self, snapshot: Snapshot) -> None:
        self._world.events["own snapshot"] += 1
        self._begin(snapshot)

    def _begin(self, write: Persist | Snapshot | None) -> None:
        delay_s = self._world.rng.uniform(0, self._world.faults.disk_delay_s)
        due = max(self._world.now + delay_s, self._pending[-1][0] if self._pending else 0.0)
        self._pending.append((due, write))
        if not self._world.faults.disk_delay_s:
            self.settle()

    def durable_seq(self) -> int:
        return self._durable_seq

    def snapshot_bytes(self) -> int:
        """The size of the last durable snapshot."""
        return self._writer.snapshot[2] if self._writer.snapshot is not None else 0

    def due(self) -> float:
        """When the next write is done."""
        return max(self._pending[0][0], self._free_at) if self._pending and self.failure is None else inf

    def settle(self) -> None:
        """Make durable what is due, as groups with slices of a snapshot between them."""
        while self.due() <= self._world.now:
            batch: list[Persist | Snapshot] = []
            while self._pending and self._pending[0][0] <= self._world.now:
                write = self._pending[0][1]
                if write is None and batch:
                    break
                del self._pending[0]
                if write is None:
                    break
                batch.append(write)
            before = self._disk.written_bytes
            try:
                if batch:
                    self._writer.write(batch)
                elif self._writer.is_saving:  # and not given up for one that a leader sent
                    self._writer.save_slice()
            except OSError as error:
                self.failure = JournalFailed("write", str(self._directory), str(error))
                return
            self._free_at = self._world.now + (self._disk.written_bytes - before) * self._world.faults.disk_byte_s
            self._durable_seq = max([self._durable_seq, *(each.seq for each in batch if isinstance(each, Persist))])
            if self._writer.is_saving and all(write is not None for _, write in self._pending):
                self._begin(None)

    def fail(self) -> None:
        """One of the next operations on the disk is refused."""
        self._disk.fail_at(self._world.rng.randint(0, 5), self._world.rng.choice((errno.ENOSPC, errno.EIO)))

    def fail_no_more(self) -> None:
        """The disk is repaired. A journal that has failed needs a new process all the same."""
        self._disk.fail_no_more()

    def crash(self) -> None:
        """The process ends while some of what was under way is written."""
        rng = self._world.rng
        begun = [write for _, write in self._pending[: rng.randint(0, len(self._pending))]]
        batch = [write for write in begun if write is not None]
        self._pending = []
        try:
            if self.failure is None:
                self._disk.crash_after(rng.choice((0, 0, 1, 2, 8)))
                if batch:
                    self._writer.write(batch)
                while None in begun and self._writer.is_saving:
                    self._writer.save_slice()
        except (Crash, OSError):
            self._world.events["cut write"] += 1
        self._writer.close()

    def lose_power(self) -> None:
        """The machine is off: its cache is empty."""
        self._disk.lose_unsynced(self._world.rng)


@dataclass(slots=True, eq=False)
class SimulatedWorker:
    """Runs tasks one after the other. ``queue``: when each will be done, and what it then answers; None: it dies of
    it."""

    worker_id: bytes
    endpoint: MemoryEndpoint
    queue: list[tuple[float, Outcome | None]] = field(default_factory=list)

    def due(self, now: float) -> float:
        """When it has something to do."""
        if self.endpoint.waiting:
            return now
        return self.queue[0][0] if self.queue else inf

    def step(self, node: SimulatedNode) -> None:
        world, now = node.world, node.world.now
        for frame in self.endpoint.receive():
            message = decode(frame)
            if isinstance(message, Run):
                self._begin(node, message)
            else:
                assert isinstance(message, Stop)
        done: list[Outcome] = []
        dies = False
        while self.queue and self.queue[0][0] <= now and not dies:
            outcome = self.queue.pop(0)[1]
            if outcome is None:
                dies = True
                continue
            done.append(outcome)
            task_id, attempt, end, payload, _duration_us = outcome
            world.oracle.hear(Finished(now, task_id, attempt, node.identity.node_id, end, payload))
        if done:
            self.endpoint.send(encode(Done(tuple(done))))
        if dies:
            world.events["worker killed by its task"] += 1
            node.lose_worker(self)

    def _begin(self, node: SimulatedNode, run: Run) -> None:
        world = node.world
        due = self.queue[-1][0] if self.queue else world.now
        for task_id, attempt, name, args, _options in run.tasks:
            due += tasks.takes_s(name, world.rng)
            world.oracle.hear(Started(world.now, task_id, attempt, node.identity.node_id))
            if tasks.kills_worker(name, args, attempt):
                self.queue.append((due, None))
            else:
                self.queue.append((due, (task_id, attempt, *tasks.answer(name, args), 50)))


class SimulatedNode:
    """One machine: its disk survives a crash, everything else does not."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.address = f"node-{number}:7077"
        world.addresses.add(self.address)
        self.reactor: Reactor | None = None
        self.workers: list[SimulatedWorker] = []
        self.paused_until = 0.0
        self.ahead_s = 0.0  # of its clock, before the world's
        self.wall_clock = WallClock(world.rng, world.faults)
        self.seen = Seen()  # how far the world has watched it
        self._starts = 0
        self._disks = 0
        self._insert_disk()

    def _insert_disk(self) -> None:
        """An empty one, and with it another identity."""
        self._disks += 1
        name = f"n{self.number}" if self._disks == 1 else f"n{self.number}-{self._disks}"
        self.journal = SimulatedJournal(self.world, self.world.directory / name)
        self.identity = Identity(name, incarnation=0)
        self.saved_identity = copy.copy(self.identity)

    @property
    def machine(self) -> str:
        """Its name, whatever its disk, address and identity are."""
        return f"machine {self.number}"

    @property
    def core(self) -> NodeCore | None:
        return None if self.reactor is None else self.reactor.core

    @property
    def now(self) -> float:
        """Its own clock."""
        return self.world.now + self.ahead_s

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
            now=self.now,
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
            now=self.now,
            consensus=consensus,
            status=status,
        )
        if snapshot:
            restore(core.table, snapshot.data)
        for other in world.nodes:
            if other is not self:
                core.on_address(other.address, seed=True)
        self._transport: MemoryTransport = world.network.node(self.address)
        self.reactor = Reactor(
            core, self._transport, journal, clock=lambda: self.now, save_identity=self._save_identity
        )
        self.workers = []
        for _ in range(world.workers_per_node):
            self.add_worker()
        world.say(f"{self.address} starts as {self.identity.node_id}, {len(recovered.entries)} entries on disk")

    def _save_identity(self) -> None:
        """Its id, and what it consented to, in a file that is replaced as one. The power may go before and behind."""
        rng = self.world.rng
        is_cut = rng.random() < self.world.faults.cut_at_save
        if is_cut:
            self.world.events["cut at saving who it is"] += 1
        if not is_cut or rng.random() < 0.5:
            self.saved_identity = copy.copy(self.identity)
        if is_cut:
            raise Crash

    def add_worker(self) -> None:
        worker_id = self.world.rng.randbytes(8)
        worker = SimulatedWorker(worker_id, self.world.network.worker(self.address, worker_id))
        worker.endpoint.send(encode(WorkerReady(1, tasks.NAMES)))
        self.workers.append(worker)

    def lose_worker(self, worker: SimulatedWorker) -> None:
        """A worker process dies, and another is started."""
        assert self.core is not None
        self.workers.remove(worker)
        worker.endpoint.close()
        self.core.on_worker_lost(worker.worker_id, "signal 9", self.now)
        self.add_worker()

    def crash(self, *, power_fails: bool) -> None:
        """The process is killed, or the machine is off. With journal "os" that makes another node of it."""
        self.world.oracle.hear(Crashed(self.world.now, self.identity.node_id, power_fails))
        self.reactor = None
        self.workers = []
        self.world.network.crash(self.address)
        self.journal.crash()
        if power_fails:
            self.journal.lose_power()
        if power_fails and self.world.settings.journal == "os":
            self._insert_disk()
        self.seen = self.seen.crashed()
        self.world.say(f"{self.address} is down")

    def wipe(self) -> None:
        """What was on its disk is gone for good: whoever starts here is another node."""
        if self.reactor is not None:
            self.crash(power_fails=False)
        self._insert_disk()

    def move(self) -> None:
        """It gets another address: a new one, one that a node had before, or that of another that is down, and that one
        gets its own. Only for one that is down."""
        world, before = self.world, self.address
        in_use = {node.address: node for node in world.nodes if node.reactor is not None or not node.number}
        left = sorted(world.addresses - {before, *in_use})
        if left and world.rng.random() < 0.5:
            self.address = world.rng.choice(left)
            for other in world.nodes:
                if other is not self and other.address == self.address:
                    other.address = before
            world.events["address taken over"] += 1
        else:
            self.address = f"node-{self.number}:{7_077 + len(world.addresses)}"
            world.addresses.add(self.address)

    def next_at(self) -> float:
        """When it has something to do, by the world's clock."""
        reactor = self.reactor
        if reactor is None:
            return inf
        now = self.world.now
        if now < self.paused_until:
            return self.paused_until
        if self._transport.waiting or reactor._stalled:
            return now
        due = min(reactor.core.next_deadline() - self.ahead_s, self.journal.due())
        return min(due, *(worker.due(now) for worker in self.workers))

    def step(self) -> None:
        if self.reactor is None or self.world.now < self.paused_until:
            return
        for worker in list(self.workers):
            worker.step(self)
        self.journal.settle()
        turns = 0
        while not turns or self.reactor.core.next_deadline() <= self.now:
            try:
                self.reactor.turn()
            except JournalFailed as failure:
                self.world.check(self)  # what it did in its last turn, it did
                self.world.say(f"{self.address} ends: {failure}")
                self.crash(power_fails=False)
                return
            except Crash:  # with journal "os" the machine stays on: how many may go off is the world's to say
                self.world.watcher.look_at_dispatches(self, self.reactor.core)  # they have left before
                self.crash(power_fails=self.world.settings.journal != "os")
                return
            self.world.check(self)
            turns += 1
            if turns > TURNS_AT_ONCE:
                raise InvariantBroken(f"{self.address} has a deadline that its turns don't meet: its loop would spin")
