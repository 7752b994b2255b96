"""docs/words.md names things that are there, and one class name stands for one thing."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "words.md").read_text()
PACKAGES = ("node/paceline", "protocol/paceline_protocol", "bridge/paceline_bridge", "bench/paceline_bench")
ROW = re.compile(r"^\| \*\*(.+?)\*\*.* \| (.+) \| (.+) \|$", re.MULTILINE)
PLACE = re.compile(r"`([\w./]+(?:\.py|/))`(?:: `(\w+)`)?")
TWICE = {"Task"}
"""The function to whoever writes tasks, and one call of it in the core: both are what their readers call a task."""
RENAMED = re.compile(r"hand_over|make_way|knock|attendance|\bdoors?\b|master|slave")
"""Words that were identifiers here, and should not come back."""


def trees() -> dict[Path, ast.Module]:
    return {
        path: ast.parse(path.read_text()) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))
    }


def classes(tree: ast.AST) -> set[str]:
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}


def places() -> list[tuple[str, str, str]]:
    """(word, path, class or "") of each row."""
    return [(row[1], place[1], place[2] or "") for row in ROW.finditer(PAGE) for place in PLACE.finditer(row[3])]


def test_every_word_has_a_meaning_and_a_place() -> None:
    rows = list(ROW.finditer(PAGE))
    assert len(rows) > 60
    for row in rows:
        assert PLACE.search(row[3]), row[1]
    words = [row[1] for row in rows]
    assert len(set(words)) == len(words)


@pytest.mark.parametrize(("word", "path", "name"), places())
def test_what_a_word_stands_for_is_there(word: str, path: str, name: str) -> None:
    found = ROOT / path if path.startswith(("protocol/", "bridge/")) else ROOT / "node" / "paceline" / path
    assert found.exists(), word
    if name:
        assert name in classes(ast.parse(found.read_text())), word


def test_no_class_name_is_defined_twice() -> None:
    defined: dict[str, list[str]] = defaultdict(list)
    for path, tree in trees().items():
        for name in classes(tree):
            defined[name.lstrip("_")].append(path.relative_to(ROOT).as_posix())
    assert {name: paths for name, paths in defined.items() if len(paths) > 1 and name not in TWICE} == {}


def test_words_that_were_given_up_are_no_identifiers() -> None:
    for path, tree in trees().items():
        for node in ast.walk(tree):
            name = getattr(node, "name", None) or getattr(node, "attr", None) or getattr(node, "id", None)
            assert not (isinstance(name, str) and RENAMED.search(name.lower())), f"{path}: {name}"
