"""On what, and with what, a figure was measured: printed with every figure."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import psutil
import zmq

from paceline.version import is_compiled


def describe() -> dict[str, str]:
    """The machine and the software, and the command that was typed."""
    return {
        "cpu": cpu_model(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory_gib": f"{psutil.virtual_memory().total / 2**30:.1f}",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "pyzmq": f"{zmq.__version__} (libzmq {zmq.zmq_version()})",
        "paceline": f"{version('paceline')}, {'compiled' if is_compiled() else 'interpreted'}",
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load_1min": f"{os.getloadavg()[0]:.2f}",
        "command": command_line(sys.argv),
    }


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    try:
        for line in cpuinfo.read_text().splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    except OSError:
        pass  # not Linux: what the platform module knows has to do
    return platform.processor() or platform.machine()


def command_line(argv: list[str]) -> str:
    """The command as it can be typed again, without the path of the interpreter's script."""
    path = Path(argv[0])
    if path.name == "__main__.py":
        program = f"python -m {path.parent.name}"
    elif path.suffix == ".py" and (path.parent / "__init__.py").exists():
        packages = [parent.name for parent in path.parents if (parent / "__init__.py").exists()]
        program = f"python -m {'.'.join([*reversed(packages), path.stem])}"
    else:
        program = path.name
    return " ".join([program, *map(shlex.quote, argv[1:])])
