"""Where a data directory was last written, so that a copy of it is noticed before a node runs on it.

A file can't know that it was copied, but a copy is another file: in another place on its filesystem (another inode),
or on another machine. ``identity.json`` has both, of the file itself and of the machine that wrote it. What can't be
relied on counts as unknown, and what is unknown never keeps a node from starting:

- A container has the machine id of its image, or none, and may be started anywhere: there it is unknown. So is an id
  that the machine makes anew with each boot.
- Some filesystems number their files anew with each mount; only those that are known not to count.

A copy of whole disks, as the snapshot of a virtual machine, has the same inodes, and may have the same machine id. That
is found out once the node speaks with others: ``core/membership/starts.py`` and ``core/raft/replication.py``.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MACHINE_ID = Path("/etc/machine-id")
RUN = Path("/run")
MOUNTS = Path("/proc/self/mountinfo")
CONTAINER_SIGNS = (Path("/.dockerenv"), Path("/run/.containerenv"), Path("/run/systemd/container"))
"""Docker, Podman, and what tells systemd; Kubernetes says so in the environment."""
KEEPS_INODES = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "tmpfs", "overlay", "nfs", "nfs4")
)
START_RANDOM_BITS = 30


def new_start() -> int:
    """What tells this process from every other that runs as its node: higher the later it begins, by the wall clock,
    and otherwise random. Fits into a frame."""
    seconds = max(0, int(time.time())) % (1 << (63 - START_RANDOM_BITS))
    return (seconds << START_RANDOM_BITS) | secrets.randbits(START_RANDOM_BITS)


def boot_id() -> str:
    """An id that changes with each start of the machine; "" where the system has none."""
    return _text(BOOT_ID)


def machine_id() -> str:
    """The id that this machine has had since it was installed; "" if none can be relied on."""
    if "KUBERNETES_SERVICE_HOST" in os.environ or any(sign.exists() for sign in CONTAINER_SIGNS):
        return ""
    try:
        if MACHINE_ID.stat().st_dev == RUN.stat().st_dev:  # made anew with each boot
            return ""
    except OSError:
        return ""
    return _text(MACHINE_ID)


def inode_of(descriptor_or_path: int | Path, directory: Path) -> int:
    """The number of a file in this directory; 0 if its filesystem may number it anew. Raises OSError."""
    return os.stat(descriptor_or_path).st_ino if _filesystem(directory) in KEEPS_INODES else 0


def copied(written: Mapping[str, Any], path: Path) -> str:
    """Why the file ``path``, which holds ``written``, is not where it was written; "" if it is, as far as can be
    told. Raises OSError."""
    inode = inode_of(path, path.parent)
    if written["inode"] and inode and inode != written["inode"]:
        return "it is a copy of the directory that its node wrote"
    here = machine_id()
    if written["machine"] and here and here != written["machine"] and written["boot_id"] != boot_id():
        return f"its node wrote it on another machine, {written['machine']}, and this one is {here}"
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""


def _filesystem(directory: Path) -> str:
    """The type of the filesystem that a directory is on; "" if that can't be told."""
    where, best, kind = str(directory.resolve()), -1, ""
    for line in _text(MOUNTS).splitlines():
        left, _, right = line.partition(" - ")
        fields = left.split(" ")
        if len(fields) < 5 or not right:
            continue
        point = fields[4].encode().decode("unicode_escape")  # blanks are \040
        if len(point) >= best and (where == point or where.startswith(point.rstrip("/") + "/")):
            best, kind = len(point), right.split(" ")[0]
    return kind
