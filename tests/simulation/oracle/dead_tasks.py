"""``keep_dead``: which tasks are kept as dead ones, for how long, and that each makes one new task at most.

The model of one task, in the order of the log: it is dead if it ended so that it is to be, and else never; then it
leaves once, requeued as somebody has asked, or discarded as somebody has asked or its time is over, and not before.
What a client is told of it the log has, and what is to run in its place is handed out once the log has that. If another
leads by then than when it ended, its wall clock counts, which may show anything; and a leader whose own clock has
jumped is early by as much.
"""

from __future__ import annotations

from math import inf

from paceline_protocol.messages.client import DeadState
from paceline_protocol.messages.records import DEAD_ENDS
from paceline_protocol.requeued import requeued_id
from simulation.oracle.events import (
    Calm,
    ClockJumped,
    Committed,
    DeadAnswered,
    DeadAsked,
    Discarded,
    Dispatched,
    Ended,
    Requeued,
)
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record

KEEP_DEAD = "keep_dead"
LATE_S = 0.3
"""In calm, how long after its time a dead task is kept at most: until a beat, and for a commit."""
EARLY_S = 0.002


class KeptDead(Promise):
    says = "a dead task is kept for its time, and makes way for one new task"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._calm_since_s = inf
        self._term = 0  # of the last entry
        self._dead: dict[bytes, tuple[float, int]] = {}  # by the log: since when, and since which term
        self._left: dict[bytes, DeadState] = {}
        self._ended: set[bytes] = set()
        self._asked: set[tuple[bytes, bool]] = set()
        self._jumps: list[tuple[float, float]] = []

    def on_calm(self, event: Calm) -> None:
        self._calm_since_s = event.at_s

    def on_clock_jumped(self, event: ClockJumped) -> None:
        self._jumps.append((event.at_s, event.by_s))

    def on_committed(self, event: Committed) -> None:
        self._term = event.term

    def on_dead_asked(self, event: DeadAsked) -> None:
        self._asked.add((event.task_id, event.is_requeue))

    def on_ended(self, event: Ended) -> None:
        if event.task_id in self._ended:
            return
        self._ended.add(event.task_id)
        story = self.record.stories[event.task_id]
        is_to_be = bool(story.options.get(KEEP_DEAD)) and event.end in DEAD_ENDS
        if event.is_dead != is_to_be:
            self.broken(f"is {'a' if event.is_dead else 'no'} dead task", story)
        if is_to_be:
            self._dead[event.task_id] = event.at_s, self._term

    def on_requeued(self, event: Requeued) -> None:
        self._leaves(event.task_id, DeadState.REQUEUED)
        story = self.record.stories[event.task_id]
        if event.new_id != requeued_id(event.task_id):
            self.broken(f"is requeued as {event.new_id.hex()}", story)
        if (event.task_id, True) not in self._asked:
            self.broken("is requeued, and nobody has asked for that", story)

    def on_dispatched(self, event: Dispatched) -> None:
        story = self.record.stories[event.task_id]
        if story.requeued_from and story.accepted_at is None:
            self.broken("handed out before the log has it", story)

    def on_discarded(self, event: Discarded) -> None:
        died_at_s, term = self._leaves(event.task_id, DeadState.DISCARDED)
        story = self.record.stories[event.task_id]
        keep_s = story.options[KEEP_DEAD] / 1_000
        if story.submitted_at >= self._calm_since_s and event.at_s > died_at_s + keep_s + LATE_S:
            self.broken(f"is kept for {event.at_s - died_at_s:.3f} s, of {keep_s}", story)
        if (event.task_id, False) in self._asked or term != self._term:
            return
        kept_s = event.at_s - story.submitted_at  # at most
        jumped_s = sum(by_s for at_s, by_s in self._jumps if at_s >= story.submitted_at)
        if kept_s < keep_s - jumped_s - EARLY_S:
            self.broken(f"is discarded after {kept_s:.3f} of {keep_s} s, and nobody has asked for that", story)

    def _leaves(self, task_id: bytes, state: DeadState) -> tuple[float, int]:
        story = self.record.stories[task_id]
        if task_id not in self._dead:
            self.broken(f"{state.name.lower()}, and it was never dead", story)
        if task_id in self._left:
            self.broken(f"{state.name.lower()}, and it has left before, {self._left[task_id].name.lower()}", story)
        self._left[task_id] = state
        return self._dead[task_id]

    def on_dead_answered(self, event: DeadAnswered) -> None:
        story, left = self.record.stories[event.task_id], self._left.get(event.task_id)
        told = {DeadState.REQUEUED_BEFORE: DeadState.REQUEUED}.get(DeadState(event.state), DeadState(event.state))
        if told in (DeadState.REQUEUED, DeadState.DISCARDED) and left != told:
            self.broken(f"told to be {told.name.lower()} before the log has it", story)
        is_dead = event.task_id in self._dead and left is None
        if told is DeadState.UNKNOWN and is_dead and self._dead[event.task_id][0] < event.asked_at_s:
            self.broken("told to be no dead task, and it is one", story)
        if told is DeadState.UNKNOWN and left is DeadState.REQUEUED and event.is_requeue:
            self.broken("told to be unknown, and it was requeued", story)

    def at_end(self) -> None:
        for task_id in self._dead:
            if task_id not in self._left:
                self.broken("its time is over, and it is kept", self.record.stories[task_id])
