"""Values of classes that attrs and pydantic make."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import msgpack
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.codecs import build
from paceline_protocol import payload
from paceline_protocol.errors import (
    ClassUnavailable,
    FieldsDiffer,
    MalformedPayload,
    PayloadError,
    PayloadTooLarge,
    UnserializableValue,
)
from paceline_protocol.forms import Ext
from values import model_classes
from values.model_classes import Address, Broken, Checked, Dropped, Numbers, Old, Open, Parcel, Person, Stop

HERE = "values.model_classes"
DETERMINISTIC = settings(derandomize=True, deadline=None, max_examples=100)


@pytest.fixture(autouse=True)
def _nothing_has_run() -> None:
    model_classes.ran.clear()


def pack(value: Any, limit_bytes: int | None = None) -> bytes:
    return payload.pack_value(value, limit_bytes, payload.WITH_CLASSES)


def unpack(data: bytes) -> Any:
    return payload.unpack_value(data, None, build)


def packed(codec: str, name: str, state: Any) -> bytes:
    mark = msgpack.ExtType(Ext.VALUE, b"")
    return msgpack.packb([mark, codec, f"{HERE}:{name}", state])  # type: ignore[no-any-return]


scalars = st.none() | st.integers() | st.text(max_size=4)
values = st.recursive(
    scalars,
    lambda inner: (
        st.builds(Parcel, inner, inner)
        | st.builds(Stop, inner)
        | st.builds(Old, inner, inner)
        | st.builds(Person, fullName=st.text(max_size=3), anything=inner)
        | st.builds(Open, x=st.integers(), more=inner)
        | st.lists(inner, max_size=3)
    ),
    max_leaves=6,
)


@given(values)
@DETERMINISTIC
def test_a_value_of_a_model_comes_back_as_it_went_and_runs_nothing(value: Any) -> None:
    data = pack(value, 1 << 20)
    model_classes.ran.clear()
    back = unpack(data)
    assert (back, type(back)) == (value, type(value))
    assert model_classes.ran == []
    assert pack(payload.unpack_value(data)) == data
    assert repr(payload.unpack_value(data))


def a_person() -> Person:
    person = Person(fullName="ab", addresses=[Address(street="x")])
    assert person.initials == "a"
    person._seen = 7
    return person


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Stop({"k": Stop(1)}), f"{HERE}.Stop(place={{'k': {HERE}.Stop(place=1)}})"),
        (Old(1), f"{HERE}.Old(x=1, y=1)"),
        (Parcel("a", 2), f"{HERE}.Parcel(id='a', _weight=2, label='parcel a')"),
        (Address(street="x"), f"{HERE}.Address(street='x', number=1)"),
        (a_person(), f"{HERE}.Person(name='abab', addresses=[{HERE}.Address(street='x', number=1)], anything=None)"),
        (Open(x=1, more=[2]), f"{HERE}.Open(x=1, more=[2])"),
        (Open(x=1), f"{HERE}.Open(x=1)"),
        (Numbers([1, 2]), f"{HERE}.Numbers(root=[1, 2])"),
        (Checked(1), f"{HERE}.Checked(x=1)"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_each_kind_comes_back_and_is_shown(value: Any, shown: str) -> None:
    back = unpack(pack(value))
    assert (back, repr(back), type(back)) == (value, repr(value), type(value))
    assert repr(payload.unpack_value(pack(value))) == shown


def test_a_model_keeps_what_was_set_and_its_private_attributes() -> None:
    back = unpack(pack(a_person()))
    assert (back.name, back._seen, back.model_fields_set) == ("abab", 7, {"name", "addresses"})
    assert back.model_dump() == a_person().model_dump()
    assert back.model_copy(update={"anything": 1}).anything == 1
    assert unpack(pack(Open(x=1, more=2))).model_extra == {"more": 2}
    opened = unpack(pack(Open(x=1)))
    opened.more = 5
    assert opened.model_dump() == {"x": 1, "more": 5}
    with pytest.raises(pydantic.ValidationError):
        back.name = "frozen"


def test_a_cached_property_is_computed_again() -> None:
    parcel = Parcel("a")
    assert parcel.size == 8
    assert unpack(pack(parcel)).size == 8


def test_what_is_too_large_in_a_model_is_refused_before_it_is_packed() -> None:
    with pytest.raises(PayloadTooLarge) as caught:
        pack([Person(fullName="x", anything=Stop(bytes(1 << 20)))], 1 << 20)
    assert caught.value.size > 1 << 20


class Local:
    pass


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Broken("x"), "more than their fields"),
        (Address.model_construct(number=1), "its fields street are not set"),
        (Dropped(path="/"), "__del__"),
        (pydantic.create_model("Made", x=(int, 1))(), "is not what is found as"),
        (Person(fullName="x", anything=Local()), "convert it to plain values"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_has_no_codec_is_refused_with_what_to_do(value: Any, says: str) -> None:
    with pytest.raises(UnserializableValue) as caught:
        pack([value])
    assert caught.value.path.startswith("the value, item 0")
    assert says in str(caught.value)


def test_the_place_in_a_model_is_named_by_its_field() -> None:
    with pytest.raises(UnserializableValue, match=r"item 0, field anything, field place is of type .*Local"):
        pack([Person(fullName="x", anything=Stop(Local()))])


@pytest.mark.parametrize(
    ("codec", "name", "state", "error", "says"),
    [
        ("attrs", "Stop", {"place": 1, "more": 2}, FieldsDiffer, "the class here lacks more"),
        ("attrs", "Parcel", {"id": 1}, FieldsDiffer, "the value lacks _weight, label"),
        ("attrs", "Broken", {"why": 1}, ClassUnavailable, "more than their fields"),
        ("attrs", "Address", {}, ClassUnavailable, "is no attrs here"),
        ("attrs", "Stop", [1], MalformedPayload, "a map of them"),
        ("dataclass", "Stop", {"place": 1}, ClassUnavailable, "is no dataclass here"),
        ("pydantic", "Stop", [{}, [], None, None], ClassUnavailable, "is no pydantic here"),
        ("pydantic", "Address", [{"street": 1}, [], None, None], FieldsDiffer, "the value lacks number"),
        ("pydantic", "Address", [{"street": 1, "number": 1}, ["x"], None, None], FieldsDiffer, "lacks x"),
        ("pydantic", "Address", [{"street": 1, "number": 1}, [], {"x": 1}, None], FieldsDiffer, "lacks x"),
        ("pydantic", "Address", [{"street": 1, "number": 1}, [], None, {"_x": 1}], FieldsDiffer, "lacks _x"),
        ("pydantic", "Address", {"street": 1, "number": 1}, MalformedPayload, "the state of a model"),
        ("pydantic", "Address", [{"street": 1, "number": 1}, 5, None, None], MalformedPayload, "list of names"),
        ("pydantic", "Address", [{"street": 1, "number": 1}, [[]], None, None], MalformedPayload, "list of names"),
        ("pydantic", "Open", [{"x": 1}, [], {1: 1}, None], MalformedPayload, "by name"),
        ("pydantic", "Dropped", [{"path": "/"}, [], None, None], ClassUnavailable, "__del__"),
        ("pydantic", "pydantic.BaseModel", [{}, [], None, None], ClassUnavailable, "no such class"),
    ],
)
def test_what_is_no_value_of_a_model_is_refused_by_name_and_runs_nothing(
    codec: str, name: str, state: Any, error: type[PayloadError], says: str
) -> None:
    with pytest.raises(error, match=says):
        unpack(packed(codec, name, state))
    assert model_classes.ran == []


def test_neither_is_imported_by_paceline() -> None:
    program = """
import sys
from dataclasses import dataclass
from paceline import Client, task
from paceline.codecs import build
from paceline_protocol import payload
from paceline_protocol.coded import CodedValue
for codec in ("attrs", "pydantic"):
    data = payload.pack_value(CodedValue(codec, "decimal:Decimal", {}), None, payload.WITH_CLASSES)
    try:
        payload.unpack_value(data, None, build)
    except Exception as error:
        print(type(error).__name__)
print(sorted({"attr", "attrs", "pydantic"} & set(sys.modules)))
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split("\n") == ["ClassUnavailable", "ClassUnavailable", "[]", ""]
