"""How the attempts of live tasks were lost, as far as this leader has heard of it: for the error of a task that has no
attempt left.

The log has how many were lost, and not how: a task that ends its worker each time does so in the same way most often,
and a new leader soon hears of the next. So this is one leader's, and bounded: of more than LOSSES_LIMIT tasks, as when
a large node dies, those are forgotten whose first loss is the oldest.
"""

from __future__ import annotations

from typing import Final

from paceline_protocol.limits import SUMMARY_LIMIT_BYTES
from paceline_protocol.payload import trim

LOSSES_LIMIT: Final = 10_000
KEPT_LOSSES: Final = 8
"""Of one task: the last ones."""


class Losses:
    """By task, each "on node N: how"."""

    __slots__ = ("_by_id",)

    def __init__(self) -> None:
        self._by_id: dict[bytes, list[str]] = {}

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def add(self, task_id: bytes, loss: str) -> None:
        """An attempt was lost, and another follows."""
        losses = self._by_id.get(task_id)
        if losses is None:
            if len(self._by_id) >= LOSSES_LIMIT:
                del self._by_id[next(iter(self._by_id))]
            losses = self._by_id[task_id] = []
        losses.append(loss)
        del losses[:-KEPT_LOSSES]

    def forget(self, task_id: bytes) -> None:
        """Nothing becomes of this task any more."""
        self._by_id.pop(task_id, None)

    def all_of(self, task_id: bytes, last: str) -> str:
        """How the attempts of a task were lost, the last one so: the others too, those that are alike together."""
        counts: dict[str, int] = {}
        for loss in self._by_id.get(task_id, ()):
            counts[loss] = counts.get(loss, 0) + 1
        others = [f"{count} times {loss}" if count > 1 else loss for loss, count in counts.items()]
        return f"last {last}" + (f"; before that {'; '.join(others)}" if others else "")


def loss_on(node_id: str, how: bytes) -> str:
    """``how``: as a node reports it."""
    return f"on node {node_id}: {trim(how.decode(errors='replace'), SUMMARY_LIMIT_BYTES)}"
