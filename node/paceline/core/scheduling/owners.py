"""Tasks that are to be cancelled when the client that has them is gone for good (``on_client_lost``).

Whoever gets its result has a task (``admission.py``): the client that submitted it, or one that has said Wait for it
since, as it does itself on each new connection. Who only reads a task does not have it.

A client is gone when nothing was heard of it for the grace. What became of its connection says nothing: that may break
and be made again, or stand long after the process at its end. A client that waits for tasks is never silent for so
long; and one that comes back names its tasks to the leader, and has them again.

A new leader does not know who has which task. So each has the whole grace from then on. Nor has a leader heard anybody
while it stood still itself: from then on, too, each has the whole grace. Nothing of this is in the log. What a leader
has begun to cancel, and not done, the next one begins anew.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from paceline.core.clients.sessions import ClientSession
from paceline.core.state.task import Task

REVIEW_S: Final = 0.5
SLICE_TASKS: Final = 1_000
"""As many are cancelled at a time: some milliseconds."""


class Owners:
    """The live tasks that end with their clients, by who has them."""

    __slots__ = ("_looked_at", "_review_at", "_since", "_tasks")

    def __init__(self) -> None:
        self._tasks: dict[ClientSession | None, dict[bytes, Task]] = {}  # None: nobody, as far as this leader knows
        self._since = 0.0  # nobody counts as silent for longer
        self._looked_at = 0.0
        self._review_at = 0.0

    def begin(self, now: float) -> None:
        """From now on the leader hears clients."""
        self._since = self._looked_at = now

    def add(self, task: Task) -> None:
        """A task that ends with its client."""
        self._tasks.setdefault(task.session, {})[task.id] = task

    def remove(self, task: Task) -> None:
        """It has ended, or its session is about to change."""
        tasks = self._tasks.get(task.session)
        if tasks is not None and tasks.pop(task.id, None) is not None and not tasks:
            del self._tasks[task.session]

    def take_lost(self, grace_s: float, now: float) -> list[Task]:
        """Take some of the tasks whose clients are gone. Cost: that of these, and of the clients that have any, twice a
        second."""
        if now - self._looked_at > grace_s / 2:
            self._since = now
        self._looked_at = now
        if now < self._review_at or not self._tasks:
            return []
        self._review_at = now + REVIEW_S
        before = now - grace_s
        lost: list[Task] = []
        if self._since >= before:
            return lost
        for session, tasks in self._tasks.items():
            if session is None or session.heard_at < before:
                lost += islice(tasks.values(), SLICE_TASKS - len(lost))
                if len(lost) >= SLICE_TASKS:
                    self._review_at = now
                    break
        for task in lost:
            self.remove(task)
        return lost
