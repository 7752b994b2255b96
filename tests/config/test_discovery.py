"""Finding nodes: over multicast on loopback, and by names that resolve."""

from __future__ import annotations

import queue
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import pytest
from zeroconf import ServiceStateChange, Zeroconf

from paceline import discovery
from paceline import names as names_module
from paceline.discovery import Discovery, SeedResolver, Sighting, find_nodes
from paceline.names import Names

DEADLINE_S = 10.0


@contextmanager
def announced(
    cluster_name: str, node_id: str, port: int, hosts: Sequence[str] = ("127.0.0.1",)
) -> Iterator[queue.Queue[str]]:
    """A node on loopback; yields what it hears of others."""
    heard: queue.Queue[str] = queue.Queue()

    def sighted(sighting: Sighting) -> None:
        if sighting.cluster_name == cluster_name:
            for address in sighting.addresses:
                heard.put(address)

    node = Discovery(
        node_id=node_id,
        cluster_name=cluster_name,
        port=port,
        hosts=hosts,
        loopback=True,
        on_sighting=sighted,
    )
    node.start()
    try:
        yield heard
    finally:
        node.stop()


def fresh() -> str:
    """A name that no other test run on this machine uses."""
    return f"test-{secrets.token_hex(6)}"


# --- multicast DNS ----------------------------------------------------------------------------------------------


def test_nodes_of_one_cluster_hear_of_each_other_and_clients_of_them() -> None:
    cluster = fresh()
    with announced(cluster, fresh(), 4001) as one, announced(cluster, fresh(), 4002) as two:
        assert one.get(timeout=DEADLINE_S) == "127.0.0.1:4002"
        assert two.get(timeout=DEADLINE_S) == "127.0.0.1:4001"
        assert set(find_nodes(cluster, loopback=True, timeout_s=DEADLINE_S)) <= {"127.0.0.1:4001", "127.0.0.1:4002"}
        assert find_nodes(cluster, timeout_s=DEADLINE_S)


def test_a_node_hears_neither_of_itself_nor_of_another_cluster() -> None:
    cluster, node_id = fresh(), fresh()
    with announced(cluster, node_id, 4001) as heard, announced(fresh(), fresh(), 4002):
        # When the third is heard of, the records of the other two have long been on the wire.
        with announced(cluster, fresh(), 4003):
            assert heard.get(timeout=DEADLINE_S) == "127.0.0.1:4003"
        assert heard.empty()


def test_a_node_that_stops_withdraws_its_record() -> None:
    cluster = fresh()
    with announced(cluster, fresh(), 4001):
        assert find_nodes(cluster, loopback=True, timeout_s=DEADLINE_S) == ["127.0.0.1:4001"]
    assert find_nodes(cluster, loopback=True, timeout_s=0.3) == []


def test_a_network_without_multicast_is_one_warning_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_multicast(loopback: bool) -> None:
        raise OSError("no multicast here")

    monkeypatch.setattr(discovery, "_open_zeroconf", no_multicast)
    with announced(fresh(), fresh(), 4001):
        pass
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert "--join" in record.getMessage()
    assert find_nodes(None, timeout_s=DEADLINE_S) == []


def test_stop_without_start_and_a_second_stop_are_harmless() -> None:
    node = Discovery(node_id="n", cluster_name="c", port=1, hosts=["127.0.0.1"], loopback=True, on_sighting=print)
    node.stop()
    node.stop()


def test_zeroconf_is_imported_only_when_it_is_used() -> None:
    check = "import sys, paceline.discovery; sys.exit('zeroconf' in sys.modules or 'zmq' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=60).returncode == 0


def test_every_address_of_a_node_is_announced_and_what_changes_is_announced_anew() -> None:
    cluster = fresh()
    sightings: queue.Queue[Sighting] = queue.Queue()
    node = Discovery(
        node_id=fresh(), cluster_name=cluster, port=4001, hosts=["10.0.2.15", "::1"], loopback=True, on_sighting=print
    )
    other = Discovery(
        node_id=fresh(), cluster_name=cluster, port=4002, hosts=[], loopback=True, on_sighting=sightings.put
    )
    other.start()
    node.start()
    try:
        assert set(sightings.get(timeout=DEADLINE_S).addresses) == {"10.0.2.15:4001", "[::1]:4001"}
        node.announce(["10.0.2.16"])
        while (sighting := sightings.get(timeout=DEADLINE_S)).addresses != ("10.0.2.16:4001",):
            pass
        assert sighting.protocol
    finally:
        node.stop()
        other.stop()


class PlayedZeroconf:
    """Holds one record, as anyone on the network may have written it."""

    port = 7077

    def __init__(self, **properties: str) -> None:
        self.decoded_properties = properties

    def get_service_info(self, *_: object) -> PlayedZeroconf:
        return self

    def parsed_addresses(self) -> list[str]:
        return ["10.0.0.2", "fe80::1%eth0", "fd00::2"]


def test_a_record_is_read_as_far_as_it_means_something_to_others() -> None:
    def read(**properties: str) -> Sighting | None:
        record = cast("Zeroconf", PlayedZeroconf(**({"v": "1", "name": "shop", "id": "b", "p": "1"} | properties)))
        return discovery._read_record(record, "", "", ServiceStateChange.Added)

    assert read() == Sighting("shop", "b", ("10.0.0.2:7077", "[fd00::2]:7077"), "1")
    for hostile in ({"id": "b\n"}, {"id": "\x1b[2J"}, {"p": "1\r"}, {"id": ""}, {"v": "2"}):
        assert read(**hostile) is None, "shown as it is, it would be more than a part of a line"
    sighting = read(id="x" * 10_000, name="y" * 10_000, p="9" * 10_000)
    assert sighting is not None
    assert max(len(sighting.node_id), len(sighting.cluster_name), len(sighting.protocol)) <= discovery.NAME_CHARS


def test_discovery_begins_once_the_network_is_there(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries: list[bool] = []
    real = discovery._open_zeroconf

    def late(loopback: bool) -> object:
        tries.append(loopback)
        if len(tries) < 3:
            raise OSError("no interface is up")
        return real(loopback)

    monkeypatch.setattr(discovery, "_open_zeroconf", late)
    monkeypatch.setattr(discovery, "RETRY_S", 0.01)
    cluster = fresh()
    sightings: queue.Queue[Sighting] = queue.Queue()
    node = Discovery(
        node_id=fresh(), cluster_name=cluster, port=1, hosts=["127.0.0.1"], loopback=True, on_sighting=sightings.put
    )
    node.start()
    try:
        end = time.monotonic() + DEADLINE_S
        while len(tries) < 3:
            assert time.monotonic() < end
            time.sleep(0.001)
        with announced(cluster, fresh(), 4001):
            assert sightings.get(timeout=DEADLINE_S).addresses == ("127.0.0.1:4001",)
    finally:
        node.stop()
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


@pytest.mark.parametrize("error", [RuntimeError("can't start new thread"), MemoryError(), ImportError("no room")])
def test_discovery_that_can_not_start_is_said_once_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    tried: queue.Queue[None] = queue.Queue()

    def refuse(loopback: bool) -> None:
        tried.put(None)
        raise error

    monkeypatch.setattr(discovery, "_open_zeroconf", refuse)
    monkeypatch.setattr(discovery, "RETRY_S", 0.001)
    with announced(fresh(), fresh(), 4001):
        for _ in range(3):
            tried.get(timeout=DEADLINE_S)
    [record] = caplog.records
    assert "discovery can't start" in record.getMessage()
    assert "It is tried again" in record.getMessage()


def test_discovery_without_a_thread_of_its_own_can_be_started_later(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_room(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    node = Discovery(node_id="n", cluster_name="c", port=1, hosts=["127.0.0.1"], loopback=True, on_sighting=print)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", no_room)
        assert not node.start()
        assert not node.start()
    [record] = caplog.records
    assert "discovery can't start (can't start new thread)" in record.getMessage()
    assert node.start()
    node.stop()


# --- seeds ------------------------------------------------------------------------------------------------------


def test_what_every_seed_stands_for_is_passed_on_and_one_that_hangs_keeps_no_other_waiting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    over = threading.Event()

    def look_up(name: str) -> tuple[str, ...]:
        if name == "hangs.example":
            over.wait(DEADLINE_S)
        return ("10.0.0.2", "fd00::1") if name == "nodes.example" else ()

    monkeypatch.setattr(names_module, "look_up", look_up)
    heard: queue.Queue[str] = queue.Queue()
    seeds = ["hangs.example", "nodes.example:80", "127.0.0.1:81", "[::1]:82"]
    resolver = SeedResolver(seeds, heard.put, names=Names())
    resolver.start()
    found = {heard.get(timeout=DEADLINE_S) for _ in range(4)}
    assert found == {"10.0.0.2:80", "[fd00::1]:80", "127.0.0.1:81", "[::1]:82"}
    resolver.stop()
    over.set()


def test_seeds_are_resolved_again_and_a_failure_is_logged_once_per_change(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "paceline.discovery")
    heard: queue.Queue[str] = queue.Queue()
    answer: list[str | OSError] = [OSError("down")]

    def scripted(name: str) -> tuple[str, ...]:
        if isinstance(answer[0], OSError):
            raise answer[0]
        return (answer[0],)

    def until_logged(text: str) -> None:
        end = time.monotonic() + DEADLINE_S
        while text not in caplog.text:
            assert time.monotonic() < end
            time.sleep(0.001)

    monkeypatch.setattr(names_module, "look_up", scripted)
    resolver = SeedResolver(["nodes.example:1"], heard.put, names=Names(), interval_s=0.01)
    resolver.start()
    until_logged("(down)")
    answer[0] = OSError("worse")
    until_logged("(worse)")
    for host in ("10.0.0.1", "10.0.0.2"):
        answer[0] = host
        while heard.get(timeout=DEADLINE_S) != f"{host}:1":
            pass
    until_logged("resolves again")
    resolver.stop()
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == 3
    assert "(down)" in logged[0]
    assert "(worse)" in logged[1]
    assert "resolves again" in logged[2]
