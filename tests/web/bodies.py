"""What a node would tell its web process."""

from __future__ import annotations

from typing import Any

from core.cluster_stories import node
from core.node_scenarios import NodeScenario
from paceline.core.measures.histogram import LATENCY_BOUNDS_US, Histogram
from paceline.core.reports.metrics import metrics
from paceline.runtime.counters import Counters

STORY = """start abc expect=3
until a leads
advance 1
worker a w ready add
worker b v ready add
client c hello a
client c submit 1 2 3
advance 0.1
worker a w done 1
worker b v done 2=failed
advance 0.1
"""


def of_a_cluster(node_id: str = "a") -> dict[str, Any]:
    """One of three nodes; a leads."""
    story = NodeScenario()
    story.run(STORY)
    write_time = Histogram(LATENCY_BOUNDS_US)
    write_time.observe(1_500)
    body = metrics(node(story, node_id), story._now)
    if body["leading"]:
        body["leading"]["unserved"] = {"old": 20}
        body["leading"]["dead"] = {"old": 2}
    return (
        body
        | Counters(frames_received=7).as_dict()
        | {
            "turn_time": write_time.as_dict(),
            "journal_write": write_time.as_dict(),
            "workers": 2,
            "web_exits": 0,
            "build": ["0.1.0", "1", "3.11.7", "false"],
        }
    )
