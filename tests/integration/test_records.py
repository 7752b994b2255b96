"""Tasks that are asked for by id, by a process that did not submit them, with real nodes."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from integration.conftest import DEADLINE_S, wait_until
from paceline import Cluster, NamedTask
from paceline.errors import ConfigError, ResultExpired, ResultUnknown, TaskCancelled, TaskLost


def test_a_future_is_made_again_in_another_process(one_node: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with one_node.client() as client:
        future = client.submit("sample_tasks.wait_for", str(gate))
        future.accepted(DEADLINE_S)
        code = (
            "import sys; from paceline import Client\n"
            "with Client(sys.argv[1]) as client:\n"
            "    future = client.task(sys.argv[2])\n"
            "    print(future.done(), future.name, flush=True)\n"
            "    print(type(future.result(30)).__name__, future.done())\n"
        )
        command = [sys.executable, "-c", code, one_node.addresses[0], future.task_id.hex()]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
            assert other.stdout is not None
            assert other.stdout.readline() == "False sample_tasks.wait_for\n"
            gate.touch()
            assert other.stdout.read() == "int True\n"
        assert isinstance(future.result(DEADLINE_S), int)


def test_it_is_asked_by_bytes_digits_or_uuid_and_as_often_as_one_likes(one_node: Cluster) -> None:
    with one_node.client() as owner, one_node.client() as client:
        delayed = owner.submit(NamedTask("sample_tasks.square", delay=0.3), 7)
        delayed.accepted(DEADLINE_S)
        ids = (delayed.task_id, delayed.task_id.hex(), uuid.UUID(bytes=delayed.task_id))
        futures = [client.task(each) for each in ids]
        assert [future.done() for future in futures] == [False] * 3
        assert [future.result(DEADLINE_S) for future in futures] == [49] * 3
        assert delayed.result(DEADLINE_S) == 49
        assert futures[0].exception(0) is None


def test_in_the_client_that_submitted_it_both_futures_end(one_node: Cluster) -> None:
    with one_node.client() as client:
        future = client.submit(NamedTask("sample_tasks.square", delay=0.2), 5)
        again = client.task(future.task_id)
        assert (again.result(DEADLINE_S), future.result(DEADLINE_S)) == (25, 25)
        assert next(client.as_completed([again], DEADLINE_S)) is again


def test_an_id_that_nobody_submitted_is_a_named_error_and_what_is_no_id_another(one_node: Cluster) -> None:
    with one_node.client() as client:
        future = client.task("0f" * 16)
        assert future.done()
        with pytest.raises(ResultUnknown, match="knows no task of this id"):
            future.result(0)
        with pytest.raises(ValueError, match="is no id of a task"):
            client.task("0f")
        with pytest.raises(TypeError, match="no task"):
            client.task(7)  # type: ignore[arg-type]


def test_it_is_awaited_and_who_stops_awaiting_it_cancels_nothing(one_node: Cluster) -> None:
    async def read(task_id: bytes) -> int:
        with one_node.client() as client:
            future = client.task(task_id)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(future, 0.05)
            result: int = await client.task(task_id)
            return result

    with one_node.client() as owner:
        delayed = owner.submit(NamedTask("sample_tasks.square", delay=0.5), 3)
        delayed.accepted(DEADLINE_S)
        assert asyncio.run(read(delayed.task_id)) == 9
        assert delayed.result(DEADLINE_S) == 9


def test_it_can_be_cancelled_by_who_asks_for_that(one_node: Cluster) -> None:
    with one_node.client() as owner, one_node.client() as client:
        delayed = owner.submit(NamedTask("sample_tasks.square", delay=60), 3)
        delayed.accepted(DEADLINE_S)
        future = client.task(delayed.task_id)
        assert future.cancel(DEADLINE_S)
        with pytest.raises(TaskCancelled):
            future.result(DEADLINE_S)
        with pytest.raises(TaskCancelled):
            delayed.result(DEADLINE_S)


def test_it_is_waited_for_across_the_death_of_the_leader(three_nodes: Cluster) -> None:
    with three_nodes.client() as owner, three_nodes.client() as client:
        delayed = owner.submit(NamedTask("sample_tasks.square", delay=2), 4)
        delayed.accepted(DEADLINE_S)
        future = client.task(delayed.task_id)
        assert not future.done()
        three_nodes.leader.kill()
        assert future.result(DEADLINE_S) == 16
        assert delayed.result(DEADLINE_S) == 16


def kept(name: str, ttl: float | timedelta, **options: Any) -> NamedTask:
    return NamedTask(f"sample_tasks.{name}", result_ttl=ttl, **options)


def test_a_result_is_kept_for_its_time_though_its_owner_has_it(one_node: Cluster) -> None:
    with one_node.client() as owner:
        future = owner.submit(kept("square", timedelta(hours=1)), 6)
        passing = owner.submit("sample_tasks.square", 7)
        assert (future.result(DEADLINE_S), passing.result(DEADLINE_S)) == (36, 49)
        assert owner.task(future.task_id).result(DEADLINE_S) == 36
    with one_node.client() as client:
        for _ in range(2):
            assert client.task(future.task_id).result(DEADLINE_S) == 36
        wait_until(
            lambda: isinstance(client.task(passing.task_id).exception(DEADLINE_S), ResultUnknown),
            "without a result_ttl its owner has it alone",
        )


def test_when_its_time_is_over_it_has_expired_and_is_not_unknown(one_node: Cluster) -> None:
    with one_node.client() as owner, one_node.client() as client:
        future = owner.submit(kept("fail", 0.3), "builtin")
        assert isinstance(future.exception(DEADLINE_S), ValueError)
        wait_until(
            lambda: isinstance(client.task(future.task_id).exception(DEADLINE_S), ResultExpired), "its time is over"
        )
        with pytest.raises(ResultExpired, match="result_ttl"):
            client.task(future.task_id).result(DEADLINE_S)


def test_a_result_outlives_the_leader_that_recorded_it(three_nodes: Cluster) -> None:
    with three_nodes.client() as owner:
        future = owner.submit(kept("square", 600), 8)
        assert future.result(DEADLINE_S) == 64
        three_nodes.leader.kill()
        assert owner.task(future.task_id).result(DEADLINE_S) == 64


@pytest.mark.parametrize(
    ("ttl", "said"),
    [
        (-1, "from 0 seconds"),
        (0, "kept for no time"),
        (timedelta(0), "kept for no time"),
        (math.nan, "from 0 seconds"),
        (math.inf, "from 0 seconds"),
        (timedelta(days=367), "366 days at most"),
        (datetime(2026, 12, 1), "seconds or a timedelta, or None"),
        ("1h", "seconds or a timedelta, or None"),
        (True, "seconds or a timedelta, or None"),
    ],
)
def test_a_time_that_can_not_be_is_refused_where_it_is_written(ttl: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as refused:
        kept("square", ttl)
    assert str(refused.value).startswith("result_ttl ")


def test_what_is_not_in_the_log_can_not_be_kept() -> None:
    with pytest.raises(ConfigError, match="leave result_ttl out"):
        kept("square", 60, durability="none")


def test_a_record_says_how_when_and_where_a_task_ended_and_what_it_had_failed_with(
    one_node: Cluster, tmp_path: Path
) -> None:
    flaky = kept("fail_until", 600, retries=3, backoff=0, jitter=False, priority=7)
    with one_node.client() as client:
        before = datetime.now(UTC)
        task_id = client.submit(flaky, str(tmp_path / "log"), 2).task_id
        assert client.task(task_id).result(DEADLINE_S) == 2
        record = client.record(task_id.hex())
        node_id = client.status()["leader_id"]
    assert (record.task_id, record.state, record.has_ended) == (task_id, "succeeded", True)
    assert (record.name, record.priority, record.node) == ("sample_tasks.fail_until", 7, node_id)
    assert (record.attempt, record.failed_attempts, record.lost_attempts) == (2, 1, 0)
    assert [(attempt, why) for attempt, _, why in record.failures] == [(1, "ConnectionError: attempt 1 of 2")]
    accepted, started, ended = record.accepted_at, record.started_at, record.ended_at
    assert accepted is not None
    assert started is not None
    assert ended is not None
    second = timedelta(milliseconds=1)  # moments are whole ones
    assert before - second <= accepted <= started <= ended <= datetime.now(UTC) + second
    assert record.kept_until == ended + timedelta(seconds=600)


def test_a_record_of_what_runs_says_where_it_is(one_node: Cluster, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with one_node.client() as client:
        future = client.submit(kept("wait_for", 600), str(gate))
        wait_until(lambda: client.record(future).state == "dispatched", "it is given to its node")
        record = client.record(future)
        assert (record.has_ended, record.name, record.ended_at) == (False, "sample_tasks.wait_for", None)
        assert record.accepted_at is not None
        gate.touch()
        future.result(DEADLINE_S)


def test_of_a_lost_task_the_record_counts_its_attempts(one_node: Cluster) -> None:
    with one_node.client() as client:
        future = client.submit(kept("crash", 600, max_attempts=2), 3)
        assert isinstance(future.exception(DEADLINE_S), TaskLost)
        record = client.record(future)
    assert (record.state, record.attempt, record.lost_attempts, record.failed_attempts) == ("lost", 2, 2, 0)
    assert record.started_at is None


def test_an_id_without_a_record_is_a_named_error(one_node: Cluster) -> None:
    with one_node.client() as client:
        with pytest.raises(ResultUnknown, match="no task of this id"):
            client.record("0f" * 16)
        future = client.submit(kept("square", 0.2), 5)
        future.result(DEADLINE_S)
        wait_until(lambda: client.where_is(future)["result_expired"], "its time is over")
        with pytest.raises(ResultExpired):
            client.record(future)
