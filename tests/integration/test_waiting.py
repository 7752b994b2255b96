"""What waits behind a task that lasts goes elsewhere, though nobody could know that it lasts."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.conftest import DEADLINE_S, TASKS, wait_until
from paceline import Cluster
from paceline.errors import TaskCancelled


@pytest.mark.parametrize(("nodes", "workers"), [(2, 1), (1, 2)])
def test_tasks_that_came_with_one_that_lasts_run_on_the_worker_that_is_free(
    nodes: int, workers: int, tmp_path: Path
) -> None:
    gate, there = tmp_path / "gate", tmp_path / "there"
    there.touch()
    with Cluster.local(TASKS, nodes=nodes, workers=workers) as cluster, cluster.client() as client:
        for future in [client.submit("sample_tasks.wait_for", str(there)) for _ in range(100)]:
            future.result(DEADLINE_S)  # by now they are known to be short, and travel together
        lasts = client.submit("sample_tasks.wait_for", str(gate))
        others = [client.submit("sample_tasks.wait_for", str(there)) for _ in range(300)]
        elsewhere = {future.result(DEADLINE_S) for future in others}
        assert not lasts.done()
        gate.touch()
        assert lasts.result(DEADLINE_S) not in elsewhere


def test_what_stands_behind_a_task_that_lasts_at_its_worker_is_cancelled(tmp_path: Path) -> None:
    gate, there = tmp_path / "gate", tmp_path / "there"
    there.touch()
    with Cluster.local(TASKS, nodes=1, workers=1) as cluster, cluster.client() as client:
        for future in [client.submit("sample_tasks.wait_for", str(there)) for _ in range(100)]:
            future.result(DEADLINE_S)
        begun = tmp_path / "begun"
        lasts = client.submit("sample_tasks.wait_for", str(gate), str(begun))
        behind = [client.submit("sample_tasks.wait_for", str(there)) for _ in range(30)]
        wait_until(begun.exists, "its worker has begun it")
        assert set(client.cancel_tasks(behind, DEADLINE_S).values()) == {"cancelled"}
        assert not lasts.cancel(0.1)
        gate.touch()
        assert lasts.result(DEADLINE_S)
        for future in behind:
            with pytest.raises(TaskCancelled):
                future.result(DEADLINE_S)
