"""Two bridges that were given the same message."""

from __future__ import annotations

import threading
import time
import uuid
from pathlib import Path

from bridge.processes import DEADLINE_S
from paceline import Cluster
from paceline.client.relay import ACCEPTED, Relay
from paceline_protocol.messages.records import TaskEnd


def wait_for(relay: Relay, came: threading.Event, state: int) -> None:
    end = time.monotonic() + DEADLINE_S
    while state not in [found for _, found, _ in relay.take()]:
        assert came.wait(max(0.0, end - time.monotonic())), "no news"
        came.clear()


def test_a_task_that_two_relays_submit_runs_once_and_ends_for_both(cluster: Cluster, ran: Path, tmp_path: Path) -> None:
    go, task_id = tmp_path / "go", uuid.uuid4().bytes
    came = [threading.Event(), threading.Event()]
    first, second = (Relay(*cluster.addresses, on_news=event.set) for event in came)
    try:
        for relay, event in zip((first, second), came, strict=True):
            relay.connect()
            relay.submit(task_id, "tasks.wait_for", 4, [str(go)], {})
            wait_for(relay, event, ACCEPTED)
        first.ask_again([task_id])
        first.status(DEADLINE_S, {})  # answered after what was asked before
        go.touch()
        wait_for(first, came[0], TaskEnd.SUCCEEDED)
        second.ask_again([task_id])
        wait_for(second, came[1], TaskEnd.SUCCEEDED)
        assert ran.read_text().splitlines().count(str(go)) == 1
    finally:
        first.close()
        second.close()
