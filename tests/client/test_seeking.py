"""The search for the leader, in virtual time: whom a client greets, whom it believes, when it gives up."""

from __future__ import annotations

import math

from client.session_rig import Rig, ids_of, task_id, welcome
from paceline.client.session.candidates import TERM_COUNTS_S
from paceline.client.session.session import (
    SessionState,
)
from paceline.errors import (
    AccessRefused,
    IncompatibleVersion,
    NoLeader,
    NoNodeFound,
    NotAllowed,
)
from paceline_protocol import codec
from paceline_protocol.messages.client import Failure, Redirect, Refusal


def test_it_attaches_to_the_node_that_leads_and_closes_the_others() -> None:
    rig = Rig("a:1", "b:1")
    rig.session.connect(rig.now)
    assert rig.greeted() == ["a:1", "b:1"]
    rig.hear("a:1", welcome("a:1", "b:1"))
    assert not rig.attached
    rig.hear("b:1", welcome("b:1", "b:1"))
    rig.sent()
    assert rig.session.leader_address == "b:1"
    assert rig.closed == ["a:1"]


def test_it_follows_a_follower_to_a_leader_that_nobody_named_before() -> None:
    rig = Rig("a:1")
    rig.session.connect(rig.now)
    rig.sent()
    rig.hear("a:1", welcome("a:1", "z:9"))
    assert rig.greeted() == ["z:9"]


def test_it_asks_again_every_50_ms_with_jitter() -> None:
    rig = Rig("a:1")
    rig.session.connect(rig.now)
    rig.greeted()
    rig.pass_time(0.5)
    assert 8 <= len(rig.greeted()) <= 13


def test_with_many_addresses_it_asks_eight_at_a_time_and_gets_to_all() -> None:
    addresses = [f"h{number}:1" for number in range(20)]
    rig = Rig(*addresses)
    rig.session.connect(rig.now)
    assert rig.greeted() == addresses[:8]
    rig.pass_time(2.0)
    assert set(rig.greeted()) == set(addresses)


def test_a_connection_that_comes_up_is_greeted_at_once() -> None:
    rig = Rig("a:1")
    rig.session.connect(rig.now)
    rig.sent()
    rig.session.opened("a:1", rig.now)
    assert rig.greeted() == ["a:1"]


def test_a_leader_of_an_older_term_is_not_believed() -> None:
    rig = Rig("a:1", "b:1")
    rig.session.connect(rig.now)
    rig.hear("b:1", welcome("b:1", "c:1", term=7))
    rig.hear("a:1", welcome("a:1", "a:1", term=6))
    assert not rig.attached


def test_the_leader_of_an_earlier_term_is_believed_once_nobody_names_the_later_one_any_more() -> None:
    """A node may have named what another only claimed."""
    rig = Rig("a:1", "b:1")
    rig.session.connect(rig.now)
    rig.hear("b:1", welcome("b:1", "c:1", term=2**31))
    rig.pass_time(TERM_COUNTS_S / 2)
    rig.hear("b:1", Redirect(2**31, "c:1", "c:1"))
    rig.pass_time(TERM_COUNTS_S / 2)
    rig.hear("a:1", welcome("a:1", "a:1", term=6))
    assert not rig.attached
    rig.hear("b:1", Redirect(2**31, "", ""))
    rig.pass_time(TERM_COUNTS_S / 2)
    rig.hear("a:1", welcome("a:1", "a:1", term=6))
    assert rig.attached


def test_a_term_that_nobody_led_does_not_keep_the_leader_of_an_earlier_one_out() -> None:
    """A candidate may crash before anybody has its term on disk: the cluster then never comes to it."""
    rig = Rig("a:1", "b:1")
    rig.session.connect(rig.now)
    rig.hear("b:1", welcome("b:1", "", term=7))
    rig.hear("a:1", welcome("a:1", "a:1", term=6))
    assert rig.attached
    rig.hear("a:1", Redirect(7, "", ""))
    rig.pass_time(0.1)
    rig.hear("a:1", welcome("a:1", "a:1", term=6))
    assert rig.attached


def test_no_node_found_if_nobody_answers_and_no_leader_if_somebody_does() -> None:
    silent = Rig("a:1", connect_timeout_s=2.0)
    silent.submit(1)
    silent.pass_time(2.1)
    [(failed_id, error)] = silent.session.output.failed
    assert failed_id == task_id(1)
    assert isinstance(error, NoNodeFound)
    assert error.tried == ("a:1",)

    leaderless = Rig("a:1", connect_timeout_s=2.0)
    leaderless.submit(1)
    leaderless.hear("a:1", welcome("a:1"))
    leaderless.pass_time(2.1)
    assert isinstance(leaderless.session.failure, NoLeader)
    assert leaderless.session.state is SessionState.IDLE
    assert leaderless.session.next_deadline() == math.inf


def test_after_giving_up_the_next_use_looks_again() -> None:
    rig = Rig("a:1", connect_timeout_s=1.0)
    rig.submit(1)
    rig.pass_time(1.1)
    rig.session.output.failed.clear()
    rig.sent()
    rig.submit(2)
    rig.attach()
    assert [ids_of(submit) for submit in rig.submits()] == [[2]]


def test_another_protocol_version_fails_everything_by_its_name() -> None:
    rig = Rig("a:1")
    rig.submit(1)
    rig.session.received("a:1", codec.encode(Failure(5, "no"), version=99), rig.now)
    [(_, error)] = rig.session.output.failed
    assert isinstance(error, IncompatibleVersion)
    assert error.theirs == 99


def test_bytes_that_are_no_message_are_counted_and_nothing_else() -> None:
    rig = Rig()
    rig.attach()
    rig.session.received("a:1", b"GET / HTTP/1.1", rig.now)
    assert rig.session.output.malformed_frames == 1
    assert rig.attached


def test_what_comes_from_a_closed_connection_is_ignored() -> None:
    rig = Rig("a:1", "b:1")
    rig.session.connect(rig.now)
    rig.hear("a:1", welcome("a:1", "a:1"))
    rig.hear("b:1", welcome("b:1", "b:1", term=5))
    assert rig.session.leader_address == "a:1"


def test_who_is_let_in_nowhere_is_told_why_once_the_search_ends_and_not_before() -> None:
    rig = Rig("a:1", connect_timeout_s=1.0)
    rig.session.connect(rig.now)
    rig.sent()
    rig.session.refused("a:1", "does not know the key", is_said=True)
    rig.pass_time(0.5)
    assert rig.session.state is SessionState.SEEKING
    rig.pass_time(1.0)
    assert isinstance(rig.session.failure, AccessRefused)
    assert "a:1 does not know the key" in str(rig.session.failure)


def test_a_handshake_that_failed_counts_only_if_nobody_answered_and_one_that_succeeded_since_takes_it_back() -> None:
    for heard, opened, expected in (
        (False, False, AccessRefused),
        (True, False, NoLeader),
        (False, True, NoNodeFound),
    ):
        rig = Rig("a:1", "b:1", connect_timeout_s=1.0)
        rig.session.connect(rig.now)
        rig.sent()
        rig.session.refused("a:1", "is no paceline node", is_said=False)
        if heard:
            rig.hear("b:1", welcome("b:1", ""))
        if opened:
            rig.session.opened("a:1", rig.now)
        rig.pass_time(1.5)
        assert type(rig.session.failure) is expected


def test_a_node_that_says_that_the_key_was_revoked_is_told_of_though_others_answer() -> None:
    rig = Rig("a:1", "b:1", connect_timeout_s=1.0)
    rig.session.connect(rig.now)
    rig.sent()
    rig.hear("b:1", welcome("b:1", ""))
    rig.hear("a:1", Failure(Refusal.KEY_REVOKED, "a key"))
    rig.pass_time(1.5)
    assert isinstance(rig.session.failure, AccessRefused)


def test_a_key_that_is_revoked_ends_what_is_outstanding_and_one_that_lacks_a_right_the_calls_alone() -> None:
    for code, is_over in ((Refusal.FORBIDDEN, False), (Refusal.KEY_REVOKED, True)):
        rig = Rig("a:1")
        rig.attach()
        rig.submit(1)
        rig.session.status(rig.now)
        rig.hear("a:1", Failure(code, "the observer may only ask"))
        ((failed, error),) = rig.session.output.failed
        assert failed == task_id(1)
        assert isinstance(error, NotAllowed)
        assert (rig.session.failure is not None) is is_over
        assert rig.attached is not is_over
