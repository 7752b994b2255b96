"""From what a load came to, to what is reported of it: saturation, and short bodies apart from long ones."""

import json

import pytest

from paceline_bench.harness.load import Load
from paceline_bench.report.report import to_json
from paceline_bench.verbs.open_loop import BODIES, TASKS_MAX, LoopSetup, Trial, outcome, report, seconds_of

SECONDS = 10.0


def played(setup: LoopSetup, done_s: list[float | None]) -> Trial:
    """A load with a task due in each hundredth of a second, of which the tasks were done at these moments."""
    load = Load(lambda _: None, [number / 100 for number in range(len(done_s))], 0.0)  # type: ignore[arg-type, return-value]
    load.sent_at_s = list(load.due_at_s)
    load.done_at_s = list(done_s)
    return outcome(load, setup, 100.0, None, wrong=0)


def done_after(delay_s: float, missing: int = 0) -> list[float | None]:
    tasks = round(SECONDS * 100)
    return [number / 100 + delay_s for number in range(tasks - missing)] + [None] * missing


@pytest.mark.parametrize(
    ("body", "done_s", "saturated"),
    [
        ("noop", done_after(0.001), False),
        ("noop", done_after(0.0, missing=10), False),  # exactly 99 %
        ("noop", done_after(0.0, missing=11), True),
        ("noop", done_after(0.5), True),  # all were done, but 5 % of the time too late
        ("noop", [0.0] * 97 + [None] * 3, False),  # 3 % of a hundred are three, which is no queue
        ("noop", [0.0] * 90 + [None] * 10, True),
        ("bimodal", done_after(0.101), False),  # the last ones were still in their bodies
        ("bimodal", done_after(0.5), True),
    ],
)
def test_a_rate_is_saturated_when_less_than_99_percent_is_done_in_time(
    body: str, done_s: list[float | None], saturated: bool
) -> None:
    setup = LoopSetup(BODIES[body], SECONDS, seed=1, workers=2)
    trial = played(setup, done_s)
    assert trial.saturated is saturated
    assert ("saturated" in trial.name) is saturated
    result = report([trial], 100.0, 0, setup)
    assert result.details["trials"][0]["saturated"] is saturated
    assert any("saturated" in row.what for row in result.rows) is saturated
    assert any("saturated" in latency.name for latency in result.latencies) is saturated
    assert all(series.hollow == ([0] if saturated else []) for series in result.pictures[0].series)


def test_long_bodies_do_not_hide_in_the_percentiles_of_short_ones() -> None:
    setup = LoopSetup(BODIES["bimodal"], SECONDS, seed=1, workers=2)
    lengths_s = setup.body.lengths_s(1_000, setup.seed)
    trial = played(setup, [number / 100 + length_s for number, length_s in enumerate(lengths_s)])
    assert trial.short.count + trial.long.count == 1_000
    assert trial.long.count == lengths_s.count(0.1) > 0
    assert trial.short.percentile_s(100) == pytest.approx(0.001, rel=2e-3)
    names = [latency.name for latency in report([trial], 100.0, 0, setup).latencies]
    assert names == ["100/s: bodies of 1 ms", "100/s: bodies of 100 ms"]


def test_a_seed_gives_the_same_bodies_and_one_in_a_hundred_is_long() -> None:
    body = BODIES["bimodal"]
    assert body.lengths_s(1_000, seed=5) == body.lengths_s(1_000, seed=5) != body.lengths_s(1_000, seed=6)
    assert body.lengths_s(100_000, seed=5).count(0.1) == pytest.approx(1_000, rel=0.1)
    assert set(BODIES["1ms"].lengths_s(100, seed=1)) == {0.001}


def test_one_wrong_result_fails_the_report_wherever_it_was() -> None:
    setup = LoopSetup(BODIES["noop"], SECONDS, seed=1, workers=2)
    assert report([played(setup, done_after(0.0))], 100.0, 0, setup).ok
    assert not report([played(setup, done_after(0.0))], 100.0, 1, setup).ok


def test_a_rate_at_which_nothing_was_done_is_reported_and_not_drawn() -> None:
    setup = LoopSetup(BODIES["noop"], SECONDS, seed=1, workers=2)
    result = report([played(setup, [None] * 100)], 100.0, 0, setup)
    assert not result.latencies
    assert not result.pictures
    assert json.loads(to_json([result]))["reports"][0]["details"]["trials"][0]["p50_s"] is None


def test_a_rate_that_would_come_to_too_many_tasks_is_offered_for_a_shorter_time() -> None:
    setup = LoopSetup(BODIES["noop"], SECONDS, seed=1, workers=2)
    assert seconds_of(100.0, setup) == SECONDS
    assert seconds_of(200_000.0, setup) * 200_000 == TASKS_MAX
