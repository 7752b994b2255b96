"""A node that takes no tasks, and one that drains: nothing new begins there, what ends in time counts, and what does
not runs elsewhere as if it had not begun.

That nothing runs twice and no attempt is used up is heard in calm, where nothing else is a reason for either. But for a
leader that votes alone: it hands the leadership over to nobody, and what it had not accepted by then is submitted anew.
"""

from __future__ import annotations

from math import inf

from paceline_protocol.codec import decode_config
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import TaskEnd
from simulation.oracle.events import (
    AttemptUsed,
    Calm,
    Committed,
    Crashed,
    CutByDrain,
    Drained,
    DrainKills,
    Finished,
    GivenToWorker,
    Started,
    TakesNone,
    TakesTasks,
)
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record, Story

ENDED: frozenset[int] = frozenset((TaskEnd.SUCCEEDED, TaskEnd.FAILED))


class Draining(Promise):
    says = "a node that drains begins nothing new, what ends there in time counts, and the rest is given back unused"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._calm_since_s = inf
        self._takes_none: set[str] = set()
        self._dying: set[bytes] = set()  # tasks whose worker is being killed
        self._cut: set[bytes] = set()  # in calm
        self._ended: set[bytes] = set()  # at a worker, in calm
        self._voters = 0

    def on_calm(self, event: Calm) -> None:
        self._calm_since_s = event.at_s

    def on_committed(self, event: Committed) -> None:
        if event.kind == EntryKind.CONFIG:
            self._voters = len(decode_config(event.data).voters)

    def on_takes_none(self, event: TakesNone) -> None:
        self._takes_none.add(event.node)

    def on_takes_tasks(self, event: TakesTasks) -> None:
        self._takes_none.discard(event.node)

    def on_crashed(self, event: Crashed) -> None:
        self._takes_none.discard(event.node)

    def on_given_to_worker(self, event: GivenToWorker) -> None:
        if event.node in self._takes_none:
            self.broken(f"{event.node} takes no tasks, and gives one to a worker", self.record.stories[event.task_id])

    def on_drain_kills(self, event: DrainKills) -> None:
        self._dying.add(event.task_id)

    def on_cut_by_drain(self, event: CutByDrain) -> None:
        self._dying.discard(event.task_id)
        if self._is_calm(self.record.stories[event.task_id]):
            self._cut.add(event.task_id)

    def on_finished(self, event: Finished) -> None:
        story = self.record.stories[event.task_id]
        may_be_unknown = self._voters == 1 and story.accepted_at is None
        if event.end in ENDED and self._is_calm(story) and not may_be_unknown:
            self._ended.add(event.task_id)

    def on_started(self, event: Started) -> None:
        story = self.record.stories[event.task_id]
        if event.task_id in self._dying and self._is_calm(story):
            self.broken("begun elsewhere while the worker that runs it is only about to be ended", story)
        if event.task_id in self._ended and story.is_logged:
            self.broken("begun again, though it had ended", story)

    def on_attempt_used(self, event: AttemptUsed) -> None:
        story = self.record.stories[event.task_id]
        if event.task_id in self._cut and not story.starts_once:
            self.broken("an attempt is used up, though its node had it given back", story)

    def on_drained(self, event: Drained) -> None:
        if event.in_time or event.at_s < self._calm_since_s:
            return
        self.broken(f"{event.node} was drained in calm, and has not done so: {event.left}")

    def _is_calm(self, story: Story) -> bool:
        return story.submitted_at >= self._calm_since_s
