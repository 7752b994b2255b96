"""Plain messages, from any language: the body is the one argument of the task that the queue is bound to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from paceline_bridge.formats import ids
from paceline_bridge.formats.content import Content
from paceline_bridge.message import Message, TaskCall, UnsupportedMessage


def read(message: Message, content: Content, task: str, priority: int, fresh_id: Callable[[], bytes]) -> TaskCall:
    """The call of a plain message. ``task``: the task that the queue is bound to, "" for none. Raises
    UnsupportedMessage."""
    if not task:
        raise UnsupportedMessage(
            "no-task",
            f"the message is neither Celery's nor dramatiq's, and the queue {message.queue} is bound to no task; "
            f"start the bridge with --queue {message.queue}=TASK",
        )
    task_id = ids.of_plain(message.queue, message.message_id, message.body) if message.message_id else fresh_id()
    return TaskCall("plain", task_id, task, (_argument(content),), {}, priority)


def _argument(content: Content) -> Any:
    if content.is_json or content.kind.endswith("+json"):
        return content.json()
    if content.is_msgpack:
        return content.msgpack()
    is_text = content.kind.startswith("text/")
    if content.is_binary or not (is_text or not content.kind):
        return content.data
    if is_text:
        return content.text()
    content.codec  # noqa: B018 - one that is unknown is refused, and no reason to take the body for bytes
    for read in (content.json, content.text):
        try:
            return read()
        except UnsupportedMessage as refusal:
            if refusal.reason != "bad-body":
                raise
    return content.data  # no header names its type, and nothing else fits
