"""What the system does not let a node have is named, with what to do."""

from __future__ import annotations

import errno
import os
import re
import resource
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from paceline.config import NodeConfig
from paceline.core.raft.log import HardState
from paceline.descriptors import is_room_for
from paceline.errors import ConfigError
from paceline.runtime import limits
from paceline.runtime.children.children import WorkerChildren
from paceline.runtime.children.worker_pool import WorkerPool
from paceline.runtime.journal import files
from paceline.runtime.journal.files import RealFiles
from paceline.runtime.journal.journal import DiskJournal
from paceline.runtime.journal.recovery import Recovered
from paceline.runtime.run import run_node
from paceline.runtime.transport.zmq_transport import ZmqTransport
from paceline_protocol.codec import MAX_FRAME_BYTES


def allowed(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> list[tuple[int, int]]:
    """As many open files are, to a process that has just begun; what is asked for is returned, and not done."""
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(limits, "_open_files", limits._OpenFiles())
    monkeypatch.setattr(resource, "getrlimit", lambda which: asked[-1] if asked else (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda which, limits: asked.append(limits))
    return asked


def test_a_node_that_may_open_too_few_files_does_not_start_and_says_how_many_it_needs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = allowed(monkeypatch, 28, 28)
    (tmp_path / "tasks.py").touch()
    config = NodeConfig(modules=(str(tmp_path / "tasks.py"),), workers=4, data_dir=tmp_path / "data")
    with pytest.raises(ConfigError, match=r"may open 28 files, and needs 105 with 4 workers; .*`ulimit -n 105`"):
        run_node(config)
    assert not asked
    assert not (tmp_path / "data").exists()


INFINITY = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "expected"),
    [
        (28, 4096, [(4096 - 16 - 258, 4096)]),
        (28, INFINITY, [(65_536 - 16 - 1026, INFINITY)]),
        (96, 96, [(96 - 16 - 10, 96)]),
        (1024, 1024, [(1024 - 16 - 66, 1024)]),
        (1024, 1 << 20, [(65_536 - 16 - 1026, 1 << 20)]),
        (1 << 19, 1 << 20, [((1 << 19) - 16 - 1026, 1 << 20)]),
        (INFINITY, INFINITY, []),
    ],
)
def test_a_node_may_open_as_many_files_as_it_is_allowed_up_to_a_bound_and_but_for_a_reserve(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, expected: list[tuple[int, int]]
) -> None:
    asked = allowed(monkeypatch, soft, hard)
    limits.raise_open_files(1)
    assert asked == expected
    assert limits.files_of_children() == (soft if expected else None)
    limits.raise_open_files(1)
    assert asked == expected, "a second node in the process"


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """This process can open no more files, but for a reserve. The fixture is what it has opened."""
    monkeypatch.setattr(limits, "_open_files", limits._OpenFiles())
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened: list[int] = []
    limits._open_files.before, limits._open_files.reserve = before[0], 2
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, before[1]))
    try:
        while is_room_for(1):
            opened.append(os.eventfd(0))
        yield opened
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for descriptor in opened:
            os.close(descriptor)


def test_limits_that_were_lowered_meanwhile_are_kept_and_leave_less_to_lend(monkeypatch: pytest.MonkeyPatch) -> None:
    """As `prlimit --nofile=N --pid PID` does to a node that runs."""
    files = [100, 101]

    def setrlimit(_which: int, new: tuple[int, int]) -> None:
        assert new[0] <= new[1], "as the kernel does"
        files[:] = new

    monkeypatch.setattr(resource, "getrlimit", lambda which: tuple(files))
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    monkeypatch.setattr(limits, "_open_files", limits._OpenFiles())
    limits._open_files.reserve = 2
    with limits.reserved(), limits.reserved():
        assert files == [101, 101]
    assert files == [100, 101]
    for is_full in (True, True, False, False):
        limits.take_those_that_wait(is_full=is_full)
        assert files == [101 if is_full else 100, 101]


def test_the_files_of_the_node_itself_come_out_of_a_reserve_that_nobody_else_has(full: list[int]) -> None:
    kept = [limits.with_reserve(lambda: os.eventfd(0)) for _ in range(2)]
    try:
        with pytest.raises(OSError, match="Too many open files"):
            limits.with_reserve(lambda: os.eventfd(0))
        assert not is_room_for(1)
    finally:
        for descriptor in kept:
            os.close(descriptor)
    assert not is_room_for(1)
    os.close(full.pop())
    assert is_room_for(1)
    assert not is_room_for(2)


def test_a_journal_that_can_open_no_file_tries_again_and_says_so_once(
    full: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reserve = [limits.with_reserve(lambda: os.eventfd(0)) for _ in range(2)]
    waits: list[float] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 5:
            os.close(reserve.pop())

    monkeypatch.setattr(files.time, "sleep", wait)  # type: ignore[attr-defined]
    try:
        descriptor = RealFiles().create(tmp_path / "a")
        os.close(descriptor)
        assert len(waits) == 5
        (said,) = caplog.messages
        assert re.fullmatch(r"can't open .*/a: Too many open files; it is tried again. .*`ulimit -n \d+`.*", said)
        reserve.append(limits.with_reserve(lambda: os.eventfd(0)))
        with pytest.raises(OSError, match="Too many open files"):
            RealFiles(patience_s=0.0).create(tmp_path / "b")
    finally:
        for each in reserve:
            os.close(each)
    assert not (tmp_path / "b").exists()


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
