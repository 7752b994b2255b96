"""A task has one outcome, whatever ran twice."""

from __future__ import annotations

from paceline_protocol.messages.records import TaskEnd
from simulation.oracle.events import LostInTransfer, ToldEnd
from simulation.oracle.promise import Promise


class OneOutcome(Promise):
    """What is told early may go down with its leader. Then the task runs again, and gives the same, unless it is flaky,
    takes longer than it may, is asked to stop, or kills its worker: so a task of which LOST was told, or recorded, may
    have ended otherwise for somebody else. But not by a transfer of the leadership, which goes down with nothing that
    was told: so nothing is given up meanwhile."""

    says = "a task has one outcome"

    def on_lost_in_transfer(self, event: LostInTransfer) -> None:
        story = self.record.stories[event.task_id]
        self.broken(f"given up by {event.leader}, whose leadership is being transferred", story)

    def on_told_end(self, event: ToldEnd) -> None:
        story = self.record.stories[event.task_id]
        if story.told != (event.end, event.payload):
            self.broken(f"told to end as {(event.end, event.payload)} too", story)

    def at_end(self) -> None:
        for story in self.record.stories.values():
            if story.told is None or story.outcome is None or story.told == story.outcome:
                continue
            ends = (story.told[0], story.outcome[0])
            is_chance = story.failure or not {TaskEnd.LOST, TaskEnd.TIMED_OUT}.isdisjoint(ends)
            was_stopped = story.stopping and TaskEnd.CANCELLED in ends
            may_differ = is_chance or was_stopped or ends[1] == TaskEnd.EXPIRED
            if story.is_confirmed or not may_differ:
                self.broken("recorded otherwise than told", story)
