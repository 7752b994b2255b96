"""What clients say of themselves: remembered while they go on saying it, and within bounds."""

from __future__ import annotations

from paceline.core.clients.client_info import CHARS_LIMIT, CLIENTS_LIMIT, PAIRS_LIMIT, REMEMBERED_S, Clients

BRIDGE = (("kind", "bridge"), ("state", "running"))


def test_each_client_is_told_of_as_it_said_last() -> None:
    clients = Clients()
    clients.told(b"b", (("kind", "bridge"), ("state", "starting")), 0.0)
    clients.told(b"a", (("kind", "other"),), 0.0)
    clients.told(b"b", BRIDGE, 1.0)
    assert clients.rows(1.0) == [{"kind": "bridge", "state": "running"}, {"kind": "other"}]


def test_a_client_that_is_silent_or_gone_or_says_nothing_is_forgotten() -> None:
    clients = Clients()
    clients.told(b"silent", BRIDGE, 0.0)
    clients.told(b"gone", BRIDGE, REMEMBERED_S)
    clients.told(b"ordinary", (), REMEMBERED_S)
    assert len(clients.rows(REMEMBERED_S)) == 2
    clients.gone(b"gone")
    clients.gone(b"never there")
    assert clients.rows(REMEMBERED_S + 0.1) == []


def test_too_much_and_too_many_are_not_remembered() -> None:
    clients = Clients()
    clients.told(b"long", (("state", "x" * CHARS_LIMIT),), 0.0)
    clients.told(b"many", (("", ""),) * (PAIRS_LIMIT + 1), 0.0)
    assert clients.rows(0.0) == []
    for number in range(CLIENTS_LIMIT + 10):
        clients.told(b"%d" % number, BRIDGE, 0.0)
    assert len(clients.rows(0.0)) == CLIENTS_LIMIT
    clients.told(b"0", (("kind", "known"),), 1.0)
    assert {"kind": "known"} in clients.rows(1.0)
