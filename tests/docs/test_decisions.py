"""Every decision has a date and a status, and its row in the index says the same."""

from __future__ import annotations

import re
from datetime import date
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "decisions"
RECORDS = sorted(FOLDER.glob("[0-9]*.md"))
TITLE = re.compile(r"# (\d+)\. (.+)")
HEADER = re.compile(r"Date: (\S+)\. Status: (.+)\.")
STATUS = re.compile(r"accepted|amended|superseded by (\d+)")
AMENDMENT = re.compile(r"^\*\*Amended (\d{4}-\d{2}-\d{2})\.\*\*", re.MULTILINE)
ROW = re.compile(r"\| (\d+) \| \[(.+)\]\((\S+)\) \| (\S+) \| (.+?) \| (.+) \|")


def rows() -> dict[str, tuple[str, ...]]:
    """File name -> number, title, date, status, one line."""
    found = [ROW.fullmatch(line) for line in (FOLDER / "README.md").read_text().splitlines()]
    return {row[3]: (row[1], row[2], row[4], row[5], row[6]) for row in found if row is not None}


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.stem)
def test_every_decision_has_a_date_and_a_status_and_is_in_the_index(record: Path) -> None:
    title_line, _, header_line, _, *text = record.read_text().splitlines()
    title, header = TITLE.fullmatch(title_line), HEADER.fullmatch(header_line)
    assert title is not None
    assert int(title[1]) == int(record.name[:4])
    assert header is not None
    assert date.fromisoformat(header[1])
    assert STATUS.fullmatch(header[2])
    assert (header[2] == "amended") == bool(AMENDMENT.search("\n".join(text)))
    row = rows().get(record.name, ())
    assert row[:4] == (title[1], title[2], header[1], header[2])
    assert row[4]


def test_no_number_is_taken_twice_and_the_index_names_no_record_that_is_gone() -> None:
    assert len({record.name[:4] for record in RECORDS}) == len(RECORDS)
    assert list(rows()) == [record.name for record in RECORDS]


def test_a_decision_that_is_superseded_names_one_that_is_there() -> None:
    numbers = {int(record.name[:4]) for record in RECORDS}
    for record in RECORDS:
        later = re.search(r"superseded by (\d+)", record.read_text().splitlines()[2])
        assert later is None or int(later[1]) in numbers - {int(record.name[:4])}
