"""Every promise in docs/guarantees.md stands there once, and names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
_TEST = re.compile(r"`([\w/]+\.py)::(\w+)`")


def rows() -> list[str]:
    lines = (ROOT / "docs" / "guarantees.md").read_text().splitlines()
    return [line for line in lines if line.startswith("| ") and not line.startswith("| promise")]


def test_every_promise_names_a_test() -> None:
    assert len(rows()) > 25
    for row in rows():
        assert _TEST.search(row), f"nothing shows that: {row}"


def test_no_promise_is_made_twice() -> None:
    """As two branches that change one sentence leave it."""
    beginnings = [" ".join(row.split()[1:8]) for row in rows()]
    assert [each for each in beginnings if beginnings.count(each) > 1] == []


def test_every_named_test_exists() -> None:
    for row in rows():
        for path, name in _TEST.findall(row):
            assert f"\ndef {name}(" in (ROOT / "tests" / path).read_text(), f"{path} has no {name}"
