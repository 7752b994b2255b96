"""Which tasks with a rate have started at this node: their leader counts when (``scheduling/paces.py``).

A task starts when it is given to a worker that does nothing else before it. The leader is told in that turn; and again
with each answer to a Beat, as links lose frames, and the next leader knows of none. It is told by which Dispatch a task
came: the same task may have been here before. A task that has started here never waits here again: each Dispatch is for
one start.
"""

from __future__ import annotations

from collections.abc import Container


class StartedTasks:
    """Of one node. ``started``: those that it has, with the number of the Dispatch that brought each. ``news``: those
    of them that the leader was not told; emptied by the caller."""

    __slots__ = ("_arrived", "news", "started")

    def __init__(self) -> None:
        self._arrived: dict[bytes, int] = {}
        self.started: dict[bytes, int] = {}
        self.news: list[tuple[bytes, int]] = []

    def arrives(self, task_id: bytes, dispatch_seq: int) -> None:
        """A task with a rate has come."""
        self._arrived[task_id] = dispatch_seq

    def begins(self, task_id: bytes) -> None:
        """It is given to a worker."""
        self.started[task_id] = dispatch_seq = self._arrived.pop(task_id, 0)
        self.news.append((task_id, dispatch_seq))

    def has(self, task_id: bytes) -> bool:
        return task_id in self.started

    def forget_all_but(self, held: Container[bytes]) -> None:
        """The node has no others."""
        self._arrived = {task_id: seq for task_id, seq in self._arrived.items() if task_id in held}
        self.started = {task_id: seq for task_id, seq in self.started.items() if task_id in held}

    def __bool__(self) -> bool:
        return bool(self.started or self._arrived)
