"""What docs/features.md says that paceline has is shown by a test, and what it does not have is by none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_TEST = re.compile(r"`([\w/]+\.py)(?:::(\w+))?`")


def rows() -> list[list[str]]:
    lines = (ROOT / "docs" / "features.md").read_text().splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return [row for row in cells if len(row) == 10 and row[0] != "feature"]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_what_there_is_is_shown_by_a_test_that_exists(row: list[str]) -> None:
    *others, said, shown_by = row[1:]
    assert set(others) <= {"yes", "partly", "no", "-"}
    if said == "no":
        assert not shown_by
        return
    assert said == "yes" or re.fullmatch(r"partly \(.+\)", said), "what it lacks is said"
    found = _TEST.fullmatch(shown_by)
    assert found is not None
    text = (ROOT / "tests" / found[1]).read_text()
    assert f"def {found[2] or 'test_'}" in text


def test_the_page_has_all_rows() -> None:
    assert len(rows()) > 40
