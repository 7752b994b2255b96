"""The open loop: schedules that a seed fixes, a sender that waits for nobody, latencies from when a task was due."""

import itertools
import time
from collections.abc import Callable
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import TaskLost
from paceline_bench.harness.load import Load, poisson


class Promise:
    """A future that ends when the test says so."""

    def __init__(self, value: int) -> None:
        self.value = value
        self.callback: Callable[[object], object] | None = None
        self.ended = False
        self.failure: Exception | None = None

    def add_done_callback(self, callback: Callable[[object], object]) -> None:
        self.callback = callback

    def end(self) -> None:
        self.ended = True
        if self.callback is not None:
            self.callback(self)

    def done(self) -> bool:
        return self.ended

    def result(self, timeout: float) -> int:
        if self.failure is not None:
            raise self.failure
        if not self.ended:
            raise TimeoutError
        return self.value


@given(st.floats(1, 2_000), st.floats(0.1, 3), st.integers(0, 1_000))
@settings(deadline=None, max_examples=30)
def test_a_seed_gives_the_same_moments_in_order_and_within_the_time(
    rate_per_s: float, seconds: float, seed: int
) -> None:
    moments_s = poisson(rate_per_s, seconds, seed)
    assert moments_s == poisson(rate_per_s, seconds, seed)
    assert moments_s == sorted(moments_s)
    assert all(0 < moment_s < seconds for moment_s in moments_s)


def test_another_seed_gives_other_moments() -> None:
    assert poisson(100, 1, seed=1) != poisson(100, 1, seed=2)


def test_the_gaps_are_those_of_a_poisson_process() -> None:
    gaps_s = [after - before for before, after in itertools.pairwise(poisson(1_000, 20, seed=3))]
    assert mean(gaps_s) == pytest.approx(0.001, rel=0.05)
    # A memoryless gap is longer than its mean with probability 1/e; an even schedule would have none or half.
    assert sum(gap_s > 0.001 for gap_s in gaps_s) / len(gaps_s) == pytest.approx(0.368, abs=0.02)


def test_the_sender_waits_for_no_result_and_skips_nothing_that_is_overdue() -> None:
    promises: list[Promise] = []

    def submit(number: int) -> Promise:
        promises.append(Promise(number))
        return promises[-1]

    load = Load(submit, [0.0, 0.0, 0.001], time.perf_counter() - 5.0)  # type: ignore[arg-type]
    load.send_all()  # it returns, though nothing has ended
    assert [promise.value for promise in promises] == [0, 1, 2]
    assert min(load.behind_s()) > 4.9


def test_a_task_that_is_sent_late_has_waited_since_it_was_due() -> None:
    """Coordinated omission: from when it was sent, this latency would be next to nothing."""
    promise = Promise(0)
    load = Load(lambda _: promise, [0.0], time.perf_counter() - 5.0)  # type: ignore[arg-type, return-value]
    load.send_all()
    promise.end()
    (latency_s,) = load.latencies_s()
    assert latency_s is not None
    assert latency_s >= 5.0
    assert load.done_at_s[0] - load.sent_at_s[0] < 4.9  # type: ignore[operator]


def test_a_task_is_done_when_it_is_called_back_and_not_when_its_turn_to_be_asked_comes() -> None:
    promises = [Promise(0), Promise(1)]
    load = Load(promises.__getitem__, [0.0, 0.0], time.perf_counter())  # type: ignore[arg-type]
    load.send_all()
    promises[1].end()
    promises[0].end()
    assert load.wait(1.0) == 0
    first_s, second_s = load.done_at_s
    assert second_s < first_s  # type: ignore[operator]


def test_what_failed_is_missing_or_is_not_what_was_asked_for_is_counted() -> None:
    good, wrong, failed, missing = (Promise(number) for number in range(4))
    load = Load([good, wrong, failed, missing].__getitem__, [0.0] * 4, time.perf_counter())  # type: ignore[arg-type]
    load.send_all()
    wrong.value = 7
    failed.failure = TaskLost(5, "signal 9")
    for promise in (good, wrong, failed):
        promise.end()
    assert load.wait(0.0) == 3
    assert [latency_s is None for latency_s in load.latencies_s()] == [False, False, False, True]
