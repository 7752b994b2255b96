"""Exceptions travel: between processes by pickle, and into reports by copy."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

import paceline
from paceline import errors
from paceline.errors import TaskExpired
from paceline_protocol import errors as protocol_errors

VALUES: dict[type, Any] = {str: "some text", int: 7, float: 1.5, bytes: b"bytes"}
BY_NAME: dict[str, Any] = {
    "tried": ("a:1",),
    "unresolved": {"a:1": "why"},
    "earlier": ((1, datetime.now(UTC), "no"),),
    "missing": ("price",),
    "unknown": ("cost",),
}


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


def test_a_task_that_expired_by_its_deadline_is_not_told_of_expires_alone() -> None:
    assert "give it a later expires or deadline, whichever it has, or" in str(TaskExpired("2026-12-01 02:00:00+00:00"))


def test_whatever_a_result_may_raise_is_where_the_client_is() -> None:
    """So that nobody has to look for the one that a task has just ended with."""
    ends = {name for name, cls in vars(errors).items() if inspect.isclass(cls) and name.startswith(("Task", "Result"))}
    ends.discard("TasksCutShort")  # of a node
    assert ends <= set(paceline.__all__)
    assert all(getattr(paceline, name) is getattr(errors, name) for name in ends)
