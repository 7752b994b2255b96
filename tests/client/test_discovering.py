"""A client that was given no address looks for nodes by multicast, with each search that begins without a leader."""

from __future__ import annotations

import contextlib
import errno
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

import paceline.discovery
from client.fake_node import DEADLINE_S, FakeNode, wait_until
from modes import source_only
from paceline.client import Client
from paceline.client import client as client_module
from paceline.client.driver import discovering
from paceline.errors import NoNodeFound, OutOfResources
from paceline.own_cluster import ClusterAddress

NOBODY = "127.0.0.1:1"


class Network:
    """What multicast says. ``looks`` counts how often it was asked, ``at_once`` how often at the same time at most."""

    def __init__(self) -> None:
        self.addresses: list[str] = []
        self.looks = 0
        self.at_once = 0
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._under_way = 0

    def find_nodes(self, _name: str | None, **_: object) -> list[str]:
        self.looks += 1
        self._under_way += 1
        self.at_once = max(self.at_once, self._under_way)
        self.may_answer.wait(DEADLINE_S)
        self._under_way -= 1
        return self.addresses


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    made = Network()
    monkeypatch.setattr(paceline.discovery, "find_nodes", made.find_nodes)
    monkeypatch.setattr(client_module, "find_cluster", lambda *_: ClusterAddress((NOBODY,), None, discovers=True))
    monkeypatch.setattr(discovering, "PAUSE_S", 0.01)
    yield made
    made.may_answer.set()


def fails(client: Client) -> None:
    with pytest.raises(NoNodeFound):
        client.connect()


def works(client: Client) -> Callable[[], bool]:
    def try_it() -> bool:
        try:
            return client.submit("add", 1, 2).result(DEADLINE_S) == 3
        except NoNodeFound:
            return False

    return try_it


def test_a_client_that_was_there_before_its_cluster_finds_it_with_a_later_search(
    node: FakeNode, network: Network
) -> None:
    client = Client(connect_timeout_s=0.3)
    fails(client)
    wait_until(lambda: network.looks == 1)
    network.addresses = [node.address]
    wait_until(works(client))
    discovering = client._driver._discovering
    assert discovering is not None
    wait_until(lambda: discovering._looker is None)
    looks = network.looks
    assert client.submit("add", 1, 2).result(DEADLINE_S) == 3
    client.status(DEADLINE_S)
    assert network.looks == looks, "a client that has its leader looks for nobody"
    client.close()


def test_one_look_is_under_way_at_a_time_and_the_next_search_has_its_own(node: FakeNode, network: Network) -> None:
    network.may_answer.clear()
    client = Client(connect_timeout_s=0.3)
    fails(client)
    fails(client)
    wait_until(lambda: network.looks == 1)
    network.addresses = [node.address]
    network.may_answer.set()
    wait_until(works(client))
    assert network.at_once == 1
    client.close()


def test_searches_that_follow_each_other_closely_share_one_look(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(discovering, "PAUSE_S", DEADLINE_S)
    client = Client(connect_timeout_s=0.05)
    for _ in range(5):
        fails(client)
    wait_until(lambda: network.looks)
    assert network.looks == 1
    client.close()


def test_a_look_for_which_there_is_no_thread_is_told_and_the_next_search_begins_it(
    node: FakeNode, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    network.addresses = [node.address]
    client = Client(connect_timeout_s=DEADLINE_S)
    start = threading.Thread.start

    def no_room(thread: threading.Thread) -> None:
        if thread.name == "paceline-discovery":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", no_room)
        with pytest.raises(OutOfResources, match="discovery"):
            client.connect()
    assert client.submit("add", 1, 2).result(DEADLINE_S) == 3
    client.close()


@source_only  # compiled code may keep what it has imported once
def test_discovery_that_can_not_be_loaded_for_want_of_descriptors_is_told_in_a_line(
    network: Network, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "paceline.discovery":
                raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.delitem(sys.modules, "paceline.discovery")
    monkeypatch.setattr(sys, "meta_path", [Refusing(), *sys.meta_path])
    with contextlib.closing(Client(connect_timeout_s=0.1)) as client:
        fails(client)
        wait_until(lambda: "no discovery on this network" in caplog.text)
