"""A task, and the states that it goes through.

Two kinds of state meet in a :class:`Task` and must not be mixed up:

* **Replicated**: the call itself. It is fixed when the task is made, and every voter holds it equal (``table.py``).
* **The leader's**: where the task is at this moment (``state``, ``node``, ``attempt``, ``session``). It is rebuilt by
  each new leader and never enters a digest or a snapshot.

The leader dispatches a task in the turn in which it arrives, before its ACCEPT entry commits. So a task is made when
the entry is proposed, and enters the table when the entry is applied: on the leader it is the same object.
"""

from __future__ import annotations

from sys import intern
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

from paceline.core.state.call_options import CallOptions, resolve
from paceline_protocol.messages.records import Assignment, Call, Options, TaskEnd
from paceline_protocol.options import DEFAULT_QUEUE, altered

if TYPE_CHECKING:
    from paceline.core.clients.sessions import ClientSession


class State:
    """Where a task is, as its leader sees it. Plain numbers from 0 without a gap, and no Enum: the leader looks at them
    several times a task, and compiled code compares them as they are."""

    READY: Final = 0  # in a queue of the leader
    DISPATCHED: Final = 1  # at a node: queued there, or running
    SUCCEEDED: Final = 2
    FAILED: Final = 3
    CANCELLED: Final = 4
    LOST: Final = 5
    STARTING: Final = 6  # it has its place at a node, and is sent there once its start is logged
    RECOVERED: Final = 7  # an earlier leader accepted it, and no node has said yet that it has it
    DELAYED: Final = 8  # it may not start before a moment of the wall clock
    EXPIRED: Final = 9
    TIMED_OUT: Final = 10
    WAITING: Final = 11  # tasks that it depends on have not ended
    UPSTREAM_FAILED: Final = 12
    LIMITED: Final = 13  # as many of its name and key are at nodes as may be


class Event:
    """What moves a task from one state to another. Plain numbers, as those of :class:`State`."""

    DISPATCH: Final = 0
    GIVE_BACK: Final = 1  # the node never had it, or gave it back before it started
    ATTEMPT_LOST: Final = 2  # its worker or node died; attempts are left
    SUCCEED: Final = 3
    FAIL: Final = 4
    CANCEL: Final = 5
    GIVE_UP: Final = 6  # its worker or node died once too often
    RESERVE: Final = 7  # a node has a place for it, but its start must be logged first
    COME_DUE: Final = 8  # its moment is reached
    EXPIRE: Final = 9  # it has not started by the moment that it was given
    POSTPONE: Final = 10  # it has to wait for a moment: for that of its retry, as its attempt failed
    TIME_OUT: Final = 11  # it has run for longer than it may
    INPUTS_END: Final = 12  # all tasks that it depends on have ended
    UPSTREAM_FAIL: Final = 13  # one that it depends on did not succeed
    HOLD: Final = 14  # its limit leaves no place for it
    OFFER: Final = 15  # its limit leaves a place for it


def _names(numbers: type) -> dict[int, str]:
    return {number: name.lower() for name, number in vars(numbers).items() if name.isupper()}


STATE_NAMES: Final = _names(State)
EVENT_NAMES: Final = _names(Event)

TRANSITIONS: Final[dict[tuple[int, int], int]] = {
    (State.READY, Event.DISPATCH): State.DISPATCHED,
    (State.DISPATCHED, Event.GIVE_BACK): State.READY,
    (State.DISPATCHED, Event.ATTEMPT_LOST): State.READY,
    (State.DISPATCHED, Event.SUCCEED): State.SUCCEEDED,
    (State.DISPATCHED, Event.FAIL): State.FAILED,
    (State.DISPATCHED, Event.GIVE_UP): State.LOST,
    (State.READY, Event.CANCEL): State.CANCELLED,
    (State.DISPATCHED, Event.CANCEL): State.CANCELLED,  # it was asked to stop at its node
    # An attempt that counted as lost may still answer, and its outcome is as good as any.
    (State.READY, Event.SUCCEED): State.SUCCEEDED,
    (State.READY, Event.FAIL): State.FAILED,
    (State.READY, Event.RESERVE): State.STARTING,
    (State.RECOVERED, Event.DISPATCH): State.DISPATCHED,
    (State.RECOVERED, Event.RESERVE): State.STARTING,
    (State.RECOVERED, Event.SUCCEED): State.SUCCEEDED,
    (State.RECOVERED, Event.FAIL): State.FAILED,
    (State.RECOVERED, Event.CANCEL): State.CANCELLED,
    # An earlier leader started its last attempt, and no node has it.
    (State.RECOVERED, Event.GIVE_UP): State.LOST,
    (State.STARTING, Event.DISPATCH): State.DISPATCHED,
    (State.STARTING, Event.GIVE_BACK): State.READY,
    (State.STARTING, Event.CANCEL): State.CANCELLED,
    (State.DELAYED, Event.COME_DUE): State.READY,
    (State.DELAYED, Event.CANCEL): State.CANCELLED,
    # An earlier leader, whose clock was ahead of this one's, had it started.
    (State.DELAYED, Event.DISPATCH): State.DISPATCHED,
    (State.DELAYED, Event.SUCCEED): State.SUCCEEDED,
    (State.DELAYED, Event.FAIL): State.FAILED,
    (State.DISPATCHED, Event.POSTPONE): State.DELAYED,
    # As with FAIL: what an attempt answers that counted as lost is as good as any.
    (State.DISPATCHED, Event.TIME_OUT): State.TIMED_OUT,
    (State.READY, Event.TIME_OUT): State.TIMED_OUT,
    (State.RECOVERED, Event.TIME_OUT): State.TIMED_OUT,
    (State.DELAYED, Event.TIME_OUT): State.TIMED_OUT,
    (State.READY, Event.EXPIRE): State.EXPIRED,
    (State.RECOVERED, Event.EXPIRE): State.EXPIRED,
    # Somebody holds it, or has it altered.
    (State.READY, Event.POSTPONE): State.DELAYED,
    (State.RECOVERED, Event.POSTPONE): State.DELAYED,
    (State.STARTING, Event.EXPIRE): State.EXPIRED,
    (State.DELAYED, Event.EXPIRE): State.EXPIRED,
    (State.WAITING, Event.INPUTS_END): State.READY,
    (State.WAITING, Event.POSTPONE): State.DELAYED,  # its own moment has not come
    (State.WAITING, Event.UPSTREAM_FAIL): State.UPSTREAM_FAILED,
    (State.WAITING, Event.CANCEL): State.CANCELLED,
    (State.WAITING, Event.EXPIRE): State.EXPIRED,
    # The results that it would be called with are too large together.
    (State.WAITING, Event.FAIL): State.FAILED,
    # A node answers for what it can't have had: no leader stops for that.
    (State.WAITING, Event.SUCCEED): State.SUCCEEDED,
    (State.WAITING, Event.TIME_OUT): State.TIMED_OUT,
    (State.STARTING, Event.SUCCEED): State.SUCCEEDED,
    (State.STARTING, Event.FAIL): State.FAILED,
    (State.STARTING, Event.TIME_OUT): State.TIMED_OUT,
    (State.READY, Event.HOLD): State.LIMITED,
    (State.LIMITED, Event.OFFER): State.READY,
    # An earlier leader had it started: a task with a limit is not RECOVERED, but waits here from the beginning.
    (State.LIMITED, Event.DISPATCH): State.DISPATCHED,
    (State.LIMITED, Event.SUCCEED): State.SUCCEEDED,
    (State.LIMITED, Event.FAIL): State.FAILED,
    (State.LIMITED, Event.CANCEL): State.CANCELLED,
    (State.LIMITED, Event.GIVE_UP): State.LOST,
    (State.LIMITED, Event.TIME_OUT): State.TIMED_OUT,
    (State.LIMITED, Event.EXPIRE): State.EXPIRED,
    (State.LIMITED, Event.POSTPONE): State.DELAYED,
}
"""The whole life of a task. What is not in this table can't happen; :func:`next_state` raises KeyError on it."""

END_EVENTS: Final[dict[int, int]] = {
    int(TaskEnd.SUCCEEDED): Event.SUCCEED,
    int(TaskEnd.FAILED): Event.FAIL,
    int(TaskEnd.CANCELLED): Event.CANCEL,
    int(TaskEnd.LOST): Event.GIVE_UP,
    int(TaskEnd.EXPIRED): Event.EXPIRE,
    int(TaskEnd.TIMED_OUT): Event.TIME_OUT,
    int(TaskEnd.UPSTREAM_FAILED): Event.UPSTREAM_FAIL,
}
"""What each end on the wire does to a task."""

LIVE: Final = frozenset(state for state, _ in TRANSITIONS)
"""The states that a task can leave. In all others it has ended."""

TASK_BYTES: Final = 600
"""What a voter needs for a task beside its arguments: measured, and rounded up."""

_EVENTS: Final = len(EVENT_NAMES)
_NEXT: Final[list[int]] = [
    TRANSITIONS.get((state, event), -1) for state in range(len(STATE_NAMES)) for event in range(_EVENTS)
]
_HAS_ENDED: Final[list[bool]] = [state not in LIVE for state in range(len(STATE_NAMES))]


def next_state(state: int, event: int) -> int:
    """The state that an event leads to. Raises KeyError if the table has no such transition."""
    found = _NEXT[state * _EVENTS + event]
    if found < 0:
        raise KeyError(f"{EVENT_NAMES[event]} of a task that is {STATE_NAMES[state]}")
    return found


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
        "first_age",
        "found_worker",
        "id",
        "is_async",
        "lost_attempts",
        "name",
        "node",
        "options",
        "priority",
        "runs_alone",
        "sent_at",
        "sent_seq",
        "session",
        "state",
    )

    def __init__(self, call: Call) -> None:
        self.id, name, self.priority, self.args, options = call
        self.name = intern(name)  # a million tasks share a few names
        self.options: CallOptions | None = resolve(options) if options else None  # {}: of a call by name
        # What follows is the leader's own.
        self.state: int = State.READY  # moved by LiveTasks alone; everybody else asks the predicates
        self.lost_attempts = 0  # before this leader; of a task that starts at most once, whether its start is logged
        self.attempt = 1
        self.age = 0  # order of arrival at this leader, or of when it began to wait behind all others
        self.first_age = 0  # order of arrival at this leader
        self.cost_us = 0  # what the dispatcher charged its node for it
        self.node = ""
        self.sent_seq = 0  # the Dispatch that carried it there
        self.arrived_at = 0.0  # at this leader; for metrics alone, as sent_at
        self.sent_at = 0.0  # when this leader last gave it to a node; 0: never
        self.found_worker = False  # which had a worker for it by then; for metrics, too
        self.is_async = False  # it is in that ledger of its node (credits.py)
        self.runs_alone = False  # it has lost several attempts, and may end whatever runs beside it
        self.session: ClientSession | None = None

    # --- where it is ------------------------------------------------------------------------------------------------

    @property
    def state_name(self) -> str:
        """For a person; whoever decides by it asks the predicates."""
        return STATE_NAMES[self.state]

    @property
    def is_recovered(self) -> bool:
        """Whether an earlier leader accepted it and no node has said yet that it has it."""
        return self.state == State.RECOVERED

    @property
    def is_delayed(self) -> bool:
        """Whether it waits for its moment."""
        return self.state == State.DELAYED

    @property
    def waits_for_tasks(self) -> bool:
        """Whether tasks that it depends on have not ended."""
        return self.state == State.WAITING

    @property
    def is_limited(self) -> bool:
        """Whether it waits until fewer of its name and key are at nodes."""
        return self.state == State.LIMITED

    @property
    def is_ready(self) -> bool:
        """Whether it waits for a node."""
        return self.state == State.READY

    @property
    def is_starting(self) -> bool:
        """Whether it waits for its start to be logged."""
        return self.state == State.STARTING

    @property
    def is_dispatched(self) -> bool:
        """Whether this leader sent it to its node, or left it there."""
        return self.state == State.DISPATCHED

    @property
    def has_place_at_node(self) -> bool:
        """Whether it is charged to its node."""
        return self.is_dispatched or self.is_starting

    @property
    def waits_at_leader(self) -> bool:
        """Whether it has not ended, and no node has it or a place for it, as far as this leader knows."""
        return not (self.has_ended or self.is_dispatched or self.is_starting)

    def is_dispatched_to(self, node_id: str) -> bool:
        """Whether it is dispatched to that node, so that the node's answer counts."""
        return self.state == State.DISPATCHED and self.node == node_id

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, in any way."""
        return _HAS_ENDED[self.state]

    # --- what it asks for -------------------------------------------------------------------------------------------

    @property
    def call(self) -> Call:
        """The call as its client submitted it."""
        return self.id, self.name, self.priority, self.args, self.wire_options

    @property
    def assignment(self) -> Assignment:
        """The task as its node is sent it."""
        return self.id, self.attempt, self.name, self.args, self.wire_options

    @property
    def wire_options(self) -> Options | None:
        return None if self.options is None else self.options.wire

    def altered(self, queue: str, priority: int, *, is_held: bool) -> Task:
        """The task with another call, as the log has it from now on; this one stays as it is, as a snapshot may be
        packing it."""
        options = altered(self.wire_options, queue, is_held=is_held)
        return Task((self.id, self.name, priority, self.args, options))

    @property
    def is_held(self) -> bool:
        """Whether somebody holds it: it does not start until it is released."""
        return self.options is not None and self.options.is_held

    @property
    def queue(self) -> str:
        """In which it waits."""
        return DEFAULT_QUEUE if self.options is None else self.options.queue

    @property
    def graph(self) -> str:
        """To which it belongs, "" for none."""
        return "" if self.options is None else self.options.graph

    # What it asks for, as far as that is read. Where it costs, a caller looks first whether ``options`` is None.

    def attempt_limit(self, default: int) -> int:
        """How many lost attempts end this task."""
        return default if self.options is None else self.options.max_attempts or default

    @property
    def must_log_start(self) -> bool:
        """Whether its start must be logged before it is sent to a node."""
        return self.options is not None and self.options.starts_once and not self.lost_attempts

    @property
    def waits_for_commit(self) -> bool:
        """Whether its submitter gets the result only once the outcome is committed."""
        return self.options is not None and self.options.waits_for_commit

    @property
    def is_logged(self) -> bool:
        """False for a task of which only its leader and its client know."""
        return self.options is None or self.options.is_logged

    @property
    def is_traced(self) -> bool:
        """Whether it is sampled: see ``traces.py``."""
        return self.options is not None and self.options.is_traced

    @property
    def sent_bytes(self) -> int:
        """What its node is sent: its arguments, and the results that it is called with."""
        return len(self.args) if self.options is None else len(self.args) + self.options.input_bytes

    def size_bytes(self) -> int:
        """How much the task adds to the queue's size: its arguments, texts in its options, what its failures may
        take, and a flat charge for the record."""
        options = self.options
        return len(self.args) + TASK_BYTES + (0 if options is None else options.extra_bytes)
