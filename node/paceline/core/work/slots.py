"""A node's own slots: the tasks that were dispatched to it, which worker runs each, and the outcomes that the leader
has not recorded yet.

A node holds each task that was dispatched to it, in exactly one of three places, until a leader says that its outcome
is recorded: in ``queue`` (no worker has it), in the ``running`` map of one worker, or in ``unrecorded`` (its outcome).
The node reports all that it holds to each new leader. So no running task is run again, and no outcome is lost with the
leader that received it.

A task is bound to a worker as late as possible: one at a time, except short ones, which travel in batches of at most
``BATCH_TIME_US`` of expected work. A worker gets its next batch while it runs a short one, so that it never waits for
a hop.

One that was expected to be short may take an hour. Then what stands behind it at its worker is taken back, without a
word of the worker's, which runs user code and does not listen (:meth:`Slots.review`). It shares two numbers with its
node: how many tasks it has begun, and up to which of those that it was given it is to begin none. The worker writes the
first before a task and then looks at the second; the node writes the second, and looks at the first TAKE_BACK_S later,
when that is in everybody's sight. So what lies between them then is begun by nobody. The worker passes over it, and
answers for it with the end CANCELLED, in its turn.

A task may leave something that its worker ends before it begins another, once the outcome is told. Meanwhile that task
stays first in its worker's line, as one that is taken back: nothing is given to the worker, what stands behind the task
goes to others, and the worker answers for it once more. If that does not come, the worker is to be ended.

So a leader that asks for a task can't be told at once what becomes of one that stands behind another: it may be begun
in a moment, or be taken back. The node notes that it was asked for, and gives it back to the leader, and to no other
worker, once it knows that nobody begins it (:meth:`Slots.revoke`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from math import inf
from operator import attrgetter
from typing import Final

from paceline.core.measures.durations import UNKNOWN_US, Durations
from paceline.core.measures.tally import Tally
from paceline.core.measures.traces import Traces
from paceline.core.work.unrecorded import UnrecordedBatch
from paceline_protocol.limits import MAX_TASK_NAMES, PAYLOAD_LIMIT_BYTES
from paceline_protocol.messages import ASSIGNMENT_OPTIONS, OUTCOME_PAYLOAD, Assignment, Outcome, TaskEnd
from paceline_protocol.options import is_traced
from paceline_protocol.payload import ERROR_LIMIT_BYTES

BATCH_TIME_US: Final = 1_000
BATCH_BYTES: Final = 1 << 20
"""The arguments of one batch for a worker; a single task may have more, up to the payload limit."""

OVERRUN_S: Final = 0.1
"""A worker that has begun no other task for so long, and should have, is stuck: nothing is to wait behind that one."""
CLEAN_UP_S: Final = 2.0
"""A worker that cleans up behind a task for so long is blocked by what it ends: it gives that itself a second."""
TAKE_BACK_S: Final = 0.02
"""From telling a worker to begin no more to looking at what it has begun. No store takes nearly as long to be seen."""

DURATION_SLACK_US: Final = 10_000
"""A task may say that it ran for so much longer than its worker has had it: two processes read the clock."""

_FAILED: Final = int(TaskEnd.FAILED)
"""A worker gives this end or SUCCEEDED, which is less; the others are decided elsewhere."""
_PASSED_OVER: Final = int(TaskEnd.CANCELLED)
"""But for this one, of a task that it was told not to begin."""

HELD_LIMIT: Final = 1 << 20
"""A node that holds so many tasks begins no other until outcomes are recorded. Its account has to fit into a frame."""

UNRECORDED_BYTES: Final = 256 << 20
"""Nor one that keeps so much of outcomes."""

DEAD_WORKERS: Final = 64
"""How many dead workers are remembered: a worker's last frame may be read after its death is noticed."""


Running = tuple[int, int, str, Assignment | None, float]
"""What a worker was given: (attempt, cost in us, name, the task itself or None, when). None: it counts as begun, or was
taken back. Of what the worker may not have begun the task is kept, since it may have to wait again."""


class WorkerSlot:
    """One worker process, and the tasks that it was given. It begins them in that order, and answers in that order.
    ``taken_back``: those that others may have by now, and the one behind which it cleans up, until the worker has
    answered for them, too. ``asked_back``: those that the leader has asked for, while it is not known whether this
    worker begins them."""

    __slots__ = (
        "answered",
        "asked_back",
        "begun_when_told",
        "cleaning_up",
        "cost_us",
        "first",
        "first_since",
        "held_up",
        "names",
        "running",
        "taken_back",
        "told_at",
        "told_before",
        "told_through",
        "worker_id",
    )

    def __init__(self, worker_id: bytes, names: tuple[str, ...]) -> None:
        self.worker_id = worker_id
        self.names = names
        self.running: dict[bytes, Running] = {}
        self.cost_us = 0  # of all running tasks together, as expected
        self.answered = 0  # tasks, since it is ready
        self.taken_back: set[bytes] = set()
        self.asked_back: set[bytes] = set()
        self.cleaning_up = ""  # the name of the task behind which it cleans up
        self.held_up = False  # by that, for longer than anything is to wait for it
        self.first = b""  # the task that it ran at the last review
        self.first_since = 0.0  # the first review of which that is true
        self.told_through = 0  # of the tasks that it was given: up to this one it is to begin none
        self.told_before = 0  # up to which it was to begin none before it was told that
        self.told_at = 0.0
        self.begun_when_told = 0

    @property
    def given(self) -> int:
        """Tasks that it was given, since it is ready."""
        return self.answered + len(self.running)

    @property
    def is_free(self) -> bool:
        """Whether it may be given more."""
        return self.cost_us <= BATCH_TIME_US and not self.taken_back


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
        self.unrecorded: deque[UnrecordedBatch] = deque()
        self.durations = Durations()
        self.tally = Tally()
        self.accused: dict[bytes, str] = {}  # workers that said what none can say, and what; emptied by the caller
        self.stuck: list[bytes] = []  # workers behind whose task others wait; emptied by the caller
        self.blocked: dict[bytes, str] = {}  # workers that do not end what a task of this name left; emptied so, too
        self.given_back: list[bytes] = []  # tasks that the leader asked for, and nobody begins; emptied by the caller
        self.executed = 0  # outcomes of tasks that ran to their end here
        self._dead: deque[bytes] = deque(maxlen=DEAD_WORKERS)
        self._held: dict[bytes, int] = {}  # task id -> attempt
        self.next_seq = first_seq  # of the next batch of outcomes
        self._reported_bytes = 0  # of all batches, since the node runs

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
        taken_back = slot.taken_back
        begun_tasks = [(task_id, running[0]) for task_id, running in given[:number] if task_id not in taken_back]
        for task_id, _ in begun_tasks:
            self.tally.executed(slot.running[task_id][2], TaskEnd.LOST, 0)
        self._wait_again(slot, [running for task_id, running in given[number:] if task_id not in taken_back])
        if not self.workers:
            self._let_go({assignment[0] for assignment in self.queue})
            self.queue.clear()
        return begun_tasks

    def _wait_again(self, slot: WorkerSlot, given: Iterable[Running]) -> None:
        """What a worker was given and has not begun waits again, in front; what the leader has asked for leaves."""
        waiting = [assignment for each in given if (assignment := each[3]) is not None]
        if slot.asked_back:
            held, asked = self._held, slot.asked_back
            leaving = dict.fromkeys(each[0] for each in waiting if each[0] in asked and held.get(each[0]) == each[1])
            self.given_back += leaving
            self._let_go(set(leaving))
            waiting = [each for each in waiting if each[0] not in leaving]
        self.queue.extendleft(reversed(waiting))

    def review(self, now: float) -> None:
        """Find the workers that have run one task for so long that none is to stand behind it. To be called every so
        often; then the caller calls :meth:`take_back` for each of the ``stuck`` ones."""
        for slot in self.workers.values():
            first = next(iter(slot.running), b"")
            if not first or slot.first != first:
                slot.first, slot.first_since = first, now
            elif now >= slot.first_since + OVERRUN_S:
                self._hold_back(slot, first, now)

    def _hold_back(self, slot: WorkerSlot, first: bytes, now: float) -> None:
        """Give nothing more to a worker that is stuck, and have what stands behind its task taken back."""
        if slot.cost_us <= BATCH_TIME_US:  # what it takes is not known after all: it gets nothing more meanwhile
            attempt, cost_us, name, assignment, given_at = slot.running[first]
            slot.running[first] = (attempt, cost_us + UNKNOWN_US, name, assignment, given_at)
            slot.cost_us += UNKNOWN_US
            self.durations.observe(name, int((now - slot.first_since) * 1e6))  # so others of its name travel alone
        slot.held_up = slot.cleaning_up != ""
        is_blocked = slot.held_up and now >= slot.first_since + CLEAN_UP_S
        if is_blocked:
            self.blocked[slot.worker_id] = slot.cleaning_up
            slot.first_since = inf  # that is said once
        if is_blocked or len(slot.running) - len(slot.taken_back) > (first not in slot.taken_back):
            self.stuck.append(slot.worker_id)

    def take_back(self, worker_id: bytes, begun: int, now: float) -> int:
        """A stuck worker has ``begun`` so many tasks since it is ready. Returns up to which it is to be told to begin
        none, 0 for no news. What it was told of before, and can't begin any more, waits for another worker."""
        slot = self.workers.get(worker_id)
        number = 0 if slot is None else begun - slot.answered
        if slot is None or number < 1:
            return 0  # it stands still before its first task, which it must not pass over
        if slot.told_through != slot.given:
            slot.told_before, slot.told_through = slot.told_through, slot.given
            slot.begun_when_told, slot.told_at = begun, now
            return slot.given
        if now >= slot.told_at + TAKE_BACK_S:
            running, given = slot.running, list(slot.running)
            if begun == slot.begun_when_told:  # it has gone on with what it had begun, and has passed over nothing
                for task_id in given[max(slot.told_before - slot.answered, 0) : number]:
                    self._counts_as_begun(slot, task_id)
            ids = [task_id for task_id in given[number:] if task_id not in slot.taken_back]
            self._wait_again(slot, [running[task_id] for task_id in ids])
            for task_id in ids:
                attempt, cost_us, name, _, given_at = running[task_id]
                running[task_id] = (attempt, 0, name, None, given_at)
                slot.cost_us -= cost_us
            slot.taken_back.update(ids)
            slot.asked_back.difference_update(ids)
        return 0

    def _counts_as_begun(self, slot: WorkerSlot, task_id: bytes) -> None:
        """From now on it does not come back from this worker."""
        attempt, cost_us, name, _, given_at = slot.running[task_id]
        slot.running[task_id] = (attempt, cost_us, name, None, given_at)

    def _is_passed_over(self, slot: WorkerSlot, outcome: Outcome, given: Running) -> bool:
        """Whether the worker says that it has not begun a task, as it was told to. If no other has that by now, it
        waits again."""
        task_id = outcome[0]
        if outcome[2] != _PASSED_OVER or outcome[1] != given[0]:
            return False
        if task_id in slot.taken_back:
            slot.taken_back.discard(task_id)
            slot.cleaning_up, slot.held_up = "", False
        elif given[3] is not None and slot.answered < slot.told_through:
            self._wait_again(slot, [given])
        else:
            return False
        slot.cost_us -= given[1]
        slot.answered += 1
        return True

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
        held, queue = self._held, self.queue
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
        return list({each[0]: each for batch in self.unrecorded for each in batch.withdraw(copies)}.values())

    def assign(self, now: float) -> list[tuple[bytes, tuple[Assignment, ...]]]:
        """Bind queued tasks to free workers. Returns (worker id, tasks) for each worker that got some."""
        queue = self.queue
        if len(self._held) >= HELD_LIMIT or self._unrecorded_bytes >= UNRECORDED_BYTES:
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
                if charged is None or not self._is_passed_over(slot, outcome, charged):
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
            task_id, attempt, name = outcomes[-1][0], given[0], given[2]
            slot.running = {task_id: (attempt, 0, name, None, now), **slot.running}
            slot.taken_back.add(task_id)
            slot.answered -= 1
            slot.cleaning_up = name
            slot.first = b""  # it is so for another reason than before
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
            self._let_go(set(given_back))
            wanted.difference_update(given_back)
        kept: set[bytes] = set()
        for slot in self.workers.values():
            there = wanted.intersection(slot.running) - slot.taken_back
            if there:
                first = next(iter(slot.running))
                if first in there and slot.answered >= slot.told_through:
                    self._counts_as_begun(slot, first)
                begun = {task_id for task_id in there if slot.running[task_id][3] is None}
                kept |= begun
                slot.asked_back.update(there - begun)
        return given_back, tuple(sorted(kept))

    def _let_go(self, ids: set[bytes]) -> None:
        """These tasks leave the queue. The node still holds an earlier attempt of which an outcome is not recorded."""
        held = self._held
        for task_id in ids:
            held.pop(task_id, None)
        for batch in self.unrecorded:
            for outcome in batch.items:
                if outcome[0] in ids:
                    held[outcome[0]] = max(outcome[1], held.get(outcome[0], 0))

    # --- outcomes and accounts ----------------------------------------------------------------------------------

    def report(self, items: list[Outcome]) -> UnrecordedBatch:
        """Keep outcomes until the leader has recorded them."""
        batch = UnrecordedBatch(self.next_seq, items, self._reported_bytes)
        self.next_seq += 1
        self._reported_bytes += batch.size_bytes
        self.unrecorded.append(batch)
        return batch

    @property
    def _unrecorded_bytes(self) -> int:
        return self._reported_bytes - self.unrecorded[0].begins_at if self.unrecorded else 0

    def bytes_through(self, seq: int) -> int:
        """The bytes of all batches up to ``seq``, of this run. Not of one before the last that is recorded."""
        unrecorded = self.unrecorded
        following = seq + 1 - unrecorded[0].seq if unrecorded else 0
        return unrecorded[following].begins_at if following < len(unrecorded) else self._reported_bytes

    def reported_after(self, seq: int) -> Iterable[UnrecordedBatch]:
        """The batches behind ``seq``, in order."""
        return islice(self.unrecorded, seq + 1 - self.unrecorded[0].seq, None) if self.unrecorded else ()

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

    def held(self) -> tuple[tuple[bytes, int], ...]:
        """The ids of all tasks that the node holds, with their attempts: those that it has, and those of every outcome
        that is not recorded."""
        held = dict(self._held)
        for batch in self.unrecorded:
            for task_id, attempt, _end, _payload, _duration_us in batch.items:
                held.setdefault(task_id, attempt)
        return tuple(held.items())

    @property
    def running_tasks(self) -> int:
        """How many tasks the workers have."""
        return sum(len(slot.running) - len(slot.taken_back) for slot in self.workers.values())
