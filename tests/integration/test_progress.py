"""What running tasks say of themselves, across real nodes and workers."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.conftest import DEADLINE_S, wait_until
from paceline import Cluster, NamedTask
from paceline.client import TaskProgress

TASKS = Path(__file__).with_name("progress_tasks.py")


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[Cluster]:
    with Cluster.local(TASKS, nodes=3, workers=1) as cluster:
        yield cluster


def test_whoever_asks_is_told_how_far_a_task_is_wherever_it_runs_and_what_it_was_when_it_has_ended(
    three_nodes: Cluster, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    with three_nodes.client() as client, three_nodes.client() as other:
        futures = [client.submit("progress_tasks.half", str(gate)) for _ in range(3)]  # one at each node
        for future in futures:
            future.accepted(DEADLINE_S)  # or the other client asks for what the leader has not heard of yet
        told: dict[int, TaskProgress] = {}

        def all_have_said() -> bool:
            told.update({n: said for n, future in enumerate(futures) if (said := other.progress(future.task_id))})
            return len(told) == len(futures)

        wait_until(all_have_said, "each task has said how far it is")
        assert {(each.done, each.total, each.text, each.attempt) for each in told.values()} == {(1, 2, "half", 1)}
        assert len({each.node for each in told.values()}) == 3
        assert asyncio.run(_awaited(futures[0])) == told[0]
        # It may print this behind that, and a print writes its line and the end of it.
        wait_until(lambda: other.output(futures[0]).text == "half of it\n", "its output is told, too")
        gate.touch()
        assert [future.result(DEADLINE_S) for future in futures] == ["whole"] * 3
        for future in futures:
            last = future.progress()
            assert last is not None
            assert (last.done, last.fraction) == (2, 1.0)
            assert other.output(future.task_id.hex()).text == "half of it\nall of it\n"


async def _awaited(future: object) -> TaskProgress | None:
    found: TaskProgress | None = await asyncio.to_thread(future.progress)  # type: ignore[attr-defined]
    return found


def test_a_task_is_followed_to_its_end_with_its_log(three_nodes: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with three_nodes.client() as client:
        good = client.submit("progress_tasks.half", str(gate))
        bad = client.submit(NamedTask("progress_tasks.fail", result_ttl=60))  # it may end before anybody watches
        for future in (good, bad):
            future.accepted(DEADLINE_S)
        ids = [future.task_id.hex() for future in (good, bad)]
        command = [sys.executable, "-m", "paceline", "watch", *ids, "--logs", "--json"]
        environment = os.environ | {"PACELINE_CONNECT": three_nodes.addresses[0]}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as watching:
            assert watching.stdout is not None
            lines = []
            for line in watching.stdout:
                lines.append(json.loads(line))
                if lines[-1].get("text") == "half":
                    gate.touch()
            code = watching.wait(DEADLINE_S)
    assert code == 20, "that of the first that has not succeeded"
    of_good = [line for line in lines if line["task_id"] == ids[0]]
    assert [line["log"] for line in of_good if "log" in line] == ["half of it", "all of it"]
    assert of_good[-1] == of_good[-1] | {"state": "succeeded", "done": 2, "total": 2, "result": "whole", "exit_code": 0}
    of_bad = [line for line in lines if line["task_id"] == ids[1] and "log" not in line]
    assert (of_bad[-1]["state"], of_bad[-1]["exit_code"]) == ("failed", 20)
    assert "no such thing" in of_bad[-1]["error"]
