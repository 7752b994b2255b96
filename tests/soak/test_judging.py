"""That a soak would notice: each kind of wrong end, and each kind of growth. The soak itself is ``./dev soak``."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hosts.stream import Ending, Run
from soak.kinds import BACKOFF_S, DELAY_S, KINDS, _failures_of, kind_of
from soak.samples import Sample, growth
from soak.stream import MixedStream

NUMBER = 7
KIND_OF = {kind.name: kind for kind in KINDS}
RIGHT = Ending(10.0, NUMBER * NUMBER, "")
WRONG = Ending(10.0, NUMBER * NUMBER + 1, "")
LOST = Ending(10.0, None, "TaskLost('the task was lost')")
RUN = Run(NUMBER, 1, 1, 5.0)


OF_THEIR_OWN = ("fail", "given up", "timed out", "deadline", "stopped", "big", "delayed", "retried")


@pytest.mark.parametrize("name", [name for name in KIND_OF if name not in OF_THEIR_OWN])
def test_a_task_that_ran_and_has_its_result_is_right(name: str) -> None:
    assert KIND_OF[name].judge(NUMBER, RIGHT, [RUN], 4.0) == ""


@pytest.mark.parametrize("name", list(KIND_OF))
def test_a_wrong_result_is_found(name: str) -> None:
    assert "ended with" in KIND_OF[name].judge(NUMBER, WRONG, [RUN], 0.0)


@pytest.mark.parametrize("name", [name for name in KIND_OF if name != "at most once"])
def test_a_lost_task_is_found_where_it_may_run_again(name: str) -> None:
    assert "TaskLost" in KIND_OF[name].judge(NUMBER, LOST, [RUN], 0.0)


def test_a_result_without_a_run_is_found() -> None:
    assert "never ran" in KIND_OF["square"].judge(NUMBER, RIGHT, [], 0.0)


def test_a_second_start_is_found_where_there_may_be_one() -> None:
    assert KIND_OF["at most once"].judge(NUMBER, LOST, [RUN], 0.0) == ""
    assert "started 2 times" in KIND_OF["at most once"].judge(NUMBER, RIGHT, [RUN, RUN], 0.0)


def test_an_early_start_is_found() -> None:
    late = replace(RUN, at_s=4.0 + DELAY_S)
    assert KIND_OF["delayed"].judge(NUMBER, RIGHT, [late], 4.0) == ""
    assert "early" in KIND_OF["delayed"].judge(NUMBER, RIGHT, [late, replace(RUN, at_s=4.5)], 4.0)


def test_another_error_than_the_tasks_own_is_found() -> None:
    assert KIND_OF["fail"].judge(NUMBER, Ending(10.0, None, "ValueError('task 7')"), [RUN], 0.0) == ""
    assert KIND_OF["fail"].judge(NUMBER, Ending(10.0, None, "ValueError('task 8')"), [RUN], 0.0) != ""


def test_an_attempt_too_few_and_one_that_comes_too_soon_are_found() -> None:
    judge = KIND_OF["retried"].judge
    assert _failures_of(NUMBER) == 3
    runs = [replace(RUN, at_s=5.0 + BACKOFF_S * place) for place in range(4)]
    assert judge(NUMBER, RIGHT, runs, 4.0) == ""
    assert "ran 3 times" in judge(NUMBER, RIGHT, runs[1:], 4.0)
    assert "tried again" in judge(NUMBER, RIGHT, [*runs[:3], replace(RUN, at_s=runs[2].at_s + 0.1)], 4.0)
    lost = replace(RUN, at_s=runs[2].at_s + 0.1, pid=2)
    assert judge(NUMBER, RIGHT, [*runs[:3], lost], 4.0) == "", "one of another worker follows one that was lost"
    again = [*runs, replace(RUN, at_s=runs[3].at_s + 0.1)]
    assert judge(NUMBER, replace(RIGHT, lost=1), again, 4.0) == "", "and so may one of the same"
    assert "1 were lost" in judge(
        NUMBER, replace(RIGHT, lost=1), [*again, replace(RUN, at_s=again[-1].at_s + 0.1)], 4.0
    )


@pytest.mark.parametrize(
    ("name", "error", "early"),
    [
        ("given up", "ValueError('task 7')", "given up after 1 runs"),
        ("timed out", "TaskTimedOut('0.4 s')", "before its limit"),
        ("deadline", "TaskTimedOut('by')", "before its deadline"),
        ("deadline", "TaskExpired('by')", "before its deadline"),
        ("stopped", "TaskCancelled('it was')", "before somebody asked for it"),
    ],
)
def test_each_end_that_is_wanted_is_right_and_one_that_comes_too_soon_is_found(
    name: str, error: str, early: str
) -> None:
    judge, again = KIND_OF[name].judge, replace(RUN, at_s=5.0 + BACKOFF_S)
    assert judge(NUMBER, Ending(10.0, None, error), [RUN, again], 5.0) == ""
    assert early in judge(NUMBER, Ending(5.1, None, error), [RUN], 5.0)
    assert "ended with" in judge(NUMBER, RIGHT, [RUN, again], 5.0)


def test_a_dead_task_that_is_missing_or_too_many_or_found_twice_is_found() -> None:
    dies, others = [number for number in range(2_000) if kind_of(number).is_kept_dead], 1
    stream = MixedStream.__new__(MixedStream)
    stream.ended = {number: Ending(1.0, None, "ValueError()") for number in dies[:3]} | {others: RIGHT}
    stream._other = [{"event": "dead", "number": number} for number in dies[:3]]
    assert stream.dead_otherwise() == []
    stream._other = [{"event": "dead", "number": number} for number in (dies[0], dies[0], dies[1], others)]
    assert stream.dead_otherwise() == [
        f"task {dies[0]} was found dead 2 times",
        f"task {dies[2]} is not kept",
        f"task {others} is kept, and it did not fail",
    ]


def test_every_kind_is_drawn() -> None:
    assert {kind_of(number).name for number in range(2_000)} == set(KIND_OF)


FLAT = [Sample(float(at_s), "node3", 1, 100.0, 30, 5, 50.0) for at_s in range(40)]


def test_what_stays_as_it_is_does_not_grow() -> None:
    assert growth(FLAT, "node3") == []


@pytest.mark.parametrize("change", [{"rss_mib": 140.0}, {"descriptors": 40}, {"threads": 7}, {"journal_mib": 90.0}])
def test_each_measure_that_grows_is_found(change: dict[str, float]) -> None:
    grown = FLAT[:30] + [replace(sample, **change) for sample in FLAT[30:]]  # type: ignore[arg-type]
    assert growth(grown, "node3") == [
        f"{measure} of node3 grows from {getattr(FLAT[0], measure):.1f} to {value:.1f}"
        for measure, value in change.items()
    ]


def test_a_process_that_was_started_anew_is_not_called_flat() -> None:
    again = FLAT[:20] + [replace(sample, pid=2) for sample in FLAT[20:]]
    assert "started anew" in growth(again, "node3")[0]


def test_too_few_samples_tell_nothing() -> None:
    assert "too few" in growth(FLAT[:7], "node3")[0]
