"""The properties of a dead letter: those that its message had, with the reason, as far as they fit into one frame."""

from __future__ import annotations

from typing import Any

import pika
import pika.data

from paceline_bridge.message import Message, Refused

NAMES_LIMIT_CHARS = 200
RENAMED = {"CC": "x-paceline-cc", "BCC": "x-paceline-bcc"}
"""Headers that RabbitMQ acts on: it would put a copy of the dead letter into each queue that they name, which may be
the one that the message came from. They are kept under these names."""
LEFT_OUT = "x-paceline-left-out"
LEFT_OUT_BYTES = 300
"""What the header of that name takes at most, and the message id that the publisher may add."""
ROUNDS = "x-paceline-rounds"
ROUNDS_LIMIT = 10
"""A message that was a dead letter so often is put elsewhere. Somebody moves it back from the dead letter queue, as
another bridge does that consumes it and whose dead letters come here."""
ROUNDS_MAX = 1 << 31
_TEXTS = ("content_type", "content_encoding", "message_id", "correlation_id", "reply_to")

Headers = dict[str | bytes, Any]


def rounds_of(message: Message) -> int:
    """How often a message was a dead letter."""
    rounds = message.headers.get(ROUNDS)
    return int(rounds) if isinstance(rounds, int) and 0 < rounds < ROUNDS_MAX else 0


def properties_of(message: Message, refused: Refused, room_bytes: int, *, bare: bool = False) -> dict[str, Any]:
    """Persistent, and without expiration. ``room_bytes``: what the properties may take together. Headers that do not
    fit, the largest first, and those that can't be written are left out, and named in the header LEFT_OUT. ``bare``:
    without any of them."""
    room_bytes -= LEFT_OUT_BYTES
    marks: Headers = {
        "x-paceline-reason": refused.reason,
        "x-paceline-detail": "",
        "x-paceline-queue": message.queue,
        ROUNDS: rounds_of(message) + 1,
    }
    texts = {**{name: getattr(message, name) for name in _TEXTS}, **message.others}
    properties: dict[str, Any] = {
        **{name: _raw(value) if isinstance(value, str) else value for name, value in texts.items()},
        "priority": message.priority,
        "delivery_mode": 2,
    }
    room = room_bytes - sum(map(len, pika.BasicProperties(**properties, headers=marks).encode()))
    detail = refused.detail.encode("utf-8", "replace")[: max(0, room)]
    marks["x-paceline-detail"] = detail.decode("utf-8", "ignore")
    room -= len(detail)
    kept: Headers = {RENAMED.get(key, key): value for key, value in message.headers.items() if key not in marks}
    sizes = {key: _size(key, value) for key, value in kept.items()}
    left_out = [key for key, size in sizes.items() if size is None or bare]
    taken = 0 if bare else sum(size or 0 for size in sizes.values())
    for key in sorted(sizes, key=lambda key: sizes[key] or 0, reverse=True):
        if taken <= room:
            break
        if sizes[key] is not None:
            left_out.append(key)
            taken -= sizes[key] or 0
    for key in left_out:
        del kept[key]
    if left_out:
        names = ", ".join(str(key) for key in left_out)[:NAMES_LIMIT_CHARS]
        marks[LEFT_OUT] = names.encode("ascii", "backslashreplace").decode()[:NAMES_LIMIT_CHARS]
    return {**properties, "headers": {**kept, **marks}}


def _size(key: str | bytes, value: Any) -> int | None:
    """What a header takes; None if it can't be written, as one whose number is larger than AMQP's."""
    pieces: list[bytes] = []
    try:
        pika.data.encode_table(pieces, {key: value})
    except Exception:  # noqa: BLE001 - of many kinds, for a value that came from outside
        return None
    return sum(map(len, pieces)) - 4


def _raw(text: str | None) -> str | bytes | None:
    """A text as it came, though it may not be UTF-8."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape")
