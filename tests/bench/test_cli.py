"""`paceline bench`: where the figures go, and what the exit code says."""

import json
from pathlib import Path

import pytest

from paceline.cli.app import run
from paceline_bench import failover, floor, idle, latency, throughput
from paceline_bench.machine import describe
from paceline_bench.report import Check, Report, Row

GOOD = Report(verb="latency", journal="memory", rows=[Row("p50", "1 us")], checks=[Check("results right", True)])
BAD = Report(verb="latency", journal="memory", rows=[Row("p50", "1 us")], checks=[Check("results right", False)])


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
    monkeypatch.setattr(latency, "run", lambda samples, rounds: GOOD)
    assert run(["bench", "latency", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_a_wrong_result_ends_with_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(latency, "run", lambda samples, rounds: BAD)
    assert run(["bench", "latency"]) == 1
    assert "WRONG" in capsys.readouterr().out


def test_all_is_one_table_of_every_verb_with_the_machine_below(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for verb in (floor, latency, throughput, failover, idle):
        name = verb.__name__.rpartition(".")[2]
        monkeypatch.setattr(verb, "run", lambda *_, name=name: Report(name, "memory", [Row(f"{name} p50", "1 us")]))
    assert run(["bench", "all", "--quick"]) == 0
    printed = capsys.readouterr().out
    heading, *rows, empty = printed.splitlines()[:7]
    assert heading.split() == ["verb", "journal", "what", "measured"]
    assert [row.split()[0] for row in rows] == ["floor", "latency", "throughput", "failover", "idle"]
    assert empty.strip() == ""
    assert [line.split()[0] for line in printed.splitlines()[7:]] == list(describe())


def test_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--help"]) == 0
    printed = capsys.readouterr().out
    assert all(verb in printed for verb in ("floor", "latency", "throughput", "failover", "idle", "all"))
