"""Tasks that are cancelled when the process is killed that has submitted them, with a real node."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import Queue

import pytest

from integration.conftest import DEADLINE_S, wait_until
from modes import source_only
from paceline import Client, NamedTask, TaskCancelled
from paceline.config import NodeConfig
from paceline.core.settings import Settings
from paceline.runtime import core_at_start
from paceline.runtime.server import Server

TASKS = Path(__file__).with_name("cancel_tasks.py")
GRACE_S = 3.0
SUBMITTER = """
import sys
from paceline import Client, NamedTask

address, begun, lost = sys.argv[1:]
with Client(address) as client:
    runs = client.submit(NamedTask("cancel_tasks.await_for_ever", on_client_lost=lost), begun)
    waits = client.submit(NamedTask("cancel_tasks.square", on_client_lost=lost, delay=600), 3)
    waits.accepted()
    print(runs.task_id.hex(), waits.task_id.hex(), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of a node with two workers, whose clients may be silent for GRACE_S."""
    settings_of = core_at_start.settings_of

    def impatient(config: NodeConfig) -> Settings:
        return replace(settings_of(config), session_timeout_s=GRACE_S)

    monkeypatch.setattr(core_at_start, "settings_of", impatient)
    config = NodeConfig(
        modules=(str(TASKS),), workers=3, journal="memory", port=0, discovery=False, metrics="off", expect=1
    )
    addresses: Queue[str] = Queue()
    ends = threading.Event()

    def serve() -> None:
        server = Server(config, None, start=1)
        try:
            addresses.put(server._transport.local_address)
            while not ends.is_set():
                server._reactor.turn()
        finally:
            server.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield addresses.get(timeout=DEADLINE_S)
    ends.set()
    thread.join(DEADLINE_S)


def submits(address: str, begun: Path, lost: str) -> tuple[subprocess.Popen[str], list[str]]:
    """A program that has a task which runs and another that is delayed, and their ids."""
    command = [sys.executable, "-c", SUBMITTER, address, str(begun), lost]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    ids = process.stdout.readline().split()
    wait_until(begun.exists, "it has begun")
    return process, ids


@source_only
def test_what_a_killed_process_has_submitted_is_cancelled_and_what_others_have_runs_on(
    address: str, tmp_path: Path
) -> None:
    lives, kept = submits(address, tmp_path / "lives", "cancel")
    killed, lost = submits(address, tmp_path / "killed", "cancel")
    careless, left = submits(address, tmp_path / "careless", "keep")
    try:
        for process in (killed, careless):
            process.kill()
            process.wait(DEADLINE_S)
        with Client(address) as client:
            for task_id in lost:
                with pytest.raises(TaskCancelled) as raised:
                    client.task(task_id).result(DEADLINE_S)
                assert raised.value.began == (task_id == lost[0])
            states = [client.where_is(task_id)["state"] for task_id in (*kept, *left)]
            assert states == ["dispatched", "delayed"] * 2
            client.cancel_tasks([kept[0], left[0]])
            assert client.submit(NamedTask("cancel_tasks.square", on_client_lost="cancel"), 7).result(DEADLINE_S) == 49
    finally:
        for process in (lives, killed, careless):
            process.kill()
            process.communicate(timeout=DEADLINE_S)
