"""Which processor each process runs on, when two things of a few processes each are to be compared.

Left alone, the kernel puts the processes of a round trip on one processor or spreads them over several, and changes its
mind between runs: raw sockets take twice as long in one case as in the other, whatever is measured. So they are placed:
the node and its worker on one processor, the client on another, which share nothing, as two machines would not. The
figures without placement are shown beside.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, slots=True)
class Placement:
    """Processors by number; empty: wherever the kernel likes."""

    name: str
    node: frozenset[int]
    client: frozenset[int]

    def apply(self, node_pids: Iterable[int]) -> None:
        """Move the given processes to the node's processors, with what they started, and this one to the client's."""
        if not hasattr(os, "sched_setaffinity"):
            return
        for pid in node_pids:
            for each in (pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))):
                _move(each, self.node)
        _move(os.getpid(), self.client)


def placements() -> list[Placement]:
    """The placements for which this machine has enough processors. Comparisons use the first."""
    free = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset[int]()
    anywhere = Placement("anywhere", free, free)
    if len(free) < 2:
        return [anywhere]
    first, second, *_ = sorted(free)
    return [Placement("apart", frozenset({first}), frozenset({second})), anywhere]


def _move(pid: int, processors: frozenset[int]) -> None:
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except FileNotFoundError:
        return  # the process has just ended
    for thread in threads:
        try:
            os.sched_setaffinity(int(thread), processors)
        except ProcessLookupError:
            pass  # the thread has
