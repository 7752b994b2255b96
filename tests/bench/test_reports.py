"""From measurements to rows and checks: wrong results must show, and must fail the command."""

import itertools
import json
from pathlib import Path

import pytest

from paceline_bench.report.histogram import LatencyHistogram
from paceline_bench.report.machine import command_line, cpu_model, describe
from paceline_bench.report.report import Check, Report, ReportRow, duration, show, to_json
from paceline_bench.verbs import latency, metrics, throughput


def histograms(*durations_s: float) -> list[LatencyHistogram]:
    """One of each, as of a round with one sample."""
    return [LatencyHistogram([duration_s]) for duration_s in durations_s]


def test_a_ratio_is_taken_within_its_round() -> None:
    ours, floor, elsewhere = histograms(2e-4, 4e-4, 9e-4), histograms(1e-4, 4e-4, 3e-4), histograms(6e-4, 4e-4, 18e-4)
    report = latency.report({"apart": latency.Rounds(ours, floor, elsewhere)}, wrong=0)
    assert report.details["apart"]["elsewhere_ratio_median"] == pytest.approx(2, rel=2e-3)
    assert report.details["apart"]["ratio_per_round"] == pytest.approx([2, 1, 3], rel=2e-3)
    assert report.details["apart"]["ratio_median"] == pytest.approx(2, rel=2e-3)
    assert report.ok


def test_one_wrong_result_fails_the_report() -> None:
    assert not latency.report({"anywhere": latency.Rounds(*[histograms(1e-4)] * 3)}, wrong=1).ok
    assert not throughput.report({"map": [1.0], "submit": [1.0]}, tasks=1, workers=1, wrong=1).ok


def test_metrics_that_cost_too_much_or_come_too_late_fail_the_report() -> None:
    def ok(with_s: float, loaded_s: float) -> bool:
        return metrics.report(histograms(with_s), histograms(1e-4), [0.01], [0.01, loaded_s], 1.0, wrong=0).ok

    assert ok(1.09e-4, 0.09)
    assert not ok(1.2e-4, 0.09)
    assert not ok(1.09e-4, 0.11)


@pytest.mark.parametrize(
    ("results", "wrong"), [([0, 1, 2], 0), ([0, 2, 1], 2), ([0, 1], 1), ([0, 1, 2, 2], 1), ([], 3)]
)
def test_wrong_missing_and_surplus_results_are_counted(results: list[int], wrong: int) -> None:
    assert throughput.count_wrong(range(3), results) == wrong


def test_json_has_the_machine_the_command_and_the_verdict() -> None:
    good = Report(verb="floor", journal="none", rows=[ReportRow("p50", "1 us")])
    bad = Report(verb="latency", journal="memory", rows=[], checks=[Check("right", False)])
    fields = json.loads(to_json([good, bad]))
    assert fields["machine"].keys() == describe().keys() >= {"cpu", "cores", "kernel", "python", "pyzmq", "command"}
    assert fields["ok"] is False
    assert [report["ok"] for report in fields["reports"]] == [True, False]


def test_the_table_names_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    show(
        [
            Report(
                verb="latency",
                journal="memory",
                rows=[ReportRow("p50", "1 us")],
                checks=[Check("results right", False)],
            )
        ]
    )
    printed = capsys.readouterr().out
    assert "results right" in printed
    assert "WRONG" in printed
    assert "memory" in printed


def test_every_percentile_has_a_column_and_json_has_the_histogram(capsys: pytest.CaptureFixture[str]) -> None:
    histogram = LatencyHistogram(number / 1e6 for number in range(1, 10_001))
    report = Report(verb="latency", journal="memory", rows=[], latencies=[histogram.latency("there and back")])
    show([report])
    heading, line = next(
        (heading, line)
        for heading, line in itertools.pairwise(capsys.readouterr().out.splitlines())
        if "latency of" in heading
    )
    assert heading.split()[-6:] == ["samples", "p50", "p90", "p99", "p99.9", "max"]
    assert [word for word in line.split() if word[0].isdigit()] == [
        "10,000",
        "5,001",
        "9,003",
        "9,904",
        "9,994",
        "10.0",
    ]
    fields = json.loads(to_json([report]))["reports"][0]["latencies"][0]
    assert LatencyHistogram.decoded(fields["hdr"]).percentile_s(99.9) == fields["p999_s"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "0 us"),
        (158.4e-6, "158 us"),
        (9.9994e-3, "9,999 us"),
        (0.01, "10.0 ms"),
        (9.9, "9,900.0 ms"),
        (12, "12.0 s"),
    ],
)
def test_a_duration_has_the_unit_in_which_it_can_be_read(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


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
        ([latency.__file__, "a.toml"], "python -m paceline_bench.verbs.latency a.toml"),
        (["/home/me/script.py"], "script.py"),
        (["/lib/paceline/__main__.py", "bench", "all", "--json", "a b"], "python -m paceline bench all --json 'a b'"),
    ],
)
def test_the_command_can_be_typed_again(argv: list[str], expected: str) -> None:
    assert command_line(argv) == expected
