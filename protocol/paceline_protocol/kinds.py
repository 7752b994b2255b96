"""The kinds of messages as the codec needs them: by number and by class, with a check for each field.

All of it follows from ``messages``. A task crosses five processes, so the messages on its way have to cost little.
The checks in ``AT_ONCE`` look at all fields of a message in one call; they take only what is certainly valid, and what
they don't take goes to the checks of ``KINDS``, which decide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Final, NamedTuple, get_args, get_origin, get_type_hints

from paceline_protocol import fields as f
from paceline_protocol.limits import MAX_BATCH_ITEMS, MAX_INT
from paceline_protocol.messages import Message
from paceline_protocol.messages.children import Done, Run
from paceline_protocol.messages.client import Submit, Update
from paceline_protocol.messages.message import MESSAGES, PROTOCOL_VERSION

MAGIC: Final = 0x50  # "P"

# The types that messages/message.py names, one by one and in batches; the checks of the latter are written out.
_NAMED: Final[dict[str, f.Check]] = {
    "id": f.identifier,
    "name": f.name,
    "long-string": f.long_string,
    "request-ids": f.request_ids,
    "queue-name": f.queue_name,
    "queue-names": f.queue_names,
    "tags": f.tags,
    "amounts": f.amounts,
    "entry-kind": f.entry_kind,
}
_BATCHES: Final[dict[str, f.Check]] = {"assignment": f.assignments, "outcome": f.outcomes, "result": f.results}
_PLAIN: Final[dict[Any, f.Check]] = {int: f.integer, bool: f.boolean, str: f.string, bytes: f.octets}


def _check_of(hint: Any) -> f.Check:
    """The check of a field that has this type."""
    if get_origin(hint) is Annotated:
        bare, mark = get_args(hint)
        if isinstance(mark, str):
            return _NAMED.get(mark) or _check_of(bare)
        return f.one_of(mark)
    if get_origin(hint) is not tuple:
        return _PLAIN[hint]
    items = get_args(hint)
    if items[-1] is not ...:
        return f.record(*[_check_of(item) for item in items])
    marks = get_args(items[0]) if get_origin(items[0]) is Annotated else ()
    return _BATCHES.get(marks[-1] if marks else "") or f.many(_check_of(items[0]))


def _checks_of(cls: type[Message]) -> tuple[f.Check, ...]:
    hints = get_type_hints(cls, include_extras=True)
    return tuple([_check_of(hints[name]) for name in cls._fields])


KINDS: Final[dict[int, tuple[type[Message], tuple[f.Check, ...]]]] = {
    said.kind: (cls, _checks_of(cls)) for cls, said in MESSAGES.items()
}
"""Kind -> (class, one check per field)."""

# The messages on the way of every task, checked at once. True: all of it is valid. False: it may still be, look closer.


def _is_submit(fields: Any) -> bool:
    if type(fields) is not tuple or len(fields) != 4:
        return False
    values: tuple[Any, ...] = fields
    seq, ack = values[0], values[1]
    return (
        type(seq) is int
        and 0 <= seq <= MAX_INT
        and type(ack) is int
        and 0 <= ack <= MAX_INT
        and type(values[2]) is bytes
        and type(values[3]) is bool
    )


def _is_update(fields: Any) -> bool:
    """Of an Update that refuses nothing."""
    if type(fields) is not tuple or len(fields) != 4:
        return False
    values: tuple[Any, ...] = fields
    seq, accepted, refused, results = values[0], values[1], values[2], values[3]
    if type(seq) is not int or not 0 <= seq <= MAX_INT:
        return False
    if type(accepted) is not tuple or type(refused) is not tuple or type(results) is not tuple:
        return False
    if refused or len(accepted) > MAX_BATCH_ITEMS or len(results) > MAX_BATCH_ITEMS:
        return False
    for number in accepted:
        if type(number) is not int or not 0 <= number <= MAX_INT:
            return False
    for result in results:  # noqa: SIM110 - compiled, this makes no object for each result
        if not f.is_result(result):
            return False
    return True


def _only_record(fields: Any) -> Any:
    """The record of a message whose one field is a batch of one, None if it is none."""
    if type(fields) is not tuple or len(fields) != 1:
        return None
    batch = fields[0]
    return batch[0] if type(batch) is tuple and len(batch) == 1 else None


def _is_run_of_one(fields: Any) -> bool:
    return f.is_assignment(_only_record(fields))


def _is_done_of_one(fields: Any) -> bool:
    return f.is_outcome(_only_record(fields))


AT_ONCE: Final[dict[type[Message], Callable[[Any], bool]]] = {
    Submit: _is_submit,
    Update: _is_update,
    Run: _is_run_of_one,
    Done: _is_done_of_one,
}


class Shape(NamedTuple):
    """What is known of one kind."""

    header: bytes
    cls: type[Message]
    checks: tuple[f.Check, ...]
    trusted: bool
    is_valid: Callable[[Any], bool] | None


def _shape(kind: int, cls: type[Message], checks: tuple[f.Check, ...]) -> Shape:
    header = bytes((MAGIC, PROTOCOL_VERSION, kind))
    return Shape(header, cls, checks, MESSAGES[cls].trusted, AT_ONCE.get(cls))


BY_KIND: Final[dict[int, Shape]] = {kind: _shape(kind, cls, checks) for kind, (cls, checks) in KINDS.items()}
BY_CLASS: Final[dict[type[Message], Shape]] = {shape.cls: shape for shape in BY_KIND.values()}


def check_fields(shape: Shape, fields: Any) -> None:
    """Look at each field by itself. Raises ValueError, which names the field, or LimitExceeded."""
    if type(fields) is not tuple or len(fields) != len(shape.checks):
        raise ValueError(f"an array of {len(shape.checks)} fields is expected")
    name = ""
    try:
        for name, check, value in zip(shape.cls._fields, shape.checks, fields, strict=True):  # noqa: B007 - named in the error
            check(value)
    except ValueError as error:
        raise ValueError(f"{shape.cls.__name__}.{name}: {error}") from error
