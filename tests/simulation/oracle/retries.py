"""``retries`` and ``backoff``: how often a task that fails is tried again, and how long that waits.

The model of one task, in the order of the log: each retry is of an attempt of which a worker has said that it failed;
there are as many as the task asks for at most; and it ends as FAILED once there were as many, or when it would expire
before the next.
"""

from __future__ import annotations

from math import inf

from paceline_protocol.messages.records import TaskEnd
from simulation.oracle.events import Calm, Ended, Finished, Overran, Retried, Started, TakesNone
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record, Story

LATE_S = 0.5
"""In calm, how long after its wait the next attempt of a task is begun: it may be given to a node that has just begun
something else, which gives it back after 0.2 s."""
BACKOFF_MS, BACKOFF_MAX_MS = 1_000, 600_000


class Retries(Promise):
    says = "a task that fails is tried again as often as it asks for, after its waits, and no more often"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._calm_since_s = inf
        self._failed_at_s: dict[tuple[bytes, int], float] = {}
        self._due_at_s: dict[tuple[bytes, int], float] = {}  # of the attempt behind one that failed in calm

    def on_calm(self, event: Calm) -> None:
        self._calm_since_s = event.at_s

    def on_takes_none(self, event: TakesNone) -> None:
        self._calm_since_s = inf  # there are fewer slots than tasks may wait for
        self._due_at_s.clear()

    def on_finished(self, event: Finished) -> None:
        self._failed_at_s[event.task_id, event.attempt] = event.at_s

    def on_overran(self, event: Overran) -> None:
        self._failed_at_s[event.task_id, event.attempt] = event.at_s

    def on_retried(self, event: Retried) -> None:
        story = self.record.stories[event.task_id]
        if story.outcome is not None:
            return  # by a leader that did not know of it: it ends what was over
        if event.attempt not in story.failed:
            self.broken(f"attempt {event.attempt} is retried, and no worker has said that it failed", story)
        if len(set(story.retried)) < len(story.retried):
            self.broken(f"the failure of attempt {event.attempt} counts twice", story)
        if len(story.retried) > story.options.get("retries", 0):
            self.broken(f"{len(story.retried)} retries", story)
        longest_ms = self._longest_ms(story, len(story.retried) - 1)
        if not 0 <= event.wait_ms <= longest_ms or (story.options.get("jitter") and event.wait_ms < longest_ms):
            self.broken(f"its retry waits {event.wait_ms} ms, and may wait {longest_ms}", story)
        if story.submitted_at >= self._calm_since_s:
            failed_at_s = self._failed_at_s[event.task_id, event.attempt]
            self._due_at_s[event.task_id, event.attempt + 1] = failed_at_s + event.wait_ms / 1_000

    @staticmethod
    def _longest_ms(story: Story, before: int) -> int:
        backoff_ms = story.options.get("backoff", BACKOFF_MS) * 2**before
        return min(backoff_ms, story.options.get("backoff_max", BACKOFF_MAX_MS))

    def on_started(self, event: Started) -> None:
        story = self.record.stories[event.task_id]
        before = event.attempt - 1
        is_known = not story.is_logged or story.outcome is not None or before in story.retried
        if before in story.failed and not is_known and story.submitted_at >= self._calm_since_s:
            self.broken(f"attempt {event.attempt} starts before the log has that the last one failed", story)
        due_at_s = self._due_at_s.get((event.task_id, event.attempt))
        if due_at_s is not None and event.at_s < due_at_s - 0.002:
            self.broken(f"attempt {event.attempt} starts {due_at_s - event.at_s:.3f} s before its wait is over", story)
        if due_at_s is not None and event.at_s > due_at_s + LATE_S:
            self.broken(f"attempt {event.attempt} starts {event.at_s - due_at_s:.3f} s after its wait is over", story)

    def on_ended(self, event: Ended) -> None:
        story = self.record.stories[event.task_id]
        retries = story.options.get("retries", 0)
        if (
            event.end not in (TaskEnd.FAILED, TaskEnd.TIMED_OUT)
            or not retries
            or story.outcome != (event.end, event.payload)
        ):
            return
        if len(story.retried) < retries and not (
            story.options.get("expires") or story.options.get("deadline") or story.stopping
        ):
            self.broken(f"failed after {len(story.retried)} of {retries} retries", story)
