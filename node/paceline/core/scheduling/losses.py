"""How the attempts of live tasks were lost, as far as this leader has heard of it: for whoever asks where the task is,
for its record once it has ended, and for the error of one that has no attempt left.

While a task lives the log has how many were lost, and not how: a task that ends its worker each time does so in the
same way most often, and a new leader soon hears of the next. So this is one leader's, and bounded: of more than
LOSSES_LIMIT tasks, as when a large node dies, those are forgotten whose first loss is the oldest.
"""

from __future__ import annotations

from typing import Final

from paceline_protocol.limits import KEPT_LOSSES, SUMMARY_LIMIT_BYTES
from paceline_protocol.payload import trim
from paceline_protocol.texts import one_line

LOSSES_LIMIT: Final = 10_000


class Losses:
    """By task, each (attempt, "on node N: how")."""

    __slots__ = ("_by_id",)

    def __init__(self) -> None:
        self._by_id: dict[bytes, list[tuple[int, str]]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def add(self, task_id: bytes, attempt: int, loss: str) -> None:
        """An attempt was lost."""
        losses = self._by_id.get(task_id)
        if losses is None:
            if len(self._by_id) >= LOSSES_LIMIT:
                del self._by_id[next(iter(self._by_id))]
            losses = self._by_id[task_id] = []
        losses.append((attempt, loss))
        del losses[:-KEPT_LOSSES]

    def take(self, task_id: bytes) -> tuple[tuple[int, str], ...]:
        """Nothing becomes of this task any more. Returns its losses, each as a line."""
        return tuple([(attempt, _line(loss)) for attempt, loss in self._by_id.pop(task_id, ())])

    def of(self, task_id: bytes) -> list[tuple[int, str]]:
        """Those of a task, each as a line."""
        return [(attempt, _line(loss)) for attempt, loss in self._by_id.get(task_id, ())]

    def all_of(self, task_id: bytes, last: str) -> str:
        """How the attempts of a task were lost, the last one so: the others too, those that are alike together."""
        counts: dict[str, int] = {}
        for _attempt, loss in self._by_id.get(task_id, ()):
            counts[loss] = counts.get(loss, 0) + 1
        others = [f"{count} times {loss}" if count > 1 else loss for loss, count in counts.items()]
        return f"last {last}" + (f"; before that {'; '.join(others)}" if others else "")


def loss_on(node_id: str, how: bytes) -> str:
    """``how``: as a node reports it."""
    return f"on node {node_id}: {trim(how.decode(errors='replace'), SUMMARY_LIMIT_BYTES)}"


def _line(loss: str) -> str:
    """A node may have said anything."""
    return trim(one_line(loss), SUMMARY_LIMIT_BYTES)
