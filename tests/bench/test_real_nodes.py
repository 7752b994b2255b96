"""Every verb once against real nodes, with as little work as shows that it measures what it says."""

import os

from paceline_bench import durability, failover, idle, latency, memory, restart, throughput
from paceline_bench.placement import placements


def test_latency_measures_both_in_every_round_and_checks_results() -> None:
    report = latency.run(samples=30, rounds=3)
    assert report.ok
    assert set(report.details) == {place.name for place in placements()}
    for placed in report.details.values():
        assert len(placed["ratio_per_round"]) == 3
        assert placed["samples"] == 30


def test_processes_are_where_they_were_placed_and_everywhere_again_afterwards() -> None:
    free = os.sched_getaffinity(0)
    *placed, anywhere = placements()
    for place in [*placed, anywhere]:
        place.apply([])
        assert os.sched_getaffinity(0) == place.client
    assert os.sched_getaffinity(0) == free


def test_throughput_by_map_and_by_submit_gives_every_result() -> None:
    report = throughput.run(tasks=1_000, repeats=1, workers=1)
    assert report.ok, report.checks
    assert {len(rates) for rates in report.details["tasks_per_s"].values()} == {1}


def test_a_failover_loses_nothing_and_records_nothing_twice() -> None:
    report = failover.run(kills=1, rate_per_s=100.0, seed=7)
    assert report.ok, report
    (kill,) = report.details["kills"]
    assert kill["resumed_s"] > 0
    assert kill["tasks"] >= 400


def test_idle_tells_the_leader_from_the_followers() -> None:
    roles = sorted(node.role for node in idle.of_cluster(3, seconds=0.2))
    assert roles == ["follower of three", "follower of three", "leader of three"]


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


def test_what_waits_is_counted_and_an_urgent_task_gets_through() -> None:
    report = memory.run(tasks=2_000, samples=20)
    checks = {check.what: check.ok for check in report.checks}
    assert checks["every task waits"]
    assert checks["every result is the one asked for"]
