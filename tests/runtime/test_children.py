"""The pool joined to the transport: real workers whose last words, links and ends come in the right order."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from paceline.runtime.children.causes import EXIT, KILLED
from paceline.runtime.children.children import WorkerChildren
from paceline.runtime.children.pool import UNLINKED, Child, ChildEnd
from paceline.runtime.children.worker_pool import WorkerPool
from paceline.runtime.transport.transport import Sent, Source
from paceline.runtime.transport.zmq_transport import ZmqTransport
from paceline_protocol.codec import MAX_FRAME_BYTES, decode, encode
from paceline_protocol.messages.children import Done, Run, WorkerFailed, WorkerReady
from paceline_protocol.payload import pack_args

DEADLINE_S = 20.0

TASKS = """
import os, signal, socket
from paceline.worker.registry import task

@task
def blob(size_bytes):
    return bytes(size_bytes)

@task
def crash(code):
    os._exit(code)

@task
def close_half_and_wait():
    for fd in range(3, 1024):
        try:
            with socket.socket(fileno=os.dup(fd)) as link:
                link.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # no socket
    signal.pause()

@task
def become_another_program():
    os.execv("/bin/sleep", ["sleep", "60"])

@task
def leave_a_fork_behind(written, awaited):
    if os.fork() == 0:
        os.setsid()  # out of reach of the node's signals
        with open(written, "w"):
            pass
        with open(awaited):
            os._exit(0)
    signal.pause()
"""


class Workers:
    """One worker of a pool, heard as a node hears it."""

    def __init__(self, module: Path) -> None:
        self.transport = ZmqTransport("127.0.0.1", 0, max_frame_bytes=MAX_FRAME_BYTES)
        self.pool = WorkerPool(size=1, modules=(str(module),), payload_limit_bytes=1 << 24)
        self.children = WorkerChildren(self.pool, self.transport)
        self.said: list[object] = []
        self.ends: list[ChildEnd] = []
        self.children.start()

    @property
    def child(self) -> Child:
        (child,) = self.pool.workers.values()
        return child

    def poll_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            left_s = deadline - time.monotonic()
            assert left_s > 0, (self.said, self.ends)
            for source, key, frames in self.transport.poll(left_s):
                if source is Source.WORKER:
                    self.said += map(decode, frames)
                elif source is Source.CHILD:
                    assert isinstance(key, int)
                    self.transport.unwatch(key)
                    ended = self.children.reap(key)
                    self.ends += [ended] if ended else []

    def ready(self) -> None:
        self.poll_until(lambda: bool(self.said))
        assert isinstance(self.said.pop(), WorkerReady)

    def run(self, *calls: tuple[str, tuple[object, ...]]) -> None:
        assignments = tuple(
            (number.to_bytes(16, "big"), 1, f"link_tasks.{name}", pack_args(args, {}), None)
            for number, (name, args) in enumerate(calls)
        )
        assert self.transport.send_child(self.child.id, encode(Run(assignments))) is Sent.OK

    def close(self) -> None:
        self.pool.stop(0)
        self.transport.close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Workers]]:
    started: list[Workers] = []

    def new(code: str) -> Workers:
        module = tmp_path / "link_tasks.py"
        module.write_text(code)
        started.append(Workers(module))
        return started[-1]

    yield new
    for workers in started:
        workers.close()


@pytest.fixture
def workers(start: Callable[[str], Workers]) -> Workers:
    made = start(TASKS)
    made.ready()
    return made


def test_outcomes_that_were_written_before_a_death_are_told_before_the_end(workers: Workers) -> None:
    worker_id = workers.child.id
    workers.run(("blob", (100,)), ("blob", (4_000_000,)), ("crash", (9,)))
    workers.poll_until(lambda: bool(workers.ends))
    outcomes = [outcome for done in workers.said if isinstance(done, Done) for outcome in done.outcomes]
    assert [len(outcome[3]) > 1_000_000 for outcome in outcomes] == [False, True]
    assert workers.ends == [ChildEnd(worker_id, "exit code 9", EXIT)]
    assert workers.transport.send_child(worker_id, b"frame") is Sent.GONE


def test_the_node_learns_how_many_tasks_a_worker_had_begun_when_it_died(workers: Workers) -> None:
    worker_id = workers.child.id
    workers.run(("blob", (100,)), ("crash", (9,)), ("blob", (100,)))
    workers.poll_until(lambda: bool(workers.ends))
    assert workers.children.begun(worker_id) == 2
    assert workers.children.begun(b"another") is None


def test_a_module_that_does_not_import_is_told_before_its_exit_code(start: Callable[[str], Workers]) -> None:
    workers = start("import no_such_module_anywhere\n")
    workers.poll_until(lambda: bool(workers.ends))
    assert [type(message) for message in workers.said] == [WorkerFailed]
    assert [end.how for end in workers.ends] == ["exit code 3"]


@pytest.mark.parametrize("task", ["close_half_and_wait", "become_another_program"])
def test_a_worker_that_ends_its_link_and_lives_on_is_killed_and_replaced_and_told_as_that(
    workers: Workers, task: str
) -> None:
    first = workers.child
    workers.run((task, ()))
    workers.poll_until(lambda: bool(workers.ends))
    assert workers.ends == [ChildEnd(first.id, f"killed by SIGKILL{UNLINKED}", KILLED)]
    assert workers.transport.send_child(first.id, b"frame") is Sent.GONE
    workers.children.respawn(workers.children.next_respawn(1e9))
    assert workers.child.id != first.id
    workers.ready()


def test_without_a_pidfd_too_a_worker_that_ends_its_link_is_killed(
    start: Callable[[str], Workers], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_pid: int) -> int:
        raise OSError("not in this sandbox")

    monkeypatch.setattr("os.pidfd_open", refuse, raising=False)
    workers = start(TASKS)
    workers.ready()
    workers.run(("close_half_and_wait", ()))
    workers.poll_until(lambda: bool(workers.ends))
    assert [end.how for end in workers.ends] == [f"killed by SIGKILL{UNLINKED}"]


def test_a_worker_whose_link_ends_as_somebody_kills_it_is_told_as_killed(workers: Workers) -> None:
    """The kernel closes the descriptors of a process that dies a moment before it tells that it has died."""
    os.kill(workers.child.pid, signal.SIGKILL)
    workers.poll_until(lambda: bool(workers.ends))
    assert [end.how for end in workers.ends] == ["killed by SIGKILL"]


def test_a_death_is_noticed_though_a_forked_process_holds_the_link_open(workers: Workers, tmp_path: Path) -> None:
    written, awaited = tmp_path / "written", tmp_path / "awaited"
    for fifo in (written, awaited):
        os.mkfifo(fifo)
    workers.run(("leave_a_fork_behind", (str(written), str(awaited))))
    written.read_bytes()  # blocks until the forked process opens it
    os.kill(workers.child.pid, signal.SIGKILL)
    workers.poll_until(lambda: bool(workers.ends))
    assert [end.how for end in workers.ends] == ["killed by SIGKILL"]
    awaited.write_bytes(b"")  # the forked process opens it: it has outlived the worker
