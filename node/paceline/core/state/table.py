"""The replicated table of tasks: what every voter holds equal, byte for byte.

It is a join of sections (``section.py``). Only :meth:`TaskTable.apply` changes it, only from committed log entries, and
it reads no clock and nothing that an operator chose for one node: what depends on that the leader decides, and says it
in the log (decision 35).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, TypeVar

from paceline.core.feature_levels import NodeTooOld
from paceline.core.state.attempts import Attempts
from paceline.core.state.released import RELEASED_LIMIT_TASKS, Released
from paceline.core.state.results import Results
from paceline.core.state.section import Section
from paceline.core.state.task import Task
from paceline.core.state.tasks import Tasks
from paceline.core.state.totals import Totals
from paceline_protocol.messages.consensus import EntryKind

S = TypeVar("S", bound=Section)


class TaskTable:
    """The replicated state. Equal on every node that has applied the same entries.

    ``sections`` are in the order in which a snapshot has them. ``released``: the last ids of tasks that are over; a
    copy of such a task that comes late is not accepted again.
    """

    def __init__(self, released_limit_tasks: int = RELEASED_LIMIT_TASKS) -> None:
        """``released_limit_tasks``: how many ids are remembered; fewer only in tests."""
        self.sections: list[Section] = []
        # Entry kind -> its section. None: the entry is not for the table.
        self._section_of: dict[int, Section | None] = {EntryKind.NOOP: None, EntryKind.CONFIG: None}
        self._tasks = self._with(Tasks())
        self._attempts = self._with(Attempts())
        self._results = self._with(Results())
        self.released = self._with(Released(released_limit_tasks))
        self.totals = self._with(Totals())

    def _with(self, section: S) -> S:
        self.sections.append(section)
        for kind in section.kinds:
            assert kind not in self._section_of, "an entry kind has one section"
            self._section_of[kind] = section
        return section

    @property
    def tasks(self) -> dict[bytes, Task]:
        """The tasks that are accepted and have not ended. Their replicated part never changes, so that a snapshot can
        be packed while tasks come and end."""
        return self._tasks.by_id

    @property
    def lost_attempts(self) -> dict[bytes, int]:
        """How many attempts each task has used up; tasks without any are left out."""
        return self._attempts.lost

    @property
    def results(self) -> OrderedDict[bytes, tuple[int, bytes]]:
        """How tasks ended: (TaskEnd, payload), until the log says that it is not kept any more."""
        return self._results.by_id

    @property
    def result_bytes(self) -> int:
        return self._results.size_bytes

    @property
    def recorded(self) -> int:
        """Outcomes recorded, each task once."""
        return self.totals.recorded

    def knows(self, task_id: bytes) -> bool:
        """Whether this id was accepted, as far as the table remembers."""
        return task_id in self._tasks.by_id or task_id in self._results.by_id or task_id in self.released

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

    def aside(self) -> TaskTable:
        """An empty table like this one, into which a snapshot can be read."""
        return TaskTable(self.released.limit)

    def take_from(self, other: TaskTable) -> None:
        """Replace the content by that of ``other``, which must not be used any more."""
        for section, read in zip(self.sections, other.sections, strict=True):
            section.take_from(read)
