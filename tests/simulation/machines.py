"""The machines of a simulated cluster: a real node core, reactor and journal on simulated wires, disk and workers."""

from __future__ import annotations

import copy
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from journal.disk import Crash
from paceline.core.feature_levels import FEATURE_LEVEL, NodeTooOld
from paceline.core.membership.identity import Identity, IdentityTaken, Overtaken
from paceline.core.node import NodeCore
from paceline.core.raft.consensus import Consensus
from paceline.core.raft.log import Log, LogForgotten
from paceline.core.reports.questions import QUESTIONS
from paceline.core.state.snapshots import restore
from paceline.errors import JournalFailed
from paceline.runtime.drain import FINISH_S
from paceline.runtime.reactor import Reactor
from paceline.runtime.transport.memory_transport import MemoryTransport
from paceline.runtime.transport.transport import Sent
from paceline_protocol.codec import decode, encode, encode_defaults, encode_own_schedules
from paceline_protocol.messages.children import Run, ServeAsync, StopAttempts, WorkerReady
from paceline_protocol.messages.consensus import Config
from paceline_protocol.messages.records import PRIORITY_DEFAULT
from paceline_protocol.places import amounts_of
from simulation import tasks
from simulation.journals import SimulatedJournal
from simulation.oracle.events import (
    BrokenOff,
    Crashed,
    CutByDrain,
    Drained,
    GaveUp,
    ModuleHas,
    TakesNone,
    WasOvertaken,
)
from simulation.oracle.promise import InvariantBroken
from simulation.schedules import OF_MODULE, of_module
from simulation.wall_clocks import WallClock
from simulation.watcher import Seen
from simulation.workers import SimulatedChildren, SimulatedWorker

if TYPE_CHECKING:
    from simulation.world import World

TURNS_AT_ONCE = 40  # what follows at once from becoming leader, and the few pages of a snapshot here


@dataclass(frozen=True)
class DiskCopy:
    """What was on a machine's disk at some moment."""

    directory: Path
    identity: Identity


DECLARED = (("ssd,zone-a", "gpu=2,memory_mb=4"), ("", "gpu=1,memory_mb=3"), ("ssd", "memory_mb=3"))
"""The tags and amounts of each machine in turn, in worlds where tasks ask for some."""
SLOWER_TO_FINISH = 10
"""A drain may take so many times as long to finish where a byte takes time between nodes: much is under way in front of
an account."""


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
        self.drains_until = inf  # its process is to end, and does so then at the latest
        self.ahead_s = 0.0  # of its clock, before the world's
        self.wall_clock = WallClock(world.rng, world.faults)
        self.seen = Seen()  # how far the world has watched it
        self.starts = 0  # how often its process was
        self._disks = 0
        self.is_rival = False  # another machine runs, or ran, on a copy of its disk, or that was put back
        self.kept: DiskCopy | None = None  # its disk as it was at some moment
        self.tags = self.amounts = ""  # that it declares
        self.limits: dict[str, int] = {}  # of its settings, if they are not those of the world
        self.insert_disk()

    def insert_disk(self) -> None:
        """An empty one, and with it another identity."""
        self._disks += 1
        self.is_rival = self.is_clone = False
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

    def start(self, start: int | None = None) -> None:
        """Boot, from whatever the disk holds. ``start``: of a process that begins again; see Overtaken."""
        world, journal = self.world, self.journal
        self.starts += 1
        self.identity = copy.copy(self.saved_identity)
        self.identity.incarnation += 1
        self.identity.start = world.next_start() if start is None else start
        self.saved_identity = copy.copy(self.identity)
        recovered = journal.open()
        snapshot = recovered.snapshot
        log = Log(snapshot.index, snapshot.term, recovered.entries) if snapshot else Log(entries=recovered.entries)
        self.tags, self.amounts = DECLARED[self.number % len(DECLARED)] if world.has_places else ("", "")
        gpus = dict(amounts_of(self.amounts)).get("gpu", 0)
        units = (("gpu", tuple(range(gpus))),) if gpus else ()
        places = {"tags": self.tags, "amounts": self.amounts, "units": units}
        settings = replace(world.settings, feature_level=self._feature_level(), **places, **self.limits)
        consensus = Consensus(
            self.identity.node_id,
            timing=settings.timing,
            feature_level=settings.feature_level,
            random=random.Random(world.rng.getrandbits(64)),
            now=self.now,
            hard_state=recovered.hard_state,
            log=log,
            config=snapshot.config if snapshot else Config(),
        )
        core = NodeCore(
            settings,
            self.identity,
            address=world.nat_address or self.address,
            other_addresses=(self.address,) if world.nat_address else (),
            spare_cluster_id=f"cluster-of-{self.identity.node_id}",
            random=random.Random(world.rng.getrandbits(64)),
            now=self.now,
            consensus=consensus,
            questions=QUESTIONS,
        )
        if snapshot:
            restore(core.table, snapshot.data)
        for other in world.nodes:
            if other is not self:
                core.on_address(other.address, seed=True)
        self._transport: MemoryTransport = world.network.node(self.address)
        self._transport.send_peer = self._send_peer  # type: ignore[method-assign]
        self._transport.send_child = self._send_child  # type: ignore[method-assign]
        self.reactor = Reactor(
            core,
            self._transport,
            journal,
            clock=lambda: self.now,
            wall_clock=lambda: self.wall_clock.reads_s(self.now),
            children=SimulatedChildren(self),
            save_identity=self._save_identity,
        )
        self.workers = []
        self.slots = world.workers_per_node
        for _ in range(world.workers_per_node):
            self.add_worker()
        world.say(f"{self.address} starts as {self.identity.node_id}, {len(recovered.entries)} entries on disk")
        world.has_started(self)

    def _send_peer(self, address: str, frames: Sequence[bytes], *, is_quick: bool = False) -> Sent:
        self.world.watcher.frames_leave(self, frames)
        return MemoryTransport.send_peer(self._transport, address, frames, is_quick=is_quick)

    def _send_child(self, worker_id: bytes, frame: bytes) -> Sent:
        said = decode(frame)
        for worker in self.workers:
            if worker.worker_id != worker_id:
                continue
            if isinstance(said, Run):
                worker.is_sent(self, said)
            elif isinstance(said, ServeAsync):
                worker.room = said.slots
            elif isinstance(said, StopAttempts):
                worker.is_told_to_stop(self, said.ids)
        return MemoryTransport.send_child(self._transport, worker_id, frame)

    def _feature_level(self) -> int:
        """Every machine is upgraded while it is down for the first time; never back again."""
        return FEATURE_LEVEL if self.starts == 1 else FEATURE_LEVEL + 1

    def has_been_upgraded(self) -> None:
        """It was down before."""
        self.starts = max(self.starts, 1)

    @property
    def is_outdated(self) -> bool:
        """Whether it still waits to be upgraded, and another has been. The cluster may have risen without it."""
        return self.starts == 1 and any(other.starts > 1 for other in self.world.nodes)

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
        announced = [(name, PRIORITY_DEFAULT, asked) for name, asked in tasks.ANNOUNCED.items()]
        ready = WorkerReady(1, tasks.NAMES, encode_defaults(announced), tasks.ASYNC_NAMES)
        if self.world.has_schedules:
            own = [(OF_MODULE, of_module(self.starts))]
            ready = ready._replace(schedules=encode_own_schedules(own))
            self.world.oracle.hear(ModuleHas(self.world.now, self.identity.node_id, own[0][1]))
        worker.endpoint.send(encode(ready))
        self.workers.append(worker)

    def lose_worker(self, worker: SimulatedWorker) -> None:
        """A worker process dies, and another is started, unless that was before."""
        assert self.core is not None
        self.workers.remove(worker)
        worker.endpoint.close()
        if worker.is_cut:
            for given in worker.has_begun:
                self.world.oracle.hear(CutByDrain(self.world.now, given.task_id, given.attempt))
        for given in worker.has_begun:
            self.world.oracle.hear(BrokenOff(self.world.now, given.task_id, given.attempt, self.identity.node_id))
        self.core.on_worker_lost(worker.worker_id, "signal 9", self.now, begun=worker.begun, blamed=worker.blamed)
        if not worker.is_replaced:
            self.add_worker()

    def crash(self, *, power_fails: bool) -> None:
        """The process is killed, or the machine is off. With journal "os" that makes another node of it."""
        self.world.oracle.hear(Crashed(self.world.now, self.identity.node_id, power_fails))
        if self.core is not None:
            self.world.events["message refused"] += self.core.violations.total
        self.reactor = None
        self.drains_until = inf
        self.workers = []
        self.world.network.crash(self.address)
        self.world.connections_end(self.address)
        self.journal.crash()
        if power_fails:
            self.journal.lose_power()
        if power_fails and self.world.settings.journal == "os":
            self.insert_disk()
        self.seen = self.seen.crashed()
        self.world.say(f"{self.address} is down")

    def drain(self, lasts_s: float) -> None:
        """Its process is told to end."""
        if self.core is None or self.drains_until < inf:
            return
        self.world.say(f"{self.address} drains for {lasts_s:.3f} s")
        slower = SLOWER_TO_FINISH if self.world.faults.link_byte_s else 1
        self.drains_until = self.now + lasts_s + slower * FINISH_S
        self.world.oracle.hear(TakesNone(self.world.now, self.identity.node_id))
        self.core.drain(self.now, lasts_s)

    def _end_if_drained(self, core: NodeCore) -> None:
        has_drained = core.has_drained(self.now)
        if not has_drained and self.now < self.drains_until:
            return
        link = core.leader_link
        left = f"it has {link.slots.held.account()}, and leads or follows {core.leader_id(self.now)!r}"
        self.world.say(f"{self.address} has drained{'' if has_drained else f', but for {left}'}")
        self.world.events["node that has drained" if has_drained else "node that could not drain"] += 1
        self.world.oracle.hear(Drained(self.world.now, self.identity.node_id, has_drained, left))
        self.crash(power_fails=False)

    def wipe(self) -> None:
        """What was on its disk is gone for good: whoever starts here is another node."""
        if self.reactor is not None:
            self.crash(power_fails=False)
        self.insert_disk()

    @property
    def is_well(self) -> bool:
        """Whether it runs and nothing is about to happen to it."""
        return self.reactor is not None and self.paused_until <= self.world.now and not self.journal.may_fail

    def copy_disk(self) -> DiskCopy:
        """What somebody may put back later, or into another machine."""
        self._disks += 1
        directory = self.world.directory / f"copy-{self.number}-{self._disks}"
        shutil.copytree(self.journal.directory, directory)
        return DiskCopy(directory, copy.copy(self.saved_identity))

    def put_in(self, disk: DiskCopy) -> None:
        """Another disk in place of its own; it must be down."""
        assert self.reactor is None
        self.journal = SimulatedJournal(self.world, disk.directory, is_new=False)
        self.identity, self.saved_identity = copy.copy(disk.identity), copy.copy(disk.identity)
        self.seen = Seen()
        self.is_rival = True

    def _give_up(self, why: Exception) -> None:
        """It ends, as it must not be the node that it is: whoever runs it gives it an empty disk. What a hostile peer
        has made it believe is not on its disk, from which it is started again."""
        world = self.world
        if not self.is_rival and not world.has_hostile_peer:
            raise InvariantBroken(f"{self.identity.node_id} at {self.address} has lost nothing, and ends: {why}")
        world.say(f"{self.address} ends: {why}")
        world.events[f"ended: {type(why).__name__}"] += 1
        world.oracle.hear(GaveUp(world.now, self.machine, isinstance(why, LogForgotten)))
        self.crash(power_fails=False)
        if self.is_rival:
            self.insert_disk()

    def _begin_again(self, overtaken: Overtaken) -> None:
        """A copy of it was heard in its place: the same process goes on under a later incarnation."""
        world = self.world
        if not self.is_rival and not world.has_hostile_peer:
            raise InvariantBroken(f"{self.identity.node_id} at {self.address} has no rival: {overtaken}")
        world.say(f"{self.address} begins again: {overtaken}")
        world.events["overtaken by a copy"] += 1
        world.oracle.hear(WasOvertaken(world.now, self.machine))
        start = self.identity.start
        self.crash(power_fails=False)
        self.saved_identity.incarnation = max(self.saved_identity.incarnation, overtaken.incarnation)
        self.start(start)

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
        if self._transport.waiting or reactor.unsent:
            return now
        due = min(reactor.core.next_deadline() - self.ahead_s, self.journal.due(), self.drains_until - self.ahead_s)
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
            except (LogForgotten, IdentityTaken) as why:
                self._give_up(why)
                return
            except Overtaken as overtaken:
                self._begin_again(overtaken)
                return
            except NodeTooOld:
                if not self.world.has_hostile_peer:
                    raise
                self.world.events["stopped as too old"] += 1  # by name, and with nothing written
                self.crash(power_fails=False)
                return
            self.world.check(self)
            if self.drains_until < inf:
                self._end_if_drained(self.reactor.core)
                if self.reactor is None:
                    return
            turns += 1
            if turns > TURNS_AT_ONCE:
                raise InvariantBroken(f"{self.address} has a deadline that its turns don't meet: its loop would spin")
