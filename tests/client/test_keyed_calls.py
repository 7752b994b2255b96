"""Calls with an idempotency_key: what a client makes of one."""

from __future__ import annotations

import pytest

from client.fake_node import DEADLINE_S, FakeNode
from client.session_rig import Rig, succeeded, task_id
from paceline import NamedTask
from paceline.client import Client
from paceline.errors import ConfigError, IdempotencyKeyUsed, ResultUnknown
from paceline_protocol.keyed import key_of, keyed_id
from paceline_protocol.messages.client import Refusal, Submit
from paceline_protocol.messages.records import PRIORITY_DEFAULT


def keyed(key: str, name: str = "echo") -> NamedTask:
    return NamedTask(name, idempotency_key=key)


def test_the_id_follows_from_the_name_and_the_key_and_is_for_ever_the_same() -> None:
    assert keyed_id("shop.charge", "order 42").hex() == "613a73215480cb09e393a8033defb7a5"
    ids = {keyed_id(name, key) for name, key in (("ab", "c"), ("a", "bc"), ("abc", ""), ("", "abc"), ("c", "ab"))}
    assert len(ids) == 5
    assert [key_of(options) for options in (None, {}, {"idempotency_key": 0}, {"idempotency_key": "k"})] == [
        "", "", "", "k"
    ]  # fmt: skip


def test_calls_with_one_key_are_one_task_whichever_client_submits_them(node: FakeNode, client: Client) -> None:
    node.hold = True
    with Client(node.address) as other:
        futures = [each.submit(keyed("k"), 1) for each in (client, other)]
        assert futures[0].task_id == futures[1].task_id == keyed_id("echo", "k")
        for another in (client.submit(keyed("l"), 1), client.submit(keyed("k", "add"), 1)):
            assert another.task_id != futures[0].task_id
        node.wait_for(lambda: len(node.known) == 3)
        node.release()
        assert [future.result(DEADLINE_S) for future in futures] == [1, 1]


def test_a_client_has_one_future_of_it_until_it_has_ended_and_then_asks_again(node: FakeNode, client: Client) -> None:
    node.hold = True
    first = client.submit(keyed("k"), 1)
    assert client.submit(keyed("k"), 1) is first
    node.wait_for(lambda: len(node._held) == 1)
    node.release()
    assert first.result(DEADLINE_S) == 1
    second = client.submit(keyed("k"), 1)
    assert second is not first
    assert second.result(DEADLINE_S) == 1
    assert len(node.known) == 1


def test_no_map_has_one_key_for_all_its_calls(client: Client) -> None:
    for method in (client.map, client.imap_unordered):
        with pytest.raises(ConfigError, match="would have the same idempotency_key"):
            method(keyed("k"), [1, 2])


def test_a_read_that_is_refused_does_not_end_the_call_with_a_key_that_was_sent_behind_it() -> None:
    rig = Rig()
    rig.attach()
    rig.session.read(task_id(1), rig.now)
    rig.session.submit((task_id(1), "add", PRIORITY_DEFAULT, b"", {"idempotency_key": "k"}), rig.now)
    rig.sent()
    rig.update(1, refused=[(task_id(1), Refusal.UNKNOWN_ID, "nobody knows it")])
    assert rig.session.output.failed == []
    assert [type(message) for _, message in rig.sent()] == [Submit]
    rig.update(2, accepted=[1, 2], results=[succeeded(1)])
    assert rig.session.output.results == [succeeded(1)]


def test_the_second_refusal_counts_whatever_the_first_was_for() -> None:
    rig = Rig()
    rig.attach()
    rig.session.read(task_id(1), rig.now)
    rig.session.submit((task_id(1), "add", PRIORITY_DEFAULT, b"", {"idempotency_key": "k"}), rig.now)
    for seq in (1, 2):
        rig.update(seq, refused=[(task_id(1), Refusal.UNKNOWN_ID, "it was dropped")])
    assert [type(error) for _, error in rig.session.output.failed] == [IdempotencyKeyUsed]


def test_that_a_key_is_held_by_what_nobody_knows_the_end_of_is_told_by_name() -> None:
    rig = Rig()
    rig.attach()
    call = (task_id(1), "add", PRIORITY_DEFAULT, b"", {"idempotency_key": "k"})
    rig.session.submit(call, rig.now)
    rig.session.submit((task_id(2), *call[1:4], None), rig.now)
    rig.update(1, refused=[(task_id(number), Refusal.UNKNOWN_ID, "it was dropped") for number in (1, 2)])
    (_, held), (_, unknown) = rig.session.output.failed
    assert type(held) is IdempotencyKeyUsed
    assert type(unknown) is ResultUnknown
