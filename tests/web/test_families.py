"""The metrics: their names, their labels, and that the documentation lists what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from paceline.core.measures.tally import NAMES_LIMIT
from paceline.web.families import MetricsSnapshot, buckets, families
from paceline.web.table import METRICS
from web.bodies import of_a_cluster

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
LEADERS_ALONE = {
    "paceline_tasks",
    "paceline_queue_tasks",
    "paceline_queue_oldest_task_age_seconds",
    "paceline_slots_wanted",
    "paceline_tasks_unserved",
    "paceline_tasks_unplaced",
    "paceline_dead_tasks",
    "paceline_dead_task_bytes",
    "paceline_schedules",
    "paceline_schedules_held",
    "paceline_queue_bytes",
    "paceline_unlogged_bytes",
    "paceline_queue_limit_tasks",
    "paceline_queue_limit_bytes",
    "paceline_peer_replication_lag_entries",
    "paceline_peer_heartbeat_age_seconds",
    "paceline_nodes",
    "paceline_fault_tolerance_nodes",
    "paceline_forgotten_replicas",
    "paceline_sessions",
}


class NoProcess:
    def collect(self) -> list[Any]:
        return []


def names(body: dict[str, Any]) -> set[str]:
    """Of counters with their _total, as in the table."""
    return {family.name + ("_total" if family.type == "counter" else "") for family in families(body)}


def test_a_leader_has_every_metric_and_another_node_all_but_those_of_the_cluster() -> None:
    every = {spec.name for spec in METRICS}
    assert names(of_a_cluster("a")) == every
    assert every - names(of_a_cluster("b")) == LEADERS_ALONE - (names(of_a_cluster("c")) & LEADERS_ALONE)


def test_counters_end_in_total_and_nothing_else_does() -> None:
    for spec in METRICS:
        assert spec.name.endswith("_total") == (spec.kind == "counter"), spec.name


def test_units_are_base_units_and_stand_last() -> None:
    for spec in METRICS:
        assert not re.search(r"_(ms|us|milliseconds|microseconds|kib|mib|megabytes|percent)(_|$)", spec.name), spec.name
        if spec.kind == "histogram":
            assert spec.name.endswith("_seconds"), spec.name


def test_what_is_written_out_can_be_read_back() -> None:
    text = generate_latest(MetricsSnapshot(of_a_cluster(), NoProcess())).decode()  # type: ignore[arg-type]
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["paceline_tasks_executed_total", (("outcome", "succeeded"), ("task", "add"))] == 1
    assert samples["paceline_tasks_finished_total", (("outcome", "failed"),)] == 1
    assert samples["paceline_is_leader", ()] == 1
    assert samples["paceline_journal_write_seconds_bucket", (("le", "0.002"),)] == 1
    assert samples["paceline_journal_write_seconds_bucket", (("le", "0.001"),)] == 0
    assert samples["paceline_nodes", (("role", "voter"), ("state", "alive"))] == 2


def test_buckets_are_cumulative_and_end_in_infinity() -> None:
    assert buckets({"bounds_us": [50, 1_000_000], "counts": [1, 2, 4]}) == [("0.00005", 1), ("1", 3), ("+Inf", 7)]


def test_the_number_of_series_is_bounded_whatever_names_tasks_have() -> None:
    body = of_a_cluster()
    body["by_name"] = {
        f"task{number}": {"run_us": 9, "ended": dict.fromkeys(("succeeded", "failed", "lost"), 1)}
        for number in range(NAMES_LIMIT + 1)
    }
    assert sum(len(family.samples) for family in families(body)) < 1_200


def test_no_label_can_hold_a_task_id_or_the_text_of_an_error() -> None:
    labels = {label for spec in METRICS for label in spec.labels}
    assert labels == {
        *("reason", "outcome", "state", "priority", "task", "peer", "role", "became", "cause"),
        *("version", "protocol", "python", "compiled", "journal", "node", "cluster", "cluster_id"),
    }


def test_the_documentation_lists_every_metric_as_the_code_has_it() -> None:
    listed = DOCS.read_text().partition("<!-- metrics: begin -->")[2].partition("<!-- metrics: end -->")[0]
    rows = [
        f"| `{spec.name}` | {spec.kind} | {', '.join(f'`{label}`' for label in spec.labels)} | {spec.help} |"
        for spec in METRICS
    ]
    assert listed.strip().splitlines()[2:] == rows
