"""The replicated table of tasks: what every voter holds equal, byte for byte.

It is a join of sections (``section.py``). Only :meth:`TaskTable.apply` changes it, only from committed log entries, and
it reads no clock and nothing that an operator chose for one node: what depends on that the leader decides, and says it
in the log (decision 35).
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Any, TypeVar

from paceline.core.feature_levels import NodeTooOld
from paceline.core.state.attempts import Attempts
from paceline.core.state.dead_tasks import DeadTask, DeadTasks
from paceline.core.state.graphs import GraphSection, live_of
from paceline.core.state.held import HeldResults
from paceline.core.state.queues import QueueSection
from paceline.core.state.records import Records
from paceline.core.state.released import RELEASED_LIMIT_TASKS, Released
from paceline.core.state.results import Results
from paceline.core.state.retries import FailedAttempts, Retries
from paceline.core.state.schedules import ScheduleRow, Schedules
from paceline.core.state.section import Section
from paceline.core.state.task import Task
from paceline.core.state.tasks import Tasks
from paceline.core.state.totals import Totals
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import EndRecord, Outcome

S = TypeVar("S", bound=Section)


class TaskTable:
    """The replicated state. Equal on every node that has applied the same entries.

    ``sections`` are in the order in which a snapshot has them. ``released``: the last ids of tasks that are over; a
    copy of such a task that comes late is not accepted again. ``expired``: the same, of those that were kept for a time
    which is over.
    """

    def __init__(self, released_limit_tasks: int = RELEASED_LIMIT_TASKS) -> None:
        """``released_limit_tasks``: how many ids are remembered; fewer only in tests."""
        self.sections: list[Section] = []
        # Entry kind -> its section. None: the entry is not for the table.
        self._section_of: dict[int, Section | None] = {EntryKind.NOOP: None, EntryKind.CONFIG: None}
        self._tasks = self._with(Tasks())
        self._attempts = self._with(Attempts())
        self._retries = self._with(Retries())
        self._results = self._with(Results())
        self._records = self._with(Records())
        self._dead = self._with(DeadTasks())
        self.released = self._with(Released(released_limit_tasks))
        self.expired = self._with(Released(released_limit_tasks, "expired"))
        self.totals = self._with(Totals())
        self._queues = self._with(QueueSection())
        self._schedules = self._with(Schedules())
        self._held = self._with(HeldResults())
        self.graphs = self._with(GraphSection())

    def _with(self, section: S) -> S:
        self.sections.append(section)
        for kind in section.kinds:
            assert kind not in self._section_of, "an entry kind has one section"
            self._section_of[kind] = section
        return section

    @property
    def tasks(self) -> dict[bytes, Task]:
        """The tasks that are accepted and have not ended. Their replicated part never changes, so that a snapshot can
        be packed while tasks come and end: one that is altered is another object."""
        return self._tasks.by_id

    @property
    def lost_attempts(self) -> dict[bytes, int]:
        """How many attempts each task has used up; tasks without any are left out."""
        return self._attempts.lost

    @property
    def failures(self) -> dict[bytes, FailedAttempts]:
        """The failed attempts of tasks that are tried again; tasks without any are left out."""
        return self._retries.by_id

    @property
    def results(self) -> OrderedDict[bytes, tuple[int, bytes]]:
        """How tasks ended: (TaskEnd, payload), until the log says that it is not kept any more."""
        return self._results.by_id

    @property
    def records(self) -> dict[bytes, EndRecord]:
        """What else is remembered of tasks whose results are kept for a time; others are left out."""
        return self._records.by_id

    @property
    def held(self) -> dict[bytes, None]:
        """The results whose owners have them, and which tasks still needed when that was logged. Not to be changed."""
        return self._held.ids

    @property
    def dead(self) -> OrderedDict[bytes, DeadTask]:
        """The dead tasks that are kept, those that died first in front."""
        return self._dead.by_id

    @property
    def dead_bytes(self) -> int:
        """What dead tasks take."""
        return self._dead.size_bytes

    @property
    def dead_by_name(self) -> dict[str, int]:
        """How many dead tasks there are of each name. Not to be changed."""
        return self._dead.count_by_name

    @property
    def queues(self) -> dict[str, tuple[bool, int]]:
        """Of each queue that is not as usual: whether it is paused, and its weight."""
        return self._queues.by_name

    @property
    def schedules(self) -> dict[str, ScheduleRow]:
        """The schedules by name. Not to be changed."""
        return self._schedules.by_name

    @property
    def schedule_bytes(self) -> int:
        """What schedules take."""
        return self._schedules.size_bytes

    @property
    def result_bytes(self) -> int:
        """What results take, with their records."""
        return self._results.size_bytes + self._records.size_bytes

    @property
    def recorded(self) -> int:
        """Outcomes recorded, each task once."""
        return self.totals.recorded

    def knows(self, task_id: bytes) -> bool:
        """Whether this id was accepted, as far as the table remembers."""
        return (
            task_id in self._tasks.by_id
            or task_id in self._results.by_id
            or task_id in self._dead.by_id
            or self.is_over(task_id)
        )

    def is_over(self, task_id: bytes) -> bool:
        """Whether this task has ended, and its result is not kept any more, as far as the table remembers."""
        return task_id in self.released or task_id in self.expired

    # --- what the entries of one section do to others ---------------------------------------------------------------

    def accept(self, tasks: Iterable[Task]) -> None:
        """Take in these tasks, but those that are known."""
        self._tasks.accept(self, tasks)

    def remember(self, task_id: bytes, record: EndRecord) -> None:
        """This task ends, and its result is kept for a time, with its record."""
        self._records.add(task_id, record)

    def end_tasks(self, outcomes: Iterable[Outcome]) -> None:
        """These tasks ended, but those that had ended before."""
        self._results.record(self, outcomes)

    def drop_result(self, task_id: bytes) -> bool:
        """The result of this task is not kept any more, nor its record. False: it was not."""
        if self._records.by_id:
            self._records.drop(task_id)
        if self._held.ids:
            self._held.ids.pop(task_id, None)
        return self._results.drop(task_id)

    # --- the log ----------------------------------------------------------------------------------------------------

    def decode(self, kind: int, data: bytes) -> Any:
        """What :meth:`apply` takes as ``decoded``. Raises ProtocolError if such an entry can't be applied, and
        NodeTooOld as that does."""
        section = self._section_for(kind)
        return None if section is None else section.decode(kind, data)

    def apply(self, kind: int, data: bytes, decoded: Any = None) -> None:
        """Apply one committed entry. ``decoded``: what the proposer already parsed from ``data``.

        Raises NodeTooOld for a kind that this version does not know: the node must not go on as if it were nothing.
        """
        section = self._section_for(kind)
        if section is not None:
            section.apply(self, kind, data, decoded)

    def _section_for(self, kind: int) -> Section | None:
        try:
            return self._section_of[kind]
        except KeyError:
            raise NodeTooOld(f"the log has an entry of unknown kind {kind}") from None

    def check(self) -> None:
        """Raise ValueError if a task has ended and is live. What no snapshot holds that was made from a log."""
        tasks = self._tasks.by_id
        if any(task_id in tasks for task_id in self._results.by_id):
            raise ValueError("a task has a result and has not ended")
        if any(task_id not in self._results.by_id for task_id in self._records.by_id):
            raise ValueError("a task has a record and no result")
        if any(task_id not in self._results.by_id for task_id in self._held.ids):
            raise ValueError("a result is held for tasks, and there is none")
        if any(task_id in tasks for task_id in self._dead.by_id):
            raise ValueError("a task is dead and has not ended")
        in_graphs = (task.options.graph for task in tasks.values() if task.options is not None)
        if Counter(filter(None, in_graphs)) != {name: live_of(counts) for name, counts in self.graphs.live.items()}:
            raise ValueError("a graph has other live tasks than are counted")

    def aside(self) -> TaskTable:
        """An empty table like this one, into which a snapshot can be read."""
        return TaskTable(self.released.limit)

    def take_from(self, other: TaskTable) -> None:
        """Replace the content by that of ``other``, which must not be used any more."""
        for section, read in zip(self.sections, other.sections, strict=True):
            section.take_from(read)
