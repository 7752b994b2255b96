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


@dataclass(slots=True, eq=False)
class SimulatedWorker:
    """Runs tasks one after the other. ``queue``: when each will be done, and what it then answers; None: it dies of
    it."""

    worker_id: bytes
    endpoint: MemoryEndpoint
    queue: list[tuple[float, Outcome | None]] = field(default_factory=list)

    def due(self, now: float) -> float:
        """When it has something to do."""
        if self.endpoint.waiting:
            return now
        return self.queue[0][0] if self.queue else inf

    def step(self, node: SimulatedNode) -> None:
        world, now = node.world, node.world.now
        for frame in self.endpoint.receive():
            message = decode(frame)
            if isinstance(message, Run):
                self._begin(node, message)
            else:
                assert isinstance(message, Stop)
        done: list[Outcome] = []
        dies = False
        while self.queue and self.queue[0][0] <= now and not dies:
            outcome = self.queue.pop(0)[1]
            if outcome is None:
                dies = True
                continue
            done.append(outcome)
            task_id, attempt, end, payload, _duration_us = outcome
            world.oracle.hear(Finished(now, task_id, attempt, node.identity.node_id, end, payload))
        if done:
            self.endpoint.send(encode(Done(tuple(done))))
        if dies:
            world.events["worker killed by its task"] += 1
            node.lose_worker(self)

    def _begin(self, node: SimulatedNode, run: Run) -> None:
        world = node.world
        due = self.queue[-1][0] if self.queue else world.now
        for task_id, attempt, name, args, _options in run.tasks:
            due += tasks.takes_s(name, world.rng)
            world.oracle.hear(Started(world.now, task_id, attempt, node.identity.node_id))
            if tasks.kills_worker(name, args, attempt):
                self.queue.append((due, None))
            else:
                self.queue.append((due, (task_id, attempt, *tasks.answer(name, args), 50)))
