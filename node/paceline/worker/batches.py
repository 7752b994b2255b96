"""How the arguments of several calls become those of one call of a function with ``batch``, and what it returns the
results of each.

Each of its parameters is given a list: what each call has for it, in the order of the calls. A parameter that none of
them gives keeps its default; one that some give has it for the others.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from paceline.errors import BadBatchResult, ConfigError
from paceline_protocol.forms import class_name

_VARIABLE: Final = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class BatchSignature:
    """The parameters of one function. Raises ConfigError if it can't take lists by them."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        try:
            signature = inspect.signature(function)
        except (TypeError, ValueError):
            raise ConfigError(
                f"{name} has batch, and Python can't tell its parameters; wrap it in a def that names them"
            ) from None
        parameters = signature.parameters.values()
        if not parameters or any(each.kind in _VARIABLE for each in parameters):
            raise ConfigError(
                f"{name} has batch, so each of its parameters is given a list; name them, without * and **, and have "
                "at least one"
            )
        self._signature: Final = signature

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """What one call gives, by parameter. Raises TypeError, as a call of the function does."""
        return self._signature.bind(*args, **kwargs).arguments

    def columns(self, calls: Sequence[Mapping[str, Any]]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of the call for all of these."""
        given = {name for call in calls for name in call}
        bound = self._signature.bind_partial()
        for name, parameter in self._signature.parameters.items():
            if name in given:
                bound.arguments[name] = [call.get(name, parameter.default) for call in calls]
        return bound.args, bound.kwargs


def results_of(name: str, returned: Any, count: int) -> list[Any]:
    """What each of ``count`` calls has of what the function returned. Raises BadBatchResult."""
    if isinstance(returned, str | bytes | bytearray | Mapping) or not hasattr(type(returned), "__len__"):
        raise BadBatchResult(name, count, f"a value of type {class_name(type(returned))}")
    if len(returned) != count:
        raise BadBatchResult(name, count, f"{len(returned)} results")
    return list(returned)
