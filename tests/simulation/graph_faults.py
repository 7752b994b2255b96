"""Ways to count graphs wrongly; as those of ``peer_faults.py``."""

from __future__ import annotations

from typing import Any

from paceline.core.scheduling.leader import Leader
from paceline.core.state.graphs import Counts, GraphSection
from paceline_protocol.messages.records import TaskEnd
from simulation.peer_faults import Method


def tell_what_the_log_does_not_have(true: Method) -> Method:
    def row(leader: Leader, name: str, counts: Counts | None) -> dict[str, Any]:
        told: dict[str, Any] = true(leader, name, counts)
        told["ends"] = {**told["ends"], "succeeded": told["ends"].get("succeeded", 0) + told["running"]}
        return {**told, "running": 0}

    return row


def take_each_end_for_success(true: Method) -> Method:
    def has_ended(self: GraphSection, name: str, end: int) -> None:
        true(self, name, int(TaskEnd.SUCCEEDED))

    return has_ended


def forget_what_is_over(_true: Method) -> Method:
    def counts_of(self: GraphSection, name: str) -> Counts | None:
        return self.live.get(name)

    return counts_of
