"""A task, the states it goes through, and the replicated table of tasks.

Two kinds of state meet here and must not be mixed up:

* **Replicated**: what every voter holds equal, byte for byte: accepted tasks, their lost attempts, results, released
  ids, totals. Only :meth:`TaskTable.apply` changes it, only from committed log entries, and it reads no clock.
* **The leader's**: where a task is at this moment (``state``, ``node``, ``attempt``, ``session``). It is rebuilt by
  each new leader and never enters a digest or a snapshot.

The leader dispatches a task in the turn in which it arrives, before its ACCEPT entry commits. So a :class:`Task` is
made when the entry is proposed, and enters the table when the entry is applied: on the leader it is the same object.

One outcome per task: the first OUTCOME entry in the log that names it. Later ones are counted and dropped.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from enum import IntEnum
from sys import intern
from typing import TYPE_CHECKING, Any

from mypy_extensions import mypyc_attr

from paceline.core.released import ReleasedIds
from paceline.core.settings import Settings
from paceline_protocol.codec import decode_calls, decode_outcomes, split_ids
from paceline_protocol.messages import (
    AT_MOST_ONCE,
    COMMITTED,
    NO_LOG,
    TRACED,
    Assignment,
    Call,
    EntryKind,
    Options,
    Outcome,
    TaskEnd,
)

if TYPE_CHECKING:
    from paceline.core.sessions import Session


class State(IntEnum):
    """Where a task is, as its leader sees it."""

    READY = 0  # in a queue of the leader
    DISPATCHED = 1  # at a node: queued there, or running
    SUCCEEDED = 2
    FAILED = 3
    CANCELLED = 4
    LOST = 5
    STARTING = 6  # it has its place at a node, and goes there once the log says that it started
    RECOVERED = 7  # an earlier leader accepted it; in a queue, unless a node says that it has it


ENDED = frozenset((State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST))


class Event(IntEnum):
    """What moves a task from one state to another."""

    DISPATCH = 0
    GIVE_BACK = 1  # the node never had it, or gave it back before it started
    ATTEMPT_LOST = 2  # its worker or node died; attempts are left
    SUCCEED = 3
    FAIL = 4
    CANCEL = 5
    GIVE_UP = 6  # its worker or node died once too often
    RESERVE = 7  # a node has a place for it, but its start must be logged first


TRANSITIONS: dict[tuple[State, Event], State] = {
    (State.READY, Event.DISPATCH): State.DISPATCHED,
    (State.DISPATCHED, Event.GIVE_BACK): State.READY,
    (State.DISPATCHED, Event.ATTEMPT_LOST): State.READY,
    (State.DISPATCHED, Event.SUCCEED): State.SUCCEEDED,
    (State.DISPATCHED, Event.FAIL): State.FAILED,
    (State.DISPATCHED, Event.GIVE_UP): State.LOST,
    (State.READY, Event.CANCEL): State.CANCELLED,
    # An attempt that was given up for dead may still answer: its outcome is as good as any.
    (State.READY, Event.SUCCEED): State.SUCCEEDED,
    (State.READY, Event.FAIL): State.FAILED,
    (State.READY, Event.RESERVE): State.STARTING,
    (State.RECOVERED, Event.DISPATCH): State.DISPATCHED,
    (State.RECOVERED, Event.RESERVE): State.STARTING,
    (State.RECOVERED, Event.SUCCEED): State.SUCCEEDED,
    (State.RECOVERED, Event.FAIL): State.FAILED,
    (State.RECOVERED, Event.CANCEL): State.CANCELLED,
    # It started under an earlier leader for the last time, and no node has it.
    (State.RECOVERED, Event.GIVE_UP): State.LOST,
    (State.STARTING, Event.DISPATCH): State.DISPATCHED,
    (State.STARTING, Event.GIVE_BACK): State.READY,
    (State.STARTING, Event.CANCEL): State.CANCELLED,
}
"""The whole life of a task. What is not in this table can't happen; :meth:`Task.move` raises KeyError on it."""

END_EVENTS: dict[int, Event] = {
    TaskEnd.SUCCEEDED: Event.SUCCEED,
    TaskEnd.FAILED: Event.FAIL,
    TaskEnd.CANCELLED: Event.CANCEL,
    TaskEnd.LOST: Event.GIVE_UP,
}


@mypyc_attr(acyclic=True)
class Task:
    """One accepted (or just proposed) call. Of these there may be millions: nothing that a task refers to may refer to
    a task, so that the garbage collector need not know of them."""

    __slots__ = (
        "age",
        "args",
        "arrived_at",
        "attempt",
        "cost_us",
        "id",
        "lost_attempts",
        "name",
        "node",
        "options",
        "priority",
        "sent_at",
        "sent_seq",
        "session",
        "state",
    )

    def __init__(self, call: Call) -> None:
        self.id, name, self.priority, self.args, self.options = call
        self.name = intern(name)  # a million tasks share a few names
        # What follows is the leader's own.
        self.state = State.READY
        self.lost_attempts = 0  # before this leader; of a task that starts at most once, whether its start is logged
        self.attempt = 1
        self.age = 0  # order of arrival at this leader
        self.cost_us = 0  # what the dispatcher charged its node for it
        self.node = ""
        self.sent_seq = 0  # the Dispatch that carried it there
        self.arrived_at = 0.0  # at this leader; for metrics alone, as sent_at
        self.sent_at = 0.0  # when this leader last gave it to a node; 0: never
        self.session: Session | None = None

    def move(self, event: Event) -> None:
        """Take the transition, or raise KeyError: the caller broke the table."""
        self.state = TRANSITIONS[self.state, event]

    def attempt_limit(self, default: int) -> int:
        """How many lost attempts end this task."""
        options: Options | None = self.options
        if options is None:
            return default
        return 1 if options.get("delivery") == AT_MOST_ONCE else options.get("max_attempts", default)

    @property
    def assignment(self) -> Assignment:
        """What its node is sent."""
        return self.id, self.attempt, self.name, self.args, self.options

    @property
    def must_log_start(self) -> bool:
        """Whether it may go nowhere before the log says that it started."""
        return self.options is not None and self.options.get("delivery") == AT_MOST_ONCE and not self.lost_attempts

    @property
    def waits_for_commit(self) -> bool:
        """Whether its result is passed on only once its outcome is committed."""
        options: Options | None = self.options
        if options is None:
            return False
        return options.get("confirm") == COMMITTED or options.get("delivery") == AT_MOST_ONCE

    @property
    def is_logged(self) -> bool:
        """False for a task of which only its leader and its client know."""
        return self.options is None or self.options.get("durability") != NO_LOG

    @property
    def is_traced(self) -> bool:
        """Whether it is sampled: see ``traces.py``."""
        return self.options is not None and self.options.get("trace") == TRACED

    def size_bytes(self) -> int:
        """What the task adds to the queue's size: its arguments, and a flat charge for the record."""
        return len(self.args) + 300


TOTALS = ("accepted", "succeeded", "failed", "cancelled", "lost", "duplicates")
_TOTAL_OF_END = {
    TaskEnd.SUCCEEDED: "succeeded",
    TaskEnd.FAILED: "failed",
    TaskEnd.CANCELLED: "cancelled",
    TaskEnd.LOST: "lost",
}


class TaskTable:
    """The replicated state. Equal on every node that has applied the same entries.

    ``tasks``: accepted and not ended; what of them is replicated never changes, so that a snapshot can be packed while
    they come and end. ``lost_attempts``: of those that used up any, how many. ``results``: ended, until the owner has
    the result or the retention limits (``result_limit_tasks``, ``result_limit_bytes``) push the oldest out.
    ``released``: ids of tasks that are over, oldest first, at most ``released_limit_tasks``; a copy of such a task that
    comes late is not accepted again.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.tasks: dict[bytes, Task] = {}
        self.lost_attempts: dict[bytes, int] = {}
        # Ordered, for taking the oldest: a plain dict would search for it past all the places of those already gone.
        self.results: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()
        self.result_bytes = 0
        self.released = ReleasedIds(settings.released_limit_tasks)
        self.totals: dict[str, int] = dict.fromkeys(TOTALS, 0)

    @property
    def recorded(self) -> int:
        """Outcomes recorded, each task once."""
        return sum(self.totals[name] for name in _TOTAL_OF_END.values())

    def knows(self, task_id: bytes) -> bool:
        """Whether this id was accepted, as far as the table remembers."""
        return task_id in self.tasks or task_id in self.results or task_id in self.released

    def apply(self, kind: int, data: bytes, decoded: Any = None) -> None:
        """Apply one committed entry. ``decoded``: what the proposer already parsed from ``data``.

        Raises ValueError for a kind that this version does not know: the node must not go on as if it were nothing.
        """
        if kind == EntryKind.ACCEPT:
            self._accept(decoded if decoded is not None else [Task(call) for call in decode_calls(data)])
        elif kind == EntryKind.OUTCOME:
            self._record(decoded if decoded is not None else decode_outcomes(data))
        elif kind == EntryKind.RELEASE:
            self._release(split_ids(data))
        elif kind == EntryKind.ATTEMPT:
            for task_id in split_ids(data):
                if task_id in self.tasks:
                    self.lost_attempts[task_id] = self.lost_attempts.get(task_id, 0) + 1
        elif kind not in (EntryKind.NOOP, EntryKind.CONFIG):
            raise ValueError(f"log entry of unknown kind {kind}; this node is older than the one that wrote it")

    def _accept(self, tasks: Iterable[Task]) -> None:
        for task in tasks:
            if not self.knows(task.id):
                self.tasks[task.id] = task
                self.totals["accepted"] += 1

    def _record(self, outcomes: Iterable[Outcome]) -> None:
        tasks, totals = self.tasks, self.totals
        for task_id, _attempt, end, payload, _duration_us in outcomes:
            if tasks.pop(task_id, None) is None:
                totals["duplicates"] += 1
                continue
            if self.lost_attempts:
                self.lost_attempts.pop(task_id, None)
            totals[_TOTAL_OF_END[end]] += 1  # type: ignore[index]
            self.results[task_id] = (end, payload)
            self.result_bytes += len(payload)
        limit_tasks, limit_bytes = self._settings.result_limit_tasks, self._settings.result_limit_bytes
        while len(self.results) > limit_tasks or self.result_bytes > limit_bytes:
            self._drop_result(next(iter(self.results)))

    def _release(self, ids: Iterable[bytes]) -> None:
        for task_id in ids:
            if task_id in self.results:
                self._drop_result(task_id)

    def _drop_result(self, task_id: bytes) -> None:
        _, payload = self.results.pop(task_id)
        self.result_bytes -= len(payload)
        self.released.add(task_id)
