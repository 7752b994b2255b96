"""How a process that leads a session is ended, with all that it started."""

from __future__ import annotations

import os
import signal
import subprocess

import psutil

KILL_TIMEOUT_S = 5.0


def kill_all(process: subprocess.Popen[bytes], variable: str, value: str) -> None:
    """SIGKILL for a process that leads a session, for the session, and for whatever left that with this environment."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # nobody is left in it
    process.wait(KILL_TIMEOUT_S)
    strays = []
    for each in psutil.process_iter():
        try:
            if each.environ().get(variable) == value:
                each.kill()
                strays.append(each)
        except psutil.Error:
            pass  # it is not ours to read, or has just ended
    psutil.wait_procs(strays, KILL_TIMEOUT_S)
