"""A client from one leader to the next, in virtual time: how it loses one, and what it tells the next."""

from __future__ import annotations

from client.session_rig import Rig, call, ids_of, succeeded, task_id, welcome
from paceline.client.session.session import (
    SessionState,
)
from paceline.client.session.silence import USUAL_BYTES_PER_S
from paceline.errors import (
    NoLeader,
    NoNodeFound,
)
from paceline_protocol.messages.client import Hello, Ping, Redirect, Wait


def test_after_a_failover_unaccepted_tasks_are_resubmitted_under_their_ids_and_accepted_ones_awaited() -> None:
    rig = Rig("a:1", "b:1")
    rig.attach()
    rig.submit(1, 2, 3)
    rig.update(1, accepted=[1], results=[succeeded(3)])
    rig.submits()
    rig.session.lost("a:1", rig.now)
    rig.submit(4)
    rig.pass_time(0.1)
    assert "a:1" in rig.closed
    rig.sent()
    rig.hear("b:1", welcome("b:1", "b:1", term=2))
    wait, submit = (message for _, message in rig.sent())
    assert wait == Wait(0, (task_id(1),))
    assert submit.seq == 1  # type: ignore[union-attr]
    assert submit.ack == 0  # type: ignore[union-attr]
    assert ids_of(submit) == [2, 4]  # type: ignore[arg-type]


def test_a_redirect_leads_to_the_new_leader() -> None:
    rig = Rig("a:1")
    rig.attach()
    rig.pass_time(1)
    rig.submit(1)
    rig.sent()
    rig.hear("a:1", Redirect(2, "b:1", "b:1"))
    assert rig.greeted() == ["b:1", "a:1"]
    rig.hear("b:1", welcome("b:1", "b:1", term=2))
    assert [ids_of(submit) for submit in rig.submits()] == [[1]]


def test_two_nodes_that_redirect_to_each_other_make_no_busy_loop_and_no_endless_one() -> None:
    rig = Rig("a:1", failover_timeout_s=3.0)
    rig.attach()
    rig.submit(1)
    hellos = 0
    while not rig.session.output.failed:
        for address, message in rig.sent():
            if isinstance(message, Hello):
                hellos += 1
                rig.hear(address, welcome(address, address))
        if rig.attached:
            rig.hear(rig.session.leader_address, Redirect(1, "b:1", "b:1"))
        rig.pass_time(0.01)
    assert hellos < 200
    assert isinstance(rig.session.output.failed[0][1], NoLeader)


def test_a_silent_leader_is_given_up_within_half_a_second() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.pass_time(0.45)
    assert rig.session.state is SessionState.SEEKING


def test_a_leader_that_answers_pings_is_kept_however_long_a_task_takes() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.update(1, accepted=[1])
    rig.sent()
    rig.pass_time(60, answer_pings=True)
    assert rig.attached
    assert rig.sent() == []


def test_a_client_that_was_stopped_itself_asks_before_it_blames_the_leader() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1)
    rig.sent()
    rig.now += 30
    rig.session.tick(rig.now)
    assert rig.attached
    assert rig.sent()[0] == ("a:1", Ping(0))


def test_an_idle_client_sends_nothing_and_expects_nothing() -> None:
    rig = Rig()
    rig.attach()
    rig.sent()
    rig.pass_time(3600)
    assert rig.sent() == []
    assert rig.attached


def test_a_failover_that_takes_too_long_fails_everything() -> None:
    rig = Rig("a:1", failover_timeout_s=30.0)
    rig.attach()
    rig.submit(1, 2)
    rig.update(1, accepted=[1])
    rig.session.lost("a:1", rig.now)
    rig.pass_time(29)
    assert rig.session.output.failed == []
    rig.pass_time(1.1)
    assert [failed_id for failed_id, _ in rig.session.output.failed] == [task_id(1), task_id(2)]
    assert isinstance(rig.session.output.failed[0][1], NoNodeFound)


def test_a_submit_without_any_answer_is_sent_again_under_its_ids() -> None:
    rig = Rig()
    rig.attach()
    rig.submit(1, 2)
    rig.sent()
    rig.pass_time(1.05, answer_pings=True)
    [again] = rig.submits()
    assert (again.seq, again.prompt, ids_of(again)) == (1, True, [1])
    rig.update(1, accepted=[1, 2])
    assert not rig.session.ledger.has_unaccepted


def test_a_large_submit_is_sent_again_only_after_as_long_again_as_it_is_on_its_way() -> None:
    """The answers to Pings prove that it has arrived, and a leader that writes it to a slow disk has it."""
    rig = Rig()
    rig.attach()
    rig.session.submit(call(1, bytes(2 * int(USUAL_BYTES_PER_S))), rig.now)
    assert [ids_of(submit) for submit in rig.submits()] == [[1]]
    rig.pass_time(2.95, answer_pings=True)
    assert rig.submits() == []
    rig.pass_time(0.1, answer_pings=True)
    assert [ids_of(submit) for submit in rig.submits()] == [[1]]
    rig.pass_time(3.9, answer_pings=True)
    assert rig.submits() == []
    rig.pass_time(0.1, answer_pings=True)
    assert [ids_of(submit) for submit in rig.submits()] == [[1]]
    rig.update(1, accepted=[1])
    rig.submit(2)
    rig.sent()
    rig.pass_time(1.05, answer_pings=True)
    assert [ids_of(submit) for submit in rig.submits()] == [[2]], "what is small does not wait for it"


def test_one_seed_gives_one_run() -> None:
    def run() -> list[tuple[float, object]]:
        rig = Rig("a:1", "b:1", "c:1", seed=7)
        rig.submit(1)
        history: list[tuple[float, object]] = []
        for _ in range(50):
            rig.pass_time(0.02)
            history.extend((rig.now, item) for item in rig.sent())
        return history

    assert run() == run()
