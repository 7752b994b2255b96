"""Tasks that somebody holds."""

from __future__ import annotations

from simulation.oracle.events import Altered, Dispatched
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record


class HeldTasks(Promise):
    says = "once the log has that a task is held, no leader hands it out until the log has that it is not"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._held: set[bytes] = set()

    def on_altered(self, event: Altered) -> None:
        if event.is_held:
            self._held.add(event.task_id)
        else:
            self._held.discard(event.task_id)

    def on_dispatched(self, event: Dispatched) -> None:
        if event.task_id in self._held:
            self.broken(f"{event.leader} hands out a task that is held", self.record.stories[event.task_id])
