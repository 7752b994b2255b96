"""What befalls a simulated cluster, at the rates of its Faults: everything that its seed has in store for it."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

from paceline.core.feature_levels import FEATURE_LEVEL
from paceline.core.raft.configuration import config_history
from paceline.core.raft.consensus import Consensus
from paceline.core.raft.log import Log
from paceline.runtime.journal.recovery import read_journal
from paceline_protocol.messages.client import AdminOp
from paceline_protocol.messages.consensus import Config
from paceline_protocol.messages.queues import Holding, Pausing
from simulation.clients import QUEUES
from simulation.oracle.events import ClockJumped, RivalsAwaited, RivalStarted

if TYPE_CHECKING:
    from simulation.machines import DiskCopy, SimulatedNode
    from simulation.world import World

WAYS = ("from it", "to it", "both")
"""In which the main connections of a machine carry nothing."""
RIVAL_ENDS_S = 2.5
"""Until then a machine that must not be the node that it is has ended, if nothing else goes wrong."""
CLONES_AT_MOST = 2
DRAIN_RATE = 0.1
"""Of each machine, in the worlds in which machines drain."""
RELOAD_RATE = 0.1
"""The same: the workers of a machine are replaced, between two tasks."""
QUEUE_RATE = 1.0
"""Of each queue, in worlds with queues."""
QUIET_RATE = 0.5
"""Of the cluster, in these worlds: somebody wants a node to be quiet, to drain, or to serve."""
DRAINS_S = (0.0, 0.05, 0.5, 2.0)
CHANGE_TAKES_S = 8.0
"""After this long the voters are those again that they should be, if nothing else has happened to them."""


def held_in(disk: DiskCopy) -> tuple[int, Config]:
    """The last entry of the log on a disk, and the configuration."""
    recovered = read_journal(disk.directory)
    snapshot = recovered.snapshot
    log = Log(snapshot.index, snapshot.term, recovered.entries) if snapshot else Log(entries=recovered.entries)
    level = FEATURE_LEVEL + 1  # the one that machines are upgraded to
    return log.last_index, config_history(log, snapshot.config if snapshot else Config(), level).current


class Misfortune:
    """Of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = world.rng
        self._calm_until = -inf  # nothing happens until then, since a voter has forgotten what it promised
        self._calm_term = 0
        self._clones = 0
        self._change_at = -inf  # when somebody changed the voters last, or made a change necessary

    def strike(self, passed_s: float) -> None:
        """Whatever happens in a span of time."""
        world, faults = self._world, self._world.faults
        if world.now < self._calm_until:
            return
        self._end_calm()
        rate = faults.of_machine()
        for node in world.nodes:
            if node.reactor is not None:
                if self._happens(rate, passed_s):
                    self._befall(node)
                    if world.now < self._calm_until:
                        return
            elif self._happens(2.0, passed_s):
                self._start(node)
        if self._happens(faults.reboot_rate, passed_s):
            self._reboot_all()
        if self._happens(faults.partition_rate, passed_s):
            self._partition()
        elif world.cut and self._happens(1.0, passed_s):
            world.cut.clear()
            world.say("every link works again")
        if self._happens(faults.main_cut_rate, passed_s):
            world.events["main connections cut"] += 1
            world.cut_mains_of(self._rng.choice(world.nodes), self._rng.choice(WAYS))
        elif world.cut_mains and self._happens(0.5, passed_s):
            world.cut_mains.clear()
            world.say("the main connections work again")
        if self._happens(faults.admin_rate, passed_s):
            self._administer()
        if world.drains:
            self._drain_some(passed_s)
        if faults.queues:
            self._change_queues(passed_s)
        if faults.alters:
            self._alter_tasks(passed_s)

    def _happens(self, rate: float, passed_s: float) -> bool:
        return self._rng.random() < rate * passed_s

    # --- one machine --------------------------------------------------------------------------------------------

    def _start(self, node: SimulatedNode) -> None:
        """One that was down comes back."""
        world, rng = self._world, self._rng
        if node.number and rng.random() < world.faults.move:
            node.move()
            world.events["address change"] += 1
        node.start()
        if rng.random() < world.faults.stale:
            world.events["stale frame"] += world.network.repeat(node.address, rng)

    def _befall(self, node: SimulatedNode) -> None:
        """One of the things that may happen to one that is up."""
        faults = self._world.faults
        befalls: tuple[tuple[float, Callable[[SimulatedNode], None]], ...] = (
            (faults.crash_rate, self._crash),
            (faults.wipe_rate, self._wipe),
            (faults.disk_failure_rate, self._fail_disk),
            (faults.put_back_rate, self._put_back),
            (faults.clone_rate, self._clone),
            (faults.pause_rate, self._pause),
            (faults.clock_jump_rate, self._jump_clock),
            (faults.wall_jump_rate, self._jump_wall_clock),
            (faults.worker_death_rate, self._kill_worker),
        )
        (befall,) = self._rng.choices([each for _, each in befalls], [rate for rate, _ in befalls])
        befall(node)

    def _crash(self, node: SimulatedNode) -> None:
        world = self._world
        power_fails = self._rng.random() < 0.5
        if power_fails and world.settings.journal == "os":
            power_fails = self._may_lose_disk(node)
            self._change_at = world.now if power_fails else self._change_at
        world.events["power cut" if power_fails else "kill"] += 1
        node.crash(power_fails=power_fails)

    def _wipe(self, node: SimulatedNode) -> None:
        if not self._may_lose_disk(node):
            return
        self._world.events["wiped disk"] += 1
        self._change_at = self._world.now
        self._world.say(f"{node.address} loses its disk")
        node.wipe()

    def _put_back(self, node: SimulatedNode) -> None:
        """Somebody copies the disk of a machine, and puts that copy back later."""
        world, kept = self._world, node.kept
        if kept is None or kept.identity.node_id != node.identity.node_id:
            node.kept = node.copy_disk() if node.identity.cluster_id else None
            return
        leader = self._leader_in_calm(node)
        if leader is None:
            return
        held, config = held_in(kept)
        if config.voters != leader.config.voters:
            return  # with the votes of then it may lead by itself
        must_end = self._is_known_to_leader(kept) or leader.match_of(node.identity.node_id) > held
        world.events["disk put back"] += 1
        world.say(f"{node.address} gets its disk back as it was before, with {held} entries")
        node.crash(power_fails=False)
        node.kept = None
        node.put_in(kept)
        self._begin_calm(leader, node, must_end)

    def _is_known_to_leader(self, kept: DiskCopy) -> bool:
        """Whether the leader has heard of the start that follows on this disk: that of a process on what was there."""
        leader = self._world.leader()
        peer = None if leader is None else leader.peering.directory.peers.get(kept.identity.node_id)
        return peer is not None and peer.incarnation > kept.identity.incarnation

    def _clone(self, node: SimulatedNode) -> None:
        """Somebody starts a copy of a machine beside it."""
        world = self._world
        leader = self._leader_in_calm(node)
        if leader is None or self._clones >= CLONES_AT_MOST:
            return
        self._clones += 1
        world.events["clone"] += 1
        clone = world.clone(node)
        world.say(f"{clone.address} is a copy of {node.address}")
        self._begin_calm(leader, clone, must_end=True)

    def _leader_in_calm(self, node: SimulatedNode) -> Consensus | None:
        """The leader, if nothing is wrong anywhere, so that it goes on to lead, and is not this node. What a voter has
        forgotten nobody else can know."""
        world = self._world
        leader = world.leader()
        if leader is None or leader.node_id == node.identity.node_id or not self._may_lose_disk(node):
            return None
        if world.cut or world.cut_mains or leader.consensus.transfer_target(world.now) or leader.role.keeper._requests:
            return None
        if not node.identity.cluster_id or not all(each.is_well for each in world.nodes):
            return None
        return leader.consensus

    def _begin_calm(self, leader: Consensus, node: SimulatedNode, must_end: bool) -> None:
        world = self._world
        self._change_at = world.now
        self._calm_until, self._calm_term = world.now + RIVAL_ENDS_S, leader.term
        world.oracle.hear(RivalStarted(world.now, node.machine, must_end))
        node.start()

    def _end_calm(self) -> None:
        if self._calm_term:
            leader, term = self._world.leader(), self._calm_term
            self._calm_term = 0
            if leader is not None and leader.consensus.term == term:
                self._world.oracle.hear(RivalsAwaited(self._world.now))

    def _fail_disk(self, node: SimulatedNode) -> None:
        self._world.events["disk failure"] += 1
        node.journal.fail()

    def _pause(self, node: SimulatedNode) -> None:
        self._world.events["pause"] += 1
        node.paused_until = self._world.now + self._rng.uniform(0.05, 2.0)
        self._world.say(f"{node.address} stands still until {node.paused_until:.3f}")

    def _jump_clock(self, node: SimulatedNode) -> None:
        self._world.events["clock jump"] += 1
        by_s = self._rng.uniform(0.05, 3.0)
        node.ahead_s += by_s
        self._world.oracle.hear(ClockJumped(self._world.now, by_s))
        self._world.say(f"the clock of {node.address} jumps")

    def _jump_wall_clock(self, node: SimulatedNode) -> None:
        self._world.events["wall clock jump"] += 1
        by_s = node.wall_clock.jump(self._rng)
        self._world.say(f"the wall clock of {node.address} jumps by {by_s:.3f} s")

    def _kill_worker(self, node: SimulatedNode) -> None:
        self._world.events["worker death"] += 1
        node.lose_worker(self._rng.choice(node.workers))

    def _may_lose_disk(self, node: SimulatedNode) -> bool:
        """A cluster survives the loss of one disk, and of another once the first is replaced: not two of its voters."""
        world = self._world
        leader = world.leader()
        if leader is None or not leader.consensus.config_committed or world.now < self._change_at + CHANGE_TAKES_S:
            return False
        voters = leader.consensus.config.voters
        disks = {each.identity.node_id for each in world.nodes if each is not node}
        return len(voters) >= 3 and all(voter in disks for voter in voters if voter != node.identity.node_id)

    def _drain_some(self, passed_s: float) -> None:
        """Machines are told to end, at a rate of their own, so that the others happen as they would without."""
        world, rng = self._world, self._world.drain_rng
        for node in world.nodes:
            if rng.random() < DRAIN_RATE * passed_s and node.reactor is not None:
                world.events["drain"] += 1
                node.drain(rng.choice(DRAINS_S))
            elif rng.random() < RELOAD_RATE * passed_s and node.core is not None:
                world.events["reload"] += 1
                for worker_id in node.core.leader_link.slots.workers:
                    node.core.leader_link.slots.leave(worker_id, "its modules are to be imported anew")
        if rng.random() < QUIET_RATE * passed_s:
            node_id = rng.choice(world.nodes).identity.node_id
            op = rng.choice((AdminOp.QUIET, AdminOp.DRAIN, AdminOp.SERVE, AdminOp.SERVE))
            asked = f"{node_id} {round(1_000 * rng.choice(DRAINS_S))}" if op == AdminOp.DRAIN else node_id
            world.events["node that is to be quiet, or to serve"] += 1
            world.say(f"somebody asks for {op.name} {asked}")
            rng.choice(world.clients).administer(op, asked)

    def _change_queues(self, passed_s: float) -> None:
        """Somebody pauses a queue, resumes it or weighs it, if nobody has asked for that and has no answer."""
        world, rng = self._world, self._world.queue_rng
        for queue in QUEUES:
            if rng.random() < QUEUE_RATE * passed_s and queue not in world.queues_asked:
                pausing, weight = rng.choice(list(Pausing)), rng.randrange(5)
                world.events[f"queue: {pausing.name}"] += 1
                rng.choice(world.clients).change_queue(queue, pausing, weight)

    def _alter_tasks(self, passed_s: float) -> None:
        """Somebody has a few tasks held, released, moved or given another priority."""
        world, rng = self._world, self._world.alter_rng
        if rng.random() >= world.faults.alters * passed_s:
            return
        ids = sorted({task_id for client in world.clients for task_id in client.open})
        if ids:
            queue, priority = rng.choice(("", "", *QUEUES)), rng.choice((0, 0, rng.randint(1, 10)))
            some = tuple(rng.sample(ids, min(len(ids), 5)))
            rng.choice(world.clients).alter(some, (rng.choice(list(Holding)), queue, priority))

    # --- all of them --------------------------------------------------------------------------------------------

    def _reboot_all(self) -> None:
        world = self._world
        world.events["total reboot"] += 1
        world.say("the power fails everywhere")
        for node in world.nodes:
            if node.reactor is not None:
                node.crash(power_fails=True)
            else:
                node.journal.lose_power()

    def _partition(self) -> None:
        """Cut one machine off, in both directions or in one, or any one link."""
        world, rng = self._world, self._rng
        if len(world.nodes) == 1:
            return
        world.events["partition"] += 1
        alone, other = rng.sample(world.nodes, 2)
        kind = rng.randrange(3)
        others = [node.address for node in world.nodes if node is not alone]
        if kind == 0:
            world.cut |= {(alone.address, address) for address in others}
        if kind in (0, 1):
            world.cut |= {(address, alone.address) for address in others}
        if kind == 2:
            world.cut.add((alone.address, other.address))
        world.say(f"nothing gets through: {', '.join(f'{source} to {to}' for source, to in sorted(world.cut))}")

    def _administer(self) -> None:
        """Somebody changes something, at any moment: who leads, who votes, how many."""
        world, rng = self._world, self._rng
        self._change_at = world.now
        node_id = rng.choice(world.nodes).identity.node_id
        op, asked = rng.choice(
            (
                (AdminOp.TRANSFER, node_id),
                (AdminOp.TRANSFER, ""),
                (AdminOp.PROMOTE, node_id),
                (AdminOp.REMOVE, node_id),
                (AdminOp.VOTERS, rng.choice("135")),
            )
        )
        world.events["admin request"] += 1
        world.say(f"somebody asks for {op.name} {asked}")
        rng.choice(world.clients).administer(op, asked)
