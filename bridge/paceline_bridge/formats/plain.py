"""Plain messages, from any language: the body is the one argument of the task that the queue is bound to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paceline_bridge.formats import bodies, ids
from paceline_bridge.message import Message, TaskCall, UnsupportedMessage


def read(message: Message, task: str, priority: int, fresh_id: Callable[[], bytes]) -> TaskCall:
    """The call of a plain message. ``task``: the task that the queue is bound to, "" for none. Raises
    UnsupportedMessage."""
    if not task:
        raise UnsupportedMessage(
            "no-task",
            f"the message is neither Celery's nor dramatiq's, and the queue {message.queue} is bound to no task; "
            f"start the bridge with --queue {message.queue}=TASK",
        )
    task_id = ids.of_plain(message.queue, message.message_id, message.body) if message.message_id else fresh_id()
    return TaskCall("plain", task_id, task, (_argument(message),), {}, priority)


def _argument(message: Message) -> Any:
    kind, encoding = (message.content_type or "").partition(";")[0].strip().lower(), message.content_encoding
    if kind in bodies.JSON_TYPES or kind.endswith("+json"):
        return bodies.read_json(message.body, encoding)
    if kind in bodies.MSGPACK_TYPES:
        return bodies.read_msgpack(message.body)
    if kind.startswith("text/"):
        return bodies.read_text(message.body, encoding)
    if kind:
        return message.body
    for read in (bodies.read_json, bodies.read_text):
        try:
            return read(message.body, encoding)
        except UnsupportedMessage:
            continue  # no header names its type; if nothing fits it stays bytes
    return message.body
