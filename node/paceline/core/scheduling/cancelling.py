"""Who wants which tasks cancelled, until each of them has an answer.

An answer is final: a task is called cancelled once that is committed, running once its node says so, finished once its
result is told. Until then it is asked for again with every beat, and wherever it comes back from it goes to no other
node.
"""

from __future__ import annotations

from collections.abc import Iterable

from paceline.core.clients.sessions import ClientSession
from paceline.core.state.task import Task
from paceline_protocol.messages import CancelReply, CancelState


class Cancelling:
    """``asked``: task id -> who asked, with the numbers of their requests. ``replies``: for clients, by connection;
    emptied by the caller."""

    __slots__ = ("asked", "replies")

    def __init__(self) -> None:
        self.asked: dict[bytes, list[tuple[ClientSession, int]]] = {}
        self.replies: list[tuple[bytes, CancelReply]] = []

    def ask(self, task_id: bytes, session: ClientSession, request: int) -> None:
        """Somebody wants a task cancelled that has not ended as far as its submitter knows."""
        self.asked.setdefault(task_id, []).append((session, request))

    def wanted(self, tasks: Iterable[Task]) -> list[Task]:
        """Those of them that somebody wants cancelled."""
        return [task for task in tasks if task.id in self.asked] if self.asked else []

    def answer(self, task_id: bytes, state: CancelState) -> None:
        """Tell whoever asked what became of a task."""
        for session, request in self.asked.pop(task_id, ()):
            self.reply(session, request, ((task_id, state),))

    def reply(self, session: ClientSession, request: int, states: tuple[tuple[bytes, int], ...]) -> None:
        """Tell one client what its request found."""
        self.replies.append((session.key, CancelReply(request, states)))
