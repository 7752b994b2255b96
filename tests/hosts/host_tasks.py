"""What the hosts run. Each run leaves a line, so that a test knows what ran twice, where and when."""

from __future__ import annotations

import os
import time
from pathlib import Path

from paceline import task


@task
def note(path: str, number: int) -> int:
    """Appends "NUMBER NAMESPACE PID SECONDS": the inode of the network namespace says on which host this is."""
    line = f"{number} {os.stat('/proc/self/ns/net').st_ino} {os.getpid()} {time.monotonic():.6f}\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())  # one write, so that lines of several workers don't mix
    finally:
        os.close(descriptor)
    return number * number


@task
def fill(data: bytes, size: int) -> bytes:
    """So many bytes, whatever it was given."""
    return bytes(size)


@task
def note_behind(gate: str, path: str, number: int) -> int:
    """Like ``note``, once the file ``gate`` is there."""
    while not Path(gate).exists():
        time.sleep(0.01)
    return note.function(path, number)
