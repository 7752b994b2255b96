"""No task waits for long, at one node or at the leader, while there is a free worker somewhere.

This is heard in calm alone: what comes back from a node does so by messages, and each may be lost a few times.
"""

from __future__ import annotations

from simulation.oracle.events import WaitsSeen
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record

FREE_SLOT_S = 0.8
"""A task waits at one node, or at the leader, for at most so long while some worker of any node is free."""


class FreeSlots(Promise):
    says = "no task waits for long while a worker that could run it is free"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._since: dict[bool, dict[tuple[bytes, str], float]] = {}
        """By kind of tasks, of those that wait somewhere though a worker for them is free."""

    def on_waits_seen(self, event: WaitsSeen) -> None:
        before = self._since.pop(event.is_async, {})
        if not event.free:
            return
        since = self._since[event.is_async] = {each: before.get(each, event.at_s) for each in event.waiting.items()}
        for (task_id, where), since_s in since.items():
            if event.at_s > since_s + FREE_SLOT_S:
                free = ", ".join(sorted(event.free))
                story = self.record.stories[task_id]
                self.broken(f"waits at {where} for {event.at_s - since_s:.3f} s, and {free} could run it", story)
