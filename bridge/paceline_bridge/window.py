"""How many tasks the bridge may have at the cluster, so that the backlog stays with RabbitMQ. Pure.

Once a second the window is adjusted. If more tasks wait at the cluster than SLOT_TASKS for each slot, it is halved.
Otherwise, if it was full since the last time, it is doubled. Tasks that others submitted count, too, since the
cluster's queue is what must not fill up.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WINDOW_MIN = 64
WINDOW_MAX = 2_000
SLOT_TASKS = 4
"""Tasks that may wait for each slot."""
INTERVAL_S = 1.0


class Window:
    """``size``: how many tasks of this bridge may be at the cluster and not ended."""

    def __init__(self) -> None:
        self.size = WINDOW_MIN
        self._was_full = False
        self._next_s = 0.0

    def adjust(self, now: float, outstanding: int, status: Mapping[str, Any]) -> None:
        """Called often, with how many tasks of this bridge have not ended, and the last status that a leader gave."""
        if outstanding >= self.size:
            self._was_full = True
        if now < self._next_s:
            return
        self._next_s = now + INTERVAL_S
        # Of a node that this leader has not heard there is only the address.
        slots = sum(node.get("slots") or 0 for node in status.get("nodes", ()) if node.get("alive"))
        low = max(WINDOW_MIN, 2 * slots)
        if status.get("queued", 0) > max(WINDOW_MIN, SLOT_TASKS * slots):
            self.size = max(low, self.size // 2)
        elif self._was_full or self.size < low:
            self.size = min(max(low, WINDOW_MAX), max(low, self.size * 2))
        self._was_full = False
