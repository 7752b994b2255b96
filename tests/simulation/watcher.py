"""What can be seen of a node behind each of its turns, as events for the oracle.

It is seen from outside: entries in the log of its consensus core, who leads, what leaders have handed out, snapshots of
the table. So the product need not know that anybody looks, and pays nothing for it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from paceline.core.incarnation import INCARNATION_SHIFT
from paceline.core.membership.identity import Identity
from paceline.core.node import NodeCore
from paceline.core.raft.log import Entry
from paceline.core.scheduling.live_tasks import Misplaced
from paceline.core.state.snapshots import digests_of
from paceline_protocol.codec import decode, decode_firings, decode_retries, encode
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.messages.work import Dispatch
from simulation.oracle.events import (
    Applied,
    Committed,
    Dispatched,
    IdentitySeen,
    LeaseUsed,
    Led,
    LostInTransfer,
    PlacesSeen,
    StateSeen,
    Submitted,
    TakesNone,
    TakesTasks,
    WaitsSeen,
)
from simulation.tasks import ASYNC_NAMES, FLAKY, NAMES, answer, failure

if TYPE_CHECKING:
    from simulation.machines import SimulatedNode
    from simulation.world import World

DIGEST_EVERY_ENTRIES = 8
FIRST_SEQ = 1 << INCARNATION_SHIFT
OF_A_SCHEDULE = b"of a schedule..."
"""In place of the dead task in whose place it is."""
DISPATCH_HEAD = encode(Dispatch(0, 0, ()))[:3]


@dataclass(slots=True)
class Seen:
    """How far a node was watched. A new process is watched from its beginning, but for who it is."""

    log: tuple[int, int, int] = (-1, 0, 0)  # the indices applied and held, the term of the last entry
    applied: int = 0
    state: int = 0  # the index of the last StateSeen
    unapplied: dict[int, Entry] = field(default_factory=dict)  # what its log holds behind `applied`
    dispatched: int = 0  # as leader: the number of its last Dispatch to its own workers
    left: list[tuple[bytes, int]] = field(default_factory=list)  # for other nodes, in this turn: attempts
    led_term: int = 0
    leading_term: int = 0  # that in which it led after its last turn; 0 if it did not
    in_transfer: frozenset[bytes] | None = None  # as leader: what was live in the last turn of a transfer; else None
    wall_ms: int = 0  # what its wall clock shows
    set_back: list[tuple[float, int]] = field(default_factory=list)  # when that was set back, and from which moment
    identity: Identity | None = None
    takes_tasks: bool = True

    def crashed(self) -> Seen:
        return Seen(identity=self.identity)


class Watcher:
    """Looks at the nodes of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._record = world.oracle.record
        self._hear = world.oracle.hear
        self._leader_ms: dict[int, int] = {}  # term -> the highest moment that the wall clock of its leader has shown

    def look(self, node: SimulatedNode, core: NodeCore) -> None:
        """Say what the last turn of this node has done. Raises InvariantBroken."""
        leads = core.consensus.is_leader
        wall_ms = node.wall_clock.ms(node.now)
        if wall_ms < node.seen.wall_ms:
            node.seen.set_back.append((self._world.now, node.seen.wall_ms))
        node.seen.wall_ms = wall_ms
        if node.seen.leading_term:  # also in the turn in which it leads no more
            before = self._leader_ms.get(node.seen.leading_term, 0)
            self._leader_ms[node.seen.leading_term] = max(before, wall_ms)
        node.seen.leading_term = core.consensus.term if leads else 0
        if leads:
            term = core.consensus.term
            self._leader_ms[term] = max(self._leader_ms.get(term, 0), wall_ms)
        if node.seen.identity != node.identity:
            self._identity(node)
        log = core.consensus.log
        extent = (log.applied_index, log.last_index, log.last_term)
        if node.seen.log != extent:  # an entry with the same index and term is the same, as all before it
            node.seen.log = extent
            self._applied(node, core)
        if leads and node.seen.led_term != core.consensus.term:
            self._led(node, core)
        self._state(node, core)
        self._transfer(node, core)
        self.look_at_availability(node, core)
        self.look_at_dispatches(node, core)

    def look_at_availability(self, node: SimulatedNode, core: NodeCore) -> None:
        """Say whether it takes tasks, if that has changed."""
        takes_tasks = core.leader_link.slots.draining.takes_tasks
        if takes_tasks != node.seen.takes_tasks:
            node.seen.takes_tasks = takes_tasks
            self._hear((TakesTasks if takes_tasks else TakesNone)(self._world.now, core.node_id))

    def _transfer(self, node: SimulatedNode, core: NodeCore) -> None:
        """Say what a leader has given up between two turns of one transfer."""
        leader, before = core.leader, node.seen.in_transfer
        if leader is None or not core.consensus.transfer_target(node.now):
            node.seen.in_transfer = None
            return
        node.seen.in_transfer = frozenset(leader.tasks.live)
        for task_id in sorted((before or frozenset()) - node.seen.in_transfer):
            ended = leader.recording.result_of(task_id)
            if ended is not None and ended[0] == TaskEnd.LOST:
                self._hear(LostInTransfer(self._world.now, task_id, core.node_id))

    def _identity(self, node: SimulatedNode) -> None:
        node.seen.identity = copy.copy(node.identity)
        held: dict[str, frozenset[str]] = {}
        for each in self._world.nodes:
            if each.is_clone:
                continue  # its consents are those of the other one
            known = each.saved_identity if each.core is None else each.identity
            held[each.machine] = frozenset() if known.handed_to else known.consents
        self._hear(IdentitySeen(self._world.now, node.identity.cluster_id, held))

    def _applied(self, node: SimulatedNode, core: NodeCore) -> None:
        world, seen, log, known = self._world, node.seen, core.consensus.log, self._record.log
        if seen.applied and log.snapshot_index > seen.applied:
            world.events["snapshot"] += 1
            world.say(f"{core.node_id} has a snapshot up to {log.snapshot_index}")
        held = {each.index: each for each in log.entries_to(max(log.first_index, seen.applied + 1), log.last_index)}
        for index in range(seen.applied + 1, log.applied_index + 1):
            entry = held.get(index)
            if entry is None and index not in known:
                entry = seen.unapplied.get(index)  # the turn that committed it has dropped it, too
            if entry is None:
                continue
            self._hear(Applied(world.now, core.node_id, index, entry.term, entry.kind, entry.data))
            if index not in known:
                leader_ms = self._leader_ms.get(entry.term, 0)
                self._hear(Committed(world.now, index, entry.term, entry.kind, entry.data, leader_ms))
                if entry.kind == EntryKind.RETRY:
                    world.events["failed attempt that is retried"] += len(decode_retries(entry.data))
                if entry.kind == EntryKind.CONFIG:
                    world.say(f"entry {index}: {core.consensus.config}")
        for index, entry in held.items():
            if entry.kind == EntryKind.FIRING and index > log.applied_index and seen.unapplied.get(index) is not entry:
                self._proposed(entry)
        seen.unapplied = {index: entry for index, entry in held.items() if index > log.applied_index}
        seen.applied = log.applied_index

    def _proposed(self, entry: Entry) -> None:
        """Tasks are to be made of moments. Nobody submits them, and nobody waits for them: as with what takes the place
        of a dead one. That is said here, as a worker of the leader may be given one in the turn that commits it."""
        for _name, _moment_ms, _what, _missed, _next_ms, call in decode_firings(entry.data):
            story = None if call is None else self._record.stories.get(call[0])
            if call is not None and (story is None or story.accepted_at is None):  # or a leader before was in vain
                task_id, task, _priority, args, options = call
                fails = failure(args) if task == FLAKY else b""
                ends = answer(task, args)
                self._hear(Submitted(self._world.now, task_id, options or {}, ends, fails, OF_A_SCHEDULE))

    def _led(self, node: SimulatedNode, core: NodeCore) -> None:
        consensus, log = core.consensus, core.consensus.log
        node.seen.led_term = consensus.term
        self._hear(Led(self._world.now, core.node_id, consensus.term, log.snapshot_index, log.term_at))
        self._world.say(f"{core.node_id} leads in term {consensus.term}")

    def _state(self, node: SimulatedNode, core: NodeCore) -> None:
        applied = core.consensus.applied_index
        if applied < node.seen.state + DIGEST_EVERY_ENTRIES:
            return  # or its table is that of an earlier index
        node.seen.state = applied
        self._places(core)
        self._hear(StateSeen(self._world.now, core.node_id, applied, digests_of(core.table)))

    def _places(self, core: NodeCore) -> None:
        if core.leader is not None:
            wrong = ""
            try:
                core.leader.tasks.check()
            except Misplaced as misplaced:
                wrong = str(misplaced)
            self._hear(PlacesSeen(self._world.now, core.node_id, wrong))

    def look_at_waits(self) -> None:
        """Say which tasks wait, and where a worker is free."""
        for is_async in (False, True) if self._world.has_async else (False,):
            self._look_at_waits_of(is_async=is_async)

    def _look_at_waits_of(self, *, is_async: bool) -> None:
        """Of the tasks of one kind, and the workers that run those."""
        names = [name for name in NAMES if (self._world.has_async and name in ASYNC_NAMES) == is_async]
        waiting: dict[bytes, str] = {}
        free: set[str] = set()
        for node in self._world.nodes:
            if node.core is None:
                continue
            if node.core.leader is not None:
                tasks = node.core.leader.tasks
                lanes = [lane for each in tasks.queues_with_work() for lane in each.served_lanes(tasks.is_settled)]
                waiting.update(
                    (task.id, f"{node.core.node_id}, which leads,")
                    for lane in lanes
                    for task in lane.tasks()
                    if task.name in names and lane.lanes.placement is None
                )
            node_id, slots = node.core.node_id, node.core.leader_link.slots
            waiting.update(
                (each[0], node_id)
                for each in (slots.async_queue if is_async else slots.queue)
                if not (each[4] or {}).get("needs")
            )
            for worker in node.workers:
                slot = slots.workers.get(worker.worker_id)
                if slot is not None and slot.is_async != is_async:
                    continue
                if slot is not None and worker.is_free:
                    if not slot.is_leaving and slots.draining.takes_tasks:
                        free.add(node_id)
                elif slot is not None:
                    behind = (given.task_id for given in worker.waiting)
                    waiting.update((task_id, node_id) for task_id in behind if task_id not in slot.taken_back)
        self._hear(WaitsSeen(self._world.now, waiting, frozenset(free), is_async))

    def frames_leave(self, node: SimulatedNode, frames: Sequence[bytes]) -> None:
        """A batch leaves for a peer."""
        for frame in frames:
            if frame[: len(DISPATCH_HEAD)] == DISPATCH_HEAD:
                dispatch = decode(frame)
                assert isinstance(dispatch, Dispatch)
                node.seen.left += [(task[0], task[1]) for task in dispatch.tasks]

    def look_at_dispatches(self, node: SimulatedNode, core: NodeCore) -> None:
        """Say what a leader has given to nodes in this turn: what left for others, and what its own ledger has new, as
        its workers have not answered yet."""
        leader, seen = core.leader, node.seen
        given, seen.left = seen.left, []
        if leader is None:
            seen.dispatched = 0
        elif core.node_id in leader.nodes.by_id:
            last, seen.dispatched = seen.dispatched, leader.nodes.by_id[core.node_id].dispatch_seq
            if seen.dispatched != last and seen.dispatched % FIRST_SEQ:  # the numbers begin anew with each start
                for ledger in leader.tasks.ledgers_of(core.node_id):
                    held = ledger.held.values()
                    given += [(task.id, task.attempt) for task in held if task.sent_seq > last]
        for task_id, attempt in given:
            since = self._record.stories[task_id].submitted_at
            shown_ms = max([seen.wall_ms, *(ms for at_s, ms in seen.set_back if at_s >= since)])
            self._hear(Dispatched(self._world.now, task_id, attempt, core.node_id, seen.wall_ms, shown_ms))
        if given and self._world.clocks_tell_time:
            self._lease(node, core)

    def _lease(self, node: SimulatedNode, core: NodeCore) -> None:
        world = self._world
        since = world.now - world.settings.timing.election_timeout_min_s
        voters = core.consensus.config.voters
        heard = tuple(each for each in voters if world.sent_at.get((each, node.address), -inf) >= since)
        self._hear(LeaseUsed(world.now, core.node_id, voters, heard))
