"""Codecs for classes that a user has registered."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from paceline.errors import ConfigError
from paceline.options import shown
from paceline_protocol.coded import MOST_CLASS_CHARS, MOST_NAME_CHARS, NAMES, shown_class
from paceline_protocol.errors import CodecFailed
from paceline_protocol.forms import FORMS, Unserializable, class_name, module_of, qualified_name

T = TypeVar("T")

_SENT_AS_THEY_ARE: Final = frozenset((type(None), bool, int, float, str, bytes, bytearray, memoryview, list, dict))


class RegisteredPlan:
    """How the values of one class travel, by a user's own functions."""

    def __init__(self, name: str, cls: type, encode: Callable[[Any], Any], decode: Callable[[Any], Any]) -> None:
        self.codec = name
        self.class_name = f"{module_of(cls)}:{class_name(cls)}"[:MOST_CLASS_CHARS]
        self._cls = cls
        self._encode = encode
        self._decode = decode

    def state_of(self, value: Any) -> object:
        try:
            return self._encode(value)
        except Exception as error:
            raise Unserializable(value, f"its codec {self.codec!r} raised {_said(error)}") from error

    def fields_of(self, value: Any) -> Mapping[str, object] | None:
        return None  # to encode it twice may cost as much as all the rest

    def build(self, named: str, state: Any) -> object:
        try:
            made: object = self._decode(state)
        except Exception as error:
            raise CodecFailed(self.codec, named, f"decode raised {_said(error)}") from error
        if not isinstance(made, self._cls):
            raise CodecFailed(self.codec, named, f"decode gave one of type {qualified_name(type(made))}")
        return made

    def is_of_same_name(self, cls: type) -> bool:
        """Whether a class is this one, or takes its place, as after a reload."""
        return self.class_name == f"{module_of(cls)}:{class_name(cls)}"[:MOST_CLASS_CHARS]


_SHOWN_CHARS: Final = 500


def _said(error: Exception) -> str:
    try:
        text = str(error)
    except Exception as broken:  # noqa: BLE001 - as above
        text = f"(its __str__ raised {class_name(type(broken))})"
    return f"{class_name(type(error))}: {text[:_SHOWN_CHARS]}"


by_class: Final[dict[type, RegisteredPlan]] = {}
by_name: Final[dict[str, RegisteredPlan]] = {}


def register(name: str, cls: type[T], encode: Callable[[T], Any], decode: Callable[[Any], T]) -> None:
    """Have values of ``cls`` sent and returned: ``encode(value)`` makes of one what can be sent, plain values or values
    of classes that have codecs, and ``decode`` makes it again of that.

    Call it in the module of the task, beside the class, so that workers and clients both have it. ``name`` says which
    codec a value travels by, so it stays the same whatever becomes of the class: a word of your own, as ``shop.money``.
    Of ``cls`` itself alone: a subclass is another class. It takes the place of a codec that the class has by itself, as
    a dataclass. ``decode`` gets whatever has arrived, may be called twice for one value, and should do nothing but make
    it.

    Raises ConfigError for what can't be registered, as if the name or the class has another codec.
    """
    if not isinstance(name, str) or not 0 < len(name) <= MOST_NAME_CHARS or not name.isprintable() or " " in name:
        raise ConfigError(
            f"{shown(name)} can't name a codec: a name has 1 to {MOST_NAME_CHARS} printable characters and no spaces"
        )
    if name in NAMES:
        raise ConfigError(f"{name!r} is a codec of paceline's own; give yours another name, as 'shop.{name}'")
    if not isinstance(cls, type):
        raise ConfigError(f"a codec is for a class, not for {shown(cls)}")
    if cls in _SENT_AS_THEY_ARE or cls in FORMS:
        raise ConfigError(f"values of {class_name(cls)} are sent as they are, and need no codec")
    if not callable(encode) or not callable(decode):
        raise ConfigError("encode and decode are functions: of a value to what can be sent, and of that to the value")
    known = by_name.get(name)
    if known is not None and not known.is_of_same_name(cls):
        raise ConfigError(
            f"the codec {name!r} is that of {shown_class(known.class_name)}; give the one for {qualified_name(cls)} "
            "another name"
        )
    other = by_class.get(cls)
    if other is not None and other.codec != name:
        raise ConfigError(f"{qualified_name(cls)} has the codec {other.codec!r} already; register one of the two")
    by_name[name] = by_class[cls] = RegisteredPlan(name, cls, encode, decode)
