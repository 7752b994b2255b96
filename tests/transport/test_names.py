"""Peers that are known by name: no name is ever given to ZeroMQ, and a name server that is away harms nobody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from paceline import names as names_module
from paceline.config import parse_address
from paceline.runtime.transport import peer_sockets
from paceline.runtime.transport.transport import Sent, Source
from paceline.runtime.transport.zmq_transport import ZmqTransport
from paceline_protocol.limits import MAX_FRAME_BYTES

DEADLINE_S = 10.0
BATCH = [b"envelope", b"message"]


@pytest.fixture
def peer() -> Iterator[ZmqTransport]:
    transport = ZmqTransport("127.0.0.1", 0, max_frame_bytes=MAX_FRAME_BYTES)
    yield transport
    transport.close()


@pytest.fixture
def node() -> Iterator[ZmqTransport]:
    transport = ZmqTransport("127.0.0.1", 0, max_frame_bytes=MAX_FRAME_BYTES)
    yield transport
    transport.close()


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def reaches(node: ZmqTransport, other: ZmqTransport, address: str) -> bool:
    """One try; the other node answers meanwhile who may come in."""
    other.poll(0.0)
    return node.send_peer(address, BATCH) is Sent.OK


def test_a_peer_whose_name_hangs_keeps_no_other_from_being_sent_to(
    node: ZmqTransport, peer: ZmqTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    over = threading.Event()

    def look_up(name: str) -> tuple[str, ...]:
        over.wait(DEADLINE_S)
        return ()

    monkeypatch.setattr(names_module, "look_up", look_up)
    try:
        assert node.send_peer("lost.example:7077", BATCH) is Sent.FULL
        until(lambda: reaches(node, peer, peer.address))
        until(lambda: any(source is Source.PEER for source, _, _ in peer.poll(0.01)))
        assert node.send_peer("lost.example:7077", BATCH) is Sent.FULL
    finally:
        over.set()


def test_a_peer_is_followed_to_the_address_that_its_name_has_now(
    node: ZmqTransport, peer: ZmqTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = ["127.0.0.77"]  # where nobody listens
    monkeypatch.setattr(names_module, "look_up", lambda name: tuple(hosts))
    monkeypatch.setattr(names_module, "RETRY_S", 0.0)
    monkeypatch.setattr(peer_sockets, "NUMBER_TRIED_S", 0.05)
    address = f"node1.example:{parse_address(peer.address)[1]}"
    until(lambda: address in node._peers.sockets or node.send_peer(address, BATCH) is not Sent.FULL)
    assert node.send_peer(address, BATCH) is Sent.FULL
    hosts[0] = "127.0.0.1"
    until(lambda: reaches(node, peer, address))


def test_a_name_with_an_address_where_nobody_is_reaches_the_peer_at_the_other(
    node: ZmqTransport, peer: ZmqTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names_module, "look_up", lambda name: ("::1", "127.0.0.1"))
    monkeypatch.setattr(peer_sockets, "NUMBER_TRIED_S", 0.05)
    address = f"node1.example:{parse_address(peer.address)[1]}"
    until(lambda: reaches(node, peer, address))


@pytest.mark.parametrize("bind_host", ["::1", "::", "*"])
def test_a_node_is_reached_by_ipv6(node: ZmqTransport, bind_host: str) -> None:
    other = ZmqTransport(bind_host, 0, max_frame_bytes=MAX_FRAME_BYTES)
    try:
        until(lambda: reaches(node, other, f"[::1]:{other.port}"))
        if bind_host != "::1":
            until(lambda: reaches(node, other, f"127.0.0.1:{other.port}"))
    finally:
        other.close()
