"""Compiles the modules on the way of every task when a wheel is built. See docs/decisions/0013.

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
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TIMEOUT_S = 900
_SETUP = """
import sys
from mypyc.build import mypycify
from setuptools import setup
modules = sys.argv.pop().split(",")
setup(name="compiled", ext_modules=mypycify(["--ignore-missing-imports", *modules], opt_level="2", debug_level="0"))
"""


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
            output = getattr(error, "output", "") or ""
            if wanted == "1":
                raise RuntimeError(f"the modules were not compiled: {error}\n{output[-4_000:]}") from error
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
        sources = directory / "sources"
        for source in self.config["sources"]:
            root = Path(self.root, source)
            shutil.copytree(root, sources / root.name, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        Path(sources, "setup.py").write_text(_SETUP)
        out = directory / "out"
        subprocess.run(
            [sys.executable, "setup.py", "-q", "build_ext", "--build-lib", str(out), ",".join(self.config["modules"])],
            cwd=sources,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TIMEOUT_S,
        )
        return {str(path.relative_to(out)): path for path in out.rglob("*.so")}
