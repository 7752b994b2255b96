"""Compiles modules with mypyc, in the directory that holds their packages: ``compile_modules.py OUT``, files on stdin.

Each module becomes a C file of its own, and as many are compiled at a time as there are cores. Progress goes to stderr.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from setuptools import Distribution
from setuptools.command.build_ext import build_ext

from mypyc.build import mypycify  # isort: skip (it asks whether setuptools has been imported)

FILES_PER_LINE = 20
"""One line of progress for each so many."""

C_FLAGS = ["-fvisibility=hidden"]
"""One module calls another directly, and not by way of a table in which other libraries could replace the function."""


class BuildExtensions(build_ext):
    """Compiles each C file by itself, where setuptools compiles those of one extension one after the other."""

    def build_extensions(self) -> None:
        jobs = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        total = sum(len(extension.sources) for extension in self.extensions)
        say(f"2/2 {total} C files, {jobs} at a time")
        compile_one = self.compiler.compile
        done = 0
        counting = threading.Lock()

        def compile_file(source: str, options: dict[str, Any]) -> list[str]:
            nonlocal done
            objects: list[str] = compile_one([source], **options)
            with counting:
                done += 1
                if done % FILES_PER_LINE == 0:
                    say(f"    {done} of {total}")
            return objects

        def compile_files(sources: list[str], **options: Any) -> list[str]:
            """The largest first, so that none of them is left for the end, when other cores have nothing to do."""
            largest_first = sorted(sources, key=os.path.getsize, reverse=True)
            compiled = pool.map(lambda source: compile_file(source, options), largest_first)
            return [path for objects in compiled for path in objects]

        self.parallel = jobs  # for the small extensions, of one file each, beside the large one
        self.compiler.compile = compile_files
        with ThreadPoolExecutor(jobs) as pool:
            super().build_extensions()


def say(what: str) -> None:
    print(f"paceline: {what}", file=sys.stderr, flush=True)


def main(out: str, modules: list[str]) -> None:
    begun = time.monotonic()
    say(f"compiling {len(modules)} modules, which takes about a minute on two cores (PACELINE_COMPILE=0 leaves it out)")
    say("1/2 types, and C code (mypyc)")
    extensions = mypycify(["--ignore-missing-imports", *modules], opt_level="2", debug_level="0", multi_file=True)
    for extension in extensions:
        extension.extra_compile_args = [*extension.extra_compile_args, *C_FLAGS]  # mypyc has one list for all of them
    build = BuildExtensions(Distribution({"name": "compiled", "ext_modules": extensions}))
    build.build_lib = out
    build.ensure_finalized()
    build.run()
    say(f"compiled in {time.monotonic() - begun:.0f} s")


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin.read().splitlines())
