"""Messages to frames and back. The grammar that this module implements is docs/protocol.md.

A frame is three bytes (magic, version, kind) and one msgpack array: the message's fields, in the order of its class in
``messages``. What lives here: frames, and the batches that travel packed inside of them. What does not: the kinds
(``kinds.py``), what a valid field is (``fields.py``), what a message means, and the Python values in arguments and
results (``payload.py``), which are opaque bytes here.

The rules:

* Decoding takes any bytes. It raises RemoteProtocolError or LimitExceeded and nothing else, its work is linear in the
  size of the frame, and what it returns has the types that ``messages`` states, down to the items of each tuple.
* Encoding never sends what the other side must refuse. Seldom sent kinds are read back before they are returned. Those
  that ``kinds.py`` trusts are not, since their items were checked when they came into this process and a second look
  would cost more than the packing. For them the type checker answers, and what msgpack can't pack is still refused.
* The messages on the way of every task have to cost little: :func:`decode_fields` and :func:`encode_fields` leave out
  the message object.
* Bytes of calls and outcomes are what the log holds. The same values always give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct
from typing import Any, Final

from paceline_protocol import fields as f
from paceline_protocol.errors import FrameTooLarge, LimitExceeded, LocalProtocolError, MalformedFrame, VersionMismatch
from paceline_protocol.kinds import BY_CLASS, BY_KIND, KINDS, MAGIC, check_fields
from paceline_protocol.limits import (
    MAX_ATTEMPT,
    MAX_BATCH_ITEMS,
    MAX_DEFAULTS_BYTES,
    MAX_FRAME_BYTES,
    MAX_INT,
    MAX_NAME_CHARS,
    MAX_OWN_SCHEDULES,
    MAX_OWN_SCHEDULES_BYTES,
    MAX_REQUEST_TASKS,
    MAX_STRING_CHARS,
    MAX_TRACEBACK_CHARS,
    PAYLOAD_LIMIT_BYTES,
    PAYLOAD_LIMIT_MAX_BYTES,
)
from paceline_protocol.messages import Message
from paceline_protocol.messages.consensus import Config
from paceline_protocol.messages.message import PROTOCOL_VERSION
from paceline_protocol.messages.records import (
    TASK_ID_BYTES,
    Alteration,
    Call,
    Default,
    EndRecord,
    FailedAttempt,
    KeptOutcome,
    Outcome,
    QueueSettings,
    RequeuedCall,
    Retry,
)
from paceline_protocol.messages.schedules import (
    MAKES_TASK,
    BackfillMoments,
    Firing,
    OwnSchedule,
    ScheduleChange,
    ScheduleDefinition,
    ScheduleOp,
    When,
)
from paceline_protocol.packing import pack, unpack

__all__ = [
    "HEADER_BYTES",
    "KINDS",
    "MAGIC",
    "MAX_BATCH_ITEMS",
    "MAX_FRAME_BYTES",
    "MAX_INT",
    "MAX_NAME_CHARS",
    "MAX_REQUEST_TASKS",
    "MAX_STRING_CHARS",
    "MAX_TRACEBACK_CHARS",
    "PAYLOAD_LIMIT_BYTES",
    "PAYLOAD_LIMIT_MAX_BYTES",
    "count_calls",
    "decode",
    "decode_alterations",
    "decode_backfills",
    "decode_calls",
    "decode_config",
    "decode_dead",
    "decode_defaults",
    "decode_definition",
    "decode_failed_attempt",
    "decode_fields",
    "decode_firings",
    "decode_held",
    "decode_kept",
    "decode_outcomes",
    "decode_own_schedules",
    "decode_queues",
    "decode_requeued",
    "decode_retries",
    "decode_schedule_changes",
    "definition_of",
    "encode",
    "encode_alterations",
    "encode_backfills",
    "encode_calls",
    "encode_config",
    "encode_defaults",
    "encode_definition",
    "encode_failed_attempt",
    "encode_fields",
    "encode_firings",
    "encode_held",
    "encode_kept",
    "encode_outcomes",
    "encode_own_schedules",
    "encode_queues",
    "encode_requeued",
    "encode_retries",
    "encode_schedule_changes",
    "join_ids",
    "split_ids",
]

HEADER_BYTES: Final = 3
_HELD: Final = Struct(f">{TASK_ID_BYTES}sQ")
"""A task id and an attempt."""
_COPIED_BYTES: Final = 4096

# --- frames -----------------------------------------------------------------------------------------------------


def encode(message: Message, version: int = PROTOCOL_VERSION) -> bytes:
    """The frame of a message. Raises LocalProtocolError or LimitExceeded.

    ``version`` is written in the frame and changes nothing else: it is for answering a sender of another version.
    """
    cls = type(message)
    if cls not in BY_CLASS:
        raise LocalProtocolError(f"{cls.__name__} is not a message")
    frame = encode_fields(cls, message)
    if version == PROTOCOL_VERSION:
        return frame
    if not 0 <= version <= 255:
        raise LocalProtocolError(f"a version is one byte, not {version}")
    return bytes((MAGIC, version)) + frame[2:]


def encode_fields(cls: type[Message], fields: tuple[Any, ...]) -> bytes:
    """What :func:`encode` gives for ``cls(*fields)``, without making that object. A list may stand for a tuple."""
    header, _, _, trusted, _ = shape = BY_CLASS[cls]
    body = pack(fields, cls.__name__)
    if len(body) + HEADER_BYTES > MAX_FRAME_BYTES:
        raise FrameTooLarge(len(body) + HEADER_BYTES, MAX_FRAME_BYTES)
    if not trusted:
        try:
            check_fields(shape, unpack(body))
        except ValueError as error:
            raise LocalProtocolError(str(error)) from error
    return header + body


def decode(frame: bytes | memoryview) -> Message:
    """The message in a frame. Raises MalformedFrame, VersionMismatch or LimitExceeded, whatever the bytes are."""
    cls, fields = decode_fields(frame)
    return cls(*fields)


def decode_fields(frame: bytes | memoryview) -> tuple[type[Message], tuple[Any, ...]]:
    """The class of the message in a frame, and its checked fields. For those who take one kind above all: they spare
    the making of the object. Raises as :func:`decode` does."""
    size = len(frame)
    if size > MAX_FRAME_BYTES:
        raise FrameTooLarge(size, MAX_FRAME_BYTES)
    if size < HEADER_BYTES or frame[0] != MAGIC:
        raise MalformedFrame("not a paceline frame")
    if frame[1] != PROTOCOL_VERSION:
        raise VersionMismatch(PROTOCOL_VERSION, frame[1])
    shape = BY_KIND.get(frame[2])
    if shape is None:
        raise MalformedFrame(f"unknown message kind {frame[2]}")
    try:
        # A short frame is cheaper to copy than to look into.
        fields = unpack(frame[HEADER_BYTES:] if size <= _COPIED_BYTES else memoryview(frame)[HEADER_BYTES:])
        is_valid = shape.is_valid
        if is_valid is None or not is_valid(fields):
            check_fields(shape, fields)
    except ValueError as error:
        raise MalformedFrame(f"{shape.cls.__name__}: {error}") from error
    return shape.cls, fields


# --- what a frame carries packed: calls, outcomes, a configuration, ids -------------------------------------------


def encode_calls(calls: Iterable[Call], *, are_checked: bool = False) -> bytes:
    """Pack calls for Submit.calls and for ACCEPT entries. Those of a user's program are checked here; those that were
    decoded are checked already."""
    return _pack_checked(tuple(calls), f.batch if are_checked else f.calls, "calls")


def count_calls(data: bytes) -> int:
    """How many calls a packed batch says that it has, before any is looked at; 0 if it is no batch."""
    head = data[0] if data else 0
    if 0x90 <= head <= 0x9F:
        return head & 0x0F
    if head == 0xDC:
        return int.from_bytes(data[1:3])
    return int.from_bytes(data[1:5]) if head == 0xDD else 0


def decode_calls(data: bytes) -> list[Call]:
    """The calls of a Submit or of an ACCEPT entry."""
    return list(_decode_packed(data, f.calls, "calls"))


def encode_outcomes(outcomes: Iterable[Outcome]) -> bytes:
    """Pack outcomes for NodeOutcomes.outcomes. Each was checked when its Done was decoded, here only their number."""
    return _pack_counted(tuple(outcomes), "outcomes")


def decode_outcomes(data: bytes) -> list[Outcome]:
    """The outcomes of a NodeOutcomes or of an OUTCOME entry."""
    return list(_decode_packed(data, f.outcomes, "outcomes"))


def encode_retries(retries: Iterable[Retry]) -> bytes:
    """Pack what a RETRY entry holds. Raises LocalProtocolError."""
    return _pack_checked(tuple(retries), f.retries, "retries")


def decode_retries(data: bytes) -> list[Retry]:
    """The content of a RETRY entry."""
    return list(_decode_packed(data, f.retries, "retries"))


def encode_queues(queues: Iterable[QueueSettings]) -> bytes:
    """Pack what a QUEUES entry holds. Raises LocalProtocolError."""
    return _pack_checked(tuple(queues), f.queues, "queues")


def decode_queues(data: bytes) -> list[QueueSettings]:
    """The content of a QUEUES entry."""
    return list(_decode_packed(data, f.queues, "queues"))


def encode_alterations(alterations: Iterable[Alteration]) -> bytes:
    """Pack what an ALTER entry holds. Raises LocalProtocolError."""
    return _pack_checked(tuple(alterations), f.alterations, "alterations")


def decode_alterations(data: bytes) -> list[Alteration]:
    """The content of an ALTER entry."""
    return list(_decode_packed(data, f.alterations, "alterations"))


def encode_kept(kept: Iterable[KeptOutcome]) -> bytes:
    """Pack what a RECORD or DEAD entry holds. The records are the leader's own, the outcomes were checked when they
    came; here only their number is."""
    return _pack_counted(tuple([(outcome, record.packed) for outcome, record in kept]), "kept outcomes")


def decode_kept(data: bytes) -> list[KeptOutcome]:
    """The content of a RECORD entry."""
    return _decode_kept(data, f.kept_outcomes, "kept outcomes")


def encode_defaults(defaults: Iterable[Default]) -> bytes:
    """Pack what a node announces of its tasks. Raises LocalProtocolError, or LimitExceeded past MAX_DEFAULTS_BYTES."""
    return _few_enough(_pack_checked(tuple(defaults), f.defaults, "defaults"))


def decode_defaults(data: bytes) -> list[Default]:
    """What an EnrolWithDefaults or a WorkerReady has of tasks."""
    return list(_decode_packed(_few_enough(data), f.defaults, "defaults"))


def _few_enough(data: bytes) -> bytes:
    if len(data) > MAX_DEFAULTS_BYTES:
        raise LimitExceeded("bytes of names and options that a node announces", len(data), MAX_DEFAULTS_BYTES)
    return data


def decode_dead(data: bytes) -> list[KeptOutcome]:
    """The content of a DEAD entry."""
    return _decode_kept(data, f.dead_outcomes, "dead tasks")


def encode_requeued(requeued: Iterable[RequeuedCall]) -> bytes:
    """Pack what a REQUEUE entry holds. The calls were checked when they came; here only their number is."""
    return _pack_counted(tuple(requeued), "requeued tasks")


def decode_requeued(data: bytes) -> list[RequeuedCall]:
    """The content of a REQUEUE entry."""
    return list(_decode_packed(data, f.requeued, "requeued tasks"))


def encode_definition(definition: ScheduleDefinition) -> bytes:
    """Pack what a PutSchedule has. Raises LocalProtocolError or LimitExceeded."""
    return _pack_checked(_plain(definition), f.definition, "definition of a schedule")


def decode_definition(data: bytes) -> ScheduleDefinition:
    """What a PutSchedule has."""
    return definition_of(_decode_packed(data, f.definition, "definition of a schedule"))


def definition_of(record: tuple[Any, ...]) -> ScheduleDefinition:
    """The definition in a checked record."""
    task, args, priority, options, when, misfire, misfire_limit, overlap, owner = record
    return ScheduleDefinition(task, args, priority, options, When(*when), misfire, misfire_limit, overlap, owner)


def _plain(definition: ScheduleDefinition) -> tuple[Any, ...]:
    task, args, priority, options, when, misfire, misfire_limit, overlap, owner = definition
    plain = (int(when.kind), when.text, when.zone, when.every_ms, when.from_ms)
    return task, args, priority, options, plain, int(misfire), misfire_limit, int(overlap), owner


def encode_own_schedules(schedules: Iterable[OwnSchedule]) -> bytes:
    """Pack the schedules that come with modules. Raises LocalProtocolError, or LimitExceeded past MAX_OWN_SCHEDULES and
    MAX_OWN_SCHEDULES_BYTES."""
    packed = tuple([(name, _plain(definition)) for name, definition in schedules])
    if len(packed) > MAX_OWN_SCHEDULES:
        raise LimitExceeded("schedules that come with the modules of a node", len(packed), MAX_OWN_SCHEDULES)
    return _few_schedules(_pack_checked(packed, f.own_schedules, "schedules of modules"))


def decode_own_schedules(data: bytes) -> list[OwnSchedule]:
    """What an OwnSchedules or a WorkerReady has of schedules."""
    found = _decode_packed(_few_schedules(data), f.own_schedules, "schedules of modules")
    if len(found) > MAX_OWN_SCHEDULES:
        raise MalformedFrame(f"schedules of modules: {len(found)}, of {MAX_OWN_SCHEDULES} at most")
    return [(name, definition_of(definition)) for name, definition in found]


def _few_schedules(data: bytes) -> bytes:
    if len(data) > MAX_OWN_SCHEDULES_BYTES:
        raise LimitExceeded("bytes of schedules that come with modules", len(data), MAX_OWN_SCHEDULES_BYTES)
    return data


def encode_schedule_changes(changes: Iterable[ScheduleChange]) -> bytes:
    """Pack what a SCHEDULE entry holds. Raises LocalProtocolError."""
    packed = [
        (op, name, None if definition is None else _plain(definition), next_ms, at_ms)
        for op, name, definition, next_ms, at_ms in changes
    ]
    return _pack_checked(tuple(packed), f.schedule_changes, "changes of schedules")


def decode_schedule_changes(data: bytes) -> list[ScheduleChange]:
    """The content of a SCHEDULE entry."""
    found: list[ScheduleChange] = []
    for op, name, definition, next_ms, at_ms in _decode_packed(data, f.schedule_changes, "changes of schedules"):
        if (op == ScheduleOp.PUT) != (definition is not None):
            raise MalformedFrame("changes of schedules: a definition goes with PUT, and with nothing else")
        found.append((op, name, None if definition is None else definition_of(definition), next_ms, at_ms))
    return found


def encode_backfills(backfills: Iterable[BackfillMoments]) -> bytes:
    """Pack what a BACKFILL entry holds. Raises LocalProtocolError."""
    return _pack_checked(tuple(backfills), f.backfills, "backfills")


def decode_backfills(data: bytes) -> list[BackfillMoments]:
    """The content of a BACKFILL entry."""
    return [(name, tuple(moments)) for name, moments in _decode_packed(data, f.backfills, "backfills")]


def encode_firings(firings: Iterable[Firing]) -> bytes:
    """Pack what a FIRING entry holds. The calls were checked when they came; here only their number is."""
    return _pack_counted(tuple(firings), "firings")


def decode_firings(data: bytes) -> list[Firing]:
    """The content of a FIRING entry."""
    found: list[Firing] = list(_decode_packed(data, f.firings, "firings"))
    for _name, _moment_ms, what, _missed, _next_ms, call in found:
        if (call is not None) != (what in MAKES_TASK):
            raise MalformedFrame("firings: a call goes with what makes a task, and with nothing else")
    return found


def encode_failed_attempt(failed: FailedAttempt) -> bytes:
    """Pack the payload of an outcome that is MAY_RETRY. Raises LocalProtocolError."""
    return _pack_checked(failed, f.failed_attempt, "failed attempt")


def decode_failed_attempt(data: bytes) -> FailedAttempt:
    """The payload of an outcome that is MAY_RETRY."""
    summary, delay_ms, end, error = _decode_packed(data, f.failed_attempt, "failed attempt")
    return summary, delay_ms, end, error


def encode_config(config: Config) -> bytes:
    """Pack who replicates the log. Raises LocalProtocolError unless all are sorted and nobody is in twice."""
    body = (config.voters, config.learners, config.excluded, config.limit, config.level)
    return _pack_checked(body, f.config, "configuration")


def decode_config(data: bytes) -> Config:
    """The configuration of a CONFIG entry or of a snapshot."""
    return Config(*_decode_packed(data, f.config, "configuration"))


def join_ids(ids: Iterable[bytes]) -> bytes:
    """Task ids as one run of bytes, for RELEASE and ATTEMPT entries. Bounded by MAX_FRAME_BYTES alone."""
    batch = tuple(ids)
    try:
        for task_id in batch:
            f.identifier(task_id)
    except ValueError as error:
        raise LocalProtocolError(f"ids: {error}") from error
    return _checked(b"".join(batch))


def split_ids(data: bytes) -> list[bytes]:
    """The inverse of join_ids."""
    _check_run(data, TASK_ID_BYTES, "ids")
    return [data[start : start + TASK_ID_BYTES] for start in range(0, len(data), TASK_ID_BYTES)]


def encode_held(held: Iterable[tuple[bytes, int]]) -> bytes:
    """Pack tasks with their attempts for Enrol.held. Bounded by MAX_FRAME_BYTES alone: a node that has not heard for
    long what is recorded holds more than a batch may have."""
    packed: list[bytes] = []
    try:
        for task_id, attempt in held:
            f.identifier(task_id)
            f.attempt(attempt)
            packed.append(_HELD.pack(task_id, attempt))
    except ValueError as error:
        raise LocalProtocolError(f"held: {error}") from error
    return _checked(b"".join(packed))


def decode_held(data: bytes) -> list[tuple[bytes, int]]:
    """The (task id, attempt) of an Enrol."""
    _check_run(data, _HELD.size, "held")
    held: list[tuple[bytes, int]] = []
    for task_id, attempt in _HELD.iter_unpack(data):
        if attempt > MAX_ATTEMPT:
            raise MalformedFrame(f"held: attempt {attempt}, and there are at most {MAX_ATTEMPT}")
        held.append((task_id, attempt))
    return held


def _checked(data: bytes) -> bytes:
    """Data that fits into a frame."""
    if len(data) > MAX_FRAME_BYTES:
        raise FrameTooLarge(len(data), MAX_FRAME_BYTES)
    return data


def _check_run(data: bytes, item_bytes: int, what: str) -> None:
    """Raises ProtocolError unless this is a run of items of this size."""
    if len(_checked(data)) % item_bytes:
        raise MalformedFrame(f"{what}: {len(data)} bytes are no multiple of {item_bytes}")


def _pack_checked(value: tuple[Any, ...], check: f.Check, what: str) -> bytes:
    """Raises LocalProtocolError for what the other side would refuse."""
    try:
        check(value)
    except ValueError as error:
        raise LocalProtocolError(f"{what}: {error}") from error
    return pack(value, what)


def _pack_counted(batch: tuple[Any, ...], what: str) -> bytes:
    """Pack what was checked when it came; here only its number is."""
    f.batch(batch)
    return pack(batch, what)


def _decode_kept(data: bytes, check: f.Check, what: str) -> list[KeptOutcome]:
    return [(outcome, EndRecord(*record)) for outcome, record in _decode_packed(data, check, what)]


def _decode_packed(data: bytes, check: f.Check, what: str) -> tuple[Any, ...]:
    _checked(data)
    try:
        value: Any = unpack(data)  # a tuple, once it is checked
        check(value)
    except ValueError as error:
        raise MalformedFrame(f"{what}: {error}") from error
    items: tuple[Any, ...] = value
    return items
