"""Stages of a round trip: in order, and adding up to what the caller measured."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from paceline.local import Cluster
from paceline_bench.harness.placement import placements
from paceline_bench.verbs import stages
from paceline_bench.verbs.stages import CALLER, EVERY, Round, report, stages_of
from paceline_protocol.messages.trace import Stage

HERE = {stage: 100 * stage for stage in Stage if stage is not Stage.NODE_IN}
"""The stamps of a task that the leader's own worker ran."""


def test_every_fourth_task_has_its_stages_and_they_add_up() -> None:
    result = stages.run(samples=40)
    assert result.ok, result.checks
    for place in placements():
        shown = result.details[place.name]
        assert shown["whole"]["count"] == 40 // EVERY
        assert "leader to node" not in shown["stages"]
        assert sum(stage["share"] for stage in shown["stages"].values()) == pytest.approx(1)


def test_a_task_that_another_node_runs_has_every_stage_in_order(tmp_path: Path) -> None:
    module = tmp_path / "elsewhere_tasks.py"
    module.write_text("import paceline\n\n@paceline.task\ndef echo(value):\n    return value\n")
    with Cluster.local("paceline_bench.bodies.tasks", nodes=1, workers=1) as cluster:
        cluster.add_node(module, workers=1)
        with cluster.client(trace_every=3) as client:
            measured = {}
            for number in range(9):
                started_ns = time.monotonic_ns()
                future = client.submit("elsewhere_tasks.echo", number)
                assert future.result(timeout=30) == number
                measured[future.task_id] = started_ns, time.monotonic_ns()
            client.status()
            traces = client.take_traces()
        assert len(traces) == 3
        for task_id, stamps in traces.items():
            assert list(stamps) == list(Stage)
            spans = stages_of(stamps, *measured[task_id])
            assert min(spans.values()) >= 0
            assert sum(spans.values()) == measured[task_id][1] - measured[task_id][0]


def test_a_client_that_does_not_sample_gets_no_traces() -> None:
    with Cluster.local("paceline_bench.bodies.tasks", nodes=1, workers=1) as cluster, cluster.client() as client:
        assert list(client.map("paceline_bench.bodies.tasks.noop", range(50))) == list(range(50))
        client.status()
        assert client.take_traces() == {}


# --- the arithmetic ---------------------------------------------------------------------------------------------


def test_stages_lie_between_stamps_and_what_is_outside_is_the_caller() -> None:
    spans = stages_of(HERE, 90, 815)
    assert spans["client to leader"] == 100
    assert spans["node to worker"] == 200
    assert spans[CALLER] == 25
    assert sum(spans.values()) == 815 - 90


def test_a_report_fails_if_stamps_are_missing_or_out_of_order_or_a_result_is_wrong() -> None:
    good = Round({b"a": (90, 815)}, [1e-6], {b"a": HERE})
    assert report({"anywhere": good}).ok
    assert not report({"anywhere": Round({b"a": (90, 815)}, [], {})}).ok
    swapped = {**HERE, Stage.WORKER_START: HERE[Stage.WORKER_END], Stage.WORKER_END: HERE[Stage.WORKER_START]}
    assert not report({"anywhere": Round({b"a": (90, 815)}, [], {b"a": swapped})}).ok
    assert not report({"anywhere": Round({b"a": (90, 815)}, [], {b"a": HERE}, wrong=1)}).ok


def test_shares_are_of_the_sum_of_all_round_trips() -> None:
    result = report({"anywhere": Round({b"a": (100, 800), b"b": (100, 1500)}, [], {b"a": HERE, b"b": HERE})})
    shown = result.details["anywhere"]["stages"]
    assert shown["client to leader"]["share"] == pytest.approx(200 / 2100)
    assert shown[CALLER]["share"] == pytest.approx(700 / 2100)
