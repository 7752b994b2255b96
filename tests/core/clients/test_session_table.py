"""Who of a leader's clients is owed something."""

from __future__ import annotations

from math import inf

from paceline.core.clients.session_table import SessionTable
from paceline.core.clients.sessions import ClientSession
from paceline_protocol.messages import Refusal, TaskEnd


def opened(*keys: bytes, limit: int = 10) -> tuple[SessionTable, list[ClientSession]]:
    table = SessionTable(limit)
    for key in keys:
        table.open(key, 0.0)
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
