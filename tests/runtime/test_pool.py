"""Starting, noticing the end of, replacing and ending worker processes."""

from __future__ import annotations

import logging
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline.runtime.children import causes
from paceline.runtime.children import pool as pool_module
from paceline.runtime.children.pool import BACKOFF_MAX_S, BACKOFF_MIN_S, Child
from paceline.runtime.children.worker_pool import WorkerPool
from paceline_protocol.messages.children import Run
from worker.played_node import SAMPLE_TASKS, Nodes, readable

Start = Callable[..., WorkerPool]


@pytest.fixture
def new_pool() -> Iterator[Start]:
    """A pool whose workers nobody listens to, which is none of the pool's business."""
    pools: list[WorkerPool] = []

    def new(size: int = 1, modules: tuple[str, ...] = (str(SAMPLE_TASKS),)) -> WorkerPool:
        pools.append(WorkerPool(size=size, modules=modules, payload_limit_bytes=1000))
        return pools[-1]

    yield new
    for pool in pools:
        pool.stop(0)


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    started = Nodes()
    yield started
    started.close()


def only_child(pool: WorkerPool) -> Child:
    (child,) = pool.workers.values()
    return child


def reap(pool: WorkerPool, child: Child) -> str:
    assert readable(child.fd), "the child did not end"
    reaped = pool.reap(child.fd)
    assert reaped is not None
    assert reaped[0] == child.id
    return reaped.how


def test_start_starts_every_child_under_a_fresh_id(new_pool: Start) -> None:
    pool = new_pool(size=3)
    pool.start()
    assert len(pool.workers) == 3
    assert {child.fd for child in pool.workers.values()} == set(pool.fds)
    assert all(worker_id == child.id and len(worker_id) == 8 for worker_id, child in pool.workers.items())


def test_a_living_child_is_not_reaped(new_pool: Start) -> None:
    pool = new_pool()
    pool.start()
    child = only_child(pool)
    assert pool.reap(child.fd) is None
    assert pool.workers == {child.id: child}
    assert pool.reap(10_000) is None
    assert pool.next_respawn(5.0) is None
    assert pool.respawn(5.0) == []


def test_kill_ends_a_child_with_a_signal_that_is_named(new_pool: Start) -> None:
    pool = new_pool()
    pool.start()
    child = only_child(pool)
    pool.kill(child.id)
    assert reap(pool, child) == "killed by SIGKILL"
    assert pool.workers == {}
    assert pool.fds == ()
    pool.kill(child.id)  # unknown by now


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has the kernel count that it has killed so many processes as memory ran out."""

    def counts(kills: int) -> None:
        (tmp_path / "proc").mkdir(exist_ok=True)
        (tmp_path / "proc" / "vmstat").write_text(f"oom_kill {kills}\n")

    counts(5)
    monkeypatch.setattr(pool_module, "OomKills", lambda: causes.OomKills(tmp_path))
    return counts


def test_children_that_are_killed_as_the_kernel_counts_that_were_killed_for_memory(
    new_pool: Start, kernel: Callable[[int], None]
) -> None:
    pool = new_pool(size=3)
    pool.start()
    children = list(pool.workers.values())
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
    kernel(7)
    told = [reap(pool, child) for child in children]
    assert [
        each.startswith("killed by SIGKILL as memory ran out: the kernel has counted an OOM kill") for each in told
    ] == [
        True,
        True,
        False,
    ]
    assert told[2] == "killed by SIGKILL"


def test_what_the_kernel_counted_of_others_is_the_cause_of_no_end(
    new_pool: Start, kernel: Callable[[int], None]
) -> None:
    pool = new_pool(size=3)
    pool.start()
    by_node, crashed, killed = pool.workers.values()
    kernel(6)
    pool.kill(by_node.id)
    assert reap(pool, by_node) == "killed by SIGKILL"
    kernel(7)
    os.kill(crashed.pid, signal.SIGSEGV)
    assert reap(pool, crashed) == "killed by SIGSEGV"
    os.kill(killed.pid, signal.SIGKILL)
    assert reap(pool, killed) == "killed by SIGKILL"


def test_one_that_is_killed_for_memory_is_told_with_what_it_had() -> None:
    assert causes.by_the_kernel(1_300_000_000).endswith(", and it had up to 1.2 GiB")
    assert causes.by_the_kernel(0).endswith("the kernel has counted an OOM kill")


def test_the_most_that_a_child_had_is_known_if_it_is_more_than_its_parent_has(nodes: Nodes) -> None:
    own_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # with all tests before this one
    takes_bytes = max(own_bytes, 300 << 20) + (100 << 20)
    node, _ready = nodes.start_ready(str(SAMPLE_TASKS))
    node.send(Run((node.assignment("sample_tasks.take_memory_and_die", takes_bytes),)))
    assert readable(node.child.fd), "the worker did not end"
    code, peak_bytes = node.pool._collect(node.child)
    assert code == -signal.SIGKILL
    assert takes_bytes < peak_bytes < takes_bytes + (200 << 20)


def test_a_child_that_lived_is_replaced_at_once(new_pool: Start) -> None:
    pool = new_pool()
    pool.start(now=10.0)
    first = only_child(pool)
    pool.ready(first.id, ())
    pool.kill(first.id)
    reap(pool, first)
    assert pool.next_respawn(11.0) == 11.0
    (second,) = pool.respawn(11.0)
    assert second.id != first.id
    assert second.started_at == 11.0
    assert pool.next_respawn(11.0) is None


def test_children_that_die_quickly_are_replaced_after_growing_pauses(new_pool: Start) -> None:
    pool = new_pool()
    now = 10.0
    pool.start(now)
    for expected in (BACKOFF_MIN_S, 2 * BACKOFF_MIN_S, 4 * BACKOFF_MIN_S):
        child = only_child(pool)
        pool.kill(child.id)
        reap(pool, child)
        due = pool.next_respawn(now)
        assert due is not None
        assert due == pytest.approx(now + expected)
        assert pool.respawn(now + expected / 2) == []
        now = due
        assert len(pool.respawn(now)) == 1

    child = only_child(pool)
    pool.ready(child.id, ())
    pool.kill(child.id)
    reap(pool, child)
    now += 1.0  # it lived long enough: the row of quick deaths ends
    assert pool.next_respawn(now) == now


def test_pauses_have_an_upper_bound() -> None:
    assert pool_module._pause_s(0) == 0.0
    assert pool_module._pause_s(10_000) == BACKOFF_MAX_S


def test_a_worker_whose_module_does_not_import_could_not_live_however_long_it_took(nodes: Nodes) -> None:
    node = nodes.start("no_such_module_anywhere")
    assert node.wait_end() == "exit code 3"
    assert node.pool.next_respawn(100.0) == 100.0 + BACKOFF_MIN_S


def test_a_failed_start_is_tried_again_later(
    new_pool: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pool = new_pool()
    pool.start(now=0.0)
    child = only_child(pool)
    pool.ready(child.id, ())
    pool.kill(child.id)
    reap(pool, child)

    def no_memory(*_args: Any, **_options: Any) -> Any:
        raise BlockingIOError("no process left")

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", no_memory)
        with caplog.at_level(logging.ERROR, "paceline.pool"):
            assert pool.respawn(50.0) == []
        assert "no process left" in caplog.text
    assert pool.next_respawn(50.0) == 50.0 + BACKOFF_MIN_S
    assert len(pool.respawn(51.0)) == 1


def test_a_start_that_fails_leaves_no_child(new_pool: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = new_pool(size=2)
    popen = subprocess.Popen
    started: list[subprocess.Popen[bytes]] = []

    def only_one(*args: Any, **options: Any) -> Any:
        if started:
            raise BlockingIOError("no process left")
        started.append(popen(*args, **options))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", only_one)
    with pytest.raises(BlockingIOError):
        pool.start()
    assert pool.workers == {}
    assert started[0].returncode is not None


def test_stop_ends_every_child_and_may_be_called_again(new_pool: Start) -> None:
    pool = new_pool(size=2)
    pool.start()
    children = list(pool.workers.values())
    assert pool.stop(20.0) is True
    assert pool.workers == {}
    assert pool.fds == ()
    for child in children:
        assert child.process.returncode == -signal.SIGTERM
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(child.fd)
    assert pool.stop(20.0) is True
    assert pool.respawn(1e9) == []
    assert pool.next_respawn(1e9) is None


def test_stop_kills_what_does_not_end_in_time(nodes: Nodes, tmp_path: Path) -> None:
    module = tmp_path / "stubborn.py"
    module.write_text("import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n")
    node, _ready = nodes.start_ready(str(module))
    assert node.pool.stop(0) is False
    assert node.child.process.returncode == -signal.SIGKILL


def test_an_interrupt_from_the_terminal_reaches_the_node_alone(new_pool: Start) -> None:
    pool = new_pool()
    pool.start()
    assert os.getpgid(only_child(pool).pid) != os.getpgid(0)
    assert os.getsid(only_child(pool).pid) != os.getsid(0)


def test_what_a_task_started_ends_with_its_worker(nodes: Nodes, tmp_path: Path) -> None:
    node, _ready = nodes.start_ready(str(SAMPLE_TASKS))
    fifo = tmp_path / "held"
    os.mkfifo(fifo)
    node.send(Run((node.assignment("sample_tasks.start_sleeper", str(fifo)),)))
    with open(fifo, "rb", buffering=0) as held:
        assert held.readline() == b"started\n"
        os.kill(node.child.pid, signal.SIGKILL)  # the worker alone
        assert node.wait_end() == "killed by SIGKILL"
        assert readable(held.fileno())  # its end: the last process that had it open is gone
        assert held.read() == b""


@pytest.fixture
def without_pidfd(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pid: int) -> int:
        raise OSError("not in this sandbox")

    monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)


@pytest.mark.usefixtures("without_pidfd")
@pytest.mark.parametrize(("name", "argument", "how"), [("crash", 9, "exit code 9"), ("die", 11, "killed by SIGSEGV")])
def test_without_pidfd_an_end_is_noticed_by_the_link(nodes: Nodes, name: str, argument: int, how: str) -> None:
    node, _ready = nodes.start_ready(str(SAMPLE_TASKS))
    node.send(Run((node.assignment(f"sample_tasks.{name}", argument),)))
    assert node.wait_end() == how


@pytest.mark.usefixtures("without_pidfd")
def test_without_pidfd_a_worker_still_ends_with_its_node_and_with_stop(nodes: Nodes) -> None:
    node, _ready = nodes.start_ready(str(SAMPLE_TASKS))
    assert node.pool.stop(20.0) is True
    assert node.pool.fds == ()


def test_ends_are_told_in_words() -> None:
    assert causes.of_code(0) == ("exit code 0", causes.EXIT)
    assert causes.of_code(-signal.SIGKILL) == ("killed by SIGKILL", causes.KILLED)
    assert causes.of_code(-signal.SIGSEGV) == ("killed by SIGSEGV", causes.CRASH)
    assert causes.of_code(-40) == ("killed by signal 40", causes.KILLED)
