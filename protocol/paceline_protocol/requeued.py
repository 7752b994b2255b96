"""The call of the new task that is made of a dead one.

Its id follows from that of the dead task. So a request to requeue can be repeated, to any leader and by several clients
at a time, and makes one new task: an id is accepted once.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from paceline_protocol.messages.records import TASK_ID_BYTES, Options
from paceline_protocol.options import MOMENT_KEYS, with_moments

_LEFT_OUT: Final = frozenset(
    (*MOMENT_KEYS, "trace", "on_client_lost", "idempotency_key", "unique_for", "inputs", "after", "held")
)
"""Moments that are over, that it was held, what its client had wanted to be told, that it ends with that, and the key,
by which the id of the dead task was made: the new task has none. And what it had waited for, which has ended."""


def requeued_id(task_id: bytes) -> bytes:
    """The id of the task that takes the place of this dead one."""
    return blake2b(task_id, digest_size=TASK_ID_BYTES, person=b"paceline requeue").digest()


def requeued_options(options: Options, task_id: bytes, now_ms: int) -> Options:
    """What the new task asks for that takes the place of this dead one, at this wall-clock time."""
    kept = {key: value for key, value in options.items() if key not in _LEFT_OUT}
    return with_moments({**kept, "requeued_from": task_id.hex()}, now_ms)
