"""Whether a quick batch counts: by what the main connection brings."""

from __future__ import annotations

import pytest

from paceline.core.membership.main_connection import (
    ASK_AFTER_S,
    ASK_EVERY_S,
    FIRST_UNDER_WAY_BYTES,
    LARGE_BYTES,
    LOSSES,
    SAID_AFTER_S,
    SILENT_S,
    SLOWEST_BYTES_PER_S,
    MainConnection,
    SentByMain,
)
from paceline_protocol.messages.membership import Envelope

TO_B = Envelope("c", "a", 1, "b", 7)


def main(sent_bytes: int, size_bytes: int = 1) -> Envelope:
    return TO_B._replace(main_before=sent_bytes - size_bytes, main_bytes=sent_bytes)


def quick(sent_bytes: int) -> Envelope:
    return TO_B._replace(main_bytes=sent_bytes, is_quick=True)


def heard(*before: int) -> MainConnection:
    connection = MainConnection(7)
    for sent_bytes in before:
        assert connection.hear(main(sent_bytes), 0.0)
    return connection


def test_what_leaves_says_how_much_has_left_for_its_recipient_by_the_main_connection() -> None:
    sent = SentByMain()
    to_c = TO_B._replace(recipient="c")
    labels = [
        sent.label(envelope, size_bytes, is_quick)
        for envelope, size_bytes, is_quick in (
            (TO_B, 10, True),
            (TO_B, 100, False),
            (to_c, 5, False),
            (TO_B, 10, True),
            (TO_B, 1, False),
        )
    ]
    assert labels == [
        quick(0),
        main(100, 100),
        to_c._replace(main_before=100, main_bytes=105),
        quick(100)._replace(main_before=100),
        main(101, 1),
    ]
    to_whoever_is_there = TO_B._replace(recipient="")
    assert sent.label(to_whoever_is_there, 50, is_quick=False) == to_whoever_is_there


def test_a_recipient_that_was_forgotten_is_told_of_more_than_it_was_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paceline.core.membership.main_connection.RECIPIENTS_MAX", 2)
    sent = SentByMain()
    labels = [sent.label(TO_B._replace(recipient=node_id), 10, is_quick=False) for node_id in "bcdb"]
    assert [label.main_bytes for label in labels] == [10, 20, 30, 40]
    assert len(sent._to) <= 2


def test_quick_batches_count_while_nothing_is_missing_however_long_nothing_comes() -> None:
    connection = heard(100)
    assert all(connection.hear(quick(100), now) for now in (0.0, 10.0, 1e6))
    assert not connection.is_to_ask(1e6)
    assert MainConnection(7).hear(quick(0), 1e6)


def test_once_something_is_missing_for_too_long_quick_batches_do_not_count_until_something_comes() -> None:
    connection = heard(100)
    assert [connection.hear(quick(101), now) for now in (5.0, 5.0 + 0.99 * SILENT_S, 5.01 + SILENT_S)] == [
        True,
        True,
        False,
    ]
    assert not connection.hear(quick(10**9), 6.1 + SILENT_S), "more that does not come explains nothing"
    assert connection.hear(main(200), 7.0)
    assert connection.hear(quick(200), 7.0)
    assert connection.hear(quick(10**9), 7.0)


def test_what_is_under_way_is_waited_for() -> None:
    """16 MiB, at a sixteenth of what links are taken for; then more is sent, in which something comes now and then."""
    connection = heard(100)
    takes_s = (16 << 20) / SLOWEST_BYTES_PER_S
    for now in (0.0, takes_s, takes_s + 0.9 * SILENT_S):
        assert connection.hear(quick(100 + (16 << 20)), now)
    for sent_bytes in range(1000, 2000, 100):
        now += takes_s
        assert connection.hear(main(sent_bytes), now)
        assert connection.hear(quick(sent_bytes + (16 << 20)), now)
    assert connection.hear(quick(2000 + (16 << 20)), now + takes_s)
    assert not connection.hear(quick(2000 + (16 << 20)), now + takes_s + 1.1 * SILENT_S)


def test_links_that_many_share_carry_less_for_each() -> None:
    takes_s = (16 << 20) / SLOWEST_BYTES_PER_S
    for peers, times in ((1, 1.0), (16, 1.0), (64, 4.0)):
        connection = heard(100)
        for now in (0.0, times * takes_s):
            assert connection.hear(quick(100 + (16 << 20)), now, peers)
        assert not connection.hear(quick(100 + (16 << 20)), times * takes_s + 1.1 * SILENT_S, peers)


def test_what_follows_a_small_batch_that_was_lost_is_waited_for() -> None:
    connection = heard(100)
    assert connection.hear(quick(160), 0.0)
    assert connection.hear(quick(160 + (16 << 20)), 0.5 * SILENT_S)
    assert connection.hear(quick(160 + (16 << 20)), 10 * SILENT_S)


def test_of_a_process_that_nothing_has_come_from_what_it_sent_long_before_is_not_waited_for() -> None:
    connection = heard()
    takes_s = FIRST_UNDER_WAY_BYTES / SLOWEST_BYTES_PER_S
    assert [connection.hear(quick(1 << 40), now) for now in (0.0, takes_s, takes_s + 1.1 * SILENT_S)] == [
        True,
        True,
        False,
    ]


def test_a_path_that_loses_what_is_large_again_and_again_is_given_no_time_for_it_until_it_carries_some() -> None:
    connection = heard(100)
    sent_bytes, now = 100, 0.0
    for _ in range(LOSSES):  # each time the connection is made anew, which brings something small
        sent_bytes += 100 * LARGE_BYTES
        for later_s in (0.0, 3.0):
            assert connection.hear(quick(sent_bytes), now + later_s)
        now += 4.0
        sent_bytes += 60
        assert connection.hear(main(sent_bytes, 60), now)
    sent_bytes += 100 * LARGE_BYTES
    assert [connection.hear(quick(sent_bytes), now + later_s) for later_s in (0.0, 1.1 * SILENT_S)] == [True, False]
    assert connection.hear(main(sent_bytes, LARGE_BYTES), now + 5.0)
    assert connection.hear(quick(sent_bytes + 100 * LARGE_BYTES), now + 6.0)
    assert connection.hear(quick(sent_bytes + 100 * LARGE_BYTES), now + 9.0)


def test_a_late_copy_brings_nothing() -> None:
    connection = heard(100, 200)
    assert connection.hear(quick(300), 0.0)
    assert connection.hear(main(100), 0.9 * SILENT_S)
    assert not connection.hear(quick(300), 1.01 * SILENT_S)


def test_a_peer_of_which_something_is_missing_is_asked_for_an_answer_ever_more_seldom() -> None:
    connection = heard(100)
    asked = []
    for step in range(101):
        connection.hear(quick(101), step / 8)
        if connection.is_to_ask(step / 8):
            asked.append(step / 8)
    assert asked == [ASK_AFTER_S, 0.5, 1.0, 2.0, *(2.0 + number * ASK_EVERY_S for number in range(1, 6))]
    connection.hear(main(101), 20.0)
    assert not connection.is_to_ask(30.0)


def test_that_it_is_silent_is_said_once_and_soon_until_something_comes() -> None:
    connection = heard(100)
    said = []
    for begins in (10.0, 20.0):
        silent_at = begins + SILENT_S
        for now in (begins, silent_at + 0.1, silent_at + 1.1 * SAID_AFTER_S, silent_at + 2 * SAID_AFTER_S):
            connection.hear(quick(int(begins) * 100), now)
            said.append(connection.is_news(now))
        connection.hear(main(int(begins) * 100), begins + 5.0)
    assert said == 2 * [False, False, True, False]
