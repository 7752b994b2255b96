"""What a valid field of a message is.

Each check takes one value of any type and returns if it is valid; otherwise it raises ValueError, which says what was
expected, or LimitExceeded. A check looks at exact types: a bool is no integer, and a subclass is another type. Whoever
composes checks (:func:`many`, :func:`record`) gets one that looks at everything inside, in linear time.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any, Final
from unicodedata import category

from paceline_protocol.errors import LimitExceeded
from paceline_protocol.limits import (
    EVERY_MAX_MS,
    EXPRESSION_CHARS,
    KEPT_LOSSES,
    MAX_ATTEMPT,
    MAX_BATCH_ITEMS,
    MAX_ENTRY_KIND,
    MAX_INT,
    MAX_NAME_CHARS,
    MAX_QUEUES,
    MAX_REQUEST_TASKS,
    MAX_STRING_CHARS,
    MAX_TRACEBACK_CHARS,
    MAX_WEIGHT,
    SUMMARY_LIMIT_BYTES,
    ZONE_CHARS,
)
from paceline_protocol.messages import records as r
from paceline_protocol.messages import schedules as s
from paceline_protocol.moments import FROM_NOW_MAX_MS, MOMENT_MAX_MS
from paceline_protocol.option_types import QUEUE_NAME_RULE, is_queue_name
from paceline_protocol.options import BY_KEY, contradiction
from paceline_protocol.places import is_amounts, is_tags

Check = Callable[[Any], None]


def integer(value: Any) -> None:
    if type(value) is not int or not 0 <= value <= MAX_INT:
        raise ValueError(f"an integer from 0 to 2^63-1 is expected, not {_kind_of(value)}")


def boolean(value: Any) -> None:
    if type(value) is not bool:
        raise ValueError(f"a boolean is expected, not {_kind_of(value)}")


def octets(value: Any) -> None:
    if type(value) is not bytes:
        raise ValueError(f"bytes are expected, not {_kind_of(value)}")


def identifier(value: Any) -> None:
    if type(value) is not bytes or len(value) != r.TASK_ID_BYTES:
        raise ValueError(f"an id of {r.TASK_ID_BYTES} bytes is expected, not {_kind_of(value)}")


def text(limit_chars: int) -> Check:
    def check(value: Any) -> None:
        if type(value) is not str:
            raise ValueError(f"a string is expected, not {_kind_of(value)}")
        if len(value) > limit_chars:
            raise LimitExceeded("characters in a string", len(value), limit_chars)

    return check


string: Check = text(MAX_STRING_CHARS)
long_string: Check = text(MAX_TRACEBACK_CHARS)


def name(value: Any) -> None:
    if type(value) is not str or not 0 < len(value) <= MAX_NAME_CHARS:
        raise ValueError(f"a name of 1 to {MAX_NAME_CHARS} characters is expected, not {_kind_of(value)}")


def queue_name(value: Any) -> None:
    if not is_queue_name(value):
        raise ValueError(f"the name of a queue is expected, a string of {QUEUE_NAME_RULE}, not {_kind_of(value)}")


def queue_names(value: Any) -> None:
    """The queues whose tasks a node takes."""
    batch(value)
    if len(value) > MAX_QUEUES:
        raise LimitExceeded("queues of one node", len(value), MAX_QUEUES)
    for item in value:
        queue_name(item)


def tags(value: Any) -> None:
    """What a node has."""
    if not is_tags(value):
        raise ValueError(f"tags are expected, in order, with commas between them, not {_kind_of(value)}")


def amounts(value: Any) -> None:
    """What a node declares."""
    if not is_amounts(value):
        raise ValueError(f"amounts are expected, in order, with commas between them, not {_kind_of(value)}")


def weight(value: Any) -> None:
    if type(value) is not int or not 1 <= value <= MAX_WEIGHT:
        raise ValueError(f"a weight from 1 to {MAX_WEIGHT} is expected, not {_kind_of(value)}")


def one_of(enum: type[IntEnum]) -> Check:
    allowed = frozenset(int(member) for member in enum)

    def check(value: Any) -> None:
        if type(value) is not int or value not in allowed:
            raise ValueError(f"a {enum.__name__} is expected, not {_kind_of(value)}")

    return check


def many(check_item: Check) -> Check:
    def check(value: Any) -> None:
        batch(value)
        for item in value:
            check_item(item)

    return check


def record(*checks: Check) -> Check:
    def check(value: Any) -> None:
        if type(value) is not tuple or len(value) != len(checks):
            raise ValueError(f"an array of {len(checks)} is expected, not {_kind_of(value)}")
        for check_field, field in zip(checks, value, strict=True):
            check_field(field)

    return check


def batch(value: Any) -> None:
    if type(value) is not tuple:
        raise ValueError(f"an array is expected, not {_kind_of(value)}")
    if len(value) > MAX_BATCH_ITEMS:
        raise LimitExceeded("items in one batch", len(value), MAX_BATCH_ITEMS)


def request_ids(value: Any) -> None:
    """The tasks that a client asks about in one message."""
    batch(value)
    if len(value) > MAX_REQUEST_TASKS:
        raise LimitExceeded("tasks in one request", len(value), MAX_REQUEST_TASKS)
    for item in value:
        identifier(item)


def options(value: Any) -> None:
    if type(value) is not dict:
        raise ValueError(f"options are a map or nil, not {_kind_of(value)}")
    for key, given in value.items():
        option = BY_KEY.get(key) if type(key) is str else None
        if option is None:  # silently ignoring it would break what it promises
            raise ValueError(f"unknown option {str(key)[:40]!r}; this version knows {', '.join(BY_KEY)}")
        if not option.type.is_valid(given):
            raise ValueError(f"option {key!r} is {option.type.on_wire}, not {_kind_of(given)}")
    if len(value) > 1 and (wrong := contradiction(value)):
        raise ValueError(wrong)


def _kind_of(value: Any) -> str:
    """What a value is, for an error message: its type, with the value or its length where that is short."""
    if isinstance(value, int):
        return f"{type(value).__name__} {value}" if abs(value) <= 2**64 else "a larger int"
    return f"{type(value).__name__} of length {len(value)}" if hasattr(value, "__len__") else type(value).__name__


def _options_or_none(value: Any) -> None:
    if value is not None:
        options(value)


def _priority(value: Any) -> None:
    if type(value) is not int or not 0 <= value <= r.PRIORITY_MAX:
        raise ValueError(f"a priority from 0 to {r.PRIORITY_MAX} is expected, not {_kind_of(value)}")


# The four records of the hot path. Each is looked at twice at most: all of it at once, which knows "valid" and "look
# closer"; then field by field, which takes the rare (options) and says what is wrong with the rest. The first look is
# written out, type by type, since compiled it then makes no object: a task is looked at five times on its way.

_TASK_ENDS: Final = frozenset(int(state) for state in r.TaskEnd)
_ATTEMPT_ENDS: Final = _TASK_ENDS | {r.MAY_RETRY}


def is_call(item: Any) -> bool:
    if type(item) is not tuple or len(item) != 5:
        return False
    call: tuple[Any, ...] = item
    task_id, name, priority = call[r.CALL_ID], call[r.CALL_NAME], call[r.CALL_PRIORITY]
    return (
        type(task_id) is bytes
        and len(task_id) == r.TASK_ID_BYTES
        and type(name) is str
        and 0 < len(name) <= MAX_NAME_CHARS
        and type(priority) is int
        and 0 <= priority <= r.PRIORITY_MAX
        and type(call[r.CALL_ARGS]) is bytes
        and (call[r.CALL_OPTIONS] is None or call[r.CALL_OPTIONS] == {})
    )


def is_assignment(item: Any) -> bool:
    if type(item) is not tuple or len(item) != 5:
        return False
    assignment: tuple[Any, ...] = item
    task_id, attempt, name = (
        assignment[r.ASSIGNMENT_ID],
        assignment[r.ASSIGNMENT_ATTEMPT],
        assignment[r.ASSIGNMENT_NAME],
    )
    return (
        type(task_id) is bytes
        and len(task_id) == r.TASK_ID_BYTES
        and type(attempt) is int
        and 0 <= attempt <= MAX_INT
        and type(name) is str
        and 0 < len(name) <= MAX_NAME_CHARS
        and type(assignment[r.ASSIGNMENT_ARGS]) is bytes
        and assignment[r.ASSIGNMENT_OPTIONS] is None
    )


def is_outcome(item: Any) -> bool:
    if type(item) is not tuple or len(item) != 5:
        return False
    outcome: tuple[Any, ...] = item
    task_id, attempt = outcome[r.OUTCOME_ID], outcome[r.OUTCOME_ATTEMPT]
    state, duration_us = outcome[r.OUTCOME_STATE], outcome[r.OUTCOME_DURATION_US]
    return (
        type(task_id) is bytes
        and len(task_id) == r.TASK_ID_BYTES
        and type(attempt) is int
        and 0 <= attempt <= MAX_INT
        and type(state) is int
        and state in _ATTEMPT_ENDS
        and type(outcome[r.OUTCOME_PAYLOAD]) is bytes
        and type(duration_us) is int
        and 0 <= duration_us <= MAX_INT
    )


def is_result(item: Any) -> bool:
    if type(item) is not tuple or len(item) != 3:
        return False
    result: tuple[Any, ...] = item
    task_id, state = result[r.RESULT_ID], result[r.RESULT_STATE]
    return (
        type(task_id) is bytes
        and len(task_id) == r.TASK_ID_BYTES
        and type(state) is int
        and state in _TASK_ENDS
        and type(result[r.RESULT_PAYLOAD]) is bytes
    )


queues: Check = many(record(queue_name, boolean, weight))
alterations: Check = many(record(identifier, queue_name, _priority, boolean))
_default_fields: Check = record(name, _priority, options)
_call_fields: Check = record(identifier, name, _priority, octets, _options_or_none)
_assignment_fields: Check = record(identifier, integer, name, octets, _options_or_none)


def _attempt_end(value: Any) -> None:
    if type(value) is not int or value not in _ATTEMPT_ENDS:
        raise ValueError(f"a TaskEnd, or {r.MAY_RETRY}, is expected, not {_kind_of(value)}")


_outcome_fields: Check = record(identifier, integer, _attempt_end, octets, integer)
_result_fields: Check = record(identifier, one_of(r.TaskEnd), octets)
_ended_outcome: Check = record(identifier, integer, one_of(r.TaskEnd), octets, integer)


def calls(value: Any) -> None:
    batch(value)
    for item in value:
        if not is_call(item):
            _call_fields(item)


def defaults(value: Any) -> None:
    batch(value)
    for item in value:
        _default_fields(item)


def assignments(value: Any) -> None:
    batch(value)
    for item in value:
        if not is_assignment(item):
            _assignment_fields(item)


def outcomes(value: Any) -> None:
    batch(value)
    for item in value:
        if not is_outcome(item):
            _outcome_fields(item)


def results(value: Any) -> None:
    batch(value)
    for item in value:
        if not is_result(item):
            _result_fields(item)


def _up_to(highest: int, what: str, unit: str = "") -> Check:
    """An integer that has a bound of its own."""

    def check(value: Any) -> None:
        if type(value) is not int or not 0 <= value <= highest:
            raise ValueError(f"{what} from 0 to {highest}{unit} is expected, not {_kind_of(value)}")

    return check


moment: Check = _up_to(MOMENT_MAX_MS, "a moment", " ms")
attempt: Check = _up_to(MAX_ATTEMPT, "an attempt")
_delay: Check = _up_to(FROM_NOW_MAX_MS + 1, "a delay")


def _may_be_shown(text: str) -> bool:
    return text.isprintable() or all(char.isprintable() or category(char) == "Cn" for char in text)


def line(value: Any) -> None:
    """What is kept of an error: it is shown to people as it is.

    Who wrote it may run a later Python, which knows of characters that this one does not. They have no effect where
    they are shown; and a replica that refused them could apply no entry behind the one that has them."""
    if type(value) is not str or len(value) > SUMMARY_LIMIT_BYTES or not _may_be_shown(value):
        raise ValueError(f"a line of {SUMMARY_LIMIT_BYTES} characters at most is expected, not {_kind_of(value)}")


_retry_fields: Check = record(identifier, attempt, moment, moment, line)


def retries(value: Any) -> None:
    batch(value)
    for item in value:
        _retry_fields(item)


_losses: Check = many(record(attempt, line))
_record_checks: Final = (
    name,
    _priority,
    attempt,
    integer,
    integer,
    string,
    moment,
    moment,
    moment,
    moment,
    many(record(attempt, moment, line)),
)
_record: Check = record(*_record_checks)
_record_with_losses: Check = record(*_record_checks, _losses)


def task_record(value: Any) -> None:
    """With how attempts were lost, if it has that of any."""
    if type(value) is not tuple or len(value) != len(_record_checks) + 1:
        _record(value)
        return
    _record_with_losses(value)
    if not 0 < len(value[-1]) <= KEPT_LOSSES:
        raise ValueError(f"1 to {KEPT_LOSSES} losses are expected, not {len(value[-1])}")


_kept_fields: Check = record(_ended_outcome, task_record)


def kept_outcomes(value: Any) -> None:
    batch(value)
    for item in value:
        _kept_fields(item)


def _dead_end(value: Any) -> None:
    if type(value) is not int or value not in r.DEAD_ENDS:
        raise ValueError(f"FAILED, LOST or TIMED_OUT is expected, not {_kind_of(value)}")


def call(value: Any) -> None:
    if not is_call(value):
        _call_fields(value)


dead_outcomes: Check = many(record(record(identifier, integer, _dead_end, octets, integer), task_record))
requeued: Check = many(record(identifier, call))
dead_tasks: Check = many(record(call, _dead_end, octets, task_record))


_when: Check = record(
    one_of(s.WhenKind),
    text(EXPRESSION_CHARS),
    text(ZONE_CHARS),
    _up_to(EVERY_MAX_MS, "an interval", " ms"),
    moment,
)
definition: Check = record(
    name,
    octets,
    _priority,
    _options_or_none,
    _when,
    one_of(s.Misfire),
    _up_to(s.MISFIRES_MAX, "a number of moments"),
    one_of(s.Overlap),
    string,
)


def _or_none(check: Check) -> Check:
    def check_given(value: Any) -> None:
        if value is not None:
            check(value)

    return check_given


own_schedules: Check = many(record(name, definition))
schedule_changes: Check = many(record(one_of(s.ScheduleOp), name, _or_none(definition), moment, moment))
backfills: Check = many(record(name, many(moment)))
firings: Check = many(record(name, moment, one_of(s.Fired), integer, moment, _or_none(call)))


def _id_or_empty(value: Any) -> None:
    if value != b"":
        identifier(value)


_SCHEDULE: Final = (
    name,
    definition,
    boolean,
    moment,
    moment,
    moment,
    _id_or_empty,
    many(identifier),
    many(moment),
    integer,
    integer,
    integer,
)
_schedule: Check = record(*_SCHEDULE)
_schedule_with_backfill: Check = record(*_SCHEDULE, many(moment))


def _any_schedule(value: Any) -> None:
    """One of which moments wait for their backfill has these behind all else."""
    has_backfill = type(value) in (tuple, list) and len(value) > len(_SCHEDULE)
    (_schedule_with_backfill if has_backfill else _schedule)(value)


schedules: Check = many(_any_schedule)


def _failing_end(value: Any) -> None:
    if type(value) is not int or value not in (r.TaskEnd.FAILED, r.TaskEnd.TIMED_OUT):
        raise ValueError(f"FAILED or TIMED_OUT is expected, not {_kind_of(value)}")


failed_attempt: Check = record(line, _delay, _failing_end, octets)


def entry_kind(value: Any) -> None:
    """Known here or not. What a node does not know must reach its log and stop it there: to drop the frame would leave
    it behind for ever, in silence."""
    if type(value) is not int or not 0 <= value <= MAX_ENTRY_KIND:
        raise ValueError(f"an entry kind from 0 to {MAX_ENTRY_KIND} is expected, not {_kind_of(value)}")


def _level(value: Any) -> None:
    if type(value) is not int or not 1 <= value <= MAX_INT:
        raise ValueError(f"a feature level from 1 is expected, not {_kind_of(value)}")


node_ids: Check = many(string)

_config_fields: Check = record(node_ids, node_ids, node_ids, integer, _level)


def config(value: Any) -> None:
    _config_fields(value)
    voters, learners, excluded, _limit, _level = value
    if any(list(group) != sorted(set(group)) for group in (voters, learners, excluded)):
        raise ValueError("voters, learners and excluded nodes are sorted and without repetition")
    if len({*voters, *learners, *excluded}) < len(voters) + len(learners) + len(excluded):
        raise ValueError("a node is a voter, a learner or excluded, and one of them at most")
