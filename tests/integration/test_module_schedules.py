"""Schedules that come with modules, on real nodes."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.conftest import log_with, wait_until
from integration.test_leadership_transfer import voters
from paceline import Client, Cluster, every
from paceline.client import ScheduledTask
from paceline.errors import ScheduleOwned

MODULE = """
from paceline import Schedule, every, task

@task(schedule=[every(seconds={seconds}), Schedule(every(hours=1), name="hourly", args=[7], overlap="skip")])
def tick(number: int = 3) -> int:
    return number
"""


def write(directory: Path, seconds: int) -> Path:
    """The module, as a node is to import it."""
    directory.mkdir(exist_ok=True)
    module = directory / "ticking.py"
    module.write_text(MODULE.format(seconds=seconds))
    return module


def known(client: Client) -> dict[str, ScheduledTask]:
    return {each.name: each for each in client.schedules()}


def test_a_schedule_of_a_module_changes_with_the_last_node_of_a_rolling_upgrade(tmp_path: Path) -> None:
    old, new = write(tmp_path / "old", 1), write(tmp_path / "new", 2)
    with Cluster.local(old, nodes=1, workers=1) as cluster:
        with cluster.client() as client:
            wait_until(lambda: len(known(client)) == 2, "what the module has is added")
            wait_until(lambda: known(client)["ticking.tick"].fired, "it fires")
            first, hourly = known(client)["ticking.tick"], known(client)["hourly"]
            assert (first.owner, first.when.wire.every_ms, first.task) == ("ticking", 1_000, "ticking.tick")
            assert (hourly.overlap, hourly.owner) == ("skip", "ticking")
            assert client.trigger_schedule("hourly").result() == 7
            client.pause_schedule("hourly")
        (before,) = cluster.nodes
        for _ in range(2):
            cluster.add_node(new, workers=1)
        with cluster.client() as client:
            log_with(before, "nodes have different versions of the schedule ticking.tick of the module ticking")
            assert known(client)["ticking.tick"].when.wire.every_ms == 1_000
            wait_until(lambda: len(voters(client)) == 3, "the new nodes vote, so that the old one may go")
            client.trigger_schedule("hourly")  # once the log has it, it has that they vote, and not on this node alone
            before.kill()
            wait_until(lambda: known(client)["ticking.tick"].when.wire.every_ms == 2_000, "the last old node is gone")
            assert known(client)["hourly"].paused


def test_by_hand_a_schedule_of_a_module_is_paused_and_nothing_else(tmp_path: Path) -> None:
    with Cluster.local(write(tmp_path / "module", 1), nodes=1, workers=1) as cluster, cluster.client() as client:
        wait_until(lambda: len(known(client)) == 2, "what the module has is added")
        with pytest.raises(ScheduleOwned, match="comes with the module ticking") as caught:
            client.remove_schedule("hourly")
        assert (caught.value.name, caught.value.owner) == ("hourly", "ticking")
        with pytest.raises(ScheduleOwned):
            client.add_schedule("hourly", every(minutes=1), "ticking.tick")
        assert client.pause_schedule("hourly")
        assert known(client)["hourly"].paused
