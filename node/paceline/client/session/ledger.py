"""The tasks of one client that have not ended yet, and where each of them stands.

Until it ends, a task is exactly one of:

- **queued**: in no Submit of this connection. Its call is kept.
- **sent**: in one Submit that is not accepted yet. Its call is kept, since a new leader may have to be given it again.
- **accepted**: the cluster has it in its log. Only the id is kept, so that a client with many long tasks outstanding
  costs the cluster memory and not itself. The price: if a cluster loses what it accepted (a majority of its voters at
  once), the client can't submit those tasks again, and says so with ResultUnknown.
- **read**: it may be anybody's. Only the id is kept: the client has asked how it ends, and answers for nothing.
- **taken**: the leader has it, which is all that a task without durability is promised. Its call is kept, since the
  next leader will not know of it.

A signal handler that raises may end any method halfway. So a call that is not accepted stands in at least one place at
any moment: it enters the next before it leaves the one before. From these places :meth:`CallLedger.mend` makes it all
anew.

Pure bookkeeping: no frames, no clock. Bound: the session admits ``outstanding_limit_tasks`` and
``unaccepted_limit_bytes``, nothing here grows past what it admitted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable
from typing import Final

from paceline_protocol.limits import MAX_REQUEST_TASKS
from paceline_protocol.messages.records import CALL_OPTIONS, Call
from paceline_protocol.options import is_logged

BATCH_LIMIT_BYTES: Final = 256 * 1024


class Batch:
    """The calls of one Submit that are neither accepted nor ended."""

    __slots__ = ("calls", "seq")

    def __init__(self, seq: int, calls: dict[bytes, Call]) -> None:
        self.seq = seq
        self.calls = calls  # by id, in order


_QUEUED: Final = Batch(0, {})
_ACCEPTED: Final = Batch(0, {})
_TAKEN: Final = Batch(0, {})  # `CallLedger.taken` has the calls
_READ: Final = Batch(0, {})
_AT_CLUSTER: Final = frozenset(map(id, (_ACCEPTED, _TAKEN, _READ)))
"""Of the batches that stand for themselves, those of tasks that the cluster has."""


class CallLedger:
    """Where each unfinished task of a client stands. ``tasks``, ``queue`` and ``sent`` are for others to read only."""

    def __init__(self) -> None:
        # In order of submission; _QUEUED, _ACCEPTED, _TAKEN, _READ stand for themselves.
        self.tasks: dict[bytes, Batch] = {}
        self.queue: deque[Call] = deque()  # may hold calls that ended meanwhile: take() skips them
        self._queue_bytes = 0
        self.prompt = False  # the next Submit carries a call whose caller waits until it is accepted
        self.sent: dict[int, Batch] = {}  # by Submit.seq, in order
        self.taken: dict[bytes, Call] = {}
        self.read_before: set[bytes] = set()  # open calls with a key whose tasks were read when they were submitted
        self._leaving: list[Call] = []  # the queue, and in no batch yet
        self.unaccepted_bytes = 0

    def __len__(self) -> int:
        return len(self.tasks)

    def __contains__(self, task_id: bytes) -> bool:
        return task_id in self.tasks

    @property
    def batch_is_full(self) -> bool:
        return len(self.queue) >= MAX_REQUEST_TASKS or self._queue_bytes >= BATCH_LIMIT_BYTES

    @property
    def has_unaccepted(self) -> bool:
        return bool(self.queue or self.sent)

    def count_unaccepted(self) -> int:
        """How many tasks are queued or sent."""
        return len(self.unaccepted_ids())

    def is_accepted(self, task_id: bytes) -> bool:
        """True once the cluster has the task: accepted or taken, or ended, which implies it; or if it is read."""
        return id(self.tasks.get(task_id, _ACCEPTED)) in _AT_CLUSTER

    def waits_for(self, task_id: bytes) -> bool:
        """Whether the task is accepted and in no call that is kept: only the cluster can tell of it."""
        return self.tasks.get(task_id) is _ACCEPTED

    def is_queued(self, task_id: bytes) -> bool:
        return self.tasks.get(task_id) is _QUEUED

    def unaccepted_ids(self) -> list[bytes]:
        """Those that are queued or sent."""
        return [task_id for task_id, batch in self.tasks.items() if id(batch) not in _AT_CLUSTER]

    def accepted_ids(self) -> list[bytes]:
        return [task_id for task_id, batch in self.tasks.items() if batch is _ACCEPTED]

    def read_ids(self) -> list[bytes]:
        """Those that are only read."""
        return [task_id for task_id, batch in self.tasks.items() if batch is _READ]

    def add(self, call: Call) -> None:
        size = len(call[3])
        self.queue.append(call)
        self.tasks[call[0]] = _QUEUED
        self._queue_bytes += size
        self.unaccepted_bytes += size

    def add_accepted(self, ids: Iterable[bytes]) -> None:
        """Tasks that the cluster has accepted of somebody else."""
        self.tasks.update(dict.fromkeys(ids, _ACCEPTED))

    def add_read(self, task_id: bytes) -> None:
        """A task that may be anybody's, and is none of those that are here."""
        self.tasks[task_id] = _READ

    def take(self) -> list[Call]:
        """Removes the next batch from the queue; the caller sends it and calls :meth:`record_sent`."""
        calls: list[Call] = []
        self._leaving = calls
        size = 0
        queue, tasks = self.queue, self.tasks
        while queue and len(calls) < MAX_REQUEST_TASKS:
            call_bytes = len(queue[0][3])
            if calls and size + call_bytes > BATCH_LIMIT_BYTES:
                break
            call = queue[0]
            self._queue_bytes -= call_bytes
            if tasks.get(call[0]) is _QUEUED:
                size += call_bytes
                calls.append(call)
            else:
                self.unaccepted_bytes -= call_bytes
            queue.popleft()
        return calls

    def record_sent(self, seq: int, calls: Iterable[Call]) -> None:
        batch = Batch(seq, {call[0]: call for call in calls})
        self.sent[seq] = batch
        for task_id in batch.calls:
            self.tasks[task_id] = batch
        self._leaving = []

    def note_read_before(self, task_id: bytes) -> None:
        """A call with a key is about to be added. If its task is read, what is refused next may be that."""
        if self.tasks.get(task_id) is _READ:
            self.read_before.add(task_id)

    def add_sent(self, seq: int, call: Call) -> None:
        """Do what :meth:`add`, :meth:`take` and :meth:`record_sent` do, for one call, while nothing is queued."""
        task_id = call[0]
        self.sent[seq] = self.tasks[task_id] = Batch(seq, {task_id: call})
        self.unaccepted_bytes += len(call[3])

    def accept(self, seq: int) -> Iterable[bytes]:
        """The Submit is committed. Returns the ids of its tasks that have not ended."""
        batch = self.sent.pop(seq, None)
        if batch is None:
            return ()
        for task_id, call in batch.calls.items():
            if call[CALL_OPTIONS] is not None and not is_logged(call[CALL_OPTIONS]):
                self.taken[task_id] = call
                self.tasks[task_id] = _TAKEN
                continue
            self.tasks[task_id] = _ACCEPTED
            self.unaccepted_bytes -= len(call[3])
        return batch.calls

    def end(self, task_id: bytes) -> bool:
        """The task ended, which implies its acceptance. False if it is unknown or had ended before."""
        batch = self.tasks.pop(task_id, None)
        if batch is None:
            return False
        if self.read_before:
            self.read_before.discard(task_id)
        if batch is not _ACCEPTED and batch is not _QUEUED and batch is not _READ:
            self._drop_call(batch, task_id)
        return True

    def call_of(self, task_id: bytes) -> Call | None:
        """The call of an unfinished task, if it is kept where it was sent."""
        batch = self.tasks.get(task_id)
        return (batch.calls.get(task_id) or self.taken.get(task_id)) if batch is not None else None

    def requeue(self, task_id: bytes) -> bool:
        """Puts a sent task back into the queue. False if its call is no longer kept."""
        batch = self.tasks.get(task_id)
        if batch is None or batch is _QUEUED or batch is _ACCEPTED or batch is _READ:
            return False
        call = self.taken[task_id] if batch is _TAKEN else batch.calls[task_id]
        self.add(call)
        self._drop_call(batch, task_id)
        return True

    def requeue_sent(self) -> None:
        """The connection is a new one: put the tasks that were taken, and those that were sent and not accepted, back
        to the front of the queue. They have waited long enough to be accepted at once."""
        calls = [*self.taken.values(), *(call for batch in self.sent.values() for call in batch.calls.values())]
        self.queue.extendleft(reversed(calls))
        for call in calls:
            self.tasks[call[0]] = _QUEUED
            self._queue_bytes += len(call[3])
        self.prompt = self.prompt or bool(calls)
        self.taken.clear()
        self.sent.clear()

    def mend(self, open_ids: Iterable[bytes], ended: Container[bytes]) -> None:
        """Whatever changed this was interrupted. These tasks are open, those that ended apart: queue their calls, as
        for a new connection. One whose call is not here was accepted, or never came so far: the leader tells. May be
        interrupted, and done again."""
        batches = {id(batch): batch for batch in (*self.sent.values(), *self.tasks.values())}.values()
        kept = [*self.taken.values(), *(call for batch in batches for call in batch.calls.values())]
        calls = {call[0]: call for call in (*kept, *self._leaving, *self.queue)}
        tasks: dict[bytes, Batch] = {}
        for task_id in open_ids:
            if task_id not in ended:
                before = self.tasks.get(task_id)
                is_kept = task_id in calls and before is not _ACCEPTED
                tasks[task_id] = _READ if before is _READ else _QUEUED if is_kept else _ACCEPTED
        queue = deque(calls[task_id] for task_id, batch in tasks.items() if batch is _QUEUED)
        self.queue = queue
        self.tasks = tasks
        self._queue_bytes = self.unaccepted_bytes = sum(len(call[3]) for call in queue)
        self.sent = {}
        self.taken = {}
        self._leaving = []

    def _drop_call(self, batch: Batch, task_id: bytes) -> Call:
        call = self.taken.pop(task_id) if batch is _TAKEN else batch.calls.pop(task_id)
        self.unaccepted_bytes -= len(call[3])
        if batch is not _TAKEN and not batch.calls:
            self.sent.pop(batch.seq, None)
        return call

    def clear(self, *, keep_accepted: bool = False, keep_queued: bool = False) -> list[bytes]:
        """End every task, but not the accepted or the queued ones that are to be kept. Returns the ids of those that
        ended, oldest first."""
        ended = [
            task_id
            for task_id, batch in self.tasks.items()
            if not (keep_accepted and id(batch) in _AT_CLUSTER) and not (keep_queued and batch is _QUEUED)
        ]
        for task_id in ended:
            self.end(task_id)
        if not keep_queued:
            self.unaccepted_bytes -= sum(len(call[3]) for call in self.queue)
            self.queue.clear()
            self._queue_bytes = 0
        return ended
