"""``max_attempts``: how often a task that kills its worker, or its node, is begun."""

from __future__ import annotations

from paceline_protocol.messages import TaskEnd
from simulation.oracle.events import Ended, Started, ToldEnd
from simulation.oracle.promise import Promise
from simulation.oracle.record import Story


class Attempts(Promise):
    says = "a task is lost for good after max_attempts lost attempts, neither earlier nor later"

    def on_started(self, event: Started) -> None:
        story = self.record.stories[event.task_id]
        limit = story.options.get("max_attempts")
        if limit is not None and event.attempt > limit:
            self.broken(f"attempt {event.attempt} of {limit} starts", story)

    def on_ended(self, event: Ended) -> None:
        story = self.record.stories[event.task_id]
        if event.end == TaskEnd.LOST:
            limit = self._limit_of(story)
            if event.attempt < limit:
                self.broken(f"given up after attempt {event.attempt} of {limit}", story)

    def on_told_end(self, event: ToldEnd) -> None:
        if event.end == TaskEnd.LOST:
            self._limit_of(self.record.stories[event.task_id])

    def _limit_of(self, story: Story) -> int:
        limit = 1 if story.starts_once else story.options.get("max_attempts")
        if limit is None:
            self.broken("given up, though it has attempts without end", story)
        return limit
