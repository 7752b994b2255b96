"""Task ids, made from the ids of messages, so that a message that is delivered again has the same task id."""

from __future__ import annotations

import hashlib
import uuid


def derived(*parts: str) -> bytes:
    """16 bytes that are always the same for the same parts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()[:16]


def of_message(protocol: str, message_id: str, retries: int) -> bytes:
    """The task id of a message: the 16 bytes of a UUID, and a hash of any other id. A retry that a worker of Celery or
    dramatiq sent has the message id of the first try, and gets a task id of its own."""
    if not retries:
        try:
            return uuid.UUID(message_id).bytes
        except ValueError:
            pass  # not a UUID: an id that the producer chose
    return derived(protocol, message_id, str(retries))
