"""Every verb once against real nodes, with as little work as shows that it measures what it says."""

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from paceline.local import Cluster
from paceline_bench.harness.elsewhere import tasks_elsewhere
from paceline_bench.harness.placement import placements
from paceline_bench.verbs import (
    bridge,
    delayed,
    durability,
    failover,
    floods,
    idle,
    latency,
    limits,
    memory,
    metrics,
    open_loop,
    options,
    restart,
    retries,
    scaling,
    stages,
    throughput,
)
from paceline_bench.verbs.open_loop import BODIES, Body, LoopSetup


@pytest.fixture
def encrypted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For a verb that is told to encrypt: every cluster that it measures has to be."""
    asked: list[bool] = []

    def local(*modules: str, **options: Any) -> Cluster:
        asked.append(options["secure"])
        return plain_local(*modules, **options)

    plain_local = Cluster.local
    monkeypatch.setattr(Cluster, "local", local)
    yield
    assert asked
    assert all(asked)


def test_latency_measures_both_in_every_round_and_checks_results(encrypted: None) -> None:
    report = latency.run(samples=30, rounds=3, secure=True)
    assert report.ok
    assert report.title == "latency, encrypted"
    assert set(report.details) == {place.name for place in placements()}
    for placed in report.details.values():
        assert len(placed["ratio_per_round"]) == 3
        assert placed["samples"] == 30


def test_stages_are_measured_encrypted_too(encrypted: None) -> None:
    report = stages.run(samples=8, secure=True)
    assert report.title == "latency --stages, encrypted"
    assert [check.ok for check in report.checks if "result" in check.what] == [True]


def short(body: Body) -> LoopSetup:
    return LoopSetup(replace(body, capacity_tasks=100), seconds=0.3, seed=4, workers=2)


def test_an_open_loop_offers_what_was_asked_for_and_every_task_is_done() -> None:
    report = open_loop.run([100.0, 50.0], short(BODIES["bimodal"]))
    assert report.ok, report.checks
    slow, fast = report.details["trials"]
    assert (slow["rate_per_s"], fast["rate_per_s"]) == (50.0, 100.0)
    assert sum(latency.samples for latency in report.latencies) == slow["tasks"] + fast["tasks"] > 10
    assert slow["p50_s"] >= 0.001  # the body is part of it


def test_an_open_loop_without_rates_takes_shares_of_the_throughput_that_it_measured(
    encrypted: None,
) -> None:
    report = open_loop.run([], replace(short(BODIES["noop"]), secure=True))
    assert report.ok, report.checks
    assert report.title == "open-loop, encrypted"
    throughput_per_s = report.details["throughput_per_s"]
    rates = [trial["rate_per_s"] / throughput_per_s for trial in report.details["trials"]]
    assert rates == pytest.approx([0.5, 0.8, 0.95])


@pytest.mark.timeout(600)  # two servers are started, and each world by itself
def test_the_bridge_and_the_workers_beside_it_run_every_message() -> None:
    report = bridge.run(rounds=1, tasks=200, samples=3)
    assert len(report.details) == 4
    assert {latency.samples for latency in report.latencies} == {3}
    assert all(each["tasks_per_s"][0] > 0 for each in report.details.values())


def test_scaling_measures_each_number_of_workers_and_none_is_better_than_ideal(encrypted: None) -> None:
    report = scaling.run(most=2, repeats=1, secure=True)
    assert report.ok, report.checks
    assert report.title == "scaling, encrypted"
    assert [scale["workers"] for scale in report.details["scales"]] == [1, 2]
    assert all(0 < scale["efficiency"] <= 1 for scale in report.details["scales"])


def test_processes_are_where_they_were_placed_and_everywhere_again_afterwards() -> None:
    free = os.sched_getaffinity(0)
    *placed, anywhere = placements()
    for place in [*placed, anywhere]:
        place.apply([])
        assert os.sched_getaffinity(0) == place.client
    assert os.sched_getaffinity(0) == free


def test_throughput_by_map_and_by_submit_gives_every_result(encrypted: None) -> None:
    report = throughput.run(tasks=1_000, repeats=1, workers=1, secure=True)
    assert report.ok, report.checks
    assert report.title == "throughput, encrypted"
    assert {len(rates) for rates in report.details["tasks_per_s"].values()} == {1}


def test_a_failover_loses_nothing_and_records_nothing_twice(encrypted: None) -> None:
    report = failover.run(kills=1, rate_per_s=100.0, seed=7, secure=True)
    assert report.ok, report
    assert report.title == "failover, encrypted"
    (kill,) = report.details["kills"]
    assert kill["resumed_s"] > 0
    assert kill["tasks"] >= 400


def test_idle_tells_the_leader_from_the_followers() -> None:
    roles = sorted(node.role for node in idle.of_cluster(3, seconds=0.2))
    assert roles == ["follower of three", "follower of three", "leader of three"]


def test_being_watched_is_measured_beside_not_being_watched() -> None:
    report = metrics.run(seconds=0.3, rounds=2)
    assert report.checks[0].ok, report
    assert len(report.details["with"]) == len(report.details["without"]) == 2
    assert len(report.details["answers_s"]) >= 2, "each round has one"
    assert report.details["answers_under_full_load_s"]
    assert all(each.samples > 0 for each in report.latencies)


def test_safety_has_a_figure_for_each_journal_and_number_of_voters() -> None:
    report = durability.report(
        [durability.measure(1, journal, 20, 100, 1) for journal in ("memory", "fsync")], 20, 100, 1
    )
    assert report.ok, report
    assert [cluster["journal"] for cluster in report.details["clusters"]] == ["memory", "fsync"]


def test_after_a_restart_of_all_every_task_is_there_and_runs() -> None:
    report = restart.run(tasks=500)
    assert report.ok, report
    assert report.details["accepted"] >= 500


def test_what_waits_is_counted_and_an_urgent_task_gets_through(encrypted: None) -> None:
    report = memory.run(tasks=2_000, samples=20, secure=True)
    assert report.title == "memory, encrypted"
    checks = {check.what: check.ok for check in report.checks}
    assert checks["every task waits"]
    assert checks["every result is the one asked for"]


def test_how_late_delayed_tasks_begin_is_measured_and_what_others_cost_that_wait() -> None:
    report = delayed.run(tasks=200, rate=1_000.0, waiting=500, seconds=0.2, seed=7)
    assert all(check.ok for check in report.checks if not check.is_figure), report
    assert 0 < report.details["late"]["p50_s"] <= report.details["late"]["max_s"]


def test_a_storm_of_retries_ends_with_each_task_tried_as_often_as_it_should() -> None:
    report = retries.run(tasks=50, times=3, workers=1)
    assert report.ok, report
    assert report.details["log_entries"] > 0


def test_how_soon_a_slot_is_back_is_measured_from_the_limit_of_what_held_it() -> None:
    report = limits.run(kills=2)
    assert all(check.ok for check in report.checks if not check.is_figure), report
    assert len(report.details["back_s"]) == 2


def test_what_each_option_costs_is_measured_beside_a_task_without_any() -> None:
    report = options.run(samples=4, tasks=10, rounds=2)
    assert report.ok, report
    assert report.details["p50_ratio"]["nothing"] == report.details["rate_ratio"]["nothing"] == 1.0
    assert [row.what for row in report.rows] == list(options.OPTIONS)


def test_what_is_measured_elsewhere_runs_on_another_node_than_the_leaders() -> None:
    with tasks_elsewhere("memory", secure=False) as cluster, cluster.client() as client:
        assert latency.measure(client, 50)[1] == 0
        status = client.status()
        assert status["node_id"] == status["leader_id"]
        assert status["executed_total"] == 0, "the leader's own node has run none of them"


def test_floods_measures_a_normal_client_before_and_during_each_flood() -> None:
    report = floods.run(["pings"], seconds=0.3)
    assert report.ok
    (flooded,) = report.details["floods"]
    assert flooded["name"] == "pings"
    assert flooded["sent"] > 0
    assert flooded["rss_mib"] >= flooded["idle_rss_mib"] > 0
    assert [latency.name for latency in report.latencies] == ["pings: before", "pings: during"]
    assert all(latency.samples for latency in report.latencies)
