"""Which class a name means in this process, and under which name another process finds a class.

A name comes from outside. Nothing is imported for it, and no attribute is read in a way that can run code: a module may
have a ``__getattr__``, or be one that is loaded when it is first looked at; a class may have a metaclass. So the
dictionaries of both are read, past all that.

A script that was started is ``__main__`` here, and has the name of its file in every other process.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Final

from paceline.importing import RUN_AS, imported_name
from paceline_protocol.coded import MOST_CLASS_CHARS, shown_class
from paceline_protocol.errors import ClassUnavailable
from paceline_protocol.forms import class_name, module_of

_names_in: Final = type.__dict__["__dict__"].__get__
_mro_of: Final = type.__dict__["__mro__"].__get__


class Nameless(Exception):
    """No other process finds this class. The text says what to do."""


def name_of(cls: type) -> str:
    """Under which another process finds a class, as ``shop.orders:Order``. Raises Nameless."""
    module, name = module_of(cls), class_name(cls)
    if "<locals>" in name:
        raise Nameless("its class is defined in a function, where no other process finds it; move it to module level")
    if module in RUN_AS:
        started = imported_name(_namespace(sys.modules.get(module)) or {})
        if started is None:
            raise Nameless("its class was typed at a prompt, where no worker can import it; put it in a .py file")
        module = started
    named = f"{module}:{name}"
    if len(named) > MOST_CLASS_CHARS:
        raise Nameless(f"the name of its class has more than {MOST_CLASS_CHARS} characters; give it a shorter one")
    if _found(module, name) is not cls:
        raise Nameless(
            f"its class is not what is found as {shown_class(named)}; give it the name of the module and the variable "
            "that it is in, or register a codec for it (paceline.codecs.register)"
        )
    return named


def find(codec: str, named: str) -> type:
    """The class of this name. Raises ClassUnavailable."""
    module, _, name = named.partition(":")
    found = _found(module, name)
    if found is not None:
        return found
    if _module(module) is None:
        raise ClassUnavailable(
            codec,
            named,
            f"the module {shown_class(module)} is not imported in this process, and nothing is imported for a value "
            "that comes from elsewhere; import it in the module of the task, and where a result is asked for",
        )
    raise ClassUnavailable(
        codec,
        named,
        "its module has no such class here; run the same version of it where the value is sent and where it arrives",
    )


def in_class(cls: type, name: str) -> Any:
    """What a class has under this name, its bases included, as it stands there. None if it has not."""
    for each in _mro_of(cls):
        found = _names_in(each).get(name)
        if found is not None:
            return found
    return None


def own_names(cls: type) -> Mapping[str, Any]:
    """What the class has itself."""
    names: Mapping[str, Any] = _names_in(cls)
    return names


def bases_of(cls: type) -> tuple[type, ...]:
    """The class, and all that it inherits from."""
    bases: tuple[type, ...] = _mro_of(cls)
    return bases


def _found(module: str, name: str) -> type | None:
    namespace = _namespace(_module(module))
    if namespace is None:
        return None
    first, *others = name.split(".")
    found = namespace.get(first)
    for part in others:
        if not _is_class(found):
            return None
        found = _names_in(found).get(part)
    return found if _is_class(found) else None


def _is_class(found: object) -> bool:
    """isinstance() would ask the object itself for its class."""
    return issubclass(type(found), type)


def _module(name: str) -> object:
    return sys.modules.get("__main__") if name == _name_of_main() else sys.modules.get(name)


def _namespace(module: object) -> dict[str, Any] | None:
    """What a module has. None for what is no module, as a module may put anything in its place."""
    if not issubclass(type(module), ModuleType):
        return None
    namespace: dict[str, Any] = object.__getattribute__(module, "__dict__")
    return namespace


_main: tuple[object, str | None] = (None, None)


def _name_of_main() -> str | None:
    """The name that the script which runs here has in other processes."""
    global _main
    module, name = _main
    now = sys.modules.get("__main__")
    if module is not now:
        name = imported_name(_namespace(now) or {})
        _main = now, name
    return name
