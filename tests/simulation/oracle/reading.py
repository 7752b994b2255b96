"""Whoever asks by id how a task ended, and did not submit it, is told as the log has it."""

from __future__ import annotations

from paceline_protocol.messages.records import TaskEnd
from simulation.oracle.events import ReadRefused, Released, ToldRead
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record


class Reading(Promise):
    """What no log has is told as its leader had it; the next leader knows it only once it is submitted again."""

    says = "who reads a task is told how it is recorded"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._released: set[bytes] = set()

    def on_released(self, event: Released) -> None:
        self._released.add(event.task_id)

    def on_told_read(self, event: ToldRead) -> None:
        story, end = self.record.stories[event.task_id], (event.end, event.payload)
        if story.is_logged and story.outcome != end:
            self.broken(f"read to have ended as {end}", story)
        if end[0] in (TaskEnd.SUCCEEDED, TaskEnd.FAILED) and end not in story.finished:
            self.broken(f"read to have ended as {end}, which no worker has answered", story)

    def on_read_refused(self, event: ReadRefused) -> None:
        story = self.record.stories[event.task_id]
        was_accepted = story.told_accepted_at is not None and story.told_accepted_at <= event.asked_at_s
        is_released = event.has_expired or event.task_id in self._released
        if story.is_logged and was_accepted and not is_released:
            self.broken("is not known to who reads it, and nothing has released it", story)
