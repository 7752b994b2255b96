"""The modules of a wheel are compiled with whatever C compiler there is."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

COMPILER = Path(__file__).parents[2] / "node" / "compile_modules.py"
WITHOUT_LINK_TIME = """#!/bin/sh
case "$*" in *flto*) echo "unrecognized option -flto" >&2; exit 1 ;; esac
exec gcc "$@"
"""


@pytest.mark.parametrize("can_optimize_at_link_time", [True, False])
def test_a_c_compiler_that_can_not_optimize_at_link_time_will_do(
    tmp_path: Path, can_optimize_at_link_time: bool
) -> None:
    package, out = tmp_path / "package", tmp_path / "out"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "one.py").write_text("def one(number: int) -> int:\n    return number + 1\n")
    (package / "two.py").write_text(
        "from package.one import one\n\n\ndef two(number: int) -> int:\n    return one(number) + 1\n"
    )
    environment = dict(os.environ)
    if not can_optimize_at_link_time:
        compiler = tmp_path / "cc"
        compiler.write_text(WITHOUT_LINK_TIME)
        compiler.chmod(0o755)
        environment["CC"] = str(compiler)

    compiling = subprocess.run(
        [sys.executable, COMPILER, out],
        cwd=tmp_path,
        input="package/one.py\npackage/two.py",
        text=True,
        capture_output=True,
        env=environment,
        timeout=300,
        check=False,
    )

    assert compiling.returncode == 0, compiling.stderr
    assert ("again without" in compiling.stderr) != can_optimize_at_link_time
    says = "import package.two; print(package.two.two(1), package.two.__file__.endswith('.so'))"
    ran = subprocess.run([sys.executable, "-c", says], cwd=out, text=True, capture_output=True, timeout=60, check=False)
    assert ran.stdout.split() == ["3", "True"], ran.stderr
