"""Task ids, made from the ids of messages, so that a message that is delivered again has the same task id."""

from __future__ import annotations

import hashlib
import re

from paceline_bridge.message import UnsupportedMessage
from paceline_bridge.texts import quoted

_UUID = re.compile(r"[0-9a-fA-F]{8}(-?)(?:[0-9a-fA-F]{4}\1){3}[0-9a-fA-F]{12}")
"""With its dashes or without. Python's own takes them anywhere, and in place of digits whatever a number may have."""


def derived(*parts: str) -> bytes:
    """16 bytes that are always the same for the same parts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()[:16]


def retries_of(value: object) -> int:
    """How often a worker of theirs tried before. Raises UnsupportedMessage for what is no number: a retry that counts
    as the first try would not run."""
    if value is None or isinstance(value, int):
        return value or 0
    raise UnsupportedMessage("bad-body", f"retries is {quoted(value)}, and not a whole number")


def of_message(protocol: str, message_id: str, retries: int, name: str, body: bytes) -> bytes:
    """The task id of a message of Celery's or dramatiq's: the 16 bytes of a UUID. Any other id was chosen by the
    producer, who may use it again, as "daily". So it counts together with ``name``, whose task it is, and ``body``. A
    retry that a worker of theirs sent has the message id of the first try, and gets a task id of its own."""
    number = _uuid(message_id)
    if number is None:
        return derived(protocol, message_id, str(retries), name, _digest(body))
    return number if not retries else derived(protocol, message_id, str(retries))


def of_plain(queue: str, message_id: str, body: bytes) -> bytes:
    """The task id of a plain message, whose id counts within its queue, and if it is no UUID for its body alone."""
    return derived("plain", queue, message_id, *([_digest(body)] if _uuid(message_id) is None else []))


def _uuid(text: str) -> bytes | None:
    return bytes.fromhex(text.replace("-", "")) if _UUID.fullmatch(text) else None


def _digest(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
