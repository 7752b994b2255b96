"""A link by itself: one that nothing is open on, and one to a real RabbitMQ whose messages nobody acts on."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pika
import pytest
from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflowFailed, AMQPConnectorAMQPHandshakeError

from bridge.processes import Broker, wait_until
from paceline_bridge import auto_delete, consumers
from paceline_bridge.consumer import Consumer
from paceline_bridge.intake import Share
from paceline_bridge.message import Message
from paceline_bridge.owed import Tag
from paceline_bridge.rabbitmq import Link, LinkLost
from paceline_bridge.reasons import connect_reason_of

SUSPEND = (
    '{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"/">>, queue, <<"{name}">>)), sys:{verb}(amqqueue:get_pid(Q)).'
)
"""A queue does nothing until it is resumed."""


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
    link = Link("amqp://127.0.0.1:1/", {"q": False}, "dead", 10, 1 << 20, False, NoHandler())
    yield link
    link.discard()


def test_a_link_goes_by_what_the_url_says_and_else_by_its_own() -> None:
    def read(options: str) -> tuple[Any, ...]:
        link = Link(f"amqp://127.0.0.1:1/?{options}", {"q": False}, "dead", 10, 1 << 20, False, NoHandler())
        link.discard()
        read = link._parameters
        return read.heartbeat, read.blocked_connection_timeout, read.stack_timeout, read.client_properties

    name = {"connection_name": "paceline bridge"}
    assert read("channel_max=7") == (10, 300, 15, name)
    assert read("heartbeat=20") == (20, 300, 15, name)
    assert read("blocked_connection_timeout=0.5&stack_timeout=60") == (10, 0.5, 60, name)
    assert read("client_properties={'shop':'one'}") == (10, 300, 15, {**name, "shop": "one"})
    assert read("client_properties={'connection_name':'one'}") == (10, 300, 15, {"connection_name": "one"})
    assert read("client_properties=None") == (10, 300, 15, name)


def test_without_a_consumer_no_acknowledgement_is_on_its_way(link: Link) -> None:
    taken: list[bool] = []
    link.consumers.after_acks(lambda: taken.append(True))
    assert taken == [True]


def test_on_a_link_that_is_lost_no_acknowledgement_is_taken_for_one_that_rabbitmq_has(link: Link) -> None:
    """RabbitMQ may deliver the message again: until it has the acknowledgement the cluster has to keep the result."""
    taken: list[bool] = []
    link.fail("as if")
    link.consumers.after_acks(lambda: taken.append(True))
    assert taken == []


def test_what_concerns_a_channel_that_is_gone_is_let_go(link: Link) -> None:
    channel = SimpleNamespace(is_open=False, channel_number=1)  # as in the turn in which it was closed
    share = Share(1 << 20)
    share.take(1)
    consumer = Consumer(1, channel, "q", 10, share, link.consumers._deliver)
    link.consumers._consumers[1] = consumer
    link.consumers.stop()
    link.consumers.ack((1, 1))
    link.consumers.give_back((1, 1))
    assert link.publisher.unconfirmed == 0


def test_what_listens_and_does_not_answer_is_told_in_words() -> None:
    aborted = pika.exceptions.ConnectionOpenAborted(
        "Connection.close() called before connection finished opening: prev_state=PROTOCOL (320): 'Timeout while ...'"
    )
    error = AMQPConnectionWorkflowFailed([AMQPConnectorAMQPHandshakeError(aborted)])
    reason = connect_reason_of(error, tls=False, vhost="/")
    assert reason == "it does not answer in time; check host and port, and whether a firewall is between"


@pytest.mark.parametrize(
    "said",
    [
        "NOT_ALLOWED - connection refused for user 'guest': user connection limit (1) is reached",
        "NOT_ALLOWED - access to vhost '/' refused for user 'guest': connection limit (1) is reached",
    ],
)
def test_a_limit_of_connections_is_told_as_that(said: str) -> None:
    error = pika.exceptions.ProbableAccessDeniedError(f"(530) {said!r}")
    reason = connect_reason_of(error, tls=False, vhost="/")
    assert reason == f"{said} (530); a bridge takes two connections: raise the limit, or end what holds them"


def test_more_queues_than_the_broker_allows_channels_for_are_told_as_that(broker: Broker) -> None:
    queues = [broker.declare() for _ in range(4)]
    link = Link(f"{broker.url}?channel_max=3", dict.fromkeys(queues, False), queues[0], 10, 1 << 20, False, Holder())
    with pytest.raises(LinkLost, match=r"allows 3 channels on a connection \(channel_max\), and each of 4 queues"):
        link.run()


def test_a_link_takes_a_channel_for_each_queue_that_is_there_and_one_to_ask_with(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "OPTIONAL_RETRY_S", 0.05)
    plain = [broker.declare() for _ in range(5)]
    missing = [f"{queue}.DQ" for queue in plain]
    with broker.channel() as channel:
        channel.queue_declare(missing[-1], durable=False, auto_delete=True)
    queues = {**dict.fromkeys(plain, False), **dict.fromkeys(missing, True)}
    known: dict[str, bool] = {}
    link = Link(f"{broker.url}?channel_max=7", queues, broker.declare(), 10, 1 << 20, False, Holder(), known)
    looked: list[str] = []
    look_for = link.consumers._look_for
    monkeypatch.setattr(link.consumers, "_look_for", lambda queue: (looked.append(queue), look_for(queue)))
    thread = threading.Thread(target=link.run)
    thread.start()
    try:
        wait_until(lambda: len(consuming(link)) == 6, lambda: f"{known} {link._error}")
        wait_until(lambda: looked.count(missing[0]) > 2, lambda: f"{looked}; {link._error}")
        assert link._error is None
    finally:
        link.call(link.close)
        thread.join()
    assert known == {**dict.fromkeys(plain, False), missing[-1]: True}


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (None, None),
        ({"durable": True}, False),
        ({"durable": False}, False),
        ({"durable": True, "auto_delete": True}, True),
        ({"durable": False, "auto_delete": True}, True),
        ({"durable": True, "arguments": {"x-max-length": 5}}, False),
        ({"durable": True, "arguments": {"x-queue-type": "quorum"}}, False),
        ({"durable": True, "arguments": {"x-expires": 100_000}}, None),
        ({"durable": True, "arguments": {"x-expires": 100_000, "x-queue-type": "quorum"}}, None),
        ({"durable": True, "auto_delete": True, "arguments": {"x-expires": 100_000}}, True),
    ],
    ids=str,
)
def test_to_ask_whether_a_queue_is_auto_delete_makes_none(
    broker: Broker, arguments: dict[str, Any] | None, answer: bool | None
) -> None:
    queue, answers = f"a-{uuid.uuid4().hex[:8]}", []
    with broker.channel() as channel:
        if arguments is not None:
            channel.queue_declare(queue, **arguments)

    def opened(connection: pika.SelectConnection) -> None:
        def then(said: bool | None) -> None:
            answers.append(said)
            connection.close()

        auto_delete.ask(connection, queue, then)

    connection = pika.SelectConnection(
        pika.URLParameters(broker.url), opened, on_close_callback=lambda *_: connection.ioloop.stop()
    )
    connection.ioloop.start()
    connection.ioloop.close()
    assert answers == [answer]
    if arguments is None:
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="no queue"), broker.channel() as channel:
            channel.queue_declare(queue, passive=True)


def test_an_error_of_the_bridge_itself_is_not_told_as_one_of_the_broker(broker: Broker) -> None:
    class Failing(Holder):
        def on_message(self, tag: Tag, message: Message) -> None:
            raise KeyError("as if")

    queue = broker.declare()
    broker.publish(queue, b"1")
    link = Link(broker.url, {queue: False}, broker.declare(), 10, 1 << 20, False, Failing())
    with pytest.raises(LinkLost, match=r"was lost: the bridge failed at what it said \(KeyError: 'as if'\)"):
        link.run()


@dataclass
class Holder(NoHandler):
    """Keeps what comes."""

    came: list[tuple[Tag, bytes]] = field(default_factory=list)

    def on_ready(self) -> None:
        pass

    def on_message(self, tag: Tag, message: Message) -> None:
        self.came.append((tag, message.body))


def test_an_auto_delete_queue_is_named_and_is_there_until_its_last_message_is_taken(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("WARNING", "paceline.bridge")
    plain, transient, kept = broker.declare(), f"t-{uuid.uuid4().hex[:8]}", broker.declare(**{"x-max-length": 1_000})
    with broker.channel() as channel:
        channel.queue_declare(transient, durable=False, auto_delete=True)
    broker.publish(transient, *[b"%d" % number for number in range(300)])
    holder, known = Holder(), {}  # type: ignore[var-annotated]
    queues = {plain: False, transient: False, kept: False}
    link = Link(broker.url, queues, broker.declare(), 100, 1 << 20, False, holder, known)
    thread = threading.Thread(target=link.run)
    thread.start()
    try:
        for done in range(300):
            wait_until(lambda at=done: len(holder.came) > at, lambda: f"{len(holder.came)} came")  # type: ignore[misc]
            link.call(lambda tag=holder.came[done][0]: link.consumers.ack(tag))  # type: ignore[misc]
        wait_until(lambda: len(known) == 3, lambda: f"{known}")
        assert sorted(int(body) for _, body in holder.came) == list(range(300))
        assert link._error is None
    finally:
        link.call(link.close)
        thread.join()
    assert known == {plain: False, transient: True, kept: False}
    warned = [record.message for record in caplog.records if "auto-delete" in record.message]
    assert [line.split()[0] for line in warned] == [transient]


def test_a_queue_that_expires_without_a_consumer_is_there_though_what_the_bridge_holds_is_all_that_it_may(
    broker: Broker,
) -> None:
    expires_s, queue, holder = 0.5, f"x-{uuid.uuid4().hex[:8]}", Holder()
    link = Link(broker.url, {queue: False}, broker.declare(), 100, 1 << 20, False, holder)
    thread = threading.Thread(target=link.run)
    with broker.channel() as channel:
        channel.queue_declare(queue, durable=True, arguments={"x-expires": int(expires_s * 1e3)})
        channel.basic_consume(queue, lambda *_: None)  # until the link does
        thread.start()
        wait_until(lambda: [one for one in link.consumers._consumers.values() if one.has_served], lambda: "it does")
    broker.publish(queue, *[b"%d" % number * 700_000 for number in range(8)])
    try:
        wait_until(lambda: holder.came, lambda: "one that is heavy comes")
        time.sleep(2 * expires_s)
        for done in range(8):
            wait_until(lambda at=done: len(holder.came) > at, lambda: f"{len(holder.came)} came, {link._error}")  # type: ignore[misc]
            link.call(lambda tag=holder.came[done][0]: link.consumers.ack(tag))  # type: ignore[misc]
        assert link._error is None
    finally:
        link.call(link.close)
        thread.join()


def test_a_queue_that_confirms_nothing_holds_up_no_other(broker: Broker) -> None:
    stuck, other = broker.declare(), broker.declare()
    link = Link(broker.url, {other: False}, broker.declare(), 10, 1 << 20, False, Holder())
    thread = threading.Thread(target=link.run)
    thread.start()
    confirmed: list[str] = []

    def publish(queue: str) -> None:
        link.call(lambda: link.publisher.publish(queue, b"1", {}, lambda: confirmed.append(queue)))

    try:
        wait_until(lambda: link._is_ready, lambda: f"it is: {link._error}")
        broker.server.control("eval", SUSPEND.format(name=stuck, verb="suspend"))
        publish(stuck)
        publish(other)
        wait_until(lambda: confirmed == [other], lambda: f"{confirmed}")
        broker.server.control("eval", SUSPEND.format(name=stuck, verb="resume"))
        wait_until(lambda: confirmed == [other, stuck], lambda: f"{confirmed}")
        assert link._error is None
    finally:
        link.call(link.close)
        thread.join()


def test_what_a_message_says_of_itself_stops_no_queue(broker: Broker) -> None:
    queue, holder = broker.declare(), Holder()
    broker.publish(queue, b"1", headers={"x-stream-offset": 7})
    broker.publish(queue, b"2")
    link = Link(broker.url, {queue: False}, broker.declare(), 100, 1 << 20, False, holder)
    thread = threading.Thread(target=link.run)
    thread.start()
    try:
        wait_until(lambda: [body for _, body in holder.came] == [b"1", b"2"], lambda: f"{holder.came}")
    finally:
        link.call(link.close)
        thread.join()


def test_a_queue_of_which_nothing_is_said_keeps_no_other_from_being_consumed_and_is_named(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(consumers, "ANSWER_LIMIT_S", 0.2)
    stuck, other, holder = broker.declare(), broker.declare(), Holder()
    broker.publish(stuck, b"stuck")
    broker.publish(other, b"other")
    broker.server.control("eval", SUSPEND.format(name=stuck, verb="suspend"))
    link = Link(broker.url, {stuck: True, other: True}, broker.declare(), 10, 1 << 20, False, holder)
    thread = threading.Thread(target=link.run)
    thread.start()
    try:
        wait_until(lambda: [body for _, body in holder.came] == [b"other"], lambda: f"{holder.came}, {link._error}")
        wait_until(lambda: f"said nothing of {stuck}" in caplog.text, lambda: caplog.text)
        broker.server.control("eval", SUSPEND.format(name=stuck, verb="resume"))
        wait_until(lambda: [body for _, body in holder.came] == [b"other", b"stuck"], lambda: f"{holder.came}")
        assert link._error is None
    finally:
        link.call(link.close)
        thread.join()


def test_a_bridge_that_stops_begins_to_consume_nothing_that_comes_to_be_there(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hand back all that comes, which a quorum queue counts as deliveries."""
    monkeypatch.setattr(consumers, "QUEUE_RETRY_S", 0.02)
    there, missing, holder = broker.declare(), f"m-{uuid.uuid4().hex[:8]}", Holder()
    link = Link(broker.url, {there: False, missing: False}, broker.declare(), 10, 1 << 20, False, holder)
    thread = threading.Thread(target=link.run)
    thread.start()
    try:
        wait_until(lambda: consuming(link), lambda: "the one is consumed")
        link.call(link.consumers.stop)
        wait_until(lambda: not consuming(link), lambda: "it is not any more")
        with broker.channel() as channel:
            channel.queue_declare(missing, durable=True)
        broker.publish(missing, b"1")
        time.sleep(20 * consumers.QUEUE_RETRY_S)
        assert (holder.came, consuming(link), link._error) == ([], [], None)
    finally:
        link.call(link.close)
        thread.join()
    assert broker.depth(missing) == 1


def test_a_queue_that_is_deleted_while_nothing_of_it_is_consumed_ends_no_link_and_is_consumed_again(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RabbitMQ tells so when the next consumer is to begin, and closes its channel. It drops what was delivered."""
    monkeypatch.setattr(consumers, "QUEUE_RETRY_S", 0.05)
    deleted, other, holder = broker.declare(), broker.declare(), Holder()
    link = Link(broker.url, {deleted: False, other: False}, broker.declare(), 100, 2 << 20, False, holder)
    thread = threading.Thread(target=link.run)
    thread.start()

    def came(count: int) -> list[tuple[int, int]]:
        wait_until(lambda: len(holder.came) >= count, lambda: f"{len(holder.came)} came, {link._error}")
        return [tag for tag, _ in holder.came]

    try:
        wait_until(lambda: len(consuming(link)) == 2, lambda: "both are consumed")
        broker.publish(deleted, b"light", bytes(700_000))
        light, heavy = came(2)
        broker.publish(other, b"kept")
        [kept] = came(3)[2:]
        with broker.channel() as channel:
            channel.queue_delete(deleted)
        taken = threading.Event()
        link.call(lambda: link.consumers.ack(heavy))
        link.call(lambda: link.consumers.after_acks(taken.set))
        wait_until(lambda: len(consuming(link)) == 1, lambda: f"RabbitMQ says that the queue is gone: {link._error}")
        wait_until(taken.is_set, lambda: "what is gone is not waited for")
        with broker.channel() as channel:
            channel.queue_declare(deleted, durable=True)
        broker.publish(deleted, b"new")
        [new] = came(4)[3:]
        link.call(lambda: link.consumers.ack(light))  # it is no delivery of the new queue
        for tag in (kept, new):
            link.call(lambda tag=tag: link.consumers.ack(tag))  # type: ignore[misc]
        wait_until(lambda: link.consumers.held_bytes == 0, lambda: "all is acknowledged")
        assert link._error is None
    finally:
        link.call(link.close)
        thread.join()
    assert [broker.depth(deleted), broker.depth(other)] == [0, 0]


def consuming(link: Link) -> list[int]:
    return [number for number, consumer in link.consumers._consumers.items() if consumer.is_wanted]


def test_a_channel_whose_consumer_is_gone_is_closed_with_its_last_delivery(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "QUEUE_RETRY_S", 0.05)
    queue, holder = broker.declare(), Holder()
    link = Link(broker.url, {queue: False}, broker.declare(), 10, 1 << 20, False, holder)
    thread = threading.Thread(target=link.run)
    thread.start()

    def make_again() -> None:
        with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
            connection.channel().queue_delete(queue)
            wait_until(lambda: not consuming(link), lambda: "RabbitMQ ends the consumer")
            connection.channel().queue_declare(queue, durable=True)
        wait_until(lambda: consuming(link), lambda: "the new queue is consumed")

    try:
        wait_until(lambda: consuming(link), lambda: "the queue is consumed")
        make_again()
        wait_until(lambda: list(link.consumers._consumers) == consuming(link), lambda: "nothing is owed on the first")
        broker.publish(queue, b"1", b"2")
        wait_until(lambda: len(holder.came) == 2, lambda: f"{holder.came}")
        make_again()
        [(first, _), (second, _)] = holder.came
        link.call(lambda: link.consumers.ack(first))
        broker.publish(queue, b"3")
        wait_until(lambda: len(holder.came) == 3, lambda: f"{holder.came}")
        taken = threading.Event()
        link.call(lambda: link.consumers.after_acks(taken.set))
        wait_until(taken.is_set, lambda: "RabbitMQ has taken the acknowledgement")
        assert first[0] in link.consumers._consumers, "a delivery is still owed on it"
        link.call(lambda: link.consumers.give_back(second))
        wait_until(
            lambda: list(link.consumers._consumers) == consuming(link),
            lambda: f"{link.consumers._consumers} are closed",
        )
        assert link._error is None
    finally:
        link.call(link.close)
        thread.join()
