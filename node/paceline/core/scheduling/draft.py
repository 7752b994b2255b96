"""The draft: calls, attempts and outcomes that the leader has taken in and not proposed yet. And the proposals: drafts
that are proposed and not applied yet.

Tasks are dispatched and results are passed on at once. A moment later, all that arrived in that moment is proposed
together. The order of the entries does not depend on the order of arrival: a task is accepted before an attempt of it
starts, is lost or fails, then it ends, and then its result is released.

A draft that has no room for what comes next is *full*. It is proposed at once, or, while the log must not grow, kept
until it may: then the queue's limits bound how many there are, as every call in them is of a task that was live.

A task that has ended takes memory until its end is in the log, and the queue does not count it any more. It is counted
here (``kept_bytes``), from its end until the log has it, which ``recording.py`` bounds.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Final

from paceline.core.clients.sessions import ClientSession
from paceline.core.state.records import size_of
from paceline.core.state.task import Task
from paceline_protocol.codec import (
    MAX_BATCH_ITEMS,
    encode_alterations,
    encode_calls,
    encode_kept,
    encode_outcomes,
    encode_queues,
    encode_requeued,
    encode_retries,
    join_ids,
)
from paceline_protocol.messages.client import Submit
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import (
    RETRY_SUMMARY,
    Alteration,
    Call,
    EndRecord,
    KeptOutcome,
    Outcome,
    QueueSettings,
    Retry,
)

DRAFT_BYTES: Final = 4 << 20
"""A draft that would have more is full. One Submit, or one outcome, may be larger."""
ITEM_BYTES: Final = DRAFT_BYTES // MAX_BATCH_ITEMS
"""Counted for each call, outcome and attempt at least, so that no entry has more items than a batch may have."""

Propose = Callable[[int, bytes, Any], int]
"""(kind, data, decoded) -> the index of the new log entry."""

# Plain numbers: to look one up in its enum at each use costs as much as several calls.
_ACCEPT: Final = int(EntryKind.ACCEPT)
_OUTCOME: Final = int(EntryKind.OUTCOME)


class Draft:
    """The content of the next few entries, and who waits for them."""

    __slots__ = (
        "_calls",
        "_data",
        "_is_verbatim",
        "alterations",
        "attempts_lost",
        "dead",
        "discarded",
        "kept_bytes",
        "limited",
        "new",
        "outcomes",
        "queues",
        "recorded",
        "records",
        "requeued",
        "retries",
        "size_bytes",
        "starting",
        "submits",
    )

    def __init__(self) -> None:
        self.new: list[Task] = []
        self.limited: list[Task] = []  # those of these that have limits: they may start when this is committed
        self.submits: list[tuple[list[Task], ClientSession, int, bool]] = []
        """Tasks, if all calls of the Submit were new; who sent it; its ``seq``; whether it is prompt."""
        self.attempts_lost: list[bytes] = []
        self.retries: list[Retry] = []
        self.starting: list[Task] = []  # they are dispatched when this is committed
        self.outcomes: list[Outcome] = []
        self.records: dict[bytes, EndRecord] = {}  # of those of the outcomes that are remembered
        self.dead: set[bytes] = set()  # those of these that are kept as dead ones
        self.requeued: list[tuple[bytes, Task]] = []  # dead tasks, each with the new one in its place
        self.discarded: list[bytes] = []  # dead tasks that are kept no longer
        self.queues: list[QueueSettings] = []
        self.alterations: list[Alteration] = []
        self.recorded: dict[str, int] = {}  # node -> the last NodeOutcomes.seq that is recorded with this
        self.size_bytes = 0
        self.kept_bytes = 0  # of the tasks that end with this, with their results
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
        self.submits.append((tasks if complete else [], session, submit.seq, submit.prompt))
        if tasks:
            self.size_bytes += max(len(submit.calls), len(tasks) * ITEM_BYTES)

    def entries(self) -> list[tuple[int, bytes, Any]]:
        """What to propose, in order: (kind, data, decoded)."""
        entries: list[tuple[int, bytes, Any]] = []
        if self.new:  # the client's own bytes, if all are of one Submit
            entries.append((_ACCEPT, self._data or encode_calls(self._calls, are_checked=True), self.new))
        if self.requeued:
            calls = [(task_id, task.call) for task_id, task in self.requeued]
            entries.append((EntryKind.REQUEUE, encode_requeued(calls), self.requeued))
        if self.alterations:
            entries.append((EntryKind.ALTER, encode_alterations(self.alterations), self.alterations))
        used_up = self.attempts_lost + [task.id for task in self.starting]
        if used_up:
            entries.append((EntryKind.ATTEMPT, join_ids(used_up), None))
        if self.retries:
            entries.append((EntryKind.RETRY, encode_retries(self.retries), self.retries))
        outcomes = self.outcomes
        if self.records:
            entries += self._kept_entries()
            outcomes = [outcome for outcome in outcomes if outcome[0] not in self.records]
        if outcomes:
            entries.append((_OUTCOME, encode_outcomes(outcomes), outcomes))
        if self.discarded:
            entries.append((EntryKind.DISCARD, join_ids(self.discarded), self.discarded))
        if self.queues:
            entries.append((EntryKind.QUEUES, encode_queues(self.queues), self.queues))
        return entries

    def _kept_entries(self) -> list[tuple[int, bytes, Any]]:
        """Of the outcomes that are remembered."""
        kept: list[KeptOutcome] = []
        dead: list[KeptOutcome] = []
        for outcome in self.outcomes:
            record = self.records.get(outcome[0])
            if record is not None:
                (dead if outcome[0] in self.dead else kept).append((outcome, record))
        found = ((EntryKind.RECORD, kept), (EntryKind.DEAD, dead))
        return [(kind, encode_kept(items), items) for kind, items in found if items]

    def __bool__(self) -> bool:
        has_attempts = self.attempts_lost or self.retries or self.starting
        has_dead = self.requeued or self.discarded
        has_changes = self.recorded or self.queues or self.alterations
        return bool(self.submits or self.outcomes or has_attempts or has_dead or has_changes)


class Proposals:
    """``draft``: the next proposal. Drafts that were proposed are kept, in order, until they are applied.

    ``may_propose``: False while the log must not grow. ``kept_bytes``: what tasks take that have ended, with their
    results, until the log has their ends."""

    __slots__ = (
        "_full",
        "_kept",
        "_last_index",
        "_propose",
        "_proposed",
        "draft",
        "kept_bytes",
        "may_propose",
        "waiting_submits",
    )

    def __init__(self, propose: Propose) -> None:
        self.draft = Draft()
        self.may_propose = True
        self.kept_bytes = 0
        self.waiting_submits = 0  # in all drafts that are not applied
        self._propose = propose
        self._full: deque[Draft] = deque()  # to be proposed before the draft
        self._proposed: deque[tuple[int, Draft]] = deque()  # (the last index, what was proposed up to there)
        self._kept: deque[tuple[int, int]] = deque()  # (an index, how many bytes are kept until the log has it)
        self._last_index = 0

    # --- the draft ----------------------------------------------------------------------------------------------

    def make_room(self, size_bytes: int) -> None:
        """Begin a new draft, if this one would grow too large by ``size_bytes`` more."""
        if self.draft.size_bytes + size_bytes > DRAFT_BYTES and self.draft:
            self._full.append(self.draft)
            self.draft = Draft()
            if self.may_propose:
                self._propose_full()

    def submitted(self, session: ClientSession, submit: Submit, tasks: list[Task], *, complete: bool) -> None:
        """See Draft.submitted."""
        self.draft.submitted(session, submit, tasks, complete=complete)
        self.waiting_submits += 1

    def requeue(self, task_id: bytes, task: Task) -> None:
        """A new task takes the place of this dead one."""
        size_bytes = ITEM_BYTES + len(task.args)
        self.make_room(size_bytes)
        self.draft.requeued.append((task_id, task))
        self.draft.size_bytes += size_bytes

    def discard(self, ids: Iterable[bytes]) -> None:
        """These dead tasks are kept no longer."""
        for task_id in ids:
            self.make_room(ITEM_BYTES)
            self.draft.discarded.append(task_id)
            self.draft.size_bytes += ITEM_BYTES

    def end(self, outcome: Outcome, task_bytes: int, record: EndRecord | None = None, *, is_dead: bool = False) -> None:
        """A task ended, which the queue had counted with ``task_bytes``. ``record``: if it is remembered. ``is_dead``:
        as a dead one."""
        payload_bytes = len(outcome[3]) + (0 if record is None else size_of(record))
        self.make_room(ITEM_BYTES + payload_bytes)
        draft, kept_bytes = self.draft, task_bytes + payload_bytes
        draft.outcomes.append(outcome)
        if record is not None:
            draft.records[outcome[0]] = record
            if is_dead:
                draft.dead.add(outcome[0])
        draft.size_bytes += ITEM_BYTES + payload_bytes
        draft.kept_bytes += kept_bytes
        self.kept_bytes += kept_bytes

    def set_queue(self, settings: QueueSettings) -> None:
        """This is said of a queue from now on."""
        self.make_room(ITEM_BYTES)
        self.draft.queues.append(settings)
        self.draft.size_bytes += ITEM_BYTES

    def alter(self, alteration: Alteration) -> None:
        """A task has another queue or priority from now on, or is held, or not any more."""
        self.make_room(ITEM_BYTES)
        self.draft.alterations.append(alteration)
        self.draft.size_bytes += ITEM_BYTES

    def lose_attempts(self, ids: Iterable[bytes]) -> None:
        """These tasks have used up one attempt more."""
        for task_id in ids:
            self.make_room(ITEM_BYTES)
            self.draft.attempts_lost.append(task_id)
            self.draft.size_bytes += ITEM_BYTES

    def retry(self, retry: Retry) -> None:
        """An attempt of a task has failed, and the next one waits for its moment."""
        size_bytes = ITEM_BYTES + len(retry[RETRY_SUMMARY])
        self.make_room(size_bytes)
        self.draft.retries.append(retry)
        self.draft.size_bytes += size_bytes

    def start(self, tasks: Iterable[Task]) -> None:
        """The starts of these tasks are to be logged."""
        for task in tasks:
            self.make_room(ITEM_BYTES)
            self.draft.starting.append(task)
            self.draft.size_bytes += ITEM_BYTES

    # --- the log ------------------------------------------------------------------------------------------------

    def propose_draft(self) -> None:
        """Propose all that there is, and begin a new draft."""
        if self.draft:
            self._full.append(self.draft)
            self.draft = Draft()
        self._propose_full()

    def _propose_full(self) -> None:
        while self._full:
            draft = self._full[0]
            entries = draft.entries()
            self._full.popleft()
            for entry in entries:
                self._last_index = self._propose(*entry)
            if draft.kept_bytes:
                self._kept.append((self._last_index, draft.kept_bytes))
            if entries or not self._proposed:
                self._proposed.append((self._last_index, draft))
                continue
            # It held only copies, which are accepted when the originals are, which were proposed before.
            last = self._proposed[-1][1]
            last.submits += draft.submits
            last.recorded |= draft.recorded

    def pop_applied(self, index: int) -> Draft | None:
        """The oldest proposed draft, if it is applied with the entry ``index``; else None."""
        if self._proposed and self._proposed[0][0] <= index:
            draft = self._proposed.popleft()[1]
            self.waiting_submits -= len(draft.submits)
            return draft
        return None

    def logged(self, index: int) -> None:
        """The log has everything up to this entry, wherever it has to be."""
        while self._kept and self._kept[0][0] <= index:
            self.kept_bytes -= self._kept.popleft()[1]

    def kept_behind(self, index: int) -> int:
        """How many bytes would be kept if the log had everything up to this entry. Cost: that of the drafts."""
        return self.kept_bytes - sum([kept_bytes for last_index, kept_bytes in self._kept if last_index <= index])

    def drafts(self) -> list[Draft]:
        """All drafts that are not applied, the one that is not proposed last."""
        return [*(draft for _, draft in self._proposed), *self._full, self.draft]
