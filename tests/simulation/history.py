"""What became of each task, as those saw it who submitted, cancelled, ran and logged it; and what of that can't be.

Each task is an object by itself, and a history of many objects is linearizable if that of each of them is. A task is a
register that is written twice at most: once when it is accepted and once when it ends, both by the log. Whatever the
cluster tells anyone of a task must fit these two moments: nothing is told before it is so, and nothing that is so is
told otherwise later.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from paceline_protocol.codec import decode_calls, decode_outcomes, split_ids
from paceline_protocol.messages import (
    AT_MOST_ONCE,
    COMMITTED,
    NO_LOG,
    CancelState,
    EntryKind,
    Options,
    TaskEnd,
)

ONCE: Options = {"delivery": AT_MOST_ONCE}
CONFIRMED: Options = {"confirm": COMMITTED}
UNLOGGED: Options = {"durability": NO_LOG}


class InvariantBroken(AssertionError):
    """What must never happen has happened."""


@dataclass(slots=True)
class Story:
    """One task. Times are None for what has not happened."""

    task_id: bytes
    args: bytes
    options: Options | None
    submitted_at: float
    accepted_at: float | None = None  # first applied anywhere
    told_accepted_at: float | None = None
    outcome: tuple[int, bytes] | None = None  # the first that is applied anywhere
    outcome_at: float | None = None
    told: tuple[int, bytes] | None = None
    told_at: float | None = None
    starts: list[float] = field(default_factory=list)
    cancel_asked: bool = False
    cancels: list[tuple[float, float, int]] = field(default_factory=list)  # asked, answered, CancelState

    def __str__(self) -> str:
        return (
            f"task {self.task_id.hex()} {self.options or ''}: submitted {self.submitted_at:.3f}, "
            f"accepted {self.accepted_at}, told so {self.told_accepted_at}, starts {self.starts}, "
            f"outcome {self.outcome} {self.outcome_at}, told {self.told} {self.told_at}, cancels {self.cancels}"
        )


class History:
    """All tasks of a run. Every method raises InvariantBroken for what does not fit."""

    def __init__(self) -> None:
        self.stories: dict[bytes, Story] = {}

    # --- as clients see it --------------------------------------------------------------------------------------

    def submitted(self, task_id: bytes, args: bytes, options: Options | None, now: float) -> None:
        self.stories[task_id] = Story(task_id, args, options, now)

    def told_accepted(self, task_id: bytes, now: float) -> None:
        """The cluster says that it has the task."""
        story = self.stories[task_id]
        story.told_accepted_at = now
        if story.options != UNLOGGED and story.accepted_at is None:
            raise InvariantBroken(f"called accepted before it was committed: {story}")

    def told_end(self, task_id: bytes, end: int, payload: bytes, now: float) -> None:
        """The cluster says how the task ended."""
        story = self.stories[task_id]
        if story.told is not None and story.told != (end, payload):
            raise InvariantBroken(f"told to end as {(end, payload)} too: {story}")
        if story.told is None:
            story.told, story.told_at = (end, payload), now
        is_late = story.options in (ONCE, CONFIRMED) or (end == TaskEnd.CANCELLED and story.options != UNLOGGED)
        if is_late and story.outcome != story.told:
            raise InvariantBroken(f"told to end before that was committed: {story}")

    def cancel_asked(self, task_id: bytes) -> None:
        """Somebody wants it cancelled."""
        self.stories[task_id].cancel_asked = True

    def cancel_answered(self, task_id: bytes, state: int, asked_at: float, now: float) -> None:
        """The cluster says what a request to cancel came to."""
        story = self.stories[task_id]
        story.cancels.append((asked_at, now, state))
        if state == CancelState.CANCELLED and story.options != UNLOGGED and story.outcome != (TaskEnd.CANCELLED, b""):
            raise InvariantBroken(f"told to be cancelled, and is not: {story}")
        was_accepted = story.told_accepted_at is not None and story.told_accepted_at < asked_at
        if state == CancelState.UNKNOWN and was_accepted and story.options != UNLOGGED:
            raise InvariantBroken(f"called unknown after it was called accepted: {story}")

    # --- as workers see it --------------------------------------------------------------------------------------

    def started(self, task_id: bytes, now: float) -> None:
        """A worker begins with the task."""
        story = self.stories[task_id]
        story.starts.append(now)
        if story.options == ONCE and len(story.starts) > 1:
            raise InvariantBroken(f"started again, and may once: {story}")
        if story.options == ONCE and story.outcome == (TaskEnd.CANCELLED, b""):
            raise InvariantBroken(f"started after it was cancelled: {story}")

    # --- as the log has it --------------------------------------------------------------------------------------

    def committed(self, kind: int, data: bytes, now: float) -> None:
        """An entry is applied for the first time anywhere. Called in the order of the log."""
        if kind == EntryKind.ACCEPT:
            for call in decode_calls(data):
                story = self.stories[call[0]]
                if story.options == UNLOGGED:
                    raise InvariantBroken(f"logged, and should not be: {story}")
                if story.accepted_at is None:
                    story.accepted_at = now
        elif kind == EntryKind.OUTCOME:
            for task_id, _attempt, end, payload, _duration_us in decode_outcomes(data):
                story = self.stories[task_id]
                if story.accepted_at is None:
                    raise InvariantBroken(f"ended in the log before it was accepted there: {story}")
                if story.outcome is None:
                    story.outcome, story.outcome_at = (end, payload), now
                    if end == TaskEnd.CANCELLED and story.options == ONCE and story.starts:
                        raise InvariantBroken(f"cancelled after it had started: {story}")
        elif kind == EntryKind.RELEASE:
            for task_id in split_ids(data):
                if self.stories[task_id].outcome is None or self.stories[task_id].told is None:
                    raise InvariantBroken(f"released before its owner had its result: {self.stories[task_id]}")

    # --- in the end ---------------------------------------------------------------------------------------------

    def check_end(self) -> int:
        """All is healed, and every client has what it waits for. Returns how many outcomes the log must have."""
        for story in self.stories.values():
            self._check_end_of(story)
        return sum(story.accepted_at is not None for story in self.stories.values())

    def _check_end_of(self, story: Story) -> None:
        if story.told is None:
            raise InvariantBroken(f"nobody was told how it ended: {story}")
        end, payload = story.told
        right = end == TaskEnd.SUCCEEDED and payload == story.args[::-1] and story.starts
        right = right or (end == TaskEnd.LOST and story.options == ONCE)
        right = right or (end == TaskEnd.CANCELLED and story.cancel_asked)
        if not right:
            raise InvariantBroken(f"ended wrongly: {story}")
        if story.accepted_at is None:
            return
        if story.outcome is None:
            raise InvariantBroken(f"accepted, and has no outcome in the log: {story}")
        if story.outcome != story.told:
            raise InvariantBroken(f"recorded otherwise than told: {story}")
