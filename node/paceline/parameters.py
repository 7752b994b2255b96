"""Options whose values stand in the arguments of each call, as ``@task(fair_by="tenant")`` says: which parameter it is,
and what of its value travels.

The client reads it as it packs the call: the leader sees arguments as bytes alone. So a call by name, whose client does
not know the parameters, gives the option itself.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    """One parameter of a function, of whose value a call makes a text; or what is found in that by attributes and keys,
    as ``order.customer``. Raises ConfigError for one that is not there."""

    __slots__ = ("_default", "_index", "_keyword", "_path", "name")

    def __init__(self, function: Callable[..., Any], name: object, keyword: str) -> None:
        """``keyword``: of the option, as its user gave it."""
        named = [
            parameter
            for parameter in _parameters(function)
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        names = [parameter.name for parameter in named]
        whole, path = (name, ()) if not isinstance(name, str) else (name.split(".")[0], tuple(name.split(".")[1:]))
        if not isinstance(whole, str) or whole not in names or "" in path:
            there_are = ", ".join(names) or "none"
            raise ConfigError(
                f"{keyword} {shown(name)} can't be used: it names a parameter of the function, which has {there_are}"
            )
        found = named[names.index(whole)]
        self.name = whole
        self._path = path
        self._keyword = keyword
        self._index = -1 if found.kind is found.KEYWORD_ONLY else names.index(whole)
        self._default = None if found.default is found.empty else found.default

    def text(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """What travels of its value: the text of a str, an int, a UUID and the like; of what is too long for a key, or
        not printable, a digest. "" for None, and for a call that leaves it out. Raises ConfigError for a value of which
        there is no text that is the same in every process."""
        value = args[self._index] if 0 <= self._index < len(args) else kwargs.get(self.name, self._default)
        for part in self._path:
            value = self._part(value, part)
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
        return _bounded(text)

    def _part(self, value: Any, part: str) -> Any:
        if value is None:
            return None
        try:
            return value[part] if isinstance(value, Mapping) else getattr(value, part)
        except (LookupError, AttributeError):
            raise ConfigError(
                f"{self._keyword} {'.'.join((self.name, *self._path))!r} can't be used for this call: {shown(value)} "
                f"has no {part!r}"
            ) from None


class Parameters:
    """Several of them, of whose values together a call makes one text. Raises ConfigError."""

    __slots__ = ("_each", "text_of_names")

    def __init__(self, function: Callable[..., Any], names: object, keyword: str) -> None:
        """``names``: of one, or of several."""
        given = list(names) if isinstance(names, Iterable) and not isinstance(names, str) else [names]
        if not given:
            raise ConfigError(f"{keyword} {shown(names)} can't be used: it names no parameter; leave it out")
        self._each = [Parameter(function, name, keyword) for name in given]
        self.text_of_names = ",".join(map(str, given))
        if len(self.text_of_names) > KEY_CHARS:
            raise ConfigError(f"{keyword} can't be used: its names have more than {KEY_CHARS} characters together")

    def text(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        """What travels of their values: of several with commas between them, and a backslash before each of their own.
        "" if all are None."""
        texts = [each.text(args, kwargs) for each in self._each]
        if len(texts) == 1 or not any(texts):
            return texts[0]
        return _bounded(",".join([text.replace("\\", "\\\\").replace(",", "\\,") for text in texts]))


def _bounded(text: str) -> str:
    """A text as a key can have it: a digest of what is too long for one, or not printable."""
    if len(text) <= KEY_CHARS and (text.isprintable() or not text):
        return text
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()


def parameters_of(target: object) -> dict[str, Parameter | Parameters] | None:
    """Key of an option -> the parameter in which it stands, of what can be submitted."""
    return getattr(target, "argument_options", None)


def with_parameters(
    parameters: dict[str, Parameter | Parameters] | None,
    options: Options | None,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
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
