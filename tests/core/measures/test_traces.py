"""What a node notes of a sampled task, and that it does nothing else for it."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from paceline.core.feature_levels import FEATURE_LEVEL
from paceline.core.incarnation import INCARNATION_SHIFT
from paceline.core.measures.traces import OPEN_LIMIT_TASKS, Traces
from paceline.core.membership.identity import Identity
from paceline.core.node import NodeCore
from paceline.core.reports.questions import QUESTIONS
from paceline.core.settings import Settings
from paceline_protocol.codec import encode_calls, encode_outcomes
from paceline_protocol.messages import PeerMessage
from paceline_protocol.messages.client import Hello, Submit, Update
from paceline_protocol.messages.membership import Envelope, PeerHello
from paceline_protocol.messages.records import AT_MOST_ONCE, COMMITTED, NO_LOG, Options, TaskEnd
from paceline_protocol.messages.trace import Stage, Trace
from paceline_protocol.messages.work import Beat, Dispatch, Enrol, NodeOutcomes

CLIENT = b"client"
WORKER = b"worker"
TASK = "tasks.add"
RAN = ((int(Stage.WORKER_START), 5), (int(Stage.WORKER_END), 6))


def tid(number: int) -> bytes:
    return number.to_bytes(16, "big")


class Running:
    """A node that leads alone and has one worker, or one that was joined to another's cluster; turns are 1 s apart."""

    def __init__(self, *, expect: int = 1) -> None:
        self.now = 0.0
        self.node = NodeCore(
            Settings(cluster_name="test", expect=expect, log_linger_s=0.0),
            Identity("a", incarnation=1),
            address="a:1",
            spare_cluster_id="cluster",
            random=Random(1),
            now=0.0,
            durable_at_once=True,
            questions=QUESTIONS,
        )
        self.seen: list[object] = []  # everything that left
        self.traces: list[Trace] = []
        self.turn()
        self.node.on_worker_ready(WORKER, (TASK,))
        self.turn()
        self.node.on_client(CLIENT, Hello(bytes(16), ""), self.now)
        self.turn()

    def turn(self) -> None:
        """Everything that is due leaves, half a second after the turn began."""
        node, now = self.node, self.now
        node.tick(now)
        workers, peers, clients = node.take_urgent(now)
        node.traces.left(now + 0.5)
        while node.effects_due(now):
            effects = node.take_effects(now)
            node.traces.left(now + 0.5)
            workers += effects.to_workers
            peers += effects.to_peers
            clients += effects.to_clients
        self.seen += [workers, *([address, messages] for address, _, messages, _ in peers)]
        for _, reply in clients:
            (self.traces if isinstance(reply, Trace) else self.seen).append(reply)  # type: ignore[arg-type]

    def submit(self, number: int, options: Options | None) -> None:
        self.now += 1.0
        calls = encode_calls([(tid(number), TASK, 4, b"", options)])
        self.node.on_client(CLIENT, Submit(number, 0, calls), self.now)
        self.turn()

    def done(self, number: int, trace: Trace | None = None) -> None:
        self.now += 1.0
        if trace is not None:
            self.node.on_worker_trace(trace)
        self.node.on_worker_done(WORKER, ((tid(number), 1, int(TaskEnd.SUCCEEDED), b"v", 3),), self.now)
        self.turn()

    def tell(self, sender: str, *messages: PeerMessage) -> None:
        self.now += 1.0
        self.node.on_peer(Envelope("cluster", sender, 1, "a"), messages, self.now)
        self.turn()


def test_a_leader_that_runs_the_task_itself_tells_its_submitter_all_stages_but_the_hop_that_there_was_not() -> None:
    running = Running()
    running.submit(1, {"trace": 1})
    running.done(1, Trace(tid(1), RAN))
    assert running.traces == [
        Trace(
            tid(1),
            (
                (Stage.LEADER_IN, 1_000_000_000),
                (Stage.DISPATCHED, 1_500_000_000),
                (Stage.WORKER_START, 5),
                (Stage.WORKER_END, 6),
                (Stage.LEADER_BACK, 2_000_000_000),
            ),
        )
    ]
    assert len(running.node.traces) == 0


def test_the_trace_leaves_after_the_result() -> None:
    running = Running()
    running.submit(1, {"trace": 1})
    running.node.on_worker_done(WORKER, ((tid(1), 1, int(TaskEnd.SUCCEEDED), b"v", 3),), running.now)
    _, _, replies = running.node.take_urgent(running.now)
    assert [type(reply) for _, reply in replies] == [Update, Trace]


def test_another_node_tells_the_leader_what_it_and_its_worker_saw_beside_the_outcome() -> None:
    running = Running(expect=0)
    running.tell("b", PeerHello("b:1", "test", 1, "b", 1, (), True))
    running.tell("b", Beat(1, 0, 0, 0))
    first = 1 << INCARNATION_SHIFT
    running.tell("b", Dispatch(1, first + 1, ((tid(1), 1, TASK, b"", {"trace": 1}), (tid(2), 1, TASK, b"", None))))
    arrived_s = running.now
    running.seen.clear()
    running.done(1, Trace(tid(1), RAN))
    (messages,) = (batch[1] for batch in running.seen if isinstance(batch, list) and batch and batch[0] == "b:1")
    assert [type(message) for message in messages] == [NodeOutcomes, Trace]
    assert messages[1] == Trace(tid(1), ((Stage.NODE_IN, round(arrived_s * 1e9)), *RAN))
    assert len(running.node.traces) == 0


def test_a_leader_adds_what_another_node_saw_to_what_it_saw_itself() -> None:
    running = Running()
    running.node.on_worker_lost(WORKER, "killed", running.now)
    running.tell("b", PeerHello("b:1", "test", 0, "", 0, (), True, feature_level=FEATURE_LEVEL))
    running.now += 1.0
    running.turn()  # the leader's first Beat to it
    term = running.node.role.term()
    running.tell(
        "b", Enrol(term, (1 << INCARNATION_SHIFT) + 1, 1 << INCARNATION_SHIFT, 1 << INCARNATION_SHIFT, 1, (TASK,), b"")
    )
    running.submit(1, {"trace": 1})
    submitted_s = running.now
    outcomes = ((tid(1), 1, int(TaskEnd.SUCCEEDED), b"v", 3),)
    report = NodeOutcomes(term, (1 << INCARNATION_SHIFT) + 1, encode_outcomes(outcomes))
    running.tell("b", report, Trace(tid(1), ((int(Stage.NODE_IN), 4), *RAN)))
    (trace,) = running.traces
    assert [stage for stage, _ in trace.stamps] == list(range(Stage.LEADER_IN, Stage.CLIENT_BACK))
    assert dict(trace.stamps)[Stage.LEADER_IN] == round(submitted_s * 1e9)
    assert dict(trace.stamps)[Stage.NODE_IN] == 4
    assert dict(trace.stamps)[Stage.LEADER_BACK] == round(running.now * 1e9)


VARIETIES: list[Options] = [
    {},
    {"max_attempts": 2},
    {"delivery": AT_MOST_ONCE},
    {"confirm": COMMITTED},
    {"durability": NO_LOG},
]


@pytest.mark.parametrize("options", VARIETIES, ids=str)
def test_but_for_its_trace_a_sampled_task_goes_as_any_other(options: Options) -> None:
    plain, traced = Running(), Running()
    for number in range(1, 4):
        plain.submit(number, options or None)
        traced.submit(number, {**options, "trace": 1})
        for running in (plain, traced):
            running.done(number)
    assert sum(isinstance(each, Update) for each in plain.seen) >= 3
    assert without_the_option(traced.seen) == without_the_option(plain.seen)
    assert traced.node.table.results == plain.node.table.results
    assert [trace.id for trace in traced.traces] == [tid(1), tid(2), tid(3)]
    for trace in traced.traces:
        assert {Stage.LEADER_IN, Stage.DISPATCHED, Stage.LEADER_BACK} <= {stage for stage, _ in trace.stamps}
    assert plain.traces == []


def without_the_option(seen: object) -> object:
    if isinstance(seen, dict):
        return {key: value for key, value in seen.items() if key != "trace"} or None
    if isinstance(seen, list | tuple):
        return [type(seen).__name__, *map(without_the_option, seen)]
    return seen


def test_what_is_not_sampled_leaves_no_trace_open() -> None:
    running = Running()
    running.submit(1, None)
    running.submit(2, {"max_attempts": 1})
    assert len(running.node.traces) == 0


# --- the ring ---------------------------------------------------------------------------------------------------


def numbers(count: int) -> Iterator[bytes]:
    return map(tid, range(count))


def test_of_too_many_on_their_way_the_oldest_are_forgotten() -> None:
    traces = Traces()
    for task_id in numbers(OPEN_LIMIT_TASKS + 2):
        traces.submitted(task_id)
    assert traces.take(1.0) == []
    assert len(traces) == OPEN_LIMIT_TASKS
    for task_id in numbers(3):
        traces.ended(task_id, CLIENT)
    assert traces.take(2.0) == [
        (CLIENT, Trace(tid(2), ((Stage.LEADER_IN, 1_000_000_000), (Stage.LEADER_BACK, 2_000_000_000))))
    ]


def test_of_a_task_that_is_sent_again_the_lost_attempt_does_not_count() -> None:
    traces = Traces()
    traces.submitted(tid(1))
    traces.take(1.0)
    traces.leaving.add(tid(1))
    traces.left(2.0)
    traces.add(Trace(tid(1), ((Stage.NODE_IN, 3), *RAN)))
    traces.leaving.add(tid(1))
    traces.left(4.0)
    traces.ended(tid(1), CLIENT)
    ((_, trace),) = traces.take(5.0)
    assert trace.stamps == (
        (Stage.LEADER_IN, 1_000_000_000),
        (Stage.DISPATCHED, 4_000_000_000),
        (Stage.LEADER_BACK, 5_000_000_000),
    )


def test_what_nobody_asked_for_is_not_kept_and_what_was_seen_here_is_not_overwritten() -> None:
    traces = Traces()
    traces.add(Trace(tid(1), RAN))
    traces.ended(tid(1), CLIENT)
    assert traces.take(1.0) == []
    traces.submitted(tid(1))
    traces.take(2.0)
    traces.add(Trace(tid(1), ((Stage.LEADER_IN, 7),)))
    assert traces.take_reported([(tid(1), 1, int(TaskEnd.SUCCEEDED), b"", 0), (tid(2), 1, 1, b"", 0)]) == [
        Trace(tid(1), ((Stage.LEADER_IN, 2_000_000_000),))
    ]
    assert len(traces) == 0
