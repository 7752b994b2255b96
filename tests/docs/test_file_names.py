"""Pages and docstrings name files that are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("node", "protocol", "bridge", "bench", "tests", "docs")
FILES = {path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAME = re.compile(r"`([\w/]+\.py)(?:::\w+)?`")
EXAMPLES = {
    "tasks.py",
    "TASKS.py",
    "backlog.py",
    "beat.py",
    "stock.py",
    "convert.py",
    "fetching.py",
    "late.py",
    "polling.py",
    "prices.py",
    "orders.py",
    "pool.py",
    "models.py",
    "shelf.py",
    "squares.py",
    "report_parts.py",
    "nightly_build.py",
    "reports.py",
    "studio.py",
    "searching.py",
    "shop.py",
    "tenants.py",
    "limits.py",
    "embeddings.py",
}
"""A user's own."""
THEIRS = re.compile(r"^(celery|kombu|dramatiq|pika)/")


def missing(text: str) -> set[str]:
    named = {name for name in NAME.findall(text) if name not in EXAMPLES and not THEIRS.match(name)}
    return {name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in FILES)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    assert missing(page.read_text()) == set()


def test_every_file_that_a_docstring_names_is_there() -> None:
    for folder in ("node", "protocol", "bridge", "bench"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                    text = str(node.value.value)
                    assert missing(text) == set(), f"{path.relative_to(ROOT)}:{node.lineno}"
