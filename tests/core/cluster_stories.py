"""Clusters of cores that have grown up, for stories of how they change."""

from __future__ import annotations

from core.node_scenarios import NodeScenario
from paceline.core.node import NodeCore

QUICK = "voter_timeout_s=2 learner_stable_s=1 learner_timeout_s=2"


def formed(nodes: str, options: str = "") -> NodeScenario:
    """A cluster that has as many voters as it will have; the first node leads."""
    story = NodeScenario()
    story.run(f"start {nodes[0]} {QUICK} {options}\nuntil {nodes[0]} leads")
    if nodes[1:]:
        story.run(f"start {nodes[1:]} expect=0 {QUICK} {options}")
    story.run("advance 3")
    return story


def node(story: NodeScenario, node_id: str) -> NodeCore:
    return story._nodes[node_id]


def voters(story: NodeScenario, node_id: str = "a") -> str:
    return "".join(node(story, node_id).consensus.config.voters)
