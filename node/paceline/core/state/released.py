"""The ids of tasks that are over, as far as they are remembered.

One dict that takes ids at one end and loses them at the other is rebuilt by the interpreter whenever its table is full
of places of those already gone: with 100,000 ids that is every 75,000th, and the node stands still for 10 ms. So the
ids are spread over many small dicts, each of which is rebuilt in a tenth of a millisecond, and a deque has their order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, Final

from paceline.core.state.section import Section
from paceline_protocol import fields

_check_items: Final = fields.many(fields.identifier)
SHARDS: Final = 64  # a power of two
RELEASED_LIMIT_TASKS: Final = 100_000
"""Remembered, so that a late copy is not run again. A constant, as every replica must forget the same."""


class Released(Section):
    """The last ``limit`` ids that were added. Iterated from the oldest. An item is an id."""

    def __init__(self, limit: int, name: str = "released") -> None:
        super().__init__(name)
        self.limit = limit
        self._order: deque[bytes] = deque()
        self._shards: list[dict[bytes, None]] = [{} for _ in range(SHARDS)]

    def add(self, task_id: bytes) -> None:
        """Remember it, and forget the oldest beyond the limit. One that is known keeps its age."""
        shard = self._shards[task_id[-1] & (SHARDS - 1)]
        if task_id in shard:
            return
        shard[task_id] = None
        order = self._order
        order.append(task_id)
        if len(order) > self.limit:
            oldest = order.popleft()
            del self._shards[oldest[-1] & (SHARDS - 1)][oldest]

    def __contains__(self, task_id: object) -> bool:
        return isinstance(task_id, bytes) and task_id in self._shards[task_id[-1] & (SHARDS - 1)]

    def __len__(self) -> int:
        return len(self._order)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._order)

    def captured(self) -> list[Any]:
        return list(self._order)

    def read(self, items: Iterable[Any]) -> None:
        _check_items(items)
        for task_id in items:
            self.add(task_id)

    def take_from(self, other: Any) -> None:
        released: Released = other
        self._order, self._shards = released._order, released._shards
