"""What the bridge makes of a RabbitMQ message: a call of a task, or a refusal with its reason. Values, no behaviour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from paceline_protocol.messages import PRIORITY_DEFAULT


@dataclass(frozen=True, slots=True)
class Message:
    """A message as RabbitMQ delivered it. ``body_limit_bytes`` bounds what it may be after decompression."""

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


@dataclass(frozen=True, slots=True)
class ReplyAddress:
    """Where a Celery caller waits, and what it calls the task."""

    queue: str
    task_id: str
    correlation_id: str
    group_id: str | None = None
    parent_id: str | None = None


@dataclass(frozen=True, slots=True)
class TaskCall:
    """What the cluster is asked to run."""

    protocol: str  # "plain", "celery" or "dramatiq"
    task_id: bytes
    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    priority: int = PRIORITY_DEFAULT
    reply: ReplyAddress | None = None
    expired: str = ""  # since when, if it is too late to begin with it: what is under way goes on


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a message is not run. ``reason`` is a key of features.REASONS, ``detail`` a sentence for a person."""

    protocol: str
    reason: str
    detail: str
    reply: ReplyAddress | None = None
    task: str = ""  # its name, where no node knows it


class Refusal(Exception):
    """Raised while a message is read, where it asks for what can't be had. Never leaves ``mapping``."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(detail)
