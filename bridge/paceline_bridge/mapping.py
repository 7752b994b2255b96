"""From a RabbitMQ message to a call of a task, or to a refusal. Pure: the time and fresh ids come from outside.

Each message is recognised by itself, whatever else its queue holds: a header ``task`` is Celery's protocol 2 (or the
mix of both); a JSON map with the keys of protocol 1, or of dramatiq, is theirs; anything else is plain.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from typing import Any

from paceline_bridge.formats import bodies, celery, dramatiq, plain
from paceline_bridge.formats.bodies import is_task_name
from paceline_bridge.formats.content import Content
from paceline_bridge.message import Message, Refused, ReplyAddress, TaskCall, UnsupportedMessage
from paceline_protocol.limits import MAX_NAME_CHARS
from paceline_protocol.messages.records import PRIORITY_DEFAULT, PRIORITY_MAX


def interpret(
    message: Message, task: str, names: Mapping[str, str], now: float, fresh_id: Callable[[], bytes]
) -> TaskCall | Refused:
    """``task``: what the queue is bound to, for plain messages, or "". ``names``: other names for tasks, as
    Celery or dramatiq know them. ``now``: seconds since the epoch. ``fresh_id``: for a message that has no id."""
    protocol, reply = "plain", None
    priority = priority_of(message.priority)
    try:
        if message.problem:
            raise UnsupportedMessage("bad-headers", message.problem)
        if len(message.body) > bodies.BODY_LIMIT_BYTES:
            raise UnsupportedMessage(
                "too-large", f"the body takes {len(message.body)} bytes, of {bodies.BODY_LIMIT_BYTES}"
            )
        fields, raw, content = message.headers, message.body, Content(message)
        if isinstance(fields.get("task"), str):
            protocol = "celery"
            reply = celery.reply_address(message, content, fields)
            return _named(celery.read(fields, celery.read_value(content), raw, reply, names, priority, now))
        body = _map_in(content)
        if dramatiq.is_message(body):
            protocol = "dramatiq"
            return _named(dramatiq.read(body, raw, names, priority, now))
        if celery.is_protocol_1(body):
            protocol = "celery"
            reply = celery.reply_address(message, content, body)
            # Once more, with kombu's types.
            return _named(celery.read({}, celery.read_value(content), raw, reply, names, priority, now))
        return plain.read(message, content, task, priority, fresh_id)
    except UnsupportedMessage as refusal:
        return Refused(protocol, refusal.reason, refusal.detail, reply)


def _named(call: TaskCall) -> TaskCall:
    """A call whose name can be sent to the cluster. Raises UnsupportedMessage."""
    if not is_task_name(call.name):
        raise UnsupportedMessage(
            "bad-body", f"the name of a task has 1 to {MAX_NAME_CHARS} characters, and this one can't be sent"
        )
    return call


def priority_of(amqp: int | None) -> int:
    """RabbitMQ's 0 is what a message without a priority has, and Celery sends it with every message: it is the default
    here. Those above keep their order in what is left above that: 1 is 5, 9 is 9."""
    above = max(0, min(PRIORITY_MAX, amqp or 0))
    room = PRIORITY_MAX - PRIORITY_DEFAULT
    return PRIORITY_DEFAULT + -(-above * room // PRIORITY_MAX)


def _map_in(content: Content) -> Any:
    """The JSON map that the body may be, None for any other body. What can't be read as one is plain, too."""
    try:
        if content.is_msgpack:
            return content.msgpack()
        if content.kind and not content.is_json:
            return None
        return content.json() if content.data.removeprefix(BOM_UTF8).lstrip()[:1] == b"{" else None
    except UnsupportedMessage:
        return None


__all__ = ["ReplyAddress", "interpret"]
