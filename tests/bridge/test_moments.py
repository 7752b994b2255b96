"""Delays and expiry between a real RabbitMQ and a real cluster, with producers that know nothing of the bridge."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import dramatiq
import pytest
from celery import Celery
from celery.exceptions import TaskRevokedError
from dramatiq.brokers.rabbitmq import RabbitmqBroker

from bridge.conftest import Start, ran_lines
from bridge.processes import DEADLINE_S, Broker, wait_until
from paceline import Client, Cluster
from paceline_bridge.delayed import RETAIN_S

CLOSE_BRIDGES = """[rabbit_networking:close_connection(Pid, "closed by a test")
    || [{pid, Pid}, {client_properties, Of}] <- rabbit_networking:connection_info_all([pid, client_properties]),
    lists:member({<<"connection_name">>, longstr, <<"paceline bridge">>}, Of)]."""


def test_a_countdown_runs_not_before_it_and_returns_its_result(app: Celery, start: Start) -> None:
    start("--queue", app.conf.task_default_queue)
    sent_s = time.time()
    told: list[tuple[str, float]] = []
    delayed = app.send_task("tasks.now", countdown=2)
    at_once = app.send_task("tasks.now").get(timeout=DEADLINE_S)
    ran_s = delayed.get(timeout=DEADLINE_S, on_message=lambda meta: told.append((meta["status"], time.time())))
    assert ran_s >= sent_s + 2
    assert ran_s > at_once
    assert not [status for status, at_s in told if at_s < sent_s + 2], "it was not told STARTED while it was delayed"
    assert told[-1][0] == "SUCCESS"


def test_a_caller_of_a_delayed_task_gets_its_result_though_the_bridge_is_killed_meanwhile_and_the_task_runs_once(
    app: Celery, cluster: Cluster, start: Start, ran: Path
) -> None:
    bridge = start("--queue", app.conf.task_default_queue)
    line = f"delayed-{uuid.uuid4().hex[:8]}"
    with Client(*cluster.addresses) as client:
        before = client.status()["delayed"]
        result = app.send_task("tasks.record", (line,), countdown=10)
        wait_until(lambda: client.status()["delayed"] > before, lambda: "the cluster has accepted the task")
    bridge.kill()
    start("--queue", app.conf.task_default_queue)
    assert result.get(timeout=DEADLINE_S) == line
    assert ran_lines(ran, line) == [line]


def test_a_caller_whose_message_is_acknowledged_gets_its_result_though_rabbitmq_is_lost_meanwhile(
    app: Celery, broker: Broker, start: Start, ran: Path
) -> None:
    """Only the bridge knows then that a reply is owed, and no longer what the arguments were."""
    bridge = start("--queue", app.conf.task_default_queue, "--prefetch", "1")
    line = f"owed-{uuid.uuid4().hex[:8]}"
    result = app.send_task("tasks.record", (line,), countdown=20)
    assert app.send_task("tasks.add", (1, 2)).get(timeout=DEADLINE_S) == 3, "the first is acknowledged"
    broker.server.control("eval", CLOSE_BRIDGES)
    bridge.wait_for("connected to RabbitMQ", times=2)
    assert ran_lines(ran, line) == []
    assert result.get(timeout=DEADLINE_S) == line
    assert ran_lines(ran, line) == [line]


@pytest.mark.parametrize("zone", [None, timezone(timedelta(hours=5)), timezone(timedelta(hours=-5))])
def test_an_eta_counts_in_its_time_zone_and_without_one_in_utc(
    app: Celery, start: Start, zone: timezone | None
) -> None:
    start("--queue", app.conf.task_default_queue)
    eta = datetime.now(UTC) + timedelta(seconds=2)
    # Celery itself writes what it is given, a zone or none.
    carried = eta.astimezone(zone) if zone is not None else eta.replace(tzinfo=None)
    ran_s = app.send_task("tasks.now", headers={"eta": carried.isoformat()}).get(timeout=DEADLINE_S)
    assert ran_s >= eta.timestamp()
    assert app.send_task("tasks.now", eta=datetime.now(zone or UTC)).get(timeout=DEADLINE_S) > ran_s


def test_a_task_that_expires_while_it_waits_behind_others_is_revoked_and_does_not_run(
    app: Celery, broker: Broker, start: Start, ran: Path, tmp_path: Path
) -> None:
    bridge = start("--queue", app.conf.task_default_queue)
    go = [str(tmp_path / f"go-{number}") for number in range(2)]
    busy = [app.send_task("tasks.wait_for", (path,)) for path in go]  # one for each worker
    wait_until(lambda: all(ran_lines(ran, path) for path in go), lambda: "both workers are busy")
    line = f"expired-{uuid.uuid4().hex[:8]}"
    late = app.send_task("tasks.record", (line,), expires=6)
    nobody_waits = app.send_task("tasks.record", (line,), expires=6, ignore_result=True)
    assert nobody_waits.id
    with pytest.raises(TaskRevokedError, match="expired"):
        late.get(timeout=DEADLINE_S)
    bridge.wait_for("a task tasks.record failed, and nobody waits for its result: it expired at ")
    for path in go:
        Path(path).touch()
    assert [task.get(timeout=DEADLINE_S) for task in busy] == go
    assert ran_lines(ran, line) == []
    assert bridge.terminate() == 0
    assert broker.depth(app.conf.task_default_queue) == 0, "all is acknowledged"


def test_a_delay_of_dramatiq_is_kept_and_its_task_runs_once(broker: Broker, start: Start, ran: Path) -> None:
    queue = f"dramatiq-{uuid.uuid4().hex[:8]}"
    producer = RabbitmqBroker(url=broker.url)

    @dramatiq.actor(actor_name="shop.record", queue_name=queue, broker=producer)
    def record(line: str) -> None: ...

    try:
        record.send(f"{queue}-first")
        bridge = start("--queue", queue, "--task", "shop.record=tasks.record_when", ready=f"consuming {queue}.DQ")
        delayed = record.send_with_options(args=(f"{queue}-delayed",), delay=1500)
        record.send(f"{queue}-second")
        wait_until(lambda: len(ran_lines(ran, queue)) == 3, lambda: "\n".join(ran_lines(ran, queue)))
        assert bridge.terminate() == 0
        assert broker.depth(f"{queue}.DQ") == 0, "it is acknowledged"
    finally:
        producer.close()
    when = dict(line.split() for line in ran_lines(ran, queue))
    assert sorted(when) == sorted(f"{queue}-{which}" for which in ("first", "second", "delayed"))
    assert float(when[f"{queue}-delayed"]) * 1e3 >= delayed.options["eta"]


def test_more_delayed_messages_than_the_prefetch_keep_no_other_from_running(
    app: Celery, broker: Broker, start: Start
) -> None:
    """Their callers wait, so that none of them could be acknowledged but for the rule of delayed ones."""
    bridge = start("--queue", app.conf.task_default_queue, "--prefetch", "10")
    for _ in range(150):  # more than the smallest window, too
        app.send_task("tasks.fail", ("too early",), countdown=RETAIN_S / 2)
    assert app.send_task("tasks.add", (1, 2)).get(timeout=DEADLINE_S) == 3
    assert app.send_task("tasks.add", (3, 4), countdown=1).get(timeout=DEADLINE_S) == 7
    assert "refused" not in bridge.log()
    assert bridge.terminate() == 0
    wait_until(lambda: broker.depth(app.conf.task_default_queue) == 5, lambda: "half the prefetch was retained")
