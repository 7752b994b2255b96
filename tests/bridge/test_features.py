"""The table of what is honoured and what is refused is what the documentation shows and what the code says."""

from __future__ import annotations

import re
from pathlib import Path

from paceline_bridge.features import FEATURES, REASONS, Treatment, markdown

ROOT = Path(__file__).parents[2]


def test_the_table_in_the_documentation_is_that_of_the_code() -> None:
    text = (ROOT / "docs" / "bridge.md").read_text()
    drawn = text.partition("<!-- features: begin -->")[2].partition("<!-- features: end -->")[0]
    assert drawn.strip() == markdown(), "put the output of `python -m paceline_bridge.features` between the marks"


def test_a_row_has_a_reason_if_it_is_refused() -> None:
    assert all(bool(feature.reason) == (feature.treatment is Treatment.REFUSED) for feature in FEATURES)


def test_every_reason_that_the_code_gives_is_in_the_table_and_the_other_way_round() -> None:
    given: set[str] = set()
    for path in (ROOT / "bridge" / "paceline_bridge").rglob("*.py"):
        text = path.read_text()
        given |= set(re.findall(r'(?:UnsupportedMessage\(|Refused\([\w.]+, |refuse_call\([\w.]+, )\s*"([\w-]+)"', text))
        for line in re.findall(r"^ +reason = .*$", text, re.MULTILINE):
            given |= set(re.findall(r'"([\w-]+)"', line))
        if path.name == "dramatiq.py":
            given |= set(re.findall(r'^    "\w+": "([\w-]+)",$', text, re.MULTILINE))
    assert given == REASONS
