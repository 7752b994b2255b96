"""A temporary directory that is removed when the last process that uses it ends, whatever ends the process.

The directory may hold the keys of a cluster, and Python can't clean up in a process that a signal kills. So a shell
waits for the end of a pipe; this process has the pipe's other end, and so has every node that works in the directory.
When the last of them is gone, the pipe ends and the shell removes the directory. If all processes are killed at once,
the shell included, as when a container ends, the directory stays.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType

from paceline.descriptors import check_room_for
from paceline.errors import ConfigError
from paceline.local.pipes import let_go, lifeline

START_FILES = 6
"""Both ends of a pipe, the outputs of the guard, and what Popen has for a moment. One of them stays."""
_GUARD = 'read -r _; rm -rf -- "$0"'


class ScratchDirectory:
    """Made at once, readable by its owner alone. A context manager, whose value is its ``path``. Raises ConfigError if
    there is no place for it, and OutOfResources."""

    def __init__(self, prefix: str) -> None:
        check_room_for(START_FILES, "a temporary directory with its guard")
        try:
            self.path = Path(tempfile.mkdtemp(prefix=prefix))
        except OSError as error:  # of every directory that Python tries, or of the one that TMPDIR names
            raise ConfigError(
                f"can't make a temporary directory: {error.strerror}; set TMPDIR to one that this user can write to"
            ) from error
        self._pid = os.getpid()
        read, self.held = lifeline()
        """``held``: the end of the pipe, which each process that works in the directory must inherit. Nothing is
        written to it."""
        try:
            # In a directory and a session of its own, so that signals to this process's terminal don't reach the shell.
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
        """Remove the directory now. To be called once. Does nothing in a forked child: it is the parent's."""
        if os.getpid() != self._pid:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()
        let_go(self.held)

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()
