"""The bridge between a real RabbitMQ and a real cluster, with producers that know nothing of it."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import dramatiq
import msgpack
import pika
import pytest
from celery import Celery, group
from celery.exceptions import NotRegistered, TaskRevokedError
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from kombu import pools

from bridge.bridge_tasks import Own
from bridge.conftest import Start, ran_lines
from bridge.processes import DEADLINE_S, TASKS, BridgeProcess, Broker, wait_until
from paceline import Client, Cluster
from paceline.cli.app import run
from paceline_bench.harness.server_process import HOST, free_ports


def test_a_refusal_for_a_caller_that_has_no_queue_for_replies_is_a_dead_letter(
    broker: Broker, start: Start, dead: str
) -> None:
    """Celery names one whatever its backend is, and only rpc:// makes it."""
    queue = broker.declare()
    start("--queue", queue)
    app = Celery("fire-and-forget", broker=broker.url)
    try:
        app.send_task("tasks.add", (1, 2), queue=queue, time_limit=-10)
        properties, _ = broker.take(dead)
    finally:
        app.close()
        pools.reset()
    assert properties.headers["x-paceline-reason"] == "time-limit"


def test_a_dead_letter_queue_is_used_as_it_is(broker: Broker, start: Start, dead: str) -> None:
    with broker.channel() as channel:
        channel.queue_declare(dead, durable=True, arguments={"x-max-length": 1000})
    queue = broker.declare()
    start("--queue", queue)
    broker.publish(queue, b"for no task")
    assert broker.take(dead)[1] == b"for no task"


# --- plain messages


def test_the_simplest_producer_works_with_one_flag(broker: Broker, start: Start, ran: Path) -> None:
    queue = f"task_queue-{uuid.uuid4().hex[:8]}"
    with broker.channel() as channel:  # as in RabbitMQ's first tutorial
        channel.queue_declare(queue)
        channel.basic_publish("", queue, f"{queue}-1")
    start("--queue", f"{queue}=tasks.record")
    wait_until(lambda: ran_lines(ran, queue) == [f"{queue}-1"], lambda: "the task runs")
    wait_until(lambda: broker.depth(queue) == 0, lambda: "the queue is empty")


def test_a_missing_queue_is_made_on_request_and_looked_for_otherwise(broker: Broker, start: Start, ran: Path) -> None:
    queue, other = (f"late-{uuid.uuid4().hex[:8]}" for _ in range(2))
    start("--queue", f"{queue}=tasks.record", "--declare", ready=f"consuming {queue}")
    broker.publish(queue, f"{queue}-1".encode())
    wait_until(lambda: ran_lines(ran, queue) == [f"{queue}-1"], lambda: "the task runs")
    bridge = start("--queue", f"{other}=tasks.record", ready=f"can't consume {other}")
    with broker.channel() as channel:
        channel.queue_declare(other, durable=True)
    bridge.wait_for(f"consuming {other}")
    assert bridge.log().count(f"can't consume {other}") == 1


def test_a_quorum_queue_is_consumed(broker: Broker, start: Start, ran: Path) -> None:
    queue = broker.declare(**{"x-queue-type": "quorum"})
    start("--queue", f"{queue}=tasks.record")
    broker.publish(queue, f"{queue}-1".encode())
    wait_until(lambda: ran_lines(ran, queue) == [f"{queue}-1"], lambda: "the task runs")


def test_a_stream_is_refused_since_a_consumer_would_skip_what_is_in_it(broker: Broker, start: Start, ran: Path) -> None:
    stream, queue = broker.declare(**{"x-queue-type": "stream"}), broker.declare()
    broker.publish(stream, f"{stream}-1".encode())
    broker.publish(queue, f"{queue}-1".encode())
    bridge = start("--queue", f"{stream}=tasks.record", "--queue", f"{queue}=tasks.record")
    bridge.wait_for(f"can't consume {stream}")
    bridge.wait_for("the bridge consumes no streams")
    wait_until(lambda: ran_lines(ran, queue) == [f"{queue}-1"], lambda: "the other queue is consumed")
    assert ran_lines(ran, stream) == []


def test_a_message_that_is_published_twice_is_one_task(broker: Broker, start: Start, ran: Path) -> None:
    queue = broker.declare()
    broker.publish(queue, f"{queue}-1".encode(), f"{queue}-1".encode(), message_id="one")
    broker.publish(queue, f"{queue}-2".encode(), message_id="one")  # another body, so it is another task
    bridge = start("--queue", f"{queue}=tasks.record")
    wait_until(lambda: {f"{queue}-1", f"{queue}-2"} <= set(ran_lines(ran, queue)), lambda: "both tasks run")
    assert sorted(ran_lines(ran, queue)) == [f"{queue}-1", f"{queue}-2"]
    bridge.wait_for(f"a message of {queue} has the id of one before it ('one'), so both are one task, which runs once")


def test_a_queue_that_the_bridge_makes_is_one_line_that_says_what_a_producer_may_meet(
    broker: Broker, start: Start
) -> None:
    queue = f"made-{uuid.uuid4().hex[:8]}"
    bridge = start("--queue", f"{queue}=tasks.record", "--declare", ready=f"consuming {queue}")
    assert f"made the queue {queue}, durable and without arguments; whoever declares it otherwise" in bridge.log()
    with broker.channel() as channel:
        channel.queue_declare(queue, durable=True)  # as on the page


@pytest.mark.parametrize(
    ("binding", "body", "content_type", "reason"),
    [
        ("", b"12", None, "no-task"),
        ("=tasks.nowhere", b"12", None, "unknown-task"),
        ("=tasks.echo", b"{", "application/json", "bad-body"),
        ("=tasks.echo", msgpack.packb(msgpack.ExtType(5, b"x")), "application/msgpack", "bad-body"),
        ("=tasks.echo", b"x" * (17 << 20), "text/plain", "too-large"),
    ],
)
def test_what_can_not_be_run_is_kept_with_its_reason(
    broker: Broker, start: Start, dead: str, binding: str, body: bytes, content_type: str | None, reason: str
) -> None:
    queue = broker.declare()
    start("--queue", queue + binding)
    broker.publish(queue, body, content_type=content_type, headers={"mine": 1})
    properties, kept = broker.take(dead)
    assert (kept, properties.content_type, properties.headers["mine"]) == (body, content_type, 1)
    assert (properties.headers["x-paceline-reason"], properties.headers["x-paceline-queue"]) == (reason, queue)
    assert properties.headers["x-paceline-detail"]


def test_the_failure_of_a_task_that_nobody_waits_for_is_told_and_is_not_a_line_for_each(
    broker: Broker, start: Start, ran: Path
) -> None:
    queue, done = broker.declare(), broker.declare()
    bridge = start("--queue", f"{queue}=tasks.add", "--queue", f"{done}=tasks.record")
    broker.publish(queue, *[b"1"] * 20)  # one argument, and the task takes two
    bridge.wait_for("a task tasks.add failed, and nobody waits for its result: TypeError: ")
    broker.publish(done, done.encode())
    wait_until(lambda: ran_lines(ran, done), lambda: "another task runs")
    assert bridge.log().count("a task tasks.add failed") <= 2


def test_a_task_of_the_settings_that_no_node_has_is_told_at_once_and_when_it_is_there(
    broker: Broker, start: Start, tmp_path: Path
) -> None:
    queue = broker.declare()
    with Cluster.local(TASKS, nodes=1, workers=1) as cluster:
        bridge = start("--queue", f"{queue}=later.work", "--task", "shop.add=tasks.add", addresses=cluster.addresses)
        bridge.wait_for(f"--queue {queue}=later.work: no node has a task later.work")
        assert "tasks.add, tasks.asks_for_a_limit" in bridge.log(), "it says what they have"
        assert "--task" not in bridge.log()
        (tmp_path / "later.py").write_text("from paceline import task\n\n\n@task\ndef work(a):\n    return a\n")
        cluster.add_node(tmp_path / "later.py", workers=1)
        bridge.wait_for("now a node has a task later.work")
        assert bridge.log().count("no node has") == 1


def test_a_bridge_with_the_file_of_a_client_has_tasks_run_by_a_node_with_the_cluster_file(
    broker: Broker, start: Start, ran: Path, tmp_path: Path
) -> None:
    queue, shop = broker.declare(), tmp_path / "shop.toml"
    broker.publish(queue, f"{queue}-1".encode())
    environment = {"BRIDGE_TEST_RAN": str(ran)}
    with Cluster.local(TASKS, nodes=1, workers=1, secure=True, environment=environment) as cluster:
        assert run(["key", "client", "shop", "--cluster", str(cluster.cluster_file), "--out", str(shop)]) == 0
        bridge = start("--queue", f"{queue}=tasks.record", "--cluster", str(shop), addresses=cluster.addresses)
        wait_until(lambda: ran_lines(ran, queue) == [f"{queue}-1"], lambda: f"the task runs:\n{bridge.log()}")
        assert bridge.terminate() == 0
    wait_until(lambda: broker.depth(queue) == 0, lambda: "the message is acknowledged")


def test_a_bridge_that_begins_anew_after_the_keys_were_replaced_goes_by_the_new_ones(
    broker: Broker, start: Start, ran: Path, tmp_path: Path, dead: str
) -> None:
    queue, shop, environment = broker.declare(), tmp_path / "shop.toml", {"BRIDGE_TEST_RAN": str(ran)}
    with Cluster.local(TASKS, nodes=1, workers=1, secure=True, environment=environment) as cluster:
        path = str(cluster.cluster_file)
        assert run(["key", "client", "shop", "--cluster", path, "--out", str(shop)]) == 0
        bridge = start("--queue", f"{queue}=tasks.record", "--cluster", str(shop), addresses=cluster.addresses)
        for step in ([], ["--use"], ["--finish"]):
            assert run(["key", "rotate", *step, "--cluster", path]) == 0
            assert run(["key", "update", str(shop), "--cluster", path]) == 0
        with Client(*cluster.addresses, cluster=shop, connect_timeout_s=DEADLINE_S) as client:
            client.connect()  # once the node has read them
        with broker.channel() as channel:
            channel.queue_delete(dead)
        broker.publish(queue, b"{", content_type="application/json")  # whose dead letter ends the life
        bridge.wait_for("connected to RabbitMQ", times=2)
        broker.publish(queue, f"{queue}-1".encode())
        wait_until(lambda: ran_lines(ran, queue) == [f"{queue}-1"], lambda: f"the task runs:\n{bridge.log()}")
        assert bridge.terminate() == 0


# --- Celery


def test_an_unmodified_celery_client_gets_its_results(app: Celery, start: Start) -> None:
    start("--queue", app.conf.task_default_queue)

    @app.task(name="tasks.add")
    def add(a: int, b: int) -> int:
        raise AssertionError("runs on the cluster")

    assert add.delay(4, 4).get(timeout=DEADLINE_S) == 8
    assert app.send_task("tasks.echo", ({"a": [1, None]},)).get(timeout=DEADLINE_S) == {"a": [1, None]}
    results = group(add.s(number, 1) for number in range(20))().get(timeout=DEADLINE_S)
    assert results == list(range(1, 21))


def test_exceptions_come_back_as_their_own_class(app: Celery, start: Start) -> None:
    start("--queue", app.conf.task_default_queue)
    with pytest.raises(KeyError, match="gone"):
        app.send_task("tasks.fail", ("gone",)).get(timeout=DEADLINE_S)
    # The module of the tasks, as the nodes name it, is not imported here: Celery makes a class of that name.
    with pytest.raises(Exception, match="a") as raised:
        app.send_task("tasks.fail_own", ("a", 2)).get(timeout=DEADLINE_S)
    assert type(raised.value).__name__ == Own.__name__
    assert raised.value.args == ("a", 2)


def test_a_caller_that_accepts_msgpack_alone_gets_its_results_under_an_id_as_long_as_a_reply_can_name(
    app: Celery, start: Start
) -> None:
    app.conf.update(task_serializer="msgpack", result_serializer="msgpack", accept_content=["msgpack"])
    start("--queue", app.conf.task_default_queue)
    result = app.send_task("tasks.echo", ({"raw": b"\xff"},), task_id="x" * 255)
    assert result.get(timeout=DEADLINE_S) == {"raw": b"\xff"}
    with pytest.raises(KeyError, match="k"):
        app.send_task("tasks.fail", ("k",)).get(timeout=DEADLINE_S)
    with pytest.raises(NotImplementedError, match="time-limit"):
        app.send_task("tasks.add", (1, 2), time_limit=-10).get(timeout=DEADLINE_S)


def test_refusals_reach_the_caller(app: Celery, start: Start) -> None:
    start("--queue", app.conf.task_default_queue)
    with pytest.raises(NotImplementedError, match=r"\(time-limit\)"):
        app.send_task("tasks.add", (1, 2), time_limit=10, soft_time_limit=20).get(timeout=DEADLINE_S)
    unknown = app.send_task("tasks.nowhere")
    with pytest.raises(NotRegistered, match=r"^'tasks\.nowhere'$"):
        unknown.get(timeout=DEADLINE_S)
    assert "the nodes run: " in unknown.traceback
    late = app.send_task("tasks.add", (1, 2), headers={"expires": "2020-01-01T00:00:00"})
    with pytest.raises(TaskRevokedError, match="expired"):
        late.get(timeout=DEADLINE_S)


def test_a_late_message_that_comes_again_gets_the_outcome_of_its_task_and_begins_none(
    broker: Broker, start: Start, ran: Path, dead: str, tmp_path: Path
) -> None:
    first, again, replies = broker.declare(), broker.declare(), broker.declare()
    running, never = str(uuid.uuid4()), str(uuid.uuid4())
    go, other = str(tmp_path / "go"), str(tmp_path / "other")

    def publish(queue: str, task_id: str, path: str, **fields: Any) -> None:
        headers = {"task": "tasks.wait_for", "id": task_id, **fields.pop("headers", {})}
        body = json.dumps([[path], {}, {}]).encode()
        broker.publish(queue, body, headers=headers, content_type="application/json", **fields)

    start("--queue", first)
    publish(first, running, go)
    wait_until(lambda: ran_lines(ran, go), lambda: "the task runs")
    late = {"headers": {"expires": "2020-01-01T00:00:00"}, "reply_to": replies}
    publish(again, running, go, **late)
    publish(again, never, other, **late)
    publish(again, str(uuid.uuid4()), other, headers=late["headers"])
    with broker.channel() as channel:  # as by a bridge that died with them
        for _ in range(3):
            channel.basic_get(again)
    second = start("--queue", again)
    answer = json.loads(broker.take(replies)[1])
    assert (answer["task_id"], answer["status"]) == (never, "REVOKED")
    assert broker.take(dead)[0].headers["x-paceline-reason"] == "expired"
    publish(again, running, go, **late)  # delivered for the first time, and the bridge has the task
    Path(go).touch()
    for _ in range(2):
        answer = json.loads(broker.take(replies)[1])
        assert (answer["task_id"], answer["status"], answer["result"]) == (running, "SUCCESS", go)
    assert (ran_lines(ran, go), ran_lines(ran, other)) == ([go], [])
    assert (second.log().count("(expired)"), broker.depth(dead), broker.depth(replies)) == (1, 0, 0)


def test_a_long_task_is_started_before_it_ends(app: Celery, start: Start, tmp_path: Path) -> None:
    start("--queue", app.conf.task_default_queue)
    seen: list[str] = []
    result = app.send_task("tasks.wait_for", (str(tmp_path / "go"),))

    def saw(meta: dict[str, Any]) -> None:
        seen.append(meta["status"])
        (tmp_path / "go").touch()

    assert result.get(timeout=DEADLINE_S, on_message=saw) == str(tmp_path / "go")
    assert seen == ["STARTED", "SUCCESS"]
    assert result.state == "SUCCESS"


# --- dramatiq


def test_messages_of_dramatiq_run_and_what_they_can_not_have_is_kept(
    broker: Broker, start: Start, ran: Path, dead: str
) -> None:
    queue = f"dramatiq-{uuid.uuid4().hex[:8]}"
    producer = RabbitmqBroker(url=broker.url)

    @dramatiq.actor(actor_name="shop.record", queue_name=queue, broker=producer)
    def record(line: str) -> None: ...

    record.send(f"{queue}-1")
    start("--queue", queue, "--task", "shop.record=tasks.record", ready=f"consuming {queue}.DQ")
    wait_until(lambda: ran_lines(ran, queue) == [f"{queue}-1"], lambda: "the task runs")
    record.send_with_options(args=("again",), max_retries=-1)
    properties, body = broker.take(dead)
    assert properties.headers["x-paceline-reason"] == "retries"
    assert json.loads(body)["args"] == ["again"]
    producer.close()


# --- trouble


def test_a_wrong_password_is_one_clear_line_without_it(broker: Broker, start: Start) -> None:
    queue = broker.declare()
    url = broker.url.replace("guest:guest", "guest:s3cret")
    bridge = start("--queue", queue, url=url, ready="it refuses this user or password")
    assert "s3cret" not in bridge.log()
    assert bridge.terminate() == 0
    assert bridge.log().count("refuses this user") == 1


def test_a_bridge_that_looks_for_a_cluster_stops_without_having_found_one(
    broker: Broker, bridges: list[BridgeProcess]
) -> None:
    nobody = f"{HOST}:{free_ports(1)[0]}"
    bridge = BridgeProcess(broker.url, [nobody], "--queue", "q", "--connect-timeout", str(10 * DEADLINE_S))
    bridges.append(bridge)
    bridge.wait_for("looking for the cluster")
    assert bridge.terminate() == 0
    assert "trying again" not in bridge.log()


def test_a_bridge_that_is_told_to_stop_leaves_the_rest_to_the_next(
    app: Celery, broker: Broker, start: Start, tmp_path: Path, ran: Path
) -> None:
    queue = app.conf.task_default_queue
    bridge = start("--queue", queue)
    go = tmp_path / "go"
    result = app.send_task("tasks.wait_for", (str(go),))
    wait_until(lambda: ran_lines(ran, str(go)), lambda: "the task runs")
    assert bridge.terminate() == 0
    wait_until(lambda: broker.depth(queue) == 1, lambda: "the message is back")
    go.touch()
    start("--queue", queue)
    assert result.get(timeout=DEADLINE_S) == str(go)
    assert ran_lines(ran, str(go)) == [str(go)], "it ran once"


def test_a_caller_gets_its_result_though_the_bridge_is_killed_meanwhile_and_the_task_runs_once(
    app: Celery, start: Start, tmp_path: Path, ran: Path
) -> None:
    bridge = start("--queue", app.conf.task_default_queue)
    go = tmp_path / "go"
    result = app.send_task("tasks.wait_for", (str(go),))
    wait_until(lambda: ran_lines(ran, str(go)), lambda: "the task runs")
    bridge.kill()
    start("--queue", app.conf.task_default_queue)
    go.touch()
    assert result.get(timeout=DEADLINE_S) == str(go)
    assert ran_lines(ran, str(go)) == [str(go)], "it ran once"


def test_the_end_of_a_consumer_is_one_line_and_its_queue_is_looked_for(broker: Broker, start: Start) -> None:
    queue = broker.declare()
    bridge = start("--queue", f"{queue}=tasks.echo", ready=f"consuming {queue}")
    with broker.channel() as channel:
        channel.queue_delete(queue)
    bridge.wait_for("RabbitMQ ended the consumer")
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        connection.channel().queue_declare(queue, durable=True)
    bridge.wait_for(f"consuming {queue}", times=2)
