"""``max_attempts``: how often a task that kills its worker, or its node, is begun."""

from __future__ import annotations

from math import inf

from paceline_protocol.messages.records import TaskEnd
from simulation.oracle.events import Calm, Ended, Started, ToldEnd
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record, Story

GIVEN_UP_S = 2.0
"""After calm has begun: what was given to a node that had ended before is lost by then."""


class Attempts(Promise):
    says = "a task is lost for good after max_attempts lost attempts, neither earlier nor later"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._calm_since_s = inf

    def on_calm(self, event: Calm) -> None:
        self._calm_since_s = event.at_s

    def on_started(self, event: Started) -> None:
        story = self.record.stories[event.task_id]
        if story.lost_before(event.attempt) > 0 and story.submitted_at >= self._calm_since_s + GIVEN_UP_S:
            self.broken(f"attempt {event.attempt} starts, and no node or worker was lost", story)
        limit = story.options.get("max_attempts")
        if limit is not None and story.lost_before(event.attempt) >= limit:
            self.broken(f"attempt {event.attempt} starts, and {limit} were lost", story)

    def on_ended(self, event: Ended) -> None:
        story = self.record.stories[event.task_id]
        if event.end == TaskEnd.LOST:
            limit = self._limit_of(story)
            if event.attempt - len(story.retried) < limit:
                self.broken(f"given up after attempt {event.attempt} of {limit}", story)

    def on_told_end(self, event: ToldEnd) -> None:
        if event.end == TaskEnd.LOST:
            self._limit_of(self.record.stories[event.task_id])

    def _limit_of(self, story: Story) -> int:
        limit = 1 if story.starts_once else story.options.get("max_attempts")
        if limit is None:
            self.broken("given up, though it has attempts without end", story)
        return limit
