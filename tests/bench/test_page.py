"""The page: one file with nothing to fetch, and nothing in it that was not escaped."""

import importlib.util
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from paceline.cli.app import run
from paceline_bench.report.histogram import LatencyHistogram
from paceline_bench.report.page import POLICY, to_html
from paceline_bench.report.picture import Axis, Picture, Series, distributions
from paceline_bench.report.plot import written
from paceline_bench.report.report import Check, Report, ReportRow

MACHINE = {"cpu": "Abacus 9000 <one bead>", "command": "paceline bench 'a & b'"}
HISTOGRAM = LatencyHistogram(number / 1e5 for number in range(1, 2_000))
REPORT = Report(
    verb="latency",
    journal="memory",
    rows=[ReportRow("submit to <result>", "158 us", "3 & 4")],
    checks=[Check("every result is the one asked for", True)],
    latencies=[HISTOGRAM.latency("there & back")],
    pictures=[
        distributions("Latency <of tasks>", {"paceline": HISTOGRAM, "raw": HISTOGRAM}),
        Picture(
            "Against load",
            Axis("tasks/s"),
            Axis("latency", "log", "s"),
            [Series("p50", [1, 2], [1e-3, 2e-3], hollow=[1]), Series("best", [1, 2], [1e-4, 1e-4], ideal=True)],
        ),
        Picture(
            "Against workers", Axis("workers", "log2"), Axis("share", unit="percent"), [Series("a", [1, 2], [1, 0.9])]
        ),
    ],
)


class Page(HTMLParser):
    """What a browser would find."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "path", "use", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, attribute: str) -> list[str]:
        return [attributes[attribute] for _, attributes in self.tags if attribute in attributes]


@pytest.fixture(scope="module")
def html() -> str:
    return to_html([REPORT, replace(REPORT, secure=True)], MACHINE)


def test_nothing_in_the_page_is_fetched_from_anywhere(html: str) -> None:
    page = Page(html)
    assert not {"script", "link", "img", "iframe", "object", "image", "base"} & {tag for tag, _ in page.tags}
    assert not page.all("src")
    assert all(target.startswith("#") for target in page.all("href"))
    assert not re.search(r"https?:|@import|//[a-z]", html)
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", html))
    assert POLICY in page.all("content")


def test_every_part_has_an_id_of_its_own_and_every_reference_leads_to_one(html: str) -> None:
    page = Page(html)
    ids = page.all("id")
    assert len(ids) == len(set(ids))
    references = [target[1:] for target in page.all("href")] + re.findall(r"url\(#([^)]*)\)", html)
    assert references
    assert set(references) <= set(ids)
    assert not page.open


def test_the_page_has_the_machine_the_table_the_checks_and_the_pictures(html: str) -> None:
    text = Page(html).text
    for words in ("Abacus 9000 <one bead>", "paceline bench 'a & b'", "submit to <result>", "158 us", "3 & 4"):
        assert words in text
    for words in ("there & back", "p99.9", "every check holds (2)", "latency, encrypted", "Latency <of tasks>"):
        assert words in text
    assert html.count("<svg ") == 6


def test_pictures_have_the_colours_of_the_page_in_light_and_in_dark(html: str) -> None:
    body = html[html.index("<body") :]
    assert not re.search(r"#[0-9a-f]{6}\b", body)
    used = set(re.findall(r"var\((--\w+)\)", body))
    light, dark = re.findall(r":root \{(.*?)\}", html, re.DOTALL)
    assert used >= {"--ink", "--grid", "--line1", "--line2", "--page"}
    for theme in (light, dark):
        assert used <= set(re.findall(r"(--\w+):", theme))


def test_the_figures_to_remember_are_on_top() -> None:
    first = replace(REPORT, headline=ReportRow("from <submit> to result", "305 us", "raw & 275 us"))
    second = replace(REPORT, headline=ReportRow("tasks a second", "114,000"))
    html = to_html([first, second, REPORT], MACHINE)
    text = Page(html).text
    for words in ("305 us", "from <submit> to result", "raw & 275 us", "114,000"):
        assert words in text
    assert html.index("114,000") < html.index("<nav>")
    assert html.count("<li><b>305 us") == 1
    assert "headlines" not in to_html([REPORT], MACHINE).partition("<body>")[2]


def test_what_was_too_little_work_to_judge_is_said_and_fails_nothing() -> None:
    noisy = replace(REPORT, checks=[Check("fast", False, is_figure=True), Check("right", True)]).of_little_work()
    text = Page(to_html([noisy], MACHINE)).text
    assert "every check holds (1; 1 of too little work to judge)" in text
    assert "not judged" in text


def test_a_failed_check_is_the_first_thing_that_the_page_says() -> None:
    text = Page(to_html([replace(REPORT, checks=[Check("results right", False, "2 wrong")])], MACHINE)).text
    assert "1 of 1 checks failed" in text
    assert "results right (2 wrong)" in text
    assert "every check holds" not in text


def test_a_page_is_written_beside_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "floor.html"
    assert run(["bench", "floor", "--samples", "20", "--rounds", "2", "--html", str(path)]) == 0
    assert "raw pyzmq" in capsys.readouterr().out
    assert "raw pyzmq" in Page(path.read_text()).text


@pytest.mark.parametrize("option", ["--html", "--json"])
def test_what_could_not_be_written_is_refused_before_anything_is_measured(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "absent" / "file"
    assert run(["bench", "floor", "--samples", "1000000000", option, str(path)]) == 2
    printed = capsys.readouterr()
    assert "make it first" in printed.err
    assert not printed.out


def test_a_page_without_matplotlib_is_refused_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run(["bench", "floor", "--samples", "1000000000", "--html", str(tmp_path / "floor.html")]) == 44
    assert "pip install '.[bench]' in a copy of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("value", "unit", "expected"),
    [
        (2e-5, "s", "20 us"),
        (0.0015, "s", "1.5 ms"),
        (1.0, "s", "1 s"),
        (0.999, "share", "99.9 %"),
        (0.0, "s", "0"),
        (12_000, "", "12,000"),
    ],
)
def test_a_tick_is_written_as_a_person_would(value: float, unit: str, expected: str) -> None:
    assert written(value, unit) == expected
