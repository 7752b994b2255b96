"""Task ids of the cluster, made from what the message calls itself, so that a message that comes again is known."""

from __future__ import annotations

import hashlib
import uuid


def derived(*parts: str) -> bytes:
    """16 bytes that are always the same for the same parts."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).digest()[:16]


def of_message(protocol: str, message_id: str, retries: int) -> bytes:
    """A UUID is its own 16 bytes. A retry that a worker of Celery or dramatiq sent has the id of the first try, and is
    another task to run."""
    if not retries:
        try:
            return uuid.UUID(message_id).bytes
        except ValueError:
            pass  # a name that somebody chose
    return derived(protocol, message_id, str(retries))
