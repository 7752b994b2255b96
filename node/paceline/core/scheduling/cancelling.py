"""The cancel requests for tasks that have not ended, and the tasks that the leader itself asks back, which expired.

An answer is "cancelled" once that is committed, and "finished" once the result is passed on. A task that a worker has
begun is asked to stop; "stopping" is said once its node has it that it is asked to, and is no final answer: the request
stays until the task has ended. Until its node has answered, that is asked with every beat, and a task that comes back
from a node, or has lost an attempt or failed, goes to no other.

A task whose client is gone (``owners.py``) is cancelled in the same way, and nobody is told.

Nothing of this is in the log. A client repeats to the next leader what has no final answer, and a node keeps what it
was asked to stop: so a request is lost only if all three are, the client, the leader, and the node or its worker.

In a cluster with nodes that do not know how to stop a task (below STOP_LEVEL), the final answer for one that has begun
is "running".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from paceline.core.clients.sessions import ClientSession
from paceline.core.state.task import Task
from paceline_protocol.messages.client import CancelReply, CancelState

REQUESTS_PER_TASK: Final = 64
"""Open requests to cancel one task, of all clients. A flood of them must not fill the leader's memory."""
STOP_LEVEL: Final = 5
"""The feature level from which on nodes can stop what runs."""


class Asked:
    """What is asked of one task. ``is_unwanted``: it is to be cancelled, and not only asked back by the leader itself;
    ``since``: since when. ``requests``: by whom, with their numbers; by nobody if its client is gone. ``is_stopping``:
    its node has its worker asked to stop it."""

    __slots__ = ("is_stopping", "is_unwanted", "requests", "since")

    def __init__(self) -> None:
        self.is_unwanted = False
        self.requests: list[tuple[ClientSession, int]] = []
        self.since = 0.0
        self.is_stopping = False


class Cancelling:
    """``asked``: by task. ``may_stop``: whether all nodes can stop what runs. ``replies``: for clients, by connection;
    emptied by the caller."""

    __slots__ = ("asked", "may_stop", "replies")

    def __init__(self) -> None:
        self.asked: dict[bytes, Asked] = {}
        self.may_stop = False
        self.replies: list[tuple[bytes, CancelReply]] = []

    def ask(self, task_id: bytes, session: ClientSession, request: int, now: float) -> bool:
        """Note a request to cancel a task whose result its submitter does not have yet. True: nobody has asked for it
        before, so that its node has to be asked.

        Of REQUESTS_PER_TASK that are open, the oldest is told that the task runs, as far as is known."""
        is_first = self.give_up(task_id, now)
        asked = self.asked[task_id]
        asked.requests.append((session, request))
        if len(asked.requests) > REQUESTS_PER_TASK:
            oldest, number = asked.requests.pop(0)
            self.reply(oldest, number, ((task_id, CancelState.RUNNING),))
        if asked.is_stopping:
            self.reply(session, request, ((task_id, CancelState.STOPPING),))
        return is_first

    def give_up(self, task_id: bytes, now: float) -> bool:
        """A task is to be cancelled, whether somebody waits for the answer or not. True: it was not before."""
        asked = self.asked.setdefault(task_id, Asked())
        is_first = not asked.is_unwanted
        if is_first:
            asked.is_unwanted, asked.since = True, now
        return is_first

    def ask_back(self, task_id: bytes) -> None:
        """The leader itself wants it back, if it has not started: nobody has to be told."""
        self.asked.setdefault(task_id, Asked())

    def keep(self, task_id: bytes) -> None:
        """The leader itself does not want it back any more."""
        asked = self.asked.get(task_id)
        if asked is not None and not asked.is_unwanted:
            del self.asked[task_id]

    def wanted(self, tasks: Iterable[Task]) -> list[Task]:
        """Those of the tasks that have a cancel request, or are asked back."""
        return [task for task in tasks if task.id in self.asked] if self.asked else []

    def is_asked_for(self, task: Task) -> bool:
        """Whether this one is to be cancelled."""
        return self.request_for(task) is not None

    def request_for(self, task: Task) -> Asked | None:
        """What is asked of a task that is to be cancelled."""
        asked = self.asked.get(task.id) if self.asked else None
        return asked if asked is not None and asked.is_unwanted else None

    def is_to_stop(self, task: Task) -> bool:
        """Whether its node is to stop it, and has not said that it is about to."""
        return self.may_stop and self.is_asked_for(task) and not self.is_stopping(task)

    def is_stopping(self, task: Task) -> bool:
        """Whether its node has its worker asked to stop it."""
        asked = self.asked.get(task.id)
        return asked is not None and asked.is_stopping

    def runs(self, task_id: bytes) -> None:
        """Its node has begun it, and says so to one who has not asked it to stop that."""
        asked = self.asked.get(task_id)
        if asked is not None and not (self.may_stop and asked.is_unwanted):
            self.answer(task_id, CancelState.RUNNING)

    def stops(self, task_id: bytes) -> None:
        """Its node has its worker asked to stop it."""
        asked = self.asked.get(task_id)
        if asked is not None and not asked.is_stopping:
            asked.is_stopping = True
            for session, request in asked.requests:
                self.reply(session, request, ((task_id, CancelState.STOPPING),))

    def answer(self, task_id: bytes, state: CancelState) -> None:
        """Answer every cancel request for a task."""
        asked = self.asked.pop(task_id, None)
        for session, request in () if asked is None else asked.requests:
            self.reply(session, request, ((task_id, state),))

    def reply(self, session: ClientSession, request: int, states: tuple[tuple[bytes, int], ...]) -> None:
        """Send one client a CancelReply."""
        self.replies.append((session.key, CancelReply(request, states)))
