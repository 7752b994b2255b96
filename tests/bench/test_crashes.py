"""What the benchmark of tasks that crash makes of what it measured."""

from __future__ import annotations

import importlib

import pytest

from paceline_bench.bodies import crash_body
from paceline_bench.verbs import crashes


def test_crashes_are_spread_over_all_tasks_and_each_result_is_checked() -> None:
    submitted: list[str] = []

    def submit(name: str, arguments: tuple[object, ...]) -> object:
        submitted.append(name)
        return lambda: None if name == "crash_always" else arguments[0]

    assert crashes._measure(submit, 20, 2, "crash_always") >= 0  # type: ignore[arg-type]
    assert [number for number, name in enumerate(submitted) if name == "crash_always"] == [0, 10]
    with pytest.raises(crashes.ClickException, match="task 0 gave another result"):
        crashes._measure(lambda name, arguments: lambda: 7, 20, 0, "")


def test_a_report_fails_if_crashes_cost_more_than_the_limit() -> None:
    def ok(ours_s: float) -> bool:
        return crashes._report(
            {"paceline, 1 crash once": [ours_s], "celery, 1 crash once": [1.0]}, 5, ["1 crash once"]
        ).ok

    assert ok(1.4)
    assert not ok(1.6)


def test_the_bodies_are_registered_with_the_system_that_is_named_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(crash_body.KIND_VARIABLE, raising=False)
    assert importlib.reload(crash_body).app is None
