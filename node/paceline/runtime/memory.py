"""How the allocator of a node's process treats large blocks.

glibc takes a large block from the kernel and gives it back as soon as it is freed, and touching new pages costs far
more than the copy into them: a frame of 16 MiB took 150 ms on a busy machine, and a tenth of that with pages that the
process has already. All clients wait meanwhile. So a node keeps KEPT_BYTES of what it has freed.
"""

from __future__ import annotations

import ctypes
from typing import Final

KEPT_BYTES: Final = 64 << 20
"""Per arena of the allocator, of which the reactor and ZeroMQ's thread have one each."""
LARGEST_KEPT_BYTES: Final = 32 << 20
"""The most that glibc takes: larger blocks always come from the kernel."""

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3


def keep_freed_blocks() -> bool:
    """Have this process use large blocks again. False: its C library has no such settings, which costs time only."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGEST_KEPT_BYTES) and mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))
