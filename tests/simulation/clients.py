"""A client of a simulated cluster: a real session on simulated connections."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from paceline.client.session.session import Session
from paceline.errors import FeatureLevelTooLow
from paceline.runtime.transport.memory_transport import MemoryEndpoint
from paceline_protocol.messages.client import AdminOp, CancelReply, TaskReply
from paceline_protocol.messages.records import PRIORITY_DEFAULT, Call, Options
from paceline_protocol.payload import unpack_value
from simulation import options, tasks
from simulation.oracle.events import CancelAnswered, CancelAsked, Located, Submitted, ToldAccepted, ToldEnd
from simulation.oracle.promise import InvariantBroken
from simulation.wall_clocks import right_ms

if TYPE_CHECKING:
    from simulation.world import World

GIVES_UP_AFTER_S = 1_000.0
LOCATE_EVERY_TASKS = 5
"""After so many tasks the client asks where the oldest is that has not ended."""
REFUSED_PAUSE_S = 0.5
"""Until a call is submitted again of which the cluster is not ready to take an option: some node is older."""


class SimulatedClient:
    """Submits, cancels and waits, and tells the oracle what it is told."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.session = Session(
            number.to_bytes(16, "big"),
            [node.address for node in world.nodes],
            random=random.Random(world.rng.getrandbits(64)),
            failover_timeout_s=GIVES_UP_AFTER_S,
            connect_timeout_s=GIVES_UP_AFTER_S,
        )
        self.submitted = 0
        self.open: dict[bytes, bool] = {}  # tasks that have not ended -> whether they were called accepted
        self._calls: dict[bytes, Call] = {}  # of the open tasks that the cluster may refuse, by its feature level
        self._again: list[tuple[float, bytes]] = []  # (when, task): refused so, and to be submitted again
        self._cancels: dict[int, tuple[bytes, float]] = {}  # request -> (task, when it was asked)
        self._questions: dict[int, tuple[bytes, float]] = {}  # request for where a task is -> as of a cancel
        self._connections: dict[str, MemoryEndpoint] = {}
        self._sessions = 0

    def submit(self, args: bytes | None = None, asked: Options | None = None) -> None:
        """One more task. With ``args``: one that has a name that is known to be short, and what is ``asked``."""
        world = self.world
        task_id = self.number.to_bytes(8, "big") + self.submitted.to_bytes(8, "big")
        self.submitted += 1
        name, priority = tasks.REVERSE, PRIORITY_DEFAULT
        if args is None:
            name, args = tasks.choose(world.rng, world.faults), world.rng.randbytes(tasks.ARGS_BYTES)
            if world.faults.large and world.rng.random() < world.faults.large:
                args += bytes(world.rng.randrange(tasks.LARGE_BYTES))
                world.events["large task"] += 1
            asked = options.choose(world.rng, right_ms(world.now))
            priority = world.rng.randrange(10)
        self.open[task_id] = False
        world.oracle.hear(Submitted(world.now, task_id, asked or {}, tasks.answer(name, args)))
        world.events[f"task that is to {name}"] += name != tasks.REVERSE
        call = (task_id, name, priority, args, asked)
        if asked:
            self._calls[task_id] = call
        self.session.submit(call, world.now)
        if not self.submitted % LOCATE_EVERY_TASKS:
            self._locate(next(iter(self.open)))

    def _locate(self, task_id: bytes) -> None:
        """Ask where a task is; nobody waits for the answer."""
        self._questions[self.session.where_is(task_id, self.world.now)] = (task_id, self.world.now)
        self.world.events["question where a task is"] += 1

    def cancel(self) -> None:
        """One of those that have not ended."""
        if self.open:
            task_id = self.world.rng.choice(list(self.open))
            self.world.oracle.hear(CancelAsked(self.world.now, task_id))
            self._cancels[self.session.cancel((task_id,), self.world.now)] = (task_id, self.world.now)

    def administer(self, op: AdminOp, argument: str) -> None:
        """Ask for a change of the cluster; nobody waits for the answer."""
        self.session.admin(op, argument, self.world.now)

    def next_at(self) -> float:
        """When it has something to do."""
        if self.session.output.outbox or any(endpoint.waiting for endpoint in self._connections.values()):
            return self.world.now
        return min([self.session.next_deadline(), *(at for at, _ in self._again[:1])])

    @property
    def is_done(self) -> bool:
        """It waits for nothing. What it asks of the cluster itself may take as long as it likes."""
        return not self.open and not self._cancels

    def step(self) -> None:
        session, now = self.session, self.world.now
        for address, endpoint in list(self._connections.items()):
            for frame in endpoint.receive():
                if self._connections.get(address) is endpoint:
                    session.received(address, frame, now)
                    self._send()
        if now >= session.next_deadline():
            session.tick(now)
        while self._again and now >= self._again[0][0]:
            session.submit(self._calls[self._again.pop(0)[1]], now)
        self._send()
        self._collect()

    def _send(self) -> None:
        outbox = self.session.output.outbox
        frames = outbox[:]
        outbox.clear()
        for address, frame in frames:
            if frame is None:
                endpoint = self._connections.pop(address, None)
                if endpoint is not None:
                    endpoint.close()
                continue
            endpoint = self._connections.get(address)
            if endpoint is None or endpoint.node_gone:
                if self.world.network.node_at(address) is None:
                    continue  # nobody listens there: lost, as in the queue of a connection that never stands
                self._sessions += 1
                key = self.number.to_bytes(2, "big") + self._sessions.to_bytes(4, "big")
                endpoint = self._connections[address] = self.world.network.client(address, key)
            endpoint.send(frame)

    def _collect(self) -> None:
        session, hear, now = self.session, self.world.oracle.hear, self.world.now
        for request, reply in list(session.requests.replies.items()):
            if isinstance(reply, CancelReply):
                ((task_id, state),) = reply.states
                hear(CancelAnswered(now, task_id, state, self._cancels.pop(request)[1]))
            elif isinstance(reply, TaskReply):
                task_id, asked_at_s = self._questions.pop(request)
                hear(Located(now, task_id, unpack_value(reply.body)["state"], asked_at_s))
            session.requests.forget(request)
        output = session.output
        for task_id, end, payload in output.results:
            self.open.pop(task_id, None)
            self._calls.pop(task_id, None)
            hear(ToldEnd(now, task_id, end, payload))
        output.results.clear()
        refused = {task_id for task_id, error in output.failed if isinstance(error, FeatureLevelTooLow)}
        output.failed[:] = [each for each in output.failed if each[0] not in refused]
        self._again += [(now + REFUSED_PAUSE_S, task_id) for task_id in sorted(refused)]
        waiting = {task_id for _, task_id in self._again}
        # A result may come before its task is accepted; only what the leader called accepted must survive it.
        for task_id, accepted in self.open.items():
            if not accepted and task_id not in waiting and session.ledger.is_accepted(task_id):
                self.open[task_id] = True
                hear(ToldAccepted(now, task_id))
        if output.failed and not self.world.has_hostile_peer:
            raise InvariantBroken(f"the client was told {output.failed}")
