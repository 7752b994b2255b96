"""A node's own slots: the tasks that wait here, and which worker runs each of the others.

A node holds each task that was dispatched to it (``held.py``), in exactly one of three places, until a leader says that
its outcome is recorded: in ``queue`` (no worker has it), in the ``running`` map of one worker (``worker_slot.py``), or
in ``held.unrecorded`` (its outcome). The node reports all that it holds to each new leader. So no running task is run
again.

A task is bound to a worker as late as possible: one at a time, except short ones, which travel in batches of at most
``BATCH_TIME_US`` of expected work. A worker gets its next batch while it runs a short one, so that it never waits for
a hop.

Calls that are handed to their function together (``batch``) are given to a worker that has nothing else to do, in one
Run of their own. So a Run that has any of them is one call, and all of them have begun once the first has.

A worker that is to be replaced leaves (:meth:`Slots.leave`). As one that was given as many tasks as it may be, it does
so by itself, and nothing is bound to it that goes beyond. While it runs what it has it is a slot as any other, so that
a node runs as many tasks at a time as it has workers, whichever of them leave.

Tasks that run many at once have a queue and workers of their own (``async_slot.py``). Which they are is known from the
first worker that is ready; their workers are started with the first of these tasks.

Until a worker has begun a task, that may come back: it stands behind one that runs on or is cleaned up after, or its
worker dies. Then it waits again, in front, as the same attempt; or, if the leader has asked for it, the node gives it
back to the leader, and to no other worker, once it knows that nobody begins it (:meth:`Slots.revoke`).

A task that waits for another one gives its slot back (``parking.py``), and nothing stands behind it meanwhile.

The file is long, as it has all that moves a task from one of the three places to another.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from math import ceil, inf
from operator import attrgetter
from typing import Final

from paceline.core.measures.durations import UNKNOWN_US, Durations
from paceline.core.measures.tally import Tally
from paceline.core.measures.traces import Traces
from paceline.core.work.amounts import TakenAmounts
from paceline.core.work.async_slot import AsyncSlot, may_begin_again
from paceline.core.work.draining import Draining
from paceline.core.work.held import HeldTasks
from paceline.core.work.limits import LimitedTask, TimeLimits, is_past_deadline, may_end_worker
from paceline.core.work.parking import Parking
from paceline.core.work.started import StartedTasks
from paceline.core.work.worker_slot import BATCH_TIME_US, OVERRUN_S, Running, WorkerSlot, own_max_tasks
from paceline_protocol.cancelled import LOST, NOT_AGAIN
from paceline_protocol.codec import decode_failed_attempt, encode_defaults, encode_own_schedules
from paceline_protocol.errors import LimitExceeded, ProtocolError
from paceline_protocol.limits import (
    BATCHED_BYTES,
    MAX_DEFAULTS_BYTES,
    MAX_INT,
    MAX_TASK_NAMES,
    PAYLOAD_LIMIT_BYTES,
    SUMMARY_LIMIT_BYTES,
)
from paceline_protocol.messages.records import (
    ASSIGNMENT_ID,
    ASSIGNMENT_NAME,
    ASSIGNMENT_OPTIONS,
    MAY_RETRY,
    OUTCOME_DURATION_US,
    OUTCOME_PAYLOAD,
    OUTCOME_STATE,
    Assignment,
    Default,
    Options,
    Outcome,
    TaskEnd,
)
from paceline_protocol.messages.schedules import OwnSchedule
from paceline_protocol.options import is_traced, together, understood, with_end, with_units
from paceline_protocol.payload import ERROR_LIMIT_BYTES
from paceline_protocol.places import Units

BATCH_BYTES: Final = 1 << 20
"""The arguments of one batch for a worker; a single task may have more, up to the payload limit."""

DURATION_SLACK_US: Final = 10_000
"""A task may say that it ran for so much longer than its worker has had it: two processes read the clock."""

_SUCCEEDED: Final = int(TaskEnd.SUCCEEDED)
_FAILED: Final = int(TaskEnd.FAILED)
"""A worker gives one of these ends, unless more is asked of it; the others are decided elsewhere."""
_CANCELLED: Final = int(TaskEnd.CANCELLED)
_TIMED_OUT: Final = int(TaskEnd.TIMED_OUT)

FAILED_ATTEMPT_BYTES: Final = ERROR_LIMIT_BYTES + 4 * SUMMARY_LIMIT_BYTES + 64
"""More than a failed attempt takes that is packed."""

NO_ROOM_S: Final = 0.2
"""A task that waits for amounts for so long goes back to the leader: another node may have them."""
ASYNC_START_S: Final = 10.0
"""The first async worker is ready by then, or the tasks that wait for it go back to the leader."""
ASYNC_WORKERS: Final = 1
"""How many workers of a node run many tasks at once. Each is one more process beside the others."""

GONE_NAMES: Final = 4 * MAX_TASK_NAMES
"""Names that this node does not run any more: beyond so many they are forgotten, and what comes under one fails."""

DEAD_WORKERS: Final = 64
"""How many dead workers are remembered: a worker's last frame may be read after its death is noticed."""


class Slots:
    """The tasks and workers of one node."""

    def __init__(
        self,
        first_seq: int = 1,
        traces: Traces | None = None,
        payload_limit_bytes: int = PAYLOAD_LIMIT_BYTES,
        worker_max_tasks: int = 0,
        async_slots: int = 1,
        amounts: str = "",
        units: Units = (),
        max_parked: int = 0,
    ) -> None:
        """``first_seq`` numbers the first batch of outcomes. ``payload_limit_bytes``: of one result.
        ``worker_max_tasks``: how many a worker may be given, 0 for any number. ``async_slots``: how many async tasks a
        worker runs at once; 1: they run as others do. ``amounts``: that this node declares, and ``units``: the numbers
        of those that have some. ``max_parked``: how many tasks may have given their slots back."""
        self._payload_limit_bytes = payload_limit_bytes
        self._worker_max_tasks = worker_max_tasks
        self._traces = traces if traces is not None else Traces()
        self.queue: deque[Assignment] = deque()
        self.async_queue: deque[Assignment] = deque()  # the same of tasks that run many at once
        self.workers: dict[bytes, WorkerSlot] = {}
        self.async_workers: dict[bytes, AsyncSlot] = {}  # those of the workers that run these, and nothing else
        self._async_slots = async_slots
        self._async_names: set[str] = set()  # the names of such tasks, as the worker that was ready last has it
        self._async_wanted_at = inf  # when the first such task came
        self._has_begun_async = False  # since then a worker was ready for them, or should have been
        self.lacks_async_workers = False  # they are to be started; emptied by the caller
        self.parking = Parking(max_parked)
        self.lacks_stand_ins = False  # tasks wait here for slots that were given back; emptied by the caller
        self.has_dropped = False  # a task was taken for which no worker is here; emptied by the caller
        self.held = HeldTasks(first_seq)
        self.durations = Durations()
        self.tally = Tally()
        self.accused: dict[bytes, str] = {}  # workers that said what none can say, and what; emptied by the caller
        self.stuck: list[bytes] = []  # workers behind whose task others wait; emptied by the caller
        self.blocked: dict[bytes, str] = {}  # workers that do not end what a task of this name left; emptied so, too
        self.ended: list[Outcome] = []  # by the ends of their workers, and not lost; emptied by the caller
        self.to_stop: list[tuple[bytes, int]] = []  # workers, and which of their tasks; emptied by the caller
        self.to_cancel: list[tuple[bytes, bytes]] = []  # likewise, of async ones: workers, and ids of tasks
        self.leaving: dict[bytes, str] = {}  # workers that are to be replaced, and why
        # Tasks that nobody begins, as the leader asked for them, or their deadline is reached; emptied by the caller.
        self.given_back: list[bytes] = []
        self.limits = TimeLimits()
        self._amounts = TakenAmounts(amounts, self.workers, units)
        self.starts = StartedTasks()
        self.draining = Draining()
        self.to_give_up: list[bytes] = []  # workers to be killed, as the drain is over; emptied by the caller
        self._given_up: set[bytes] = set()  # of those the ones that have not ended
        self._is_mixed = False  # not every worker can run the same names, as while their modules are reloaded
        self._known: tuple[str, ...] = ()  # the names that this node runs
        self._gone_names: set[str] = set()  # that it ran before, until its modules were reloaded
        self.executed = 0  # outcomes of tasks that ran to their end here
        self._dead: deque[bytes] = deque(maxlen=DEAD_WORKERS)
        self._schedules: list[OwnSchedule] = []  # of the modules of the worker that was ready last
        self.has_other_schedules = False  # than the leader was told; set back by whoever tells it
        self._defaults: dict[str, Default] = {}  # of names that workers can run, as the one that was ready last has it

    # --- workers ------------------------------------------------------------------------------------------------

    def worker_ready(self, worker_id: bytes, names: tuple[str, ...], in_place_of: bytes = b"") -> None:
        """A worker is ready for tasks. If it is known to have died already, its message was read late and is ignored.
        ``in_place_of``: the worker that it succeeds, if that is still here."""
        if worker_id in self._dead:
            return
        slot = self.workers.get(worker_id)
        if slot is not None:
            slot.names = names
            self._compare_names()
            return
        max_tasks = own_max_tasks(worker_id, self._worker_max_tasks)
        if self._lacks_async_worker(in_place_of):
            slot = self.async_workers[worker_id] = AsyncSlot(worker_id, names, self._async_slots, max_tasks)
            self._has_begun_async = True
        else:
            slot = WorkerSlot(worker_id, names, max_tasks)
        self.workers[worker_id] = slot
        self._compare_names()

    def _lacks_async_worker(self, without: bytes) -> bool:
        """Whether the next worker is to run many tasks at once: there is another for all else, and none for that."""
        if not self._async_names or self._async_wanted_at == inf:
            return False
        there = [each for worker_id, each in self.workers.items() if worker_id != without]
        serving = sum([1 for each in there if each.is_async and not each.is_leaving])
        return serving < ASYNC_WORKERS and any(not each.is_async for each in there)

    @property
    def has_async_tasks(self) -> bool:
        """Whether this node has tasks that are to run many at once, and so workers for them."""
        return bool(self._async_names)

    def _compare_names(self) -> None:
        """Workers have come or gone, or leave. What waits here and nobody here can run any more is ``given_back``."""
        self._is_mixed = len({slot.names for slot in self.workers.values()}) > 1
        known = self.names()
        if known == self._known or not self.workers:
            return
        gone = self._gone_names
        gone.update(self._known)
        gone.difference_update(known)
        self._known = known
        if len(gone) > GONE_NAMES:
            gone.clear()
        leaving = [each[0] for each in (*self.queue, *self.async_queue) if each[2] in gone]
        if leaving:
            self.queue = deque(each for each in self.queue if each[2] not in gone)
            self.async_queue = deque(each for each in self.async_queue if each[2] not in gone)
            self.held.let_go(set(leaving))
            self.given_back += leaving

    def worker_lost(
        self,
        worker_id: bytes,
        begun: int | None = None,
        killed_for: Outcome | None = None,
        now: float = 0.0,
        blamed: int = 0,
    ) -> list[tuple[bytes, int]]:
        """A worker died. Returns the attempts that it had begun, to be reported as lost. Those have ``ended`` for which
        it was killed, or that it was asked to stop. What it was given and had not begun goes to the front of the queue,
        as the same attempt.

        ``begun``: how many tasks it has begun since it was ready; None: not known, and all of them count as begun.
        ``killed_for``: how the attempt ended for which it was killed, if it was. ``blamed``: the number of the task
        whose code an async worker ran as it ended; 0: not known.

        Where one task was the cause the others of an async worker wait again, too, if they may be begun again.

        With the last worker the node drops its queue, and its next account no longer names those tasks. The leader then
        gives them to other nodes.
        """
        self._dead.append(worker_id)
        self.leaving.pop(worker_id, None)
        is_given_up = worker_id in self._given_up
        self._given_up.discard(worker_id)
        slot = self.workers.pop(worker_id, None)
        if slot is None:
            return []
        self._compare_names()
        self.async_workers.pop(worker_id, None)
        for task_id in slot.running if self.parking.waiting else ():
            self.parking.waiting.pop(task_id, None)
        lost: list[tuple[bytes, int]] = []
        begun_tasks, rest = slot.dies(begun)
        spared: list[Running] = []
        cause = slot.cause_of_end(blamed) if killed_for is None else killed_for[0]
        for task_id, running in begun_tasks:
            end = _end_with_worker(task_id, running[0], killed_for, slot, now)
            if end is None and self.draining.takes_back(task_id, running[2], is_given_up):
                self.held.let_go({task_id})
            elif end is None and cause and task_id != cause and _is_spared(kept := slot.kept(task_id, running)):
                spared.append(kept)
            elif end is None:
                lost.append((task_id, running[0]))
                self.tally.executed(running[2], TaskEnd.LOST, 0)
            else:
                self.ended.append(end)
                counts_as = _TIMED_OUT if end[OUTCOME_STATE] == MAY_RETRY else end[OUTCOME_STATE]
                self.tally.executed(running[2], counts_as, end[OUTCOME_DURATION_US])
        self._wait_again(slot, spared + rest)
        if len(self.workers) == len(self.async_workers):
            self._drop(self.queue)
        if not self.async_workers and self._has_begun_async:
            self._drop(self.async_queue)
        return lost

    def _drop(self, queue: deque[Assignment]) -> None:
        """No worker is left for these."""
        self.held.let_go({assignment[0] for assignment in queue})
        queue.clear()

    def _wait_again(self, slot: WorkerSlot, given: Iterable[Running]) -> None:
        """What a worker was given and has not begun waits again, in front; what the leader has asked for leaves, and so
        does what no worker can run any more, and what has a rate."""
        waiting = [assignment for each in given if (assignment := each[3]) is not None]
        if slot.asked_back or self._gone_names or self.starts:
            held, asked, gone = self.held.attempts, slot.asked_back, self._gone_names
            back = [each for each in waiting if each[0] in asked or each[2] in gone or self.starts.has(each[0])]
            leaving = dict.fromkeys(each[0] for each in back if held.get(each[0]) == each[1])
            self.given_back += leaving
            self.held.let_go(set(leaving))
            waiting = [each for each in waiting if each[0] not in leaving]
        (self.async_queue if slot.is_async else self.queue).extendleft(reversed(waiting))

    def leave(self, worker_id: bytes, why: str) -> None:
        """This worker is to be replaced: it is given nothing more, and ends once it has answered for what it has."""
        slot = self.workers.get(worker_id)
        if slot is not None and not (slot.is_leaving or slot.is_ending):
            slot.is_leaving = True
            self.leaving[worker_id] = why
            self._compare_names()

    def left(self) -> list[bytes]:
        """The workers that leave and have nothing to do any more: others are to serve in their places."""
        return [worker_id for worker_id in self.leaving if self.workers[worker_id].has_left]

    def to_succeed(self) -> list[bytes]:
        """The workers that leave and in whose places others are to serve now: those of :meth:`left`, and async ones, as
        what they run may take long, and they have room for nothing else."""
        leaving = [self.workers[worker_id] for worker_id in self.leaving]
        return [slot.worker_id for slot in leaving if slot.is_async or slot.has_left]

    def take_left(self) -> list[tuple[bytes, str]]:
        """Those of :meth:`left`, and why they leave. They are none of this node from now on, and can be ended. The last
        worker stays until another is ready: without any a node gives up its queue. An async one does not, once no name
        is async any more."""
        idle = self.left()
        for is_async in (False, True) if self._async_names else (False,):
            kind = [worker_id for worker_id, slot in self.workers.items() if slot.is_async == is_async]
            if kind and set(kind) <= set(idle):
                idle.remove(kind[-1])
        left = [(worker_id, self.leaving.pop(worker_id)) for worker_id in idle]
        for worker_id, _ in left:
            del self.workers[worker_id]
            self.async_workers.pop(worker_id, None)
            self._dead.append(worker_id)
        self._compare_names()
        return left

    def is_being_ended(self, worker_id: bytes) -> None:
        """This worker is being killed: until its end is noticed, it gets nothing that would be lost with it."""
        slot = self.workers.get(worker_id)
        if slot is not None:
            slot.is_ending = True

    def take_over_limit(self, now: float) -> list[tuple[bytes, LimitedTask]]:
        """The workers that are to be killed, as each runs a task for longer than that may, with these tasks. What runs
        beside others is first ``to_cancel``."""
        over = self.limits.take_over(now)
        also_over, self.limits.also_over = self.limits.also_over, []
        for worker_id, task in also_over:
            self.workers[worker_id].over[task.task_id] = task
        to_cancel, self.limits.to_cancel = self.limits.to_cancel, []
        for worker_id, task in to_cancel:
            self.workers[worker_id].over[task.task_id] = task
            self.to_cancel.append((worker_id, task.task_id))
        for worker_id, _ in over:
            self.is_being_ended(worker_id)
        return over

    def review(self, now: float) -> None:
        """Find the workers that have run one task for so long that none is to stand behind it, and those that go on
        with what they are asked to stop. To be called every so often; then the caller calls :meth:`take_back` for each
        of the ``stuck`` ones, and asks those again that are ``to_stop``: they may not have seen it."""
        if not self._has_begun_async and now >= self._async_wanted_at + ASYNC_START_S:
            self._has_begun_async = True
            self._drop(self.async_queue)  # for other nodes: here no worker may ever be ready again
        refused = self._amounts.refused_since(now - NO_ROOM_S)
        if refused and any(each[0] == refused for each in (*self.queue, *self.async_queue)):
            self.queue = deque(each for each in self.queue if each[0] != refused)
            self.async_queue = deque(each for each in self.async_queue if each[0] != refused)
            self.held.let_go({refused})
            self.given_back.append(refused)
        for slot in self.workers.values():
            if slot.is_stuck(now):
                self._hold_back(slot, now)
            for task_id in slot.stopping if not slot.is_async else ():
                self.to_stop.append((slot.worker_id, slot.number_of(task_id)))

    def _hold_back(self, slot: WorkerSlot, now: float) -> None:
        """Give nothing more to a worker that is stuck, and have what stands behind its task taken back."""
        if slot.cost_us <= BATCH_TIME_US:
            name = slot.charge_first()
            self.durations.observe(name, int((now - slot.first_since) * 1e6))  # so others of its name travel alone
        blocked_by = slot.note_stuck(now)
        if blocked_by:
            slot.is_ending = True
            self.blocked[slot.worker_id] = blocked_by
        if blocked_by or slot.is_waited_for:
            self.stuck.append(slot.worker_id)

    def waits(self, worker_id: bytes, task_id: bytes, waits_for: bytes, now: float) -> bool:
        """A worker says that its task waits for another one, which is to be the next here if it is here. True if that
        is news; nothing else can be said of a task that it does not run."""
        slot = self.workers.get(worker_id)
        if slot is None or slot.is_async or next(iter(slot.running), b"") != task_id or task_id in slot.taken_back:
            return False
        if self.parking.waiting.get(task_id) == waits_for:
            return False
        self.parking.waiting[task_id] = waits_for
        if slot.first != task_id or slot.first_since > now - OVERRUN_S:
            slot.first, slot.first_since = task_id, now - OVERRUN_S  # nothing is to stand behind it, from now on
            self._hold_back(slot, now)
        if waits_for in self.held.attempts:
            found = [each for each in self.queue if each[0] == waits_for]
            if found:
                self.queue.remove(found[0])
                self.queue.appendleft(found[0])
        return True

    def goes_on(self, worker_id: bytes, task_id: bytes) -> bool:
        """A worker says that its task goes on which waited. True if it did."""
        slot = self.workers.get(worker_id)
        if slot is None or task_id not in slot.running:
            return False
        return self.parking.waiting.pop(task_id, b"") != b""

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
        """How many workers run one task at a time, or wait for one; none of a node that takes no tasks."""
        if not self.draining.takes_tasks:
            return 0
        serving = sum(
            1
            for slot in self.workers.values()
            if not (slot.is_async or slot.held_up or slot.is_ending or slot.has_left)
        )
        return min(serving, self.parking.slots)

    @property
    def plain_workers(self) -> int:
        """How many workers run one task at a time."""
        return len(self.workers) - len(self.async_workers)

    @property
    def slots(self) -> int:
        """How many tasks these workers run at a time: without stand-ins, as many as there are."""
        return min(self.plain_workers, self.parking.slots)

    @property
    def async_serving(self) -> int:
        """How many tasks the async workers run at once, or will once there are any: the first such task has them
        started. None of a node that takes no tasks."""
        if not self.draining.takes_tasks:
            return 0
        if not self._has_begun_async:
            return ASYNC_WORKERS * self._async_slots if self._async_names and self.plain_workers else 0
        return sum(slot.offered for slot in self.async_workers.values())

    @property
    def has_waiting(self) -> bool:
        """Whether a task waits for a worker."""
        return bool(self.queue) or bool(self.async_queue)

    @property
    def waiting(self) -> int:
        """How many tasks no worker has."""
        return len(self.queue) + len(self.async_queue)

    def async_names(self) -> tuple[str, ...]:
        """Those of :meth:`names` that run many at once."""
        return tuple(name for name in self.names() if name in self._async_names) if self._async_names else ()

    def learn_async(self, names: tuple[str, ...], async_names: Iterable[str]) -> None:
        """A worker that is ready tells which of its names can run many at once."""
        if self._async_slots > 1:
            self._async_names.difference_update(names)
            self._async_names.update(set(async_names).intersection(names))
            if self.async_queue:  # what is not async any more is a task as any other
                self.queue.extend(each for each in self.async_queue if each[2] not in self._async_names)
                self.async_queue = deque(each for each in self.async_queue if each[2] in self._async_names)

    def names(self) -> tuple[str, ...]:
        """The names of the tasks that this node's workers can run; of those that leave, and so get nothing more, only
        while there are no others."""
        workers = self.workers.values()
        getting = [slot.names for slot in workers if not slot.is_leaving] or [slot.names for slot in workers]
        return tuple(sorted({name for names in set(getting) for name in names}))

    def too_many_names(self, names: tuple[str, ...], leaving: bytes = b"") -> str:
        """Why a worker that can run these may not join the others, which may have imported their modules earlier;
        "" if it may. ``leaving``: the worker in whose place it comes, if any."""
        count = len(self._names_without(leaving).union(names))
        if count <= MAX_TASK_NAMES:
            return ""
        return f"with its tasks there are {count} names of tasks here, and a node runs at most {MAX_TASK_NAMES}"

    def learn_defaults(self, names: tuple[str, ...], defaults: Iterable[Default]) -> str:
        """A worker that is ready tells what its node is to announce of some of its names. Returns why it may not join
        the others with that, and nothing is learned; "" if it may."""
        news, others = set(names), self._names_without(b"").difference(names)
        known = {name: default for name, default in self._defaults.items() if name in others}
        known.update({default[0]: default for default in defaults if default[0] in news})
        try:
            encode_defaults(known.values())
        except LimitExceeded as error:
            return f"with it the options of its node's tasks take {error.size} bytes, of {MAX_DEFAULTS_BYTES}"
        self._defaults = known
        return ""

    def defaults(self, level: int = MAX_INT) -> bytes:
        """What this node announces of its tasks, packed. ``level``: that its reader understands."""
        defaults, names = self._defaults, self.names() if self._defaults else ()
        found = [defaults[name] for name in names if name in defaults]
        return encode_defaults([(name, priority, understood(options, level)) for name, priority, options in found])

    def learn_schedules(self, schedules: list[OwnSchedule]) -> None:
        """Those that come with the modules of the worker that was ready last are those of the node."""
        if schedules != self._schedules:
            self._schedules = schedules
            self.has_other_schedules = True

    def schedules(self, level: int = MAX_INT) -> bytes:
        """Those that come with the modules of this node, packed. ``level``: that its reader understands."""
        found: list[OwnSchedule] = []
        for name, definition in self._schedules:
            options = definition.options
            found.append((name, definition._replace(options=None if options is None else understood(options, level))))
        return encode_own_schedules(found)

    def _names_without(self, worker_id: bytes) -> set[str]:
        return {name for slot in self.workers.values() if slot.worker_id != worker_id for name in slot.names}

    # --- tasks --------------------------------------------------------------------------------------------------

    @property
    def takes_tasks(self) -> bool:
        """Whether the node can run what it is given."""
        return bool(self.workers) and self.draining.takes_tasks

    def let_queue_go(self) -> bool:
        """What no worker has leaves the node, unrun. False if there is nothing."""
        if not self.has_waiting:
            return False
        self._drop(self.queue)
        self._drop(self.async_queue)
        return True

    def give_up(self) -> None:
        """The drain is over: the workers that run something are to be killed, and what they had begun leaves, too."""
        self.draining.is_over = True
        for slot in self.workers.values():
            if slot.running_tasks and not slot.is_ending:
                slot.is_ending = True
                self.to_give_up.append(slot.worker_id)
                self._given_up.add(slot.worker_id)

    def take(self, tasks: Iterable[Assignment], now: float, dispatch_seq: int = 0) -> list[Outcome]:
        """Queue tasks that the leader dispatched. Dropped are a copy of an attempt that the node holds, and a task
        for which there is no worker, or none any more. What is not logged may also come back as new, its attempts
        counted from one. ``dispatch_seq``: the number of their Dispatch.

        Returns the outcomes of what is held and has ended here, to be reported once more: the leader dispatches such a
        task if it received the outcome before it (again) accepted the task.
        """
        held, queue, takes_tasks = self.held.attempts, self.queue, self.draining.takes_tasks
        has_plain_workers = takes_tasks and self.plain_workers > 0
        copies: dict[bytes, int] = {}
        for assignment in tasks:
            task_id, attempt = assignment[0], assignment[1]
            if held.get(task_id, 0) >= attempt:
                copies[task_id] = held[task_id]
            elif self._gone_names and assignment[2] in self._gone_names:
                self.has_dropped = True  # it was on its way as the last worker left that could run it
            elif self._async_names and self._runs_beside_others(assignment):
                if takes_tasks and (self.async_workers or self._awaits_async_workers(now)):
                    held[task_id] = attempt
                    options = assignment[ASSIGNMENT_OPTIONS]
                    self.async_queue.append(
                        assignment if options is None else self._arrives(assignment, options, now, dispatch_seq)
                    )
                else:
                    self.has_dropped = True
            elif has_plain_workers:
                held[task_id] = attempt
                options = assignment[ASSIGNMENT_OPTIONS]
                queue.append(assignment if options is None else self._arrives(assignment, options, now, dispatch_seq))
            else:
                self.has_dropped = True
        if not copies:
            return []
        return self.held.withdraw(copies)

    def _runs_beside_others(self, assignment: Assignment) -> bool:
        """Whether an async worker runs it."""
        options = assignment[ASSIGNMENT_OPTIONS]
        return assignment[2] in self._async_names and (options is None or not options.get("alone", 0))

    def _awaits_async_workers(self, now: float) -> bool:
        """An async task has come, and there is no worker for it. Whether the first one is about to be ready."""
        if self._async_wanted_at == inf:
            self._async_wanted_at, self.lacks_async_workers = now, True
        return not self._has_begun_async

    def _arrives(self, assignment: Assignment, options: Options, now: float, dispatch_seq: int) -> Assignment:
        """A task with options is queued. Returns it with its deadline by the clock of this node."""
        task_id = assignment[ASSIGNMENT_ID]
        if is_traced(options):
            self._traces.dispatched_here(task_id)
        if "delivery" in options:
            self.draining.arrives(task_id, options, self.held.attempts, len(self.held.attempts))
        if "rate" in options:
            self.starts.arrives(task_id, dispatch_seq)
        if "time_left" not in options:
            return assignment
        return *assignment[:ASSIGNMENT_OPTIONS], with_end(options, ceil(now * 1_000))

    def assign(self, now: float) -> list[tuple[bytes, tuple[Assignment, ...]]]:
        """Bind queued tasks to free workers. Returns (worker id, tasks) for each worker that got some. Those that can't
        start any more are ``given_back``."""
        queue = self.queue
        if self.held.is_full:
            return []
        self._amounts.is_known = False
        given = self._assign_async(now) if self.async_queue else []
        free = [slot for slot in self.workers.values() if not slot.is_async and slot.is_free]
        if len(free) > 1:
            free.sort(key=attrgetter("cost_us"))
        if len(self.workers) - len(self.async_workers) > self.parking.slots:
            free = self._within_slots(free)
        for slot in free:
            if not queue:
                break
            batch = self._batch_for(slot, now)
            if batch:
                given.append((slot.worker_id, batch))
        if self.parking.waiting and queue:
            self.lacks_stand_ins = True
        if self.given_back:
            self.held.let_go(set(self.given_back))
        unfit, self._amounts.unfit = self._amounts.unfit, None
        if unfit is not None and not self.leaving:
            self.leave(unfit[1], "it may have opened other GPUs than those that are free")
        return given

    def _within_slots(self, free: list[WorkerSlot]) -> list[WorkerSlot]:
        """Those that may be given tasks though there are more workers than slots."""
        idle = [slot for slot in free if not slot.running]
        busy = sum(1 for slot in self.workers.values() if slot.running and not slot.is_async)
        return [slot for slot in free if slot.running] + idle[: self.parking.room(busy)]

    def _assign_async(self, now: float) -> list[tuple[bytes, tuple[Assignment, ...]]]:
        """Give the async workers what they have room for: the next task to that which has the fewest. What none of
        them can run now keeps its place: another one may, or the worker runs an earlier attempt of that task, which was
        counted as lost while this node was not heard. What no worker can run any more is ``given_back``."""
        queue = self.async_queue
        batches: dict[bytes, list[Assignment]] = {}
        passed: list[Assignment] = []
        while queue:
            free = [each for each in self.async_workers.values() if each.is_free]
            if not free:
                break
            assignment = queue.popleft()
            options = assignment[ASSIGNMENT_OPTIONS]
            may_be_killed = options is not None and may_end_worker(options)
            if options is not None and may_be_killed and is_past_deadline(options, now):
                self.given_back.append(assignment[ASSIGNMENT_ID])
                continue
            free = [each for each in free if each.can_begin(assignment)]
            needs = "" if options is None else options.get("needs", "")
            if needs and not self._amounts.can_ever(needs):
                self.given_back.append(assignment[ASSIGNMENT_ID])
                continue
            if not free and self._is_known(assignment[ASSIGNMENT_NAME]):
                passed.append(assignment)
                continue
            if not free:
                self.given_back.append(assignment[ASSIGNMENT_ID])
                continue
            slot = min(free, key=_tasks_of)
            if needs and not self._amounts.begins(slot.worker_id, assignment, needs, now):
                passed.append(assignment)
                continue
            slot.give(assignment, now)
            if needs:
                assignment = self._with_units(slot.worker_id, assignment)
            batches.setdefault(slot.worker_id, []).append(assignment)
            if may_be_killed:
                self.limits.begins(slot.worker_id, assignment, now, is_async=True)
            if options is not None and "rate" in options:
                self.starts.begins(assignment[ASSIGNMENT_ID])
            if slot.given >= slot.max_tasks:
                self.leave(slot.worker_id, f"it has run as many tasks as it may, {slot.given}")
        queue.extendleft(reversed(passed))
        return [(worker_id, tuple(batch)) for worker_id, batch in batches.items()]

    def _is_known(self, name: str) -> bool:
        """Whether any worker can run this name."""
        return any(name in slot.names for slot in self.workers.values())

    def _batch_for(self, slot: WorkerSlot, now: float) -> tuple[Assignment, ...]:
        """Take the next tasks for one worker: any one task if it is idle, and short ones up to BATCH_TIME_US. What it
        can't run keeps its place."""
        queue, running = self.queue, slot.running
        batch: list[Assignment] = []
        passed: list[Assignment] = []
        batch_us = batch_bytes = 0
        room = slot.max_tasks - slot.given
        while queue and len(batch) < room:
            assignment = queue[0]
            task_id, attempt, name = assignment[0], assignment[1], assignment[2]
            if self._is_mixed and name not in slot.names:
                passed.append(queue.popleft())  # another worker can
                continue
            options = assignment[ASSIGNMENT_OPTIONS]
            if options is not None and "batch" in options:
                if running or batch:
                    break
                batch = self._take_together(slot, options, room, now)
                if batch:
                    batch_us = UNKNOWN_US
                    break
                continue  # none of them may start any more
            may_be_killed = options is not None and may_end_worker(options)
            if options is not None and may_be_killed and is_past_deadline(options, now):
                queue.popleft()
                self.given_back.append(task_id)  # no worker is to be killed for it
                continue
            needs = "" if options is None else options.get("needs", "")
            if needs and not self._amounts.can_ever(needs):
                queue.popleft()
                self.given_back.append(task_id)
                continue
            # What takes amounts goes to a worker that has nothing else to do, as it takes them from then on; and what
            # has a rate, as it starts then.
            has_rate = options is not None and "rate" in options
            is_alone = attempt > 1 or may_be_killed or needs or has_rate
            cost_us = UNKNOWN_US if is_alone else self.durations.cost_us(name)
            if batch_us + cost_us > BATCH_TIME_US and (running or batch):
                break
            if needs and not self._amounts.begins(slot.worker_id, assignment, needs, now):
                passed.append(queue.popleft())
                continue
            batch_bytes += len(assignment[3])
            if batch and batch_bytes > BATCH_BYTES:
                break
            queue.popleft()
            running[task_id] = (attempt, cost_us, name, assignment if running else None, now)
            batch_us += cost_us
            batch.append(self._with_units(slot.worker_id, assignment) if needs else assignment)
            if may_be_killed:
                self.limits.begins(slot.worker_id, assignment, now)
            if has_rate:
                self.starts.begins(task_id)
        queue.extendleft(reversed(passed))
        slot.cost_us += batch_us
        if len(batch) == room:
            self.leave(slot.worker_id, f"it has run as many tasks as it may, {slot.given}")
        return tuple(batch)

    def _take_together(self, slot: WorkerSlot, options: Options, room: int, now: float) -> list[Assignment]:
        """Take the next calls that are handed to their function together: those of the first one's name and options
        that stand next to each other, as the leader has given them. The worker has nothing else to do, begins all of
        them at once, and is given nothing behind them. Those whose deadlines are reached are given back."""
        queue, name, common = self.queue, self.queue[0][ASSIGNMENT_NAME], together(options)
        limit = min(room, 1 if "alone" in options else max(1, options["batch"]))
        taken: list[Assignment] = []
        args_bytes = 0
        while queue and len(taken) < limit:
            assignment = queue[0]
            task_id, attempt, its_name, args, its_options = assignment
            if its_name != name or its_options is None or together(its_options) != common:
                break
            if is_past_deadline(its_options, now):
                queue.popleft()
                self.given_back.append(task_id)
                continue
            args_bytes += len(args)
            if taken and args_bytes > BATCHED_BYTES:
                break
            queue.popleft()
            slot.running[task_id] = (attempt, 0 if taken else UNKNOWN_US, name, None, now)
            if may_end_worker(its_options):
                self.limits.begins(slot.worker_id, assignment, now)
            taken.append(assignment)
        slot.together = {each[0]: each for each in taken}
        return taken

    def _with_units(self, worker_id: bytes, assignment: Assignment) -> Assignment:
        """As the worker is given it, which has just begun it."""
        units = self._amounts.units_of(worker_id, assignment[ASSIGNMENT_ID])
        options = assignment[ASSIGNMENT_OPTIONS]
        if not units or options is None:
            return assignment
        return *assignment[:ASSIGNMENT_OPTIONS], with_units(options, units)

    def done(self, worker_id: bytes, outcomes: Iterable[Outcome], now: float) -> list[Outcome]:
        """A worker answered. Returns the outcomes of the tasks that the worker was known to run. ``accused`` says so if
        one of them is none that a worker can give. No task counts as run for longer than the worker has had it."""
        slot = self.workers.get(worker_id)
        if slot is None:
            return []
        running, durations, tally, taken_back = slot.running, self.durations, self.tally, slot.taken_back
        limits, stopping = self.limits if self.limits else None, slot.stopping
        waiting = self.parking.waiting
        known = []
        for answer in outcomes:
            outcome = answer
            task_id, attempt, end, payload, ran_us = outcome
            charged = running.pop(task_id, None)
            is_answer = len(payload) <= self._payload_limit_bytes if end == _SUCCEEDED else _fails(outcome, slot)
            if charged is None or not is_answer or attempt != charged[0] or (taken_back and task_id in taken_back):
                if charged is not None and slot.passes_over(outcome, charged):
                    self._wait_again(slot, [charged])  # unless another has it by now
                else:
                    self._accuse(slot, outcome, charged)
                continue
            slot.answered += 1
            slot.cost_us -= charged[1]
            if waiting:
                waiting.pop(task_id, None)
            if isinstance(slot, AsyncSlot):
                outcome = slot.answers(outcome, charged, now)
                end, payload = outcome[OUTCOME_STATE], outcome[OUTCOME_PAYLOAD]
            if limits is not None:
                limits.ends(worker_id, task_id)
            if ran_us > DURATION_SLACK_US:  # else it is no longer than that, whenever it was given
                ran_us = min(ran_us, int((now - charged[4]) * 1e6) + DURATION_SLACK_US)
                known.append((task_id, attempt, end, payload, ran_us))
            else:
                known.append(outcome)
            if end != _CANCELLED:
                durations.observe(charged[2], ran_us)
            tally.executed(charged[2], end if end != MAY_RETRY else _FAILED, ran_us)
        if slot.together and not running:
            slot.together = {}
        if slot.asked_back:
            slot.asked_back.intersection_update(running)
        if stopping:
            known = [_last(outcome) if outcome[0] in stopping else outcome for outcome in known]
            stopping.intersection_update(running)
        self.executed += len(known)
        return known

    def cleans_up(self, worker_id: bytes, outcomes: Sequence[Outcome], now: float) -> list[Outcome]:
        """A worker answered as for :meth:`done`, and ends what the last of these tasks has left."""
        slot = self.workers.get(worker_id)
        if slot is not None and slot.is_async:
            self.accused[worker_id] = "it has others wait behind what a task has left, and runs many at once"
            return []
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
        if is_own and outcome[2] == MAY_RETRY:
            self.accused[slot.worker_id] = "it gave a failed attempt that can't be read"
        elif is_own and outcome[2] in (_SUCCEEDED, _FAILED):
            what = "a result" if outcome[2] == _SUCCEEDED else "an error"
            size = len(outcome[OUTCOME_PAYLOAD])
            self.accused[slot.worker_id] = f"it gave {what} of {size} bytes, which is more than a worker sends"
        elif outcome[2] not in (_SUCCEEDED, _FAILED):
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
        if self.async_queue:
            given_back += tuple([each[0] for each in self.async_queue if each[0] in wanted])
        if given_back:
            self.queue = deque(assignment for assignment in self.queue if assignment[0] not in wanted)
            self.async_queue = deque(each for each in self.async_queue if each[0] not in wanted)
            self.held.let_go(set(given_back))
            wanted.difference_update(given_back)
        kept: set[bytes] = set()
        for slot in self.workers.values():
            kept |= slot.ask_back(wanted)
        return given_back, tuple(sorted(kept))

    def stop(self, attempts: Iterable[tuple[bytes, int]], now: float) -> tuple[tuple[bytes, ...], tuple[bytes, ...]]:
        """The leader asks for these attempts, which somebody wants cancelled. Returns the ids (given back, stopping):
        of those that :meth:`revoke` keeps their workers are asked to stop them, once.

        A later attempt than is asked for is what a node holds of which this leader counts anew, as it was not logged:
        of a task that somebody wants cancelled none follows that this leader knows of."""
        wanted = dict(attempts)
        given_back, kept = self.revoke(wanted)
        stopping: list[bytes] = []
        for slot in self.workers.values() if kept else ():
            there = [task_id for task_id in kept if task_id in slot.running and task_id not in slot.taken_back]
            for task_id in there:
                if slot.running[task_id][0] < wanted[task_id]:
                    continue
                stopping.append(task_id)
                if task_id not in slot.stopping:
                    slot.stopping.add(task_id)
                    self.limits.asked_to_stop(slot.worker_id, task_id, now)
                    if slot.is_async:
                        self.to_cancel.append((slot.worker_id, task_id))
                    else:
                        self.to_stop.append((slot.worker_id, slot.number_of(task_id)))
        return given_back, tuple(stopping)

    @property
    def running_tasks(self) -> int:
        """How many tasks the workers have."""
        return sum(slot.running_tasks for slot in self.workers.values())

    def running_ids(self) -> set[bytes]:
        """The tasks that the workers have."""
        return {task_id for slot in self.workers.values() for task_id in slot.running}

    def has(self, worker_id: bytes, task_id: bytes, attempt: int) -> bool:
        """Whether this worker has that attempt."""
        slot = self.workers.get(worker_id)
        running = None if slot is None else slot.running.get(task_id)
        return running is not None and running[0] == attempt


def _tasks_of(slot: AsyncSlot) -> int:
    return len(slot.running)


def _is_spared(running: Running) -> bool:
    """Whether a task whose worker was killed for another one waits again, as the same attempt."""
    assignment = running[3]
    return assignment is not None and may_begin_again(assignment[ASSIGNMENT_OPTIONS])


def _end_with_worker(
    task_id: bytes, attempt: int, killed_for: Outcome | None, slot: WorkerSlot, now: float
) -> Outcome | None:
    """How an attempt has ended whose worker died; None: it is lost."""
    end: Outcome | None = None
    if killed_for is not None and killed_for[:2] == (task_id, attempt):
        end = killed_for
    elif task_id in slot.over:  # it was cancelled for its limit, and another one ended its worker
        end = slot.over[task_id].outcome(now)
    if task_id in slot.stopping:
        return (task_id, attempt, _CANCELLED, LOST, 0) if end is None else _last(end)
    return end


def _last(outcome: Outcome) -> Outcome:
    """The outcome of an attempt that was asked to stop: no other follows. Of a later one that its worker has passed
    over it says that the task had run."""
    task_id, attempt, end, payload, duration_us = outcome
    if end == MAY_RETRY:
        _summary, _delay_ms, end, payload = decode_failed_attempt(payload)
    elif end == _CANCELLED and attempt > 1:
        payload = payload or NOT_AGAIN
    return task_id, attempt, end, payload, duration_us


def _fails(outcome: Outcome, slot: WorkerSlot) -> bool:
    """Whether a worker says in the right form that an attempt failed, and perhaps that it may be made again; or that it
    stopped, as it was asked to."""
    end, size_bytes = outcome[2], len(outcome[OUTCOME_PAYLOAD])
    if end == _FAILED or (end == _CANCELLED and (outcome[0] in slot.stopping or outcome[0] in slot.over)):
        return size_bytes <= ERROR_LIMIT_BYTES
    if end != MAY_RETRY or size_bytes > FAILED_ATTEMPT_BYTES:
        return False
    try:
        return decode_failed_attempt(outcome[OUTCOME_PAYLOAD])[2] == _FAILED  # that it ran too long the node says
    except ProtocolError:
        return False
