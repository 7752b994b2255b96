"""Messages of all three kinds under load, while what stands between producer and task is restarted and killed.

    ./dev shell env PYTHONPATH=tests python -m bridge.bridge_load --messages 50000

A third of the messages is plain, a third Celery's, a third dramatiq's, all published with confirms, and again if
a confirm does not come. Two bridges consume. RabbitMQ is restarted twice, a bridge killed with SIGKILL three times and
the leader once, at moments that follow how much is done, in an order that --seed draws. Then: every task ran, none has
two recorded outcomes, the queues are empty and nothing was refused. Two things are counted and told, for the leader
that is killed. Its last tasks may run again: at least once. And of those that it has told the ends of in its last
milliseconds the cluster may have no record. It ends with 1 if anything else is so.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import random
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pika
import pika.exceptions

from bridge.processes import TASKS, BridgeProcess, Broker, wait_until
from paceline import Cluster
from paceline_bench.harness.rabbitmq_server import RabbitMQ

BRIDGES = 2
PUBLISH_LIMIT_S = 300.0
DRAIN_LIMIT_S = 600.0
RETRY_S = 0.2
UNRECORDED_MOST = 200
"""Of what a leader has told before it died, which is what comes within milliseconds, and more on a starved machine."""


@dataclass
class Load:
    """What is done, and what came of it."""

    messages: int
    broker_restarts: int
    bridge_kills: int
    leader_kills: int
    seed: int
    published: int = 0  # confirmed
    connections_lost: int = 0  # of the producers
    ran: collections.Counter[str] = field(default_factory=collections.Counter)
    totals: dict[str, int] = field(default_factory=dict)
    dead: int = 0
    left: int = 0
    seconds: float = 0.0


def message(kind: int, number: int) -> tuple[bytes, dict[str, Any]]:
    """As producers of these kinds write it; ``recorded/`` has what these are like. The id is that of the number, so
    that a message that is published again is the same one."""
    name, line = str(uuid.UUID(int=number + 1)), f"{number}"
    if kind == 0:
        return line.encode(), {"message_id": name, "content_type": "text/plain"}
    if kind == 1:
        body = [[line], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
        headers = {"lang": "py", "task": "tasks.record", "id": name, "ignore_result": True, "retries": 0}
        properties = {"headers": headers, "content_type": "application/json", "content_encoding": "utf-8"}
        return json.dumps(body).encode(), {**properties, "correlation_id": name}
    fields = {"queue_name": "q", "actor_name": "tasks.record", "args": [line], "kwargs": {}, "options": {}}
    return json.dumps({**fields, "message_id": name, "message_timestamp": 1}).encode(), {}


class Producer(threading.Thread):
    """Publishes every message of one kind, with a confirm for each, across whatever happens to the broker."""

    def __init__(self, load: Load, broker: Broker, queue: str, kind: int) -> None:
        super().__init__(name=f"producer-{kind}", daemon=True)
        self._broker = broker
        self._queue = queue
        self._kind = kind
        self._numbers = range(kind, load.messages, 3)
        self.published = 0
        self.connections_lost = 0

    def run(self) -> None:
        deadline_s = time.monotonic() + PUBLISH_LIMIT_S
        while self.published < len(self._numbers) and time.monotonic() < deadline_s:
            try:
                with self._broker.channel() as channel:
                    channel.confirm_delivery()
                    while self.published < len(self._numbers):
                        body, properties = message(self._kind, self._numbers[self.published])
                        channel.basic_publish(
                            "", self._queue, body, pika.BasicProperties(delivery_mode=2, **properties)
                        )
                        self.published += 1
            except (pika.exceptions.AMQPError, OSError):
                self.connections_lost += 1
                time.sleep(RETRY_S)


def run(load: Load, say: Callable[[str], None]) -> list[str]:
    """What is wrong, in sentences; nothing, if all is as it should be."""
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        ran_path = directory / "ran"
        ran_path.touch()
        (directory / "rabbitmq").mkdir()
        server = RabbitMQ(directory / "rabbitmq")
        environment = {**os.environ, "BRIDGE_TEST_RAN": str(ran_path)}
        cluster = Cluster.local(TASKS, nodes=3, workers=1, environment=environment)
        bridges: list[BridgeProcess] = []
        try:
            server.start()
            with cluster:
                _under_load(load, Broker(server), cluster, bridges, ran_path, say)
        finally:
            for bridge in bridges:
                bridge.kill()
            server.stop()
    load.seconds = time.monotonic() - began_s
    return _wrong(load)


def _assert_alive(running: list[BridgeProcess]) -> bool:
    for bridge in running:
        assert bridge.process.poll() is None, bridge.log()
    return True


def _under_load(
    load: Load,
    broker: Broker,
    cluster: Cluster,
    bridges: list[BridgeProcess],
    ran_path: Path,
    say: Callable[[str], None],
) -> None:
    queues = [broker.declare() for _ in range(3)]
    options = ["--queue", f"{queues[0]}=tasks.record", "--queue", queues[1], "--queue", queues[2]]

    def start() -> BridgeProcess:
        bridge = BridgeProcess(broker.url, list(cluster.addresses), *options)
        bridges.append(bridge)
        return bridge

    running = [start() for _ in range(BRIDGES)]
    producers = [Producer(load, broker, queue, kind) for kind, queue in enumerate(queues)]
    for producer in producers:
        producer.start()
    dice = random.Random(load.seed)
    blows = ["broker"] * load.broker_restarts + ["bridge"] * load.bridge_kills + ["leader"] * load.leader_kills
    dice.shuffle(blows)

    def count_ran() -> int:
        return ran_path.read_bytes().count(b"\n")

    for position, blow in enumerate(blows, start=1):
        # Spread over the run: the next one when so much of the work is done.
        due = load.messages * position // (len(blows) + 1)
        wait_until(
            lambda due=due: _assert_alive(running) and count_ran() >= due, lambda: f"{count_ran()} ran", DRAIN_LIMIT_S
        )
        published = sum(producer.published for producer in producers)
        say(f"{count_ran()} of {load.messages} ran, {published} published: {blow}")
        if blow == "broker":
            broker.restart()
        elif blow == "leader":
            leader = cluster.leader
            assert leader is not None, "no leader"
            leader.kill()
        else:
            victim = running.pop(dice.randrange(len(running)))
            victim.kill()
            running.append(start())
    for producer in producers:
        producer.join(PUBLISH_LIMIT_S)
    load.published = sum(producer.published for producer in producers)
    load.connections_lost = sum(producer.connections_lost for producer in producers)
    assert load.published == load.messages, f"{load.published} of {load.messages} published"
    _wait_until_settled(load, broker, cluster, running, queues, ran_path)
    for bridge in running:
        bridge.wait_for("connected to RabbitMQ and to the cluster")  # one may have just been started
    codes = [bridge.terminate() for bridge in running]
    assert codes == [0] * BRIDGES, codes
    load.left = sum(broker.depth(queue) for queue in queues)  # with what went back when the bridges stopped
    load.dead = broker.depth("paceline.dead")
    load.ran.update(ran_path.read_text().splitlines())


def _wait_until_settled(
    load: Load, broker: Broker, cluster: Cluster, running: list[BridgeProcess], queues: list[str], ran_path: Path
) -> None:
    """Until every task ran, the cluster is idle, and RabbitMQ holds no message."""
    with cluster.client() as client:

        def done() -> bool:
            _assert_alive(running)
            if len(_lines(ran_path)) < load.messages or any(broker.depth(queue) for queue in queues):
                return False
            status = client.status()  # after the others: what ran meanwhile is in it, or still to be recorded
            load.totals = {key: value for key, value in status.items() if key.endswith("_total")}
            busy = status["queued"] or status["running"] or status["accepted_total"] != status["recorded_total"]
            return not busy and not broker.held(queues)

        def state() -> str:
            logs = "\n".join(bridge.log() for bridge in running)
            return f"{len(_lines(ran_path))} ran; {broker.held(queues)} messages held; {client.status()}\n{logs}"

        wait_until(done, state, DRAIN_LIMIT_S)


def _lines(path: Path) -> set[bytes]:
    return set(path.read_bytes().splitlines())


def _wrong(load: Load) -> list[str]:
    missing = load.messages - len(load.ran)
    recorded = load.totals.get("recorded_total", 0)
    found = []
    if missing:
        found.append(f"{missing} tasks did not run")
    if not load.messages - (UNRECORDED_MOST if load.leader_kills else 0) <= recorded <= load.messages:
        found.append(f"{recorded} outcomes were recorded for {load.messages} messages")
    if load.totals.get("succeeded_total") != recorded:
        found.append(f"not all succeeded: {load.totals}")
    if load.left or load.dead:
        found.append(f"{load.left} messages are left, {load.dead} were refused")
    return found


def report(load: Load) -> str:
    twice = sum(count - 1 for count in load.ran.values())
    return (
        f"{load.messages} messages, a third each plain, Celery and dramatiq, in {load.seconds:.1f} s; broker restarted "
        f"{load.broker_restarts}, bridge killed {load.bridge_kills}, leader killed {load.leader_kills} times\n"
        f"published: {load.published}, connections of the producers lost: {load.connections_lost}\n"
        f"ran: {len(load.ran)}, run more than once: {twice}\n"
        f"outcomes recorded: {load.totals.get('recorded_total')}, succeeded: {load.totals.get('succeeded_total')}\n"
        f"left in the queues: {load.left}, refused: {load.dead}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--messages", type=int, default=50_000)
    parser.add_argument("--broker-restarts", type=int, default=2)
    parser.add_argument("--bridge-kills", type=int, default=3)
    parser.add_argument("--leader-kills", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    load = Load(**vars(parser.parse_args()))
    wrong = run(load, lambda text: print(text, file=sys.stderr, flush=True))
    print(report(load))
    for sentence in wrong:
        print(f"WRONG: {sentence}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
