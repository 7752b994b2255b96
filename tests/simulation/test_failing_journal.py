"""A leader whose journal fails transfers the leadership, and promises nothing meanwhile. In virtual time, on the
real reactor."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from paceline.errors import JournalFailed
from paceline.runtime.reactor import FAILED_TRANSFER_S
from paceline.runtime.transport.memory_transport import MemoryTransport
from paceline.runtime.transport.transport import Sent
from paceline_protocol.codec import decode
from paceline_protocol.messages import Message
from paceline_protocol.messages.consensus import (
    AppendResponse,
    Confirmed,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)
from simulation.faults import PEACE
from simulation.machines import SimulatedNode
from simulation.world import World

STEPS_LIMIT = 10_000


def calm_world(seed: int, nodes: int = 3) -> World:
    """No faults but those of the test; the disks take a while."""
    world = World(seed, nodes=nodes, faults=PEACE)
    world.run(3.0)
    return world


def leader_of(world: World) -> SimulatedNode:
    """Who is the leader of the log; what of earlier terms it may still have to commit."""
    return next(node for node in world.nodes if node.core is not None and node.core.consensus.is_leader)


def fail_journal(world: World, node: SimulatedNode) -> int:
    """Nothing more becomes durable there. Returns what is."""
    node.journal.failure = JournalFailed("write", "the.segment", "No space left on device")
    return node.journal.durable_seq()


def turns_until_it_ends(world: World, node: SimulatedNode) -> int:
    """Let time pass until the node ends with the error of its journal. Returns the turns that it made."""
    reactor = node.reactor
    assert reactor is not None
    before = reactor.counters.turns
    for _ in range(STEPS_LIMIT):
        world.clients[0].submit()
        world.step()
        if node.reactor is None:
            return reactor.counters.turns - before
    pytest.fail(f"the node goes on without its journal (seed {world.seed})")


@pytest.mark.parametrize("seed", range(1, 9))
def test_another_leads_before_the_node_ends_and_no_accepted_task_is_lost(seed: int) -> None:
    world = calm_world(seed)
    failing = leader_of(world)
    assert failing.core is not None
    core, term = failing.core, failing.core.role.term()
    durable = fail_journal(world, failing)
    started_at = world.now
    turns_until_it_ends(world, failing)
    assert failing.journal.durable_seq() == durable
    assert world.now - started_at < FAILED_TRANSFER_S, "it does not use up its time"
    successor = leader_of(world)
    assert successor is not failing
    assert successor.core is not None
    assert successor.core.role.term() == term + 1, "the one that was told to stood, and won at once"
    assert core.leader_id(world.now) == successor.core.node_id, "it ended when it knew who leads"
    world.heal_and_finish()


@pytest.mark.parametrize("seed", range(1, 5))
def test_meanwhile_it_tells_its_successor_to_stand_and_promises_nothing(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = calm_world(seed)
    failing = leader_of(world)
    transport = world.network.node_at(failing.address)
    assert transport is not None
    send_peer = type(transport).send_peer
    sent: list[Message] = []

    def watched(self: MemoryTransport, address: str, frames: Sequence[bytes], *, is_quick: bool = False) -> Sent:
        if self is transport:
            sent.extend(decode(frame) for frame in frames[1:])
        return send_peer(self, address, frames, is_quick=is_quick)

    fail_journal(world, failing)
    monkeypatch.setattr(type(transport), "send_peer", watched)
    turns_until_it_ends(world, failing)
    assert [message for message in sent if isinstance(message, TimeoutNow)], "one is told"
    promises = (VoteRequest, VoteResponse, AppendResponse, SnapshotResponse, Confirmed)
    assert not [message for message in sent if isinstance(message, promises)]
    world.heal_and_finish()


def test_a_follower_ends_at_once() -> None:
    world = calm_world(3)
    leader = leader_of(world)
    follower = next(node for node in world.nodes if node is not leader)
    fail_journal(world, follower)
    assert turns_until_it_ends(world, follower) == 1
    world.heal_and_finish()


def test_a_leader_that_is_alone_ends_at_once() -> None:
    world = calm_world(4, nodes=1)
    fail_journal(world, world.nodes[0])
    assert turns_until_it_ends(world, world.nodes[0]) == 1
    world.heal_and_finish()


def test_a_leader_that_nobody_hears_ends_when_its_time_is_over() -> None:
    world = calm_world(3)
    failing = leader_of(world)
    others = [node for node in world.nodes if node is not failing]
    world.cut = {(failing.address, other.address) for other in others}
    assert failing.core is not None
    core = failing.core
    term = core.role.term()
    fail_journal(world, failing)
    started_at = world.now
    turns_until_it_ends(world, failing)
    assert world.now - started_at <= FAILED_TRANSFER_S + 0.1
    assert core.consensus.term == term, "nothing that it can't write down was begun"
    world.cut = set()
    world.heal_and_finish()
