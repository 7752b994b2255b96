"""What a node says of its cluster."""

from __future__ import annotations

from core.node_scenarios import NodeScenario
from paceline.core.status import status


def test_the_machines_that_may_fail_are_counted_among_those_that_are_alive() -> None:
    story = NodeScenario()
    story.run("start abc expect=3\nadvance 3")
    assert [status(node, 3.0)["fault_tolerance"] for node in story._nodes.values()] == [1, 1, 1]
    story.run("stop c\nadvance 10")
    assert status(story._nodes["a"], 13.0)["fault_tolerance"] == 0
