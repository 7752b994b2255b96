"""The task that this worker runs, as its own code sees it.

Nothing is done for that when a task begins: which one runs follows from the number of tasks that the worker has begun,
which its node is told in any case (``begun_tasks.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from paceline.worker.stop_requests import BEGUN, STOP
from paceline_protocol.messages.records import Assignment
from paceline_protocol.moments import datetime_of

run: tuple[memoryview, int, Sequence[Assignment]] | None = None
"""The numbers of this worker, how many tasks it had begun before, and those that it runs now. Set by the worker."""


class CurrentTask:
    """A task that runs here. ``id``: as `paceline submit` prints it, and `paceline tasks why` takes it. ``attempt``:
    from 1 on; those before it were lost with their workers, or failed and are tried again. ``deadline_ms``: when it
    ends at the latest, in milliseconds since 1970 by the clock of its leader; 0 if it has no deadline."""

    __slots__ = ("_number", "_numbers", "attempt", "deadline_ms", "id", "name")

    def __init__(
        self, task_id: str, name: str, attempt: int, deadline_ms: int, numbers: memoryview, number: int
    ) -> None:
        self.id = task_id
        self.name = name
        self.attempt = attempt
        self.deadline_ms = deadline_ms
        self._numbers = numbers
        self._number = number

    @property
    def cancelled(self) -> bool:
        """Whether it is asked to stop, as somebody wants it cancelled. To look costs next to nothing."""
        return self._numbers[STOP] == self._number

    @property
    def deadline(self) -> datetime | None:
        """When it ends at the latest, in UTC, by the clock of its leader; None if it has no deadline. What it submits
        has that deadline, too."""
        return datetime_of(self.deadline_ms) if self.deadline_ms else None

    def __repr__(self) -> str:
        return f"<task {self.name} {self.id}, attempt {self.attempt}>"


def current_task() -> CurrentTask | None:
    """The task that this worker runs; None where none runs, as in a function that is called directly."""
    if run is None:
        return None
    numbers, before, assignments = run
    number = numbers[BEGUN]
    if not before < number <= before + len(assignments):
        return None
    task_id, attempt, name, _args, options = assignments[number - before - 1]
    deadline_ms = 0 if options is None else options.get("deadline", 0)
    return CurrentTask(task_id.hex(), name, attempt, deadline_ms, numbers, number)


def deadline_ms() -> int:
    """That of the task that this worker runs, as ``parent_deadline.py`` has it."""
    task = current_task()
    return 0 if task is None else task.deadline_ms
