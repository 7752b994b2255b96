"""Stub nodes: to their leader they are nodes, and what they answer is right."""

import os
import signal
from dataclasses import replace

import psutil
import pytest

from paceline.core.incarnation import INCARNATION_SHIFT
from paceline.core.membership.peering import HELLO_PEERS
from paceline.core.settings import Settings
from paceline.local import Cluster
from paceline_bench.stub.node import ECHO, Stub, StubError
from paceline_bench.stub.process import StubNodes
from paceline_bench.verbs.stub_nodes import LeaderCost, measure, report
from paceline_protocol.codec import decode, decode_outcomes, encode
from paceline_protocol.messages import PeerMessage
from paceline_protocol.messages.client import Hello, Ping, Redirect, Welcome
from paceline_protocol.messages.consensus import Append
from paceline_protocol.messages.membership import Envelope, PeerHello
from paceline_protocol.messages.records import Assignment, TaskEnd
from paceline_protocol.messages.work import Beat, Dispatch, Enrol, NodeBeat, NodeOutcomes
from paceline_protocol.payload import pack_args, unpack_value

LEADER = "leader"
FIRST = 1 << INCARNATION_SHIFT  # numbers begin above the incarnation


@pytest.mark.parametrize(("count", "secure"), [(HELLO_PEERS + 2, False), (8, True)])
def test_stubs_give_a_real_leader_every_result_and_do_not_replicate(count: int, secure: bool) -> None:
    """More of them than one hello may name, as `paceline bench stub-nodes` has."""
    cost = measure(count, tasks=400, idle_s=0.1, secure=secure)
    assert (cost.stubs, cost.wrong, cost.replicas) == (count, 0, 0)
    assert cost.tasks_per_frame >= 1


def test_stubs_end_with_whoever_started_them_and_leave_no_process_behind() -> None:
    with Cluster.local("paceline_bench.bodies.tasks", workers=1) as cluster, cluster.client() as client:
        before = set(psutil.Process().children())
        with StubNodes(cluster, client, 1) as stubs:
            assert len(set(psutil.Process().children()) - before) == 1
            stubs.wait_enrolled()
            assert client.submit(ECHO, "once").result(timeout=30) == "once"
            assert stubs.dispatched() == (1, 1)
        assert set(psutil.Process().children()) <= before


def test_stubs_that_died_are_not_waited_for() -> None:
    with (
        Cluster.local("paceline_bench.bodies.tasks", workers=1) as cluster,
        cluster.client() as client,
        StubNodes(cluster, client, 1) as stubs,
    ):
        os.kill(stubs.pid, signal.SIGKILL)
        with pytest.raises(StubError, match="-9"):
            stubs.wait_enrolled()


# --- one stub, without sockets ----------------------------------------------------------------------------------


def joined() -> Stub:
    """A stub that has met its leader."""
    stub = Stub("stub", "127.0.0.1:2", "127.0.0.1:1", Settings(cluster_name="", expect=0))
    stub.known = (("other", "127.0.0.1:3"),)
    tell(stub, PeerHello("127.0.0.1:1", "", 1, LEADER, 1, (), True))
    return stub


def tell(stub: Stub, *messages: PeerMessage) -> list[PeerMessage]:
    """What it answers to a batch of its leader's, without the Envelope."""
    frames = stub.receive([encode(Envelope("cluster", LEADER, 1, "stub")), *map(encode, messages)], now=0.0)
    if not frames:
        return []
    envelope, *answer = map(decode, frames)
    assert envelope == Envelope("cluster", "stub", 1, LEADER)
    return answer  # type: ignore[return-value]


def call(number: int, value: object) -> Assignment:
    return bytes([number] * 16), 1, ECHO, pack_args((value,), {}), None


def test_a_stub_says_hello_until_it_is_answered_and_then_as_often_as_a_node() -> None:
    stub = Stub("stub", "127.0.0.1:2", "127.0.0.1:1", Settings(cluster_name="", expect=0))
    assert decode(stub.hello_if_due(now=0.0)[0]) == Envelope("", "stub", 1, "")
    assert stub.hello_if_due(now=0.05) == []
    assert len(stub.hello_if_due(now=0.1)) == 2
    tell(stub, PeerHello("127.0.0.1:1", "", 1, LEADER, 1, (), True))
    assert decode(stub.hello_if_due(now=0.11)[0]) == Envelope("cluster", "stub", 1, "")
    assert stub.hello_if_due(now=2.0) == []
    assert len(stub.hello_if_due(now=2.2)) == 2


def test_a_hello_of_the_leader_is_answered_with_every_node_that_is_known() -> None:
    (answer,) = tell(joined(), PeerHello("127.0.0.1:1", "", 1, LEADER, 1, (), False))
    assert isinstance(answer, PeerHello)
    assert (answer.reply, answer.known) == (True, (("other", "127.0.0.1:3"),))


def test_a_leader_gets_the_account_and_then_beats_and_each_task_has_its_argument_as_its_result() -> None:
    stub = joined()
    enrol, alive, again = tell(stub, Beat(1, 0, 0, 0))  # to the new leader, and twice to a Beat that lacks an account
    assert isinstance(enrol, Enrol)
    assert (type(alive), type(again)) == (NodeBeat, Enrol)
    assert (enrol.slots, enrol.names, enrol.held) == (1, (ECHO,), b"")
    (beat,) = tell(stub, Beat(1, enrol.version, FIRST, FIRST))
    assert beat == NodeBeat(1, FIRST, 1, 0, 0)
    values = [7, "text", [1, (2, 3)], None, 2**70]
    calls = tuple(call(number, value) for number, value in enumerate(values))
    answers = tell(stub, Dispatch(1, FIRST + 1, calls))
    assert [answer.seq for answer in answers if isinstance(answer, NodeOutcomes)] == list(
        range(FIRST + 1, FIRST + 1 + len(answers))
    )
    outcomes = [
        outcome
        for answer in answers
        if isinstance(answer, NodeOutcomes)
        for outcome in decode_outcomes(answer.outcomes)
    ]
    assert [outcome[0] for outcome in outcomes] == [each[0] for each in calls]
    assert {outcome[2] for outcome in outcomes} == {TaskEnd.SUCCEEDED}
    assert [unpack_value(outcome[3]) for outcome in outcomes] == values
    assert tell(stub, Dispatch(1, FIRST + 1, calls)) == []  # a copy


def test_a_stub_that_is_asked_to_replicate_says_that_the_benchmark_is_wrong() -> None:
    with pytest.raises(StubError, match="Append"):
        tell(joined(), Append(1, 0, 0, 0, ()))


def test_a_client_that_looks_for_the_leader_is_told_where_it_is() -> None:
    stub = joined()
    tell(stub, Beat(1, 0, 0, 0))
    welcome = decode(stub.receive_client(encode(Hello(bytes(16), ""))))
    assert isinstance(welcome, Welcome)
    assert (welcome.node_id, welcome.leader_id, welcome.leader_address) == ("stub", LEADER, "127.0.0.1:1")
    assert decode(stub.receive_client(encode(Ping(0)))) == Redirect(1, LEADER, "127.0.0.1:1")


# --- the report -------------------------------------------------------------------------------------------------

COST = LeaderCost(1, 0.01, 11.0, 10.0, 1e4, 90.0, 0, 0)


def test_a_ratio_is_of_one_round_and_the_limit_is_for_the_most_stubs() -> None:
    rounds = [
        [COST, replace(COST, stubs=256, task_us=12.0)],
        [replace(COST, task_us=20.0), replace(COST, stubs=256, task_us=25.0)],
        [COST, replace(COST, stubs=256, task_us=90.0)],
    ]
    result = report(rounds, tasks=1000)
    assert result.details["ratios"] == {1: [1, 1, 1], 256: pytest.approx([1.2, 1.25, 9])}
    assert result.ok
    assert not report([rounds[2]], tasks=1000).ok
    assert report([rounds[2]], tasks=1000).of_little_work().ok


def test_what_no_leader_can_do_is_no_good_figure() -> None:
    impossible = report([[COST, replace(COST, stubs=256, task_us=0.5)]], tasks=1000)
    assert not impossible.ok
    assert [check.verdict for check in impossible.of_little_work().checks] == ["ok", "ok", "ok", "not judged"]
    assert not report([[replace(COST, wrong=1)]], tasks=1000).of_little_work().ok


@pytest.mark.parametrize("bad", [replace(COST, wrong=1), replace(COST, replicas=1)])
def test_a_wrong_result_or_a_stub_that_replicates_fails_the_report(bad: LeaderCost) -> None:
    assert report([[COST]], tasks=1000).ok
    assert not report([[bad]], tasks=1000).ok
