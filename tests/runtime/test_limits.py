"""What the system does not let a node have is named, with what to do."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import threading
from pathlib import Path

import pytest

from paceline.config import NodeConfig
from paceline.core.raft.log import HardState
from paceline.errors import ConfigError
from paceline.runtime import limits
from paceline.runtime.children.children import WorkerChildren
from paceline.runtime.children.worker_pool import WorkerPool
from paceline.runtime.journal.files import RealFiles
from paceline.runtime.journal.journal import DiskJournal
from paceline.runtime.journal.recovery import Recovered
from paceline.runtime.run import run_node
from paceline.runtime.transport.zmq_transport import ZmqTransport
from paceline_protocol.codec import MAX_FRAME_BYTES


def allowed(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> list[tuple[int, int]]:
    """As many open files are; what is asked for is returned, and not done."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda which: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: asked.append(limits))
    return asked


def test_a_node_that_may_open_too_few_files_does_not_start_and_says_how_many_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = allowed(monkeypatch, 28, 28)
    (tmp_path / "tasks.py").touch()
    config = NodeConfig(modules=(str(tmp_path / "tasks.py"),), workers=4, data_dir=tmp_path / "data")
    with pytest.raises(ConfigError, match=r"may open 28 files, and needs 79 with 4 workers; .*`ulimit -n 79`"):
        run_node(config)
    assert not asked
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [
        (28, 4096, [(70, 4096)]),
        (28, resource.RLIM_INFINITY, [(70, resource.RLIM_INFINITY)]),
        (70, 70, []),
        (1024, 1024, []),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, []),
    ],
)
def test_what_may_be_raised_is_raised_as_far_as_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, expected: list[tuple[int, int]]
) -> None:
    asked = allowed(monkeypatch, soft, hard)
    limits.check_open_files(1)
    assert asked == expected


@pytest.mark.parametrize(
    ("number", "advice"), [(errno.EMFILE, "ulimit -n"), (errno.EAGAIN, "pids.max"), (errno.ENOMEM, "fewer --workers")]
)
def test_a_process_that_can_not_be_started_is_named(monkeypatch: pytest.MonkeyPatch, number: int, advice: str) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(subprocess, "Popen", refuse)
    transport = ZmqTransport("127.0.0.1", 0, max_frame_bytes=MAX_FRAME_BYTES)
    pool = WorkerPool(size=1, modules=("tasks",), payload_limit_bytes=1 << 20)
    try:
        with pytest.raises(ConfigError, match=f"can't start paceline.worker: {os.strerror(number)}; .*{advice}"):
            WorkerChildren(pool, transport).start()
    finally:
        transport.close()


def test_a_thread_that_can_not_be_started_is_named_and_leaves_nothing_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ConfigError, match=r"can't start new thread; let it have more: `ulimit -u`"):
        DiskJournal(tmp_path, Recovered(HardState()), mode="fsync", wake=lambda: None, files=RealFiles())
    assert len(os.listdir("/proc/self/fd")) <= before
