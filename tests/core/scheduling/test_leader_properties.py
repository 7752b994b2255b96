"""Whatever happens to a leader and in whatever order, its books stay right and no task is forgotten.

The world: one log that commits when told to, real executors as nodes, and links between them that lose, repeat and
reorder. After each step the invariants of ``live_tasks.py`` and ``recording.py`` are checked; at the end the links
heal, and every accepted task must end.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from core.takeovers import taken_over
from paceline.core.scheduling.leader import Leader
from paceline.core.settings import Settings
from paceline.core.state.table import TaskTable
from paceline.core.work.leader_link import LeaderLink
from paceline.core.work.unrecorded import UnrecordedBatch
from paceline_protocol.codec import decode_outcomes, encode_calls
from paceline_protocol.messages.client import Cancel, Submit, Wait
from paceline_protocol.messages.records import AT_MOST_ONCE, COMMITTED, NO_LOG, TaskEnd
from paceline_protocol.messages.work import Beat, Dispatch, Enrol, NodeBeat, NodeOutcomes, Revoke, Revoked, WorkMessage

NODES = ("a", "b")
WORKERS = (b"v", b"w")
NAMES = {"a": ("add",), "b": ("add", "gpu")}
SETTINGS = Settings(cluster_name="test", attempt_limit=3, accept_linger_s=0.0)
HALF = SETTINGS.node_timeout_s / 3

ONCE = {"delivery": AT_MOST_ONCE}
OPTIONS = {1: ONCE, 2: ONCE, 3: {"confirm": COMMITTED}, 4: {"durability": NO_LOG}}
"""By the number of the task, modulo 7."""


class World:
    """A leader, its log, its nodes, and what is under way between them."""

    def __init__(self) -> None:
        self.now = 0.0
        self.term = 1
        self.table = TaskTable()
        self.entries: list[tuple[int, bytes, Any]] = []
        self.committed = 0
        self.accepted_ids: list[bytes] = []
        self.starts: Counter[bytes] = Counter()  # of what may start once
        self.nodes = {node_id: LeaderLink(SETTINGS, 1) for node_id in NODES}
        self.under_way: list[tuple[str, str, WorkMessage]] = []  # (node, "to" or "from", message)
        self.running: dict[tuple[str, bytes], list[tuple[bytes, int]]] = {}
        for node_id in NODES:
            for worker_id in WORKERS:
                self.start_worker(node_id, worker_id)
        self.lead()

    # --- the leader and its log

    def _propose(self, kind: int, data: bytes, decoded: Any) -> int:
        self.entries.append((kind, data, decoded))
        return len(self.entries)

    def lead(self) -> None:
        self.leader = Leader(SETTINGS, self.term, self.table, self._propose, self.now, *taken_over(self.table))
        self.leader.applied(self.committed, self.now)
        self.leader.sessions.open(b"c", b"c" * 16, self.now)

    def commit(self, count: int) -> None:
        self.leader.log(self.now)
        for kind, data, decoded in self.entries[self.committed : self.committed + count]:
            self.table.apply(kind, data, decoded)
            self.committed += 1
        self.leader.applied(self.committed, self.now)

    def change_leader(self, surviving: int) -> None:
        """The next leader has what was committed, and a prefix of what was not."""
        del self.entries[self.committed + surviving :]
        self.commit(len(self.entries))
        self.term += 1
        self.under_way = [item for item in self.under_way if item[1] == "to"]
        self.lead()
        session = self.leader.sessions.by_key[b"c"]
        self.leader.admission.wait(session, Wait(0, tuple(self.accepted_ids)), self.now)

    def submit(self, number: int, name: str) -> None:
        task_id = number.to_bytes(16, "big")
        session = self.leader.sessions.by_key[b"c"]
        calls = encode_calls([(task_id, name, number % 10, b"x", OPTIONS.get(number % 7))])
        self.leader.admission.submit(session, Submit(1, session.next_seq - 1, calls), self.now)
        self.leader.log(self.now)

    def cancel(self, number: int) -> None:
        self.leader.cancel(self.leader.sessions.by_key[b"c"], Cancel(1, (number.to_bytes(16, "big"),)), self.now)

    # --- nodes and workers

    def start_worker(self, node_id: str, worker_id: bytes) -> None:
        node = self.nodes[node_id]
        if worker_id not in node.slots.workers:
            node.slots._dead.clear()
            node.worker_ready(worker_id, NAMES[node_id])
            self.running[node_id, worker_id] = []

    def end_one(self, node_id: str, worker_id: bytes) -> None:
        tasks = self.running[node_id, worker_id]
        if tasks:
            task_id, attempt = tasks.pop(0)
            outcome = (task_id, attempt, int(TaskEnd.SUCCEEDED), b"", 100)
            self.nodes[node_id].worker_done(worker_id, (outcome,), self.now)

    def kill_worker(self, node_id: str, worker_id: bytes) -> None:
        self.running[node_id, worker_id] = []
        self.nodes[node_id].worker_lost(worker_id, "killed", self.now)

    # --- links and time

    def beat(self) -> None:
        self.leader.nodes.beat(NODES, self.now)

    def pump(self) -> None:
        """What is to be sent is under way, and what is queued at a node is at its workers."""
        self.leader.dispatch(self.now)
        self.under_way += [(node_id, "to", message) for node_id, message in self.leader.nodes.outbox]
        self.leader.nodes.outbox = []
        for node_id, node in self.nodes.items():
            for worker_id, tasks in node.assign(0.0):
                self.running[node_id, worker_id] += [(task[0], task[1]) for task in tasks]
                self.starts.update(task[0] for task in tasks if task[4] == ONCE)
            for report in node.outbox:
                message = report.message(node.term) if isinstance(report, UnrecordedBatch) else report
                self.under_way.append((node_id, "from", message))
            node.outbox = []
        for update_key, update in self.leader.take_updates(self.now):
            assert update_key == b"c"
            self.leader.admission.acknowledge(self.leader.sessions.by_key[b"c"], update.seq, self.now)

    def deliver(self, index: int, *, keep: bool = False) -> None:
        node_id, direction, message = self.under_way[index] if keep else self.under_way.pop(index)
        if direction == "to":
            node = self.nodes[node_id]
            match message:
                case Beat():
                    node.on_beat("l", message, self.now)
                case Dispatch():
                    node.on_dispatch("l", message, self.now)
                case Revoke():
                    node.on_revoke("l", message, self.now)
        else:
            match message:
                case NodeOutcomes():
                    outcomes = decode_outcomes(message.outcomes)
                    self.leader.nodes.on_outcomes(node_id, message.term, message.seq, outcomes, self.now)
                case NodeBeat():
                    self.leader.nodes.on_beat(node_id, message, self.now)
                case Enrol():
                    self.leader.nodes.on_enrol(node_id, message, self.now)
                case Revoked():
                    self.leader.nodes.on_revoked(node_id, message, self.now)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.leader.tick(self.now, NODES)

    def heal(self) -> None:
        """Links work, workers live, the log commits: everything accepted must end."""
        for _ in range(60):
            self.advance(HALF)
            for node_id in NODES:
                for worker_id in WORKERS:
                    self.start_worker(node_id, worker_id)
                    self.end_one(node_id, worker_id)
            self.beat()
            for _ in range(4):
                self.pump()
                while self.under_way:
                    self.deliver(0)
            self.commit(len(self.entries))
            self.check()
            if not self.leader.tasks.live:
                return

    # --- what must always hold

    def check(self) -> None:
        leader, recording, proposals = self.leader, self.leader.recording, self.leader.recording._proposals
        leader.tasks.check()
        live = leader.tasks.live
        assert set(self.starts.values()) <= {1}, "a task started twice that may once"
        for session in leader.sessions.by_key.values():
            open_tasks = [*live.values(), *recording._withheld.values()]
            assert session.open_tasks == sum(task.session is session for task in open_tasks)
        for task_id in leader.cancelling.asked:
            undecided = task_id in live and leader.tasks.may_be_at_a_node(live[task_id])
            assert undecided or task_id in recording._withheld
        ended = {*recording._ending, *recording._withheld}
        assert ended == {outcome[0] for draft in proposals.drafts() for outcome in draft.outcomes}
        for task_id in self.table.tasks:
            assert task_id in live or task_id in ended, "an accepted task is forgotten"
        self.accepted_ids = list(self.table.tasks)


STEPS = {
    "submit": 12,
    "cancel": 3,
    "deliver": 30,
    "deliver all": 12,
    "lose": 3,
    "repeat": 3,
    "reorder": 3,
    "end": 20,
    "kill": 3,
    "start": 6,
    "beat": 12,
    "commit": 12,
    "advance": 8,
    "change leader": 1,
}
"""What may happen next, and how often. Silence comes of ``advance`` without beats."""


def step(world: World, random: Random, name: str) -> None:
    node_id, worker_id, number = random.choice(NODES), random.choice(WORKERS), random.randrange(30)
    count = len(world.under_way)
    match name:
        case "submit":
            world.submit(number, "gpu" if number % 3 == 0 else "add")
        case "cancel":
            world.cancel(number)
        case "deliver" if count:
            world.deliver(0)
        case "deliver all":
            for _ in range(count):
                world.deliver(0)
        case "lose" if count:
            world.under_way.pop(random.randrange(count))
        case "repeat" if count:
            world.deliver(random.randrange(count), keep=True)
        case "reorder" if count:
            world.deliver(random.randrange(count))
        case "end":
            world.end_one(node_id, worker_id)
        case "kill":
            world.kill_worker(node_id, worker_id)
        case "start":
            world.start_worker(node_id, worker_id)
        case "beat":
            world.beat()
        case "commit":
            world.commit(random.randrange(4))
        case "advance":
            world.advance(HALF)
        case "change leader":
            world.change_leader(random.randrange(3))
    world.pump()
    world.check()


@settings(derandomize=True, max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_books_stay_right_and_every_accepted_task_ends(seed: int) -> None:
    random, world = Random(seed), World()
    for name in random.choices(list(STEPS), list(STEPS.values()), k=300):
        step(world, random, name)
    world.heal()
    assert not world.table.tasks, "an accepted task did not end"
    assert world.table.recorded == world.table.totals.accepted
