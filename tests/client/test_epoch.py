"""What a client makes of what its leader says, in virtual time: Updates, refusals, acknowledgements."""

from __future__ import annotations

import itertools

import pytest

from client.session_rig import LIMIT_BYTES, Rig, call, ids_of, succeeded, task_id, welcome
from paceline.client.session.session import (
    SessionState,
)
from paceline.errors import (
    FeatureLevelTooLow,
    NoLeader,
    QueueFull,
    RequestRefused,
    ResultUnknown,
    UnknownTask,
)
from paceline_protocol.errors import PayloadTooLarge
from paceline_protocol.messages.client import Failure, Ping, Refusal, Submit, Wait


def test_a_result_is_reported_once_however_often_it_arrives() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.update(1, results=[succeeded(1), succeeded(1), succeeded(77)])
    rig.update(2, results=[succeeded(1)])
    assert rig.session.output.results == [succeeded(1)]


def test_the_next_submit_acknowledges_and_an_idle_client_pings_once() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.update(1, results=[succeeded(1)])
    rig.submits()
    rig.submit(2)
    assert rig.submits()[0].ack == 1
    rig.update(2, results=[succeeded(2)])
    rig.pass_time(10)
    assert rig.sent() == [("a:1", Ping(2))]


def test_a_gap_in_the_updates_begins_a_new_epoch_that_asks_for_what_is_missing() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1, 2)
    rig.update(1, accepted=[1, 2])
    rig.update(3, results=[succeeded(2)])
    assert rig.session.state is SessionState.SEEKING
    rig.pass_time(0.1)
    rig.sent()
    rig.hear("a:1", welcome("a:1", "a:1"))
    assert rig.sent() == [("a:1", Wait(0, (task_id(1),)))]


def test_what_is_called_accepted_behind_a_gap_may_have_been_refused_in_it() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.update(2, accepted=[1])
    assert not rig.session.ledger.is_accepted(task_id(1))
    rig.pass_time(0.1)
    rig.sent()
    rig.hear("a:1", welcome("a:1", "a:1"))
    [(_, message)] = rig.sent()
    assert isinstance(message, Submit), "it is submitted again"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (Refusal.UNKNOWN_TASK, UnknownTask),
        (Refusal.QUEUE_FULL, QueueFull),
        (Refusal.PAYLOAD_TOO_LARGE, PayloadTooLarge),
        (Refusal.BAD_REQUEST, RequestRefused),
        (Refusal.UNKNOWN_ID, ResultUnknown),
        (Refusal.LEVEL_TOO_LOW, FeatureLevelTooLow),
    ],
)
def test_each_refusal_has_its_error(code: Refusal, error: type[Exception]) -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.update(1, refused=[(task_id(1), code, "the detail")])
    [(failed_id, raised)] = rig.session.output.failed
    assert failed_id == task_id(1)
    assert type(raised) is error
    if isinstance(raised, PayloadTooLarge):
        assert (raised.size, raised.limit) == (4, LIMIT_BYTES)
    else:
        assert "the detail" in str(raised)


def test_a_batch_of_which_some_are_refused_is_accepted_without_them() -> None:
    rig = Rig()
    rig.session.submit(call(1), rig.now)
    rig.session.submit(call(2), rig.now)
    rig.attach()
    assert [ids_of(submit) for submit in rig.submits()] == [[1, 2]]
    rig.update(1, accepted=[1], refused=[(task_id(1), Refusal.QUEUE_FULL, "full")])
    assert [failed_id for failed_id, _ in rig.session.output.failed] == [task_id(1)]
    assert len(rig.session.ledger) == 1
    assert rig.session.ledger.is_accepted(task_id(2))


def test_a_cluster_that_is_not_ready_is_asked_again_with_growing_pauses_until_the_deadline() -> None:
    rig = Rig(failover_timeout_s=5.0)
    rig.attach()
    rig.submit(1)
    times = []
    seq = 0
    while not rig.session.output.failed:
        for submit in rig.submits():
            assert ids_of(submit) == [1]
            times.append(rig.now)
            seq += 1
            rig.update(seq, refused=[(task_id(1), Refusal.NOT_READY, "too few voters")])
        rig.pass_time(0.01, answer_pings=True)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert pauses[0] < 0.1
    assert max(pauses) > 0.4
    assert len(times) < 30
    [(_, error)] = rig.session.output.failed
    assert isinstance(error, NoLeader)
    assert "too few voters" in str(error)


def test_a_cluster_that_becomes_ready_gets_the_task() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.submits()
    rig.update(1, refused=[(task_id(1), Refusal.NOT_READY, "forming")])
    rig.pass_time(0.06, answer_pings=True)
    assert [ids_of(submit) for submit in rig.submits()] == [[1]]


def test_a_frame_that_the_leader_can_not_take_fails_what_is_not_accepted_only() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1, 2)
    rig.update(1, accepted=[1])
    rig.hear("a:1", Failure(Refusal.BAD_REQUEST, "malformed"))
    [(failed_id, error)] = rig.session.output.failed
    assert failed_id == task_id(2)
    assert isinstance(error, RequestRefused)
