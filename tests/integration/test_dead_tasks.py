"""Tasks that fail for good are kept, looked at, requeued and discarded, with real nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from integration.conftest import DEADLINE_S, wait_until
from integration.test_keys import issue, secure_node
from paceline import Client, Cluster, Future, NamedTask
from paceline.client import DeadRecord
from paceline.errors import ConfigError, NotAllowed, ResultUnknown, TaskLost
from paceline.security import KeyRole
from paceline_protocol.errors import PayloadTooLarge

__all__ = ["secure_node"]  # a fixture of these tests, too


def dies(client: Client, *args: object, name: str = "sample_tasks.square") -> Future[object]:
    """A task that can't work with such an argument, and is dead."""
    future: Future[object] = client.submit(NamedTask(name, keep_dead=True), *args)
    future.exception(DEADLINE_S)
    wait_until(lambda: future.task_id in ids(client), "it is recorded")
    return future


def ids(client: Client) -> list[bytes]:
    return [record.task_id for record in client.dead_tasks()]


def test_a_dead_task_is_looked_at_by_another_client_and_run_once_more_with_other_arguments(one_node: Cluster) -> None:
    with one_node.client() as owner:
        task_id = dies(owner, "seven").task_id
    with one_node.client() as client:
        (record,) = client.dead_tasks(name="sample_tasks.square")
        assert isinstance(record, DeadRecord)
        assert (record.task_id, record.end, record.error_type) == (task_id, "failed", "TypeError")
        details = client.dead_task(task_id.hex())
        assert (details.args, details.kwargs) == (("seven",), {})
        assert isinstance(details.exception, TypeError)
        assert "sample_tasks.py" in str(details.exception.__cause__)
        assert client.record(task_id).name == "sample_tasks.square"
        requeued = client.requeue(record, args=[7])[task_id.hex()]
        assert requeued.state == "requeued"
        assert requeued.new_id is not None
        assert client.task(requeued.new_id).result(DEADLINE_S) == 49
        assert client.requeue([task_id, record])[task_id.hex()].new_id == requeued.new_id
        assert client.requeue(task_id)[task_id.hex()].state == "requeued_before"
        with pytest.raises(ResultUnknown, match=f"it was requeued, as {requeued.new_id.hex()}"):
            client.dead_task(task_id)


def test_all_of_a_name_are_requeued_and_what_dies_again_is_not_requeued_for_ever(one_node: Cluster) -> None:
    with one_node.client() as client:
        first = [dies(client, "x").task_id for _ in range(3)]
        kept = dies(client, name="sample_tasks.record").task_id
        assert {group.name: group.count for group in client.dead_groups()} == {
            "sample_tasks.square": 3,
            "sample_tasks.record": 1,
        }
        assert client.requeue_all(name="sample_tasks.square", error="TypeError") == {"requeued": 3}
        wait_until(lambda: len(ids(client)) == 4, "they have died again")
        again = list(client.dead_tasks(name="sample_tasks.square"))
        assert sorted(record.requeued_from or b"" for record in again) == sorted(first)
        assert client.discard([*again, kept, b"0" * 16]) == {
            **{record.task_id.hex(): "discarded" for record in again},
            kept.hex(): "discarded",
            (b"0" * 16).hex(): "unknown",
        }
        assert ids(client) == []
        assert client.requeue_all(all_names=True) == {}


def test_what_can_not_be_asked_for_is_refused_by_name(one_node: Cluster) -> None:
    with one_node.client() as client:
        future = dies(client, "x")
        with pytest.raises(ConfigError, match="2 tasks can't be requeued with the same arguments"):
            client.requeue([future, b"0" * 16], args=[1])
        with pytest.raises(PayloadTooLarge):
            client.requeue(future, args=[bytes(17 << 20)])
        wrong_arguments: tuple[dict[str, Any], ...] = (
            {"args": "7"},
            {"args": b"7"},
            {"args": {"x": 7}},
            {"args": 7},
            {"kwargs": ["x"]},
        )
        for given in wrong_arguments:
            with pytest.raises(ConfigError, match=r"args is a list of arguments, as \['order-7'\], and kwargs a dict"):
                client.requeue(future, **given)
        assert ids(client) == [future.task_id], "none was requeued"
        (gone,) = client.requeue(b"0" * 16).values()
        assert (gone.state, gone.new_id) == ("unknown", None)
        assert f"{(b'0' * 16).hex()}: no dead task of this id is kept" in gone.detail
        with pytest.raises(ValueError, match="no id of a task"):
            client.discard("0f")
        with pytest.raises(ConfigError, match="name is a string"):
            list(client.dead_tasks(name="x" * 300))
        for change in (client.requeue_all, client.discard_all):
            for wrong in ({}, {"all_names": True, "name": "x"}, {"all_names": True, "error": "x"}):
                with pytest.raises(ConfigError, match="which dead tasks to"):
                    change(**wrong)
            for empty in ({"name": ""}, {"error": ""}, {"name": "sample_tasks.square", "error": ""}):
                with pytest.raises(ConfigError, match="is a string of 1 to"):
                    change(**empty)
        with pytest.raises(ConfigError, match="has 1 to"):
            client.waiting("")
        with pytest.raises(ResultUnknown, match="no dead task of this id is kept"):
            client.dead_task(b"0" * 16)
        assert client.discard(future) == {future.task_id.hex(): "discarded"}


def test_dead_tasks_outlive_the_leader_and_one_makes_one_new_task_across_its_death(three_nodes: Cluster) -> None:
    with three_nodes.client() as client:
        future = dies(client, "x")
        lost = client.submit(NamedTask("sample_tasks.crash", keep_dead=600, max_attempts=1), 7)
        assert isinstance(lost.exception(DEADLINE_S), TaskLost)
        three_nodes.leader.kill()
        wait_until(lambda: set(ids(client)) == {future.task_id, lost.task_id}, "the next leader has both")
        requeued = client.requeue(future, args=[5], timeout=DEADLINE_S)[future.task_id.hex()]
        assert requeued.new_id is not None
        assert client.task(requeued.new_id).result(DEADLINE_S) == 25


def test_an_observer_may_list_dead_tasks_and_nothing_else(secure_node: Cluster, tmp_path: Path) -> None:
    observer_file = issue(secure_node, KeyRole.OBSERVER, "grafana", tmp_path)
    client_file = issue(secure_node, KeyRole.CLIENT, "shop", tmp_path)
    with Client(*secure_node.addresses, cluster=client_file) as client:
        future = dies(client, "x")
        with Client(*secure_node.addresses, cluster=observer_file) as observer:
            (record,) = observer.dead_tasks()
            assert record.error.startswith("TypeError: ")
            for ask in (observer.dead_task, observer.requeue, observer.discard):
                with pytest.raises(NotAllowed, match="an observer may only ask"):
                    ask(future.task_id)  # type: ignore[operator]
            assert observer.status()["dead_tasks"] == 1
        assert client.discard(future) == {future.task_id.hex(): "discarded"}
