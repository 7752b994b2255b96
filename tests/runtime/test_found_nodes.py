"""What is said of each node that discovery has found. Connections are tried for real, the node is played."""

from __future__ import annotations

import errno
import socket
from dataclasses import replace

import pytest

from paceline.discovery import Sighting
from paceline.runtime import found_nodes
from paceline.runtime.found_nodes import FOUND_MAX, PROBES_MAX, FoundNodes
from paceline.runtime.node_view import Acquaintance, NodeView
from paceline_protocol.messages.message import PROTOCOL_VERSION

OWN = "10.0.0.1:7077"
ALONE = NodeView(
    is_reached=lambda address: False,
    is_own=lambda address: False,
    has_met=lambda: False,
    met=lambda node_id: None,
    cluster_id=lambda: "",
    has_leader=lambda: False,
    towards=lambda: (),
)


def sighting(*addresses: str, node_id: str = "aaaaaaaaaaaaaaaa", protocol: str = str(PROTOCOL_VERSION)) -> Sighting:
    return Sighting("shop", node_id, addresses, protocol)


def said(view: NodeView, *sightings: Sighting, own: str = OWN) -> str:
    found = FoundNodes("shop", True, view)
    for each in sightings:
        found.add(each)
    return " | ".join(found.report(own))


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[int, str]]:
    """What a connection to a host meets with; by default nobody listens there."""
    met: dict[str, tuple[int, str]] = {}
    monkeypatch.setattr(
        found_nodes, "probe", lambda host, port: met.get(host, (errno.ECONNREFUSED, "Connection refused"))
    )
    return met


def test_a_firewall_that_lets_multicast_through_and_not_the_port_is_named(
    refused: dict[str, tuple[int, str]],
) -> None:
    refused["10.0.0.2"] = (errno.ETIMEDOUT, "no connection within 1 s")
    text = said(ALONE, sighting("10.0.0.2:7077"))
    assert "Node aaaaaaaa at 10.0.0.2:7077: not connected (10.0.0.2:7077: no connection within 1 s)" in text
    assert "does a firewall drop port 7077 there?" in text


def test_where_nobody_listens_and_what_announces_loopback_is_told_apart(refused: dict[str, tuple[int, str]]) -> None:
    assert "nobody listens there" in said(ALONE, sighting("10.0.0.2:7077"))
    assert "was it started before its network?" in said(ALONE, sighting("127.0.0.1:7077"))
    assert "started before" not in said(ALONE, sighting("127.0.0.1:7078"), own="127.0.0.1:7077")


def test_an_address_that_is_the_same_on_both_machines_is_named(refused: dict[str, tuple[int, str]]) -> None:
    view = replace(ALONE, is_own=lambda address: address == "10.0.2.15:7077")
    text = said(view, sighting("10.0.2.15:7077", "10.0.0.2:7077"))
    assert "10.0.2.15:7077: that is this node itself, whose machine has the same address; 10.0.0.2:7077: Conn" in text


def test_a_node_that_is_connected_says_so_and_whether_it_waits_too() -> None:
    view = replace(ALONE, met=lambda node_id: Acquaintance("", "10.0.0.2:7077"))
    assert said(view, sighting("10.0.0.2:7077")).endswith("connected, and it waits too")
    view = replace(ALONE, met=lambda node_id: Acquaintance("c0ffee", "192.168.56.2:7077"))
    assert said(view, sighting("10.0.0.2:7077")).endswith("connected, at 192.168.56.2:7077")


def test_a_node_that_is_reached_and_can_not_answer_is_named() -> None:
    view = replace(ALONE, is_reached=lambda address: True)
    assert f"no answer comes back; can it reach this node at {OWN}?" in said(view, sighting("10.0.0.2:7077"))


def test_another_cluster_other_keys_and_another_version_are_named() -> None:
    view = replace(ALONE, met=lambda node_id: Acquaintance("c0ffee", ""), cluster_id=lambda: "beef")
    assert "another cluster of this name (c0ffee, and not beef)" in said(view, sighting("10.0.0.2:7077"))
    assert "it speaks version 99 of the protocol" in said(ALONE, sighting("10.0.0.2:7077", protocol="99"))
    other = replace(sighting("10.0.0.2:7077"), cluster_name="depot")
    assert "it is of the cluster 'depot', and this node of 'shop'" in said(ALONE, other)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        assert "no handshake succeeds" in said(ALONE, sighting(address))


def test_what_anybody_announces_is_bounded_and_so_are_the_connections_of_one_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    probed: list[str] = []

    def probe(host: str, port: int) -> tuple[int, str]:
        probed.append(host)
        return errno.ECONNREFUSED, "Connection refused"

    monkeypatch.setattr(found_nodes, "probe", probe)
    many = [sighting(f"10.0.{n // 250}.{n % 250}:7077", node_id=f"{n:016x}") for n in range(3 * FOUND_MAX)]
    assert said(ALONE, *many).count("Node ") == FOUND_MAX
    assert len(probed) == PROBES_MAX
