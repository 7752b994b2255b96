"""How much memory this process may use: what the machine has, or its control group allows; and how often the kernel has
killed a process as there was none.

A container shows the memory of its machine in /proc/meminfo and is killed at the limit of its control group. So both
are looked at, and the groups above it too.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

_UNLIMITED_BYTES = 1 << 60
"""Version 1 of control groups says a number near 2**63 where there is no limit."""


def memory_bytes(root: Path = Path("/")) -> int | None:
    """The lowest limit; None if the system tells none. ``root``: in place of / for tests."""
    found = [limit for limit in _limits(root) if 0 < limit < _UNLIMITED_BYTES]
    return min(found, default=None)


def oom_kills(root: Path = Path("/")) -> int | None:
    """How many processes the kernel has killed as memory had run out: in the control group of this one, and those below
    it, or on the machine where the group does not say. None if neither does."""
    for controllers, path in _groups(root):
        if not controllers:
            found = _first_count(_above(root / "sys/fs/cgroup", path, "memory.events"))
        elif "memory" in controllers.split(","):
            found = _first_count(_above(root / "sys/fs/cgroup/memory", path, "memory.oom_control"))
        else:
            continue
        if found is not None:
            return found
    return _first_count([root / "proc/vmstat"])


def _first_count(paths: Iterable[Path]) -> int | None:
    """The number behind "oom_kill" in the first of these files that has one."""
    for path in paths:
        for line in _read(path).splitlines():
            name, _, number = line.partition(" ")
            if name == "oom_kill" and number.isascii() and number.isdecimal():
                return int(number)
    return None


def _limits(root: Path) -> Iterator[int]:
    yield from _of_machine(root)
    for controllers, path in _groups(root):
        if not controllers:
            yield from _upwards(root / "sys/fs/cgroup", path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _upwards(root / "sys/fs/cgroup/memory", path, "memory.limit_in_bytes")


def _of_machine(root: Path) -> Iterator[int]:
    for line in _read(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal":
            yield int(rest.split()[0]) * 1024
            return
    try:
        yield os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):  # this system does not know the names
        pass


def _groups(root: Path) -> Iterator[tuple[str, str]]:
    """(controllers, path) of each group that this process is in; without controllers for version 2."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            yield parts[1], parts[2]


def _upwards(mount: Path, path: str, name: str) -> Iterator[int]:
    """The limits of a group and of those above it."""
    for file in _above(mount, path, name):
        text = _read(file).strip()
        if text.isascii() and text.isdecimal():  # or "max"
            yield int(text)


def _above(mount: Path, path: str, name: str) -> Iterator[Path]:
    """This file of a group and of those above it. In a container the group may be mounted as the root itself."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    for count in range(len(parts), -1, -1):
        yield mount.joinpath(*parts[:count], name)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
