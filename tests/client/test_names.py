"""A client that is given names: one that does not resolve, or hangs, keeps it from no other node."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from client.fake_node import DEADLINE_S, FakeNode
from paceline import names as names_module
from paceline.client import Client
from paceline.config import parse_address
from paceline.errors import NoNodeFound


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, tuple[str, ...]]]:
    """What names stand for. Any other name hangs until the test is over."""
    known: dict[str, tuple[str, ...]] = {}
    over = threading.Event()

    def look_up(name: str) -> tuple[str, ...]:
        if name in known:
            return known[name]
        over.wait(10 * DEADLINE_S)
        return ()

    monkeypatch.setattr(names_module, "look_up", look_up)
    yield known
    over.set()


@pytest.mark.parametrize("bad", ["hangs.example:7077", "absent.example:7077"])
def test_one_bad_name_among_the_addresses_keeps_a_client_from_no_other_node(
    bad: str, node: FakeNode, hosts: dict[str, tuple[str, ...]]
) -> None:
    hosts["absent.example"] = ()
    with Client(bad, node.address, connect_timeout_s=DEADLINE_S) as client:
        assert client.submit("add", 2, b=3).result(DEADLINE_S) == 5


def test_a_name_is_followed_to_each_of_its_addresses(node: FakeNode, hosts: dict[str, tuple[str, ...]]) -> None:
    hosts["node.example"] = ("::1", "127.0.0.77", "127.0.0.1")  # the node is at the last
    port = parse_address(node.address)[1]
    with Client(f"Node.Example:{port}", connect_timeout_s=DEADLINE_S) as client:
        assert client.submit("add", 2, b=3).result(DEADLINE_S) == 5


def test_a_search_ends_with_its_timeout_though_the_name_server_does_not_answer_and_names_it(
    hosts: dict[str, tuple[str, ...]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(names_module, "SLOW_S", 0.0)
    client = Client("hangs.example", connect_timeout_s=0.3)
    began_at = time.monotonic()
    with pytest.raises(NoNodeFound, match=r"hangs\.example:7077 does not resolve \(no name server has answered") as got:
        client.connect()
    client.close(0)
    assert time.monotonic() - began_at < DEADLINE_S, "the look-up takes ten times as long"
    assert list(got.value.unresolved) == ["hangs.example:7077"]
