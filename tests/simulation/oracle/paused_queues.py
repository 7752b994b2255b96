"""Queues that somebody has paused."""

from __future__ import annotations

from paceline_protocol.options import DEFAULT_QUEUE
from simulation.oracle.events import Altered, Dispatched, QueueAnswered, QueueAsked
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record


class PausedQueues(Promise):
    says = "once somebody is told that a queue is paused, no leader hands out a task of it until one asks for that"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._paused: set[str] = set()
        self._moved: dict[bytes, str] = {}  # task -> its queue, by the log

    def on_queue_asked(self, event: QueueAsked) -> None:
        self._paused.discard(event.queue)

    def on_queue_answered(self, event: QueueAnswered) -> None:
        if event.paused:
            self._paused.add(event.queue)

    def on_altered(self, event: Altered) -> None:
        self._moved[event.task_id] = event.queue

    def on_dispatched(self, event: Dispatched) -> None:
        story = self.record.stories[event.task_id]
        queue = self._moved.get(event.task_id) or story.options.get("queue", DEFAULT_QUEUE)
        if queue in self._paused:
            self.broken(f"{event.leader} hands out a task of {queue}, which is paused", story)
