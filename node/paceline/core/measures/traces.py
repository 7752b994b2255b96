"""When a sampled task passed through this process.

A call with the option ``trace`` is watched on its way: each process notes when the task came, or left, and what all of
them noted travels back beside the outcome in a :class:`Trace`, from worker to node to leader to submitter. Nothing here
is looked at by anything but that: without this module every task goes the same way at the same time. So a trace may be
lost, and is, with a leader or a frame; it is not repeated.

The moments. What *came* did so when the turn began that found it. What *leaves* does so when the shell, which alone has
a clock, says so: just before it packs and sends what it was told to. So every moment at the sender is before every
moment at the receiver, on a machine whose processes share their monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from paceline_protocol.messages import Outcome, Stage, Trace

OPEN_LIMIT_TASKS: Final = 1_024
"""Sampled tasks that are on their way through this process. Beyond it the oldest is forgotten, and has no trace."""

_LEADER_IN, _DISPATCHED = int(Stage.LEADER_IN), int(Stage.DISPATCHED)
_NODE_IN, _LEADER_BACK = int(Stage.NODE_IN), int(Stage.LEADER_BACK)


class Traces:
    """The sampled tasks of one node, as a leader and as the node of its workers.

    ``leaving``: those that the shell is about to send; it calls :meth:`left` before it does. ``came``: what has to be
    settled in this turn, by :meth:`take`.
    """

    __slots__ = ("_done", "_open", "came", "leaving")

    def __init__(self) -> None:
        self.leaving: set[bytes] = set()
        self.came: list[tuple[bytes, int]] = []  # (task id, stage)
        self._done: list[tuple[bytes, bytes]] = []  # (a submitter's connection, task id)
        self._open: dict[bytes, dict[int, int]] = {}  # task id -> stage -> nanoseconds; the oldest first

    def __len__(self) -> int:
        return len(self._open)

    # --- what happens -------------------------------------------------------------------------------------------

    def submitted(self, task_id: bytes) -> None:
        """The leader has it."""
        self._begin(task_id)
        self.came.append((task_id, _LEADER_IN))

    def dispatched_here(self, task_id: bytes) -> None:
        """Its node has it. If the leader is in this process that was no hop, and there is nothing to note."""
        if task_id not in self.leaving:
            self._begin(task_id)
            self.came.append((task_id, _NODE_IN))

    def ended(self, task_id: bytes, submitter: bytes) -> None:
        """The leader has the outcome, and all that there is to tell the ``submitter``'s connection."""
        if task_id in self._open:
            self.came.append((task_id, _LEADER_BACK))
            self._done.append((submitter, task_id))

    def add(self, trace: Trace) -> None:
        """What others noted, of a task that is known here."""
        stamps = self._open.get(trace.id)
        if stamps is not None:
            for stage, at_ns in trace.stamps:
                stamps.setdefault(stage, at_ns)

    def left(self, now: float) -> None:
        """The shell sends what is leaving. Of an earlier attempt nothing counts any more."""
        for task_id in self.leaving:
            stamps = self._open.get(task_id)
            if stamps is not None:
                self._open[task_id] = {stage: at_ns for stage, at_ns in stamps.items() if stage < _DISPATCHED}
                self._open[task_id][_DISPATCHED] = _ns(now)
        self.leaving.clear()

    def _begin(self, task_id: bytes) -> None:
        if task_id not in self._open:
            if len(self._open) >= OPEN_LIMIT_TASKS:
                del self._open[next(iter(self._open))]
            self._open[task_id] = {}

    # --- what is told -------------------------------------------------------------------------------------------

    def take(self, now: float) -> list[tuple[bytes, Trace]]:
        """Note what came in this turn. Returns what to tell submitters, by connection."""
        for task_id, stage in self.came:
            stamps = self._open.get(task_id)
            if stamps is not None:
                stamps[stage] = _ns(now)
        self.came.clear()
        told = [(submitter, trace) for submitter, task_id in self._done if (trace := self._close(task_id)) is not None]
        self._done.clear()
        return told

    def take_reported(self, outcomes: Iterable[Outcome]) -> list[Trace]:
        """What a node tells its leader beside these outcomes."""
        return [trace for outcome in outcomes if (trace := self._close(outcome[0])) is not None]

    def _close(self, task_id: bytes) -> Trace | None:
        stamps = self._open.pop(task_id, None)
        return None if stamps is None else Trace(task_id, tuple(sorted(stamps.items())))


def _ns(now: float) -> int:
    return round(now * 1e9)
