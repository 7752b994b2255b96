"""A link that nothing is open on: what may be asked of it all the same."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from paceline_bridge.deliveries import Tag
from paceline_bridge.message import Message
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
