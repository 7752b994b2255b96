"""A link by itself: one that nothing is open on, and one to a real RabbitMQ whose messages nobody acts on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pika
import pytest

from bridge.processes import Broker, wait_until
from paceline_bridge import rabbitmq
from paceline_bridge.message import Message
from paceline_bridge.owed import Tag
from paceline_bridge.rabbitmq import Link


class NoHandler:
    """Nothing comes."""

    def on_ready(self) -> None:
        raise AssertionError

    def on_message(self, tag: Tag, message: Message) -> None:
        raise AssertionError

    def on_wake(self) -> None:
        raise AssertionError

    def on_blocked(self, blocked: bool) -> None:
        raise AssertionError


@pytest.fixture
def link() -> Iterator[Link]:
    link = Link("amqp://127.0.0.1:1/", {"q": False}, "dead", 10, False, NoHandler())
    yield link
    link.discard()


def test_without_a_consumer_no_acknowledgement_is_on_its_way(link: Link) -> None:
    taken: list[bool] = []
    link.after_acks(lambda: taken.append(True))
    assert taken == [True]


def test_what_concerns_a_channel_that_is_gone_is_let_go(link: Link) -> None:
    link._consumers[1] = "tag"  # as in the turn in which the channel was closed
    link.stop_consuming()
    link.ack((1, 1))
    link.give_back((1, 1))
    assert link.publisher.unconfirmed == 0


@dataclass
class Holder(NoHandler):
    """Keeps what comes."""

    came: list[tuple[Tag, bytes]] = field(default_factory=list)

    def on_ready(self) -> None:
        pass

    def on_message(self, tag: Tag, message: Message) -> None:
        self.came.append((tag, message.body))


def test_a_channel_whose_consumer_is_gone_is_closed_with_its_last_delivery(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rabbitmq, "QUEUE_RETRY_S", 0.05)
    queue, holder = broker.declare(), Holder()
    link = Link(broker.url, {queue: False}, broker.declare(), 10, False, holder)
    thread = threading.Thread(target=link.run)
    thread.start()

    def make_again() -> None:
        with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
            connection.channel().queue_delete(queue)
            wait_until(lambda: not link._consumers, lambda: "RabbitMQ ends the consumer")
            connection.channel().queue_declare(queue, durable=True)
        wait_until(lambda: link._consumers, lambda: "the new queue is consumed")

    try:
        wait_until(lambda: link._consumers, lambda: "the queue is consumed")
        make_again()
        wait_until(lambda: list(link._channels) == list(link._consumers), lambda: "nothing is owed on the first")
        broker.publish(queue, b"1", b"2")
        wait_until(lambda: len(holder.came) == 2, lambda: f"{holder.came}")
        make_again()
        [(first, _), (second, _)] = holder.came
        link.call(lambda: link.ack(first))
        broker.publish(queue, b"3")
        wait_until(lambda: len(holder.came) == 3, lambda: f"{holder.came}")
        taken = threading.Event()
        link.call(lambda: link.after_acks(taken.set))
        wait_until(taken.is_set, lambda: "RabbitMQ has taken the acknowledgement")
        assert first[0] in link._channels, "a delivery is still owed on it"
        link.call(lambda: link.give_back(second))
        wait_until(lambda: list(link._channels) == list(link._consumers), lambda: f"{link._channels} are closed")
        assert link._served == set(link._consumers)
        assert link._error is None
    finally:
        link.call(link.close)
        thread.join()
