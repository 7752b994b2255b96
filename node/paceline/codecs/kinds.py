"""The kinds of classes that have a codec by themselves, and what is known of one class of each.

A plan is made once for a class, and says how its values are taken apart and made again. It has no reference to the
class. What keeps a class from having one is said when a value is sent, and again where one arrives: whoever sends may
be anybody.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping
from enum import Enum, EnumMeta, Flag
from functools import cached_property
from types import MemberDescriptorType
from typing import Any, Final, Protocol

from paceline.codecs.finding import bases_of, in_class, own_names
from paceline_protocol.coded import DATACLASS, ENUM, FLAG, NAMED_TUPLE, PATH
from paceline_protocol.errors import ClassUnavailable, FieldsDiffer
from paceline_protocol.forms import Unserializable

MOST_FLAG_BITS: Final = 1_024
MOST_COMBINATIONS: Final = 65_536
"""Of one class of flags: Python keeps each that there was."""
REGISTER: Final = "register a codec for it (paceline.codecs.register)"


class Unfit(Exception):
    """The class is of a kind that has a codec, and its values can't be made from their fields. The text says why."""


class ClassPlan(Protocol):
    """How the values of one class travel."""

    codec: str

    def state_of(self, value: Any) -> object:
        """Raises Unserializable."""
        ...

    def build(self, cls: Any, named: str, state: Any) -> object:
        """Raises ValueError for what is no state of this kind, and PayloadError."""
        ...

    def fields_of(self, value: Any) -> Mapping[str, object] | None:
        """What is in it. Raises Unserializable."""
        ...


def plan_of(cls: type) -> ClassPlan | None:
    """None for a class of no kind of Python's own. Raises Unfit."""
    if issubclass(type(cls), EnumMeta):
        return FlagPlan() if Flag in bases_of(cls) else EnumPlan() if Enum in bases_of(cls) else None
    if tuple in bases_of(cls):
        names = in_class(cls, "_fields")
        return NamedTuplePlan(cls, names) if _are_names(names) else None
    if cls in PATHS.values():
        return PathPlan()
    fields = in_class(cls, "__dataclass_fields__")
    return FieldsPlan(DATACLASS, cls, _names_of(fields)) if type(fields) is dict else None


def _are_names(names: object) -> bool:
    return type(names) is tuple and all(type(name) is str for name in names)


def _names_of(fields: Mapping[str, object]) -> tuple[str, ...]:
    """The fields of a dataclass that its values have: neither ClassVar nor InitVar."""
    kept = [
        name
        for name, field in fields.items()
        if isinstance(field, dataclasses.Field) and getattr(field, "_field_type", None) is _FIELD
    ]
    return tuple(kept)


_FIELD: Final = getattr(dataclasses, "_FIELD")  # noqa: B009 - a name that type checkers do not know


# --- classes with fields ----------------------------------------------------------------------------------------


class FieldsPlan:
    """Of a class whose values are their fields. ``names``: these. A value is made without code of its class."""

    def __init__(self, codec: str, cls: type, names: tuple[str, ...], computed: frozenset[str] = frozenset()) -> None:
        """``computed``: attributes beside the fields that are computed again where they are missing."""
        self.codec = codec
        self._names = names
        self._known = frozenset(names)
        self._attributes = Attributes(cls, self._known, computed)
        check_is_made_of_fields(cls)
        for name in names:
            found = in_class(cls, name)
            if hasattr(type(found), "__set__") and type(found) is not MemberDescriptorType:
                raise Unfit(f"its field {name} is a property, which runs code when it is set; {REGISTER}")

    def state_of(self, value: Any) -> dict[str, object]:
        self._attributes.check(value)
        return self.fields_of(value)

    def fields_of(self, value: Any) -> dict[str, object]:
        try:
            return {name: getattr(value, name) for name in self._names}
        except Exception as error:  # noqa: BLE001 - its class may have a property in the place of one
            raise Unserializable(value, f"a field of it can't be read ({type(error).__name__}: {error})") from None

    def build(self, cls: Any, named: str, state: Any) -> object:
        check_fields(named, self._known, state)
        made: object = object.__new__(cls)
        for name, item in state.items():
            object.__setattr__(made, name, item)
        return made


def check_is_made_of_fields(cls: type) -> None:
    """Raises Unfit for a class that is an exception or a dict, too, or that is abstract."""
    try:
        object.__new__(cls)
    except TypeError as error:
        raise Unfit(f"its values are more than their fields ({error}); {REGISTER}") from None


def check_fields(named: str, known: frozenset[str], state: Any) -> None:
    """Raises FieldsDiffer if a state has not the fields of its class, ValueError if it has none."""
    if type(state) is not dict:
        raise ValueError("the state of a value with fields is a map of them")
    if state.keys() != known:
        names = [name if type(name) is str else repr(name)[:100] for name in state]
        raise FieldsDiffer(
            named,
            tuple(sorted(known.difference(names))),
            tuple(sorted(name for name in names if name not in known)),
        )


_PASSED_OVER: Final = frozenset(("__orig_class__",))
"""What Python itself notes at a value: of which ``Box[int]`` it was made."""


class Attributes:
    """What a value of a class may have beside its fields, and what may not be, as it would be lost."""

    def __init__(self, cls: type, fields: frozenset[str], computed: frozenset[str] = frozenset()) -> None:
        if in_class(cls, "__del__") is not None:
            raise Unfit(f"its class does something when a value is dropped (__del__); {REGISTER}")
        self._fields = fields
        found = {name: item for each in bases_of(cls) for name, item in own_names(each).items()}
        self._cached = _PASSED_OVER | {name for name, item in found.items() if type(item) is cached_property}
        slots = [(name, item) for name, item in found.items() if type(item) is MemberDescriptorType]
        self._other_slots = [each for each in slots if each[0] not in fields and each[0] not in computed]
        self._has_dict = "__dict__" in found

    def check(self, value: Any) -> None:
        """Raises Unserializable for a value that has more than its fields."""
        if self._has_dict:
            for name in value.__dict__:
                if name not in self._fields and name not in self._cached:
                    self._refuse(value, name)
        for name, slot in self._other_slots:
            try:
                slot.__get__(value)  # and not the attribute, which a __getattr__ may compute
            except AttributeError:
                continue
            self._refuse(value, name)

    def _refuse(self, value: Any, name: str) -> None:
        raise Unserializable(
            value, f"it has {name!r} beside its fields, which would be lost; make it one, or {REGISTER}"
        )


class NamedTuplePlan:
    """Of a NamedTuple, or a namedtuple of collections."""

    codec = NAMED_TUPLE

    def __init__(self, cls: type, names: tuple[str, ...]) -> None:
        self._names = names
        self._known = frozenset(names)
        self._attributes = Attributes(cls, frozenset())
        if len(self._known) != len(names):
            raise Unfit(f"it has two fields of one name; {REGISTER}")

    def state_of(self, value: Any) -> dict[str, object]:
        self._attributes.check(value)
        if tuple.__len__(value) != len(self._names):
            raise Unserializable(value, f"it has {tuple.__len__(value)} items, and its class {len(self._names)} fields")
        return self.fields_of(value)

    def fields_of(self, value: Any) -> dict[str, object]:
        return dict(zip(self._names, tuple.__iter__(value), strict=False))

    def build(self, cls: Any, named: str, state: Any) -> object:
        check_fields(named, self._known, state)
        made: object = tuple.__new__(cls, [state[name] for name in self._names])
        return made


# --- enums ------------------------------------------------------------------------------------------------------


class EnumPlan:
    """A member travels as its name."""

    codec = ENUM

    def state_of(self, value: Any) -> str:
        name: object = value._name_
        if type(name) is not str or own_names(type(value))["_member_map_"].get(name) is not value:
            raise Unserializable(value, f"it is no member of its class under its own name; {REGISTER}")
        return name

    def fields_of(self, value: Any) -> None:
        return None

    def build(self, cls: Any, named: str, state: Any) -> object:
        if type(state) is not str:
            raise ValueError("the state of a member of an enum is its name")
        member: object = own_names(cls)["_member_map_"].get(state)
        if member is None:
            raise FieldsDiffer(named, (), (state,))
        return member


class FlagPlan:
    """A flag, or several of one class together, travels as its number."""

    codec = FLAG

    def state_of(self, value: Any) -> int:
        number = value._value_
        if type(number) is not int or number.bit_length() > MOST_FLAG_BITS:
            raise Unserializable(value, f"it is no number of up to {MOST_FLAG_BITS} bits; {REGISTER}")
        return number

    def fields_of(self, value: Any) -> None:
        return None

    def build(self, cls: Any, named: str, state: Any) -> object:
        if type(state) is not int or state.bit_length() > MOST_FLAG_BITS:
            raise ValueError(f"the state of a flag is a number of up to {MOST_FLAG_BITS} bits")
        known = own_names(cls)["_value2member_map_"]
        made: Any = known.get(state)
        if made is not None:
            member: object = made
            return member
        if len(known) >= MOST_COMBINATIONS:
            raise ClassUnavailable(FLAG, named, f"this process has met {MOST_COMBINATIONS} combinations of its flags")
        try:
            made = _combined(cls, state)
        except ValueError:
            made = None
        if type(made) is not cls or made._value_ != state:
            raise FieldsDiffer(named, (), (f"the flags {state:#x}",))
        return made


_combined: Final = Flag.__dict__["_missing_"].__func__
"""How Python itself makes a value of several flags. A class may have a _missing_ of its own, which is not called."""


# --- paths ------------------------------------------------------------------------------------------------------

PATHS: Final[Mapping[str, type[pathlib.PurePath]]] = {
    f"pathlib:{cls.__name__}": cls
    for cls in (pathlib.PosixPath, pathlib.WindowsPath, pathlib.PurePosixPath, pathlib.PureWindowsPath)
}
"""As they travel, whatever the module is that a version of Python has them in."""


class PathPlan:
    """A path travels as its text."""

    codec = PATH

    def state_of(self, value: Any) -> str:
        return str(value)

    def fields_of(self, value: Any) -> None:
        return None

    def build(self, cls: Any, named: str, state: Any) -> object:
        if type(state) is not str:
            raise ValueError("the state of a path is its text")
        try:
            made: object = cls(state)
        except NotImplementedError as error:  # a path of Windows, elsewhere
            raise ClassUnavailable(PATH, named, f"{error}; send a pure path, or its text") from None
        return made
