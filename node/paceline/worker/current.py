"""The task that this worker runs, as its own code sees it.

Nothing is done for that when a task begins: which one runs follows from the number of tasks that the worker has begun,
which its node is told in any case (``begun_tasks.py``). In a worker that runs many at once each has a context.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from contextvars import ContextVar
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, Protocol

from paceline.options import shown
from paceline.worker.stop_requests import BEGUN, STOP
from paceline_protocol.limits import PROGRESS_TEXT_CHARS
from paceline_protocol.messages.records import ASSIGNMENT_OPTIONS, Assignment, Options
from paceline_protocol.moments import datetime_of
from paceline_protocol.places import units_of

if TYPE_CHECKING:
    from paceline.worker.own_remarks import OwnRemarks, Position
    from paceline.worker.stop_requests import StopRequests
    from paceline.worker.task_output import TaskLog

HERE: ContextVar[Running | None] = ContextVar("paceline_task", default=None)
"""In a worker that runs many tasks at once: that which runs in this context."""

together: tuple[CalledTogether, ...] = ()
"""The tasks for which one function runs here. Set by the worker."""
run: tuple[memoryview, int, Sequence[Assignment]] | None = None
"""The numbers of this worker, how many tasks it had begun before, and those that it runs now. Set by the worker."""
has_waited: set[str] = set()
"""The names of tasks that have waited for others: what stands before one is told before it begins. Bounded by the
registry."""
remarks: OwnRemarks | None = None
"""Takes what the tasks of this worker say of themselves. Set by the worker."""


class Running(Protocol):
    """One of many tasks that run at once."""

    assignment: Assignment
    current: CurrentTask


class CurrentTask:
    """A task that runs here. ``id``: as `paceline submit` prints it, and `paceline tasks why` takes it. ``attempt``:
    from 1 on; those before it were lost with their workers, or failed and are tried again. ``deadline_ms``: when it
    ends at the latest, in milliseconds since 1970 by the clock of its leader; 0 if it has no deadline. ``units``: the
    numbers of those units that it has, by resource, as ``{"gpu": (0, 2)}``; of what it ``needs`` whose units have
    some. ``batch``: all calls that its function was called with at once, in the order of their arguments, itself among
    them; empty for a task without ``batch``."""

    __slots__ = ("_number", "_numbers", "attempt", "deadline_ms", "id", "name", "units")

    def __init__(
        self,
        task_id: str,
        name: str,
        attempt: int,
        deadline_ms: int,
        numbers: Sequence[int],
        number: int,
        units: str = "",
    ) -> None:
        self.id = task_id
        self.name = name
        self.attempt = attempt
        self.deadline_ms = deadline_ms
        self.units = units_of(units)
        self._numbers = numbers
        self._number = number

    @property
    def batch(self) -> tuple[CurrentTask, ...]:
        """All that its function was called with at once, in the order of its lists; empty without ``@task(batch=)``."""
        return ()

    @property
    def cancelled(self) -> bool:
        """Whether it is asked to stop, as somebody wants it cancelled. To look costs next to nothing."""
        return self._numbers[STOP] == self._number

    @property
    def deadline(self) -> datetime | None:
        """When it ends at the latest, in UTC, by the clock of its leader; None if it has no deadline. What it submits
        has that deadline, too."""
        return datetime_of(self.deadline_ms) if self.deadline_ms else None

    def progress(self, done: float, total: float | None = None, text: str = "") -> None:
        """Say how far it is: ``done`` of ``total``, in whatever it counts, and a line for people. Whoever asks for it,
        as ``future.progress()`` and `paceline watch` do, is told the latest. It may be said as often as is convenient,
        from any thread: the node hears of it ten times a second at most, and none of it waits for anything.

        ``done`` may be more than ``total``, which may be an estimate, and counts as all then. Of ``text`` 200
        characters are kept. Raises ValueError for numbers that are negative, infinite or none, TypeError for what is no
        number, or no text.
        """
        self._say(_position(done, total, text))

    def heartbeat(self) -> None:
        """Say that it lives, where it does not know how far it is: who asks is told when it was last heard of. That is
        all that it does: no task is ended as it says nothing. For that there is ``time_limit``."""
        self._say(None)

    def _say(self, position: Position | None) -> None:
        if remarks is not None:
            remarks.progress(bytes.fromhex(self.id), self.attempt, position)

    @property
    def log(self) -> TaskLog:
        """A logger whose lines have the name and the id of the task. It writes to stderr from INFO on, needs no
        configuration, and is none of the root logger's: `paceline watch --logs` shows its lines, as what it prints."""
        from paceline.worker.task_output import log_of

        return log_of(self.id, self.name, self.attempt)

    def __repr__(self) -> str:
        return f"<task {self.name} {self.id}, attempt {self.attempt}>"


class CalledTogether(CurrentTask):
    """One of the calls that a function with ``batch`` was called with."""

    __slots__ = ("_stop_requests", "options")

    def __init__(self, assignment: Assignment, numbers: Sequence[int], number: int, requests: StopRequests) -> None:
        task_id, attempt, name, _args, options = assignment
        super().__init__(task_id.hex(), name, attempt, (options or {}).get("deadline", 0), numbers, number)
        self._stop_requests = requests
        self.options = options or {}

    @property
    def batch(self) -> tuple[CurrentTask, ...]:
        return together

    @property
    def cancelled(self) -> bool:
        return self._stop_requests.is_asked_of(self._number)


def begin_together(numbers: memoryview, first: int, assignments: Sequence[Assignment], requests: StopRequests) -> None:
    """One function runs for these from now on, which have these numbers; none: it has ended."""
    global run, together
    run = None if not assignments else (numbers, first + len(assignments) - 2, assignments[:1])
    together = tuple(
        CalledTogether(assignment, numbers, first + index, requests) for index, assignment in enumerate(assignments)
    )
    requests.begin_together(range(first, first + len(assignments)))


def current_task() -> CurrentTask | None:
    """The task that runs here, of many at once that in whose coroutine or thread this is called; None where none runs,
    as in a function that is called directly. Of a function that is called for several calls at once, the first."""
    if together:
        return together[0]
    if run is None:
        here = HERE.get()
        return None if here is None else here.current
    found = _running()
    if found is None:
        return None
    (task_id, attempt, name, _args, options), numbers, number = found
    asked = options or {}
    deadline_ms = asked.get("deadline", 0)
    return CurrentTask(task_id.hex(), name, attempt, deadline_ms, numbers, number, asked.get("units", ""))


def _running() -> tuple[Assignment, memoryview, int] | None:
    """The task that this worker runs, the worker's numbers, and which of its tasks that is."""
    if run is None:
        return None
    numbers, before, assignments = run
    number = numbers[BEGUN]
    if not before < number <= before + len(assignments):
        return None
    return assignments[number - before - 1], numbers, number


def running_id() -> tuple[bytes, str] | None:
    """The id and the name of the task that this worker runs alone."""
    found = _running()
    return None if found is None else (found[0][0], found[0][2])


def progress(done: float, total: float | None = None, text: str = "") -> None:
    """``current_task().progress(...)``; where no task runs, as in a function that is called directly, it looks at its
    arguments and does nothing. Of a function that is called for several calls at once it is said of all of them."""
    position = _position(done, total, text)
    for task in _current_tasks():
        task._say(position)


def heartbeat() -> None:
    """``current_task().heartbeat()``; where no task runs it does nothing. Of several calls, as for progress()."""
    for task in _current_tasks():
        task.heartbeat()


def _current_tasks() -> Sequence[CurrentTask]:
    task = current_task()
    return together or ((task,) if task is not None else ())


def printed(text: str) -> None:
    """Somebody in this worker has printed this: its task, if one runs."""
    if remarks is None:
        return
    found, here = _running(), HERE.get()
    if found is not None:
        remarks.output(found[0][0], found[0][1], text)
    elif here is not None:
        remarks.output(here.assignment[0], here.assignment[1], text)


def _position(done: float, total: float | None, text: str) -> Position:
    if not isinstance(text, str):
        raise TypeError(f"progress: text is {shown(text)}, and must be a str")
    return _number("done", done), None if total is None else _number("total", total), text[:PROGRESS_TEXT_CHARS]


def _number(name: str, value: Any) -> int | float:
    """As a plain int or float, as those of numpy are not."""
    number: int | float | None
    try:
        number = operator.index(value)
    except TypeError:
        number = float(value) if hasattr(value, "__float__") else None
    try:
        if number is not None and number >= 0 and isfinite(number):
            return number
    except OverflowError:  # an int that no float holds
        pass
    if number is None:
        raise TypeError(f"progress: {name} is {shown(value)}, and must be a number from 0")
    raise ValueError(f"progress: {name} is {shown(value)}, and must be a finite number from 0")


def options() -> Options | None:
    """Those of the task that runs here, as ``parent_deadline.py`` has it."""
    if together:
        return _common_options()
    found, here = _running(), HERE.get()
    if found is not None:
        return found[0][ASSIGNMENT_OPTIONS]
    return None if here is None else here.assignment[ASSIGNMENT_OPTIONS]


def _common_options() -> Options:
    """Of several calls for which one function runs: what it submits may be for each of them. So it has the latest of
    their deadlines, if all have one, and their graph, if they have the same."""
    each = [task.options for task in together]
    common: Options = {key: value for key, value in each[0].items() if all(one.get(key) == value for one in each)}
    deadlines = [one.get("deadline", 0) for one in each]
    if all(deadlines):
        common["deadline"] = max(deadlines)
    return common
