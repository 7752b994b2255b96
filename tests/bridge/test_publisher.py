"""Which of many publishes RabbitMQ refuses when it closes the channel: with a connection of a few lines, that closes
when a test says so."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pika
import pytest

from bridge.messages import call_of
from paceline_bridge.consumer import _message
from paceline_bridge.publisher import Cause, NotTaken, Publisher

BAD = b"bad"
LIMIT = pika.exceptions.ChannelClosedByBroker(406, "message size 3 is larger than configured max size 2")


class FakeChannel:
    """Confirms what it takes, in order, and closes at BAD. Each answer is an event, which a test lets happen."""

    def __init__(self, connection: FakeConnection) -> None:
        self.connection = connection
        self.is_open = True
        self._count = 0
        self._refused = False

    def add_on_close_callback(self, callback: Callable[[Any, Exception], None]) -> None:
        self._on_close = callback

    def add_on_return_callback(self, callback: Callable[..., None]) -> None:
        self._on_return = callback

    def queue_declare(
        self, queue: str, *, durable: bool, callback: Callable[[Any], None], passive: bool = False
    ) -> None:
        def answer() -> None:
            if not passive:
                self.connection.missing.discard(queue)
            callback(None)

        self.connection.happens(answer)

    def close(self) -> None:
        self.is_open = False
        self.connection.happens(lambda: self._on_close(self, pika.exceptions.ChannelClosedByClient(200, "")))

    def confirm_delivery(self, confirmed: Callable[[Any], None], callback: Callable[[Any], None]) -> None:
        self._confirmed = confirmed
        self.connection.happens(lambda: callback(None))

    def basic_publish(self, exchange: str, queue: str, body: bytes, properties: Any, mandatory: bool) -> None:
        assert self.is_open
        self._count += 1
        if self._refused:  # it is closing, and ignores everything
            return
        if body == BAD:
            self._refused = True
            self.connection.happens(self._close)
            return
        if mandatory and queue in self.connection.missing:
            came = over_the_wire(properties)
            self.connection.happens(lambda: self._on_return(self, SimpleNamespace(routing_key=queue), came, body))
        else:
            self.connection.taken.append(body)
            self.connection.properties.append(over_the_wire(properties))
        tag = self._count
        frame = SimpleNamespace(method=pika.spec.Basic.Ack(delivery_tag=tag))
        self.connection.happens(lambda: self._confirmed(frame) if self.is_open else None)

    def _close(self) -> None:
        self.is_open = False
        self._on_close(self, self.connection.error)


class FakeConnection:
    def __init__(self, error: Exception = LIMIT) -> None:
        self.error = error
        self.is_open = True
        self.taken: list[bytes] = []
        self.properties: list[pika.BasicProperties] = []  # of those
        self.channels = 0
        self.missing: set[str] = set()  # queues that do not exist
        self.ioloop = self
        self.timers: dict[int, Callable[[], None]] = {}  # by what they are removed by
        self._timers = 0
        self._opened: list[FakeChannel] = []
        self._events: list[Callable[[], None]] = []

    def channel(self, on_open_callback: Callable[[Any], None]) -> None:
        self.channels += 1
        channel = FakeChannel(self)

        def opened() -> None:
            self._opened.append(channel)
            on_open_callback(channel)

        self.happens(opened)

    def call_later(self, delay_s: float, function: Callable[[], None]) -> int:
        self._timers += 1
        self.timers[self._timers] = function
        return self._timers

    def remove_timeout(self, timer: int) -> None:
        self.timers.pop(timer, None)

    def pass_time(self) -> None:
        """All that is due later is due."""
        due = list(self.timers.values())
        self.timers.clear()
        for function in due:
            function()

    def close(self) -> None:
        """As pika does, which tells each channel that was opened."""
        self.is_open = False
        self._events.clear()
        for channel in self._opened:
            if channel.is_open:
                channel._close()

    def happens(self, event: Callable[[], None]) -> None:
        self._events.append(event)

    def step(self) -> bool:
        """Let the next event happen. False if there is none."""
        if self._events:
            self._events.pop(0)()
            return True
        return False


def over_the_wire(properties: Any) -> pika.BasicProperties:
    back = pika.BasicProperties()
    back.decode(b"".join(properties.encode()))
    return back


def opened(connection: FakeConnection, failures: list[str]) -> Publisher:
    ready: list[bool] = []
    publisher = Publisher("dead", lambda: ready.append(True), failures.append, lambda: failures.append("reconnect"))
    publisher.open(connection)
    while not ready:
        assert connection.step()
    return publisher


@pytest.mark.parametrize("seed", range(200))
def test_the_publishes_that_are_refused_are_told_so_and_all_others_are_taken_whenever_they_come(seed: int) -> None:
    chance = random.Random(seed)
    connection, failures, ready = FakeConnection(), [], []
    publisher = Publisher("dead", lambda: ready.append(True), failures.append, lambda: failures.append("reconnect"))
    publisher.open(connection)
    while not ready:
        assert connection.step()
    confirmed: list[int] = []
    refused: list[int] = []
    wanted: dict[int, bytes] = {}

    def publish(number: int, body: bytes) -> None:
        def instead(refusal: NotTaken) -> None:
            assert refusal.cause is Cause.CLOSED
            refused.append(number)
            if chance.random() < 0.5:  # as the bridge does, which says that the result is too large
                publish(len(wanted), b"smaller %d" % number)

        wanted[number] = body
        publisher.publish("q", body, {}, lambda: confirmed.append(number), instead)

    for _ in range(100):
        for _ in range(chance.randrange(4)):
            publish(len(wanted), BAD if chance.random() < 0.2 else b"good %d" % len(wanted))
        for _ in range(chance.randrange(6)):
            connection.step()
    while connection.step():
        pass
    assert failures == []
    assert connection.timers == {}, "nothing is waited for"
    assert publisher.unconfirmed == 0
    assert sorted(refused) == [number for number, body in wanted.items() if body == BAD]
    assert sorted(confirmed) == [number for number, body in wanted.items() if body != BAD]
    assert set(connection.taken) == {body for body in wanted.values() if body != BAD}


def test_a_user_who_may_not_publish_ends_no_link_and_is_told_which_permission_is_missing() -> None:
    text = "ACCESS_REFUSED - write access to exchange 'amq.default' in vhost '/' refused for user 'shop'"
    connection, failures, ready = FakeConnection(pika.exceptions.ChannelClosedByBroker(403, text)), [], []
    publisher = Publisher("dead", lambda: ready.append(True), failures.append, lambda: failures.append("reconnect"))
    publisher.open(connection)
    refused: list[NotTaken] = []
    while not ready:
        assert connection.step()
    for _ in range(3):
        publisher.publish("q", BAD, {}, lambda: None, refused.append)
    while connection.step():
        pass
    assert (failures, publisher.unconfirmed) == ([], 0)
    assert [refusal.cause for refusal in refused] == [Cause.FORBIDDEN] * 3
    assert refused[0].detail.startswith(text)
    assert "the permission to write to the exchange amq.default" in refused[0].detail
    publisher.publish("q", b"good", {}, lambda: ready.append(True))
    while connection.step():
        pass
    assert connection.taken == [b"good"], "the channel is there again"


@pytest.mark.parametrize(
    "message_id", ["plain-1", "bestellung-\u00e4", "bestellung-\u00e4".encode(), b"\xff\xfe", "", None]
)
def test_what_rabbitmq_returns_is_told_as_that_whatever_its_id_is(message_id: str | bytes | None) -> None:
    connection, failures, taken, refused = FakeConnection(), [], [], []  # type: ignore[var-annotated]
    publisher = opened(connection, failures)
    connection.missing.add("gone")
    properties = {} if message_id is None else {"message_id": message_id}
    for queue in ("gone", "there"):
        publisher.publish(queue, b"1", properties, lambda at=queue: taken.append(at), refused.append, mandatory=True)  # type: ignore[misc]
    while connection.step():
        pass
    assert (taken, failures) == (["there"], [])
    assert [refusal.cause for refusal in refused] == [Cause.UNROUTABLE]


def test_of_messages_with_one_id_the_one_that_is_returned_is_the_one_that_is_not_taken() -> None:
    connection, failures, taken, refused = FakeConnection(), [], [], []  # type: ignore[var-annotated]
    publisher = opened(connection, failures)

    def publish(body: bytes) -> None:
        properties = {"message_id": "daily"}
        publisher.publish(
            "q", body, properties, lambda: taken.append(body), lambda _: refused.append(body), mandatory=True
        )

    publish(b"first")
    confirm = connection._events.pop()  # it comes late, since a queue writes first what it confirms
    connection.missing.add("q")
    publish(b"second")
    connection.happens(confirm)
    while connection.step():
        pass
    assert (taken, refused, failures) == ([b"first"], [b"second"], [])


@pytest.mark.parametrize("bridges", [1, 2])
def test_equal_messages_without_an_id_are_two_tasks_when_they_come_back_from_the_dead_letter_queue(
    bridges: int,
) -> None:
    connection, failures = FakeConnection(), []  # type: ignore[var-annotated]
    publishers = [opened(connection, failures) for _ in range(bridges)] * (2 // bridges)
    for publisher in publishers:
        publisher.publish("dead", b"tick", {}, mandatory=True)
    while connection.step():
        pass
    assert (connection.taken, failures) == ([b"tick", b"tick"], [])
    moved_back = [_message("q", properties, b"tick", False) for properties in connection.properties]
    first, second = [call_of(message, "tasks.tick").task_id for message in moved_back]
    assert first != second


def test_what_is_published_again_has_the_id_that_it_had() -> None:
    connection, failures = FakeConnection(), []  # type: ignore[var-annotated]
    publisher = opened(connection, failures)
    publisher.publish("dead", b"tick", {}, mandatory=True)
    connection._events.clear()  # its confirm does not come any more
    publisher.publish("there", BAD, {})
    while connection.step():
        pass
    first, again = connection.properties
    assert (connection.taken, failures) == ([b"tick", b"tick"], [])
    assert first.message_id == again.message_id


def test_a_message_that_was_returned_before_its_channel_closed_is_returned_again_and_told_once() -> None:
    connection, failures, taken, refused = FakeConnection(), [], [], []  # type: ignore[var-annotated]
    publisher = opened(connection, failures)
    connection.missing.add("gone")
    publisher.publish("gone", b"1", {}, lambda: taken.append(b"1"), refused.append, mandatory=True)
    confirm = connection._events.pop()  # it does not come any more
    publisher.publish("there", BAD, {}, lambda: taken.append(BAD), refused.append)
    while connection.step():
        pass
    assert confirm
    assert (taken, failures) == ([], [])
    assert {refusal.cause for refusal in refused} == {Cause.UNROUTABLE, Cause.CLOSED}
    assert len(refused) == 2


def test_a_return_of_what_nobody_published_ends_the_link_before_anything_is_acknowledged_for_it() -> None:
    connection, failures = FakeConnection(), []  # type: ignore[var-annotated]
    publisher = opened(connection, failures)
    publisher._returned(None, SimpleNamespace(routing_key="q"), pika.BasicProperties(message_id="x"), b"")
    assert failures == ["RabbitMQ returned a message for q that is none of those that wait for a confirm"]


@pytest.mark.parametrize("steps", [0, 1])
def test_a_queue_that_was_being_made_when_the_connection_was_opened_anew_is_made_on_the_next_one(steps: int) -> None:
    first, second, failures, told = FakeConnection(), FakeConnection(), [], []  # type: ignore[var-annotated]
    publisher = opened(first, failures)
    publisher.make("rounds", lambda: told.append("first"), failures.append)
    publisher.make("rounds", lambda: told.append("second"), failures.append)
    for _ in range(steps):  # with the second its channel is open, and the answer does not come any more
        assert first.step()
    first.close()
    second.missing.add("rounds")
    publisher.open(second)
    publisher.make("rounds", lambda: told.append("third"), failures.append)
    while second.step():
        pass
    assert (told, failures, second.missing) == (["first", "second", "third"], [], set())


@pytest.mark.parametrize("steps", range(5))
def test_a_channel_or_a_dead_letter_queue_that_rabbitmq_says_nothing_of_ends_the_link(steps: int) -> None:
    connection, failures = FakeConnection(), []  # type: ignore[var-annotated]
    publisher = Publisher("dead", lambda: None, failures.append, lambda: failures.append("reconnect"))
    publisher.open(connection)
    for _ in range(steps):
        assert connection.step()
    connection.pass_time()
    reason = "RabbitMQ owes the channel that publishes for 30 s, and all replies wait for it"
    assert failures == ([] if publisher.is_ready else [reason])
    assert publisher.is_ready == (steps == 4)


def test_a_message_that_all_others_wait_behind_ends_the_link_if_it_is_neither_confirmed_nor_refused() -> None:
    connection, failures = FakeConnection(), []  # type: ignore[var-annotated]
    publisher = opened(connection, failures)
    publisher.publish("stuck", b"1", {})
    connection._events.clear()  # its confirm does not come
    connection.pass_time()
    assert failures == [], "nothing waits behind it"
    publisher.publish("there", BAD, {})
    for _ in range(3):  # the channel is closed and opened anew, and the first is published alone
        assert connection.step()
    assert connection.taken == [b"1", b"1"]
    connection._events.clear()
    publisher.publish("there", b"2", {})
    publisher.is_blocked = True
    connection.pass_time()
    assert failures == [], "RabbitMQ has said that it takes nothing"
    publisher.is_blocked = False
    connection.pass_time()
    assert failures == ["RabbitMQ owes the confirm of a message for 30 s, and all replies wait for it"]
