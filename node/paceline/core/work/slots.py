"""A node's own slots: the tasks that were dispatched to it, which worker runs each, and the outcomes that the leader
has not recorded yet.

A node holds each task that was dispatched to it, in exactly one of three places, until a leader says that its outcome
is recorded: in ``queue`` (no worker has it), in the ``running`` map of one worker, or in ``unrecorded`` (its outcome).
The node reports all that it holds to each new leader. So no running task is run again, and no outcome is lost with the
leader that received it.

A task is bound to a worker as late as possible: one at a time, except short ones, which travel in batches of at most
``BATCH_TIME_US`` of expected work. A worker gets its next batch while it runs a short one, so that it never waits for
a hop.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from operator import attrgetter
from typing import Final

from paceline.core.measures.durations import UNKNOWN_US, Durations
from paceline.core.measures.tally import Tally
from paceline.core.measures.traces import Traces
from paceline_protocol.codec import encode_outcomes
from paceline_protocol.messages import ASSIGNMENT_OPTIONS, Assignment, NodeOutcomes, Outcome, TaskEnd
from paceline_protocol.options import is_traced

BATCH_TIME_US: Final = 1_000
BATCH_BYTES: Final = 1 << 20
"""The arguments of one batch for a worker; a single task may have more, up to the payload limit."""

_FAILED: Final = int(TaskEnd.FAILED)
"""A worker gives this end or SUCCEEDED, which is less; the others are decided elsewhere."""

DEAD_WORKERS: Final = 64
"""How many dead workers are remembered: a worker's last frame may be read after its death is noticed."""


Running = tuple[int, int, str, Assignment | None]
"""What a worker was given: (attempt, cost in us, name, the task itself if it stands behind another)."""


class WorkerSlot:
    """One worker process, and the tasks that it was given. It begins them in that order, and answers in that order."""

    __slots__ = ("answered", "cost_us", "names", "running", "worker_id")

    def __init__(self, worker_id: bytes, names: tuple[str, ...]) -> None:
        self.worker_id = worker_id
        self.names = names
        self.running: dict[bytes, Running] = {}
        self.cost_us = 0  # of all running tasks together, as expected
        self.answered = 0  # tasks, since it is ready


class UnrecordedBatch:
    """Outcomes that were reported to the leader, and are kept until the leader has recorded them."""

    __slots__ = ("_data", "items", "reported_at", "seq")

    def __init__(self, seq: int, items: list[Outcome], now: float) -> None:
        self.seq = seq
        self.items = items
        self.reported_at = now
        self._data = b""

    def message(self, term: int) -> NodeOutcomes:
        """The message that reports them to the leader of ``term``. A leader in this process takes ``items`` instead."""
        if not self._data:
            self._data = encode_outcomes(self.items)
        return NodeOutcomes(term, self.seq, self._data)


class Slots:
    """The tasks and workers of one node."""

    def __init__(self, first_seq: int = 1, traces: Traces | None = None) -> None:
        """``first_seq`` numbers the first batch of outcomes."""
        self._traces = traces if traces is not None else Traces()
        self.queue: deque[Assignment] = deque()
        self.workers: dict[bytes, WorkerSlot] = {}
        self.unrecorded: deque[UnrecordedBatch] = deque()
        self.durations = Durations()
        self.tally = Tally()
        self.accused: dict[bytes, str] = {}  # workers that said what none can say, and what; emptied by the caller
        self.executed = 0  # outcomes of tasks that ran to their end here
        self._dead: deque[bytes] = deque(maxlen=DEAD_WORKERS)
        self._held: dict[bytes, int] = {}  # task id -> attempt
        self.next_seq = first_seq  # of the next batch of outcomes

    # --- workers ------------------------------------------------------------------------------------------------

    def worker_ready(self, worker_id: bytes, names: tuple[str, ...]) -> None:
        """A worker is ready for tasks. If it is known to have died already, its message was read late and is
        ignored."""
        if worker_id not in self._dead:
            self.workers.setdefault(worker_id, WorkerSlot(worker_id, names)).names = names

    def worker_lost(self, worker_id: bytes, begun: int | None = None) -> list[tuple[bytes, int]]:
        """A worker died. Returns the attempts that it had begun, to be reported as lost. What it was given and had not
        begun goes to the front of the queue, as the same attempt.

        ``begun``: how many tasks it has begun since it was ready; None: not known, and all of them count as begun.

        With the last worker the node drops its queue, and its next account no longer names those tasks. The leader then
        gives them to other nodes.
        """
        self._dead.append(worker_id)
        slot = self.workers.pop(worker_id, None)
        if slot is None:
            return []
        given = list(slot.running.items())
        number = len(given)
        if begun is not None:
            number = min(max(begun - slot.answered, 0), number)
        # The first in line is not kept: it counts as begun, even if the worker died before it read of it.
        while number < len(given) and given[number][1][3] is None:
            number += 1
        for _, (_, _, name, _) in given[:number]:
            self.tally.executed(name, TaskEnd.LOST, 0)
        waiting = [assignment for _, (_, _, _, assignment) in given[number:] if assignment is not None]
        self.queue.extendleft(reversed(waiting))
        if not self.workers:
            for assignment in self.queue:
                self._held.pop(assignment[0], None)
            self.queue.clear()
        return [(task_id, running[0]) for task_id, running in given[:number]]

    def names(self) -> tuple[str, ...]:
        """The names of the tasks that this node's workers can run."""
        return tuple(sorted({name for slot in self.workers.values() for name in slot.names}))

    # --- tasks --------------------------------------------------------------------------------------------------

    def take(self, tasks: Iterable[Assignment]) -> list[Outcome]:
        """Queue tasks that the leader dispatched. Dropped are a copy of an attempt that is queued or runs here, and any
        task while there is no worker.

        Returns the outcomes of the tasks that have ended here already. The leader dispatches such a task if it received
        the outcome before it (again) accepted the task, so the outcome has to be reported once more.
        """
        held, queue = self._held, self.queue
        ended: list[Outcome] = []
        for assignment in tasks:
            task_id, attempt = assignment[0], assignment[1]
            if held.get(task_id, 0) < attempt:
                if self.workers:
                    held[task_id] = attempt
                    queue.append(assignment)
                    if assignment[ASSIGNMENT_OPTIONS] is not None and is_traced(assignment[ASSIGNMENT_OPTIONS]):
                        self._traces.dispatched_here(task_id)
            elif not any(task_id in slot.running for slot in self.workers.values()):
                ended += [outcome for batch in self.unrecorded for outcome in batch.items if outcome[0] == task_id][-1:]
        return ended

    def assign(self) -> list[tuple[bytes, tuple[Assignment, ...]]]:
        """Bind queued tasks to free workers. Returns (worker id, tasks) for each worker that got some."""
        queue = self.queue
        free = [slot for slot in self.workers.values() if slot.cost_us <= BATCH_TIME_US]
        if len(free) > 1:
            free.sort(key=attrgetter("cost_us"))
        given = []
        for slot in free:
            if not queue:
                break
            batch = self._batch_for(slot)
            if batch:
                given.append((slot.worker_id, batch))
        return given

    def _batch_for(self, slot: WorkerSlot) -> tuple[Assignment, ...]:
        """Take the next tasks for one worker: any one task if it is idle, and short ones up to BATCH_TIME_US."""
        queue, running = self.queue, slot.running
        batch: list[Assignment] = []
        batch_us = batch_bytes = 0
        while queue:
            assignment = queue[0]
            task_id, attempt, name = assignment[0], assignment[1], assignment[2]
            cost_us = UNKNOWN_US if attempt > 1 else self.durations.cost_us(name)
            if batch_us + cost_us > BATCH_TIME_US and (running or batch):
                break
            batch_bytes += len(assignment[3])
            if batch and batch_bytes > BATCH_BYTES:
                break
            queue.popleft()
            running[task_id] = (attempt, cost_us, name, assignment if running else None)
            batch_us += cost_us
            batch.append(assignment)
        slot.cost_us += batch_us
        return tuple(batch)

    def done(self, worker_id: bytes, outcomes: Iterable[Outcome]) -> list[Outcome]:
        """A worker answered. Returns the outcomes of the tasks that the worker was known to run. ``accused`` says so if
        one of them is none that a worker can give."""
        slot = self.workers.get(worker_id)
        if slot is None:
            return []
        running, observe, tally = slot.running, self.durations.observe, self.tally
        known = []
        for outcome in outcomes:
            charged = running.pop(outcome[0], None)
            if charged is None or outcome[2] > _FAILED or outcome[1] != charged[0]:
                self._accuse(slot, outcome, charged)
                continue
            slot.cost_us -= charged[1]
            observe(charged[2], outcome[4])
            tally.executed(charged[2], outcome[2], outcome[4])
            known.append(outcome)
        slot.answered += len(known)
        self.executed += len(known)
        return known

    def _accuse(self, slot: WorkerSlot, outcome: Outcome, charged: Running | None) -> None:
        """A worker gave an outcome that is none. What it was asked for stays with it, until it is ended for this."""
        if charged is not None:
            slot.running[outcome[0]] = charged
        if outcome[2] > _FAILED:
            self.accused[slot.worker_id] = f"it gave a task the end {outcome[2]}, which no worker can give"
        else:
            self.accused[slot.worker_id] = "it answered for a task that it was not given"

    def revoke(self, ids: Iterable[bytes]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """Remove the tasks that no worker has yet. Returns the ids (given back, kept)."""
        wanted = set(ids)
        given_back = tuple(dict.fromkeys(assignment[0] for assignment in self.queue if assignment[0] in wanted))
        if given_back:
            gone = set(given_back)
            self.queue = deque(assignment for assignment in self.queue if assignment[0] not in gone)
            for task_id in given_back:
                del self._held[task_id]
        return given_back, tuple(sorted(wanted.difference(given_back)))

    # --- outcomes and accounts ----------------------------------------------------------------------------------

    def report(self, items: list[Outcome], now: float) -> UnrecordedBatch:
        """Keep outcomes until the leader has recorded them."""
        batch = UnrecordedBatch(self.next_seq, items, now)
        self.next_seq += 1
        self.unrecorded.append(batch)
        return batch

    def recorded(self, seq: int) -> bool:
        """The leader has recorded every batch up to ``seq``. True if the node stops holding a lost attempt by that.

        A leader that learned of the loss late may have dispatched that attempt here once more, and :meth:`take` dropped
        the copy. Only a new account can tell the leader so.
        """
        held = self._held
        lost = False
        while self.unrecorded and self.unrecorded[0].seq <= seq:
            for outcome in self.unrecorded.popleft().items:
                task_id = outcome[0]
                if held.get(task_id) == outcome[1]:  # else a later attempt was dispatched here
                    del held[task_id]
                    lost = lost or outcome[2] == TaskEnd.LOST
        return lost

    def overdue(self, before: float, now: float) -> list[UnrecordedBatch]:
        """The batches that were last reported at ``before`` or earlier. They count as reported again at ``now``."""
        overdue = [batch for batch in self.unrecorded if batch.reported_at <= before]
        for batch in overdue:
            batch.reported_at = now
        return overdue

    def held(self) -> tuple[tuple[bytes, int], ...]:
        """The ids of all tasks that the node holds, with their attempts: those that it has, and those of every outcome
        that is not recorded, though a later attempt may have come after it and gone."""
        held = dict(self._held)
        for batch in self.unrecorded:
            for task_id, attempt, _end, _payload, _duration_us in batch.items:
                held.setdefault(task_id, attempt)
        return tuple(held.items())

    @property
    def running_tasks(self) -> int:
        """How many tasks the workers have."""
        return sum(len(slot.running) for slot in self.workers.values())
