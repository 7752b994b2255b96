"""What a bridge makes of the cluster's status, which any of its nodes may have given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from paceline.errors import ClientClosed
from paceline_bridge import watch
from paceline_bridge.config import BridgeConfig
from paceline_bridge.counters import BridgeCounters
from paceline_bridge.troubles import Bindings
from paceline_bridge.watch import Watch

CONFIG = BridgeConfig(urls=("amqp://h",), queues={"q": "tasks.add"})
OF_A_LEADER = {"queued": 7, "tasks": ["tasks.add"], "nodes": [{"slots": 4, "alive": True}]}
OF_A_FOLLOWER = {**OF_A_LEADER, "queued": None, "tasks": None}


class Played:
    """A client that is told these, and is closed then."""

    def __init__(self, *statuses: Mapping[str, Any]) -> None:
        self._statuses = list(statuses)

    def status(self, timeout_s: float, about: Mapping[str, str]) -> Mapping[str, Any]:
        if not self._statuses:
            raise ClientClosed
        return self._statuses.pop(0)


def watched(monkeypatch: pytest.MonkeyPatch, *statuses: Mapping[str, Any]) -> tuple[Mapping[str, Any], BridgeCounters]:
    monkeypatch.setattr(watch, "INTERVAL_S", 0.0)
    counters = BridgeCounters()
    watching = Watch(Played(*statuses), dict, Bindings(CONFIG), counters)  # type: ignore[arg-type]
    watching.start()
    watching._thread.join()
    return watching.status, counters


def test_a_leader_is_heard_and_its_status_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    status, counters = watched(monkeypatch, OF_A_LEADER)
    assert status == OF_A_LEADER
    assert counters.cluster_heard_at > 0


def test_a_node_that_does_not_lead_is_not_the_cluster_and_what_its_leader_said_last_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert watched(monkeypatch, OF_A_LEADER, OF_A_FOLLOWER)[0] == OF_A_LEADER
    status, counters = watched(monkeypatch, OF_A_FOLLOWER)
    assert (status, counters.cluster_heard_at) == ({}, 0)
