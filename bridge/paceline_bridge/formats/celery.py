"""Celery's messages: protocol 2, protocol 1, and the header of 2 with the body of 1.

Sources: celery/app/amqp.py (``as_task_v2``, ``as_task_v1``), celery/worker/strategy.py of Celery 5.7. The documentation
of protocol 2 has the order of ``timelimit`` wrong: code and wire are [hard, soft].
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from paceline_bridge.formats import bodies, ids, moments
from paceline_bridge.formats.content import Content
from paceline_bridge.message import Message, ReplyAddress, TaskCall, Truncated, UnsupportedMessage
from paceline_bridge.texts import quoted
from paceline_protocol.options import ORDERS


def is_protocol_1(body: object) -> bool:
    """Whether a JSON value is a whole message of protocol 1, which has no header."""
    return isinstance(body, dict) and {"task", "id", "args", "kwargs"} <= body.keys() and isinstance(body["task"], str)


ID_LIMIT_BYTES = 255
"""What a correlation id takes at most on the wire. Celery's own ids have 36."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def reply_address(message: Message, content: Content, fields: Mapping[str, Any]) -> ReplyAddress | None:
    """The address of the caller, None if there is none. ``fields``: the headers of protocol 2, or the body of protocol
    1. Raises UnsupportedMessage if a reply could not name the task, and for nothing else, so that a message that can't
    be read is answered, too."""
    task_id = fields.get("id") or message.correlation_id
    if not message.reply_to or fields.get("ignore_result") or not isinstance(task_id, str):
        return None
    if not all(bodies.is_unicode(text) for text in (task_id, message.reply_to, message.correlation_id or "")):
        raise UnsupportedMessage("id", "its id, reply_to or correlation_id is not UTF-8, so no reply could be sent")
    if len(task_id.encode()) > ID_LIMIT_BYTES:
        raise UnsupportedMessage(
            "id", f"its id takes {len(task_id.encode())} bytes of UTF-8, and a reply can name one of {ID_LIMIT_BYTES}"
        )
    return ReplyAddress(
        message.reply_to,
        task_id,
        message.correlation_id or task_id,
        _other_id(fields.get("group")),
        _other_id(fields.get("parent_id")),
        content.is_msgpack,
    )


def _other_id(value: object) -> str | None:
    """One that a reply repeats. It may be kept for long, so what is longer than an id counts as none."""
    return value if isinstance(value, str) and len(value) <= ID_LIMIT_BYTES else None


def read_value(content: Content) -> Any:
    """The body, by its serializer. Raises UnsupportedMessage."""
    if content.kind in bodies.PICKLE_TYPES:
        raise UnsupportedMessage("pickle", "the body is pickled, and unpickling runs code; use task_serializer='json'")
    if content.is_json or not content.kind:
        return content.kombu_json()
    if content.is_msgpack:
        return content.msgpack()
    raise UnsupportedMessage(
        "serializer", f"the body is {quoted(content.kind)}; use task_serializer='json' or 'msgpack'"
    )


def read(
    fields: Mapping[str, Any],
    body: object,
    raw: bytes,
    reply: ReplyAddress | None,
    names: Mapping[str, str],
    priority: int,
    now: float,
) -> TaskCall:
    """A call from the fields of the header (2) or of the body (1). ``raw``: the body as it came. ``now``: seconds since
    the epoch. Raises UnsupportedMessage."""
    if isinstance(body, list):
        if len(body) != 3:
            raise UnsupportedMessage("bad-body", "the body is not [args, kwargs, options]")
        args, kwargs, options = body
    elif isinstance(body, dict):
        fields = {**body, **{key: value for key, value in fields.items() if value is not None}}
        args, kwargs, options = body.get("args"), body.get("kwargs"), body
    else:
        raise UnsupportedMessage("bad-body", "the body is neither protocol 2, [args, kwargs, options], nor 1, a map")
    name: Any = fields.get("task")
    task_id: Any = fields.get("id")
    for field, value in (("task", name), ("id", task_id)):
        if not isinstance(value, str) or not value:
            raise UnsupportedMessage("bad-body", f"{field} is {quoted(value)}, and not a text with something in it")
    args, kwargs = args if args is not None else [], kwargs if kwargs is not None else {}
    if (
        not isinstance(args, list | tuple)
        or not isinstance(kwargs, dict)
        or not all(type(key) is str for key in kwargs)
    ):
        raise UnsupportedMessage("bad-body", "args is no list, or kwargs no map with names")
    _check_options(options if isinstance(options, dict) else {}, fields)
    carried, is_late = moments.options_of(_moment("eta", fields), _moment("expires", fields), now)
    carried |= _time_limits(fields.get("timelimit"))
    number = ids.of_message("celery", task_id, ids.retries_of(fields.get("retries")), name, raw)
    return TaskCall("celery", number, names.get(name, name), args, kwargs, priority, reply, carried, is_late)


def _check_options(options: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    """Raises UnsupportedMessage for what is not supported."""
    if options.get("chain"):
        raise UnsupportedMessage(
            "chain", "chains are not supported yet; call the next task with the result of this one"
        )
    if options.get("chord") or fields.get("chord"):
        raise UnsupportedMessage(
            "chord", "chords are not supported yet; collect the results of the group in the caller"
        )
    if options.get("callbacks") or options.get("errbacks"):
        raise UnsupportedMessage(
            "callbacks", "link and link_error are not supported yet; act on the result in the caller"
        )


def _time_limits(limits: object) -> dict[str, int]:
    """The options of the limits that a message has: [hard, soft], in seconds. None and 0 are for that of the task: in
    Celery of its class, here of its decorator."""
    if not limits:
        return {}
    if not isinstance(limits, list | tuple) or len(limits) != 2:
        raise UnsupportedMessage("time-limit", f"timelimit is {quoted(limits)}, and not [time_limit, soft_time_limit]")
    options: dict[str, int] = {}
    for field, limit in zip(("time_limit", "soft_time_limit"), limits, strict=True):
        exact = limit.exact if isinstance(limit, Truncated) else limit
        if exact:
            options[field] = moments.limit_ms(field, exact, 1_000)
    for order in ORDERS:
        if order.is_broken(options):
            raise UnsupportedMessage("time-limit", order.reason)
    return options


def _moment(field: str, fields: Mapping[str, Any]) -> int | None:
    """Milliseconds since the epoch of ISO 8601, where a time without a zone is UTC. None if there is none."""
    value = fields.get(field)
    if value is None:
        return None
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):  # also for a number, of which Python would make a date
        raise UnsupportedMessage("bad-body", f"{field} is {quoted(value)}, and not a time in ISO 8601") from None
    ahead = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH
    return moments.carried_ms(field, ahead / timedelta(milliseconds=1))
