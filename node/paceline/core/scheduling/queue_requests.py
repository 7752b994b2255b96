"""The leader's conversation with clients about queues: they pause them, let them go on, and give them weights.

A request is answered once the log has what it asks for. From then on no task of a paused queue is handed out, by this
leader or any other; what nodes have by then goes on. A leader that dies before takes the request along, and the client
asks the next one. A copy of a request that was answered changes nothing: somebody may have said otherwise since.
"""

from __future__ import annotations

from typing import Final

from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.scheduling.recording import Recording
from paceline.core.state.queues import AS_USUAL
from paceline.core.state.table import TaskTable
from paceline_protocol.limits import MAX_QUEUES, MAX_WEIGHT
from paceline_protocol.messages.queues import Pausing, SetQueue, SetQueueReply
from paceline_protocol.messages.records import QueueSettings

OPEN_REQUESTS: Final = 1_024
"""Requests that wait for the log. Beyond that they are refused: a disk may stand still."""
ANSWERED_REQUESTS: Final = 4_096
"""So many that were answered are remembered."""


class QueueRequests:
    """``replies``: for clients, by connection; emptied by the caller."""

    __slots__ = ("_answered", "_open", "_recording", "_table", "_tasks", "_wanted", "replies")

    def __init__(self, table: TaskTable, tasks: LiveTasks, recording: Recording) -> None:
        self.replies: list[tuple[bytes, SetQueueReply]] = []
        self._table = table
        self._tasks = tasks
        self._recording = recording
        self._wanted: dict[str, tuple[bool, int]] = {}  # what the log will say, of queues of which it does not yet
        self._answered: dict[tuple[bytes, int], None] = {}  # the oldest first
        self._open: dict[tuple[bytes, int], str] = {}  # (connection, number of a request) -> its queue
        for name, (is_paused, weight) in table.queues.items():
            tasks.queues.set(name, is_paused=is_paused, weight=weight)

    def set(self, key: bytes, request: SetQueue) -> None:
        """Have the log say this of a queue, and reply once it does. ``key``: the client's connection."""
        name = request.queue
        before = self._wanted.get(name) or self._table.queues.get(name, AS_USUAL)
        refused = self._why_not(name, request.weight)
        if refused:
            self.replies.append((key, SetQueueReply(request.request, refused, *before)))
            return
        if (key, request.request) in self._answered:
            self._answer(key, request.request, *before)
            return
        is_paused = before[0] if request.pausing == Pausing.LEAVE else request.pausing == Pausing.PAUSE
        wanted = is_paused, request.weight or before[1]
        if wanted == before and name not in self._wanted:
            self._answer(key, request.request, *wanted)
            return
        self._wanted[name] = wanted
        self._open[key, request.request] = name
        self._recording.set_queue((name, *wanted))

    def _why_not(self, name: str, weight: int) -> str:
        """Why this can't be said of a queue now; "" if it can."""
        if weight > MAX_WEIGHT:
            return f"a weight is {MAX_WEIGHT} at most; what counts is how many times that of another queue it is"
        if len(self._open) >= OPEN_REQUESTS:
            return "too many requests to change queues wait for the log; ask again in a moment"
        known = self._table.queues.keys() | self._wanted.keys()
        if name not in known and len(known) >= MAX_QUEUES:
            return f"{MAX_QUEUES} queues are paused or have a weight, which is the most; let one of them be as usual"
        if not self._tasks.queues.has_room_for(name):
            return f"there are {MAX_QUEUES} queues, which is the most"
        return ""

    def have_been_set(self, settings: list[QueueSettings]) -> None:
        """The log says this now."""
        for name, is_paused, weight in settings:
            self._tasks.queues.set(name, is_paused=is_paused, weight=weight)
            if self._wanted.get(name) == (is_paused, weight):
                del self._wanted[name]
            if name in self._wanted:  # somebody has asked for something else since
                continue
            for key, number in [each for each, queue in self._open.items() if queue == name]:
                del self._open[key, number]
                self._answer(key, number, is_paused, weight)

    def _answer(self, key: bytes, number: int, is_paused: bool, weight: int) -> None:
        answered = self._answered
        if len(answered) >= ANSWERED_REQUESTS:
            del answered[next(iter(answered))]
        answered[key, number] = None
        self.replies.append((key, SetQueueReply(number, "", is_paused, weight)))
