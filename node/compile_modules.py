"""Compiles modules with mypyc, in the directory that holds their packages: ``compile_modules.py OUT``, files on stdin.

What the modules become is put into UNITS C files, and as many are compiled at a time as there are cores. Progress goes
to stderr. docs/decisions/0025 has the reasons and the figures.
"""

from __future__ import annotations

import copy
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from setuptools import Distribution
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

from mypyc.build import mypycify  # isort: skip (it asks whether setuptools has been imported)

UNITS = 16
"""A C file for each module would read the same headers more than a hundred times, and one for all of them would leave
the other cores with nothing to do. The number does not depend on the machine, so that every machine builds the same."""

UNITS_PER_LINE = 4
"""One line of progress for each so many."""

C_FLAGS = ["-fvisibility=hidden"]
"""One module calls another directly, and not by way of a table in which other libraries could replace the function."""

LINK_TIME = ["-O2", "-flto=auto"]
"""Small functions are put into those that call them from other files. Not every C compiler has a linker that can."""


class BuildExtensions(build_ext):
    """Compiles each C file by itself, where setuptools compiles those of one extension one after the other."""

    def build_extensions(self) -> None:
        jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        units = {source for extension in self.extensions if is_library(extension) for source in extension.sources}
        say(f"2/2 C code, {jobs} units at a time")
        compile_one = self.compiler.compile
        done = 0
        counting = threading.Lock()

        def compile_file(source: str, options: dict[str, Any]) -> list[str]:
            nonlocal done
            objects: list[str] = compile_one([source], **options)
            if source in units:
                with counting:
                    done += 1
                    if done % UNITS_PER_LINE == 0:
                        say(f"    {done} of {len(units)}")
            return objects

        def compile_files(sources: list[str], **options: Any) -> list[str]:
            compiled = pool.map(lambda source: compile_file(source, options), sources)
            return [path for objects in compiled for path in objects]

        self.parallel = jobs  # for the small extensions, of one file each, beside the library
        self.compiler.compile = compile_files
        with ThreadPoolExecutor(jobs) as pool:
            super().build_extensions()


def is_library(extension: Any) -> bool:
    """Whether it has the code of all modules. Each other one stands for one module, and finds its code there."""
    return len(extension.sources) > 1


def into_units(sources: list[str], directory: Path) -> list[str]:
    """Write C files that include ``sources``, neighbours together, and are about as long. Returns their paths."""
    directory.mkdir(parents=True)
    sizes = [os.path.getsize(source) for source in sources]
    total, before = sum(sizes), 0
    texts = [""] * UNITS
    for source, size in zip(sources, sizes, strict=True):
        texts[(2 * before + size) * UNITS // (2 * total)] += f'#include "{os.path.abspath(source)}"\n'
        before += size
    units = [(directory / f"unit_{number}.c", text) for number, text in enumerate(texts) if text]
    for path, text in units:
        path.write_text(text, encoding="utf-8")
    return [str(path) for path, _ in units]


def say(what: str) -> None:
    print(f"paceline: {what}", file=sys.stderr, flush=True)


def main(out: str, modules: list[str]) -> None:
    begun = time.monotonic()
    say(f"compiling {len(modules)} modules, which takes about a minute on two cores (PACELINE_COMPILE=0 leaves it out)")
    say("1/2 types, and C code (mypyc)")
    extensions = mypycify(["--ignore-missing-imports", *modules], opt_level="2", debug_level="0", multi_file=True)
    for extension in extensions:
        extension.extra_compile_args = [*extension.extra_compile_args, *C_FLAGS]  # mypyc has one list for all of them
        if is_library(extension):
            extension.sources = into_units(extension.sources, Path(out, "units"))
    try:
        build(extensions, out, LINK_TIME)
    except (CompileError, LinkError):
        say("this C compiler can't optimize at link time (-flto=auto); again without")
        build(extensions, out, [])
    say(f"compiled in {time.monotonic() - begun:.0f} s")


def build(extensions: list[Any], out: str, flags: list[str]) -> None:
    """Raises CompileError, or LinkError."""
    with_flags = copy.deepcopy(extensions)
    for extension in with_flags:
        extension.extra_compile_args += flags
        extension.extra_link_args += flags
    command = BuildExtensions(Distribution({"name": "compiled", "ext_modules": with_flags}))
    command.build_lib = out
    command.build_temp = str(Path(out, "objects", "link-time" if flags else "plain"))
    command.ensure_finalized()
    command.run()


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin.read().splitlines())
