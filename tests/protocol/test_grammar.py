"""docs/protocol.md says what the codec does."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import pytest

from paceline_protocol import codec
from paceline_protocol.forms import Ext
from paceline_protocol.limits import MAX_BATCH_FRAMES
from paceline_protocol.messages import Message
from paceline_protocol.messages.client import AdminOp, CancelState, Refusal, Refused
from paceline_protocol.messages.consensus import EntryKind, WireEntry
from paceline_protocol.messages.message import MESSAGES, PROTOCOL_VERSION, Sender, sent_by
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.messages.trace import Stage
from paceline_protocol.messages.work import Availability

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")
RULE = re.compile(r"^(\w+) += (\d+) +\[(.*?)\]$", re.MULTILINE | re.DOTALL)
FIELD = re.compile(r"(\w+):(\*?(?:\([^)]*\)|[\w-]+(?:<\w+>)?))")
SECTION = re.compile(r"^; ---- (.*?) -+$", re.MULTILINE)
BY_NAME = {cls.__name__: said for cls, said in MESSAGES.items()}
WRITTEN = {int(kind): (name, FIELD.findall(body)) for name, kind, body in RULE.findall(TEXT)}
SENDERS = {
    "client -> node": {Sender.OBSERVER, Sender.CLIENT, Sender.OPERATOR},
    "node -> client": {Sender.NODE},
    "peer -> peer: the head of each batch, membership": {Sender.PEER},
    "peer -> peer: the replicated log": {Sender.PEER},
    "leader <-> node: tasks": {Sender.PEER},
    "node <-> worker": {Sender.PARENT, Sender.WORKER},
    "node <-> its web process": {Sender.PARENT, Sender.WEB},
    "worker -> node -> leader -> client": {Sender.WORKER, Sender.PEER, Sender.NODE},
}


def grammar_of(hint: Any) -> str:
    """A type as the grammar writes it."""
    if get_origin(hint) is Annotated:
        mark = get_args(hint)[-1]
        return mark if isinstance(mark, str) else re.sub(r"(?<!^)(?=[A-Z])", "-", mark.__name__).lower()
    if get_origin(hint) is tuple:
        first, *rest = get_args(hint)
        return f"*{grammar_of(first)}" if rest == [...] else f"({' '.join(map(grammar_of, (first, *rest)))})"
    return {int: "int", bool: "bool", str: "string", bytes: "bytes"}[hint]


def fields_of(cls: type[Message]) -> list[tuple[str, str]]:
    hints = get_type_hints(cls, include_extras=True)
    return [(name, grammar_of(hints[name])) for name in cls._fields]


def test_the_grammar_has_every_message_with_its_number_and_its_fields_their_order_and_their_types() -> None:
    assert {said.kind: (cls.__name__, fields_of(cls)) for cls, said in MESSAGES.items()} == WRITTEN
    assert len(MESSAGES) == len(WRITTEN), "no number is used twice"


def test_the_grammar_lists_each_message_under_who_sends_it() -> None:
    begins = [(match.end(), match[1]) for match in SECTION.finditer(TEXT)]
    for match in RULE.finditer(TEXT):
        section = [title for end, title in begins if end < match.start()][-1]
        senders = BY_NAME[match[1]].senders
        assert senders <= SENDERS[section], match[1]
        assert len(SENDERS[section]) > 1 or senders == SENDERS[section], match[1]


def test_the_table_of_roles_has_what_each_of_them_may_send() -> None:
    may_send: set[str] = set()
    for label, sender in (
        ("observer", Sender.OBSERVER),
        ("client", Sender.CLIENT),
        ("operator, peer", Sender.OPERATOR),
    ):
        (cell,) = re.findall(rf"^\| {label} \| (?:issued|the nodes' own) \| ([^|]*) \|", TEXT, re.MULTILINE)
        may_send |= set(re.findall(r"`(\w+)`", cell))
        assert may_send == {cls.__name__ for cls in sent_by(sender)}, label


@pytest.mark.parametrize("record", ["refused", "entry"])
def test_records_have_the_fields_that_the_grammar_gives_them(record: str) -> None:
    (body,) = re.findall(rf"^{record} += \( (.*) \)$", TEXT, re.MULTILINE)
    alias = {"refused": Refused, "entry": WireEntry}[record]
    assert [field.rpartition(":")[2] for field in body.replace("<data>", "").split()] == [
        grammar_of(item) for item in get_args(get_args(alias)[0])
    ]


ENUMS = {
    "task-end": TaskEnd,
    "entry-kind": EntryKind,
    "refusal": Refusal,
    "cancel-state": CancelState,
    "stage": Stage,
    "admin-op": AdminOp,
    "availability": Availability,
}


@pytest.mark.parametrize("rule", ENUMS)
def test_the_grammar_has_every_number_of_an_enum(rule: str) -> None:
    enum: type[IntEnum] = ENUMS[rule]
    line = f"{rule:<15} = " + " / ".join(f"{member.value} {member.name}" for member in enum)
    assert line in TEXT


def test_the_extension_types_stand_in_their_table() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| (\w+)", TEXT, re.MULTILINE))
    assert {int(code): name.lower() for code, name in rows.items()} == {int(ext): ext.name.lower() for ext in Ext}


def test_the_limits_and_the_version_are_those_of_the_code() -> None:
    assert f"| `MAX_FRAME_BYTES` | {codec.MAX_FRAME_BYTES >> 20} MiB |" in TEXT
    assert f"| `MAX_BATCH_ITEMS` | {codec.MAX_BATCH_ITEMS:,} items" in TEXT
    assert f"| `MAX_BATCH_FRAMES` | {MAX_BATCH_FRAMES:,} frames" in TEXT
    assert f"| `PAYLOAD_LIMIT_BYTES` | {codec.PAYLOAD_LIMIT_BYTES >> 20} MiB" in TEXT
    assert f"| `PAYLOAD_LIMIT_MAX_BYTES` | {codec.PAYLOAD_LIMIT_MAX_BYTES >> 20} MiB" in TEXT
    assert f"| strings | {codec.MAX_STRING_CHARS:,} characters, tracebacks {codec.MAX_TRACEBACK_CHARS:,} |" in TEXT
    assert f"| names of tasks | {codec.MAX_NAME_CHARS} characters |" in TEXT
    assert f"Byte 1 is the protocol version, now {PROTOCOL_VERSION}." in TEXT
