"""A temporary directory that does not outlive those who use it, whatever ends them.

It may hold the keys of a cluster, and nothing of Python's runs in a process that a signal ends. So a shell waits beside
it for the end of a pipe, whose other end this process holds, and every node that works in the directory: when the last
of them is gone, the shell removes it. What ends all processes at once, as the end of a container does, leaves it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

_GUARD = 'read -r _; rm -rf -- "$0"'


class ScratchDirectory:
    """Made at once, readable by its owner alone. A context manager, whose value is its ``path``."""

    def __init__(self, prefix: str) -> None:
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        read, self.held = os.pipe()
        """``held`` is to be passed on to each process that works here; it says nothing."""
        try:
            # Away from the directories and the terminal of whoever started this, and from what is sent to these.
            self._guard: subprocess.Popen[bytes] | None = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, str(self.path)],
                stdin=read,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        except OSError:
            self._guard = None  # a machine without a shell: only an orderly end removes the directory
        finally:
            os.close(read)

    def remove(self) -> None:
        """Now. Once."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()
        os.close(self.held)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()
