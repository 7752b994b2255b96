"""What a dead letter has of its message."""

from __future__ import annotations

import uuid

import pika
import pytest

from paceline_bridge.consumer import _message
from paceline_bridge.dead_letters import properties_of
from paceline_bridge.message import Message, Refused
from paceline_bridge.publisher import HEADER_OVERHEAD_BYTES

TEXTS = ("content_type", "content_encoding", "message_id", "correlation_id", "reply_to")


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("has_id", [False, True])
def test_a_dead_letter_fits_into_the_smallest_frame_however_long_its_texts_are(bare: bool, has_id: bool) -> None:
    texts = dict.fromkeys(TEXTS[: None if has_id else 2], "\u00fc" * 127)
    others = dict.fromkeys(("type", "app_id"), "x" * 255)
    message = Message("q" * 255, b"", {f"h{n}": "x" * 100 for n in range(100)}, **texts, others=others)
    refused = Refused("plain", "bad-headers", "\U0001f600" * 5_000)
    properties = properties_of(message, refused, 4_096 - HEADER_OVERHEAD_BYTES, bare=bare)
    if not has_id:
        properties["message_id"] = str(uuid.uuid4())  # as the publisher adds
    size = sum(map(len, pika.BasicProperties(**properties).encode()))
    assert size + HEADER_OVERHEAD_BYTES <= 4_096
    assert properties["headers"]["x-paceline-detail"].startswith("\U0001f600" * 100)
    assert properties["headers"]["x-paceline-left-out"].startswith("h")
    assert ("h99" in properties["headers"]) is False


def test_a_dead_letter_keeps_the_properties_that_rabbitmq_lets_it_have() -> None:
    came = pika.BasicProperties(
        type="order", app_id="shop", timestamp=1_772_000_000_000, expiration="1000", user_id="guest", priority=3
    )
    properties = properties_of(_message("q", came, b"", False), Refused("plain", "no-task", ""), 4_000)
    assert [properties[name] for name in ("type", "app_id", "timestamp", "priority")] == [
        "order",
        "shop",
        1_772_000_000_000,
        3,
    ]
    assert not {"expiration", "user_id"} & properties.keys()
