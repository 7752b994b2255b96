"""What can be submitted: a task, a task with options, or the name of one that this process can't import.

Everything of it that travels is checked here, before anything of the client knows of the call. Calls travel in batches:
one that can't be packed would be found out much later, by another thread, and in the company of others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol, Self, TypeAlias, Unpack, cast, runtime_checkable
from uuid import UUID

from paceline.client.inherited import inherited
from paceline.errors import ConfigError
from paceline.options import OptionChanges, OptionKeywords, TaskOptions, check_key, check_names, options_by_name, shown
from paceline.parent_deadline import PARENT
from paceline_protocol import fields
from paceline_protocol.forms import class_name
from paceline_protocol.limits import MAX_NAME_CHARS
from paceline_protocol.messages.records import PRIORITY_DEFAULT, PRIORITY_MAX, TASK_ID_BYTES, Options
from paceline_protocol.options import PRIORITY

GOOD_NAMES_LIMIT: Final = 4096

_BY_NAME: Final[Options] = {}
"""The options of a call that says nothing but a name."""
_good_names: set[str] = set()
"""Names that were looked at and can travel: a call costs one look into it. Begun anew at the limit."""


@runtime_checkable
class TaskLike(Protocol):
    """What can be submitted besides a name: a task of ``@paceline.task``, or a :class:`NamedTask`."""

    @property
    def name(self) -> str: ...
    @property
    def priority(self) -> int: ...
    @property
    def wire_options(self) -> Options | None: ...


@dataclass(frozen=True, slots=True, init=False)
class NamedTask(TaskOptions):
    """A task that this process can't import, with options for its calls: ``NamedTask("reports.build", priority=9)``.
    What is given counts, ``retries=0`` and ``time_limit=None`` too; the rest is as the nodes announce it for the name.

    Raises ConfigError for options that can't be used, and for what can't name a task."""

    name: str
    said: frozenset[str] = field(repr=False)
    """The options that are given, by their names."""

    def __init__(self, name: str, **options: Unpack[OptionKeywords]) -> None:
        check_names("NamedTask()", options, "name")
        TaskOptions.__init__(self, **options)  # super() does not find the class that slots=True makes anew
        check_key(options.get("unique_for"), options.get("idempotency_key"))
        object.__setattr__(self, "name", _name_of(name))
        object.__setattr__(self, "said", frozenset(options))
        object.__setattr__(self, "wire_options", options_by_name(self, self.said))

    def changed(self, changes: OptionChanges) -> Self:
        """See :meth:`TaskOptions.changed`: what is changed is given, too."""
        said = self.said.union(name for name, value in changes.items() if value is not None)
        chosen = TaskOptions.changed(TaskOptions(**self._given(self, self.said)), changes)
        return type(self)(self.name, **self._given(chosen, said))

    @staticmethod
    def _given(chosen: TaskOptions, names: Iterable[str]) -> OptionKeywords:
        return cast("OptionKeywords", {name: getattr(chosen, name) for name in names})


Target: TypeAlias = TaskLike | str
TaskId: TypeAlias = bytes | str | UUID
"""The id of a task: ``future.task_id``, or as people write it, in 32 hexadecimal digits."""


def parts_of(target: object) -> tuple[str, int, Options | None]:
    """(name, priority, options) of a call, as they can travel. Raises TypeError for what is no :data:`Target`, and
    ConfigError for a name, a priority or options that can't be used."""
    if isinstance(target, str):
        # The type too: a member of a StrEnum equals its string, and is in the set with it.
        name = target if target in _good_names and type(target) is str else _name_of(target)
        return name, PRIORITY_DEFAULT, _BY_NAME if PARENT.ask is None else inherited(_BY_NAME)
    try:
        name, priority, options = target.name, target.priority, target.wire_options  # type: ignore[attr-defined]
    except AttributeError:
        what = class_name(target) if isinstance(target, type) else getattr(target, "__qualname__", None)
        what = what if isinstance(what, str) else shown(target)
        advice = "decorate it with @paceline.task" if callable(target) else "submit a task or the name of one"
        raise TypeError(f"{what} is not a task; {advice}") from None
    if type(name) is not str or name not in _good_names:
        name = _name_of(name)
    # Nearly every call has the default: the same object, which one comparison tells.
    if priority is not PRIORITY_DEFAULT and (type(priority) is not int or not 0 <= priority <= PRIORITY_MAX):
        _refuse_priority(priority)
    if options is not None:
        options = _options_of(name, options)
    return name, priority, options if PARENT.ask is None else inherited(options)


def _name_of(name: object) -> str:
    """A name as it can travel: a member of a StrEnum is its string. Raises ConfigError."""
    if isinstance(name, str):
        plain = str.__str__(name)
        try:
            plain.encode()
        except UnicodeEncodeError:
            pass  # a lone surrogate, as of a name that was read from bytes
        else:
            if 0 < len(plain) <= MAX_NAME_CHARS:
                if len(_good_names) >= GOOD_NAMES_LIMIT:
                    _good_names.clear()
                _good_names.add(plain)
                return plain
    raise ConfigError(
        f"{shown(name)} can't name a task: a name is a string of 1 to {MAX_NAME_CHARS} characters that UTF-8 has; "
        "`paceline status` shows the names that nodes know"
    )


def _refuse_priority(priority: object) -> None:
    try:
        PRIORITY.type.to_wire(priority)
    except ValueError as error:
        raise ConfigError(f"priority {shown(priority)} can't be used: {error}") from None


def _options_of(name: str, options: Options) -> Options:
    """A copy, which stays as it was checked. Raises ConfigError."""
    try:
        fields.options(options)
    except ValueError as error:
        raise ConfigError(f"the wire_options of {name!r} can't be used: {error}") from None
    return dict(options)


def task_id_of(given: TaskId) -> bytes:
    """The id of a task as it travels. In hexadecimal digits it may have dashes. Raises ValueError, and TypeError for
    what is no id."""
    if isinstance(given, bytes):
        task_id = bytes(given)
    elif isinstance(given, str):
        try:
            task_id = bytes.fromhex(given.replace("-", ""))
        except ValueError:
            task_id = b""
    elif isinstance(given, UUID):
        task_id = given.bytes
    else:
        raise TypeError(f"a {type(given).__name__} is no task; give its future, or its id in hexadecimal digits")
    if len(task_id) != TASK_ID_BYTES:
        digits = 2 * TASK_ID_BYTES
        raise ValueError(
            f"{shown(given)} is no id of a task: {digits} hexadecimal digits, as `paceline submit` prints them, or "
            f"{TASK_ID_BYTES} bytes"
        )
    return task_id
