"""When a sampled task passed through this process.

A call with the option ``trace`` is sampled. Each process on its way notes when the task arrived or left, and a
:class:`Trace` carries these stamps back beside the outcome, from worker to node to leader to submitter. Nothing else
reads them: without this module every task goes the same way at the same time. A trace that is lost with a frame or a
leader is not repeated.

The stamps. A message arrived at the moment at which the turn of the loop began that read it. A message left at the
moment that the shell, which alone has a clock, passes to :meth:`Traces.left`: just before it packs and sends. So every
stamp of the sender is before every stamp of the receiver, on a machine whose processes share their monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from paceline_protocol.messages.records import Outcome
from paceline_protocol.messages.trace import Stage, Trace

OPEN_LIMIT_TASKS: Final = 1_024
"""Sampled tasks that are on their way through this process. At the limit the oldest is dropped, and has no trace."""

_LEADER_IN, _DISPATCHED = int(Stage.LEADER_IN), int(Stage.DISPATCHED)
_NODE_IN, _LEADER_BACK = int(Stage.NODE_IN), int(Stage.LEADER_BACK)


class Traces:
    """The sampled tasks of one node, in its part as leader and in its part as the node of its workers.

    ``leaving``: tasks that the shell is about to send; it calls :meth:`left` before it does. ``came``: arrivals of this
    turn, which :meth:`take` stamps.
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
        """The leader has received the task."""
        self._begin(task_id)
        self.came.append((task_id, _LEADER_IN))

    def dispatched_here(self, task_id: bytes) -> None:
        """The task's node has received it. If the leader is in the same process there was no hop, and nothing is
        noted."""
        if task_id not in self.leaving:
            self._begin(task_id)
            self.came.append((task_id, _NODE_IN))

    def ended(self, task_id: bytes, submitter: bytes) -> None:
        """The leader has the outcome. The trace is complete, and goes to the ``submitter``'s connection."""
        if task_id in self._open:
            self.came.append((task_id, _LEADER_BACK))
            self._done.append((submitter, task_id))

    def add(self, trace: Trace) -> None:
        """Take in the stamps of other processes, of a task that is known here."""
        stamps = self._open.get(trace.id)
        if stamps is not None:
            for stage, at_ns in trace.stamps:
                stamps.setdefault(stage, at_ns)

    def left(self, now: float) -> None:
        """The shell sends the tasks that are leaving. Stamps of an earlier attempt are dropped."""
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

    # --- traces that leave ----------------------------------------------------------------------------------------

    def take(self, now: float) -> list[tuple[bytes, Trace]]:
        """Stamp the arrivals of this turn. Returns the complete traces, each with its submitter's connection."""
        for task_id, stage in self.came:
            stamps = self._open.get(task_id)
            if stamps is not None:
                stamps[stage] = _ns(now)
        self.came.clear()
        told = [(submitter, trace) for submitter, task_id in self._done if (trace := self._close(task_id)) is not None]
        self._done.clear()
        return told

    def take_reported(self, outcomes: Iterable[Outcome]) -> list[Trace]:
        """The traces that a node sends its leader beside these outcomes."""
        return [trace for outcome in outcomes if (trace := self._close(outcome[0])) is not None]

    def _close(self, task_id: bytes) -> Trace | None:
        stamps = self._open.pop(task_id, None)
        return None if stamps is None else Trace(task_id, tuple(sorted(stamps.items())))


def _ns(now: float) -> int:
    return round(now * 1e9)
