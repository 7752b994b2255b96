"""Who of a leader's clients is owed something."""

from __future__ import annotations

from itertools import chain
from math import inf
from typing import Any

import pytest

from paceline.core.clients.session_table import TURN_BYTES, ClientBounds, SessionTable
from paceline.core.clients.sessions import ACCEPTED_BYTES, ITEM_BYTES, ITEMS_PER_UPDATE, ClientSession
from paceline_protocol.codec import decode, encode
from paceline_protocol.messages.client import Refusal, Update
from paceline_protocol.messages.records import TaskEnd


def opened(*keys: bytes, **bounds: int) -> tuple[SessionTable, list[ClientSession]]:
    table = SessionTable(ClientBounds(**bounds))
    for key in keys:
        table.open(key, key * 16, 0.0)
    return table, [table.by_key[key] for key in keys]


def test_a_client_is_owed_what_was_added_for_it_until_that_is_taken() -> None:
    table, (first, second) = opened(b"a", b"b")
    assert not table.owes
    table.add_result(first, b"1" * 16, TaskEnd.SUCCEEDED, b"value")
    table.refuse(second, b"2" * 16, Refusal.QUEUE_FULL, "full")
    assert table.owes
    updates = dict(table.take_updates(0.0))
    assert updates[b"a"].results == ((b"1" * 16, TaskEnd.SUCCEEDED, b"value"),)
    assert updates[b"b"].refused == ((b"2" * 16, Refusal.QUEUE_FULL, "full"),)
    assert not table.owes


def test_a_client_that_is_gone_is_owed_nothing() -> None:
    table, (session,) = opened(b"a")
    table.add_accepted(session, 1, 5.0)
    table.close(b"a")
    table.add_result(session, b"1" * 16, TaskEnd.SUCCEEDED, b"value")
    table.add_accepted(session, 2, 5.0)
    assert (table.owes, table.get(b"a")) == (False, None)
    assert table.take_updates(9.0) == []


def test_an_accepted_that_waits_for_a_result_is_owed_until_it_is_due() -> None:
    table, (session,) = opened(b"a")
    table.add_accepted(session, 1, 5.0)
    assert (table.take_updates(4.0), table.owes, table.due) == ([], True, 5.0)
    ((_, update),) = table.take_updates(5.0)
    assert (update.accepted, table.owes) == ((1,), False)
    table.find_due()
    assert table.due == inf


KIB = b"x" * (1024 - ITEM_BYTES)


def told(table: SessionTable, key: bytes, now: float = 0.0) -> list[int]:
    """The numbers of the tasks whose results this client is sent."""
    return [
        int.from_bytes(task_id, "big")
        for to, update in table.take_updates(now)
        if to == key
        for task_id, _, _ in update.results
    ]


def end(table: SessionTable, session: ClientSession, *numbers: int) -> None:
    for number in numbers:
        table.add_result(session, number.to_bytes(16, "big"), TaskEnd.SUCCEEDED, KIB)


def test_a_client_with_a_full_window_is_looked_at_again_when_it_acknowledges() -> None:
    table, (each,) = opened(b"a", window_bytes=1024)
    end(table, each, 1)
    assert told(table, b"a") == [1]
    end(table, each, 2)
    assert (told(table, b"a"), table.owes) == ([], False), "nobody looks at it in each turn meanwhile"
    table.acknowledge(each, 1, 1.0)
    assert told(table, b"a") == [2]


def test_who_does_not_read_is_cut_off_and_comes_back_once_it_has_what_it_was_sent() -> None:
    table, (each,) = opened(b"a", window_bytes=1024, waiting_bytes=2048)
    end(table, each, 1)
    assert told(table, b"a") == [1]
    end(table, each, 2, 3, 4, 5, 6)
    assert each.is_cut_off
    assert each.waiting_bytes == 3 * 1024, "what is past the bound is not added"
    table.add_accepted(each, 7, 0.0)
    table.refuse(each, b"i" * 16, Refusal.QUEUE_FULL, "full")
    assert (len(each.accepted), len(each.refused)) == (0, 0), (
        "an accepted would be wrong for a Submit whose refusal is missing"
    )
    table.acknowledge(each, 1, 1.0)
    assert told(table, b"a") == [2, 3, 4]
    assert not each.closed
    table.acknowledge(each, 2, 2.0)
    assert each.closed
    assert table.get(b"a") is None


def test_past_the_bound_for_all_the_one_that_has_acknowledged_nothing_for_longest_loses_what_waits() -> None:
    table, (dead, slow, quick) = opened(b"a", b"b", b"c", window_bytes=1024, all_waiting_bytes=4 * 1024)
    for each, now in ((slow, 1.0), (quick, 2.0)):
        end(table, each, 1)
        assert told(table, each.key) == [1]
        table.acknowledge(each, 1, now)
    for each in (dead, slow, quick):
        end(table, each, 2)
    table.take_updates(3.0)
    end(table, dead, 3, 4)
    end(table, slow, 3)
    end(table, quick, 3, 4)
    assert (dead.is_cut_off, slow.is_cut_off, quick.is_cut_off) == (True, False, False)
    assert (len(dead.results), len(slow.results), len(quick.results)) == (0, 1, 2)
    assert not dead.closed, "it may still read what it was sent"
    table.acknowledge(dead, 1, 4.0)
    assert dead.closed
    table.acknowledge(quick, 2, 4.0)
    assert told(table, b"c") == [3, 4]


def test_who_was_sent_nothing_yet_loses_nothing_since_it_would_come_back_to_lose_the_same() -> None:
    table, (first, second) = opened(b"a", b"b", all_waiting_bytes=1024)
    end(table, first, 1)
    end(table, second, 1, 2)
    assert (first.is_cut_off, second.is_cut_off) == (False, False)
    assert told(table, b"a") == [1]
    assert told(table, b"b") == []
    assert second.waiting_bytes == 0, "both were sent theirs in the same turn"


class Counted(dict[bytes, ClientSession]):
    """How often all sessions are looked at."""

    looks = 0

    def values(self) -> Any:
        self.looks += 1
        return super().values()


def test_a_result_that_many_wait_for_has_all_of_them_looked_at_once_and_who_is_silent_is_found_again() -> None:
    table, (first, *others) = opened(*(bytes([number]) for number in range(20)), all_waiting_bytes=1024)
    sessions = table.by_key = Counted(table.by_key)
    for each in (first, *others):
        end(table, each, 1)
    assert sessions.looks == 1
    assert told(table, first.key) == [1]
    end(table, first, 2)
    end(table, others[0], 2)
    end(table, others[1], 2)
    assert first.is_cut_off


def test_what_is_said_of_a_refusal_fits_into_a_string_whatever_names_are_in_it() -> None:
    table, (session,) = opened(b"a")
    known = ", ".join(f"{number:03}" + "n" * 252 for number in range(20))
    table.refuse(session, b"1" * 16, Refusal.UNKNOWN_TASK, f"no node knows that; the nodes run: {known}")
    ((_, update),) = table.take_updates(0.0)
    assert decode(encode(update)) == update
    assert update.refused[0][2].startswith("no node knows that; the nodes run: 000nnn")


def test_what_one_acknowledgement_makes_room_for_leaves_in_many_turns_which_others_share() -> None:
    table, (large, small) = opened(b"a", b"b")
    for number in range(2 * ITEMS_PER_UPDATE + 1):
        table.refuse(large, number.to_bytes(16, "big"), Refusal.UNKNOWN_ID, "unknown")
    turns = []
    for number in range(4):
        end(table, small, number)
        turns.append([(key, len(update.refused) + len(update.results)) for key, update in table.take_updates(0.0)])
        assert table.is_behind == (number < 2), "nobody has to say a word before the next turn sends more"
    assert turns[0] == [(b"a", ITEMS_PER_UPDATE), (b"b", 1)]
    assert [sorted(turn) for turn in turns[1:]] == [
        [(b"a", ITEMS_PER_UPDATE), (b"b", 1)],
        [(b"a", 1), (b"b", 1)],
        [(b"b", 1)],
    ]
    assert not table.owes


@pytest.mark.parametrize(
    ("count", "payload", "each_turn"),
    [(ITEMS_PER_UPDATE, b"", [4, 4, 2]), (1, b"x" * (TURN_BYTES // 2), [2, 2, 2, 2, 2])],
)
def test_what_one_turn_sends_to_all_clients_together_is_bounded_and_each_has_its_turn(
    count: int, payload: bytes, each_turn: list[int]
) -> None:
    keys = [b"%d" % number for number in range(10)]
    table, sessions = opened(*keys)
    for session in sessions:
        for number in range(count):
            table.add_result(session, number.to_bytes(16, "big"), TaskEnd.SUCCEEDED, payload)
    sent = []
    while table.owes:
        updates = [(key, update) for key, update in table.take_updates(0.0) if isinstance(update, Update)]
        sent.append([key for key, update in updates if len(update.results) == count])
        assert table.is_behind == table.owes
    assert list(map(len, sent)) == each_turn
    assert list(chain.from_iterable(sent)) == keys


def test_a_table_that_was_behind_for_a_client_that_is_gone_is_behind_no_more() -> None:
    table, (each,) = opened(b"a")
    for number in range(ITEMS_PER_UPDATE + 1):
        table.refuse(each, number.to_bytes(16, "big"), Refusal.UNKNOWN_ID, "unknown")
    table.take_updates(0.0)
    assert table.is_behind
    table.close(b"a")
    assert not table.is_behind


def test_acceptances_past_the_window_that_are_due_are_not_forgotten_between_turns() -> None:
    table, (each,) = opened(b"a", window_bytes=1)
    end(table, each, 1)
    assert told(table, b"a") == [1]
    for seq in range(ITEMS_PER_UPDATE + 1):
        table.add_accepted(each, seq, 1.0)
    assert [len(update.accepted) for _, update in table.take_updates(1.0)] == [ITEMS_PER_UPDATE]
    assert table.is_behind
    assert [len(update.accepted) for _, update in table.take_updates(1.0)] == [1]
    assert not table.owes


def test_who_acknowledges_nothing_has_a_bounded_number_of_accepted_submits_waiting_behind_a_refusal() -> None:
    table, (each,) = opened(b"a", window_bytes=1024, waiting_bytes=100 * ACCEPTED_BYTES, all_waiting_bytes=1 << 20)
    end(table, each, 1)
    assert told(table, b"a") == [1]
    table.refuse(each, b"i" * 16, Refusal.QUEUE_FULL, "full")
    for seq in range(10_000):
        table.add_accepted(each, seq, 0.0)
        table.take_updates(1.0)
    assert len(each.accepted) <= 100
    assert each.is_cut_off
    table.acknowledge(each, 1, 2.0)
    table.take_updates(2.0)
    assert (each.waiting_bytes, table._waiting_bytes) == (0, 0)
    table.acknowledge(each, 2, 3.0)
    assert each.closed


def test_accepted_submits_that_were_told_count_for_nothing_any_more() -> None:
    table, (each,) = opened(b"a")
    for seq in range(3 * ITEMS_PER_UPDATE):
        table.add_accepted(each, seq, 0.0)
    end(table, each, 1)
    while table.owes:
        table.take_updates(0.0)
    assert (each.waiting_bytes, table._waiting_bytes) == (0, 0)
