"""From measurements to rows and checks: wrong results must show, and must fail the command."""

import json
from pathlib import Path

import pytest

from paceline_bench import latency, throughput
from paceline_bench.machine import command_line, cpu_model, describe
from paceline_bench.report import Check, Report, Row, show, to_json


def test_a_ratio_is_taken_within_its_round() -> None:
    rounds = latency.Rounds([[2e-4], [4e-4], [9e-4]], [[1e-4], [4e-4], [3e-4]])
    report = latency.report({"apart": rounds}, wrong=0)
    assert report.details["apart"]["ratio_per_round"] == pytest.approx([2, 1, 3])
    assert report.details["apart"]["ratio_median"] == pytest.approx(2)
    assert report.ok


def test_one_wrong_result_fails_the_report() -> None:
    assert not latency.report({"anywhere": latency.Rounds([[1e-4]], [[1e-4]])}, wrong=1).ok
    assert not throughput.report({"map": [1.0], "submit": [1.0]}, tasks=1, workers=1, wrong=1).ok


@pytest.mark.parametrize(
    ("results", "wrong"), [([0, 1, 2], 0), ([0, 2, 1], 2), ([0, 1], 1), ([0, 1, 2, 2], 1), ([], 3)]
)
def test_wrong_missing_and_surplus_results_are_counted(results: list[int], wrong: int) -> None:
    assert throughput.count_wrong(range(3), results) == wrong


def test_json_has_the_machine_the_command_and_the_verdict() -> None:
    good = Report(verb="floor", journal="none", rows=[Row("p50", "1 us")])
    bad = Report(verb="latency", journal="memory", rows=[], checks=[Check("right", False)])
    fields = json.loads(to_json([good, bad]))
    assert fields["machine"].keys() == describe().keys() >= {"cpu", "cores", "kernel", "python", "pyzmq", "command"}
    assert fields["ok"] is False
    assert [report["ok"] for report in fields["reports"]] == [True, False]


def test_the_table_names_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    show([Report(verb="latency", journal="memory", rows=[Row("p50", "1 us")], checks=[Check("results right", False)])])
    printed = capsys.readouterr().out
    assert "results right" in printed
    assert "WRONG" in printed
    assert "memory" in printed


def test_the_cpu_is_read_where_linux_has_it(tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nmodel name\t: Abacus 9000\n")
    assert cpu_model(cpuinfo) == "Abacus 9000"
    assert cpu_model(tmp_path / "absent")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["/opt/bin/paceline", "bench", "all"], "paceline bench all"),
        (["/lib/paceline_bench/__main__.py", "floor"], "python -m paceline_bench floor"),
        (["/lib/paceline/__main__.py", "bench", "all", "--json", "a b"], "python -m paceline bench all --json 'a b'"),
    ],
)
def test_the_command_can_be_typed_again(argv: list[str], expected: str) -> None:
    assert command_line(argv) == expected
