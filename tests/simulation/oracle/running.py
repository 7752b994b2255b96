"""``max_running``: of one key no more run at once than may.

A node that is silent and lives may run what its leader has given to others: in worlds with limits there is none."""

from __future__ import annotations

from simulation.oracle.events import BrokenOff, Crashed, Finished, Started
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record


class Running(Promise):
    says = "of one key no more run at once than its limit allows"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._running: dict[str, set[tuple[bytes, int, str]]] = {}

    def on_started(self, event: Started) -> None:
        story = self.record.stories[event.task_id]
        limit = story.options.get("max_running", 0)
        if not limit:
            return
        running = self._running.setdefault(str(story.options["limit_key"]), set())
        running.add((event.task_id, event.attempt, event.node))
        if len(running) > limit:
            self.broken(f"begins as one too many: {len(running)} run, and {limit} may", story)

    def _ends(self, task_id: bytes, attempt: int, node: str) -> None:
        key = self.record.stories[task_id].options.get("limit_key")
        if key is not None and str(key) in self._running:
            self._running[str(key)].discard((task_id, attempt, node))

    def on_finished(self, event: Finished) -> None:
        self._ends(event.task_id, event.attempt, event.node)

    def on_broken_off(self, event: BrokenOff) -> None:
        self._ends(event.task_id, event.attempt, event.node)

    def on_crashed(self, event: Crashed) -> None:
        for running in self._running.values():
            running.difference_update([each for each in running if each[2] == event.node])
