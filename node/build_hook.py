"""Compiles the modules on the way of every task when a wheel is built. See docs/decisions/0013 and 0025.

The same source runs either way. Without a C compiler, or with ``PACELINE_COMPILE=0``, the wheel is pure Python, behaves
the same, and is slower; with ``PACELINE_COMPILE=1`` a failure to compile is an error. Editable installs are never
compiled: a developer runs the source that he edits.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TIMEOUT_S = 900


class PatternMatchesNothing(Exception):
    """A pattern in ``pyproject.toml`` names no module: one was moved, and what is there now would not be compiled."""

    def __init__(self, pattern: str) -> None:
        super().__init__(f"{pattern} matches no module; correct it in pyproject.toml, under hooks.custom")
        self.pattern = pattern


class CompileHook(BuildHookInterface[Any]):
    """Adds the compiled modules to a wheel, beside their sources."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        wanted = os.environ.get("PACELINE_COMPILE", "")
        if version == "editable" or wanted == "0":
            return
        self._directory = tempfile.mkdtemp(prefix="paceline-build-")
        try:
            found = self._compile(Path(self._directory))
        except (OSError, subprocess.SubprocessError) as error:
            if wanted == "1":
                raise RuntimeError(f"the modules were not compiled, for the reason above: {error}") from error
            self.app.display_warning(
                f"paceline: not compiled ({error}), so it will be slower; install a C compiler and the headers of "
                "Python to change that"
            )
            return
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"].update({str(path): name for name, path in found.items()})

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        shutil.rmtree(getattr(self, "_directory", ""), ignore_errors=True)

    def _compile(self, directory: Path) -> dict[str, Path]:
        """Compile a copy, so that nothing is left in the source. Returns where each extension is, by its name."""
        packages = [Path(self.root, package) for package in self.config["packages"]]
        modules = modules_of(packages, self.config["compiled"], self.config["interpreted"])
        sources, out = directory / "sources", directory / "out"
        for package in packages:
            shutil.copytree(package, sources / package.name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        # What it prints passes through: with pip's -v it is seen as it comes, and when the build fails.
        command = [sys.executable, str(Path(self.root, self.config["compiler"])), str(out)]
        subprocess.run(command, cwd=sources, input="\n".join(modules), text=True, check=True, timeout=TIMEOUT_S)
        return {str(path.relative_to(out)): path for path in out.rglob("*.so")}


def modules_of(packages: Iterable[Path], compiled: Iterable[str], interpreted: Iterable[str]) -> list[str]:
    """The files to compile, as ``paceline/core/node.py``: what ``compiled`` matches, and ``interpreted`` does not.

    No ``__init__.py`` is among them: they hold no code that a task runs. Raises PatternMatchesNothing.
    """
    roots = {package.name: package.parent for package in packages}

    def matches(patterns: Iterable[str]) -> set[str]:
        found: set[str] = set()
        for pattern in patterns:
            root = roots[Path(pattern).parts[0]]
            names = {path.relative_to(root).as_posix() for path in root.glob(pattern) if path.name != "__init__.py"}
            if not names:
                raise PatternMatchesNothing(pattern)
            found |= names
        return found

    return sorted(matches(compiled) - matches(interpreted))
