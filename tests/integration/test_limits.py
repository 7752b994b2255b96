"""Limits of how many run at once, on real nodes: read from the arguments by the client, and kept whoever leads."""

from __future__ import annotations

import time
from collections import Counter
from importlib import import_module
from pathlib import Path

import pytest

from cli.test_real_nodes import paceline, running_node
from core.scheduling.test_paces import most_in_a_period
from integration.conftest import wait_until
from paceline import Client, Cluster, NamedTask
from paceline.errors import RequestRefused

MODULE = """
import os
import time
from pathlib import Path

from paceline import task

@task(max_running=3, limit_by=("customer", "region"))
def render(log: str, customer: str, region: str, page: int) -> int:
    def say(what: str) -> None:
        line = f"{time.monotonic_ns()} {what} {customer}-{region} {page} {os.getpid()}\\n"
        with open(log, "ab", buffering=0) as file:
            file.write(line.encode())
    say("begins")
    time.sleep(0.03)
    say("ends")
    return page

@task(rate="20/s", limit_by="customer")
def remind(log: str, customer: str) -> None:
    with open(log, "ab", buffering=0) as file:
        file.write(f"{time.monotonic_ns()} {customer}\\n".encode())

@task(max_running=1)
def hold(path: str) -> None:
    while not Path(path).exists():
        time.sleep(0.01)
"""
KEYS = (("acme", "eu"), ("acme", "us"))
PAGES = 120
LATE_S = 0.1


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "limited_tasks.py"
    path.write_text(MODULE)
    return str(path)


def most_at_once(log: Path, killed_at_ns: int) -> dict[str, int]:
    """Of each key how many ran at once, at most. What was killed with its node ended then."""
    begun: dict[tuple[str, str, str], int] = {}
    moments: list[tuple[int, int, str]] = []
    for line in log.read_text().splitlines():
        at, what, key, page, pid = line.split()
        if what == "begins":
            begun[key, page, pid] = int(at)
        else:
            moments += [(begun.pop((key, page, pid)), 1, key), (int(at), -1, key)]
    for (key, _page, _pid), at_ns in begun.items():
        assert at_ns < killed_at_ns
        moments += [(at_ns, 1, key), (killed_at_ns, -1, key)]
    running, most = Counter[str](), Counter[str]()
    for _at, change, key in sorted(moments):
        running[key] += change
        most[key] = max(most[key], running[key])
    return dict(most)


def test_of_each_key_never_a_fourth_runs_though_the_leader_is_killed(module: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Cluster.local(module, nodes=3, workers=4) as cluster, cluster.client() as client:
        limited_tasks = import_module("limited_tasks")  # as a client has it

        futures = [client.submit(limited_tasks.render, str(log), *key, page) for page in range(PAGES) for key in KEYS]
        wait_until(lambda: sum(future.done() for future in futures) > 40, "some have ended")
        leader = cluster.leader
        assert leader is not None
        killed_at_ns = time.monotonic_ns()
        leader.kill()
        assert [future.result(60) for future in futures] == [page for page in range(PAGES) for _ in KEYS]
    assert most_at_once(log, killed_at_ns) == {"acme-eu": 3, "acme-us": 3}


def test_in_no_second_more_start_than_may_though_the_leader_is_killed(module: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Cluster.local(module, nodes=3, workers=4) as cluster, cluster.client() as client:
        remind = import_module("limited_tasks").remind
        futures = [client.submit(remind, str(log), customer) for _ in range(80) for customer in ("acme", "other")]
        wait_until(lambda: sum(future.done() for future in futures) > 60, "some have ended")
        leader = cluster.leader
        assert leader is not None
        leader.kill()
        assert [future.result(60) for future in futures] == 160 * [None]
    starts: dict[str, list[float]] = {}
    for line in log.read_text().splitlines():
        at_ns, customer = line.split()
        starts.setdefault(customer, []).append(int(at_ns) / 1e9)
    assert {customer for customer, moments in starts.items() if len(moments) >= 80} == {"acme", "other"}
    for moments in starts.values():
        # A worker may come to its task so much later than its node gave it that.
        assert most_in_a_period(sorted(moments), 1.0 - LATE_S) <= 20
        assert max(moments) - min(moments) < 30, "nobody is woken for the next one late"


def test_what_waits_for_its_limit_is_told_of_and_a_call_by_name_says_its_key(module: str, tmp_path: Path) -> None:
    with running_node(module, "--workers", "2", "--no-discovery") as (_, announced):
        address = next(announced)["address"]
        assert next(announced) == {"ready": True}
        with Client(address) as client:
            held = [client.submit("limited_tasks.hold", str(tmp_path / "release")) for _ in range(3)]
            wait_until(lambda: client.status()["limited"] == 2, "two wait for the first one")
            why = paceline("tasks", "why", held[1].task_id.hex(), "--connect", address).stdout
            assert "nodes have 1 tasks of limited_tasks.hold, and may have 1 at a time (max_running); 2 wait" in why
            assert "2 of them for their limits" in paceline("status", "--connect", address).stdout
            counts = client.cancel_where("limited_tasks.*", state="waiting")
            assert counts["cancelled"] == 2
            (tmp_path / "release").touch()
            assert held[0].result(30) is None
            with pytest.raises(RequestRefused, match="limited by customer,region"):
                client.submit("limited_tasks.render", str(tmp_path / "log"), "acme", "eu", 1).result(30)
            named = NamedTask("limited_tasks.render", limit_key="acme,eu")
            assert client.submit(named, str(tmp_path / "log"), "acme", "eu", 7).result(30) == 7
