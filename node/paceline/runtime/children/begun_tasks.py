"""How many tasks a worker has begun, in memory that it shares with its node.

A worker is given short tasks several at a time. When it dies, the node has to know which of them it had begun: these
have lost an attempt, and the others have not. A worker that crashes can't say so any more, and a message before each
task would cost more than a short task does; a number in shared memory costs a store, and outlives the process.
"""

from __future__ import annotations

import mmap
import os
import sys

SIZE_BYTES = 8


class BegunTasks:
    """The node's end. ``fd``: for the child to inherit; closed with :meth:`close_fd` once it has."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("paceline-worker")
        try:
            os.ftruncate(self.fd, SIZE_BYTES)
            self._memory = mmap.mmap(self.fd, SIZE_BYTES)
        except BaseException:
            os.close(self.fd)
            raise

    @property
    def begun(self) -> int:
        """Tasks that the worker has begun since its start. Exact once it has ended."""
        return int.from_bytes(self._memory[:SIZE_BYTES], sys.byteorder)

    def close_fd(self) -> None:
        os.close(self.fd)
