"""Finding nodes: over multicast on loopback, and by names that resolve."""

from __future__ import annotations

import queue
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from paceline import discovery
from paceline.discovery import Discovery, SeedResolver, find_nodes, resolve_seed, resolve_seeds

DEADLINE_S = 10.0


@contextmanager
def announced(cluster_name: str, node_id: str, port: int) -> Iterator[queue.Queue[str]]:
    """A node on loopback; yields what it hears of others."""
    heard: queue.Queue[str] = queue.Queue()
    node = Discovery(
        node_id=node_id, cluster_name=cluster_name, address=f"127.0.0.1:{port}", loopback=True, on_address=heard.put
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
    node = Discovery(node_id="n", cluster_name="c", address="127.0.0.1:1", loopback=True, on_address=print)
    node.stop()
    node.stop()


def test_zeroconf_is_imported_only_when_it_is_used() -> None:
    check = "import sys, paceline.discovery; sys.exit('zeroconf' in sys.modules or 'zmq' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False, timeout=60).returncode == 0


# --- seeds ------------------------------------------------------------------------------------------------------


def test_addresses_stand_for_themselves_and_localhost_for_loopback() -> None:
    seeds = ["127.0.0.1:80", "[::1]:81", "localhost", "127.0.0.1:80"]
    assert resolve_seeds(seeds) == ["127.0.0.1:80", "[::1]:81", "127.0.0.1:7077"]


def test_a_name_stands_for_each_of_its_records_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(host: str, port: int, *hints: int) -> list[tuple[object, ...]]:
        assert host == "nodes.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in ("10.0.0.2", "10.0.0.1", "10.0.0.2")]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    assert resolve_seed("nodes.example:80") == ["10.0.0.2:80", "10.0.0.1:80"]


def test_a_seed_that_does_not_resolve_is_logged_and_the_others_are_returned(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(host: str, port: int, *hints: int) -> list[tuple[object, ...]]:
        if host == "absent":
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("10.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    assert resolve_seeds(["absent", "present"]) == ["10.0.0.1:7077"]
    [record] = caplog.records
    assert "absent" in record.getMessage()


def test_a_label_that_is_too_long_is_a_seed_that_does_not_resolve() -> None:
    with pytest.raises(OSError, match="is not a host name"):
        resolve_seed("x" * 64)


def test_seeds_are_resolved_again_and_a_failure_is_logged_once_per_change(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "paceline.discovery")
    heard: queue.Queue[str] = queue.Queue()
    script: list[str | OSError] = [OSError("down"), OSError("down"), OSError("worse"), "10.0.0.1:1", "10.0.0.2:1"]

    def scripted(seed: str) -> list[str]:
        step = script.pop(0) if script else "10.0.0.3:1"
        if isinstance(step, OSError):
            raise step
        return [step]

    monkeypatch.setattr(discovery, "resolve_seed", scripted)
    resolver = SeedResolver(["nodes.example"], heard.put, interval_s=0.001)
    resolver.start()
    addresses = [heard.get(timeout=DEADLINE_S) for _ in range(3)]
    resolver.stop()
    assert addresses == ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"]
    logged = [record.getMessage() for record in caplog.records]
    assert len(logged) == 3
    assert "(down)" in logged[0]
    assert "(worse)" in logged[1]
    assert "resolves again" in logged[2]
