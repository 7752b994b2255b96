"""The id of a task that is called with a key: it follows from the name of the task and the key.

So calls of one name with one key, from whatever client, are one task, as an id is accepted once.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from paceline_protocol.messages.records import TASK_ID_BYTES, Options

KEY: Final = "idempotency_key"


def key_of(options: Options | None) -> str:
    """The key of a call with these options, "" if it has none."""
    return (options.get(KEY) or "") if options else ""


def keyed_id(name: str, key: str) -> bytes:
    """The id of a task of this name that is called with this key. The length of the name comes first, so
    that no two pairs of them make one text."""
    packed_name = name.encode()
    text = len(packed_name).to_bytes(4) + packed_name + key.encode()
    return blake2b(text, digest_size=TASK_ID_BYTES, person=b"paceline keyed").digest()
