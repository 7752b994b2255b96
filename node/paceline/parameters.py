"""Options whose values stand in the arguments of each call, as ``@task(fair_by="tenant")`` says: which parameter it is,
and what of its value travels.

The client reads it as it packs the call: the leader sees arguments as bytes alone. So a call by name, whose client does
not know the parameters, gives the option itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

from paceline.errors import ConfigError
from paceline.options import shown
from paceline_protocol.messages.records import Options
from paceline_protocol.option_types import KEY_CHARS

_DIGEST_BYTES: Final = 16
_OF_ANY: Final[Any] = object.__repr__
_NO_KEYS: Final = (list, dict, set, frozenset, tuple, bytes, bytearray)
"""What has a text that is long, or not the same in every process."""


class Parameter:
    """One parameter of a function, of whose value a call makes a text. Raises ConfigError for one that is not there."""

    __slots__ = ("_default", "_index", "_keyword", "name")

    def __init__(self, function: Callable[..., Any], name: object, keyword: str) -> None:
        """``keyword``: of the option, as its user gave it."""
        named = [
            parameter
            for parameter in _parameters(function)
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        names = [parameter.name for parameter in named]
        if not isinstance(name, str) or name not in names:
            there_are = ", ".join(names) or "none"
            raise ConfigError(
                f"{keyword} {shown(name)} can't be used: it names a parameter of the function, which has {there_are}"
            )
        found = named[names.index(name)]
        self.name = name
        self._keyword = keyword
        self._index = -1 if found.kind is found.KEYWORD_ONLY else names.index(name)
        self._default = None if found.default is found.empty else found.default

    def text(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """What travels of its value: the text of a str, an int, a UUID and the like; of what is too long for a key, or
        not printable, a digest. "" for None, and for a call that leaves it out. Raises ConfigError for a value of which
        there is no text that is the same in every process."""
        value = args[self._index] if 0 <= self._index < len(args) else kwargs.get(self.name, self._default)
        if value is None:
            return ""
        if isinstance(value, str):
            text = str.__str__(value)  # of a member of a StrEnum its string
        elif isinstance(value, _NO_KEYS) or type(value).__repr__ == _OF_ANY:
            raise ConfigError(
                f"{self._keyword} {self.name!r} can't be used for this call: its value is {shown(value)}, and has to "
                "be a string, a number, a UUID or the like, or None"
            )
        else:
            text = str(value)
        if len(text) <= KEY_CHARS and (text.isprintable() or not text):
            return text
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()


def parameters_of(target: object) -> dict[str, Parameter] | None:
    """Key of an option -> the parameter in which it stands, of what can be submitted."""
    return getattr(target, "argument_options", None)


def with_parameters(
    parameters: dict[str, Parameter] | None, options: Options | None, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Options | None:
    """The options of a call, with those that stand in its arguments; what the options say themselves counts more. The
    same object if there are none. Raises ConfigError."""
    if not parameters:
        return options
    found = options
    for key, parameter in parameters.items():
        if not (options and key in options) and (text := parameter.text(args, kwargs)):
            found = {**(found or {}), key: text}
    return found


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # written in C
        return []
