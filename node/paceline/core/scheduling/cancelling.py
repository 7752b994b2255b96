"""The cancel requests that have no answer yet, and the tasks that the leader itself asks back, as they have expired.

An answer is final. It says "cancelled" once that is committed, "running" once the task's node has said that a worker
has begun it, and "finished" once the result is passed on. Until then the node is sent a Revoke with every beat, and a
task that comes back from a node goes to no other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from paceline.core.clients.sessions import ClientSession
from paceline.core.state.task import Task
from paceline_protocol.messages.client import CancelReply, CancelState

REQUESTS_PER_TASK: Final = 64
"""Open requests to cancel one task, of all clients. A flood of them must not fill the leader's memory."""


class Cancelling:
    """``asked``: task id -> who asked, with the numbers of their requests. ``replies``: for clients, by connection;
    emptied by the caller."""

    __slots__ = ("asked", "replies")

    def __init__(self) -> None:
        self.asked: dict[bytes, list[tuple[ClientSession, int]]] = {}
        self.replies: list[tuple[bytes, CancelReply]] = []

    def ask(self, task_id: bytes, session: ClientSession, request: int) -> bool:
        """Note a request to cancel a task whose result its submitter does not have yet. True: nobody has asked for it
        before, so that no Revoke of it is under way.

        Of REQUESTS_PER_TASK that are open, the oldest is told that the task runs, as far as is known."""
        asked = self.asked.get(task_id)
        if asked is None:
            self.asked[task_id] = [(session, request)]
            return True
        asked.append((session, request))
        if len(asked) > REQUESTS_PER_TASK:
            oldest, number = asked.pop(0)
            self.reply(oldest, number, ((task_id, CancelState.RUNNING),))
        return False

    def ask_back(self, task_id: bytes) -> None:
        """The leader itself wants it back, if it has not started: nobody has to be told."""
        self.asked.setdefault(task_id, [])

    def keep(self, task_id: bytes) -> None:
        """The leader itself does not want it back any more."""
        if self.asked.get(task_id) == []:
            del self.asked[task_id]

    def wanted(self, tasks: Iterable[Task]) -> list[Task]:
        """Those of the tasks that have a cancel request, or are asked back."""
        return [task for task in tasks if task.id in self.asked] if self.asked else []

    def is_asked_for(self, task: Task) -> bool:
        """Whether somebody wants this one cancelled."""
        return bool(self.asked and self.asked.get(task.id))

    def answer(self, task_id: bytes, state: CancelState) -> None:
        """Answer every cancel request for a task."""
        for session, request in self.asked.pop(task_id, ()):
            self.reply(session, request, ((task_id, state),))

    def reply(self, session: ClientSession, request: int, states: tuple[tuple[bytes, int], ...]) -> None:
        """Send one client a CancelReply."""
        self.replies.append((session.key, CancelReply(request, states)))
