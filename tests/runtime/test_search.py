"""What a node says of others that don't answer, and whom it looks for. The sockets are real, the node is played."""

from __future__ import annotations

import itertools
import queue
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import pytest

from paceline.config import NodeConfig, new_cluster, parse_address
from paceline.discovery import Discovery, find_nodes
from paceline.names import Names
from paceline.runtime import own_addresses
from paceline.runtime import search as search_module
from paceline.runtime.node_view import NodeView
from paceline.runtime.own_addresses import OwnAddresses
from paceline.runtime.search import REPEAT_MAX_S, REPEAT_MIN_S, SILENT_AFTER_S, NodeSearch, SearchNews, Silences

DEADLINE_S = 20.0
OWN_ADDRESS = "127.0.0.1:4100"


def test_discovery_that_found_no_room_for_its_thread_is_started_at_a_later_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: queue.Queue[None] = queue.Queue()

    def start(self: Discovery) -> bool:
        tries.put(None)
        return tries.qsize() > 2

    monkeypatch.setattr(Discovery, "start", start)
    monkeypatch.setattr(search_module, "LOOK_INTERVAL_S", 0.001)
    with searching(NodeConfig(modules=("tasks",), discovery=True)):
        end = time.monotonic() + DEADLINE_S
        while tries.qsize() < 3:
            assert time.monotonic() < end
            time.sleep(0.001)
    assert tries.qsize() == 3


@contextmanager
def searching(
    config: NodeConfig,
    *,
    is_reached: Callable[[str], bool] = lambda address: False,
    has_met: Callable[[], bool] = lambda: False,
    cluster_id: Callable[[], str] = lambda: "",
    address: str = OWN_ADDRESS,
    waiting_said_s: float = 60.0,
    reports: queue.Queue[tuple[str, ...]] | None = None,
    moves: queue.Queue[str] | None = None,
    binds: queue.Queue[str] | None = None,
    own_bind_host: str = "127.0.0.1",
    interface: str | None = None,
    towards: Callable[[], Iterable[str]] = lambda: (),
    has_leader: Callable[[], bool] = lambda: False,
) -> Iterator[queue.Queue[str]]:
    """A search that finds somebody silent at its second look; yields the addresses that it passes on."""
    heard: queue.Queue[str] = queue.Queue()
    port = parse_address(address)[1]
    names = Names()
    search = NodeSearch(
        config,
        node_id=f"test-{secrets.token_hex(6)}",
        own=OwnAddresses(own_bind_host, port, None, names, interface),
        names=names,
        view=NodeView(
            is_reached=is_reached,
            is_own=lambda other: other == address,
            has_met=has_met,
            met=lambda node_id: None,
            cluster_id=cluster_id,
            has_leader=has_leader,
            towards=towards,
        ),
        news=SearchNews(
            heard.put,
            moved=lambda address, others: (moves or queue.Queue()).put(address),
            bind=(binds or queue.Queue()).put,
            report=(reports or queue.Queue()).put,
        ),
        silent_after_s=0.1,
        waiting_said_s=waiting_said_s,
    )
    search.start()
    try:
        yield heard
    finally:
        search.stop()


def joining(seed: str, **settings: object) -> NodeConfig:
    return NodeConfig(modules=("tasks",), join=(seed,), **({"discovery": False} | settings))  # type: ignore[arg-type]


@contextmanager
def closed_port() -> Iterator[str]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound and not listening: nobody else takes it, and nobody answers
        yield f"127.0.0.1:{unused.getsockname()[1]}"


def warnings(caplog: pytest.LogCaptureFixture, until: str) -> list[str]:
    """What was warned of, once one of it says ``until``."""
    end = time.monotonic() + DEADLINE_S
    while True:
        texts = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        if any(until in text for text in texts):
            return texts
        assert time.monotonic() < end, texts
        time.sleep(0.01)


def test_a_silence_is_told_after_a_while_and_then_ever_more_seldom() -> None:
    silences = Silences()
    said = [float(now) for now in range(7200) if silences.is_due("the seed a", float(now))]
    assert said[0] == SILENT_AFTER_S
    gaps = [later - earlier for earlier, later in itertools.pairwise(said)]
    assert gaps[0] == REPEAT_MIN_S
    assert gaps == sorted(gaps)
    assert gaps[-1] == REPEAT_MAX_S
    assert silences.ends("the seed a")
    assert not silences.ends("the seed a")
    assert not silences.is_due("the seed a", 8000.0), "it begins anew"
    assert not silences.ends("the seed a"), "nobody was told of it"


def test_a_seed_that_does_not_answer_is_named_once_with_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    with closed_port() as seed, searching(joining(seed)) as heard:
        assert heard.get(timeout=DEADLINE_S) == seed
        [text] = warnings(caplog, "does not answer")
    assert f"the seed {seed} does not answer (Connection refused)" in text
    assert "joins nobody else meanwhile" in text


def test_a_node_that_belongs_to_a_cluster_says_that_it_goes_on_there(caplog: pytest.LogCaptureFixture) -> None:
    with closed_port() as seed, searching(joining(seed), cluster_id=lambda: "c0ffee"):
        [text] = warnings(caplog, "does not answer")
    assert "goes on in the cluster that it belongs to (c0ffee)" in text


def test_a_seed_that_shakes_no_hands_is_another_program_or_has_other_keys(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        seed = f"127.0.0.1:{mute.getsockname()[1]}"
        with searching(joining(seed, cluster=new_cluster(3, name="shop"))):
            [text] = warnings(caplog, seed)
    assert "no handshake succeeds" in text
    assert "other keys than this node's cluster file" in text
    assert "give both nodes the same cluster file" in text


def test_seeds_that_answer_and_a_node_that_is_its_own_seed_are_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    looks: queue.Queue[str] = queue.Queue()

    def is_reached(address: str) -> bool:
        looks.put(address)
        return address == "127.0.0.1:4101"

    config = NodeConfig(modules=("tasks",), join=(OWN_ADDRESS, "127.0.0.1:4101"), discovery=False)
    with searching(config, is_reached=is_reached, has_met=lambda: True):
        for _ in range(3):
            assert looks.get(timeout=DEADLINE_S) == "127.0.0.1:4101"
    assert caplog.records == []


def test_a_seed_that_cannot_answer_to_where_this_node_says_it_is_gets_a_hint(caplog: pytest.LogCaptureFixture) -> None:
    with searching(joining("127.0.0.1:4101"), is_reached=lambda address: True):
        [text] = warnings(caplog, "no answer comes back")
    assert "the seed 127.0.0.1:4101 is reached" in text
    assert f"check that it can reach this node at {OWN_ADDRESS}" in text


def test_a_node_that_waits_says_whom_it_has_found_and_reports_the_same(caplog: pytest.LogCaptureFixture) -> None:
    ours, theirs = new_cluster(3), new_cluster(3)
    reports: queue.Queue[tuple[str, ...]] = queue.Queue()
    with (
        searching(NodeConfig(modules=("tasks",), cluster=theirs, bind_host="127.0.0.1"), address="127.0.0.1:4102"),
        searching(
            NodeConfig(modules=("tasks",), cluster=ours, bind_host="127.0.0.1"), waiting_said_s=3.0, reports=reports
        ),
    ):
        texts = warnings(caplog, "at 127.0.0.1:4102")
        lines = reports.get(timeout=DEADLINE_S)
    text = texts[-1]
    assert f"it is of the cluster {theirs.name!r}, and this node of {ours.name!r}" in text
    assert "a copy of the same cluster file" in text
    assert f"This node is at {OWN_ADDRESS}" in text
    assert any("at 127.0.0.1:4102" in line and line.rstrip(".") in text for line in lines)


def test_a_node_of_the_same_name_that_is_found_and_has_other_keys_is_named(caplog: pytest.LogCaptureFixture) -> None:
    name = f"test-{secrets.token_hex(6)}"
    ours, theirs = (NodeConfig(modules=("tasks",), cluster=new_cluster(3, name), bind_host="127.0.0.1") for _ in "ab")
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        with searching(theirs, address=address), searching(ours, waiting_said_s=3.0):
            texts = warnings(caplog, f"{address} takes connections but no handshake succeeds")
    assert any("give both nodes the same cluster file" in text for text in texts)


def test_a_node_that_waits_and_finds_nobody_says_that_too(caplog: pytest.LogCaptureFixture) -> None:
    config = NodeConfig(modules=("tasks",), cluster=new_cluster(3), bind_host="127.0.0.1")
    with searching(config, waiting_said_s=0.1):
        text, *_ = warnings(caplog, "no leader for")  # it may have said so twice by now
    assert "Discovery has found no other node" in text
    assert "--join HOST:PORT" in text


def test_a_node_that_waits_in_a_container_or_has_no_network_says_so(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = ["172.17.0.2"]
    monkeypatch.setattr(search_module, "is_in_container", lambda: True)
    monkeypatch.setattr(own_addresses, "reachable_hosts", lambda bind_host, towards=(): tuple(machine))
    config = NodeConfig(modules=("tasks",), cluster=new_cluster(3), discovery=False, join=("127.0.0.1:1",))
    with searching(config, own_bind_host="*", waiting_said_s=0.1):
        texts = warnings(caplog, "This node is in a container")
    assert any("--advertise" in text for text in texts)
    machine[:] = ["127.0.0.1"]
    with searching(config, own_bind_host="*", waiting_said_s=0.1):
        warnings(caplog, "This machine has no address but loopback")


def test_an_address_that_comes_later_is_told_and_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = ["127.0.0.1"]
    moves: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr(own_addresses, "reachable_hosts", lambda bind_host, towards=(): tuple(machine))
    monkeypatch.setattr(search_module, "ADDRESSES_INTERVAL_S", 0.0)
    config = NodeConfig(modules=("tasks",), cluster=new_cluster(3), discovery=False, join=("127.0.0.1:1",))
    with searching(config, own_bind_host="*", moves=moves):
        machine[:] = ["10.0.0.1"]
        assert moves.get(timeout=DEADLINE_S) == "10.0.0.1:4100"
        warnings(caplog, "this node is at 10.0.0.1:4100 now, and was at 127.0.0.1:4100")
    assert moves.empty()


def test_an_interface_that_has_another_address_is_told_and_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = ["10.0.0.1"]
    moves: queue.Queue[str] = queue.Queue()
    binds: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr(own_addresses, "interface_hosts", lambda name: list(hosts))
    monkeypatch.setattr(search_module, "ADDRESSES_INTERVAL_S", 0.0)
    config = NodeConfig(
        modules=("tasks",), cluster=new_cluster(3), discovery=False, join=("127.0.0.1:1",), bind_host="eth0"
    )
    with searching(config, own_bind_host="10.0.0.1", interface="eth0", moves=moves, binds=binds):
        hosts[:] = ["10.0.0.9"]
        assert binds.get(timeout=DEADLINE_S) == "10.0.0.9"
        assert moves.get(timeout=DEADLINE_S) == "10.0.0.9:4100"
        warnings(caplog, "the interface eth0 has lost the address 10.0.0.1; this node listens at its address 10.0.0.9")
    assert binds.empty()
    assert moves.empty()


@pytest.mark.parametrize("what", ["the addresses of this machine", "the seeds", "what was found"])
def test_whatever_a_look_raises_is_said_once_and_the_next_ones_count(
    what: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they look at was said by others, and the watch over this node's own addresses is theirs, too."""
    monkeypatch.setattr(search_module, "ADDRESSES_INTERVAL_S", 0.0)
    monkeypatch.setattr(search_module, "LOOK_INTERVAL_S", 0.001)
    monkeypatch.setattr(own_addresses, "reachable_hosts", lambda bind_host, towards=(): ("127.0.0.1",))
    looks: queue.Queue[str] = queue.Queue()

    def look(named: str) -> bool:
        looks.put(named)
        if named == what:
            raise KeyError("nobody thought of it")
        return False

    with searching(
        joining("127.0.0.1:1"),
        own_bind_host="*",
        towards=lambda: ["10.0.0.1"] if look("the addresses of this machine") else [],
        is_reached=lambda address: look("the seeds"),
        has_leader=lambda: look("what was found"),
    ):
        warnings(caplog, f"can't look at {what}: KeyError('nobody thought of it')")
        looks.queue.clear()
        assert {looks.get(timeout=DEADLINE_S) for _ in range(9)} == {
            "the addresses of this machine",
            "the seeds",
            "what was found",
        }
        assert len([text for text in caplog.messages if "can't look" in text]) == 1


def test_a_node_pointed_at_others_is_announced_once_it_belongs_to_a_cluster(caplog: pytest.LogCaptureFixture) -> None:
    cluster_id = ""
    address = f"127.0.0.1:{40_000 + secrets.randbelow(20_000)}"  # no other test announces it
    with closed_port() as seed:
        config = joining(seed, discovery=True)
        with searching(config, cluster_id=lambda: cluster_id, address=address):
            warnings(caplog, "does not answer")  # several looks later
            assert address not in find_nodes("", loopback=True, timeout_s=0.5)
            cluster_id = "c0ffee"
            end = time.monotonic() + DEADLINE_S
            while address not in find_nodes("", loopback=True, timeout_s=1.0):
                assert time.monotonic() < end


def test_with_a_cluster_file_a_node_looks_beside_its_seeds_at_once() -> None:
    cluster = new_cluster(3)
    with closed_port() as seed:
        config = joining(seed, cluster=cluster, discovery=True, bind_host="127.0.0.1")
        with searching(config):
            assert find_nodes(cluster.name, loopback=True, timeout_s=DEADLINE_S) == [OWN_ADDRESS]
