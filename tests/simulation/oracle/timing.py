"""``delay``, ``eta``, ``expires`` and ``deadline``: a model of what they promise of a start.

A moment is milliseconds of the wall clock of the leader that acts on it, whatever clocks other machines have: who hands
a task out looks at its own clock, and at no other. So Dispatched counts, which carries that clock, and not Started,
which comes later. What that clock has shown has come: one that was set back takes nothing back.

The model of one task, in the order of the log:

* it may be handed out from ``not_before_ms`` on; once some leader has handed it out, that moment has come for good;
* it may be handed out before ``expires_ms``, the earlier of the last two; from then on it ends as EXPIRED, if it was
  never handed out;
* an end as EXPIRED is for good: at a node that had the task from an earlier time it may still start, as after any other
  end; what was never handed out, or may start once, does not;
* while nothing is wrong, what was handed out and had not started by ``expires_ms`` is given to no worker. Where it
  stands behind others at one, its turn may come before it is taken back.
"""

from __future__ import annotations

from paceline_protocol.messages.records import TaskEnd
from simulation.oracle.events import Calm, Dispatched, Ended, GivenToWorker, Started, Submitted, TakesNone, ToldEnd
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record, Story
from simulation.wall_clocks import right_ms

NOT_BEFORE, EXPIRES, DEADLINE = "not_before", "expires", "deadline"
"""The keys of the options; each is a moment. 0, as an absent key, is none."""
EXPIRED = TaskEnd.EXPIRED
LATE_MS = 100
"""In calm, how long after its moment, or its acceptance, a task is handed out, ends, or is given to a worker."""
BEHIND_MS = 500
"""In calm, how long after its moment one ends at the latest that stood behind another at a worker."""


class Timing(Promise):
    says = "nothing starts before its moment, and nothing that has expired"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._not_before_ms: dict[bytes, int] = {}
        self._expires_ms: dict[bytes, int] = {}
        self._never_starts: set[bytes] = set()  # they have expired
        self._has_come: set[bytes] = set()  # some leader has handed it out
        self._calm_since_s: float | None = None

    def on_submitted(self, event: Submitted) -> None:
        if event.options.get(NOT_BEFORE):
            self._not_before_ms[event.task_id] = event.options[NOT_BEFORE]
        ends = [event.options[key] for key in (EXPIRES, DEADLINE) if event.options.get(key)]
        if ends:
            self._expires_ms[event.task_id] = min(ends)

    def on_calm(self, event: Calm) -> None:
        self._calm_since_s = event.at_s

    def on_takes_none(self, event: TakesNone) -> None:
        self._calm_since_s = None  # there are fewer slots than tasks may wait for

    def on_dispatched(self, event: Dispatched) -> None:
        not_before_ms = self._not_before_ms.get(event.task_id)
        expires_ms = self._expires_ms.get(event.task_id)
        story = self.record.stories[event.task_id]
        if not_before_ms is not None:
            if event.shown_ms < not_before_ms and event.task_id not in self._has_come:
                self.broken(f"{event.leader} hands it out {not_before_ms - event.shown_ms} ms early", story)
            self._has_come.add(event.task_id)
            self._check_late(event, not_before_ms, story)
        if expires_ms is not None and event.wall_ms > expires_ms:
            self.broken(f"{event.leader} hands it out {event.wall_ms - expires_ms} ms after it expired", story)

    def _check_late(self, event: Dispatched, not_before_ms: int, story: Story) -> None:
        if event.attempt > 1 or not self._is_calm_since(story):
            return
        if story.finished and not story.is_logged:
            return  # its result was lost with a session that was cut off: the client submitted it anew, and later
        late_ms = min(event.wall_ms - not_before_ms, (event.at_s - story.submitted_at) * 1000)
        if late_ms > LATE_MS:
            self.broken(f"{event.leader} hands it out {late_ms:.0f} ms late", story)

    def _is_calm_since(self, story: Story) -> bool:
        """Whether nothing has gone wrong since it was submitted."""
        return self._calm_since_s is not None and story.submitted_at >= self._calm_since_s

    def on_given_to_worker(self, event: GivenToWorker) -> None:
        story = self.record.stories[event.task_id]
        expires_ms = self._expires_ms.get(event.task_id)
        if expires_ms is None or story.starts or not self._is_calm_since(story):
            return
        late_ms = right_ms(event.at_s) - expires_ms
        if late_ms > LATE_MS:
            self.broken(f"given to a worker {late_ms} ms after it was to expire", story)

    def on_started(self, event: Started) -> None:
        if event.task_id in self._never_starts:
            self.broken("started after it had expired", self.record.stories[event.task_id])

    def on_ended(self, event: Ended) -> None:
        if event.end != EXPIRED:
            return
        story = self.record.stories[event.task_id]
        expires_ms = self._expires_ms.get(event.task_id)
        if expires_ms is None:
            self.broken("expired, and has no moment at which it does", story)
        if event.leader_ms < expires_ms:
            self.broken(f"expired {expires_ms - event.leader_ms} ms early", story)
        if story.outcome is None or story.outcome[0] != EXPIRED:
            return  # it had ended before
        if story.starts_once and story.starts:
            self.broken("expired after it had started", story)
        if self._is_calm_since(story):  # clocks are right then
            accepted_at = story.submitted_at if story.accepted_at is None else story.accepted_at
            late_ms = right_ms(event.at_s) - max(expires_ms, right_ms(accepted_at))
            if late_ms > (BEHIND_MS if story.dispatches else LATE_MS):
                self.broken(f"expired {late_ms} ms late", story)
        if story.starts_once or not story.dispatches:
            self._never_starts.add(event.task_id)

    def on_told_end(self, event: ToldEnd) -> None:
        story = self.record.stories[event.task_id]
        if event.end == EXPIRED and event.task_id not in self._expires_ms:
            self.broken("told to have expired, and has no moment at which it does", story)
