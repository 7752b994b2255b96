"""What can be submitted: a task, a task with options, or the name of one that this process can't import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias, runtime_checkable

from paceline.options import TaskOptions
from paceline_protocol.messages import PRIORITY_DEFAULT, TASK_ID_BYTES, Options


@runtime_checkable
class TaskLike(Protocol):
    """What can be submitted besides a name: a task of ``@paceline.task``, or a :class:`NamedTask`."""

    @property
    def name(self) -> str: ...
    @property
    def priority(self) -> int: ...
    @property
    def wire_options(self) -> Options | None: ...


@dataclass(frozen=True, slots=True)
class NamedTask(TaskOptions):
    """A task that this process can't import, with options for its calls: ``NamedTask("reports.build", priority=9)``.

    Raises ConfigError for options that can't be used."""

    name: str


Target: TypeAlias = TaskLike | str


def parts_of(target: object) -> tuple[str, int, Options | None]:
    """(name, priority, options) of a call. Raises TypeError for what is no :data:`Target`."""
    if isinstance(target, str):
        return target, PRIORITY_DEFAULT, None
    try:
        return target.name, target.priority, target.wire_options  # type: ignore[attr-defined]
    except AttributeError:
        what = getattr(target, "__qualname__", None) or repr(target)
        advice = "decorate it with @paceline.task" if callable(target) else "submit a task or the name of one"
        raise TypeError(f"{what} is not a task; {advice}") from None


def task_id_of(text: str) -> bytes:
    """The id of a task as people write it, with dashes or without. Raises ValueError."""
    try:
        task_id = bytes.fromhex(text.replace("-", ""))
    except ValueError:
        task_id = b""
    if len(task_id) != TASK_ID_BYTES:
        digits = 2 * TASK_ID_BYTES
        raise ValueError(f"{text!r} is no id of a task: {digits} hexadecimal digits, as `paceline submit` prints them")
    return task_id
