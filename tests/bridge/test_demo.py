"""`paceline demo --amqp`: the whole demonstration, with a real RabbitMQ."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from bridge.processes import Broker
from paceline_bench.harness.server_process import HOST, free_ports

DEADLINE_S = 120.0


def demo(*options: str) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as directory:  # not tmp_path, which is too long for the path of a socket
        return subprocess.run(
            [sys.executable, "-m", "paceline", "demo", *options],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            env=os.environ | {"TMPDIR": directory},
            check=False,
        )


def test_the_demo_shows_what_came_of_messages_of_pika_and_of_celery(broker: Broker) -> None:
    done = demo("--json", "--amqp", broker.url)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"]
    assert report["messages"]["celery"] == 8
    assert report["messages"]["plain"].startswith("hello from pika")


def test_a_rabbitmq_that_is_not_there_is_said_before_anything_is_started() -> None:
    done = demo("--amqp", f"amqp://guest:s3cret@{HOST}:{free_ports(1)[0]}/%2F")
    assert done.returncode == 1
    assert "RabbitMQ at amqp://127.0.0.1" in done.stderr
    assert "s3cret" not in done.stderr
    assert "starting" not in done.stderr
    assert demo("--amqp", "http://somewhere").returncode == 40
