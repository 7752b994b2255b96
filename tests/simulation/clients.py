"""A client of a simulated cluster: a real session on simulated connections."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from paceline.client.session.session import Session
from paceline.core.scheduling.live_graphs import WORDS
from paceline.errors import FeatureLevelTooLow, ResultExpired, ResultUnknown
from paceline.runtime.transport.memory_transport import MemoryEndpoint
from paceline_protocol.inputs import AFTER, INPUTS, split
from paceline_protocol.keyed import KEY
from paceline_protocol.messages.client import (
    AdminOp,
    CancelReply,
    CancelState,
    DeadChanges,
    FindReply,
    ProgressReply,
    TaskReply,
)
from paceline_protocol.messages.graphs import GraphsReply
from paceline_protocol.messages.queues import AlterReply, AlterState, Pausing, SetQueueReply
from paceline_protocol.messages.records import DEAD_ENDS, PRIORITY_DEFAULT, Call, Options, TaskEnd
from paceline_protocol.messages.schedules import BackfillReply, ScheduleReply
from paceline_protocol.options import by_name, completed, is_by_name, is_logged
from paceline_protocol.payload import unpack_value
from paceline_protocol.requeued import requeued_id, requeued_options
from simulation import options, tasks
from simulation.oracle.dead_tasks import KEEP_DEAD
from simulation.oracle.events import (
    BackfillAnswered,
    CancelAnswered,
    CancelAsked,
    ClientGone,
    DeadAnswered,
    DeadAsked,
    GraphTold,
    InputOver,
    Located,
    QueueAnswered,
    QueueAsked,
    ReadRefused,
    ScheduleAnswered,
    Submitted,
    ToldAccepted,
    ToldEnd,
    ToldExpired,
    ToldProgress,
    ToldRead,
)
from simulation.oracle.promise import InvariantBroken
from simulation.oracle.retention import RESULT_TTL
from simulation.wall_clocks import right_ms

if TYPE_CHECKING:
    from simulation.world import World

GIVES_UP_AFTER_S = 1_000.0
LOCATE_EVERY_TASKS = 5
"""After so many tasks the client asks where the oldest is that has not ended."""
READ_EVERY_TASKS = 3
"""After so many tasks the client reads one that another has submitted, of the last few, or of the last of those that
are kept for a time."""
READ_FROM_TASKS = 12
READ_KEPT = 0.5
CHANGE_DEAD = 0.1
"""For each task, one that is dead, or was, is requeued or discarded with this probability, if there is any."""
CHANGE_DEAD_OF = 8
"""Of the last so many."""
SUBMITTED_TOO_S = 3.0
"""A call with a key is submitted by others for so long."""
REQUEUES = 0.7
FAILS = 0.5
"""Of those that are kept if they die, so many do."""
DEPENDS_ON_OF = 6
"""Of its last tasks."""
ALLOWS_FAILED = 0.3
BY_NAME_EVERY_TASKS = 2
"""Of so many calls that ask for nothing one is by name alone, and has what nodes announce."""
REFUSED_PAUSE_S = 0.5
"""Until a call is submitted again of which the cluster is not ready to take an option: some node is older."""


def is_simple(asked: Options | None) -> bool:
    """Whether a task that asks for this may depend on others: it is logged, and is not kept for somebody."""
    return not asked or not {"durability", KEEP_DEAD}.intersection(asked)


QUEUES: Final = ("video", "mail")
GRAPHS: Final = ("nightly", "weekly", "yearly")


class SimulatedClient:
    """Submits, cancels and waits, and tells the oracle what it is told."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self._begin(number)

    def _begin(self, number: int) -> None:
        world = self.world
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
        self._told: list[bytes] = []  # the last tasks that have ended
        self._again: list[tuple[float, bytes]] = []  # (when, task): refused so, and to be submitted again
        self._cancels: dict[int, tuple[bytes, float]] = {}  # request -> (task, when it was asked)
        self._stopping: set[bytes] = set()  # tasks of which the first answer was that
        self._questions: dict[int, tuple[bytes, float]] = {}  # request for where a task is -> as of a cancel
        self._progress: dict[int, tuple[bytes, float]] = {}  # request for how far a task is -> as of a cancel
        self._reads: dict[bytes, float] = {}  # tasks of others, by when it was asked how they end
        self._changes: dict[int, tuple[bytes, float, bool]] = {}  # request -> dead task, when, whether it is requeued
        self._queue_changes: dict[int, str] = {}  # request -> queue
        self._graphs: dict[int, tuple[str, float]] = {}  # request for a graph -> its name, when
        self.alters: set[int] = set()  # requests to alter tasks
        self._schedule_changes: dict[int, tuple[str, int, float, bytes]] = {}  # request -> schedule, op, when, task
        self.pages: dict[int, dict[str, Any]] = {}  # request for a page of tasks -> the answer
        self._connections: dict[str, MemoryEndpoint] = {}
        self._sessions = 0

    def submit(self, args: bytes | None = None, asked: Options | None = None, *, name: str = tasks.REVERSE) -> bytes:
        """One more task, and its id. With ``args``: one of this ``name``, by default one that is known to be short, and
        what is ``asked``."""
        world = self.world
        task_id = self.number.to_bytes(8, "big") + self.submitted.to_bytes(8, "big")
        self.submitted += 1
        priority = PRIORITY_DEFAULT
        is_of_load = args is None
        if args is None:
            name, args = tasks.choose(world.rng, world.faults), world.rng.randbytes(tasks.ARGS_BYTES)
            if world.faults.large and world.rng.random() < world.faults.large:
                args += bytes(world.rng.randrange(tasks.LARGE_BYTES))
                world.events["large task"] += 1
            asked = options.choose(world.rng, right_ms(world.now))
            priority = world.rng.randrange(10)
            if world.faults.queues and world.queue_rng.random() < world.faults.queues:
                asked = {**(asked or {}), "queue": world.queue_rng.choice(QUEUES)}
                if self.submitted % 3:
                    asked["fair_key"] = f"key {self.submitted % 3}"
            if world.faults.places and world.place_rng.random() < world.faults.places:
                asked = {**(asked or {}), **world.place_rng.choice(options.PLACES)}
            if asked and asked.get(KEEP_DEAD) and world.rng.random() < FAILS:
                name = tasks.RAISE
            if world.faults.dependent and is_simple(asked) and world.rng.random() < world.faults.dependent:
                asked = self._depending(asked)
            if world.faults.limits and world.limit_rng.random() < world.faults.limits:
                asked = options.with_limit(world.limit_rng, asked, name)
            if world.batch_rng.random() < world.faults.batches and name not in tasks.ASYNC_NAMES:
                asked = options.with_batch(world.batch_rng, asked, right_ms(world.now))
            if world.faults.keyed and asked is None and world.rng.random() < world.faults.keyed:
                asked = options.KEYED
            if world.faults.graphs and is_logged(asked) and world.graph_rng.random() < world.faults.graphs:
                asked = {**(asked or {}), "graph": world.graph_rng.choice(GRAPHS)}
                self._ask_for_graph(world.graph_rng.choice(GRAPHS))
            if asked is None and not self.submitted % BY_NAME_EVERY_TASKS:
                asked = by_name({})
                world.events["call by name"] += 1
        self.open[task_id] = False
        fails = tasks.failure(args) if name == tasks.FLAKY else b""
        promised = asked
        if asked is not None and is_by_name(asked):
            promised = completed(asked, tasks.ANNOUNCED.get(name, {}))
        world.oracle.hear(Submitted(world.now, task_id, promised or {}, tasks.answer(name, args), fails))
        world.events[f"task that is to {name}"] += name != tasks.REVERSE
        call = (task_id, name, priority, args, asked)
        if promised and promised.get(KEY):
            world.keyed[task_id] = call
        if asked:
            self._calls[task_id] = call
            if asked.get(KEEP_DEAD):
                world.may_die[task_id] = call
        self.session.submit(call, world.now)
        if not self.submitted % LOCATE_EVERY_TASKS:
            self._locate(next(iter(self.open)))
        if is_of_load and world.asks_how_far:
            self.ask_how_far(next(iter(self.open)))
        if is_of_load and not self.submitted % READ_EVERY_TASKS:
            self._read()
        if is_of_load and world.faults.keyed:
            self._submit_too()
        if is_of_load and world.rng.random() < CHANGE_DEAD:
            self._change_dead()
        return task_id

    def _depending(self, asked: Options | None) -> Options | None:
        """What is asked, of a task that depends on some of those that have not ended, or have ended just now."""
        world, rng = self.world, self.world.rng
        known = [*self._told[-2:], *self.open]
        logged = [task_id for task_id in known if world.stories[task_id].is_logged]
        if not logged:
            return asked
        ids = rng.sample(logged[-DEPENDS_ON_OF:], min(len(logged), rng.randint(1, 3)))
        world.events["task that depends on others"] += 1
        found = {**(asked or {}), rng.choice((INPUTS, AFTER)): b"".join(ids)}
        return {**found, "allow_failed_inputs": 1} if rng.random() < ALLOWS_FAILED else found

    def _pack_again(self, call: Call) -> None:
        """The cluster has no result of an input. Depend on those alone whose ends it has not been told."""
        world, asked = self.world, dict(call[4] or {})
        left: list[bytes] = []
        for key in (INPUTS, AFTER):
            ids = [each for each in split(asked.pop(key, 0)) if each in self.open]
            if ids:
                asked[key] = b"".join(ids)
                left += ids
        world.oracle.hear(InputOver(world.now, call[0], tuple(left)))
        world.events["task whose input is over"] += 1
        again = (*call[:4], asked or None)
        self._calls[call[0]] = again
        self.session.submit(again, world.now)

    def _submit_too(self) -> None:
        """A call with the key of one of the last tasks that have one, whoever has submitted that, and whether it has
        ended or not."""
        world = self.world
        since = world.now - SUBMITTED_TOO_S
        last = [call for task_id, call in world.keyed.items() if world.stories[task_id].submitted_at > since]
        call = world.rng.choice(last) if last else None
        if call is None or call[0] in self.open:
            return
        self.open[call[0]] = False
        self._calls[call[0]] = call
        is_over = world.stories[call[0]].outcome is not None
        world.events[f"key of a task that {'has ended' if is_over else 'lives'}"] += 1
        self.session.submit(call, world.now)

    def _change_dead(self) -> None:
        """Ask for a dead task, anybody's, to be requeued or discarded; it may have been before."""
        rng, stories = self.world.rng, self.world.stories
        known = [(task_id, stories[task_id].outcome) for task_id in self.world.may_die if task_id in stories]
        died = [task_id for task_id, outcome in known if outcome is not None and outcome[0] in DEAD_ENDS]
        if died:
            self.change_dead(rng.choice(died[-CHANGE_DEAD_OF:]), is_requeue=rng.random() < REQUEUES)

    def change_dead(self, task_id: bytes, *, is_requeue: bool) -> None:
        """This one. It is requeued with the same arguments or with others, as its id says: so all ask for the same."""
        world, now = self.world, self.world.now
        world.oracle.hear(DeadAsked(now, task_id, is_requeue))
        world.events[f"dead task that is {'requeued' if is_requeue else 'discarded'}"] += 1
        if not is_requeue:
            self._changes[self.session.discard((task_id,), now)] = (task_id, now, False)
            return
        _, name, priority, args, asked = world.may_die[task_id]
        new_id = requeued_id(task_id)
        has_others = bool(new_id[0] % 2) and args not in (tasks.LASTS, tasks.LEAVES)
        new_args = args[::-1] if has_others else args
        if new_id not in world.stories:
            options = requeued_options(asked or {}, task_id, right_ms(now))
            told = {key: value for key, value in options.items() if key not in ("accepted", "requeued_from")}
            fails = tasks.failure(new_args) if name == tasks.FLAKY else b""
            world.oracle.hear(Submitted(now, new_id, told, tasks.answer(name, new_args), fails, task_id))
            world.may_die[new_id] = (new_id, name, priority, new_args, told)
        self._changes[self.session.requeue((task_id,), new_args if has_others else b"", now)] = (task_id, now, True)

    def _read(self) -> None:
        """Ask how a task of another client ended, or ends. One at a time: a leader whose bounds are narrow closes the
        sessions of clients that wait for more, and they would close each other's for ever."""
        if self._reads:
            return
        stories, rng = self.world.stories, self.world.rng
        others = [task_id for task_id in stories if task_id[:8] != self.number.to_bytes(8, "big")]
        if rng.random() < READ_KEPT:
            others = [task_id for task_id in others if stories[task_id].options.get(RESULT_TTL)]
        if others:
            self.read(rng.choice(others[-READ_FROM_TASKS:]))

    def read(self, task_id: bytes) -> None:
        """This one, which another client has submitted."""
        if task_id not in self._reads:
            self._reads[task_id] = self.world.now
            self.session.read(task_id, self.world.now)
            self.world.events["task of another that is read"] += 1

    def _locate(self, task_id: bytes) -> None:
        """Ask where a task is; nobody waits for the answer."""
        self._questions[self.session.where_is(task_id, self.world.now)] = (task_id, self.world.now)
        self.world.events["question where a task is"] += 1

    def _ask_for_graph(self, name: str) -> None:
        """Nobody waits for the answer."""
        self._graphs[self.session.graphs(name, "", self.world.now)] = (name, self.world.now)

    def ask_how_far(self, task_id: bytes) -> None:
        """Ask how far a task is; nobody waits for the answer."""
        self._progress[self.session.progress(task_id, self.world.now)] = (task_id, self.world.now)
        self.world.events["question how far a task is"] += 1

    def has_asked_how_far(self, task_id: bytes) -> bool:
        """Whether an answer to that is still to come."""
        return any(asked == task_id for asked, _ in self._progress.values())

    def cancel(self, task_id: bytes = b"") -> None:
        """This task, or one of those that have not ended."""
        if task_id or self.open:
            task_id = task_id or self.world.rng.choice(list(self.open))
            self.world.oracle.hear(CancelAsked(self.world.now, task_id))
            self._cancels[self.session.cancel((task_id,), self.world.now)] = (task_id, self.world.now)

    def dies(self) -> None:
        """And with it all that it knows. Another one begins in its place."""
        for endpoint in self._connections.values():
            endpoint.close()
        self.world.oracle.hear(ClientGone(self.world.now, tuple(self.open)))
        self.world.events["client that dies"] += 1
        self.world.queues_asked.difference_update(self._queue_changes.values())
        self._begin(self.world.next_client())

    def change_queue(self, queue: str, pausing: Pausing, weight: int = 0) -> None:
        """Ask for a change of a queue, for which nobody else asks."""
        world = self.world
        world.oracle.hear(QueueAsked(world.now, queue))
        world.queues_asked.add(queue)
        self._queue_changes[self.session.set_queue(queue, pausing, weight, world.now)] = queue

    def alter(self, ids: tuple[bytes, ...], change: tuple[int, str, int]) -> None:
        """Ask for tasks, anybody's, to be held, released, moved or given another priority."""
        self.alters.add(self.session.alter(ids, change, self.world.now))

    def ask_schedule(self, request: int, name: str, op: int, task_id: bytes = b"") -> None:
        """It has asked for this to be done to a schedule."""
        self._schedule_changes[request] = (name, int(op), self.world.now, task_id)

    @property
    def asks_schedules(self) -> bool:
        """Whether an answer to that is still to come."""
        return bool(self._schedule_changes)

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
        return not self.open and not self._cancels and not self._reads and not self._changes

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

    def _tell_failed(self, task_id: bytes, error: Exception) -> bool:
        """Tell the oracle of a task of which the cluster has nothing to tell; False if it may not be so."""
        has_expired, now = isinstance(error, ResultExpired), self.world.now
        if task_id in self._reads and (has_expired or isinstance(error, ResultUnknown)):
            self.world.events["result that has expired, read"] += has_expired
            self.world.oracle.hear(ReadRefused(now, task_id, self._reads.pop(task_id), has_expired))
            return True
        if has_expired:
            self.open.pop(task_id, None)
            self.world.oracle.hear(ToldExpired(now, task_id))
        return has_expired

    def _collect(self) -> None:
        session, hear, now = self.session, self.world.oracle.hear, self.world.now
        for request, reply in list(session.requests.replies.items()):
            if isinstance(reply, CancelReply):
                ((task_id, state),) = reply.states
                hear(CancelAnswered(now, task_id, state, self._cancels.pop(request)[1]))
            elif isinstance(reply, FindReply):
                self.pages[request] = unpack_value(reply.body)
            elif isinstance(reply, TaskReply):
                task_id, asked_at_s = self._questions.pop(request)
                told = unpack_value(reply.body)
                hear(Located(now, task_id, told["state"], asked_at_s, told))
            elif isinstance(reply, ProgressReply):
                task_id, asked_at_s = self._progress.pop(request)
                told = unpack_value(reply.body)
                said = None if told["progress"] is None else unpack_value(told["progress"])
                self.world.events["answer how far a task is"] += said is not None
                is_whole = told["is_settled"] and not told["unheard"]
                hear(ToldProgress(now, task_id, told["attempt"], said, asked_at_s, is_whole))
            elif isinstance(reply, GraphsReply):
                name, asked_at_s = self._graphs.pop(request)
                self.world.events["answer how far a graph is"] += 1
                hear(graph_told(now, name, unpack_value(reply.body), asked_at_s))
            elif isinstance(reply, DeadChanges):
                task_id, asked_at_s, is_requeue = self._changes.pop(request)
                ((_, state, _),) = reply.states
                hear(DeadAnswered(now, task_id, state, asked_at_s, is_requeue))
            elif isinstance(reply, BackfillReply):
                name = self._schedule_changes.pop(request)[0]
                hear(BackfillAnswered(now, name, reply.answer, reply.waiting))
            elif isinstance(reply, ScheduleReply):
                name, op, asked_at_s, task_id = self._schedule_changes.pop(request)
                hear(ScheduleAnswered(now, name, op, reply.answer, asked_at_s, task_id))
            elif isinstance(reply, AlterReply):
                self.alters.discard(request)
                for _, state in reply.states:
                    self.world.events[f"altered: {AlterState(state).name}"] += 1
            elif isinstance(reply, SetQueueReply):
                queue = self._queue_changes.pop(request)
                self.world.queues_asked.discard(queue)
                if not reply.refused:
                    hear(QueueAnswered(now, queue, reply.paused))
            session.requests.forget(request)
        for request in [each for each in self._schedule_changes if each in session.requests.failures]:
            del self._schedule_changes[request]
            session.requests.forget(request)
        self.alters = {request for request in self.alters if request not in session.requests.failures}
        for request in [each for each in self._queue_changes if each in session.requests.failures]:
            self.world.queues_asked.discard(self._queue_changes.pop(request))
            session.requests.forget(request)
        for request, (task_id, asked_at_s) in self._cancels.items():
            state = (session.requests.cancel_states(request) or {}).get(task_id)
            if state == CancelState.STOPPING and task_id not in self._stopping:
                self._stopping.add(task_id)
                hear(CancelAnswered(now, task_id, state, asked_at_s))
        output = session.output
        for task_id, end, payload in output.results:
            if task_id in self._reads:
                hear(ToldRead(now, task_id, end, payload, self._reads.pop(task_id)))
                if task_id not in self.open:
                    continue
            self.open.pop(task_id, None)
            self._calls.pop(task_id, None)
            hear(ToldEnd(now, task_id, end, payload))
            self._told = [*self._told[-8:], task_id]
        output.results.clear()
        over, output.over = output.over, []
        for call, _detail in over:
            self._pack_again(call)
        left = [each for each in output.failed if not self._tell_failed(*each)]
        output.failed[:] = left
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


def graph_told(now: float, name: str, told: dict[str, Any], asked_at_s: float) -> GraphTold:
    """What a GraphsReply says of this graph, be it that there is none."""
    if not told["graphs"]:
        return GraphTold(now, name, 0, 0, {}, asked_at_s)
    (row,) = told["graphs"]
    live = sum(row[word] for word in (*WORDS, "logging"))
    ends = {int(TaskEnd[word.upper()]): count for word, count in row["ends"].items()}
    return GraphTold(now, name, row["total"], live, ends, asked_at_s)
