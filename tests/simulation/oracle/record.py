"""What has happened so far: the story of each task, and the log. It judges nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from paceline_protocol.codec import decode_failed_attempt
from paceline_protocol.keyed import KEY
from paceline_protocol.messages.records import AT_MOST_ONCE, CANCEL, COMMITTED, MAY_RETRY, NO_LOG, TaskEnd
from simulation.oracle import events as e

End = tuple[int, bytes]
"""A TaskEnd and its payload."""


@dataclass(slots=True)
class Story:
    """One task. Times are None for what has not happened."""

    task_id: bytes
    options: Mapping[str, Any]
    answer: End  # of every run that ends by itself
    submitted_at: float
    accepted_at: float | None = None  # first applied anywhere
    told_accepted_at: float | None = None
    outcome: End | None = None  # the first that is applied anywhere
    outcome_at: float | None = None
    told: End | None = None
    told_at: float | None = None
    dispatches: int = 0  # by whatever leader
    starts: list[float] = field(default_factory=list)
    was_next: bool = False  # at a worker that had nothing else to do
    finished: set[End] = field(default_factory=set)  # what workers answered
    attempts_used: int = 0
    failure: bytes = b""  # what a run of it that fails gives, if it is flaky
    failed: set[int] = field(default_factory=set)  # attempts that failed, or ran for too long
    overran: bool = False  # a worker was killed for it
    retried: list[int] = field(default_factory=list)  # attempts that are followed by a retry, by the log
    stopping: set[int] = field(default_factory=set)  # attempts that workers were asked to stop
    overstayed: bool = False  # a worker was killed for it, as it went on
    result_expired: bool = False  # by the log
    told_expired: bool = False  # its client was, and of no end before
    requeued_from: bytes = b""  # the dead task in whose place it is
    cancel_asked: bool = False
    client_gone_at: float | None = None
    cancels: list[tuple[float, float, int]] = field(default_factory=list)  # asked, answered, CancelState

    @property
    def starts_once(self) -> bool:
        return self.options.get("delivery") == AT_MOST_ONCE

    @property
    def is_logged(self) -> bool:
        return self.options.get("durability") != NO_LOG

    @property
    def ends_with_client(self) -> bool:
        return self.options.get("on_client_lost") == CANCEL

    @property
    def is_confirmed(self) -> bool:
        """Whether its client is told of no end that is not committed."""
        return self.options.get("confirm") == COMMITTED or self.starts_once or bool(self.options.get(KEY))

    def lost_before(self, attempt: int) -> int:
        """How many attempts before this one were lost, as far as is known: the others have failed."""
        return attempt - 1 - sum(1 for failed in self.failed if failed < attempt)

    def __str__(self) -> str:
        return (
            f"task {self.task_id.hex()} {dict(self.options) or ''}: submitted {self.submitted_at:.3f}, "
            f"accepted {self.accepted_at}, told so {self.told_accepted_at}, starts {self.starts}, "
            f"failed {sorted(self.failed)}, retried {self.retried}, asked to stop {sorted(self.stopping)}, "
            f"outcome {self.outcome} {self.outcome_at}, told {self.told} {self.told_at}, cancels {self.cancels}"
        )


class Record:
    """``log``: (term, kind, data) of what was applied anywhere, by index. ``leaders``: who led a term."""

    def __init__(self) -> None:
        self.stories: dict[bytes, Story] = {}
        self.log: dict[int, tuple[int, int, bytes]] = {}
        self.leaders: dict[int, str] = {}
        self.writes: dict[type[e.Event], Callable[[Any], None]] = {
            e.Submitted: self._submitted,
            e.ToldAccepted: self._told_accepted,
            e.ToldEnd: self._told_end,
            e.CancelAsked: self._cancel_asked,
            e.ClientGone: self._client_gone,
            e.CancelAnswered: self._cancel_answered,
            e.Dispatched: self._dispatched,
            e.NextInLine: self._next_in_line,
            e.Started: self._started,
            e.Finished: self._finished,
            e.Committed: self._committed,
            e.Accepted: self._accepted,
            e.AttemptUsed: self._attempt_used,
            e.Retried: self._retried,
            e.Overran: self._overran,
            e.AskedToStop: self._asked_to_stop,
            e.Overstayed: self._overstayed,
            e.Ended: self._ended,
            e.ResultExpired: self._result_expired,
            e.ToldExpired: self._told_expired,
            e.Led: self._led,
        }

    def _submitted(self, event: e.Submitted) -> None:
        story = Story(event.task_id, event.options, event.answer, event.at_s, failure=event.failure)
        story.requeued_from = event.requeued_from
        self.stories[event.task_id] = story

    def _told_accepted(self, event: e.ToldAccepted) -> None:
        self.stories[event.task_id].told_accepted_at = event.at_s

    def _told_end(self, event: e.ToldEnd) -> None:
        story = self.stories[event.task_id]
        if story.told is None:
            story.told, story.told_at = (event.end, event.payload), event.at_s

    def _cancel_asked(self, event: e.CancelAsked) -> None:
        self.stories[event.task_id].cancel_asked = True

    def _client_gone(self, event: e.ClientGone) -> None:
        for task_id in event.task_ids:
            story = self.stories[task_id]
            story.client_gone_at = event.at_s
            story.cancel_asked = story.cancel_asked or story.ends_with_client

    def _cancel_answered(self, event: e.CancelAnswered) -> None:
        self.stories[event.task_id].cancels.append((event.asked_at_s, event.at_s, event.state))

    def _dispatched(self, event: e.Dispatched) -> None:
        self.stories[event.task_id].dispatches += 1

    def _next_in_line(self, event: e.NextInLine) -> None:
        self.stories[event.task_id].was_next = True

    def _started(self, event: e.Started) -> None:
        self.stories[event.task_id].starts.append(event.at_s)

    def _finished(self, event: e.Finished) -> None:
        story = self.stories[event.task_id]
        if event.end == MAY_RETRY:
            story.failed.add(event.attempt)
            story.finished.add((TaskEnd.FAILED, decode_failed_attempt(event.payload)[3]))
        else:
            story.finished.add((event.end, event.payload))

    def _committed(self, event: e.Committed) -> None:
        self.log[event.index] = (event.term, event.kind, event.data)

    def _accepted(self, event: e.Accepted) -> None:
        story = self.stories[event.task_id]
        if story.accepted_at is None:
            story.accepted_at = event.at_s

    def _attempt_used(self, event: e.AttemptUsed) -> None:
        self.stories[event.task_id].attempts_used += 1

    def _retried(self, event: e.Retried) -> None:
        self.stories[event.task_id].retried.append(event.attempt)

    def _overran(self, event: e.Overran) -> None:
        story = self.stories[event.task_id]
        story.overran = True
        story.failed.add(event.attempt)

    def _asked_to_stop(self, event: e.AskedToStop) -> None:
        self.stories[event.task_id].stopping.add(event.attempt)

    def _overstayed(self, event: e.Overstayed) -> None:
        self.stories[event.task_id].overstayed = True

    def _ended(self, event: e.Ended) -> None:
        story = self.stories[event.task_id]
        if story.outcome is None:
            story.outcome, story.outcome_at = (event.end, event.payload), event.at_s

    def _result_expired(self, event: e.ResultExpired) -> None:
        self.stories[event.task_id].result_expired = True

    def _told_expired(self, event: e.ToldExpired) -> None:
        self.stories[event.task_id].told_expired = True

    def _led(self, event: e.Led) -> None:
        self.leaders.setdefault(event.term, event.node)
