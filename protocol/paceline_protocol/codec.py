"""Messages to frames and back. The grammar that this module implements is docs/protocol.md.

A frame is three bytes (magic, version, kind) and one msgpack array: the message's fields, in the order of its class in
``messages.py``. What lives here: the kinds, the limits, and what a valid field is. What does not: what a message means,
and the Python values in arguments and results (``payload.py``), which are opaque bytes here.

The rules:

* Decoding takes any bytes. It raises RemoteProtocolError or LimitExceeded and nothing else, its work is linear in the
  size of the frame, and what it returns has the types that ``messages.py`` states, down to the items of each tuple.
* Encoding never sends what the other side must refuse. Seldom sent kinds are read back before they are returned. Those
  in ``_TRUSTED`` are not, since their items were checked when they came into this process and a second look would cost
  more than the packing. For them the type checker answers, and what msgpack can't pack is still refused.
* A task crosses five processes, so the messages on its way have to cost little. :func:`decode_fields` and
  :func:`encode_fields` leave out the message object. The checks in ``_AT_ONCE`` look at all fields of a message in one
  call; they take only what is certainly valid, and what they don't take goes to the checks of ``KINDS``, which decide.
* Bytes of calls and outcomes are what the log holds. The same values always give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import IntEnum
from typing import Any, NamedTuple

from msgpack import Packer, unpackb  # type: ignore[import-untyped]

from paceline_protocol import messages as m
from paceline_protocol.errors import (
    FrameTooLarge,
    LimitExceeded,
    LocalProtocolError,
    MalformedFrame,
    VersionMismatch,
)

MAGIC = 0x50  # "P"
HEADER_BYTES = 3

MAX_FRAME_BYTES = 64 * 1024 * 1024
MAX_BATCH_ITEMS = 16384
"""The most items in one array of a frame: calls in a batch, outcomes, ids, log entries."""
PAYLOAD_LIMIT_BYTES = 16 * 1024 * 1024
"""What a node allows for one task's arguments, and for its result, unless it is set otherwise there."""
MAX_NAME_CHARS = 255
MAX_STRING_CHARS = 4096
MAX_TRACEBACK_CHARS = 64 * 1024
"""For errors and tracebacks. Whoever makes one trims it (``payload.trim``)."""
MAX_INT = 2**63 - 1
"""Every integer on the wire is 0..MAX_INT, so that a reader may add to one and still send it on."""

_MAX_OPTIONS = 32

# --- what a valid field is: each check takes one value and raises ValueError or LimitExceeded ----------------------

_Check = Callable[[Any], None]


def _int(value: Any) -> None:
    if type(value) is not int or not 0 <= value <= MAX_INT:
        raise ValueError(f"an integer from 0 to 2^63-1 is expected, not {_kind_of(value)}")


def _bool(value: Any) -> None:
    if type(value) is not bool:
        raise ValueError(f"a boolean is expected, not {_kind_of(value)}")


def _bytes(value: Any) -> None:
    if type(value) is not bytes:
        raise ValueError(f"bytes are expected, not {_kind_of(value)}")


def _id(value: Any) -> None:
    if type(value) is not bytes or len(value) != m.TASK_ID_BYTES:
        raise ValueError(f"an id of {m.TASK_ID_BYTES} bytes is expected, not {_kind_of(value)}")


def _text(limit_chars: int) -> _Check:
    def check(value: Any) -> None:
        if type(value) is not str:
            raise ValueError(f"a string is expected, not {_kind_of(value)}")
        if len(value) > limit_chars:
            raise LimitExceeded("characters in a string", len(value), limit_chars)

    return check


_string = _text(MAX_STRING_CHARS)
_long_string = _text(MAX_TRACEBACK_CHARS)


def _name(value: Any) -> None:
    if type(value) is not str or not 0 < len(value) <= MAX_NAME_CHARS:
        raise ValueError(f"a name of 1 to {MAX_NAME_CHARS} characters is expected, not {_kind_of(value)}")


def _one_of(enum: type[IntEnum]) -> _Check:
    allowed = frozenset(int(member) for member in enum)

    def check(value: Any) -> None:
        if type(value) is not int or value not in allowed:
            raise ValueError(f"a {enum.__name__} is expected, not {_kind_of(value)}")

    return check


def _many(check_item: _Check) -> _Check:
    def check(value: Any) -> None:
        _batch(value)
        for item in value:
            check_item(item)

    return check


def _record(*checks: _Check) -> _Check:
    def check(value: Any) -> None:
        if type(value) is not tuple or len(value) != len(checks):
            raise ValueError(f"an array of {len(checks)} is expected, not {_kind_of(value)}")
        for check_field, field in zip(checks, value, strict=True):
            check_field(field)

    return check


def _batch(value: Any) -> None:
    if type(value) is not tuple:
        raise ValueError(f"an array is expected, not {_kind_of(value)}")
    if len(value) > MAX_BATCH_ITEMS:
        raise LimitExceeded("items in one batch", len(value), MAX_BATCH_ITEMS)


def _options(value: Any) -> None:
    if type(value) is not dict:
        raise ValueError(f"options are a map or nil, not {_kind_of(value)}")
    for key, option in value.items():
        limit = m.OPTION_LIMITS.get(key) if type(key) is str else None
        if limit is None:
            raise ValueError(f"unknown option {str(key)[:40]!r}; this version knows {', '.join(m.OPTION_LIMITS)}")
        if type(option) is not int or not 0 <= option <= limit:
            raise ValueError(f"option {key!r} is an int from 0 to {limit}, not {_kind_of(option)}")
    if value.get("durability") == m.NO_LOG and (value.get("delivery") or value.get("confirm")):
        raise ValueError("what is not logged can be neither started at most once nor confirmed as committed")


def _kind_of(value: Any) -> str:
    """What a value is, for an error message: its type, with the value or its length where that is short."""
    if isinstance(value, int):
        return f"{type(value).__name__} {value}" if abs(value) <= 2**64 else "a larger int"
    return f"{type(value).__name__} of length {len(value)}" if hasattr(value, "__len__") else type(value).__name__


def _options_or_none(value: Any) -> None:
    if value is not None:
        _options(value)


def _priority(value: Any) -> None:
    if type(value) is not int or not 0 <= value <= m.PRIORITY_MAX:
        raise ValueError(f"a priority from 0 to {m.PRIORITY_MAX} is expected, not {_kind_of(value)}")


# The four records of the hot path. Each is looked at twice at most: all of it at once, which knows "valid" and "look
# closer"; then field by field, which takes the rare (options) and says what is wrong with the rest.

_TASK_ENDS = frozenset(int(state) for state in m.TaskEnd)
_CALL_TYPES = (bytes, str, int, bytes, type(None))
_ASSIGNMENT_TYPES = (bytes, int, str, bytes, type(None))
_OUTCOME_TYPES = (bytes, int, int, bytes, int)
_RESULT_TYPES = (bytes, int, bytes)


def _is_call(item: Any) -> bool:
    if type(item) is not tuple or tuple(map(type, item)) != _CALL_TYPES:
        return False
    task_id, name, priority, _args, _options = item
    return len(task_id) == m.TASK_ID_BYTES and 0 < len(name) <= MAX_NAME_CHARS and 0 <= priority <= m.PRIORITY_MAX


def _is_assignment(item: Any) -> bool:
    if type(item) is not tuple or tuple(map(type, item)) != _ASSIGNMENT_TYPES:
        return False
    task_id, attempt, name, _args, _options = item
    return len(task_id) == m.TASK_ID_BYTES and 0 <= attempt <= MAX_INT and 0 < len(name) <= MAX_NAME_CHARS


def _is_outcome(item: Any) -> bool:
    if type(item) is not tuple or tuple(map(type, item)) != _OUTCOME_TYPES:
        return False
    task_id, attempt, state, _payload, duration_us = item
    return (
        len(task_id) == m.TASK_ID_BYTES
        and 0 <= attempt <= MAX_INT
        and state in _TASK_ENDS
        and 0 <= duration_us <= MAX_INT
    )


def _is_result(item: Any) -> bool:
    if type(item) is not tuple or tuple(map(type, item)) != _RESULT_TYPES:
        return False
    return len(item[0]) == m.TASK_ID_BYTES and item[1] in _TASK_ENDS


def _records(is_valid: Callable[[Any], bool], look_closer: _Check) -> _Check:
    def check(value: Any) -> None:
        _batch(value)
        if not all(map(is_valid, value)):
            for item in value:
                look_closer(item)

    return check


_calls = _records(_is_call, _record(_id, _name, _priority, _bytes, _options_or_none))
_assignments = _records(_is_assignment, _record(_id, _int, _name, _bytes, _options_or_none))
_outcomes = _records(_is_outcome, _record(_id, _int, _one_of(m.TaskEnd), _bytes, _int))
_results = _records(_is_result, _record(_id, _one_of(m.TaskEnd), _bytes))

# --- the kinds --------------------------------------------------------------------------------------------------

_ids = _many(_id)
_names = _many(_name)
_node_ids = _many(_string)

KINDS: dict[int, tuple[type[m.Message], tuple[_Check, ...]]] = {
    # client -> node
    1: (m.Hello, (_id, _string)),
    2: (m.Submit, (_int, _int, _bytes, _bool)),
    3: (m.Wait, (_int, _ids)),
    4: (m.Cancel, (_int, _ids)),
    5: (m.Ping, (_int,)),
    6: (m.StatusRequest, (_int,)),
    7: (m.Admin, (_int, _one_of(m.AdminOp), _string)),
    # node -> client
    20: (m.Welcome, (_string, _string, _string, _int, _string, _string, _many(_string), _int)),
    21: (m.Redirect, (_int, _string, _string)),
    22: (m.Update, (_int, _many(_int), _many(_record(_id, _one_of(m.Refusal), _string)), _results)),
    23: (m.CancelReply, (_int, _many(_record(_id, _one_of(m.CancelState))))),
    24: (m.Pong, (_int,)),
    25: (m.StatusReply, (_int, _bytes)),
    26: (m.Failure, (_one_of(m.Refusal), _string)),
    27: (m.AdminReply, (_int, _bool, _string)),
    # peer -> peer: the head of each batch, membership
    40: (m.Envelope, (_string, _string, _int, _string)),
    41: (m.PeerHello, (_string, _string, _int, _string, _int, _many(_record(_string, _string)), _bool)),
    42: (m.Consent, (_node_ids,)),
    43: (m.ConsentReceived, (_node_ids,)),
    # peer -> peer: the replicated log
    50: (m.VoteRequest, (_int, _int, _int, _bool, _bool)),
    51: (m.VoteResponse, (_int, _bool, _bool)),
    52: (m.Append, (_int, _int, _int, _int, _many(_record(_int, _one_of(m.EntryKind), _bytes)))),
    53: (m.AppendResponse, (_int, _bool, _int, _int, _int)),
    54: (m.SnapshotChunk, (_int, _int, _int, _bytes, _int, _int, _bytes)),
    55: (m.SnapshotResponse, (_int, _int, _int)),
    56: (m.TimeoutNow, (_int,)),
    57: (m.Removed, (_int, _int)),
    58: (m.Confirm, (_int, _int)),
    59: (m.Confirmed, (_int, _int)),
    # leader <-> node: tasks
    60: (m.Beat, (_int, _int, _int, _int)),
    61: (m.NodeBeat, (_int, _int, _int, _int, _int)),
    62: (m.Enrol, (_int, _int, _int, _int, _int, _names, _many(_record(_id, _int)))),
    63: (m.Dispatch, (_int, _int, _assignments)),
    64: (m.NodeOutcomes, (_int, _int, _bytes)),
    65: (m.Revoke, (_int, _ids)),
    66: (m.Revoked, (_int, _ids, _ids)),
    # node <-> worker
    80: (m.WorkerReady, (_int, _names)),
    81: (m.WorkerFailed, (_int, _string, _long_string, _long_string)),
    82: (m.Run, (_assignments,)),
    83: (m.Done, (_outcomes,)),
    84: (m.Stop, ()),
}
"""Kind -> (class, one check per field). The numbers are on the wire: never renumber, never reuse."""

_TRUSTED = frozenset(
    {m.Submit, m.Update, m.Append, m.SnapshotChunk, m.Beat, m.NodeBeat, m.Dispatch, m.NodeOutcomes, m.Run, m.Done}
)

# The messages on the way of every task, checked at once. True: all of it is valid. False: it may still be, look closer.


_SUBMIT_TYPES = (int, int, bytes, bool)
_UPDATE_TYPES = (int, tuple, tuple, tuple)


def _is_submit(fields: Any) -> bool:
    if type(fields) is not tuple or tuple(map(type, fields)) != _SUBMIT_TYPES:
        return False
    seq, ack, _calls, _prompt = fields
    in_range: bool = 0 <= seq <= MAX_INT and 0 <= ack <= MAX_INT
    return in_range


def _is_update(fields: Any) -> bool:
    """Of an Update that refuses nothing."""
    if type(fields) is not tuple or tuple(map(type, fields)) != _UPDATE_TYPES:
        return False
    seq, accepted, refused, results = fields
    if refused or not 0 <= seq <= MAX_INT or len(accepted) > MAX_BATCH_ITEMS or len(results) > MAX_BATCH_ITEMS:
        return False
    for number in accepted:
        if type(number) is not int or not 0 <= number <= MAX_INT:
            return False
    return all(map(_is_result, results))


def _holds_one(is_valid: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Of a message whose one field is a batch of one record."""

    def check(fields: Any) -> bool:
        if type(fields) is not tuple or len(fields) != 1:
            return False
        batch = fields[0]
        return type(batch) is tuple and len(batch) == 1 and is_valid(batch[0])

    return check


_AT_ONCE: dict[type[m.Message], Callable[[Any], bool]] = {
    m.Submit: _is_submit,
    m.Update: _is_update,
    m.Run: _holds_one(_is_assignment),
    m.Done: _holds_one(_is_outcome),
}


class _Shape(NamedTuple):
    header: bytes
    cls: type[m.Message]
    checks: tuple[_Check, ...]
    trusted: bool
    is_valid: Callable[[Any], bool] | None


def _shape(kind: int, cls: type[m.Message], checks: tuple[_Check, ...]) -> _Shape:
    header = bytes((MAGIC, m.PROTOCOL_VERSION, kind))
    return _Shape(header, cls, checks, cls in _TRUSTED, _AT_ONCE.get(cls))


_BY_KIND = {kind: _shape(kind, cls, checks) for kind, (cls, checks) in KINDS.items()}
_BY_CLASS = {shape.cls: shape for shape in _BY_KIND.values()}

# --- frames -----------------------------------------------------------------------------------------------------


def encode(message: m.Message, version: int = m.PROTOCOL_VERSION) -> bytes:
    """The frame of a message. Raises LocalProtocolError or LimitExceeded.

    ``version`` is written in the frame and changes nothing else: it is for answering a sender of another version.
    """
    cls = type(message)
    if cls not in _BY_CLASS:
        raise LocalProtocolError(f"{cls.__name__} is not a message")
    frame = encode_fields(cls, message)
    if version == m.PROTOCOL_VERSION:
        return frame
    if not 0 <= version <= 255:
        raise LocalProtocolError(f"a version is one byte, not {version}")
    return bytes((MAGIC, version)) + frame[2:]


def encode_fields(cls: type[m.Message], fields: tuple[Any, ...]) -> bytes:
    """What :func:`encode` gives for ``cls(*fields)``, without making that object. A list may stand for a tuple."""
    header, _, _, trusted, _ = shape = _BY_CLASS[cls]
    body = _pack(fields, cls.__name__)
    if len(body) + HEADER_BYTES > MAX_FRAME_BYTES:
        raise FrameTooLarge(len(body) + HEADER_BYTES, MAX_FRAME_BYTES)
    if not trusted:
        try:
            _check_fields(shape, _unpack(body))
        except ValueError as error:
            raise LocalProtocolError(str(error)) from error
    return header + body


def decode(frame: bytes | memoryview) -> m.Message:
    """The message in a frame. Raises MalformedFrame, VersionMismatch or LimitExceeded, whatever the bytes are."""
    cls, fields = decode_fields(frame)
    return cls(*fields)


def decode_fields(frame: bytes | memoryview) -> tuple[type[m.Message], tuple[Any, ...]]:
    """The class of the message in a frame, and its checked fields. For those who take one kind above all: they spare
    the making of the object. Raises as :func:`decode` does."""
    size = len(frame)
    if size > MAX_FRAME_BYTES:
        raise FrameTooLarge(size, MAX_FRAME_BYTES)
    if size < HEADER_BYTES or frame[0] != MAGIC:
        raise MalformedFrame("not a paceline frame")
    if frame[1] != m.PROTOCOL_VERSION:
        raise VersionMismatch(m.PROTOCOL_VERSION, frame[1])
    shape = _BY_KIND.get(frame[2])
    if shape is None:
        raise MalformedFrame(f"unknown message kind {frame[2]}")
    try:
        # A short frame is cheaper to copy than to look into.
        fields = _unpack(frame[HEADER_BYTES:] if size <= _COPIED_BYTES else memoryview(frame)[HEADER_BYTES:])
        is_valid = shape.is_valid
        if is_valid is None or not is_valid(fields):
            _check_fields(shape, fields)
    except ValueError as error:
        raise MalformedFrame(f"{shape.cls.__name__}: {error}") from error
    return shape.cls, fields


def _check_fields(shape: _Shape, fields: Any) -> None:
    if type(fields) is not tuple or len(fields) != len(shape.checks):
        raise ValueError(f"an array of {len(shape.checks)} fields is expected")
    name = ""
    try:
        for name, check, value in zip(shape.cls._fields, shape.checks, fields, strict=True):  # noqa: B007 - named in the error
            check(value)
    except ValueError as error:
        raise ValueError(f"{shape.cls.__name__}.{name}: {error}") from error


_COPIED_BYTES = 4096
_KEPT_PACKERS = 8
_KEPT_BUFFER_BYTES = 256 * 1024
_packers: list[Packer] = []
"""Packers at rest, as in ``payload.py``: making one sets aside a large buffer, which costs more than a short frame.
pop and append are atomic, so that a packer is never shared by two threads."""


def _pack(value: Any, what: str) -> bytes:
    try:
        packer = _packers.pop()
    except IndexError:
        packer = Packer()
    try:
        packed: bytes = packer.pack(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise LocalProtocolError(f"{what} can't be packed: {error}") from error
    # After an error a packer is dropped, and after a large value too, for it keeps its buffer.
    if len(packed) <= _KEPT_BUFFER_BYTES and len(_packers) < _KEPT_PACKERS:
        _packers.append(packer)
    return packed


def _unpack(data: bytes | memoryview) -> Any:
    """Unpack with arrays as tuples. Raises ValueError.

    msgpack sets an array aside when it reads its length, before it has seen one item. So the length is bounded by what
    a batch may hold, and by what is there, or a few nested headers would claim gigabytes.
    """
    try:
        return unpackb(
            data,
            use_list=False,
            max_array_len=min(len(data), MAX_BATCH_ITEMS),
            max_map_len=_MAX_OPTIONS,
            max_ext_len=0,
        )
    except (TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error


# --- what a frame carries packed: calls, outcomes, a configuration, ids -------------------------------------------


def encode_calls(calls: Iterable[m.Call], *, are_checked: bool = False) -> bytes:
    """Pack calls for Submit.calls and for ACCEPT entries. Those of a user's program are checked here; those that were
    decoded are checked already."""
    batch = tuple(calls)
    try:
        if are_checked:
            _batch(batch)
        else:
            _calls(batch)
    except ValueError as error:
        raise LocalProtocolError(f"calls: {error}") from error
    return _pack(batch, "calls")


def decode_calls(data: bytes) -> list[m.Call]:
    """The calls of a Submit or of an ACCEPT entry."""
    return list(_decode_packed(data, _calls, "calls"))


def encode_outcomes(outcomes: Iterable[m.Outcome]) -> bytes:
    """Pack outcomes for NodeOutcomes.outcomes. Each was checked when its Done was decoded, here only their number."""
    batch = tuple(outcomes)
    _batch(batch)
    return _pack(batch, "outcomes")


def decode_outcomes(data: bytes) -> list[m.Outcome]:
    """The outcomes of a NodeOutcomes or of an OUTCOME entry."""
    return list(_decode_packed(data, _outcomes, "outcomes"))


def encode_config(config: m.Config) -> bytes:
    """Pack who replicates the log. Raises LocalProtocolError unless all are sorted and nobody is in twice."""
    body = (config.voters, config.learners, config.excluded, config.limit)
    try:
        _config(body)
    except ValueError as error:
        raise LocalProtocolError(f"configuration: {error}") from error
    return _pack(body, "configuration")


def decode_config(data: bytes) -> m.Config:
    """The configuration of a CONFIG entry or of a snapshot."""
    return m.Config(*_decode_packed(data, _config, "configuration"))


def join_ids(ids: Iterable[bytes]) -> bytes:
    """Task ids as one run of bytes, for RELEASE and ATTEMPT entries. Bounded by MAX_FRAME_BYTES alone."""
    batch = tuple(ids)
    try:
        for task_id in batch:
            _id(task_id)
    except ValueError as error:
        raise LocalProtocolError(f"ids: {error}") from error
    joined = b"".join(batch)
    if len(joined) > MAX_FRAME_BYTES:
        raise FrameTooLarge(len(joined), MAX_FRAME_BYTES)
    return joined


def split_ids(data: bytes) -> list[bytes]:
    """The inverse of join_ids."""
    if len(data) > MAX_FRAME_BYTES:
        raise FrameTooLarge(len(data), MAX_FRAME_BYTES)
    if len(data) % m.TASK_ID_BYTES:
        raise MalformedFrame(f"ids: {len(data)} bytes are no multiple of {m.TASK_ID_BYTES}")
    return [data[start : start + m.TASK_ID_BYTES] for start in range(0, len(data), m.TASK_ID_BYTES)]


_config_fields = _record(_node_ids, _node_ids, _node_ids, _int)


def _config(value: Any) -> None:
    _config_fields(value)
    voters, learners, excluded, _limit = value
    if any(list(group) != sorted(set(group)) for group in (voters, learners, excluded)):
        raise ValueError("voters, learners and excluded nodes are sorted and without repetition")
    if len({*voters, *learners, *excluded}) < len(voters) + len(learners) + len(excluded):
        raise ValueError("a node is a voter, a learner or excluded, and one of them at most")


def _decode_packed(data: bytes, check: _Check, what: str) -> tuple[Any, ...]:
    if len(data) > MAX_FRAME_BYTES:
        raise FrameTooLarge(len(data), MAX_FRAME_BYTES)
    try:
        value: Any = _unpack(data)  # a tuple, once it is checked
        check(value)
    except ValueError as error:
        raise MalformedFrame(f"{what}: {error}") from error
    items: tuple[Any, ...] = value
    return items
