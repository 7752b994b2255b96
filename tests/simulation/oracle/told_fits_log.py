"""What anyone is told of a task fits the log: nothing is told before it is so (see the package's docstring)."""

from __future__ import annotations

from paceline_protocol.messages.records import TaskEnd
from simulation.oracle.events import Ended, Released, ToldEnd
from simulation.oracle.promise import Promise


class ToldFitsLog(Promise):
    says = "what is told fits the log"

    def on_told_end(self, event: ToldEnd) -> None:
        story = self.record.stories[event.task_id]
        is_late = story.is_confirmed or (event.end == TaskEnd.CANCELLED and story.is_logged)
        if is_late and story.outcome != (event.end, event.payload):
            self.broken("told to end before that was committed", story)

    def on_ended(self, event: Ended) -> None:
        story = self.record.stories[event.task_id]
        if story.accepted_at is None:
            self.broken("ended in the log before it was accepted there", story)

    def on_released(self, event: Released) -> None:
        story = self.record.stories[event.task_id]
        if story.outcome is None or (story.told is None and not story.requeued_from):
            self.broken("released before its owner had its result", story)
