"""``result_ttl``: how long a result and its record are kept for whoever asks.

The model of one task, in the order of the log: nothing releases it but that its time is over; that is said once, and
not before so long has passed since a worker has told how the task ended, or since it was submitted if it has another
end, whose moment only its leader knows. If another leads by then than when it ended, its wall clock counts, which may
show anything; and a leader whose own clock has jumped is early by as much. From then on whoever asks is told that the
time is over, and before it nobody is.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

from paceline_protocol.keyed import KEY
from paceline_protocol.messages.records import EndRecord, TaskEnd
from paceline_protocol.options import UNIQUE_FOR_S
from simulation.oracle.events import (
    Calm,
    ClockJumped,
    Committed,
    Ended,
    Finished,
    Located,
    ReadRefused,
    Released,
    ResultExpired,
    ResultsBounded,
    Submitted,
    ToldExpired,
)
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record, Story

RESULT_TTL = "result_ttl"
LATE_S = 0.3
"""In calm, how long after its time a result is kept at most: until a beat, and for a commit."""
EARLY_S = 0.002
_RECORD_KEYS = ("name", "priority", "attempt", "node", "ended_ms", "kept_until_ms")


def ttl_ms(options: Mapping[str, Any]) -> int:
    """For how long the result of a call with these options is kept, 0 for no longer than its owner needs."""
    ttl = int(options.get(RESULT_TTL, 0))
    return max(ttl, int(options.get("unique_for", UNIQUE_FOR_S * 1_000))) if options.get(KEY) else ttl


class Retention(Promise):
    says = "a result is kept for its time, and then said to have expired"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._calm_since_s = inf
        self._term = 0  # of the last entry
        self._told_at_s: dict[bytes, float] = {}  # when a worker, or its client, first said that it has ended
        self._ended: dict[bytes, tuple[float, int, EndRecord]] = {}  # when by the log, in which term
        self._expired: set[bytes] = set()
        self._jumps: list[tuple[float, float]] = []
        self._finished: set[bytes] = set()
        self._are_bounded = False  # leaders drop results past their limits

    def on_calm(self, event: Calm) -> None:
        self._calm_since_s = event.at_s

    def on_clock_jumped(self, event: ClockJumped) -> None:
        self._jumps.append((event.at_s, event.by_s))

    def on_submitted(self, event: Submitted) -> None:
        if ttl_ms(event.options):
            self._told_at_s[event.task_id] = event.at_s

    def on_finished(self, event: Finished) -> None:
        is_first = event.task_id not in self._finished and event.task_id not in self._ended
        self._finished.add(event.task_id)
        if event.task_id in self._told_at_s and is_first:
            self._told_at_s[event.task_id] = event.at_s

    def on_results_bounded(self, event: ResultsBounded) -> None:
        self._are_bounded = True

    def on_committed(self, event: Committed) -> None:
        self._term = event.term

    def on_ended(self, event: Ended) -> None:
        story, record = self.record.stories[event.task_id], event.record
        if (record is not None) != (bool(ttl_ms(story.options)) or event.is_dead):
            self.broken(f"ended with {'a record' if record else 'no record'}", story)
        if record is None or event.task_id in self._ended or not ttl_ms(story.options):
            return
        if story.outcome not in story.finished:
            self._told_at_s[event.task_id] = story.submitted_at
        if record.kept_until_ms - record.ended_ms != ttl_ms(story.options):
            self.broken(f"is to be kept for {record.kept_until_ms - record.ended_ms} ms", story)
        self._ended[event.task_id] = event.at_s, self._term, record

    def on_released(self, event: Released) -> None:
        if event.task_id in self._told_at_s and not self._are_bounded:
            self.broken("released before its time is over", self.record.stories[event.task_id])

    def on_result_expired(self, event: ResultExpired) -> None:
        story = self.record.stories[event.task_id]
        if event.task_id not in self._ended:
            self.broken("its result has expired, and it has none", story)
        if event.task_id in self._expired:
            return  # by a leader that did not know of it
        self._expired.add(event.task_id)
        ended_at_s, term, _record = self._ended[event.task_id]
        ttl_s = ttl_ms(story.options) / 1_000
        kept_s = event.at_s - self._told_at_s[event.task_id]
        if term == self._term and kept_s < ttl_s - self._jumped_since_s(self._told_at_s[event.task_id]) - EARLY_S:
            self.broken(f"its result has expired after {kept_s:.3f} of {ttl_s} s", story)
        if story.submitted_at >= self._calm_since_s and event.at_s > ended_at_s + ttl_s + LATE_S:
            self.broken(f"its result is kept for {event.at_s - ended_at_s:.3f} s, of {ttl_s}", story)

    def _jumped_since_s(self, at_s: float) -> float:
        """By how much clocks have jumped ahead since."""
        return sum(by_s for jumped_at_s, by_s in self._jumps if jumped_at_s >= at_s)

    def on_told_expired(self, event: ToldExpired) -> None:
        self._check_told(self.record.stories[event.task_id], has_expired=True)

    def on_read_refused(self, event: ReadRefused) -> None:
        story = self.record.stories[event.task_id]
        if event.has_expired or event.task_id in self._told_at_s:
            was_accepted = story.told_accepted_at is not None and story.told_accepted_at <= event.asked_at_s
            if event.has_expired or was_accepted:
                self._check_told(story, has_expired=event.has_expired)

    def _check_told(self, story: Story, *, has_expired: bool) -> None:
        if not has_expired and self._are_bounded:
            return
        if not has_expired:
            self.broken("said to be unknown, and it has a time for which it is kept", story)
        if story.task_id not in self._expired:
            self.broken("said to have expired, and it has not", story)

    def on_located(self, event: Located) -> None:
        """What is said of it meanwhile is what is recorded."""
        story, ended = self.record.stories[event.task_id], self._ended.get(event.task_id)
        if ended is None or event.told.get("is_open", True) or event.state in ("unknown", "ended"):
            return
        told = {key: event.told[key] for key in _RECORD_KEYS}
        recorded = self._shown(ended[2])
        if event.asked_at_s > ended[0] and (told != recorded or event.state != _state_of(story)):
            self.broken(f"is told as {event.state} {told}, and recorded as {recorded}", story)

    @staticmethod
    def _shown(record: EndRecord) -> Mapping[str, Any]:
        return {key: getattr(record, key) for key in _RECORD_KEYS}

    def at_end(self) -> None:
        for task_id in self._told_at_s:
            story = self.record.stories[task_id]
            if story.outcome is not None and task_id not in self._expired and not self._are_bounded:
                self.broken("its time is over, and its result is kept", story)


def _state_of(story: Story) -> str:
    assert story.outcome is not None
    return TaskEnd(story.outcome[0]).name.lower()
