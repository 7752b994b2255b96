"""A target of the byte fuzzers: a function that takes whatever bytes come, and valid ones to begin with.

The rule of every target: only errors that its docstring names leave the code under test, the target itself returns what
the input turned out to be, and everything else that it raises is a finding. What a target knows to be true of a valid
input (that it comes back as it went, that what was refused can still be answered) it checks with :func:`must`, since an
``assert`` is nothing with ``python -O``.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")


def scratch_of(pid: int) -> Path:
    """Where the targets of a process that read files put them: in memory if possible, as they do it some thousand times
    a second."""
    return Path(MEMORY if MEMORY.is_dir() else tempfile.gettempdir()) / f"paceline-fuzz-{pid}"


SCRATCH: Final = scratch_of(os.getpid())
"""That of this process, which goes with it."""
SCRATCH.mkdir(mode=0o700, exist_ok=True)
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)


class Broken(Exception):
    """What must hold of an input does not."""


def must(holds: bool, what: str) -> None:
    """Raises Broken."""
    if not holds:
        raise Broken(what)


@dataclass(frozen=True, slots=True)
class Target:
    """``run``: takes an input, and returns the kind that it was, in a word or two. ``seeds``: valid inputs, made by
    code. ``longest_bytes``: of the inputs that are made of them."""

    name: str
    run: Callable[[bytes], str]
    seeds: Callable[[], Iterable[bytes]]
    longest_bytes: int = 4_096


class Cut:
    """Reads an input from its front."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def byte(self) -> int:
        """0 at the end."""
        found = self._data[self._at : self._at + 1]
        self._at += 1
        return found[0] if found else 0

    def some(self) -> bytes:
        """So many bytes as the two before them say, or as are left."""
        size = (self.byte() << 8) + self.byte()
        self._at += size
        return self._data[self._at - size : self._at]

    def rest(self) -> bytes:
        return self._data[self._at :]


def joined(*parts: bytes, rest: bytes = b"") -> bytes:
    """What ``some()`` reads as these parts, and then ``rest()``."""
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts) + rest
