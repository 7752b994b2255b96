"""The workers of a simulated machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from paceline.core.work.limits import ASYNC_GRACE_S
from paceline.runtime.children.pool import ChildEnd
from paceline.runtime.transport.memory_transport import MemoryEndpoint
from paceline_protocol.cancelled import STOPPED
from paceline_protocol.codec import decode, encode
from paceline_protocol.inputs import is_enveloped, open_envelope
from paceline_protocol.messages.children import (
    CleaningUp,
    Done,
    GoesOn,
    Remarks,
    Run,
    ServeAsync,
    Stop,
    StopAttempts,
    Waits,
)
from paceline_protocol.messages.records import Assignment, Outcome, TaskEnd
from paceline_protocol.options import together
from paceline_protocol.payload import pack_value
from simulation import tasks
from simulation.oracle.events import (
    AskedToStop,
    Bound,
    BrokenOff,
    CalledTogether,
    CalledWith,
    DrainKills,
    Finished,
    GivenToWorker,
    KilledBeside,
    NextInLine,
    Overran,
    Overstayed,
    Started,
    WorkersHave,
)
from simulation.oracle.promise import InvariantBroken
from simulation.tasks import WhenAsked

if TYPE_CHECKING:
    from simulation.machines import SimulatedNode

NOTICED_S = (0.005, 0.03)
"""From when a worker is killed until its node notices, behind all that it had written."""
HEARD_S = 0.05
"""By then a node has read what a worker has said."""
SEEN_WITHIN_S = 0.01
"""What a node writes into the memory that it shares with a worker is seen by then."""


@dataclass(slots=True)
class Given:
    """A task that a worker has, when it will be done, what the worker then answers (None: it dies of it), and how long
    it then cleans up."""

    due: float
    task_id: bytes
    attempt: int
    outcome: Outcome | None
    leaves_s: float = 0.0
    when_asked: WhenAsked = WhenAsked.GOES_ON
    number: int = 0  # of those for which one function runs: of the tasks that its worker was given
    waits_for: bytes = b""  # the task whose end it waits for
    went_on_at: float = -inf  # and does no more


@dataclass(slots=True, eq=False)
class SimulatedWorker:
    """Runs tasks one after the other. ``queue``: of these it has begun the first, unless it is ``cleaning_up`` behind
    one that has ended, until ``clean_at``. ``unread``: those under way to it."""

    worker_id: bytes
    endpoint: MemoryEndpoint
    queue: list[Given] = field(default_factory=list)
    unread: list[Assignment] = field(default_factory=list)
    cleaning_up: Outcome | None = None
    clean_at: float = 0.0
    begun: int = 0  # tasks since its start, or passed over
    given: list[tuple[bytes, int]] = field(default_factory=list)  # tasks and attempts, since its start
    together: int = 0  # of the queue: one function runs for so many
    asked_of: dict[int, float] = field(default_factory=dict)  # from when on it sees that it is asked to stop which task
    asked: tuple[float, int] | None = None  # from when on it sees that it is asked to stop the task of this number
    dies_at: float = inf  # it was killed, and its node notices by then, behind what it had written
    is_replaced: bool = False  # another was started in its place
    is_cut: bool = False  # it was killed as the drain of its node was over
    room: int = 0  # of one that runs many at once: it has begun all that is in the queue
    blamed: int = 0  # likewise: which of those that it was given has ended it, as far as it can tell
    units: dict[bytes, str] = field(default_factory=dict)  # that its tasks were given, where nodes declare some
    over: set[tuple[bytes, int]] = field(default_factory=set)  # likewise: attempts that it was told to stop for a limit
    withheld: list[tuple[float, int]] = field(default_factory=list)
    """From when on, by the clock of its node, it is to begin none up to which."""

    def due(self, now: float) -> float:
        """When it has something to do."""
        if self.dies_at < inf:
            return self.dies_at
        if self.endpoint.waiting:
            return now
        if self.room:
            return min([given.due for given in self.queue], default=inf)
        seen_at = self.asked[0] if self.asked is not None else inf
        if self.cleaning_up is not None:
            return min(self.clean_at, seen_at)
        return min(self.queue[0].due if self.queue else inf, seen_at)

    @property
    def waiting(self) -> list[Given]:
        """What it has not begun."""
        if self.room or self.together:
            return []
        return self.queue if self.cleaning_up is not None else self.queue[1:]

    def is_busy(self, now: float) -> bool:
        """Whether it has tasks, and does not wait for another one, as far as its node can have heard."""
        waits = any(given.waits_for or now < given.went_on_at + HEARD_S for given in self.queue)
        return bool(self.queue or self.unread) and not waits

    def look_after_parent(self, node: SimulatedNode) -> None:
        """The task that it runs waits for another one: see whether that has ended."""
        first = self.queue[0] if self.queue else None
        if first is None or not first.waits_for or first.due < inf or self.dies_at < inf:
            return
        if node.world.stories[first.waits_for].outcome is not None:
            node.world.events["task that goes on as what it waited for has ended"] += 1
            self.endpoint.send(encode(GoesOn(first.task_id)))
            first.waits_for, first.went_on_at = b"", node.world.now
            first.due = node.world.now + node.world.rng.uniform(0.0, 0.1)

    @property
    def task_ids(self) -> list[bytes]:
        """All that it has and has not answered for."""
        return [given.task_id for given in self.queue] + [assignment[0] for assignment in self.unread]

    @property
    def has_begun(self) -> list[Given]:
        """What it runs."""
        if self.room or self.together:
            return self.queue
        return self.queue[:1] if self.cleaning_up is None else []

    @property
    def is_free(self) -> bool:
        if self.room:
            return len(self.queue) + len(self.unread) < self.room
        return not self.queue and self.cleaning_up is None

    def is_sent(self, node: SimulatedNode, run: Run) -> None:
        """The node sends it these."""
        assert node.core is not None
        node.world.watcher.look_at_availability(node, node.core)  # it may take tasks again since earlier in this turn
        for task in run.tasks:
            node.world.oracle.hear(GivenToWorker(node.world.now, task[0], node.identity.node_id))
            self.unread.append(task)
            self.given.append(task[:2])
            self.over.discard(task[:2])  # of a leader that did not know of it the same attempt may come again
        if node.world.has_places:
            self.units.update({task[0]: (task[4] or {}).get("units", "") for task in run.tasks})
            have = [(task_id, worker.units[task_id]) for worker in node.workers for task_id in worker.task_ids]
            ids, units = tuple(each[0] for each in have), tuple(each[1] for each in have)
            has = WorkersHave(node.world.now, node.identity.node_id, ids, node.tags, node.amounts, units)
            node.world.oracle.hear(has)
            have = [task_id for worker in node.workers for task_id in worker.task_ids]
            oracle = node.world.oracle
            oracle.hear(WorkersHave(node.world.now, node.identity.node_id, tuple(have), node.tags, node.amounts))
        if not self.room:
            others = [each for each in node.workers if each.is_busy(node.world.now) and not each.room]
            node.world.oracle.hear(Bound(node.world.now, node.identity.node_id, len(others), node.slots))
        if not self.room and any(together(task[4] or {}) for task in run.tasks) and len(self.unread) > len(run.tasks):
            raise InvariantBroken(f"worker {self.worker_id.hex()} is given what goes together behind other tasks")
        limit = node.world.settings.worker_max_tasks
        if 0 < limit < len(self.given):
            raise InvariantBroken(
                f"worker {self.worker_id.hex()} is given {len(self.given)} tasks, and may run {limit}"
            )
        if self.room and len(self.queue) + len(self.unread) > self.room:
            raise InvariantBroken(f"worker {self.worker_id.hex()} has {self.room} slots, and is given more tasks")
        self._look_forward(node)

    def is_told_to_stop(self, node: SimulatedNode, ids: tuple[bytes, ...]) -> None:
        """The node has it stop these, as they are over their limits, or as somebody wants them cancelled."""
        assert node.core is not None
        oracle, slot = node.world.oracle, node.core.leader_link.slots.async_workers[self.worker_id]
        for task_id in ids:
            attempt = slot.running[task_id][0]
            if task_id in slot.over and (task_id, attempt) not in self.over:
                self.over.add((task_id, attempt))
                node.world.events["async task cancelled for its limit"] += 1
                oracle.hear(Overran(node.world.now, task_id, attempt, ASYNC_GRACE_S))
            else:
                node.world.events["async task asked to stop"] += 1
                oracle.hear(AskedToStop(node.world.now, task_id, attempt))

    def _look_forward(self, node: SimulatedNode) -> None:
        if not self.room and self.unread and self.is_free:
            node.world.oracle.hear(NextInLine(node.world.now, self.unread[0][0]))

    def step(self, node: SimulatedNode) -> None:
        world, now = node.world, node.world.now
        if self.dies_at < inf:
            if now >= self.dies_at:
                node.lose_worker(self)
            return
        done: list[Outcome] = []
        for frame in self.endpoint.receive():
            message = decode(frame)
            if isinstance(message, Run):
                done += self._take(node, message)
            elif isinstance(message, ServeAsync):
                self.room = message.slots
            elif isinstance(message, StopAttempts):
                self._stop(now, message.ids)
            else:
                assert isinstance(message, Stop)
        if self.room:
            self._step_async(node)
            return
        if self.cleaning_up is not None and now >= self.clean_at:
            task_id, attempt, *_ = self.cleaning_up
            self.cleaning_up = None
            done += [(task_id, attempt, TaskEnd.CANCELLED, b"", 0), *self._begin(node)]
        self._look(now)
        dies = False
        if self.together and self.queue[0].due <= now:
            dies = any(given.outcome is None for given in self.queue)
            done += self._end_together(node) if not dies else []
        while self.cleaning_up is None and self.queue and self.queue[0].due <= now and not dies:
            given = self.queue.pop(0)
            outcome = given.outcome
            if outcome is None:
                dies = True
                world.oracle.hear(BrokenOff(now, given.task_id, given.attempt, node.identity.node_id))
                continue
            task_id, attempt, end, payload, _duration_us = outcome
            world.oracle.hear(Finished(now, task_id, attempt, node.identity.node_id, end, payload))
            if given.leaves_s:
                self.endpoint.send(encode(CleaningUp((*done, outcome))))
                self._clean_up(node, outcome, given.leaves_s)
                done = []
                continue
            done += [outcome, *self._begin(node)]
        if done:
            self.endpoint.send(encode(Done(tuple(done))))
            self._look_forward(node)
        if dies:
            world.events["worker killed by its task"] += 1
            world.events["task that its dying worker had not begun"] += len(self.queue)
            node.lose_worker(self)

    def _end_together(self, node: SimulatedNode) -> list[Outcome]:
        """The function returns that runs for all of these."""
        done: list[Outcome] = []
        for given in self.queue:
            assert given.outcome is not None
            task_id, attempt, end, payload, _duration_us = given.outcome
            if given.when_asked == WhenAsked.STOPS and self.asked_of.get(given.number, inf) <= node.world.now:
                node.world.events["call that stops beside others"] += 1
                end, payload = int(TaskEnd.CANCELLED), STOPPED
            node.world.oracle.hear(Finished(node.world.now, task_id, attempt, node.identity.node_id, end, payload))
            done.append((task_id, attempt, end, payload, 50))
        self.queue, self.together = [], 0
        return done

    def _step_async(self, node: SimulatedNode) -> None:
        """What runs at once ends in any order."""
        world, now = node.world, node.world.now
        done: list[Outcome] = []
        dies, blamed = False, 0
        for given in sorted(self.queue, key=lambda each: each.due):
            if given.due > now or dies:
                break
            self.queue.remove(given)
            if given.outcome is None:
                dies = True
                world.oracle.hear(BrokenOff(now, given.task_id, given.attempt, node.identity.node_id))
                blamed = max(n for n, each in enumerate(self.given, 1) if each == (given.task_id, given.attempt))
                continue
            task_id, attempt, end, payload, _duration_us = given.outcome
            if end != TaskEnd.CANCELLED or (task_id, attempt) not in self.over:  # else its node says how it ended
                world.oracle.hear(Finished(now, task_id, attempt, node.identity.node_id, end, payload))
            else:
                world.oracle.hear(BrokenOff(now, task_id, attempt, node.identity.node_id))
            done.append(given.outcome)
        if done:
            self.endpoint.send(encode(Done(tuple(done))))
        if dies:
            world.events["worker killed by its task"] += 1
            world.events["async task beside the one that killed its worker"] += len(self.queue)
            self.blamed = blamed if world.rng.random() < 0.5 else 0
            if self.blamed:
                for task_id in sorted(self.has_for(node) - {self.given[blamed - 1][0]}):
                    world.oracle.hear(KilledBeside(now, task_id))
            node.lose_worker(self)

    def has_for(self, node: SimulatedNode) -> set[bytes]:
        """The tasks that its node may take to run here: what it has answered may be read behind its end."""
        has = {given.task_id for given in self.queue} | {assignment[0] for assignment in self.unread}
        slot = None if node.core is None else node.core.leader_link.slots.async_workers.get(self.worker_id)
        return has if slot is None else has.union(slot.running)

    def _stop(self, now: float, ids: tuple[bytes, ...]) -> None:
        """It is to stop those of these that it runs."""
        for given in self.queue:
            if given.task_id in ids and given.when_asked != WhenAsked.GOES_ON:
                given.due = now
                if given.when_asked == WhenAsked.STOPS:
                    given.outcome = (given.task_id, given.attempt, TaskEnd.CANCELLED, STOPPED, 50)

    def _clean_up(self, node: SimulatedNode, outcome: Outcome, takes_s: float) -> None:
        """What stands behind has to wait."""
        node.world.events["worker that cleans up behind a task"] += 1
        self.cleaning_up, self.clean_at = outcome, node.world.now + takes_s
        for given in self.queue:
            given.due += takes_s

    def _look(self, now: float) -> None:
        """See whether the task that it runs is asked to stop."""
        if self.asked is None or now < self.asked[0] or self.begun < self.asked[1]:
            return
        first = self.queue[0] if self.queue and self.cleaning_up is None and not self.together else None
        if first is not None and self.begun == self.asked[1] and first.when_asked != WhenAsked.GOES_ON:
            first.due = now
            if first.when_asked == WhenAsked.STOPS:
                first.outcome = (first.task_id, first.attempt, TaskEnd.CANCELLED, STOPPED, 50)
        self.asked = None

    def _take(self, node: SimulatedNode, run: Run) -> list[Outcome]:
        """Queue these, and begin if there was nothing to do. Returns the answers for those that it passes over."""
        world = node.world
        was_idle = self.is_free
        due = self.queue[-1].due if self.queue else max(world.now, self.clean_at)
        del self.unread[: len(run.tasks)]
        for task_id, attempt, name, sent, options in run.tasks:
            args = sent
            if is_enveloped(options):
                args, results = open_envelope(sent)
                world.oracle.hear(CalledWith(world.now, task_id, tuple(results)))
                world.events["task that is called with results"] += 1
            if self.room:
                due = world.now
                self.begun += 1
                self._starts(node, task_id, attempt)
            due += tasks.takes_s(name, args, world.rng)
            when_asked = tasks.when_asked(args)
            if tasks.kills_worker(name, args, attempt):
                self.queue.append(Given(due, task_id, attempt, None, when_asked=when_asked))
            else:
                outcome = (task_id, attempt, *tasks.outcome(name, args, attempt, options), 50)
                leaves_s = tasks.leaves_s(args, world.rng)
                self.queue.append(Given(due, task_id, attempt, outcome, leaves_s, when_asked))
        if not self.room and run.tasks and together(run.tasks[0][4] or {}):
            return self._begin_together(node, run)
        world.events["async task that begins beside others"] += self.room > 0 and len(self.queue) > len(run.tasks)
        return self._begin(node) if was_idle and not self.room else []

    def _begin_together(self, node: SimulatedNode, run: Run) -> list[Outcome]:
        """One function is called for all of these but those that are to stop by now. Returns their answers."""
        world, calls = node.world, tuple([(task[0], task[2]) for task in run.tasks])
        if len(self.queue) > len(run.tasks) or self.cleaning_up is not None:
            raise InvariantBroken(f"worker {self.worker_id.hex()} has others beside what goes together")
        world.events["call for several tasks at once"] += len(calls) > 1
        world.oracle.hear(CalledTogether(world.now, calls))
        done: list[Outcome] = []
        for number, given in enumerate(list(self.queue), self.begun + 1):
            given.number = number
            if self.asked_of.get(number, inf) <= world.now:
                self.queue.remove(given)
                done.append((given.task_id, given.attempt, TaskEnd.CANCELLED, b"", 0))
            else:
                self._starts(node, given.task_id, given.attempt)
        self.begun += len(calls)
        self.together = len(self.queue)
        last = max([given.due for given in self.queue], default=0.0)
        for given in self.queue:
            given.due = last
        return done

    def _starts(self, node: SimulatedNode, task_id: bytes, attempt: int) -> None:
        """It begins this one, which says so."""
        node.world.oracle.hear(Started(node.world.now, task_id, attempt, node.identity.node_id))
        if node.world.asks_how_far:
            said = pack_value((attempt, None, task_id.hex()))
            self.endpoint.send(encode(Remarks(((task_id, attempt, said, b"", 0),))))

    def _begin(self, node: SimulatedNode) -> list[Outcome]:
        """Begin the first task of the queue that is not withheld. Returns the answers for those that it passes over."""
        world = node.world
        passed_over: list[Outcome] = []
        while self.queue:
            self.begun += 1
            first = self.queue[0]
            if not any(self.begun <= through and node.now >= since for since, through in self.withheld):
                self._starts(node, first.task_id, first.attempt)
                if first.due == inf and first.outcome is not None:
                    world.events["task that waits for another"] += 1
                    first.waits_for = world.child_of(first.task_id)
                    self.endpoint.send(encode(Waits(first.task_id, first.waits_for)))
                self._look(world.now)
                break
            world.events["task that was taken back from a worker"] += 1
            passed_over.append((first.task_id, first.attempt, TaskEnd.CANCELLED, b"", 0))
            del self.queue[0]
        return passed_over


class SimulatedChildren:
    """The workers as their reactor sees them. That one of them dies is told to the core by the machine."""

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node
        self._introduced: set[bytes] = set()
        self._has_more = False

    def introduces_itself(self, worker_id: bytes) -> bool:
        is_first = worker_id not in self._introduced
        self._introduced.add(worker_id)
        return is_first

    def _find(self, worker_id: bytes) -> SimulatedWorker | None:
        return next((worker for worker in self._node.workers if worker.worker_id == worker_id), None)

    def have_more(self, count: int) -> bool:
        if self._has_more:
            return False
        self._has_more = True
        for _ in range(count):
            self._node.add_worker()
        return True

    def grow(self, count: int) -> None:
        for _ in range(count):
            self._node.world.events["stand-in started"] += 1
            self._node.add_worker()

    def let_go(self, worker_id: bytes) -> None:
        worker = self._find(worker_id)
        if worker is not None:
            worker.is_replaced = True  # nobody is to come in its place

    def give_up_one(self) -> bool:
        return False

    def ready(self, worker_id: bytes, names: tuple[str, ...]) -> bool:
        return True

    def begun(self, worker_id: bytes) -> int | None:
        worker = self._find(worker_id)
        return None if worker is None else worker.begun

    def blamed(self, worker_id: bytes) -> int:
        return 0

    def withhold(self, worker_id: bytes, through: int) -> None:
        """The worker sees it a moment later, by the clock of the node, which may jump to its next look."""
        worker, node = self._find(worker_id), self._node
        if worker is not None:
            worker.withheld.append((node.now + node.world.rng.uniform(0.0, SEEN_WITHIN_S), through))

    def stop_task(self, worker_id: bytes, number: int) -> None:
        """As in :meth:`withhold`, which is part of it."""
        worker, world = self._find(worker_id), self._node.world
        if worker is None:
            return
        task_id, attempt = worker.given[number - 1]
        worker.asked_of.setdefault(number, world.now + world.rng.uniform(0.0, SEEN_WITHIN_S))
        world.oracle.hear(AskedToStop(world.now, task_id, attempt))
        if worker.dies_at < inf:
            return  # it was killed, and does not see it
        world.events["worker asked to stop its task"] += 1
        if worker.asked is None or worker.asked[1] < number:
            self.withhold(worker_id, number)
            worker.asked = (world.now + world.rng.uniform(0.0, SEEN_WITHIN_S), number)

    def kill(self, worker_id: bytes) -> None:
        worker = self._find(worker_id)
        core = self._node.core
        assert core is not None
        if worker is not None and core.leader_link.slots.draining.is_over:
            self._cut(worker)
            return
        task = core.leader_link.slots.limits.killed_for(worker_id)
        if worker is None or not (worker.cleaning_up or task):
            raise InvariantBroken(f"worker {worker_id.hex()} is to be killed, and has said nothing wrong")
        if task is not None:
            has = {given.task_id for given in worker.queue} | {assignment[0] for assignment in worker.unread}
            if worker.room:
                for task_id in sorted(worker.has_for(self._node) - {task.task_id}):
                    self._node.world.events["async task whose worker is killed for another"] += 1
                    self._node.world.oracle.hear(KilledBeside(self._node.world.now, task_id))
            elif worker.together or any(together(each[4] or {}) for each in worker.unread):
                self._kills_together(worker, has - {task.task_id})
            elif has - {task.task_id}:
                raise InvariantBroken(f"worker {worker_id.hex()} is killed for one task, and has another")
            is_for_limit = task.stop_by > task.limit_at
            if worker.room and is_for_limit:  # that was said when it was cancelled
                if (task.task_id, task.attempt) not in worker.over:
                    raise InvariantBroken(f"worker {worker_id.hex()} is killed for what was not cancelled before")
            elif has or not self._node.world.clocks_tell_time:  # then what it has answered may come behind its end
                kind = Overran if is_for_limit else Overstayed
                self._node.world.oracle.hear(kind(self._node.world.now, task.task_id, task.attempt))
            self._node.world.events["worker killed though it had just answered"] += not has
        why = "what a task has left"
        if task is not None:
            why = "a grace" if task.stop_by <= task.limit_at else "a time limit"
        self._node.world.events[f"worker killed by {why}"] += 1
        worker.dies_at = self._node.world.now + self._node.world.rng.uniform(*NOTICED_S)

    def _kills_together(self, worker: SimulatedWorker, others: set[bytes]) -> None:
        """A worker is killed for one of those that go together: others are over, too, or may begin again."""
        core, world = self._node.core, self._node.world
        assert core is not None
        slot = core.leader_link.slots.workers[worker.worker_id]
        for task_id in sorted(others):
            if task_id in slot.over:
                world.events["call over its limit with others"] += 1
                world.oracle.hear(Overran(world.now, task_id, slot.over[task_id].attempt))
            else:
                world.events["call whose worker is killed for another"] += 1
                world.oracle.hear(KilledBeside(world.now, task_id))

    def _cut(self, worker: SimulatedWorker) -> None:
        """The drain of its node is over."""
        world = self._node.world
        world.events["worker killed as its node has drained"] += 1
        for given in worker.has_begun:
            world.oracle.hear(DrainKills(world.now, given.task_id, given.attempt))
        worker.is_cut = True
        worker.dies_at = min(worker.dies_at, world.now + world.rng.uniform(*NOTICED_S))

    @property
    def has_spare(self) -> bool:
        return False

    @property
    def worker_ids(self) -> tuple[bytes, ...]:
        return tuple(worker.worker_id for worker in self._node.workers)

    def renew_spare(self, now: float) -> frozenset[bytes]:
        raise NotImplementedError

    def memory_bytes(self, worker_id: bytes) -> int:
        raise NotImplementedError

    def replace(self, worker_id: bytes, now: float) -> tuple[bytes, tuple[str, ...]] | None:
        """There is no spare: another is started."""
        worker = self._find(worker_id)
        if worker is not None and not worker.is_replaced:
            worker.is_replaced = True
            self._node.add_worker()
        return None

    def dismiss(self, worker_id: bytes, now: float) -> None:
        worker, world = self._find(worker_id), self._node.world
        if worker is None:
            return
        if worker.queue or worker.unread or worker.cleaning_up or not worker.is_replaced:
            raise InvariantBroken(f"worker {worker_id.hex()} is to end, and has tasks or no successor")
        world.events["worker that was replaced between two tasks"] += 1
        worker.dies_at = world.now + world.rng.uniform(*NOTICED_S)

    def reap(self, fd: int) -> ChildEnd | None:
        raise NotImplementedError

    def keep_spare(self, now: float) -> bool:
        return False

    def stand_in(self, worker_id: bytes, had_task: bool, now: float) -> tuple[bytes, tuple[str, ...]] | None:
        raise NotImplementedError

    def respawn(self, now: float) -> None:
        raise NotImplementedError

    def next_respawn(self, now: float) -> float:
        return inf
