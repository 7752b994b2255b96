"""Why a child has ended: in words, for the outcome of what it ran and for the log, and as one of few causes, for the
metric.

The exit code says most of it. SIGKILL says nothing of who has sent it. If this node has not, it may have been the
kernel, as memory had run out. It counts how often it did so in a control group, or on the machine, and tells nobody
whom: so a worker that was killed while the count went up was killed for that, as far as anyone can tell.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Final

from paceline.memory import oom_kills

EXIT: Final = "exit"  # by its own code, with an exit code
CRASH: Final = "crash"  # by a signal that a fault of its code has brought about
KILLED: Final = "killed"  # by another signal, which somebody has sent
OUT_OF_MEMORY: Final = "out_of_memory"  # by the kernel, as memory had run out
TIME_LIMIT: Final = "time_limit"  # by its node, as in the four that follow
CANCEL_GRACE: Final = "cancel_grace"
MEMORY_LIMIT: Final = "memory_limit"
DRAINED: Final = "drained"  # as it still ran something when the drain of its node was over
BY_NODE: Final = "by_node"  # as it said what no worker can say, or did not end what a task had left

RECYCLED: Final = "recycled"  # as it was to be replaced, between two tasks

CAUSES: Final = (EXIT, CRASH, KILLED, OUT_OF_MEMORY, TIME_LIMIT, CANCEL_GRACE, MEMORY_LIMIT, DRAINED, BY_NODE, RECYCLED)
"""The values of the label of paceline_worker_exits_total."""

_CRASHES: Final = frozenset(
    (
        signal.SIGSEGV,
        signal.SIGBUS,
        signal.SIGABRT,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGSYS,
        signal.SIGTRAP,
    )
)


def of_code(code: int) -> tuple[str, str]:
    """(in words, cause) of a return code as Popen has it."""
    if code >= 0:
        return f"exit code {code}", EXIT
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"  # a real-time signal has no name
    return f"killed by {name}", CRASH if -code in _CRASHES else KILLED


def by_the_kernel(peak_bytes: int) -> str:
    """In words, of one that was killed as memory had run out. ``peak_bytes``: the most that it had; 0: not known."""
    had = f", and it had up to {size(peak_bytes)}" if peak_bytes else ""
    return f"killed by SIGKILL as memory ran out: the kernel has counted an OOM kill{had}"


def size(count: int) -> str:
    """A number of bytes as a person reads it."""
    mib = count / (1 << 20)
    return f"{mib / 1024:.1f} GiB" if mib >= 1000 else f"{mib:.0f} MiB"


class OomKills:
    """The kernel's count, looked at as each child ends. Several may be killed at once: each takes one off what the
    count has gone up by, until one ends otherwise."""

    def __init__(self, root: Path = Path("/")) -> None:
        """``root``: in place of / for tests."""
        self._root = root
        self._explained = oom_kills(root)

    def explains_one(self) -> bool:
        """Whether the kernel has killed a child that was killed, and not by this node."""
        count = oom_kills(self._root)
        if count is None or self._explained is None or count <= self._explained:
            return False
        self._explained += 1
        return True

    def is_no_cause(self) -> None:
        """A child ended otherwise: what was counted so far was no child."""
        self._explained = oom_kills(self._root)
