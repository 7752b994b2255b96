"""How many tasks a worker has begun, and up to which it is to begin none, in memory that it shares with its node.

A worker is given short tasks several at a time. When it dies, the node has to know which of them it had begun: these
have lost an attempt, and the others have not. A worker that crashes can't say so any more, and a message before each
task would cost more than a short task does; a number in shared memory costs a store, and outlives the process.

While one of them runs for long, the others behind it are taken back. The worker does not listen then, so that is told
in the same way, and so is which of them it is asked to stop; a signal has it look. ``core/work/worker_slot.py`` says
why nothing is begun that is taken back, and ``worker/stop_requests.py`` why no other task is stopped.

The worker runs user code, and a process that reads memory whose file was cut off is ended by the kernel (SIGBUS). So
the size of this memory is sealed, and whatever numbers stand in it, the node goes on.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct

from paceline.stop_signal import ASKED_NUMBERS

NUMBERS = struct.Struct(f"@QQQQ{ASKED_NUMBERS}Q")
"""Tasks that the worker has begun since its start, which the worker writes; which it is not to begin any more, up to
the last of them, and the last of those that it is asked to stop, which the node writes; and the last of these that it
has seen, which the worker writes. Each is written in one store. A worker that runs many at once is asked to stop
some in another way: there the last is the number of the task whose code it runs just now. Behind them stand the tasks
that it is asked to stop, each where its number says, as it may run several at once in one call of their function."""


_FIRST_PLACE = 4


class BegunTasks:
    """The node's end. ``fd``: for the child to inherit; closed with :meth:`close_fd` once it has."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("paceline-worker", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(self.fd, NUMBERS.size)
            fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            self._numbers = memoryview(mmap.mmap(self.fd, NUMBERS.size)).cast("Q")
        except BaseException:
            os.close(self.fd)
            raise

    @property
    def begun(self) -> int:
        """Tasks that the worker has begun since its start, or passed over. Exact once it has ended."""
        return self._numbers[0]

    @property
    def runs(self) -> int:
        """Of a worker that runs many at once: the number of the task whose code it runs just now; 0: of none, or nobody
        can tell."""
        return self._numbers[3]

    def withhold(self, through: int) -> None:
        """The worker is to begin no other of its first ``through`` tasks."""
        self._numbers[1] = max(through, self._numbers[1])

    def stop(self, number: int) -> bool:
        """The worker is asked to stop this task, and is not to begin it any more. Of several the last counts: it had
        answered for those before it, or was about to, when it came to that one. False: it has seen that."""
        self.withhold(number)
        place = _FIRST_PLACE + number % ASKED_NUMBERS
        is_new = self._numbers[place] != number
        self._numbers[place] = number
        self._numbers[2] = max(number, self._numbers[2])
        return is_new or self._numbers[3] < number

    def close_fd(self) -> None:
        os.close(self.fd)
