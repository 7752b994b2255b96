"""What clients want to know of what running tasks say of themselves: the leader asks the nodes, and passes it on.

The nodes keep it (``work/kept_remarks.py``). The node is asked that a task has been given to, and for any other task
all nodes are: it may have ended anywhere. A question is repeated, and answered once all have told, or after LIMIT_S
with what is known then. Nothing of this is in the log: the client asks the next leader anew.

Whoever asks for the same before any node has told is answered with it, so that many who look at one task cost its node
no more than one. Nobody misses by that what a node had said before the question came: it tells after that.

How far a task is counts for the attempt that runs. What is told of one before that, as a node keeps it, is told to
nobody while the task lives: so a progress bar begins anew with each attempt. Of output the end is told that the last
attempt has left which has said something, with its number.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from paceline_protocol.messages.client import OutputReply, OutputRequest, ProgressReply, ProgressRequest
from paceline_protocol.messages.work import RemarkAnswer, RemarkQuery
from paceline_protocol.moments import MOMENT_MAX_MS
from paceline_protocol.options import PROGRESS_LEVEL
from paceline_protocol.payload import pack_value

if TYPE_CHECKING:
    from paceline.core.scheduling.live_tasks import LiveTasks
    from paceline.core.scheduling.nodes import Nodes
    from paceline.core.scheduling.recording import Recording
    from paceline.core.state.task import Task

LIMIT_S: Final = 1.0
AGAIN_S: Final = 0.25
"""Between two questions to a node, of which one may be lost."""
OPEN_REQUESTS: Final = 256
"""Of all clients. At the limit the oldest is answered with what is known. Of output they hold 4 MiB for each node."""
OPEN_ASKERS: Final = 16_384
"""Who waits for the answers to these, at most. At the limit it is the same."""

RemarkRequest: TypeAlias = ProgressRequest | OutputRequest


class OpenRequest:
    """``askers``: who is answered, each with a connection and the number of its request. ``waiting``: the nodes that
    have not told. ``older``: those that can't be asked. ``level_of``: the feature level that a node understands."""

    __slots__ = (
        "answer",
        "asked_at",
        "askers",
        "has_begun",
        "level_of",
        "node_id",
        "older",
        "request",
        "since",
        "waiting",
    )

    def __init__(self, key: bytes, request: RemarkRequest, level_of: Callable[[str], int], now: float) -> None:
        self.askers = [(key, request.request)]
        self.request = request
        self.level_of = level_of
        self.has_begun = False  # the nodes are asked once the leader knows what they hold
        self.waiting: set[str] = set()
        self.older: list[str] = []
        self.since = now
        self.asked_at = now
        self.answer: RemarkAnswer | None = None  # of the last attempt that is known to have said something
        self.node_id = ""


class RemarkRequests:
    """Of one leader. ``replies``: for clients, by connection; emptied by the caller."""

    def __init__(self, term: int, nodes: Nodes, tasks: LiveTasks, recording: Recording) -> None:
        self.replies: list[tuple[bytes, ProgressReply | OutputReply]] = []
        self._term = term
        self._nodes = nodes
        self._tasks = tasks
        self._recording = recording
        self._open: dict[int, OpenRequest] = {}
        self._latest: dict[tuple[bytes, bool], int] = {}  # the number of the last open one, by what it asks for
        self._askers = 0
        self._numbers = 0

    def __len__(self) -> int:
        return len(self._open)

    def ask(self, key: bytes, request: RemarkRequest, level_of: Callable[[str], int], now: float) -> None:
        """A client asks. The reply follows. ``level_of``: the feature level that a node understands."""
        latest = self._open.get(self._latest.get(_of(request), 0))
        if latest is not None and self._askers < OPEN_ASKERS and self._is_untold(latest):
            latest.askers.append((key, request.request))
            self._askers += 1
            return
        asked = OpenRequest(key, request, level_of, now)
        self._numbers += 1
        if len(self._open) >= OPEN_REQUESTS or self._askers >= OPEN_ASKERS:
            self._close(next(iter(self._open)))
        self._open[self._numbers] = asked
        self._latest[_of(request)] = self._numbers
        self._askers += 1
        self._begin(self._numbers, asked)

    def _begin(self, number: int, asked: OpenRequest) -> None:
        """Ask those that may know. A leader that was just elected hears first what the nodes hold."""
        if not self._tasks.is_settled:
            return
        there = self._nodes_of(asked.request.id)
        asked.has_begun = True
        asked.older = sorted(node_id for node_id in there if asked.level_of(node_id) < PROGRESS_LEVEL)
        asked.waiting = there.difference(asked.older)
        self._send(number, asked)
        self._close_if_answered(number, asked)

    def _is_untold(self, asked: OpenRequest) -> bool:
        """Whether all that would be asked now are asked, and none of them has told yet."""
        return not asked.has_begun or asked.waiting == self._nodes_of(asked.request.id).difference(asked.older)

    def _close(self, number: int) -> None:
        """Answer what is known."""
        asked = self._open.pop(number)
        self._askers -= len(asked.askers)
        if self._latest.get(_of(asked.request)) == number:
            del self._latest[_of(asked.request)]
        self._reply(asked)

    def _nodes_of(self, task_id: bytes) -> set[str]:
        """Those that may have something to tell of a task."""
        task = self._live(task_id)
        if task is not None and task.has_place_at_node:
            return {task.node}
        return self._nodes.enrolled()

    def _live(self, task_id: bytes) -> Task | None:
        task = self._recording.open_task(task_id)
        return None if task is None or task.has_ended else task

    def _send(self, number: int, asked: OpenRequest) -> None:
        query = RemarkQuery(self._term, number, asked.request.id, isinstance(asked.request, OutputRequest))
        self._nodes.outbox += [(node_id, query) for node_id in sorted(asked.waiting)]

    def answered(self, sender: str, answer: RemarkAnswer) -> None:
        """A node has told. What was not asked, or is answered, counts for nothing."""
        asked = self._open.get(answer.number)
        if asked is None or answer.term != self._term or answer.id != asked.request.id or sender not in asked.waiting:
            return
        asked.waiting.discard(sender)
        if self._counts(asked.request, answer) and (asked.answer is None or _is_later(answer, asked.answer)):
            asked.answer, asked.node_id = answer, sender
        self._close_if_answered(answer.number, asked)

    def _counts(self, request: RemarkRequest, answer: RemarkAnswer) -> bool:
        """Whether it tells something, of an attempt that counts. It is judged as it comes, too: until the other nodes
        have told, the task may have ended with an attempt that has said more."""
        if not answer.attempt or isinstance(request, OutputRequest):
            return answer.attempt > 0
        task = self._live(request.id)
        return task is None or _is_of_run(task, answer.attempt)

    def _close_if_answered(self, number: int, asked: OpenRequest) -> None:
        if not asked.waiting:
            self._close(number)

    def tick(self, now: float) -> None:
        """Ask again, and answer what can wait no longer."""
        for number, asked in list(self._open.items()):
            if now >= asked.since + LIMIT_S:
                self._close(number)
            elif not asked.has_begun:
                self._begin(number, asked)
            elif now >= asked.asked_at + AGAIN_S:
                asked.asked_at = now
                self._send(number, asked)

    # --- what is told -------------------------------------------------------------------------------------------

    def _reply(self, asked: OpenRequest) -> None:
        request, answer = asked.request, asked.answer
        task = self._live(request.id)
        told: dict[str, Any] = {
            "known": task is not None or answer is not None or self._recording.knows(request.id),
            "is_open": task is not None,
            "unheard": [*asked.older, *sorted(asked.waiting)],
            "is_settled": asked.has_begun,
            "attempt": None,
            "node": "",
            "heard_ms": None,
        }
        if isinstance(request, OutputRequest):
            told |= {"output": b"", "skipped": 0}
            if answer is not None:
                told |= _whence(asked, answer) | {"output": answer.output, "skipped": answer.skipped}
            body = pack_value(told)
            self.replies += [(key, OutputReply(number, "", body)) for key, number in asked.askers]
            return
        told |= {"progress": None, "progress_ms": None}
        if answer is not None and (task is None or _is_of_run(task, answer.attempt)):
            told |= _whence(asked, answer)
            if answer.progress:
                told |= {"progress": answer.progress, "progress_ms": min(answer.progress_ms, MOMENT_MAX_MS)}
        body = pack_value(told)
        self.replies += [(key, ProgressReply(number, body)) for key, number in asked.askers]


def _of(request: RemarkRequest) -> tuple[bytes, bool]:
    return request.id, isinstance(request, OutputRequest)


def _is_later(answer: RemarkAnswer, than: RemarkAnswer) -> bool:
    """Of an attempt that two nodes have had, the one that has said something since counts."""
    return (answer.attempt, answer.heard_ms) > (than.attempt, than.heard_ms)


def _is_of_run(task: Task, attempt: int) -> bool:
    """Whether this attempt of a live task runs, or a later one than its leader counts: a node may have that of a task
    that was not logged."""
    return task.has_place_at_node and attempt >= task.attempt


def _whence(asked: OpenRequest, answer: RemarkAnswer) -> dict[str, Any]:
    return {"attempt": answer.attempt, "node": asked.node_id, "heard_ms": min(answer.heard_ms, MOMENT_MAX_MS)}
