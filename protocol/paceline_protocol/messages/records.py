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
from typing import Annotated, Any, Final, TypeAlias

TASK_ID_BYTES: Final = 16
PRIORITY_MAX: Final = 9
PRIORITY_DEFAULT: Final = 4

Options: TypeAlias = dict[str, Any]
"""Never changed once it is made: calls share it."""
Call: TypeAlias = tuple[bytes, str, int, bytes, Options | None]
Assignment: TypeAlias = Annotated[tuple[bytes, int, str, bytes, Options | None], "assignment"]
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

AT_MOST_ONCE: Final = 1
"""Of ``delivery``: each start is logged before it is made, and there is one."""
COMMITTED: Final = 1
"""Of ``confirm``: the result is passed on once its outcome is committed."""
NO_LOG: Final = 1
"""Of ``durability``: the leader alone knows of the task, and its client, which submits it again to the next leader."""
TRACED: Final = 1
"""Of ``trace``: the submitter is told when the task passed where (:class:`Trace`)."""


class TaskEnd(IntEnum):
    """How a task can end. The numbers are on the wire and in the log: never renumber."""

    SUCCEEDED = 1  # payload: the packed return value
    FAILED = 2  # payload: a packed error (payload.pack_error)
    CANCELLED = 3  # payload: empty
    LOST = 4  # payload: a packed error that says how often and where it was lost
    EXPIRED = 5  # payload: a packed error that says when
