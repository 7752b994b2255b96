"""The workers of a simulated machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from paceline.runtime.transport.memory_transport import MemoryEndpoint
from paceline_protocol.codec import decode, encode
from paceline_protocol.messages.children import CleaningUp, Done, Run, Stop
from paceline_protocol.messages.records import Outcome, TaskEnd
from simulation import tasks
from simulation.oracle.events import Finished, GivenToWorker, NextInLine, Started
from simulation.oracle.promise import InvariantBroken

if TYPE_CHECKING:
    from simulation.machines import SimulatedNode

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


@dataclass(slots=True, eq=False)
class SimulatedWorker:
    """Runs tasks one after the other. ``queue``: of these it has begun the first, unless it is ``cleaning_up`` behind
    one that has ended, until ``clean_at``. ``unread``: those under way to it."""

    worker_id: bytes
    endpoint: MemoryEndpoint
    queue: list[Given] = field(default_factory=list)
    unread: list[bytes] = field(default_factory=list)
    cleaning_up: Outcome | None = None
    clean_at: float = 0.0
    begun: int = 0  # tasks since its start, or passed over
    withheld: list[tuple[float, int]] = field(default_factory=list)
    """From when on, by the clock of its node, it is to begin none up to which."""

    def due(self, now: float) -> float:
        """When it has something to do."""
        if self.endpoint.waiting:
            return now
        if self.cleaning_up is not None:
            return self.clean_at
        return self.queue[0].due if self.queue else inf

    @property
    def waiting(self) -> list[Given]:
        """What it has not begun."""
        return self.queue if self.cleaning_up is not None else self.queue[1:]

    @property
    def is_free(self) -> bool:
        return not self.queue and self.cleaning_up is None

    def is_sent(self, node: SimulatedNode, run: Run) -> None:
        """The node sends it these."""
        for task in run.tasks:
            node.world.oracle.hear(GivenToWorker(node.world.now, task[0]))
            self.unread.append(task[0])
        self._look_forward(node)

    def _look_forward(self, node: SimulatedNode) -> None:
        if self.unread and self.is_free:
            node.world.oracle.hear(NextInLine(node.world.now, self.unread[0]))

    def step(self, node: SimulatedNode) -> None:
        world, now = node.world, node.world.now
        done: list[Outcome] = []
        for frame in self.endpoint.receive():
            message = decode(frame)
            if isinstance(message, Run):
                done += self._take(node, message)
            else:
                assert isinstance(message, Stop)
        if self.cleaning_up is not None and now >= self.clean_at:
            task_id, attempt, *_ = self.cleaning_up
            self.cleaning_up = None
            done += [(task_id, attempt, TaskEnd.CANCELLED, b"", 0), *self._begin(node)]
        dies = False
        while self.cleaning_up is None and self.queue and self.queue[0].due <= now and not dies:
            given = self.queue.pop(0)
            outcome = given.outcome
            if outcome is None:
                dies = True
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

    def _clean_up(self, node: SimulatedNode, outcome: Outcome, takes_s: float) -> None:
        """What stands behind has to wait."""
        node.world.events["worker that cleans up behind a task"] += 1
        self.cleaning_up, self.clean_at = outcome, node.world.now + takes_s
        for given in self.queue:
            given.due += takes_s

    def _take(self, node: SimulatedNode, run: Run) -> list[Outcome]:
        """Queue these, and begin if there was nothing to do. Returns the answers for those that it passes over."""
        world = node.world
        was_idle = self.is_free
        due = self.queue[-1].due if self.queue else max(world.now, self.clean_at)
        del self.unread[: len(run.tasks)]
        for task_id, attempt, name, args, _options in run.tasks:
            due += tasks.takes_s(name, args, world.rng)
            if tasks.kills_worker(name, args, attempt):
                self.queue.append(Given(due, task_id, attempt, None))
            else:
                outcome = (task_id, attempt, *tasks.answer(name, args), 50)
                self.queue.append(Given(due, task_id, attempt, outcome, tasks.leaves_s(args, world.rng)))
        return self._begin(node) if was_idle else []

    def _begin(self, node: SimulatedNode) -> list[Outcome]:
        """Begin the first task of the queue that is not withheld. Returns the answers for those that it passes over."""
        world = node.world
        passed_over: list[Outcome] = []
        while self.queue:
            self.begun += 1
            first = self.queue[0]
            if not any(self.begun <= through and node.now >= since for since, through in self.withheld):
                world.oracle.hear(Started(world.now, first.task_id, first.attempt, node.identity.node_id))
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

    def introduces_itself(self, worker_id: bytes) -> bool:
        is_first = worker_id not in self._introduced
        self._introduced.add(worker_id)
        return is_first

    def _find(self, worker_id: bytes) -> SimulatedWorker | None:
        return next((worker for worker in self._node.workers if worker.worker_id == worker_id), None)

    def ready(self, worker_id: bytes, names: tuple[str, ...]) -> bool:
        return True

    def begun(self, worker_id: bytes) -> int | None:
        worker = self._find(worker_id)
        return None if worker is None else worker.begun

    def withhold(self, worker_id: bytes, through: int) -> None:
        """The worker sees it a moment later, by the clock of the node, which may jump to its next look."""
        worker, node = self._find(worker_id), self._node
        if worker is not None:
            worker.withheld.append((node.now + node.world.rng.uniform(0.0, SEEN_WITHIN_S), through))

    def kill(self, worker_id: bytes) -> None:
        worker = self._find(worker_id)
        if worker is None or worker.cleaning_up is None:
            raise InvariantBroken(f"worker {worker_id.hex()} is to be killed, and has said nothing wrong")
        self._node.world.events["worker killed by what a task has left"] += 1
        self._node.lose_worker(worker)

    def reap(self, fd: int) -> tuple[bytes, str] | None:
        raise NotImplementedError

    def stand_in(self, worker_id: bytes, had_task: bool, now: float) -> tuple[bytes, tuple[str, ...]] | None:
        raise NotImplementedError

    def respawn(self, now: float) -> None:
        raise NotImplementedError

    def next_respawn(self, now: float) -> float:
        return inf
