"""What a relay needs beside a client: ids of its own, news of acceptance, and results that are kept until released."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from client.fake_node import DEADLINE_S, FakeNode
from client.session_rig import Rig, succeeded, task_id
from paceline.client.relay import ACCEPTED, REFUSED, News, Relay
from paceline.client.session.relaying import RelaySession
from paceline.errors import ResultUnknown, UnknownTask
from paceline_protocol.errors import LocalProtocolError, UnserializableValue
from paceline_protocol.messages.client import Ping, Postponed, Refusal, Wait
from paceline_protocol.messages.records import CALL_OPTIONS, TaskEnd
from paceline_protocol.payload import unpack_value


class RelayRig(Rig):
    kind = RelaySession
    session: RelaySession


def relaying_rig() -> RelayRig:
    rig = RelayRig()
    rig.attach()
    return rig


def acknowledged(rig: Rig) -> int:
    """What the session acknowledges when it next has to say something."""
    rig.sent()
    rig.pass_time(0.2)
    return max((message.ack for _, message in rig.sent() if isinstance(message, Ping)), default=0)


def test_a_result_is_acknowledged_once_it_is_released() -> None:
    rig = relaying_rig()
    rig.submit(1, 2)
    rig.update(1, results=[succeeded(1)])
    assert acknowledged(rig) == 0
    rig.session.release([task_id(1)], rig.now)
    assert acknowledged(rig) == 1


def test_a_held_result_holds_back_later_acknowledgements_and_no_reception() -> None:
    rig = relaying_rig()
    rig.submit(1, 2, 3)
    rig.update(1, results=[succeeded(1)])
    rig.update(2, results=[succeeded(2)])
    rig.session.release([task_id(2)], rig.now)
    assert acknowledged(rig) == 0
    assert rig.attached, "what is held is no gap"
    rig.session.release([task_id(1)], rig.now)
    assert acknowledged(rig) == 2


def test_all_results_of_an_update_are_released_before_it_is_acknowledged() -> None:
    rig = relaying_rig()
    rig.submit(1, 2, 3)
    rig.update(1, results=[succeeded(1), succeeded(2)])
    rig.session.release([task_id(1)], rig.now)
    assert acknowledged(rig) == 0
    rig.session.release([task_id(2), task_id(2)], rig.now)
    assert acknowledged(rig) == 1


def test_a_task_that_was_submitted_again_is_held_for_its_last_result_alone() -> None:
    rig = relaying_rig()
    rig.submit(1, 2)
    rig.update(1, results=[succeeded(1)])
    rig.submit(1)
    rig.update(2, results=[succeeded(1)])
    rig.session.release([task_id(1)], rig.now)
    assert acknowledged(rig) == 2


def test_what_an_earlier_leader_sent_is_not_acknowledged_to_the_next() -> None:
    rig = relaying_rig()
    rig.submit(1, 2)
    rig.update(1, results=[succeeded(1)])
    rig.session.lost("a:1", rig.now)
    rig.pass_time(1.0)
    rig.attach(term=2)
    rig.session.release([task_id(1)], rig.now)
    assert acknowledged(rig) == 0
    rig.update(1, results=[succeeded(2)])
    rig.session.release([task_id(2)], rig.now)
    assert acknowledged(rig) == 1


def test_acceptance_is_told_once_and_not_of_what_has_ended() -> None:
    rig = relaying_rig()
    rig.session.submit((task_id(1), "add", 4, b"", None), rig.now)
    rig.session.submit((task_id(2), "add", 4, b"", None), rig.now)
    rig.update(1, accepted=[1, 2], results=[succeeded(2)])
    assert rig.session.output.accepted == [task_id(1)]


def test_a_relay_that_waits_for_long_asks_again_for_what_is_accepted() -> None:
    rig = relaying_rig()
    rig.submit(1, 2)
    rig.update(1, accepted=[1])
    rig.sent()
    rig.session.ask_again([task_id(1), task_id(2), task_id(3)], rig.now)
    assert [message.ids for _, message in rig.sent() if isinstance(message, Wait)] == [(task_id(1),)]


class Unwalked(dict[bytes, Any]):
    """Nobody looks at all of it."""

    def items(self) -> NoReturn:
        raise AssertionError

    keys = values = __iter__ = items  # type: ignore[assignment]


def test_to_ask_again_for_a_few_tasks_costs_the_same_however_many_there_are() -> None:
    """A bridge asks each second for those of its window, beside up to 200,000 that wait for their moments."""
    rig = relaying_rig()
    rig.submit(1, 2)
    rig.update(1, accepted=[1])
    rig.sent()
    rig.session.ledger.tasks = Unwalked(rig.session.ledger.tasks)
    rig.session.ask_again([task_id(1), task_id(2), task_id(7)], rig.now)
    assert [message.ids for _, message in rig.sent() if isinstance(message, Wait)] == [(task_id(1),)]


def test_a_relay_is_told_which_tasks_wait_to_be_tried_again_and_no_other_client_takes_notice() -> None:
    message = Postponed(((task_id(1), 1_500), (task_id(7), 1_500)))
    rigs: list[tuple[Rig, list[tuple[bytes, int]]]] = [(RelayRig(), [(task_id(1), 1_500)]), (Rig(), [])]
    for rig, told in rigs:
        rig.attach()
        rig.submit(1)
        rig.update(1, accepted=[1])
        rig.hear("a:1", message)
        assert rig.session.output.postponed == told
        assert (rig.attached, rig.session.output.malformed_frames) == (True, 0)


def test_a_relay_that_waits_for_what_it_has_submitted_itself_is_told_once_and_nothing_stays() -> None:
    rig = relaying_rig()
    rig.submit(1)
    rig.sent()
    rig.session.wait_for([task_id(1), task_id(2)], rig.now)
    assert [message.ids for _, message in rig.sent() if isinstance(message, Wait)] == [(task_id(2),)]
    rig.update(1, results=[succeeded(1), succeeded(2)])
    rig.update(2, accepted=[1])
    assert rig.session.output.results == [succeeded(1), succeeded(2)]
    ledger = rig.session.ledger
    assert (ledger.tasks, ledger.sent, ledger.unaccepted_bytes) == ({}, {}, 0)
    assert not rig.session.expects_answer


def test_a_relay_waits_for_tasks_that_an_earlier_one_had_accepted() -> None:
    rig = relaying_rig()
    rig.session.wait_for([task_id(1), task_id(2)], rig.now)
    assert [message.ids for _, message in rig.sent() if isinstance(message, Wait)] == [(task_id(1), task_id(2))]
    rig.update(1, refused=[(task_id(2), Refusal.UNKNOWN_ID, "no record")])
    [(unknown, error)] = rig.session.output.failed
    assert (unknown, type(error)) == (task_id(2), ResultUnknown)
    rig.session.lost("a:1", rig.now)
    rig.pass_time(1.0)
    rig.attach(term=2)
    assert [message.ids for _, message in rig.sent() if isinstance(message, Wait)] == [(task_id(1),)]
    rig.update(1, results=[succeeded(1)])
    assert [result[0] for result in rig.session.output.results] == [task_id(1)]
    assert acknowledged(rig) == 0, "it is held until it is released"


def test_a_relay_that_is_not_connected_waits_as_soon_as_it_is() -> None:
    rig = RelayRig()
    rig.session.wait_for([task_id(1)], rig.now)
    rig.attach()
    assert [message.ids for _, message in rig.sent() if isinstance(message, Wait)] == [(task_id(1),)]


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as node:
        yield node


class Listener:
    """A relay, and all the news of it so far."""

    def __init__(self, node: FakeNode) -> None:
        self._came = threading.Event()
        self.relay = Relay(node.address, on_news=self._came.set, connect_timeout_s=DEADLINE_S)
        self.relay.connect()
        self.news: list[News] = []

    def wait_for(self, task_id: bytes, state: int) -> bytes | int | Exception:
        while True:
            self.news += self.relay.take()
            for found, at, payload in self.news:
                if (found, at) == (task_id, state):
                    return payload
            assert self._came.wait(DEADLINE_S), self.news
            self._came.clear()


@pytest.fixture
def listener(node: FakeNode) -> Iterator[Listener]:
    listener = Listener(node)
    yield listener
    listener.relay.close()


def test_a_task_runs_under_the_id_that_it_is_given(node: FakeNode, listener: Listener) -> None:
    listener.relay.submit(b"0123456789abcdef", "add", 4, [2], {"b": 3})
    payload = listener.wait_for(b"0123456789abcdef", TaskEnd.SUCCEEDED)
    assert isinstance(payload, bytes)
    assert unpack_value(payload) == 5
    assert set(node.known) == {b"0123456789abcdef"}


def test_a_relay_hears_that_a_task_is_accepted(node: FakeNode, listener: Listener) -> None:
    node.hold = True
    listener.relay.submit(bytes(16), "echo", 4, [1], {})
    listener.wait_for(bytes(16), ACCEPTED)


def test_a_refusal_is_news_with_its_reason(listener: Listener) -> None:
    listener.relay.submit(bytes(16), "nowhere", 4, [], {})
    assert isinstance(listener.wait_for(bytes(16), REFUSED), UnknownTask)


@pytest.mark.parametrize("name", ["", "x" * 256, "\ud800"])
def test_a_name_that_can_not_be_sent_is_refused_at_once(listener: Listener, name: str) -> None:
    with pytest.raises(LocalProtocolError):
        listener.relay.submit(bytes(16), name, 4, [1], {})
    assert listener.relay.has_room


def test_arguments_that_can_not_be_sent_are_refused_at_once(listener: Listener) -> None:
    with pytest.raises(UnserializableValue):
        listener.relay.submit(bytes(16), "echo", 4, [object()], {})


def test_options_travel_with_the_call(node: FakeNode, listener: Listener) -> None:
    listener.relay.submit(bytes(16), "echo", 4, [1], {}, {"not_before": 7})
    listener.wait_for(bytes(16), TaskEnd.SUCCEEDED)
    assert node.known[bytes(16)][CALL_OPTIONS] == {"durability": 0, "not_before": 7}


def test_an_option_that_can_not_be_sent_is_refused_at_once(listener: Listener) -> None:
    with pytest.raises(LocalProtocolError):
        listener.relay.submit(bytes(16), "echo", 4, [1], {}, {"expires": 1 << 60})
    assert listener.relay.has_room
