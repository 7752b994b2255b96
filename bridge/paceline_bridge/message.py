"""A RabbitMQ message, and what the bridge makes of it: a call of a task, or a refusal with its reason. Values only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from paceline_bridge.texts import cut
from paceline_protocol.messages.records import PRIORITY_DEFAULT


class Truncated(int):
    """A header that is a floating-point number, as pika reads it: without what is behind the point, as it could not
    write that. ``exact``: the number."""

    exact: float


@dataclass(frozen=True, slots=True)
class Message:
    """A message as RabbitMQ delivered it. ``problem``: why its headers can't be read, and are not here; "" if they
    can."""

    queue: str
    body: bytes
    headers: Mapping[str, Any] = field(default_factory=dict)
    content_type: str | None = None
    content_encoding: str | None = None
    message_id: str | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    priority: int | None = None
    redelivered: bool = False
    problem: str = ""
    others: Mapping[str, Any] = field(default_factory=dict)  # properties that nothing here reads, for a dead letter


@dataclass(frozen=True, slots=True)
class ReplyAddress:
    """Where a Celery caller waits, and what it calls the task."""

    queue: str
    task_id: str
    correlation_id: str
    group_id: str | None = None
    parent_id: str | None = None
    is_msgpack: bool = False  # as the message was, since its caller may accept nothing else; otherwise JSON


@dataclass(slots=True)
class TaskCall:
    """A call that the bridge submits to the cluster. What it has of the arguments changes: objects until they are
    packed, and nothing once the cluster has them. ``options``: what the message says, as it travels in a call by
    name (``paceline_protocol/options.py``): 0 for what is to be as usual, whatever the nodes announce. ``not_before``
    is 0 unless it was ahead when the message was delivered."""

    protocol: str  # "plain", "celery" or "dramatiq"
    task_id: bytes
    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    priority: int = PRIORITY_DEFAULT
    reply: ReplyAddress | None = None
    options: Mapping[str, int] = field(default_factory=dict)
    is_late: bool = False  # ``expires`` had passed when the message was delivered; a task that has started goes on
    packed: bytes = b""  # the arguments, once they are packed; ``args`` and ``kwargs`` are let go of then


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a message is refused. ``reason`` is a key of features.REASONS, ``detail`` a sentence for a person, which may
    quote the message: it is cut here, before it enters a log, a reply or a dead letter."""

    protocol: str
    reason: str
    detail: str
    reply: ReplyAddress | None = None
    task: str = ""  # the name of the task, if no node knows it

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", cut(self.detail))


class UnsupportedMessage(Exception):
    """A message asks for something that the bridge does not support. ``mapping`` catches it."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(detail)
