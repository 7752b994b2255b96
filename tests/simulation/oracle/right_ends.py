"""A task ends as its run says, or as somebody asked for, and not by itself."""

from __future__ import annotations

from paceline_protocol.codec import decode_failed_attempt
from paceline_protocol.messages.records import MAY_RETRY, TaskEnd
from simulation.oracle.events import Ended, Finished, ToldEnd
from simulation.oracle.promise import Promise
from simulation.oracle.record import End, Story


class RightEnds(Promise):
    says = "a task ends as its run says"

    def on_finished(self, event: Finished) -> None:
        story = self.record.stories[event.task_id]
        end = (event.end, event.payload)
        if event.end == MAY_RETRY:
            end = (TaskEnd.FAILED, decode_failed_attempt(event.payload)[3])
        if event.end == TaskEnd.CANCELLED and event.attempt in story.stopping:
            return
        if end not in (story.answer, (TaskEnd.FAILED, story.failure)):
            self.broken(f"a worker answered {end}, not {story.answer}", story)

    def on_told_end(self, event: ToldEnd) -> None:
        self._check(self.record.stories[event.task_id], (event.end, event.payload))

    def on_ended(self, event: Ended) -> None:
        self._check(self.record.stories[event.task_id], (event.end, event.payload))

    def _check(self, story: Story, end: End) -> None:
        if end[0] in (TaskEnd.SUCCEEDED, TaskEnd.FAILED) and end not in story.finished:
            self.broken(f"ended as {end}, which no worker has answered", story)
