"""A call by name alone takes what its task was decorated with at the nodes, with real nodes, clients and commands."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.conftest import DEADLINE_S, TASKS, wait_until, without_settings
from paceline import Cluster, NamedTask
from paceline.errors import RequestRefused, TaskTimedOut

ASKING = Path(__file__).with_name("asking_tasks.py")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster.local(ASKING, nodes=1, workers=2) as started:
        yield started


def begun(log: Path) -> int:
    return len(log.read_text().splitlines()) if log.exists() else 0


def submit(cluster: Cluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = without_settings()
    environment["PACELINE_CONNECT"] = cluster.addresses[0]
    command = [sys.executable, "-m", "paceline", "submit", *arguments, "--wait"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


# --- `paceline submit`


def test_a_task_that_is_submitted_by_name_is_tried_again_as_its_decorator_says(
    cluster: Cluster, tmp_path: Path
) -> None:
    done = submit(cluster, "asking_tasks.flaky", str(tmp_path / "log"), "4")
    assert (done.returncode, done.stdout) == (0, "4\n"), done.stderr
    failed = submit(cluster, "asking_tasks.flaky", str(tmp_path / "other"), "9")
    assert (failed.returncode, begun(tmp_path / "other")) == (20, 4)
    assert "attempt 4 of 9" in failed.stderr


def test_and_ends_by_its_time_limit(cluster: Cluster, tmp_path: Path) -> None:
    ended = submit(cluster, "asking_tasks.hangs", str(tmp_path / "log"))
    assert (ended.returncode, begun(tmp_path / "log")) == (25, 1), ended.stderr
    assert "0.5 s" in ended.stderr


def test_what_the_command_says_counts_more_a_0_and_none_too(cluster: Cluster, tmp_path: Path) -> None:
    failed = submit(cluster, "asking_tasks.flaky", str(tmp_path / "log"), "9", "--retries", "0")
    assert (failed.returncode, begun(tmp_path / "log")) == (20, 1)
    failed = submit(cluster, "asking_tasks.flaky", str(tmp_path / "other"), "9", "--retry-on", "ValueError")
    assert (failed.returncode, begun(tmp_path / "other")) == (20, 1)
    ended = submit(cluster, "asking_tasks.hangs", str(tmp_path / "hangs"), "--time-limit", "none", "--timeout", "2")
    assert ended.returncode == 23, ended.stderr


def test_what_contradicts_what_the_nodes_announce_is_refused_with_what_to_do(cluster: Cluster) -> None:
    refused = submit(cluster, "asking_tasks.once", "--retries", "2")
    assert refused.returncode == 13
    assert "leave retries out" in refused.stderr
    assert "The nodes announce delivery for 'asking_tasks.once'" in refused.stderr
    both = submit(cluster, "asking_tasks.once", "--retries", "2", "--delivery", "at_least_once")
    assert (both.returncode, both.stdout) == (0, "1\n")


# --- clients


def test_so_does_a_client_that_has_not_the_module(cluster: Cluster, tmp_path: Path) -> None:
    with cluster.client() as client:
        assert client.submit("asking_tasks.flaky", str(tmp_path / "log"), 4).result(DEADLINE_S) == 4
        assert list(client.map("asking_tasks.flaky", [str(tmp_path / "map")], [3])) == [3]
        with pytest.raises(TaskTimedOut):
            client.submit("asking_tasks.hangs", str(tmp_path / "hangs")).result(DEADLINE_S)
        named = NamedTask("asking_tasks.flaky", retries=1)
        with pytest.raises(ConnectionError, match="attempt 2 of 9"):
            client.submit(named, str(tmp_path / "named"), 9).result(DEADLINE_S)
        with pytest.raises(ValueError, match="on purpose"):
            client.submit("asking_tasks.plain", str(tmp_path / "plain")).result(DEADLINE_S)
        assert begun(tmp_path / "plain") == 1


def test_a_priority_and_at_most_once_are_taken_too(cluster: Cluster, tmp_path: Path) -> None:
    with cluster.client() as client:
        later = client.submit(NamedTask("asking_tasks.once", delay=300))
        later.accepted(DEADLINE_S)
        assert client.where_is(later)["priority"] == 8
        usual = client.submit(NamedTask("asking_tasks.once", delay=300, priority=4))
        usual.accepted(DEADLINE_S)
        assert client.where_is(usual)["priority"] == 4
        assert (later.cancel(DEADLINE_S), usual.cancel(DEADLINE_S)) == (True, True)
        with pytest.raises(RequestRefused, match="leave retries out"):
            client.submit(NamedTask("asking_tasks.once", retries=2)).result(DEADLINE_S)


def test_a_task_object_that_was_changed_back_takes_nothing(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ASKING.parent))
    import asking_tasks

    with cluster.client() as client:
        with pytest.raises(ConnectionError, match="attempt 1 of 9"):
            client.submit(asking_tasks.flaky.options(retries=0), str(tmp_path / "log"), 9).result(DEADLINE_S)
        assert client.submit(asking_tasks.flaky, str(tmp_path / "own"), 3).result(DEADLINE_S) == 3


# --- nodes come and go


def test_the_next_leader_knows_what_the_nodes_announce_before_it_takes_a_call(tmp_path: Path) -> None:
    """Only one node has the tasks, and it is not the one that leads."""
    with Cluster.local(TASKS, nodes=3, workers=1) as cluster, cluster.client() as client:
        cluster.add_node(ASKING, workers=1)
        wait_until(lambda: "asking_tasks.flaky" in (client.status()["tasks"] or ()), "the leader knows its tasks")
        log = tmp_path / "before"
        assert client.submit("asking_tasks.flaky", str(log), 4).result(DEADLINE_S) == 4
        leader = cluster.leader
        assert leader is not None
        leader.kill()
        log = tmp_path / "after"
        assert client.submit("asking_tasks.flaky", str(log), 4).result(DEADLINE_S) == 4


def test_a_call_that_comes_before_any_worker_is_ready_waits_for_what_is_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = tmp_path / "gate"
    monkeypatch.setenv("ASKING_TASKS_GATE", str(gate))
    started = Cluster.local(ASKING, nodes=1, workers=1)
    started.start()
    try:
        with started.client() as client:
            log = tmp_path / "log"
            future = client.submit("asking_tasks.flaky", str(log), 4)
            with pytest.raises(TimeoutError):
                future.accepted(1)
            gate.touch()
            assert future.result(DEADLINE_S) == 4
    finally:
        gate.touch()
        started.stop()


CHANGING = """
from pathlib import Path
from paceline import task

@task({})
def fail(log):
    with Path(log).open("a") as file:
        file.write("begun\\n")
    raise ConnectionError("on purpose")
"""


def test_a_node_that_is_started_again_with_a_changed_module_announces_the_change(tmp_path: Path) -> None:
    module = tmp_path / "changing_tasks.py"
    module.write_text(CHANGING.format("retries=2, jitter=False, backoff=0.01"))
    with Cluster.local(module, nodes=1, workers=1, journal="fsync") as cluster, cluster.client() as client:

        def attempts(log: Path) -> int:
            with pytest.raises(ConnectionError, match="on purpose"):
                client.submit("changing_tasks.fail", str(log)).result(DEADLINE_S)
            return begun(log)

        assert attempts(tmp_path / "1") == 3
        for options, count in (("", 1), ("retries=1, jitter=False, backoff=0.01", 2)):
            module.write_text(CHANGING.format(options))
            cluster.nodes[0].kill()
            cluster.nodes[0].restart()
            cluster.wait_ready()
            assert attempts(tmp_path / f"then{count}") == count
