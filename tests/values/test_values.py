"""Values of classes, there and back, and what comes from outside in their place."""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, make_dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from types import ModuleType
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.codecs import CodedValue, build
from paceline.codecs.kinds import MOST_COMBINATIONS
from paceline_protocol import payload
from paceline_protocol.errors import (
    ClassUnavailable,
    FieldsDiffer,
    MalformedPayload,
    PayloadError,
    PayloadTooLarge,
    UnknownCodec,
    UnpackedTooLarge,
    UnserializableValue,
)
from paceline_protocol.forms import Ext
from values import sample_classes
from values.sample_classes import (
    Box,
    Chosen,
    Colour,
    Empty,
    Failure,
    Folder,
    Key,
    Level,
    Mode,
    Order,
    Outer,
    Pair,
    Permission,
    Plain,
    Point,
    Record,
    Removing,
    Setting,
    Text,
    Vector,
    Word,
)

DETERMINISTIC = settings(derandomize=True, deadline=None, max_examples=150)
HERE = "values.sample_classes"


@pytest.fixture(autouse=True)
def _nothing_has_run() -> Iterator[None]:
    sample_classes.ran.clear()
    yield
    sample_classes.ran.clear()


def pack(value: Any, limit_bytes: int | None = None) -> bytes:
    return payload.pack_value(value, limit_bytes, payload.WITH_CLASSES)


def unpack(data: bytes) -> Any:
    return payload.unpack_value(data, None, build)


def packed(codec: Any, class_name: Any, *state: Any) -> bytes:
    """A value of a class as anybody may write one."""
    mark = msgpack.ExtType(Ext.VALUE, b"")
    return msgpack.packb([mark, codec, class_name, *state])  # type: ignore[no-any-return]


# --- there and back -----------------------------------------------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.binary(max_size=5) | st.decimals(-9, 9)
enums = (
    st.sampled_from([*Colour, *Level, *Word, *Mode]) | st.integers(0, 7).map(Permission) | st.integers(0, 9).map(Mode)
)
paths = st.text(st.characters(blacklist_characters="\0"), max_size=8).map(PurePosixPath) | st.just(
    PureWindowsPath("c:/a")
)
keys = st.recursive(
    scalars | enums | paths,
    lambda inner: (
        st.builds(Key, inner, inner)
        | st.builds(Point, inner, inner)
        | st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(inner, max_size=3)
    ),
    max_leaves=4,
)


def an_order(number: Any, lines: list[Any], total: Any) -> Order:
    order = Order(number, lines)
    order.total = total
    return order


values = st.recursive(
    keys,
    lambda inner: (
        st.builds(an_order, inner, st.lists(inner, max_size=3), inner)
        | st.builds(Box, inner)
        | st.builds(Outer.Inner, inner)
        | st.builds(Vector, inner, inner)
        | st.lists(inner, max_size=3)
        | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=10,
)


def same(one: Any, other: Any) -> bool:
    """Equal, and of equal types all the way down."""
    if type(one) is not type(other) or one != other:
        return False
    if isinstance(one, set | frozenset):
        return sorted(map(repr, map(type, one))) == sorted(map(repr, map(type, other)))
    if isinstance(one, dict):
        return all(map(same, one.items(), other.items()))
    if isinstance(one, list | tuple):
        return all(map(same, one, other))
    if is_dataclass(one):
        return all(same(getattr(one, field.name), getattr(other, field.name)) for field in fields(one))
    return True


@given(values)
@DETERMINISTIC
def test_a_value_of_a_class_comes_back_as_it_went(value: Any) -> None:
    sample_classes.ran.clear()
    data = pack(value, 1 << 20)
    sample_classes.ran.clear()
    assert same(unpack(data), value)
    assert sample_classes.ran == []


@given(st.lists(values, max_size=2), st.dictionaries(st.text(max_size=5), values, max_size=2))
@DETERMINISTIC
def test_arguments_of_classes_come_back_as_they_went(args: list[Any], kwargs: dict[str, Any]) -> None:
    assert same(payload.unpack_args(payload.pack_args(args, kwargs), None, build), (args, kwargs))


@given(values)
@DETERMINISTIC
def test_who_has_not_the_class_shows_a_value_and_sends_it_on_as_it_was(value: Any) -> None:
    data = pack(value)
    known = payload.unpack_value(data)
    assert same(unpack(pack(known)), value)
    assert known == payload.unpack_value(data)
    assert repr(known)
    assert payload.unpack_value(pack({"a": [known]})) == {"a": [known]}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Colour.RED, "values.sample_classes.Colour.RED"),
        (Colour.BLUE, "values.sample_classes.Colour.BLUE"),
        (Level.HIGH, "values.sample_classes.Level.HIGH"),
        (Word.YES, "values.sample_classes.Word.YES"),
        (Permission.READ | Permission.RUN, "values.sample_classes.Permission(5)"),
        (Permission(0), "values.sample_classes.Permission(0)"),
        (Mode(8), "values.sample_classes.Mode(8)"),
        (Point(1), "values.sample_classes.Point(x=1, y=0)"),
        (Pair(1, [2]), "values.sample_classes.Pair(one=1, other=[2])"),
        (Key(1, "a"), "values.sample_classes.Key(number=1, text='a')"),
        (
            Outer.Inner({Key(1)}),
            "values.sample_classes.Outer.Inner(value={values.sample_classes.Key(number=1, text='')})",
        ),
        (Empty(), "values.sample_classes.Empty()"),
        (Path("/a b"), "pathlib.PosixPath('/a b')"),
        (PureWindowsPath("c:/a"), "pathlib.PureWindowsPath('c:\\\\a')"),
    ],
    ids=repr,
)
def test_each_kind_comes_back_and_is_shown(value: Any, shown: str) -> None:
    back = unpack(pack(value))
    assert same(back, value)
    assert repr(payload.unpack_value(pack(value))) == shown


def test_a_member_of_an_enum_is_the_same_one() -> None:
    assert unpack(pack([Colour.BLUE, Colour["ROUGE"], Permission(6)])) == [Colour.BLUE, Colour.RED, Permission(6)]
    assert unpack(pack(Colour.BLUE)) is Colour.BLUE
    assert unpack(pack(Permission(6))) is Permission(6)


def test_fields_that_init_does_not_take_and_what_was_changed_come_back() -> None:
    order = Order("a", [Key(1)], factor=7)
    order.id = [order.total]
    sample_classes.ran.clear()
    back = unpack(pack(order))
    assert (back.id, back.lines, back.total, back.kind) == ([7], [Key(1)], 7, "order")
    assert sample_classes.ran == []


def test_what_python_notes_at_a_value_and_what_it_can_compute_again_is_left_out() -> None:
    box = Box[int](12)
    assert box.size == 2
    back = unpack(pack(box))
    assert back == box
    assert vars(back) == {"content": 12}


# --- what has no codec --------------------------------------------------------------------------------------------


def with_more() -> Order:
    order = Order(1)
    order.cache = {}  # type: ignore[attr-defined]
    return order


def without_a_field() -> Key:
    return object.__new__(Key)


class Gone:
    """Another class has its name by now."""


Renamed = make_dataclass("Another", ["x"])


def local() -> Any:
    return make_dataclass("Local", ["x"], namespace={"__qualname__": "local.<locals>.Local"})(1)


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (with_more(), "it has 'cache' beside its fields"),
        (without_a_field(), "a field of it can't be read"),
        (Removing("/"), "__del__"),
        (object.__new__(Setting), "its field value is a property"),
        (Failure("x"), "more than their fields"),
        (Record("x"), "more than their fields"),
        (local(), "move it to module level"),
        (Renamed(1), "is not what is found as"),
        (Plain(), "paceline.codecs.register"),
        (Text("x"), "convert it to plain values"),
        (Folder("/a"), "convert it to plain values"),
        (Mode(1 << 2000), "no number of up to 1024 bits"),
        (Order, "convert it to plain values"),
        (Key, "convert it to plain values"),
        (Colour, "convert it to plain values"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_has_no_codec_is_refused_with_its_place_and_what_to_do(value: Any, advice: str) -> None:
    order = Order(1, [{"k": value}])
    for limit_bytes in (None, 1 << 20):
        with pytest.raises(UnserializableValue) as caught:
            payload.pack_args((1, order), {}, limit_bytes)
        assert caught.value.path == "argument 2, field lines, item 0, key 'k'"
        assert advice in str(caught.value)


def test_a_class_that_was_typed_at_a_prompt_is_refused_and_one_of_a_script_is_found_by_its_files_name(
    tmp_path: Path,
) -> None:
    program = """
from dataclasses import dataclass
from enum import Enum
from paceline.codecs import build
from paceline_protocol import payload

@dataclass
class Order:
    id: int

class Colour(Enum):
    RED = 1

try:
    data = payload.pack_value([Order(1), Colour.RED], None, payload.WITH_CLASSES)
except Exception as error:
    print(type(error).__name__, error)
else:
    print(payload.unpack_value(data), payload.unpack_value(data, None, build))
"""
    typed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path
    )
    assert typed.stdout.startswith("UnserializableValue the value, item 0 is of type __main__.Order")
    assert "put it in a .py file" in typed.stdout
    (tmp_path / "shop.py").write_text(program)
    started = subprocess.run(
        [sys.executable, "shop.py"], capture_output=True, text=True, timeout=60, check=True, cwd=tmp_path
    )
    assert started.stdout == "[shop.Order(id=1), shop.Colour.RED] [Order(id=1), <Colour.RED: 1>]\n"


def test_errors_and_what_nodes_say_have_no_values_of_classes() -> None:
    with pytest.raises(UnserializableValue):
        payload.pack_value([Key(1)])
    info = payload.unpack_error(payload.pack_error(ValueError("no", Key(1)), ""))
    assert (info.type_name, info.args) == ("ValueError", None)


# --- bounds -------------------------------------------------------------------------------------------------------


def nested(depth: int, wrap: Callable[[Any], Any]) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [Box, Key, Point, lambda value: Box([value])], ids=["Box", "Key", "Point", "lists"])
def test_what_packs_unpacks_at_any_depth_and_past_it_the_argument_is_named(wrap: Callable[[Any], Any]) -> None:
    refused: list[tuple[int, UnserializableValue]] = []
    for depth in (200, *range(330, 345), *range(500, 520), 2_000):
        for limit_bytes in (None, 1 << 20):
            try:
                data = payload.pack_args((1, nested(depth, wrap)), {}, limit_bytes)
            except UnserializableValue as error:
                refused.append((depth, error))
            else:
                assert len(payload.unpack_args(data, None, build)[0]) == 2
    assert refused
    assert refused[0][0] > 200
    for _, error in refused:
        assert error.path == "argument 2"
        assert "nested too deep" in str(error)


@pytest.mark.parametrize(
    "value",
    [
        Box(bytes(2_000_000)),
        [Box([Key(1, "x" * 1_000_000)])] * 2,
        nested(40, lambda value: Pair(value, value)),
        nested(40, lambda value: Box([value, value])),
        [Key(number, "x" * 100) for number in range(20_000)],
    ],
    ids=["bytes", "text", "pairs", "boxes", "many"],
)
def test_what_is_too_large_is_refused_before_it_is_packed(value: Any) -> None:
    tracemalloc.start()
    try:
        began = time.monotonic()
        with pytest.raises(PayloadTooLarge):
            pack(value, 1 << 20)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
        assert time.monotonic() - began < 30
    finally:
        tracemalloc.stop()


def many(item: bytes) -> bytes:
    """An array of as many as fit into a payload."""
    count = (16 << 20) // len(item) - 16
    return b"\xdd" + count.to_bytes(4, "big") + item * count


def test_what_values_of_classes_come_to_is_counted() -> None:
    with pytest.raises(UnpackedTooLarge):
        payload.unpack_value(many(packed("", "", {})))
    with pytest.raises(UnpackedTooLarge):
        unpack(many(packed("dataclass", f"{HERE}:Box", {"content": [[]] * 30})))
    assert len(unpack(many(packed("dataclass", f"{HERE}:Empty", {})))) > 300_000


@pytest.mark.parametrize("with_classes", [True, False])
def test_keys_of_classes_with_equal_hashes_are_refused(with_classes: bool) -> None:
    numbers = [number * sys.hash_info.modulus + 5 for number in range(20, 5_020)]
    colliding: list[list[Any]] = [
        [Key(number, 1) for number in numbers],
        [Point(number, 1) for number in numbers],
        [(1, Key(number, ())) for number in numbers],
    ]
    if with_classes:  # otherwise its hash is that of all of its state
        colliding.append([Chosen(1, "x" * 4_000 + str(number)) for number in range(2_500)])
    for keys_of_one_hash in colliding:
        data = (
            b"\xdf"
            + len(keys_of_one_hash).to_bytes(4, "big")
            + b"".join(pack(key) + b"\x00" for key in keys_of_one_hash)
        )
        with pytest.raises(MalformedPayload, match="equal hashes"):
            payload.unpack_value(data, None, build if with_classes else None)
    assert len(unpack(pack({Key(number, str(number)): None for number in range(20_000)}))) == 20_000


def test_keys_in_keys_are_hashed_once() -> None:
    class Counted:
        times = 0

        def __hash__(self) -> int:
            Counted.times += 1
            return 1

    key = CodedValue("dataclass", f"{HERE}:Key", {"number": [Counted()]})
    for _ in range(200):
        key = CodedValue("dataclass", f"{HERE}:Key", {"number": {key: 1}})
        assert {key: 1}[key] == 1
    assert Counted.times == 1


def test_combinations_of_flags_are_bounded() -> None:
    known = vars(Mode)["_value2member_map_"]
    known.update({f"{number}": None for number in range(MOST_COMBINATIONS)})
    try:
        with pytest.raises(ClassUnavailable, match="combinations of its flags"):
            unpack(packed("flag", f"{HERE}:Mode", 1 << 60))
        assert unpack(pack(Mode.ON)) is Mode.ON
    finally:
        for number in range(MOST_COMBINATIONS):
            del known[f"{number}"]


# --- from outside -------------------------------------------------------------------------------------------------

UNAVAILABLE = {
    "a function": ("dataclass", "builtins:eval", {}),
    "a function of a module": ("dataclass", "os:system", {"command": "true"}),
    "a class of another kind": ("dataclass", "subprocess:Popen", {"args": "true"}),
    "a class like any other": ("dataclass", f"{HERE}:Plain", {}),
    "a dataclass as an enum": ("enum", f"{HERE}:Key", "RED"),
    "a dataclass as a tuple": ("namedtuple", f"{HERE}:Key", {"number": 1, "text": ""}),
    "an enum as a dataclass": ("dataclass", f"{HERE}:Colour", {}),
    "an enum as flags": ("flag", f"{HERE}:Colour", 1),
    "flags as an enum": ("enum", f"{HERE}:Permission", "READ"),
    "the class of all enums": ("enum", "enum:IntEnum", "REPR"),
    "a plain type": ("namedtuple", "builtins:tuple", {}),
    "a tuple of the system": ("namedtuple", "os:stat_result", {}),
    "one that does something when it is dropped": ("dataclass", f"{HERE}:Removing", {"path": "/"}),
    "one with a setter": ("dataclass", f"{HERE}:Setting", {"value": 1}),
    "an exception": ("dataclass", f"{HERE}:Failure", {"reason": ""}),
    "a dict": ("dataclass", f"{HERE}:Record", {"name": ""}),
    "a module that is not imported": ("dataclass", "values.must_not_be_imported:Order", {"id": 1}),
    "a module that does something": ("dataclass", "antigravity:Order", {"id": 1}),
    "a module of the same package": ("dataclass", "paceline.cli.node:Order", {"id": 1}),
    "no such class": ("dataclass", f"{HERE}:Nothing", {}),
    "no such class in a class": ("dataclass", f"{HERE}:Outer.Nothing", {}),
    "an attribute of a function": ("dataclass", f"{HERE}:TypeVar.__init__.__globals__", {}),
    "an attribute of a value": ("dataclass", f"{HERE}:ran.append", {}),
    "a class behind a class": ("dataclass", f"{HERE}:Order.__class__", {}),
    "a name without a module": ("dataclass", "Order", {}),
    "an empty name": ("dataclass", "", {}),
    "dots": ("dataclass", f"{HERE}:....", {}),
    "an abstract class": ("dataclass", f"{HERE}:Abstract", {"name": "x"}),
    "a path of no class": ("path", "os:PathLike", "/"),
    "a path of Windows": ("path", "pathlib:WindowsPath", "c:/"),
    "a path by a class that is none": ("path", f"{HERE}:Folder", "/"),
}


@pytest.mark.parametrize(("codec", "name", "state"), UNAVAILABLE.values(), ids=UNAVAILABLE)
def test_what_is_no_class_of_the_kind_is_refused_by_name_and_nothing_runs_or_is_imported(
    codec: str, name: str, state: Any
) -> None:
    before = set(sys.modules)
    with pytest.raises(PayloadError) as caught:
        unpack(packed(codec, name, state))
    assert isinstance(caught.value, ClassUnavailable | FieldsDiffer)
    assert name.replace(":", ".") in str(caught.value)
    assert sample_classes.ran == []
    assert set(sys.modules) - before == set()


STRANGE = {
    "nothing": (),
    "a codec alone": ("dataclass",),
    "no state": ("dataclass", f"{HERE}:Key"),
    "two states": ("dataclass", f"{HERE}:Key", {}, {}),
    "a codec that is a number": (1, f"{HERE}:Key", {}),
    "a class that is a list": ("dataclass", ["x"], {}),
    "a codec without end": ("x" * 101, f"{HERE}:Key", {}),
    "a class without end": ("dataclass", "x" * 1_001, {}),
    "fields in a list": ("dataclass", f"{HERE}:Key", ["number", "text"]),
    "items in a list": ("namedtuple", f"{HERE}:Point", [1, 2]),
    "a member by its value": ("enum", f"{HERE}:Level", 1),
    "flags by name": ("flag", f"{HERE}:Permission", "READ"),
    "a bool of flags": ("flag", f"{HERE}:Permission", True),
    "a path in bytes": ("path", "pathlib:PosixPath", b"/"),
}


@pytest.mark.parametrize("items", STRANGE.values(), ids=STRANGE)
def test_what_is_no_value_of_a_class_is_malformed(items: tuple[Any, ...]) -> None:
    with pytest.raises(MalformedPayload):
        unpack(msgpack.packb([msgpack.ExtType(Ext.VALUE, b""), *items]))


def test_flags_of_many_bits_are_malformed() -> None:
    data = pack(CodedValue("flag", f"{HERE}:Mode", 1 << 100_000))
    with pytest.raises(MalformedPayload):
        unpack(data)


@pytest.mark.parametrize(
    ("codec", "name", "state", "missing", "unknown"),
    [
        ("dataclass", "Key", {"number": 1}, ("text",), ()),
        ("dataclass", "Key", {"number": 1, "text": "", "more": 1, "__class__": 1}, (), ("__class__", "more")),
        ("dataclass", "Key", {"number": 1, 5: 1}, ("text",), ("5",)),
        ("dataclass", "Order", {"id": 1, "lines": [], "total": 1, "factor": 1, "kind": 1}, (), ("factor", "kind")),
        ("namedtuple", "Point", {"x": 1}, ("y",), ()),
        ("enum", "Colour", "GREEN", (), ("GREEN",)),
        ("enum", "Colour", "__init__", (), ("__init__",)),
        ("flag", "Permission", 64, (), ("the flags 0x40",)),
        ("flag", "Conforming", 3, (), ("the flags 0x3",)),
    ],
)
def test_a_class_that_has_other_fields_than_the_value_is_named_with_what_differs(
    codec: str, name: str, state: Any, missing: tuple[str, ...], unknown: tuple[str, ...]
) -> None:
    with pytest.raises(FieldsDiffer) as caught:
        unpack(packed(codec, f"{HERE}:{name}", state))
    assert (caught.value.missing, caught.value.unknown) == (missing, unknown)
    assert all(each in str(caught.value) for each in (f"{HERE}.{name}", *missing, *unknown, "run the same version"))
    assert sample_classes.ran == []


def test_a_difference_of_many_fields_is_said_in_few_words() -> None:
    with pytest.raises(FieldsDiffer, match=r"and 9990 more") as caught:
        unpack(packed("dataclass", f"{HERE}:Empty", {"x" * 200 + str(number): 1 for number in range(10_000)}))
    assert len(str(caught.value)) < 2_000


def test_an_unknown_codec_is_named_with_what_to_do() -> None:
    with pytest.raises(UnknownCodec, match=r"sample_classes\.Plain .* shop\.money, .*paceline\.codecs\.register"):
        unpack(packed("shop.money", f"{HERE}:Plain", {}))


def test_names_from_outside_change_no_terminal() -> None:
    name = "a\x1b[31m\nb:C"
    with pytest.raises(ClassUnavailable) as caught:
        unpack(packed("dataclass", name, {"\x1b": 1}))
    with pytest.raises(FieldsDiffer) as differs:
        unpack(packed("dataclass", f"{HERE}:Empty", {"\x1b[31m": 1}))
    shown = repr(payload.unpack_value(packed("dataclass", name, {"\x1b": "\n"})))
    assert all(text.isprintable() for text in (str(caught.value), str(differs.value), shown))


class Lazy(ModuleType):
    """As those of importlib.util.LazyLoader: it is loaded by the first look at it."""

    def __getattribute__(self, name: str) -> Any:
        sample_classes.ran.append("loaded")
        return Key


class Asked(type):
    def __getattr__(cls, name: str) -> Any:
        sample_classes.ran.append("asked")
        return Key


def test_looking_for_a_class_runs_no_code_of_modules_and_metaclasses(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = ModuleType("asked_module")
    asked.__getattr__ = lambda name: sample_classes.ran.append("asked")  # type: ignore[method-assign]
    asked.Meta = Asked("Meta", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "asked_module", asked)
    monkeypatch.setitem(sys.modules, "lazy_module", Lazy("lazy_module"))
    monkeypatch.setitem(sys.modules, "no_module", Plain())
    sample_classes.ran.clear()
    for name in (
        "asked_module:Order",
        "asked_module:Meta.Order",
        "asked_module:Meta",
        "lazy_module:Key",
        "no_module:Key",
    ):
        with pytest.raises(ClassUnavailable):
            unpack(packed("dataclass", name, {"number": 1, "text": ""}))
    monkeypatch.undo()
    assert sample_classes.ran == []


def test_what_a_key_of_a_class_raises_is_malformed() -> None:
    data = b"\x81" + packed("dataclass", f"{HERE}:Unhashable", {"value": 1}) + b"\x01"
    with pytest.raises(MalformedPayload, match="LookupError"):
        unpack(data)
    with pytest.raises(MalformedPayload):
        unpack(b"\x81" + packed("dataclass", f"{HERE}:Box", {"content": []}) + b"\x01")


@pytest.mark.parametrize("claim", [b"\xdf\x7f\xff\xff\xff", b"\xdd\x7f\xff\xff\xff", b"\xdf\x00\x0f\xff\xff\xa1x"])
def test_claims_that_are_not_there_cost_little(claim: bytes) -> None:
    head = packed("dataclass", f"{HERE}:Box", None)[:-1]
    for data in (
        head + claim,
        (head + b"\x81\xa7content") * 300 + claim,
        b"\xdc\x01\x00" + head + claim + bytes(5_000),
    ):
        tracemalloc.start()
        try:
            with pytest.raises(MalformedPayload):
                unpack(data)
            assert tracemalloc.get_traced_memory()[1] < 40 << 20
        finally:
            tracemalloc.stop()


@given(value=values, data=st.data())
@settings(DETERMINISTIC, max_examples=200)
def test_one_changed_byte_raises_only_payload_errors_and_imports_nothing(value: Any, data: st.DataObject) -> None:
    changed = bytearray(pack(value))
    changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    sample_classes.ran.clear()
    before = len(sys.modules)
    for read in (unpack, payload.unpack_value):
        try:
            read(bytes(changed))
        except PayloadError:
            pass
    assert (sample_classes.ran, len(sys.modules)) == ([], before)
