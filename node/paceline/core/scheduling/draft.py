"""The draft: calls, attempts and outcomes that the leader has taken in and not proposed yet. And the proposals: drafts
that are proposed and not applied yet.

Tasks are dispatched and results are passed on at once. A moment later, all that arrived in that moment is proposed
together. The order of the entries does not depend on the order of arrival: a task is accepted before an attempt of it
starts or is lost, then it ends, and then its result is released.
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
"""If more would be added beyond this, the draft is proposed first. One Submit, or one batch of outcomes, may be
larger."""
ITEM_BYTES: Final = DRAFT_BYTES // MAX_BATCH_ITEMS
"""Counted for each call and outcome at least, so that an entry never has more items than a batch may have."""

Propose = Callable[[int, bytes, Any], int]
"""(kind, data, decoded) -> the index of the new log entry."""


class Draft:
    """The content of the next few entries, and who waits for them."""

    __slots__ = (
        "_calls",
        "_data",
        "_is_verbatim",
        "attempts_lost",
        "new",
        "outcomes",
        "recorded",
        "size_bytes",
        "starting",
        "submits",
    )

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
        self._is_verbatim = True

    def accept(self, task: Task, call: Call, *, is_verbatim: bool = True) -> None:
        """A new task. The Submit that brought it follows. ``is_verbatim``: that has the call as it is logged."""
        self.new.append(task)
        self._calls.append(call)
        if not is_verbatim:
            self._is_verbatim = False

    def submitted(self, session: ClientSession, submit: Submit, tasks: list[Task], *, complete: bool) -> None:
        """Add a Submit. ``tasks``: those of its tasks that are new and to be logged. ``complete``: all of its calls
        are."""
        is_whole = complete and len(self.new) == len(tasks)
        self._data = submit.calls if is_whole and self._is_verbatim else b""
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
    """``draft``: the next proposal. Drafts that were proposed are kept, in order, until they are applied."""

    __slots__ = ("_last_index", "_propose", "_proposed", "draft")

    def __init__(self, propose: Propose) -> None:
        self.draft = Draft()
        self._propose = propose
        self._proposed: deque[tuple[int, Draft]] = deque()  # (the last index, what was proposed up to there)
        self._last_index = 0

    def make_room(self, size_bytes: int) -> None:
        """Propose the draft, if it would grow too large by ``size_bytes`` more."""
        if self.draft.size_bytes + size_bytes > DRAFT_BYTES and self.draft:
            self.propose_draft()

    def propose_draft(self) -> None:
        """Propose the draft, and begin a new one."""
        draft, self.draft = self.draft, Draft()
        if draft.new:
            self._last_index = self._propose(EntryKind.ACCEPT, draft.packed_calls(), draft.new)
        used_up = draft.attempts_lost + [task.id for task in draft.starting]
        if used_up:
            self._last_index = self._propose(EntryKind.ATTEMPT, join_ids(used_up), None)
        if draft.outcomes:
            self._last_index = self._propose(EntryKind.OUTCOME, encode_outcomes(draft.outcomes), draft.outcomes)
        # If the draft held only copies, they are accepted when the originals are, which were proposed before.
        self._proposed.append((self._last_index, draft))

    def pop_applied(self, index: int) -> Draft | None:
        """The oldest proposed draft, if it is applied with the entry ``index``; else None."""
        if self._proposed and self._proposed[0][0] <= index:
            return self._proposed.popleft()[1]
        return None

    def drafts(self) -> list[Draft]:
        """All drafts that are not applied, the one that is not proposed last."""
        return [*(draft for _, draft in self._proposed), self.draft]
