"""A node's own slots: the tasks that wait here, and which worker runs each of the others.

A node holds each task that was dispatched to it (``held.py``), in exactly one of three places, until a leader says that
its outcome is recorded: in ``queue`` (no worker has it), in the ``running`` map of one worker (``worker_slot.py``), or
in ``held.unrecorded`` (its outcome). The node reports all that it holds to each new leader. So no running task is run
again.

A task is bound to a worker as late as possible: one at a time, except short ones, which travel in batches of at most
``BATCH_TIME_US`` of expected work. A worker gets its next batch while it runs a short one, so that it never waits for
a hop.

Until a worker has begun a task, that may come back: it stands behind one that runs on or is cleaned up after, or its
worker dies. Then it waits again, in front, as the same attempt; or, if the leader has asked for it, the node gives it
back to the leader, and to no other worker, once it knows that nobody begins it (:meth:`Slots.revoke`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Final

from paceline.core.measures.durations import UNKNOWN_US, Durations
from paceline.core.measures.tally import Tally
from paceline.core.measures.traces import Traces
from paceline.core.work.held import HeldTasks
from paceline.core.work.worker_slot import BATCH_TIME_US, Running, WorkerSlot
from paceline_protocol.limits import MAX_TASK_NAMES, PAYLOAD_LIMIT_BYTES
from paceline_protocol.messages.records import ASSIGNMENT_OPTIONS, OUTCOME_PAYLOAD, Assignment, Outcome, TaskEnd
from paceline_protocol.options import is_traced
from paceline_protocol.payload import ERROR_LIMIT_BYTES

BATCH_BYTES: Final = 1 << 20
"""The arguments of one batch for a worker; a single task may have more, up to the payload limit."""

DURATION_SLACK_US: Final = 10_000
"""A task may say that it ran for so much longer than its worker has had it: two processes read the clock."""

_FAILED: Final = int(TaskEnd.FAILED)
"""A worker gives this end or SUCCEEDED, which is less; the others are decided elsewhere."""

DEAD_WORKERS: Final = 64
"""How many dead workers are remembered: a worker's last frame may be read after its death is noticed."""


class Slots:
    """The tasks and workers of one node."""

    def __init__(
        self,
        first_seq: int = 1,
        traces: Traces | None = None,
        payload_limit_bytes: int = PAYLOAD_LIMIT_BYTES,
    ) -> None:
        """``first_seq`` numbers the first batch of outcomes. ``payload_limit_bytes``: of one result."""
        self._payload_limit_bytes = payload_limit_bytes
        self._traces = traces if traces is not None else Traces()
        self.queue: deque[Assignment] = deque()
        self.workers: dict[bytes, WorkerSlot] = {}
        self.held = HeldTasks(first_seq)
        self.durations = Durations()
        self.tally = Tally()
        self.accused: dict[bytes, str] = {}  # workers that said what none can say, and what; emptied by the caller
        self.stuck: list[bytes] = []  # workers behind whose task others wait; emptied by the caller
        self.blocked: dict[bytes, str] = {}  # workers that do not end what a task of this name left; emptied so, too
        self.given_back: list[bytes] = []  # tasks that the leader asked for, and nobody begins; emptied by the caller
        self.executed = 0  # outcomes of tasks that ran to their end here
        self._dead: deque[bytes] = deque(maxlen=DEAD_WORKERS)

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
        lost, rest = slot.dies(begun)
        for _, running in lost:
            self.tally.executed(running[2], TaskEnd.LOST, 0)
        self._wait_again(slot, rest)
        if not self.workers:
            self.held.let_go({assignment[0] for assignment in self.queue})
            self.queue.clear()
        return [(task_id, running[0]) for task_id, running in lost]

    def _wait_again(self, slot: WorkerSlot, given: Iterable[Running]) -> None:
        """What a worker was given and has not begun waits again, in front; what the leader has asked for leaves."""
        waiting = [assignment for each in given if (assignment := each[3]) is not None]
        if slot.asked_back:
            held, asked = self.held.attempts, slot.asked_back
            leaving = dict.fromkeys(each[0] for each in waiting if each[0] in asked and held.get(each[0]) == each[1])
            self.given_back += leaving
            self.held.let_go(set(leaving))
            waiting = [each for each in waiting if each[0] not in leaving]
        self.queue.extendleft(reversed(waiting))

    def review(self, now: float) -> None:
        """Find the workers that have run one task for so long that none is to stand behind it. To be called every so
        often; then the caller calls :meth:`take_back` for each of the ``stuck`` ones."""
        for slot in self.workers.values():
            if slot.is_stuck(now):
                self._hold_back(slot, now)

    def _hold_back(self, slot: WorkerSlot, now: float) -> None:
        """Give nothing more to a worker that is stuck, and have what stands behind its task taken back."""
        if slot.cost_us <= BATCH_TIME_US:
            name = slot.charge_first()
            self.durations.observe(name, int((now - slot.first_since) * 1e6))  # so others of its name travel alone
        blocked_by = slot.note_stuck(now)
        if blocked_by:
            self.blocked[slot.worker_id] = blocked_by
        if blocked_by or slot.is_waited_for:
            self.stuck.append(slot.worker_id)

    def take_back(self, worker_id: bytes, begun: int, now: float) -> int:
        """A stuck worker has ``begun`` so many tasks since it is ready. Returns up to which it is to be told to begin
        none, 0 for no news. What it was told of before, and can't begin any more, waits for another worker."""
        slot = self.workers.get(worker_id)
        if slot is None or begun <= slot.answered:
            return 0  # it stands still before its first task, which it must not pass over
        through = slot.withhold(begun, now)
        if through:
            return through
        back = slot.take_back(begun, now)
        if back:
            self._wait_again(slot, back)
            slot.asked_back -= slot.taken_back
        return 0

    @property
    def serving(self) -> int:
        """How many workers run tasks, or wait for some."""
        return sum(1 for slot in self.workers.values() if not slot.held_up)

    def names(self) -> tuple[str, ...]:
        """The names of the tasks that this node's workers can run."""
        return tuple(sorted(self._names_without(b"")))

    def too_many_names(self, names: tuple[str, ...], leaving: bytes = b"") -> str:
        """Why a worker that can run these may not join the others, which may have imported their modules earlier;
        "" if it may. ``leaving``: the worker in whose place it comes, if any."""
        count = len(self._names_without(leaving).union(names))
        if count <= MAX_TASK_NAMES:
            return ""
        return f"with its tasks there are {count} names of tasks here, and a node runs at most {MAX_TASK_NAMES}"

    def _names_without(self, worker_id: bytes) -> set[str]:
        return {name for slot in self.workers.values() if slot.worker_id != worker_id for name in slot.names}

    # --- tasks --------------------------------------------------------------------------------------------------

    def take(self, tasks: Iterable[Assignment]) -> list[Outcome]:
        """Queue tasks that the leader dispatched. Dropped are a copy of an attempt that the node holds, and any task
        while there is no worker. What is not logged may also come back as new, its attempts counted from one.

        Returns the outcomes of what is held and has ended here, to be reported once more: the leader dispatches such a
        task if it received the outcome before it (again) accepted the task.
        """
        held, queue = self.held.attempts, self.queue
        copies: dict[bytes, int] = {}
        for assignment in tasks:
            task_id, attempt = assignment[0], assignment[1]
            if held.get(task_id, 0) >= attempt:
                copies[task_id] = held[task_id]
            elif self.workers:
                held[task_id] = attempt
                queue.append(assignment)
                if assignment[ASSIGNMENT_OPTIONS] is not None and is_traced(assignment[ASSIGNMENT_OPTIONS]):
                    self._traces.dispatched_here(task_id)
        if not copies:
            return []
        return self.held.withdraw(copies)

    def assign(self, now: float) -> list[tuple[bytes, tuple[Assignment, ...]]]:
        """Bind queued tasks to free workers. Returns (worker id, tasks) for each worker that got some."""
        queue = self.queue
        if self.held.is_full:
            return []
        free = [slot for slot in self.workers.values() if slot.is_free]
        if len(free) > 1:
            free.sort(key=attrgetter("cost_us"))
        given = []
        for slot in free:
            if not queue:
                break
            batch = self._batch_for(slot, now)
            if batch:
                given.append((slot.worker_id, batch))
        return given

    def _batch_for(self, slot: WorkerSlot, now: float) -> tuple[Assignment, ...]:
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
            running[task_id] = (attempt, cost_us, name, assignment if running else None, now)
            batch_us += cost_us
            batch.append(assignment)
        slot.cost_us += batch_us
        return tuple(batch)

    def done(self, worker_id: bytes, outcomes: Iterable[Outcome], now: float) -> list[Outcome]:
        """A worker answered. Returns the outcomes of the tasks that the worker was known to run. ``accused`` says so if
        one of them is none that a worker can give. No task counts as run for longer than the worker has had it."""
        slot = self.workers.get(worker_id)
        if slot is None:
            return []
        running, observe, tally, taken_back = slot.running, self.durations.observe, self.tally, slot.taken_back
        known = []
        for outcome in outcomes:
            charged = running.pop(outcome[0], None)
            limit_bytes = self._payload_limit_bytes if outcome[2] < _FAILED else ERROR_LIMIT_BYTES
            if (
                charged is None
                or outcome[2] > _FAILED
                or outcome[1] != charged[0]
                or len(outcome[OUTCOME_PAYLOAD]) > limit_bytes
                or (taken_back and outcome[0] in taken_back)
            ):
                if charged is not None and slot.passes_over(outcome, charged):
                    self._wait_again(slot, [charged])  # unless another has it by now
                else:
                    self._accuse(slot, outcome, charged)
                continue
            slot.answered += 1
            slot.cost_us -= charged[1]
            ran_us = outcome[4]
            had_it_us = int((now - charged[4]) * 1e6) + DURATION_SLACK_US
            if ran_us > had_it_us:
                ran_us = had_it_us
                known.append((outcome[0], outcome[1], outcome[2], outcome[3], ran_us))
            else:
                known.append(outcome)
            observe(charged[2], ran_us)
            tally.executed(charged[2], outcome[2], ran_us)
        if slot.asked_back:
            slot.asked_back.intersection_update(running)
        self.executed += len(known)
        return known

    def cleans_up(self, worker_id: bytes, outcomes: Sequence[Outcome], now: float) -> list[Outcome]:
        """A worker answered as for :meth:`done`, and ends what the last of these tasks has left."""
        slot = self.workers.get(worker_id)
        given = None if slot is None or not outcomes else slot.running.get(outcomes[-1][0])
        known = self.done(worker_id, outcomes, now)
        if slot is not None and given is not None and known and known[-1][0] == outcomes[-1][0]:
            slot.cleans_up(outcomes[-1][0], given, now)
        return known

    def _accuse(self, slot: WorkerSlot, outcome: Outcome, charged: Running | None) -> None:
        """A worker gave an outcome that is none. What it was asked for stays with it, until it is ended for this."""
        if charged is not None:
            slot.running[outcome[0]] = charged
        is_own = charged is not None and outcome[1] == charged[0] and outcome[0] not in slot.taken_back
        if is_own and outcome[2] <= _FAILED:
            what = "a result" if outcome[2] < _FAILED else "an error"
            size = len(outcome[OUTCOME_PAYLOAD])
            self.accused[slot.worker_id] = f"it gave {what} of {size} bytes, which is more than a worker sends"
        elif outcome[2] > _FAILED:
            self.accused[slot.worker_id] = f"it gave a task the end {outcome[2]}, which no worker can give"
        else:
            self.accused[slot.worker_id] = "it answered for a task that it was not given"

    def revoke(self, ids: Iterable[bytes]) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """The leader asks for these tasks. Removes those that no worker has. Returns the ids (given back, kept).

        Kept are those that a worker has begun, or is about to, as nothing stands before them there; they count as begun
        from then on. Of others that a worker has it is not known yet: those that come back are ``given_back``, and of
        those that begin the leader is told when it asks again. Of all else that it asks for an account or an outcome is
        on its way, which says more.
        """
        wanted = set(ids)
        given_back = tuple(dict.fromkeys(assignment[0] for assignment in self.queue if assignment[0] in wanted))
        if given_back:
            self.queue = deque(assignment for assignment in self.queue if assignment[0] not in wanted)
            self.held.let_go(set(given_back))
            wanted.difference_update(given_back)
        kept: set[bytes] = set()
        for slot in self.workers.values():
            kept |= slot.ask_back(wanted)
        return given_back, tuple(sorted(kept))

    @property
    def running_tasks(self) -> int:
        """How many tasks the workers have."""
        return sum(slot.running_tasks for slot in self.workers.values())
