"""TLS, several hosts, and a broker that takes no messages: with a RabbitMQ of their own."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from kombu import pools

from bridge.processes import DEADLINE_S, BridgeProcess, Broker, wait_until
from paceline import Cluster
from paceline_bench.harness.rabbitmq_server import RabbitMQ
from paceline_bench.harness.server_process import HOST, free_ports

CERTIFICATE = (
    "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout key.pem -out certificate.pem "
    f"-subj /CN=localhost -addext subjectAltName=IP:{HOST}"
)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("certificate")
    subprocess.run(CERTIFICATE.split(), cwd=directory, check=True, capture_output=True, timeout=DEADLINE_S)
    return directory / "certificate.pem"


@pytest.fixture(scope="module")
def tls_port() -> int:
    return free_ports(1)[0]


@pytest.fixture(scope="module")
def broker(
    broker: Broker, tmp_path_factory: pytest.TempPathFactory, certificate: Path, tls_port: int
) -> Iterator[Broker]:
    """Beside the one of all tests, which says whether RabbitMQ is there at all."""
    settings = (
        f"listeners.ssl.default = {HOST}:{tls_port}\n"
        f"ssl_options.certfile = {certificate}\n"
        f"ssl_options.keyfile = {certificate.with_name('key.pem')}\n"
        "ssl_options.verify = verify_none\n"
    )
    server = RabbitMQ(tmp_path_factory.mktemp("rabbitmq-tls"), settings)
    try:
        server.start()
        yield Broker(server)
    finally:
        server.stop()


def ran_lines(ran: Path, mark: str) -> list[str]:
    return [line for line in ran.read_text().splitlines() if line.startswith(mark)]


def status_of(cluster: Cluster, bridge: BridgeProcess) -> dict[str, str]:
    """What the cluster knows of this bridge; empty if nothing."""
    with cluster.client() as client:
        rows: list[dict[str, str]] = client.status()["clients"]
    return next((row for row in rows if row["pid"] == str(bridge.process.pid)), {})


def test_a_bridge_speaks_tls_and_trusts_only_what_it_is_told(
    broker: Broker, cluster: Cluster, bridges: list[BridgeProcess], ran: Path, certificate: Path, tls_port: int
) -> None:
    queue = broker.declare()
    broker.publish(queue, f"{queue}-1".encode())
    plain = f"amqps://guest:guest@{HOST}:{tls_port}/%2F"
    distrusting = BridgeProcess(plain, cluster.addresses, "--queue", f"{queue}=tasks.record")
    bridges.append(distrusting)
    distrusting.wait_for("certificate verify failed")
    assert ran_lines(ran, queue) == []
    trusted = f"{plain}?ssl_options={{'ca_certs':'{certificate}'}}"
    trusting = BridgeProcess(trusted, cluster.addresses, "--queue", f"{queue}=tasks.record")
    bridges.append(trusting)
    wait_until(lambda: ran_lines(ran, queue) == [f"{queue}-1"], lambda: f"the task runs:\n{trusting.log()}")
    assert str(certificate) not in trusting.log()


def test_a_wrong_port_is_one_line_that_says_what_to_look_at(
    broker: Broker, cluster: Cluster, bridges: list[BridgeProcess], tls_port: int
) -> None:
    plain_port = broker.url.rpartition(":")[2].partition("/")[0]
    node_port = cluster.addresses[0].rpartition(":")[2]  # which is no RabbitMQ at all
    for url, line in [
        (f"amqp://{HOST}:{free_ports(1)[0]}", "nothing listens there; is RabbitMQ running, and is this its port?"),
        (f"amqp://{HOST}:{tls_port}", "check the port, and write amqps:// if it is the one for TLS"),
        (f"amqp://{HOST}:{node_port}", "what listens there does not answer as RabbitMQ does"),
        (f"amqps://{HOST}:{plain_port}", "is this its port for TLS, usually 5671? Without TLS write amqp://"),
    ]:
        bridge = BridgeProcess(url, cluster.addresses, "--queue", "q")
        bridges.append(bridge)
        bridge.wait_for(f"can't connect to {url}: ")
        bridge.wait_for(line)
        assert "Error" not in bridge.log()
        bridge.kill()


def test_a_vhost_that_is_refused_is_named_with_what_rabbitmq_says(
    broker: Broker, cluster: Cluster, bridges: list[BridgeProcess]
) -> None:
    broker.server.control("add_vhost", "closed/to guest")
    server = broker.url.removesuffix("/%2F")
    for path, vhost, what in [
        ("nowhere", "nowhere", "vhost nowhere not found"),
        ("closed%2Fto%20guest", "closed/to guest", "access to vhost 'closed/to guest' refused for user 'guest'"),
    ]:
        bridge = BridgeProcess(f"{server}/{path}", cluster.addresses, "--queue", "q")
        bridges.append(bridge)
        bridge.wait_for(f"can't connect to {server.replace('guest:guest@', '')}/{path}: ")
        bridge.wait_for(f"{what} (530); the URL asks for the vhost '{vhost}': is there one, and may this user use it?")
        bridge.kill()


def test_the_url_of_celerys_own_pages_is_understood(
    broker: Broker, cluster: Cluster, bridges: list[BridgeProcess], ran: Path
) -> None:
    queue = broker.declare()
    broker.publish(queue, f"{queue}-1".encode())
    url = broker.url.removesuffix("/%2F").replace("guest:guest@", "guest@") + "//"
    bridge = BridgeProcess(url, cluster.addresses, "--queue", f"{queue}=tasks.record")
    bridges.append(bridge)
    wait_until(lambda: ran_lines(ran, queue) == [f"{queue}-1"], lambda: f"the task runs:\n{bridge.log()}")


def test_of_several_hosts_one_that_answers_is_enough(
    broker: Broker, cluster: Cluster, bridges: list[BridgeProcess], ran: Path
) -> None:
    queue = broker.declare()
    broker.publish(queue, f"{queue}-1".encode())
    nobody = [f"amqp://guest:guest@{HOST}:{port}/%2F" for port in free_ports(2)]
    bridge = BridgeProcess(" ".join([*nobody, broker.url]), cluster.addresses, "--queue", f"{queue}=tasks.record")
    bridges.append(bridge)
    wait_until(lambda: ran_lines(ran, queue) == [f"{queue}-1"], lambda: f"the task runs:\n{bridge.log()}")


def test_the_cluster_tells_how_its_bridges_are(broker: Broker, cluster: Cluster, bridges: list[BridgeProcess]) -> None:
    queue = broker.declare()
    nobody = f"amqp://guest:s3cret@{HOST}:{free_ports(1)[0]}/%2F"
    lost = BridgeProcess(nobody, cluster.addresses, "--queue", queue)
    working = BridgeProcess(broker.url, cluster.addresses, "--queue", queue)
    bridges += [lost, working]
    wait_until(lambda: status_of(cluster, working).get("state") == "running", working.log)
    wait_until(lambda: status_of(cluster, lost).get("state") == "reconnecting", lost.log)
    assert status_of(cluster, working)["queues"] == queue
    assert "s3cret" not in str(status_of(cluster, lost))
    assert working.terminate() == 0
    wait_until(lambda: not status_of(cluster, working), lambda: "it is forgotten")


def test_replies_wait_while_rabbitmq_takes_no_messages_and_nothing_is_lost(
    broker: Broker, cluster: Cluster, bridges: list[BridgeProcess], tmp_path: Path
) -> None:
    app = Celery("caller", broker=broker.url, backend="rpc://")
    queue = app.conf.task_default_queue = f"celery-{uuid.uuid4().hex[:8]}"
    with broker.channel() as channel:
        channel.queue_declare(queue, durable=True)
    bridge = BridgeProcess(broker.url, cluster.addresses, "--queue", queue)
    bridges.append(bridge)
    bridge.wait_for(f"consuming {queue}")
    try:
        go = tmp_path / "go"
        results = [app.send_task("tasks.wait_for", (str(go),)), app.send_task("tasks.add", (4, 4))]
        assert results[1].get(timeout=DEADLINE_S) == 8
        broker.server.control("set_vm_memory_high_watermark", "absolute", "1")
        try:
            go.touch()
            bridge.wait_for("RabbitMQ takes no messages")
            wait_until(lambda: status_of(cluster, bridge).get("state") == "blocked", bridge.log)
        finally:
            broker.server.control("set_vm_memory_high_watermark", "0.6")
        bridge.wait_for("RabbitMQ takes messages again")
        assert results[0].get(timeout=DEADLINE_S) == str(go)
    finally:
        if app.backend.result_consumer._connection is not None:
            app.backend.result_consumer.stop()
        app.close()
        pools.reset()
