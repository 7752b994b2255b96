"""The recorded messages, as the bridge gets them."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from paceline_bridge.mapping import interpret
from paceline_bridge.message import Message, Refused, TaskCall

RECORDED = Path(__file__).parent / "recorded"
NOW = 1_800_000_000.0  # in 2027, after every recorded message was sent
FRESH = b"a fresh id, yes!"


def recorded(name: str, **changes: Any) -> Message:
    fields = json.loads((RECORDED / f"{name}.json").read_text())
    fields["body"] = base64.b64decode(fields["body"])
    fields.pop("expiration", None)  # RabbitMQ's own business
    return replace(Message(**fields), **changes)


def read(message: Message, task: str = "", names: dict[str, str] | None = None, now: float = NOW) -> TaskCall | Refused:
    return interpret(message, task, names or {}, now, lambda: FRESH)


def call_of(message: Message, task: str = "", names: dict[str, str] | None = None, now: float = NOW) -> TaskCall:
    found = read(message, task, names, now)
    assert isinstance(found, TaskCall), found
    return found


def refusal_of(message: Message, task: str = "", now: float = NOW) -> Refused:
    found = read(message, task, None, now)
    assert isinstance(found, Refused), found
    return found
