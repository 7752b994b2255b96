"""Chooses the calls of a client that are traced, and collects their stamps. Pure: the caller passes the time.

The first call is traced, and then every N-th, so the choice does not depend on time or chance. The stamps of a call
come in two halves, in any order: the client's own, and those of the :class:`Trace` that the leader sends. A trace can
be lost; the other half is dropped when TRACES_LIMIT_TASKS later ones are there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TypeAlias

from paceline_protocol.messages.records import TRACED, Options
from paceline_protocol.messages.trace import Stage, Trace
from paceline_protocol.options import by_name, is_by_name

TRACES_LIMIT_TASKS = 4_096
"""How many ended calls keep their stamps until somebody takes them. At the limit the oldest are dropped."""

Stamps: TypeAlias = dict[int, int]
"""Stage -> nanoseconds of the monotonic clock, in the order of the way."""


class Sampler:
    """``next_serial``: the number of the next call to trace, from 1; 0 is no call's. ``under_way``: when the traced
    calls that have not come back were submitted, in nanoseconds; bounded by the calls that may be outstanding."""

    def __init__(self, every: int) -> None:
        """``every``: one of so many calls is traced; 0: none."""
        self.next_serial = 1 if every else 0
        self.under_way: dict[bytes, int] = {}
        self._every = every
        self._came_back: deque[tuple[bytes, int, int]] = deque(maxlen=TRACES_LIMIT_TASKS)  # (id, submitted, back)
        self._told: deque[Trace] = deque(maxlen=TRACES_LIMIT_TASKS)

    def sample(self, task_id: bytes, options: Options | None, at_ns: int) -> Options:
        """The next call to trace is submitted now. Returns its options."""
        self.next_serial += self._every
        self.under_way[task_id] = at_ns
        if options is None:
            return {"trace": TRACED}
        traced = {**options, "trace": TRACED}
        return by_name(traced) if is_by_name(options) else traced

    def came_back(self, task_id: bytes, at_ns: int) -> None:
        """A call that is under way has ended."""
        self._came_back.append((task_id, self.under_way.pop(task_id), at_ns))

    def tell(self, traces: Iterable[Trace]) -> None:
        """Take in the traces that the leader has sent."""
        self._told.extend(traces)

    def take(self) -> dict[bytes, Stamps]:
        """Take the stamps of the calls of which both halves have arrived."""
        told = {trace.id: trace.stamps for trace in self._told}
        whole: dict[bytes, Stamps] = {}
        for task_id, submitted_ns, back_ns in self._came_back:
            if task_id in told:
                whole[task_id] = {Stage.SUBMITTED: submitted_ns, **dict(told[task_id]), Stage.CLIENT_BACK: back_ns}
        self._came_back = deque((part for part in self._came_back if part[0] not in whole), TRACES_LIMIT_TASKS)
        self._told = deque((trace for trace in self._told if trace.id not in whole), TRACES_LIMIT_TASKS)
        return whole
