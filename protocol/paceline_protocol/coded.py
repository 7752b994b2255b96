"""Values of classes as they travel: the name of a codec, the name of a class, and a state.

Here is what a process knows of such a value that has not its class, or does not want it: a node, the bridge, a command
that shows it. Which classes have codecs, and how a value is made again, is in the package ``paceline.codecs``, of which
clients and workers alone know: nothing here looks for a class.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Protocol

from paceline_protocol.texts import cut, one_line

DATACLASS: Final = "dataclass"
ENUM: Final = "enum"
FLAG: Final = "flag"
NAMED_TUPLE: Final = "namedtuple"
PATH: Final = "path"
ATTRS: Final = "attrs"
PYDANTIC: Final = "pydantic"
"""The codecs that paceline has by itself. The names are in logs: never change one, never use one for something else."""
NAMES: Final = frozenset((DATACLASS, ENUM, FLAG, NAMED_TUPLE, PATH, ATTRS, PYDANTIC))
_FIELDED: Final = frozenset((DATACLASS, NAMED_TUPLE, ATTRS))
"""Those whose state is a map of fields by name."""

MOST_NAME_CHARS: Final = 100
"""Of the name of a codec."""
MOST_CLASS_CHARS: Final = 1_000
"""Of the name of a class, with its module: ``shop.orders:Order``."""
_SHOWN_CHARS: Final = 200


class Codecs(Protocol):
    """What a process that packs values of classes knows of them."""

    def form_of(self, value: Any) -> tuple[str, str, object] | None:
        """(codec, class, state). None: there is no codec for it. Raises Unserializable, which says what to do."""
        ...

    def fields_of(self, value: Any) -> Mapping[str, object] | None:
        """What it holds, for who counts bytes before it is packed. None: nothing is known of that. Raises nothing."""
        ...


class CodedValue:
    """A value of a class as it travels. ``codec``: the name of its codec. ``class_name``: its module and its name, as
    ``shop.orders:Order``. ``state``: what the codec has made of it.

    Packed, it is the value again that it was made of.
    """

    __slots__ = ("_hash", "class_name", "codec", "state")

    def __init__(self, codec: str, class_name: str, state: Any) -> None:
        self.codec: Final = codec
        self.class_name: Final = class_name
        self.state: Final[Any] = state
        self._hash: int | None = None

    @property
    def fields(self) -> dict[str, Any] | None:
        """The fields by name, of what has fields."""
        return fields_in(self.codec, self.state)

    @property
    def plain(self) -> Any:
        """Its fields by name, or its state: for who knows nothing of classes."""
        fields = self.fields
        return self.state if fields is None else fields

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CodedValue):
            return False
        return (self.codec, self.class_name, self.state) == (other.codec, other.class_name, other.state)

    def __hash__(self) -> int:
        """That of its state, as the value may be a key. Made once: a key may hold a map with such keys, which may hold
        maps with such keys, and each of these maps asks for it."""
        if self._hash is None:
            self._hash = hash((self.codec, self.class_name, _hashable(self.state)))
        return self._hash

    def __repr__(self) -> str:
        name = shown_class(self.class_name)
        fields = self.fields
        if fields is not None:
            inside = [f"{key if key.isidentifier() else repr(key)}={value!r}" for key, value in fields.items()]
            return f"{name}({', '.join(inside)})"
        if self.codec == ENUM and type(self.state) is str and self.state.isidentifier():
            return f"{name}.{self.state}"
        return f"{name}({self.state!r})"


def fields_in(codec: str, state: Any) -> dict[str, Any] | None:
    """The fields by name in a state. None: it has none, or is no state of this codec."""
    if codec == PYDANTIC:
        fields, extra = (state[0], state[2]) if type(state) is list and len(state) == 4 else (None, None)
        found = fields if type(extra) is not dict or type(fields) is not dict else {**fields, **extra}
    else:
        found = state if codec in _FIELDED else None
    return found if type(found) is dict and all(type(name) is str for name in found) else None


def _hashable(state: Any) -> Any:
    kind = type(state)
    if kind is dict:
        return tuple([(key, _hashable(item)) for key, item in state.items()])
    return tuple(map(_hashable, state)) if kind is list else state


def shown_class(class_name: str) -> str:
    """The name of a class as people write it, fit for a line: it is of somebody else."""
    return cut(one_line(class_name.replace(":", ".", 1)), _SHOWN_CHARS)
