"""Schedules fire on real nodes, whoever leads, and each moment once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from integration.conftest import DEADLINE_S, wait_until
from integration.test_keys import issue, secure_node
from paceline import Client, Cluster, NamedTask, cron, every
from paceline.errors import NotAllowed, RequestRefused, UnknownSchedule
from paceline.security import KeyRole

__all__ = ["secure_node"]  # a fixture of these tests, too


def runs(directory: Path) -> int:
    return len(list(directory.iterdir()))


def test_a_schedule_goes_on_after_the_death_of_its_leader_and_no_moment_is_left_out(
    three_nodes: Cluster, tmp_path: Path
) -> None:
    with three_nodes.client() as client:
        target = NamedTask("sample_tasks.record", delivery="at_most_once")
        client.add_schedule("often", every(seconds=1), target, args=[str(tmp_path), 7], misfire="all")
        wait_until(lambda: runs(tmp_path) >= 2, "it fires")
        three_nodes.leader.kill()
        before = runs(tmp_path)
        wait_until(lambda: runs(tmp_path) >= before + 3, "the next leader fires it")
        assert client.pause_schedule("often", DEADLINE_S)
        (often,) = client.schedules("often")
        (started,) = [each.when.wire.from_ms for each in client.schedules()]
        assert often.last is not None
        assert (often.last.timestamp() * 1_000 - started) / 1_000 == often.fired, "each second since it began"
        assert often.missed == 0
        wait_until(lambda: runs(tmp_path) == often.fired, "each has run once")
        client.remove_schedule("often")
        assert list(client.schedules()) == []


def test_a_backfill_goes_on_after_the_death_of_its_leader_and_makes_each_moment_once(
    three_nodes: Cluster, tmp_path: Path
) -> None:
    with three_nodes.client() as client:
        target = NamedTask("sample_tasks.record", delivery="at_most_once")
        begin = datetime(2026, 1, 1, tzinfo=UTC)
        client.add_schedule("hourly", cron("0 * * * *"), target, args=[str(tmp_path), 7], overlap="skip")
        asked = client.backfill_schedule("hourly", begin, begin + timedelta(hours=99), DEADLINE_S)
        assert (asked.waiting, asked.made) == (100, 0)
        wait_until(lambda: runs(tmp_path) >= 5, "it begins")
        three_nodes.leader.kill()
        wait_until(lambda: next(client.schedules("hourly")).backfill == 0, "the next leader makes the rest")
        wait_until(lambda: runs(tmp_path) >= 99, "each runs, but for one whose attempt was lost with its node")
        assert client.backfill_schedule("hourly", begin, begin + timedelta(hours=99), DEADLINE_S).made == 100
        assert next(client.schedules("hourly")).fired == 100
        client.remove_schedule("hourly")


def test_a_schedule_is_triggered_listed_and_refused_by_name(one_node: Cluster) -> None:
    with one_node.client() as client:
        assert client.add_schedule("nightly", cron("0 2 * * *", tz="Europe/Berlin"), "sample_tasks.square", args=[7])
        assert not client.add_schedule(
            "nightly", cron("0 2 * * *", tz="Europe/Berlin"), "sample_tasks.square", args=[7]
        )
        future = client.trigger_schedule("nightly")
        assert future.result(DEADLINE_S) == 49
        (nightly,) = client.schedules("night*")
        assert (nightly.last_task_id, nightly.last_state, nightly.fired) == (future.task_id, "succeeded", 1)
        assert nightly.next == next(nightly.moments())
        with pytest.raises(UnknownSchedule, match="no schedule named 'daily'"):
            client.trigger_schedule("daily")
        with pytest.raises(RequestRefused, match="is in the log"):
            client.add_schedule("x", every(minutes=1), NamedTask("sample_tasks.square", durability="none"))
        client.add_schedule("nobody's", every(minutes=1), "sample_tasks.gone")
        with pytest.raises(RequestRefused, match="no node knows a task named"):
            client.trigger_schedule("nobody's")


def test_an_observer_may_list_schedules_and_change_none(secure_node: Cluster, tmp_path: Path) -> None:
    observer_file = issue(secure_node, KeyRole.OBSERVER, "grafana", tmp_path)
    client_file = issue(secure_node, KeyRole.CLIENT, "shop", tmp_path)
    with Client(*secure_node.addresses, cluster=client_file) as client:
        client.add_schedule("often", every(hours=1), "sample_tasks.square", args=[7])
        with Client(*secure_node.addresses, cluster=observer_file) as observer:
            assert [each.name for each in observer.schedules()] == ["often"]
            for ask in (observer.remove_schedule, observer.pause_schedule, observer.trigger_schedule):
                with pytest.raises(NotAllowed, match="an observer may only ask"):
                    ask("often")
            with pytest.raises(NotAllowed, match="an observer may only ask"):
                observer.add_schedule("mine", every(hours=1), "sample_tasks.square")
