"""docs/protocol.md says what the codec does."""

from __future__ import annotations

import re
from enum import IntEnum
from pathlib import Path

import pytest

from paceline_protocol import codec, fields, messages
from paceline_protocol.forms import Ext

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text("utf-8")
RULE = re.compile(r"^(\w+) += (\d+) +\[(.*?)\]$", re.MULTILINE | re.DOTALL)
WRITTEN = {int(kind): (name, re.findall(r"(\w+):", body)) for name, kind, body in RULE.findall(TEXT)}


def test_the_grammar_has_every_kind_with_its_number_and_its_fields_in_order() -> None:
    assert {kind: (cls.__name__, list(cls._fields)) for kind, (cls, _) in codec.KINDS.items()} == WRITTEN


@pytest.mark.parametrize("kind", codec.KINDS)
def test_the_types_in_the_grammar_are_those_that_the_codec_checks(kind: int) -> None:
    body = next(body for _, number, body in RULE.findall(TEXT) if int(number) == kind)
    written = re.findall(r"\w+:(\*?(?:\([^)]*\)|[\w-]+))", body)
    for in_text, check in zip(written, codec.KINDS[kind][1], strict=True):
        # A check that is composed in the table has no name here; test_hostile_frames.py has its wrong items.
        assert GRAMMAR_OF_CHECK.get(check, in_text) == in_text


ENUMS = {
    "task-end": messages.TaskEnd,
    "entry-kind": messages.EntryKind,
    "refusal": messages.Refusal,
    "cancel-state": messages.CancelState,
    "stage": messages.Stage,
}
GRAMMAR_OF_CHECK = {
    fields.integer: "int",
    fields.boolean: "bool",
    fields.octets: "bytes",
    fields.identifier: "id",
    fields.string: "string",
    fields.long_string: "long-string",
    fields.ids: "*id",
    fields.names: "*name",
    fields.node_ids: "*string",
    fields.assignments: "*assignment",
    fields.outcomes: "*outcome",
    fields.results: "*result",
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
    assert f"| `PAYLOAD_LIMIT_BYTES` | {codec.PAYLOAD_LIMIT_BYTES >> 20} MiB" in TEXT
    assert f"| `PAYLOAD_LIMIT_MAX_BYTES` | {codec.PAYLOAD_LIMIT_MAX_BYTES >> 20} MiB" in TEXT
    assert f"| strings | {codec.MAX_STRING_CHARS:,} characters, tracebacks {codec.MAX_TRACEBACK_CHARS:,} |" in TEXT
    assert f"| names of tasks | {codec.MAX_NAME_CHARS} characters |" in TEXT
    assert f"Byte 1 is the protocol version, now {messages.PROTOCOL_VERSION}." in TEXT
