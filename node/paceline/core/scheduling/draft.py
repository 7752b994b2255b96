"""What the leader took in and has not proposed to the log yet, and what it proposed and has not been applied.

Tasks are dispatched and results passed on at once; the log hears of them a moment later, of all that came in that
moment together. It is proposed in an order that holds whatever the order was in which it came: a task is accepted
before an attempt of it starts or is lost, that before it ends, and that before its result is released.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from paceline.core.clients.sessions import ClientSession
from paceline.core.state.task import Task
from paceline_protocol.codec import MAX_BATCH_ITEMS, encode_calls, encode_outcomes, join_ids
from paceline_protocol.messages import Call, EntryKind, Outcome, Submit

DRAFT_BYTES: Final = 4 << 20
"""Beyond this the draft is proposed before more is added. One Submit, or one batch of outcomes, may have more."""
ITEM_BYTES: Final = DRAFT_BYTES // MAX_BATCH_ITEMS
"""Counted for each call and outcome at least, so that an entry never has more items than a batch may have."""

Propose = Callable[[int, bytes, Any], int]
"""(kind, data, decoded) -> the index of the new log entry."""


class Draft:
    """The content of the next few entries, and who waits for them."""

    __slots__ = ("_calls", "_data", "attempts_lost", "new", "outcomes", "recorded", "size_bytes", "starting", "submits")

    def __init__(self) -> None:
        self.new: list[Task] = []
        self.submits: list[tuple[list[Task], ClientSession, Submit]] = []  # with its tasks if all its calls were new
        self.attempts_lost: list[bytes] = []
        self.starting: list[Task] = []  # they are dispatched when this is committed
        self.outcomes: list[Outcome] = []
        self.recorded: dict[str, int] = {}  # node -> the last NodeOutcomes.seq that is recorded with this
        self.size_bytes = 0
        self._calls: list[Call] = []
        self._data = b""

    def accept(self, task: Task, call: Call) -> None:
        """A new task. The Submit that brought it follows."""
        self.new.append(task)
        self._calls.append(call)

    def submitted(self, session: ClientSession, submit: Submit, tasks: list[Task], *, complete: bool) -> None:
        """A Submit, of which these ``tasks`` are new and to be logged. ``complete``: all of it."""
        self._data = submit.calls if complete and len(self.new) == len(tasks) else b""
        self.submits.append((tasks if complete else [], session, submit))
        self.size_bytes += max(len(submit.calls), len(tasks) * ITEM_BYTES)

    def end(self, outcome: Outcome) -> None:
        """A task ended."""
        self.outcomes.append(outcome)
        self.size_bytes += ITEM_BYTES + len(outcome[3])

    def packed_calls(self) -> bytes:
        """The calls of the new tasks: the client's own bytes, if they are of one Submit."""
        return self._data or encode_calls(self._calls, are_checked=True)

    def __bool__(self) -> bool:
        return bool(self.submits or self.outcomes or self.attempts_lost or self.recorded or self.starting)


class Proposals:
    """``draft``: what is to be proposed next. What was proposed is kept, in order, until it is applied."""

    __slots__ = ("_last_index", "_propose", "_proposed", "draft")

    def __init__(self, propose: Propose) -> None:
        self.draft = Draft()
        self._propose = propose
        self._proposed: deque[tuple[int, Draft]] = deque()  # (the last index, what was proposed up to there)
        self._last_index = 0

    def make_room(self, size_bytes: int) -> None:
        """Propose what is there if the entries would grow too large with what comes."""
        if self.draft.size_bytes + size_bytes > DRAFT_BYTES and self.draft:
            self.propose_draft()

    def propose_draft(self) -> None:
        """Propose what is there, and begin anew."""
        draft, self.draft = self.draft, Draft()
        if draft.new:
            self._last_index = self._propose(EntryKind.ACCEPT, draft.packed_calls(), draft.new)
        used_up = draft.attempts_lost + [task.id for task in draft.starting]
        if used_up:
            self._last_index = self._propose(EntryKind.ATTEMPT, join_ids(used_up), None)
        if draft.outcomes:
            self._last_index = self._propose(EntryKind.OUTCOME, encode_outcomes(draft.outcomes), draft.outcomes)
        # If nothing of it was new, it is durable when the originals are, which were proposed before.
        self._proposed.append((self._last_index, draft))

    def pop_applied(self, index: int) -> Draft | None:
        """The next of what was proposed that is applied by this log entry, if there is one."""
        if self._proposed and self._proposed[0][0] <= index:
            return self._proposed.popleft()[1]
        return None

    def drafts(self) -> list[Draft]:
        """Everything that is not applied, the draft last."""
        return [*(draft for _, draft in self._proposed), self.draft]
