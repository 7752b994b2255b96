"""What clients say of themselves: remembered while they go on saying it, and within bounds."""

from __future__ import annotations

from paceline.core.clients.client_info import (
    BYTES_LIMIT,
    CLIENTS_LIMIT,
    PAIRS_LIMIT,
    REMEMBERED_S,
    VALUE_BYTES,
    Clients,
)

BRIDGE = (("kind", "bridge"), ("state", "running"))


def test_each_client_is_told_of_as_it_said_last() -> None:
    clients = Clients()
    clients.told(b"b", "a client", (("kind", "bridge"), ("state", "starting")), 0.0)
    clients.told(b"a", "a client", (("kind", "other"),), 0.0)
    clients.told(b"b", "a client", BRIDGE, 1.0)
    assert clients.rows(1.0) == [{"kind": "bridge", "state": "running"}, {"kind": "other"}]


def test_a_client_that_is_silent_or_gone_or_says_nothing_is_forgotten() -> None:
    clients = Clients()
    clients.told(b"silent", "a client", BRIDGE, 0.0)
    clients.told(b"gone", "a client", BRIDGE, REMEMBERED_S)
    clients.told(b"ordinary", "a client", (), REMEMBERED_S)
    assert len(clients.rows(REMEMBERED_S)) == 2
    clients.gone(b"gone")
    clients.gone(b"never there")
    assert clients.rows(REMEMBERED_S + 0.1) == []


def test_a_description_is_cut_to_what_can_be_shown() -> None:
    clients = Clients()
    clients.told(b"long", "a client", tuple((f"state{number}", "é" * 9_000) for number in range(9)), 0.0)
    clients.told(b"many", "a client", tuple((str(number), "") for number in range(PAIRS_LIMIT + 9)), 0.0)
    many, long = clients.rows(0.0)
    assert len(many) == PAIRS_LIMIT
    assert long["state0"] == "é" * (VALUE_BYTES // 2)
    assert len("".join((*long.keys(), *long.values())).encode()) == BYTES_LIMIT


def test_nothing_of_a_description_changes_a_terminal_or_breaks_a_line() -> None:
    clients = Clients()
    clients.told(b"c", "a client", (("kind", "bridge"), ("ho\nst", "\x1b[2J\u202e\x9b1m")), 0.0)
    assert clients.rows(0.0) == [{"kind": "bridge", "ho\\nst": r"\x1b[2J\u202e\x9b1m"}]


def test_one_holder_of_a_key_with_many_descriptions_keeps_no_other_out() -> None:
    clients = Clients()
    for number in range(CLIENTS_LIMIT + 10):
        clients.told(b"%d" % number, "an observer", (("number", str(number)),), 0.0)
    clients.told(b"bridge", "a client", BRIDGE, 0.0)
    for number in range(CLIENTS_LIMIT + 10):
        clients.told(b"again %d" % number, "an observer", (("number", str(number)),), 0.1)
    rows = clients.rows(0.1)
    assert len(rows) == CLIENTS_LIMIT
    assert dict(BRIDGE) in rows
    clients.told(b"another", "an observer", (("kind", "known"),), 0.1)
    assert {"number": "11"} not in clients.rows(0.1), "the one that was heard longest ago"
    assert {"kind": "known"} in clients.rows(0.1)
