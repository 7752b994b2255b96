"""bench-check: planted reports against limits. A broken limit is one line with its name, the figure and the file."""

import math
from pathlib import Path

import pytest

from paceline.errors import ConfigError
from paceline_bench import guard
from paceline_bench.guard import Limit, broken, load_limits, main, ratios
from paceline_bench.report.report import Check, Report

LIMITS = Path(__file__).parents[2] / "bench" / "limits.toml"


def planted(ratio: float = 1.5, map_per_s: float = 100_000.0, p99_s: float = 3e-4, wrong: bool = False) -> list[Report]:
    placed = {"floor_p50_s": 1e-4, "floor_p99_s": 1.5e-4, "p50_s": 1.5e-4, "p99_s": p99_s, "ratio_median": ratio}
    trial = {"p50_s": 4e-4, "p99_s": 1e-3, "achieved_per_s": 4990.0, "offered_per_s": 5000.0}
    rates = {"map": map_per_s, "submit": 90_000.0}
    return [
        Report("latency", "memory", [], details={"apart": placed, "anywhere": {"floor_p50_s": math.nan}}),
        Report(
            "throughput", "memory", [], [Check("right", not wrong, "3 wrong")], details={"tasks_per_s_median": rates}
        ),
        Report("open-loop", "memory", [], details={"throughput_per_s": 80_000.0, "trials": [trial]}),
    ]


def test_every_ratio_is_to_the_floor_of_the_first_placement() -> None:
    measured = ratios(planted())
    assert measured["latency_p50_to_floor"] == 1.5
    assert measured["latency_p99_to_floor"] == pytest.approx(2)
    assert measured["map_tasks_in_a_floor_round_trip"] == pytest.approx(10)
    assert measured["submit_tasks_in_a_floor_round_trip"] == pytest.approx(9)
    assert measured["open_loop_tasks_in_a_floor_round_trip"] == pytest.approx(8)
    assert measured["open_loop_p50_to_floor"] == pytest.approx(4)
    assert measured["open_loop_achieved"] == pytest.approx(0.998)


def test_the_file_in_the_repository_limits_all_that_is_measured() -> None:
    assert broken(load_limits(LIMITS), ratios(planted()), "limits.toml") == []


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"ratio": 9.0}, "latency_p50_to_floor"),
        ({"p99_s": 1.0}, "latency_p99_to_floor"),
        ({"map_per_s": 1_000.0}, "map_tasks_in_a_floor_round_trip"),
        ({"ratio": math.nan}, "latency_p50_to_floor"),
    ],
)
def test_a_regression_ends_with_1_and_one_line(
    change: dict[str, float], name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guard, "measure", lambda: planted(**change))  # type: ignore[arg-type]
    assert main([str(LIMITS)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"bench-check: {name} is {ratios(planted(**change))[name]:.2f}, and m")  # type: ignore[arg-type]
    assert line.endswith(f"({LIMITS}, [{name}])")


def test_good_figures_end_with_0_and_a_wrong_result_does_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guard, "measure", planted)
    assert main([str(LIMITS)]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(guard, "measure", lambda: planted(wrong=True))
    assert main([str(LIMITS)]) == 1
    assert capsys.readouterr().err == "bench-check: throughput: right: 3 wrong\n"


def test_a_limit_holds_at_its_bound_and_on_both_sides() -> None:
    limit = Limit("x", at_most=2.0, at_least=1.0)
    assert [limit.broken_by(value) is None for value in (0.9, 1.0, 2.0, 2.1)] == [False, True, True, False]


def test_what_is_limited_and_what_is_measured_must_be_the_same() -> None:
    with pytest.raises(ConfigError, match=r"nothing measures \[y\]"):
        broken([Limit("x"), Limit("y")], {"x": 1.0}, "limits.toml")
    with pytest.raises(ConfigError, match=r"\[z\] is missing"):
        broken([Limit("x")], {"x": 1.0, "z": 1.0}, "limits.toml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "must have at_most or at_least"),
        ("[x]", "must have at_most or at_least"),
        ("[x]\nat_mots = 1", "must have at_most or at_least"),
        ("[x]\nat_most = true", "must be a number"),
        ("[x]\nat_most = '1'", "must be a number"),
        ("[x", "is not TOML"),
    ],
)
def test_a_file_that_can_not_be_used_is_refused_before_anything_is_measured(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(guard, "measure", lambda: pytest.fail("it measured"))
    path = tmp_path / "limits.toml"
    path.write_text(text)
    assert main([str(path)]) == 2
    assert said in capsys.readouterr().err
    assert main([str(tmp_path / "absent.toml")]) == 2
