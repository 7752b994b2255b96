"""What the documentation draws is what the code does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from paceline.core.state.task import EVENT_NAMES, STATE_NAMES, TRANSITIONS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FOLDERS = {"paceline": "node", "paceline_protocol": "protocol", "paceline_bridge": "bridge", "paceline_bench": "bench"}
PACKAGE_ROW = re.compile(r"^\| `([\w.]+)` \| [^|]* \| ([^|]*) \| [^|]* \|$", re.MULTILINE)
PACKAGES = PACKAGE_ROW.findall((DOCS / "architecture.md").read_text())


def imported(package: str) -> set[str]:
    """The modules of ours that a package imports, but for its own and those that belong to no package."""
    folder = ROOT / FOLDERS[package.partition(".")[0]] / package.replace(".", "/")
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                found.add(node.module)
            elif isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
    shared = {f"paceline.{path.stem}" for path in (ROOT / "node" / "paceline").glob("*.py")}
    ours = {name for name in found if name.partition(".")[0] in FOLDERS}
    return {name for name in ours - shared if not f"{name}.".startswith(f"{package}.")}


@pytest.mark.parametrize(("package", "allowed"), PACKAGES, ids=lambda value: value if "`" not in value else "")
def test_a_package_imports_what_the_table_of_packages_says(package: str, allowed: str) -> None:
    names = re.findall(r"`([\w.]+)`", allowed)
    for module in imported(package):
        assert any(f"{module}.".startswith(f"{name}.") for name in names), f"{package} imports {module}"
    for name in names:
        assert any(f"{module}.".startswith(f"{name}.") for module in imported(package)), (
            f"{package} does not use {name}"
        )


def test_the_table_has_every_package() -> None:
    rooms = [path.parent.name for path in sorted((ROOT / "node" / "paceline").glob("*/__init__.py"))]
    assert {f"paceline.{room}" for room in rooms} | {*FOLDERS} - {"paceline"} == {package for package, _ in PACKAGES}


def test_the_drawn_states_of_a_task_are_the_table_in_the_code() -> None:
    text = (DOCS / "architecture.md").read_text()
    drawn = text.partition("<!-- transitions: begin -->")[2].partition("<!-- transitions: end -->")[0]
    rows = {
        f"| {STATE_NAMES[old]} | {EVENT_NAMES[event]} | {STATE_NAMES[new]} |"
        for (old, event), new in TRANSITIONS.items()
    }
    assert set(drawn.strip().splitlines()[2:]) == rows
