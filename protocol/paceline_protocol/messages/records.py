"""The records that travel in messages: calls, assignments, outcomes and results.

Tuples on the hot path. A task crosses five processes, and an object per hop costs more than the hop, so these four are
documented tuples and not classes:

=============  ==============================================  =====================================
``Call``       ``(id, name, priority, args, options)``         what a client submits
``Assignment`` ``(id, attempt, name, args, options)``          what a leader gives a node, a node a worker
``Outcome``    ``(id, attempt, state, payload, duration_us)``  what a worker answers
``Result``     ``(id, state, payload)``                        what the submitter gets
=============  ==============================================  =====================================

``id`` is 16 bytes, chosen by the client. ``args`` and ``payload`` are opaque bytes (``payload.py``): the leader never
decodes them. ``options`` is a map of the keys that ``options.py`` has rows for, or None for all defaults. The places
have names (``CALL_ARGS``, ...), which compiled code reads as the numbers that they are.
"""

from enum import IntEnum
from typing import Annotated, Any, Final, NamedTuple, TypeAlias

TASK_ID_BYTES: Final = 16
PRIORITY_MAX: Final = 9
PRIORITY_DEFAULT: Final = 4

Options: TypeAlias = dict[str, Any]
"""Never changed once it is made: calls share it."""
Call: TypeAlias = tuple[bytes, str, int, bytes, Options | None]
Assignment: TypeAlias = Annotated[tuple[bytes, int, str, bytes, Options | None], "assignment"]
Default: TypeAlias = tuple[str, int, Options]
"""``(name, priority, options)``: what a task was decorated with, for calls by name alone."""
Outcome: TypeAlias = Annotated[tuple[bytes, int, int, bytes, int], "outcome"]
Result: TypeAlias = Annotated[tuple[bytes, int, bytes], "result"]

# The places in each record. Written out, since a compiler that unpacks a range would not know the numbers.
CALL_ID: Final = 0
CALL_NAME: Final = 1
CALL_PRIORITY: Final = 2
CALL_ARGS: Final = 3
CALL_OPTIONS: Final = 4
ASSIGNMENT_ID: Final = 0
ASSIGNMENT_ATTEMPT: Final = 1
ASSIGNMENT_NAME: Final = 2
ASSIGNMENT_ARGS: Final = 3
ASSIGNMENT_OPTIONS: Final = 4
OUTCOME_ID: Final = 0
OUTCOME_ATTEMPT: Final = 1
OUTCOME_STATE: Final = 2
OUTCOME_PAYLOAD: Final = 3
OUTCOME_DURATION_US: Final = 4
RESULT_ID: Final = 0
RESULT_STATE: Final = 1
RESULT_PAYLOAD: Final = 2
RETRY_ID: Final = 0
RETRY_ATTEMPT: Final = 1
RETRY_NOT_BEFORE_MS: Final = 2
RETRY_FAILED_AT_MS: Final = 3
RETRY_SUMMARY: Final = 4

AT_MOST_ONCE: Final = 1
"""Of ``delivery``: each start is logged before it is made, and there is one."""
COMMITTED: Final = 1
"""Of ``confirm``: the result is passed on once its outcome is committed."""
NO_LOG: Final = 1
"""Of ``durability``: the leader alone knows of the task, and its client, which submits it again to the next leader."""
NO_DEFAULTS: Final = b"\x90"
"""What ``codec.encode_defaults`` makes of none."""
NO_SCHEDULES: Final = b"\x90"
"""What ``codec.encode_own_schedules`` makes of none."""
CANCEL: Final = 1
"""Of ``on_client_lost``: it is cancelled when its client is gone."""
TRACED: Final = 1
"""Of ``trace``: the submitter is told when the task passed where (:class:`Trace`)."""


MAY_RETRY: Final = 16
"""Of an outcome, beside the numbers of TaskEnd: the attempt failed, and the task may be tried again. Its payload is a
failed attempt (``codec.encode_failed_attempt``). No task ends so, and no OUTCOME entry has it."""

FailedAttempt: TypeAlias = tuple[str, int, int, bytes]
"""``(summary, delay_ms, end, error)``: the exception in a line; how long the task itself wants to wait, with 1 added,
and 0 if it does not say; the TaskEnd, FAILED or TIMED_OUT, and the packed error by which it ends if it is not tried
again."""
Retry: TypeAlias = tuple[bytes, int, int, int, str]
"""``(id, attempt, not_before_ms, failed_at_ms, summary)``: an attempt that failed, and the moment before which the next
one may not start. What a RETRY entry has of each task."""


QueueSettings: TypeAlias = tuple[str, bool, int]
"""``(queue, whether it is paused, weight)``: what a QUEUES entry has of each queue."""
Alteration: TypeAlias = tuple[bytes, str, int, bool]
"""``(id, queue, priority, whether it is held)``: what an ALTER entry has of each task."""


class EndRecord(NamedTuple):
    """What is remembered of a task that has ended and asked for that, beside its end. Moments are those of the wall
    clock of the leader that heard of the end; 0 for none."""

    name: str
    priority: int
    attempt: int  # the number of the last one, or of the one that would have been next
    lost: int  # how many attempts ended with their worker or node
    failed: int  # how many failed, or ran for too long
    node: str  # that had the last attempt; "" if none is known
    accepted_ms: int  # when a leader took the call, by its own wall clock
    started_ms: int  # of the last attempt, if that ended by itself or by its time limit
    ended_ms: int
    kept_until_ms: int
    failures: tuple[tuple[int, int, str], ...]  # after which it was tried again: as in a packed error
    losses: tuple[tuple[int, str], ...] = ()  # (attempt, where and how): as far as its leader had heard of it

    @property
    def packed(self) -> tuple[Any, ...]:
        """As it is packed. One of a task that has lost nothing, or of which nobody knows how, is as it was before there
        were losses in it."""
        return tuple(self) if self.losses else tuple(self[:-1])


KeptOutcome: TypeAlias = tuple[Outcome, EndRecord]
"""What a RECORD or DEAD entry has of each task."""
RequeuedCall: TypeAlias = tuple[bytes, Call]
"""``(id, call)``: a dead task, and the call of the new task in its place. What a REQUEUE entry has of each."""


class TaskEnd(IntEnum):
    """How a task can end. The numbers are on the wire and in the log: never renumber."""

    SUCCEEDED = 1  # payload: the packed return value
    FAILED = 2  # payload: a packed error (payload.pack_error)
    CANCELLED = 3  # payload: empty, or of a task that had begun a packed error that says how it came to an end
    LOST = 4  # payload: a packed error that says how often and where it was lost
    EXPIRED = 5  # payload: a packed error that says when
    TIMED_OUT = 6  # payload: a packed error that says after how long
    UPSTREAM_FAILED = 7  # payload: a packed error that says which task failed before it, and by what


DEAD_ENDS: Final = frozenset((TaskEnd.FAILED.value, TaskEnd.LOST.value, TaskEnd.TIMED_OUT.value))
"""How a task ends that is dead: it did not do what it was to do, and nobody had asked for that."""
