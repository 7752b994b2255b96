"""Where a data directory was last written, so that a copy of it is noticed before a node runs on it.

A file can't know that it was copied, but a copy is another file: in another place on its filesystem (another inode, or
another generation of one that was used again), or on another machine. ``identity.json`` has both, of the file itself
and of the machine that wrote it. What can't be relied on counts as unknown, and what is unknown never keeps a node from
starting:

- A container has the machine id of its image, or none, and may be started anywhere: there it is unknown. So is an id
  that the machine makes anew with each boot.
- Some filesystems number their files anew with each mount; only those that are known not to count.

A copy of whole disks, as the snapshot of a virtual machine, has the same inodes, and may have the same machine id. That
is found out once the node speaks with others: ``core/membership/starts.py`` and ``core/raft/replication.py``.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from array import array
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from paceline.runtime.container import CONTAINER_SIGNS
from paceline.runtime.journal.files import open_data_file
from paceline.runtime.limits import with_reserve

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MACHINE_ID = Path("/etc/machine-id")
RUN = Path("/run")
MOUNTS = Path("/proc/self/mountinfo")
SIGNS = (*CONTAINER_SIGNS, Path("/run/systemd/container"))
"""Of Docker and Podman, and what tells systemd; Kubernetes says so in the environment."""
KEEPS_INODES = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "bcachefs", "tmpfs", "overlay", "nfs", "nfs4")
)
START_RANDOM_BITS = 21
INODE_BITS = 64
GET_GENERATION = 0x80087601
"""FS_IOC_GETVERSION, of which ioctl_iflags(2) tells. ext4, XFS, Btrfs and F2FS have it."""


def new_start() -> int:
    """What tells this process from every other that runs as its node: higher the later it begins, by the wall clock,
    and otherwise random. Fits into a frame."""
    milliseconds = max(0, time.time_ns() // 1_000_000) % (1 << (63 - START_RANDOM_BITS))
    return (milliseconds << START_RANDOM_BITS) | secrets.randbits(START_RANDOM_BITS)


def boot_id() -> str:
    """An id that changes with each start of the machine; "" where the system has none."""
    return _text(BOOT_ID)


def machine_id() -> str:
    """The id that this machine has had since it was installed; "" if none can be relied on."""
    if "KUBERNETES_SERVICE_HOST" in os.environ or any(sign.exists() for sign in SIGNS):
        return ""
    try:
        if MACHINE_ID.stat().st_dev == RUN.stat().st_dev:  # made anew with each boot
            return ""
    except OSError:
        return ""
    return _text(MACHINE_ID)


def inode_of(descriptor: int, directory: Path) -> int:
    """The number of an open file in this directory, and above INODE_BITS its generation. 0 if the filesystem may number
    it anew. Raises OSError."""
    if _filesystem(directory) not in KEEPS_INODES:
        return 0
    return _generation_of(descriptor) << INODE_BITS | os.fstat(descriptor).st_ino


def _generation_of(descriptor: int) -> int:
    """How often the filesystem has used this inode, or a random number for each time; 0 if it does not tell."""
    answer = array("l", [0])
    try:
        fcntl.ioctl(descriptor, GET_GENERATION, answer)
    except OSError:
        return 0
    return answer[0] & 0xFFFFFFFF


def _is_another(inode: int, written: int) -> bool:
    """Whether two numbers are of two files, as far as can be told."""
    if not inode or not written:
        return False
    generations = inode >> INODE_BITS, written >> INODE_BITS
    return (inode ^ written) & ((1 << INODE_BITS) - 1) != 0 or (all(generations) and len({*generations}) == 2)


def copied(written: Mapping[str, Any], path: Path) -> str:
    """Why the file ``path``, which holds ``written``, is not where it was written; "" if it is, as far as can be
    told. Raises OSError."""
    with open(open_data_file(path, os.O_RDONLY), "rb") as file:
        inode = inode_of(file.fileno(), path.parent)
    if _is_another(inode, written["inode"]):
        return "it is a copy of the directory that its node wrote"
    here = machine_id()
    if written["machine"] and here and here != written["machine"] and written["boot_id"] != boot_id():
        return f"its node wrote it on another machine, {written['machine']}, and this one is {here}"
    return ""


def _text(path: Path) -> str:
    try:
        return with_reserve(path.read_text).strip()
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
