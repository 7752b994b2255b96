"""The workers of a simulated machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from paceline.runtime.transport.memory_transport import MemoryEndpoint
from paceline_protocol.codec import decode, encode
from paceline_protocol.messages import Done, Outcome, Run, Stop
from simulation import tasks
from simulation.oracle.events import Finished, Started

if TYPE_CHECKING:
    from simulation.machines import SimulatedNode


@dataclass(slots=True)
class Given:
    """A task that a worker has, when it will be done, and what the worker then answers; None: it dies of it."""

    due: float
    task_id: bytes
    attempt: int
    outcome: Outcome | None


@dataclass(slots=True, eq=False)
class SimulatedWorker:
    """Runs tasks one after the other. ``queue``: of these it has begun the first."""

    worker_id: bytes
    endpoint: MemoryEndpoint
    queue: list[Given] = field(default_factory=list)
    begun: int = 0  # tasks since its start

    def due(self, now: float) -> float:
        """When it has something to do."""
        if self.endpoint.waiting:
            return now
        return self.queue[0].due if self.queue else inf

    def step(self, node: SimulatedNode) -> None:
        world, now = node.world, node.world.now
        for frame in self.endpoint.receive():
            message = decode(frame)
            if isinstance(message, Run):
                self._take(node, message)
            else:
                assert isinstance(message, Stop)
        done: list[Outcome] = []
        dies = False
        while self.queue and self.queue[0].due <= now and not dies:
            outcome = self.queue.pop(0).outcome
            if outcome is None:
                dies = True
                continue
            done.append(outcome)
            task_id, attempt, end, payload, _duration_us = outcome
            world.oracle.hear(Finished(now, task_id, attempt, node.identity.node_id, end, payload))
            self._begin(node)
        if done:
            self.endpoint.send(encode(Done(tuple(done))))
        if dies:
            world.events["worker killed by its task"] += 1
            world.events["task that its dying worker had not begun"] += len(self.queue)
            node.lose_worker(self)

    def _take(self, node: SimulatedNode, run: Run) -> None:
        world = node.world
        was_idle = not self.queue
        due = world.now if was_idle else self.queue[-1].due
        for task_id, attempt, name, args, _options in run.tasks:
            due += tasks.takes_s(name, world.rng)
            if tasks.kills_worker(name, args, attempt):
                self.queue.append(Given(due, task_id, attempt, None))
            else:
                outcome = (task_id, attempt, *tasks.answer(name, args), 50)
                self.queue.append(Given(due, task_id, attempt, outcome))
        if was_idle:
            self._begin(node)

    def _begin(self, node: SimulatedNode) -> None:
        """Begin the first task of the queue."""
        if self.queue:
            self.begun += 1
            first = self.queue[0]
            node.world.oracle.hear(Started(node.world.now, first.task_id, first.attempt, node.identity.node_id))
