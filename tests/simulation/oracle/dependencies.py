"""``inputs``, ``after``: a task starts once those that it depends on have succeeded, and is called with their results;
else it ends as UPSTREAM_FAILED. What it needs is not dropped before its end, and dropped in the end."""

from __future__ import annotations

from paceline_protocol.inputs import AFTER, INPUTS, split
from paceline_protocol.messages.records import TaskEnd
from simulation.oracle.events import CalledWith, Ended, Held, InputOver, Released, ResultExpired, Started, Submitted
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record, Story

NOT_FOR_THAT = frozenset((TaskEnd.UPSTREAM_FAILED, TaskEnd.CANCELLED, TaskEnd.EXPIRED))
"""How a task may end of which an input did not succeed."""


class Dependencies(Promise):
    says = "a task runs after those that it depends on, with their results"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._inputs: dict[bytes, list[bytes]] = {}
        self._dependants: dict[bytes, list[bytes]] = {}
        self._held: set[bytes] = set()

    def on_submitted(self, event: Submitted) -> None:
        ids = [*split(event.options.get(INPUTS)), *split(event.options.get(AFTER))]
        if ids:
            self._set(event.task_id, ids)

    def on_input_over(self, event: InputOver) -> None:
        for input_id in self._inputs[event.task_id]:
            story = self.record.stories[input_id]
            if story.told is not None or story.told_accepted_at is None or story.result_expired:
                break
        else:
            self.broken("refused for inputs that its client has no result of", self.record.stories[event.task_id])
        self._set(event.task_id, list(event.left))

    def _set(self, task_id: bytes, ids: list[bytes]) -> None:
        self._inputs[task_id] = ids
        for input_id in ids:
            self._dependants.setdefault(input_id, []).append(task_id)

    def on_started(self, event: Started) -> None:
        for story in self._of(event.task_id):
            if story.outcome is None:
                self.broken("started before one that it depends on had ended", self.record.stories[event.task_id])
            if story.outcome[0] != TaskEnd.SUCCEEDED and not self._allows_failed(event.task_id):
                self.broken("started, and one that it depends on failed", self.record.stories[event.task_id])

    def on_called_with(self, event: CalledWith) -> None:
        for input_id, end, payload in event.results:
            if self.record.stories[input_id].outcome != (end, payload):
                self.broken("called with another result than the log has", self.record.stories[event.task_id])

    def on_ended(self, event: Ended) -> None:
        failed = [story for story in self._of(event.task_id) if story.outcome and story.outcome[0] != TaskEnd.SUCCEEDED]
        if self._allows_failed(event.task_id):
            failed = []
        story = self.record.stories[event.task_id]
        if event.end == TaskEnd.UPSTREAM_FAILED and not failed:
            self.broken("ended for one that it depends on, and none of these failed", story)
        if failed and event.end not in NOT_FOR_THAT:
            self.broken("one that it depends on failed, and it ended otherwise", story)

    def on_held(self, event: Held) -> None:
        self._held.add(event.task_id)

    def on_released(self, event: Released) -> None:
        self._dropped(event.task_id)

    def on_result_expired(self, event: ResultExpired) -> None:
        self._dropped(event.task_id)

    def _dropped(self, task_id: bytes) -> None:
        self._held.discard(task_id)
        for dependant in self._dependants.get(task_id, ()):
            story = self.record.stories[dependant]
            if story.accepted_at is not None and story.outcome is None and task_id in self._inputs[dependant]:
                self.broken("a result is dropped that it needs", story)

    def at_end(self) -> None:
        for task_id in self._held:
            self.broken("its result is held for ever for others", self.record.stories[task_id])

    def _of(self, task_id: bytes) -> list[Story]:
        return [self.record.stories[input_id] for input_id in self._inputs.get(task_id, ())]

    def _allows_failed(self, task_id: bytes) -> bool:
        return bool(self.record.stories[task_id].options.get("allow_failed_inputs"))
