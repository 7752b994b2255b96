"""One message that is odd, or one publish that RabbitMQ refuses, is settled by itself; all others go on."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pika
import pytest
from celery import Celery
from kombu import pools

from bridge.conftest import Start, ran_lines
from bridge.processes import DEADLINE_S, BridgeProcess, Broker, wait_until
from bridge.raw_headers import BEFORE_1970, MILLISECONDS, NOT_A_TEXT, TOO_DEEP, WITHIN, RawHeaders, entry
from bridge.test_metrics import get, values
from paceline import Cluster
from paceline.client.relay import Relay
from paceline_bench.harness.rabbitmq_server import RabbitMQ
from paceline_bridge.bridge import Bridge
from paceline_bridge.config import BridgeConfig
from paceline_bridge.deliveries import Ledger
from paceline_bridge.message import TaskCall
from paceline_bridge.owed import Delivery

LIMIT_BYTES = 1_000_000
DELIVERY_LIMIT = {"x-queue-type": "quorum", "x-delivery-limit": 5}
INTERNAL_ERROR = "amq.rabbitmq.reply-to.g1h2AA==.x"
"""RabbitMQ closes the connection of whoever publishes to this."""

NOBODY = "nobody's"


@pytest.fixture(scope="module")
def broker(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Beside the one of all tests, which says whether RabbitMQ is there at all."""
    server = RabbitMQ(tmp_path_factory.mktemp("rabbitmq-small"), f"max_message_size = {LIMIT_BYTES}\n")
    try:
        server.start()
        yield Broker(server)
    finally:
        server.stop()


def publish(broker: Broker, queue: str, body: bytes, properties: pika.BasicProperties) -> None:
    with broker.channel() as channel:
        channel.confirm_delivery()
        channel.basic_publish("", queue, body, properties, mandatory=True)


def there(broker: Broker, queue: str) -> bool:
    try:
        broker.depth(queue)
    except pika.exceptions.ChannelClosedByBroker:
        return False
    return True


def lines(queue: str, start: int, end: int) -> list[bytes]:
    return [f"{queue}-{number:02}".encode() for number in range(start, end)]


def assert_each_ran_once(ran: Any, queue: str, count: int, bridge: BridgeProcess) -> None:
    wanted = [line.decode() for line in lines(queue, 0, count)]
    wait_until(lambda: len(ran_lines(ran, queue)) >= count, lambda: f"{ran_lines(ran, queue)}\n{bridge.log()}")
    assert sorted(ran_lines(ran, queue)) == wanted
    assert "was lost" not in bridge.log()


def call(task: str, *args: Any, **headers: Any) -> tuple[bytes, dict[str, Any]]:
    """A message of Celery's: (body, headers)."""
    return json.dumps([args, {}, {}]).encode(), {"task": task, "id": str(uuid.uuid4()), **headers}


# --- what comes


def test_messages_with_headers_that_pika_can_not_decode_run_once_and_so_do_those_around_them(
    broker: Broker, start: Start, ran: Any
) -> None:
    queue, other = broker.declare(**DELIVERY_LIMIT), broker.declare()
    broker.publish(queue, *lines(queue, 0, 10))
    for number, headers in enumerate([MILLISECONDS, BEFORE_1970, WITHIN, NOT_A_TEXT + MILLISECONDS]):
        publish(broker, queue, lines(queue, 10 + number, 11 + number)[0], RawHeaders(headers, delivery_mode=2))
    broker.publish(queue, *lines(queue, 14, 24))
    bridge = start("--queue", f"{queue}=tasks.record", "--queue", f"{other}=tasks.record")
    broker.publish(other, *lines(other, 0, 1))
    assert_each_ran_once(ran, queue, 24, bridge)
    assert_each_ran_once(ran, other, 1, bridge)
    wait_until(lambda: broker.depth(queue) == 0, lambda: "the queue is empty")


def test_a_message_whose_headers_can_not_be_read_is_a_dead_letter_with_its_body(
    broker: Broker, start: Start, ran: Any, dead: str
) -> None:
    queue = broker.declare(**DELIVERY_LIMIT)
    broker.publish(queue, *lines(queue, 0, 5))
    publish(broker, queue, b"odd", RawHeaders(TOO_DEEP, message_id="the-odd-one", content_type="text/plain"))
    broker.publish(queue, *lines(queue, 5, 10))
    bridge = start("--queue", f"{queue}=tasks.record")
    assert_each_ran_once(ran, queue, 10, bridge)
    properties, body = broker.take(dead)
    assert (body, properties.message_id, properties.content_type) == (b"odd", "the-odd-one", "text/plain")
    assert properties.headers["x-paceline-reason"] == "bad-headers"
    assert "nested" in properties.headers["x-paceline-detail"]


def test_texts_that_are_not_utf_8_are_no_reason_to_fail_and_are_kept(broker: Broker, start: Start, dead: str) -> None:
    queue = broker.declare()
    bridge = start("--queue", queue)
    odd = {name: b"\xff\xfe" + name.encode() for name in ("message_id", "correlation_id", "content_encoding")}
    publish(broker, queue, b"1", pika.BasicProperties(**odd, content_type=b"\xff", reply_to=b"\xff"))
    properties, _ = broker.take(dead)
    assert {name: getattr(properties, name) for name in odd} == odd
    assert (properties.content_type, properties.reply_to) == (b"\xff", b"\xff")
    assert "Traceback" not in bridge.log()


def test_a_message_at_which_the_bridge_itself_fails_is_a_dead_letter_and_the_others_run(
    broker: Broker, cluster: Cluster, ran: Any, dead: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, add = broker.declare(**DELIVERY_LIMIT), Ledger.add

    def failing(ledger: Ledger, call: TaskCall, delivery: Delivery, *moments: float) -> bool:
        if delivery.message.body == b"odd":
            raise MemoryError("as if")
        return add(ledger, call, delivery, *moments)

    monkeypatch.setattr(Ledger, "add", failing)
    with broker.channel() as channel:
        channel.queue_declare(dead, durable=True)
    broker.publish(queue, *lines(queue, 0, 5), b"odd", *lines(queue, 5, 10))
    config = BridgeConfig(urls=(broker.url,), queues={queue: "tasks.record"}, dead_letter=dead)
    bridge = Bridge(config, lambda on_news: Relay(*cluster.addresses, on_news=on_news))
    thread = threading.Thread(target=bridge.run)
    thread.start()
    try:
        properties, body = broker.take(dead)
        wait_until(lambda: len(ran_lines(ran, queue)) >= 10, lambda: f"{ran_lines(ran, queue)}")
    finally:
        bridge.stop()
        thread.join()
    assert (body, properties.headers["x-paceline-reason"]) == (b"odd", "bridge")
    assert sorted(ran_lines(ran, queue)) == [line.decode() for line in lines(queue, 0, 10)]
    assert bridge.counters.connections_lost == 0


# --- dead letters


def test_a_refused_message_that_asks_for_copies_of_itself_gets_none(broker: Broker, start: Start, dead: str) -> None:
    queue = broker.declare()
    start("--queue", queue)
    broker.publish(queue, b"for no task", headers={"CC": [queue], "mine": 1})
    properties, body = broker.take(dead)
    assert (body, properties.headers["mine"]) == (b"for no task", 1)
    assert properties.headers["x-paceline-cc"] == [queue]
    assert "CC" not in properties.headers
    broker.publish(queue, b"the next")
    assert broker.take(dead)[1] == b"the next", "nothing came back to the queue before it"


def test_a_dead_letter_whose_headers_would_outgrow_a_frame_leaves_out_the_largest(
    broker: Broker, start: Start, ran: Any, dead: str
) -> None:
    """The marks of a dead letter come on top of what fitted as it was."""
    queue = broker.declare()
    bridge = start("--queue", queue, "--queue", f"{queue}-good=tasks.record", "--declare")
    large = entry(b"large", b"S" + (130_900).to_bytes(4) + b"x" * 130_900) + entry(b"small", b"t\1")
    publish(broker, queue, b"for no task", RawHeaders(large, message_id="m"))
    properties, body = broker.take(dead)
    assert (body, properties.message_id, properties.headers["small"]) == (b"for no task", "m", True)
    assert properties.headers["x-paceline-left-out"] == "large"
    assert properties.headers["x-paceline-reason"] == "no-task"
    many = b"".join(entry(b"%05d" % number, b"b\1") for number in range(16_000))  # pika writes them in 5 bytes
    publish(broker, queue, b"for no task either", RawHeaders(many))
    properties, body = broker.take(dead)
    assert body == b"for no task either"
    assert len(properties.headers) > 10_000
    bridge.wait_for(f"consuming {queue}-good")
    broker.publish(f"{queue}-good", *lines(f"{queue}-good", 0, 1))
    assert_each_ran_once(ran, f"{queue}-good", 1, bridge)


def test_refused_messages_wait_for_room_in_the_dead_letter_queue_and_others_run(
    broker: Broker, start: Start, ran: Any, dead: str
) -> None:
    with broker.channel() as channel:
        channel.queue_declare(dead, durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    queue, good = broker.declare(), broker.declare()
    bridge = start("--queue", queue, "--queue", f"{good}=tasks.record")
    bodies = lines(queue, 0, 4)
    broker.publish(queue, *bodies)
    bridge.wait_for(f"a refused message of {queue} waits at the bridge: the dead letter queue {dead} does not take it")
    broker.publish(good, *lines(good, 0, 5))
    assert_each_ran_once(ran, good, 5, bridge)
    found: list[bytes] = []
    while len(found) < len(bodies):
        found.append(broker.take(dead)[1])
    assert set(found) == set(bodies)
    assert "was lost" not in bridge.log()
    wait_until(lambda: broker.depth(queue) == 0, lambda: "the queue is empty")


def test_a_user_who_may_not_publish_loses_no_message_and_no_connection(
    broker: Broker, start: Start, ran: Any, dead: str
) -> None:
    with broker.channel() as channel:
        channel.queue_declare(dead, durable=True)
    queue = broker.declare(**DELIVERY_LIMIT)
    server = broker.server
    server.control("add_user", "reader", "reader")
    server.control("set_permissions", "reader", "", "", ".*")
    broker.publish(queue, *lines(queue, 0, 10))
    broker.publish(queue, b"{", content_type="application/json")
    bridge = start("--queue", f"{queue}=tasks.record", url=broker.url.replace("guest:guest", "reader:reader"))
    bridge.wait_for("waits at the bridge")
    bridge.wait_for("give the user of the URL the permission to write to the exchange amq.default")
    wait_until(lambda: len(ran_lines(ran, queue)) == 10, bridge.log)
    server.control("set_permissions", "reader", "", ".*", ".*")
    properties, body = broker.take(dead)
    assert (body, properties.headers["x-paceline-reason"]) == (b"{", "bad-body")
    assert_each_ran_once(ran, queue, 10, bridge)


def test_two_bridges_that_consume_each_others_dead_letters_send_no_message_round_for_ever(
    broker: Broker, start: Start, bridges: list[BridgeProcess], cluster: Cluster, dead: str
) -> None:
    queue = broker.declare()
    with broker.channel() as channel:
        channel.queue_declare(dead, durable=True)
    for consumed, dead_letter in ((queue, dead), (dead, queue)):
        bridge = BridgeProcess(broker.url, cluster.addresses, "--queue", consumed, "--dead-letter", dead_letter)
        bridges.append(bridge)
        bridge.wait_for("connected to RabbitMQ")
    broker.publish(queue, b"1", b"2", b"3")

    def ended() -> list[str]:
        return [name for name in (f"{queue}.rounds", f"{dead}.rounds") if there(broker, name)]

    wait_until(ended, lambda: "\n".join(bridge.log() for bridge in bridges))
    [name] = ended()
    found = [broker.take(name) for _ in range(3)]
    assert sorted(body for _, body in found) == [b"1", b"2", b"3"]
    assert {properties.headers["x-paceline-rounds"] for properties, _ in found} == {11}


# --- replies


@pytest.fixture
def app(broker: Broker) -> Iterator[Celery]:
    app = Celery("caller", broker=broker.url, backend="rpc://")
    app.conf.task_default_queue = broker.declare()
    yield app
    if app.backend.result_consumer._connection is not None:
        app.backend.result_consumer.stop()
    app.close()
    pools.reset()


def test_a_result_that_rabbitmq_refuses_as_too_large_is_told_to_its_caller_and_harms_no_other(
    app: Celery, start: Start
) -> None:
    bridge = start("--queue", app.conf.task_default_queue)
    small = [app.send_task("tasks.add", (number, 1)) for number in range(20)]
    large = [app.send_task("tasks.repeat", ("x", LIMIT_BYTES + number)) for number in range(3)]
    small += [app.send_task("tasks.add", (number, 1)) for number in range(20, 40)]
    assert [result.get(timeout=DEADLINE_S) for result in small] == [number + 1 for number in range(40)]
    for result in large:
        with pytest.raises(ValueError, match=r"too-large.*the task has ended, and its reply takes \d+ bytes"):
            result.get(timeout=DEADLINE_S)
    assert "was lost" not in bridge.log()
    assert "closed the channel" not in bridge.log()


def full_queue(broker: Broker) -> str:
    queue = broker.declare(**{"x-max-length": 1, "x-overflow": "reject-publish"})
    broker.publish(queue, b"it is full")
    return queue


@pytest.mark.parametrize(
    "reply_to", [full_queue, lambda _: INTERNAL_ERROR, lambda _: NOBODY], ids=["full", "malformed", "gone"]
)
def test_a_caller_who_can_not_be_told_harms_no_other(
    app: Celery, broker: Broker, start: Start, ran: Any, reply_to: Callable[[Broker], str]
) -> None:
    queue, to = app.conf.task_default_queue, reply_to(broker)
    bridge = start("--queue", queue, "--metrics", "127.0.0.1:0")
    address = bridge.log().partition("metrics at http://")[2].partition("/metrics")[0]
    before = [app.send_task("tasks.add", (number, 1)) for number in range(10)]
    for number in range(3):
        body, headers = call("tasks.record", f"{queue}-{number:02}")
        properties = {"content_type": "application/json", "correlation_id": headers["id"]}
        broker.publish(queue, body, headers=headers, reply_to=to, **properties)
    after = [app.send_task("tasks.add", (number, 1)) for number in range(10)]
    for results in (before, after):
        assert [result.get(timeout=DEADLINE_S) for result in results] == [number + 1 for number in range(10)]
    assert_each_ran_once(ran, queue, 3, bridge)

    def counted(result: str) -> float:
        found = values(get(address, "/metrics")[1])
        return found.get(("paceline_bridge_messages_total", "celery", result), 0.0)

    wait_until(lambda: counted("acked") == 23, lambda: f"{counted('acked')} are acknowledged\n{bridge.log()}")
    assert counted("undelivered") == (0 if to == NOBODY else 3)


def test_a_refusal_that_its_caller_can_not_be_told_is_a_dead_letter(
    app: Celery, broker: Broker, start: Start, dead: str
) -> None:
    bridge = start("--queue", app.conf.task_default_queue)
    for to in (full_queue(broker), INTERNAL_ERROR):
        body, headers = call("tasks.add", 1, 2, timelimit=[-10, None])
        broker.publish(app.conf.task_default_queue, body, headers=headers, reply_to=to, content_type="application/json")
        properties, kept = broker.take(dead)
        assert (kept, properties.headers["x-paceline-reason"]) == (body, "time-limit")
    assert "was lost" not in bridge.log()
