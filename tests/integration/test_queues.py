"""Queues on real nodes: paused, weighed and purged, from Python and from the command line, whoever leads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.test_real_nodes import paceline, running_node
from integration.conftest import wait_until
from paceline import Client, Cluster, NamedTask
from paceline.errors import ConfigError

MODULE = """
from paceline import task

@task(queue="video")
def encode(film: int) -> int:
    return film

@task
def send(letter: int) -> int:
    return letter
"""


@pytest.fixture
def module(tmp_path: Path) -> str:
    path = tmp_path / "queued_tasks.py"
    path.write_text(MODULE)
    return str(path)


def test_a_pause_holds_under_every_leader_and_what_is_resumed_goes_on(module: str) -> None:
    with Cluster.local(module, nodes=3, workers=1) as cluster, cluster.client() as client:
        client.pause_queue("video")
        films = [client.submit("queued_tasks.encode", film) for film in range(20)]
        assert [client.submit("queued_tasks.send", letter).result(30) for letter in range(5)] == [0, 1, 2, 3, 4]
        leader = cluster.leader
        assert leader is not None
        leader.kill()
        assert [client.submit("queued_tasks.send", letter).result(30) for letter in range(5)] == [0, 1, 2, 3, 4]
        (video,) = [each for each in client.queues() if each.name == "video"]
        assert (video.paused, video.waiting, video.running, video.nodes) == (True, 20, 0, 2)
        assert not any(film.done() for film in films)
        wait_until(
            lambda: "its queue is paused" in client.where_is(films[0])["why"], "the new leader knows who has what"
        )
        client.resume_queue("video")
        assert [film.result(30) for film in films] == list(range(20))


def test_a_node_takes_tasks_of_its_queues_alone(module: str) -> None:
    with running_node(module, "--workers", "1", "--no-discovery", "--queues", "video,other") as (_, announced):
        address = next(announced)["address"]
        assert next(announced) == {"ready": True}
        with Client(address) as client:
            assert client.submit("queued_tasks.encode", 7).result(30) == 7
            waiting = client.submit("queued_tasks.send", 7)
            waiting.accepted(30)
            assert client.where_is(waiting.task_id)["why"] == (
                "no node that runs queued_tasks.send takes tasks of the queue default; start one with --queues "
                "default, or without --queues"
            )
            assert {each.name: each.nodes for each in client.queues()} == {"default": 0}
            assert waiting.cancel(30)


def test_the_command_line_lists_pauses_weighs_and_purges(module: str) -> None:
    with Cluster.local(module, nodes=1, workers=1) as cluster, cluster.client() as client:
        where = ("--connect", cluster.nodes[0].address)
        assert paceline("queues", "pause", "video", "mail", *where).stdout == "paused: video, mail\n"
        assert json.loads(paceline("queues", "weigh", "video", "3", "--json", *where).stdout) == {"weighed": ["video"]}
        films = [client.submit("queued_tasks.encode", film) for film in range(3)]
        for film in films:
            film.accepted(30)
        rows = {row["name"]: row for row in json.loads(paceline("queues", "ls", "--json", *where).stdout)["queues"]}
        assert set(rows) == {"video", "mail", "default"}
        assert (rows["video"]["waiting"], rows["video"]["weight"], rows["video"]["paused"]) == (3, 3, True)
        assert "video  (paused; the oldest waits for " in paceline("queues", "ls", *where).stdout
        unasked = paceline("queues", "purge", "video", *where)
        assert unasked.returncode == 2
        assert "--yes" in unasked.stderr
        assert paceline("queues", "purge", "video", "--yes", *where).stdout == "cancelled 3 tasks of video\n"
        assert paceline("queues", "purge", "video", *where).stdout == "no task of video waits\n"
        assert paceline("queues", "resume", "mail", *where).stdout == "resumed: mail\n"
        wrong = paceline("queues", "pause", "a/b", *where)
        assert (wrong.returncode, "its name has 1 to 64 letters" in wrong.stderr) == (2, True)


def test_what_can_not_be_is_refused_by_name(module: str) -> None:
    with Cluster.local(module, nodes=1, workers=1) as cluster, cluster.client() as client:
        for wrong in ("", "a b", "q" * 65, None, 7):
            with pytest.raises(ConfigError, match="can't be used: its name has 1 to 64 letters"):
                client.pause_queue(wrong)  # type: ignore[arg-type]
        for weight in (0, -1, 1.5, True, 10**7):
            with pytest.raises(ConfigError, match="it is a whole number from 1 to 1000000"):
                client.weigh_queue("video", weight)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="it is the name of a queue"):
            NamedTask("queued_tasks.send", queue="a b")
