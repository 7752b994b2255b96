"""``idempotency_key``: calls with one key are one task, whoever submits them, as long as it holds its key."""

from __future__ import annotations

from paceline_protocol.keyed import KEY
from simulation.oracle.events import Accepted, Released, ResultExpired
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record


class Keys(Promise):
    says = "a key makes one task until its time is over"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._held: set[bytes] = set()

    def on_accepted(self, event: Accepted) -> None:
        story = self.record.stories[event.task_id]
        if not story.options.get(KEY):
            return
        if event.task_id in self._held:
            self.broken("accepted once more, and its key is held", story)
        self._held.add(event.task_id)

    def on_released(self, event: Released) -> None:
        if event.task_id in self._held:
            self.broken("forgotten as others are, and so is its key", self.record.stories[event.task_id])

    def on_result_expired(self, event: ResultExpired) -> None:
        self._held.discard(event.task_id)
