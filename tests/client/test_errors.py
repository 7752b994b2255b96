"""Exceptions travel: between processes by pickle, and into reports by copy."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from paceline import errors
from paceline_protocol import errors as protocol_errors

VALUES: dict[type, Any] = {str: "some text", int: 7, float: 1.5, bytes: b"bytes"}
BY_NAME: dict[str, Any] = {"tried": ("a:1",), "unresolved": {"a:1": "why"}, "earlier": ((1, datetime.now(UTC), "no"),)}


def made() -> Iterator[BaseException]:
    """One of each class, with a value for each parameter."""
    for module in (errors, protocol_errors):
        for _, cls in inspect.getmembers(module, inspect.isclass):
            if issubclass(cls, BaseException) and cls.__module__ == module.__name__:
                yield cls(*arguments(cls))


def arguments(cls: type[BaseException]) -> list[Any]:
    init = cls.__init__
    if not inspect.isfunction(init):  # Exception's own
        return ["some text"]
    hints = inspect.get_annotations(init, eval_str=True)
    given = {name: kind for name, kind in hints.items() if name not in ("return", *(init.__kwdefaults__ or ()))}
    return [BY_NAME[name] if name in BY_NAME else VALUES[kind] for name, kind in given.items()]


ALL = list(made())


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_an_exception_that_is_pickled_or_copied_has_the_same_text_and_attributes(error: BaseException) -> None:
    error.add_note("seen in a report")
    copies = [pickle.loads(pickle.dumps(error, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for other in [*copies, copy.copy(error), copy.deepcopy(error)]:
        assert type(other) is type(error)
        assert str(other) == str(error)
        assert other.args == error.args
        assert vars(other) == vars(error)
