"""What producers write into RabbitMQ, a header frame and a body, and what people write into a bridge's settings."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterable
from typing import Any

import pika
import pika.exceptions
import pika.frame

from bridge.messages import FRESH, NOW, RECORDED
from bridge.raw_headers import BEFORE_1970, MILLISECONDS, NOT_A_TEXT, TOO_DEEP, WITHIN, RawHeaders, read_as_delivered
from fuzz.target import SCRATCH, Cut, Target, joined, must
from paceline.errors import ConfigError
from paceline_bridge import replies
from paceline_bridge.amqp_url import parameters_of
from paceline_bridge.config import BridgeConfig, check_url, load, spelled_out, urls_of, vhost_of
from paceline_bridge.consumer import _message
from paceline_bridge.dead_letters import properties_of
from paceline_bridge.features import REASONS
from paceline_bridge.frames import BASIC_CLASS, read_header_frame
from paceline_bridge.mapping import interpret
from paceline_bridge.message import Message, Refused, TaskCall
from paceline_protocol.codec import encode_calls
from paceline_protocol.errors import PayloadError
from paceline_protocol.payload import pack_args

QUEUE = "celery"
FRAME_BYTES = 131_072
"""What pika and RabbitMQ agree on."""


def message(data: bytes) -> str:
    """Nothing: each message is a call or a refusal. A call can be submitted, and a refusal answered.

    The first byte chooses whether the queue is bound to a task for plain messages.
    """
    cut = Cut(data)
    task = "greet" if cut.byte() % 2 else ""
    header, body = cut.some(), cut.rest()
    properties = _properties(header, len(body))
    if properties is None:
        return "no header frame"
    found_message = _message(QUEUE, properties, body, False)
    found = interpret(found_message, task, {"shop.add": "add"}, NOW, lambda: FRESH)
    if isinstance(found, Refused):
        _must_be_answered(found_message, found)
        return f"{found.protocol}: {found.reason}"
    return _submitted(found)


def _properties(payload: bytes, body_size: int) -> Any:
    """As a connection reads them. None if it ends."""
    whole = struct.pack(">HxxQ", BASIC_CLASS, body_size) + payload
    data = struct.pack(">BHL", pika.spec.FRAME_HEADER, 1, len(whole)) + whole + bytes([pika.spec.FRAME_END])
    try:
        pika.frame.decode_frame(data)
    except Exception as error:  # noqa: BLE001 - as the connection has it
        if read_header_frame(data, error) is None:
            return None
    return read_as_delivered(data).properties


def _must_be_answered(message: Message, refused: Refused) -> None:
    must(refused.reason in REASONS, f"an unknown reason {refused.reason!r}")
    properties = pika.BasicProperties(**properties_of(message, refused, FRAME_BYTES))
    must(sum(map(len, properties.encode())) <= FRAME_BYTES, "a dead letter that does not fit into a frame")
    if refused.reply is not None:
        must(bool(replies.refused(refused.reply, refused, NOW)), "no reply")


def _submitted(call: TaskCall) -> str:
    try:
        args = pack_args(call.args, call.kwargs)
    except PayloadError as error:
        return f"{call.protocol}: {type(error).__name__}"
    encode_calls([(call.task_id, call.name, call.priority, args, dict(call.options) or None)])
    if call.reply is not None:
        must(bool(replies.started(call.reply)), "no reply")
    return f"{call.protocol}: a call{', late' if call.is_late else ''}"


def message_seeds() -> Iterable[bytes]:
    for path in sorted(RECORDED.glob("*.json")):
        fields = json.loads(path.read_text())
        body = base64.b64decode(fields.pop("body"))
        for name in ("queue", "redelivered", "problem"):
            fields.pop(name, None)
        yield _seed(pika.BasicProperties(**fields), body, 0)
    for kind, body in (
        ("application/json", b'{"a": 1}'),
        ("application/msgpack", b"\x81\xa1a\x01"),
        ("text/plain", b"text"),
        (None, b"\xff"),
    ):
        yield _seed(pika.BasicProperties(content_type=kind, message_id="m1"), body, 1)
    for table in (MILLISECONDS, BEFORE_1970, WITHIN, NOT_A_TEXT, TOO_DEEP[:3_000]):
        yield _seed(RawHeaders(table, content_type="application/json", reply_to="me"), b"{}", 1)


def _seed(properties: Any, body: bytes, bound: int) -> bytes:
    return bytes([bound]) + joined(b"".join(properties.encode()), rest=body)


# --- settings ---------------------------------------------------------------------------------------------------

SETTINGS = SCRATCH / "bridge.toml"


def shows_password(error: ConfigError, data: bytes) -> bool:
    """Whether a refusal has the password of the seeds, where it stands as one: without the colon before it and the @
    behind nobody can tell."""
    return b":s3cret@" in data and "s3cret" in str(error)


def bridge_file(data: bytes) -> str:
    """ConfigError."""
    SETTINGS.write_bytes(data)
    try:
        settings = {"urls": (), "queues": {}, **load(SETTINGS)}
        BridgeConfig(**settings).validate()
    except ConfigError as error:
        must(not shows_password(error, data), "a refusal that shows a password")
        return "ConfigError"
    return "read"


def bridge_file_seeds() -> Iterable[bytes]:
    yield b'amqp = ["amqps://user:s3cret@rabbit1/shop"]\nprefetch = 5\n[queues]\na = ""\n[tasks]\n"b" = "c"\n'
    yield b'amqp = "amqp://h"\nprefetch_mib = 1\ndeclare = true\nmetrics = "127.0.0.1:9080"\n[queues]\nq = "t"\n'


def amqp_url(data: bytes) -> str:
    """ConfigError. What is taken for a URL has a vhost, and can be spelled out."""
    for url in urls_of((data.decode("utf-8", "surrogateescape"),)):
        try:
            check_url(url)
        except ConfigError as error:
            must(not shows_password(error, data), "a refusal that shows a password")
            return "ConfigError"
        vhost = vhost_of(url)
        must(vhost_of(spelled_out(url)) == vhost, "spelled out it is the URL of another vhost")
        try:
            parameters_of(url)
        except ConfigError as error:
            must(not shows_password(error, data), "a refusal that shows a password")
            return "ConfigError: an option"
    return "read"


def amqp_url_seeds() -> Iterable[bytes]:
    yield from (
        b"amqp://user:s3cret@host:5672/vhost",
        b"amqps://user@[::1]//",
        b"amqp://h/%2F?heartbeat=5 amqp://i",
        b"pyamqp://user:s3cret@host:5672//",
    )


TARGETS = (
    Target("message", message, message_seeds, longest_bytes=8_192),
    Target("bridge-file", bridge_file, bridge_file_seeds),
    Target("amqp-url", amqp_url, amqp_url_seeds, longest_bytes=300),
)
