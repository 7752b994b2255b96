"""Fair keys on real nodes: read from the arguments by the client, and in the log."""

from __future__ import annotations

from pathlib import Path

from cli.test_real_nodes import paceline, running_node
from integration.conftest import wait_until
from paceline import Client, Cluster, NamedTask

MODULE = """
import time

from paceline import task

@task(fair_by="tenant")
def render(tenant: str, page: int) -> int:
    time.sleep(0.02)
    return page
"""


def module(tmp_path: Path) -> str:
    path = tmp_path / "fair_tasks.py"
    path.write_text(MODULE)
    return str(path)


def test_a_flood_of_one_tenant_does_not_hold_up_another_whoever_leads(tmp_path: Path) -> None:
    with Cluster.local(module(tmp_path), nodes=3, workers=1) as cluster, cluster.client() as client:
        flood = [client.submit(NamedTask("fair_tasks.render", fair_key="large"), "large", page) for page in range(300)]
        flood[-1].accepted(30)
        leader = cluster.leader
        assert leader is not None
        leader.kill()
        few = [client.submit(NamedTask("fair_tasks.render", fair_key="small"), "small", page) for page in range(10)]
        assert [future.result(60) for future in few] == list(range(10))
        ended = sum(future.done() for future in flood)
        assert ended < 200, "its tasks went in turns with those of the other"
        assert [future.result(60) for future in flood] == list(range(300))


def test_the_command_line_gives_a_key_and_tasks_of_one_are_found_and_cancelled(tmp_path: Path) -> None:
    with running_node(module(tmp_path), "--workers", "1", "--no-discovery") as (_, announced):
        address = next(announced)["address"]
        assert next(announced) == {"ready": True}
        submitted = paceline(
            "submit", "fair_tasks.render", "acme", "7", "--fair-key", "acme", "--wait", "--connect", address
        )
        assert submitted.stdout.strip() == "7"
        with Client(address) as client:
            client.pause_queue("default")
            for key in ("a", "b", None):
                client.submit(NamedTask("fair_tasks.render", fair_key=key), "x", 1)
            wait_until(lambda: client.live_tasks().waiting == 3, "all three wait")
            assert len(client.live_tasks("fair_tasks.*").tasks) == 3
            assert client.cancel_where("fair_tasks.*")["cancelled"] == 3


def test_a_low_priority_is_not_starved(tmp_path: Path) -> None:
    with Cluster.local(module(tmp_path), nodes=1, workers=1) as cluster, cluster.client() as client:
        client.pause_queue("default")
        urgent = [client.submit(NamedTask("fair_tasks.render", priority=9), "a", page) for page in range(100)]
        low = client.submit(NamedTask("fair_tasks.render", priority=0), "a", 7)
        urgent += [client.submit(NamedTask("fair_tasks.render", priority=9), "a", page) for page in range(200)]
        urgent[-1].accepted(30)
        client.resume_queue("default")
        assert low.result(60) == 7
        assert sum(future.done() for future in urgent) < 250, "it went before some that came later"
        client.cancel_where("fair_tasks.*")
