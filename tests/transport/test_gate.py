"""Which connection may say what: learned from what it showed, asked again each second, and lost with its key."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modes import source_only
from paceline.runtime.transport import gate as gate_module
from paceline.runtime.transport.gate import SELF_NAMED, Gate
from paceline.runtime.transport.stuck import REOPEN_AFTER_S, REOPEN_WITH_OTHER_KEY_AFTER_S, StuckPeers
from paceline.runtime.transport.transport import Sent
from paceline.runtime.transport.zmq_transport import ZmqTransport
from paceline.security import ANYBODY, IssuedKey, KeyRole, NodeKeys, generate_keys
from transport.worlds import ZmqEnd, ZmqWorld, take, until

TESTS = Path(__file__).parents[1]
NODES, SHOP, GRAFANA = generate_keys(), generate_keys(), generate_keys()
ISSUED = (
    IssuedKey("shop", KeyRole.CLIENT, SHOP.public),
    IssuedKey("grafana", KeyRole.OBSERVER, GRAFANA.public),
)


@pytest.fixture
def world() -> Iterator[ZmqWorld]:
    world = ZmqWorld(NODES)
    world.issued = ISSUED
    yield world
    world.close()


def sender_of(world: ZmqWorld, node: ZmqTransport, end: ZmqEnd) -> bytes:
    end.send(b"hello")
    ((_, sender, _),) = take(world, node, 1)
    assert isinstance(sender, bytes)
    return sender


def test_each_connection_has_the_role_of_the_key_that_it_showed(world: ZmqWorld) -> None:
    node = world.node()
    for pair, role in ((NODES, KeyRole.NODE), (SHOP, KeyRole.CLIENT), (GRAFANA, KeyRole.OBSERVER)):
        end = world.client(node, pair)
        sender = sender_of(world, node, end)
        for _ in range(3):  # learned first, then remembered
            assert node.standing(sender).role is role
            assert sender_of(world, node, end) == sender


def test_what_is_remembered_is_asked_again_after_a_while(world: ZmqWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    node = world.node()
    end = world.client(node, SHOP)
    sender = sender_of(world, node, end)
    gate = node._gate
    gate._user_of[sender] = NODES.public  # as if another connection had had this id a moment ago
    assert node.standing(sender).role is KeyRole.NODE
    gate._check_again_at = 0.0
    assert sender_of(world, node, end) == sender
    assert node.standing(sender).role is KeyRole.CLIENT


def test_a_connection_that_chose_its_routing_id_may_say_nothing_and_is_not_remembered(world: ZmqWorld) -> None:
    node = world.node()
    end = world.client(node, NODES, ROUTING_ID=b"chosen")
    assert sender_of(world, node, end) == b"chosen"
    assert node.standing(b"chosen") is SELF_NAMED
    assert node._gate._user_of == {}


def test_a_key_that_is_taken_out_has_no_rights_any_more_and_its_connections_are_named(world: ZmqWorld) -> None:
    node = world.node()
    shop, grafana = world.client(node, SHOP), world.client(node, GRAFANA)
    senders = sender_of(world, node, shop), sender_of(world, node, grafana)
    assert node.set_keys(NodeKeys(NODES, issued=ISSUED[1:])) == [senders[0]]
    assert [node.standing(sender).role for sender in senders] == [KeyRole.NOBODY, KeyRole.OBSERVER]
    assert sender_of(world, node, shop) == senders[0]
    assert node.standing(senders[0]).role is KeyRole.NOBODY
    assert node.standing(senders[0]).who == "the client 'shop', whose key was revoked,"
    assert node.set_keys(NodeKeys(NODES, issued=ISSUED)) == []
    assert node.standing(senders[0]).role is KeyRole.CLIENT


@source_only
def test_what_is_remembered_is_bounded(world: ZmqWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "STANDINGS_MAX", 2)
    node = world.node()
    ends = [world.client(node, SHOP) for _ in range(4)]
    for end in ends:
        sender = sender_of(world, node, end)
        assert node.standing(sender).role is KeyRole.CLIENT
        assert len(node._gate._user_of) <= 2


@source_only
def test_a_connection_that_others_have_pushed_out_is_asked_about_again_when_it_speaks(
    world: ZmqWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate_module, "STANDINGS_MAX", 2)
    monkeypatch.setattr(gate_module, "CHECK_AGAIN_S", 3600.0)  # nothing else has it asked about again
    node = world.node()
    lasting = world.client(node, SHOP)
    sender = sender_of(world, node, lasting)
    for _ in range(3):
        sender_of(world, node, world.client(node, GRAFANA))
    assert sender not in node._gate._user_of
    assert sender_of(world, node, lasting) == sender
    assert node.standing(sender).role is KeyRole.CLIENT


@source_only
def test_whoever_was_silent_for_longest_is_forgotten_first(world: ZmqWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate_module, "STANDINGS_MAX", 2)
    monkeypatch.setattr(gate_module, "CHECK_AGAIN_S", 0.0)
    node = world.node()
    lasting, other = world.client(node, SHOP), world.client(node, SHOP)
    sender, silent = sender_of(world, node, lasting), sender_of(world, node, other)
    assert sender_of(world, node, lasting) == sender
    newest = sender_of(world, node, world.client(node, SHOP))
    assert list(node._gate._user_of) == [sender, newest]
    assert silent not in node._gate._user_of


def test_a_connection_that_is_found_gone_is_forgotten(world: ZmqWorld) -> None:
    node = world.node()
    end = world.client(node, SHOP)
    sender = sender_of(world, node, end)
    end.close()
    until(world, lambda: node.poll(0) == [] and node.send_client(sender, b"result") is Sent.GONE, "it is gone")
    assert node._gate._user_of == {}
    assert node._gate.fresh == set()
    assert node.standing(sender).who == "a connection that is gone"


def test_without_keys_nothing_is_learned_and_nobody_is_told_apart() -> None:
    gate = Gate(None, b"token")
    assert gate.fresh is None
    assert gate.standing(b"\0abcd") is ANYBODY


def test_a_node_serves_with_another_pair_from_then_on_and_reaches_those_that_do_not_yet(world: ZmqWorld) -> None:
    coming = generate_keys()
    nodes = [world.node(), world.node()]
    for node in nodes:
        node.set_keys(NodeKeys(NODES, (coming.public,), ISSUED))

    def reaches(source: ZmqTransport, destination: ZmqTransport) -> bool:
        for node in nodes:
            node.poll(0)
        return source.send_peer(destination.address, [b"envelope", b"message"]) is Sent.OK

    for switched in nodes:
        for source, destination in (nodes, reversed(nodes)):
            until(world, lambda a=source, b=destination: reaches(a, b), "a connection")  # type: ignore[misc]
        switched.set_keys(NodeKeys(coming, (NODES.public,), ISSUED))
    for source, destination in (nodes, reversed(nodes)):
        until(world, lambda a=source, b=destination: reaches(a, b), "a connection with the new pair")  # type: ignore[misc]


FIRST_ID = """
import zmq
from letting_in import let_in
from paceline.runtime.transport.zmq_sockets import open_router, open_zap
context = zmq.Context()
zap, router = open_zap(context), open_router(context, "127.0.0.1", 0, None, 1 << 20)
client = zmq.Context().socket(zmq.DEALER)
client.plain_username = b"anybody"
client.connect(router.getsockopt_string(zmq.LAST_ENDPOINT))
client.send(b"hello")
let_in(zap)
print(router.recv().hex(), flush=True)
import os
os._exit(0)
"""


def test_nobody_knows_which_routing_ids_a_node_gives_out() -> None:
    """libzmq ends the process if it is about to give out one that a peer has chosen for itself."""
    command = [sys.executable, "-c", FIRST_ID]
    found = {subprocess.run(command, capture_output=True, check=True, cwd=TESTS).stdout for _ in range(2)}
    assert len(found) == 2
    assert all(each.startswith(b"00") for each in found)


# --- connections that take nothing ------------------------------------------------------------------------------


def test_a_connection_that_takes_nothing_is_made_anew_after_a_while() -> None:
    stuck = StuckPeers(("a",))
    assert not stuck.is_over("node1", 1.0)
    assert not stuck.is_over("node1", 1.0 + REOPEN_AFTER_S / 2)
    assert stuck.is_over("node1", 1.0 + REOPEN_AFTER_S)
    stuck.expect_another("node1")
    assert stuck.expected("node1") == ""
    assert not stuck.is_over("node1", 1.0 + REOPEN_AFTER_S)


def test_while_nodes_may_have_two_keys_each_is_expected_in_turn() -> None:
    stuck = StuckPeers(("old",))
    stuck.change(("new", "old"), ["node1"])
    assert stuck.expected("node1") == "old", "what was there is likely there still"
    assert not stuck.is_over("node1", 1.0)
    assert stuck.is_over("node1", 1.0 + REOPEN_WITH_OTHER_KEY_AFTER_S)
    for key in ("new", "old", "new"):
        stuck.expect_another("node1")
        assert stuck.expected("node1") == key
    stuck.change(("new",), ["node1"])
    assert stuck.expected("node1") == "new"
    stuck.forget("node1")
    assert stuck.expected("node1") == ""
