"""`paceline bench`: where the figures go, and what the exit code says."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from paceline.cli.app import run
from paceline_bench.report.machine import describe
from paceline_bench.report.report import Check, Report, ReportRow
from paceline_bench.verbs import (
    durability,
    failover,
    floor,
    idle,
    latency,
    memory,
    metrics,
    open_loop,
    restart,
    scaling,
    stages,
    stub_nodes,
    throughput,
)

GOOD = Report(verb="latency", journal="memory", rows=[ReportRow("p50", "1 us")], checks=[Check("results right", True)])
BAD = Report(verb="latency", journal="memory", rows=[ReportRow("p50", "1 us")], checks=[Check("results right", False)])


def test_the_table_goes_to_stdout_and_json_to_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "floor.json"
    assert run(["bench", "floor", "--samples", "10", "--rounds", "2", "--json", str(path)]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name, _, _ in floor.SHAPES)
    details = json.loads(path.read_text())["reports"][0]["details"]
    assert all(details[name]["samples"] == 10 for name, _, _ in floor.SHAPES)


def test_json_without_a_file_is_all_of_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(latency, "run", lambda *_: GOOD)
    assert run(["bench", "latency", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_latency_with_stages_shows_where_the_time_goes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        stages, "run", lambda samples, secure: Report(f"stages of {samples}", "memory", [ReportRow("p50", "1 us")])
    )
    assert run(["bench", "latency", "--stages", "--samples", "12"]) == 0
    assert "stages of 12" in capsys.readouterr().out


def test_a_wrong_result_ends_with_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(latency, "run", lambda *_: BAD)
    assert run(["bench", "latency"]) == 1
    assert "WRONG" in capsys.readouterr().out


def test_all_is_one_table_of_every_verb_with_the_machine_below(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    verbs = (
        *(floor, latency, throughput, durability, open_loop, scaling, stub_nodes, memory, restart),
        *(failover, metrics, idle),
    )
    for verb in verbs:
        name = verb.__name__.rpartition(".")[2]
        monkeypatch.setattr(
            verb,
            "run",
            lambda *_, name=name, secure=False: Report(
                name, "memory", [ReportRow(f"{name} p50", "1 us")], secure=secure
            ),
        )
    assert run(["bench", "all", "--quick"]) == 0
    printed = capsys.readouterr().out
    heading, *rows, empty = printed.splitlines()[:16]
    assert heading.split() == ["verb", "journal", "what", "measured"]
    names = ["floor", "latency", "latency, encrypted", "throughput", "durability", "open_loop", "open_loop"]
    names += ["scaling", "stub_nodes", "memory", "restart", "failover", "metrics", "idle"]
    assert [re.split(r"\s{2,}", row)[0] for row in rows] == names
    assert empty.strip() == ""
    assert [line.split()[0] for line in printed.splitlines()[16:]] == list(describe())


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--help"]) == 0
    printed = capsys.readouterr().out
    assert all(verb in printed for verb in ("floor", "latency", "open-loop", "scaling", "memory", "stub-nodes", "all"))


@pytest.mark.parametrize(("text", "expected"), [("100", [100.0]), ("1000,100.5", [1000.0, 100.5])])
def test_rates_are_numbers_with_commas_between(
    text: str, expected: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[float]] = []
    monkeypatch.setattr(open_loop, "run", lambda rates, setup: asked.append(rates) or GOOD)
    assert run(["bench", "open-loop", "--rates", text]) == 0
    assert run(["bench", "open-loop"]) == 0
    assert asked == [expected, []]


@pytest.mark.parametrize("text", ["fast", "100,", "0", "-5", "nan", "inf", "1e9"])
def test_rates_that_are_none_are_refused_with_an_example(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(open_loop, "run", lambda rates, setup: pytest.fail("it measured"))
    assert run(["bench", "open-loop", "--rates", text]) == 2
    assert "100,1000" in capsys.readouterr().err


def test_without_the_extra_the_help_works_and_a_verb_says_what_to_install() -> None:
    script = "import sys; sys.modules['hdrh'] = None; from paceline.cli.app import run; sys.exit(run(sys.argv[1:]))"
    for arguments, code in ((["bench", "--help"], 0), (["bench", "floor"], 44)):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == code, done.stderr
    assert "which is not installed; pip install '.[bench]' in a copy of" in done.stderr
    assert done.stderr.endswith("or pip install hdrhistogram\n")
