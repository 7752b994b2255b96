"""Clients that nobody closes: at the exit of the interpreter, and when nobody has them any more."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from client.fake_node import DEADLINE_S, FakeNode, wait_until
from paceline.client import Client, closing
from paceline.errors import ClientClosed

SCRIPT = """
import sys
from paceline.client import Client, closing
closing.CLOSE_TIMEOUT_S = float(sys.argv[2])
kept = Client(sys.argv[1])
dropped = Client(sys.argv[1])
for number in range(300):
    kept.submit("echo", number)
    dropped.submit("echo", number)
del dropped
"""


def run_script(node: FakeNode, limit_s: float, script: str = SCRIPT) -> str:
    """What the script says on stderr as it exits, without having closed its clients."""
    ended = subprocess.run(
        [sys.executable, "-c", script, node.address, str(limit_s)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ended.stderr


def test_a_script_that_ends_without_close_loses_no_call(node: FakeNode) -> None:
    assert run_script(node, 30.0) == ""
    assert len(node.known) == 600


NO_MORE_THREADS = """
import threading
start = threading.Thread.start
def refuse(thread):
    if not threading.main_thread().is_alive():
        raise RuntimeError("can't create new thread at interpreter shutdown")
    start(thread)
threading.Thread.start = refuse
"""
"""As in Python 3.12.1, once the interpreter exits."""

LATE_SCRIPT = """
import atexit, sys

def submit():
    from paceline.client import Client
    late = Client(sys.argv[1])
    for number in range(10):
        late.submit("echo", number)

atexit.register(submit)  # before ours is, so that it runs after it
from paceline.client import Client
Client(sys.argv[1]).close()
"""


EARLY_SCRIPT = """
import atexit, sys
from paceline.client import Client, closing

def submit():
    early = Client(sys.argv[1])
    for number in range(10):
        early.submit("echo", number)
    print(early.submit("echo", "waited").result(10), file=sys.stderr)

closing.CLOSE_TIMEOUT_S = float(sys.argv[2])
atexit.register(submit)  # after ours is, so that it runs before it
"""


@pytest.mark.parametrize("threads", ["", NO_MORE_THREADS], ids=["with threads", "without"])
def test_a_call_of_an_exit_handler_that_runs_after_all_clients_were_closed_is_accepted(
    node: FakeNode, threads: str
) -> None:
    assert run_script(node, 30.0, threads + LATE_SCRIPT) == ""
    assert len(node.known) == 10


@pytest.mark.parametrize("threads", ["", NO_MORE_THREADS], ids=["with threads", "without"])
def test_a_client_that_an_exit_handler_makes_is_closed_with_the_others_and_loses_no_call(
    node: FakeNode, threads: str
) -> None:
    assert run_script(node, 30.0, threads + EARLY_SCRIPT) == "waited\n"
    assert len(node.known) == 11


UNREAD_SCRIPT = """
import asyncio, atexit, sys
from paceline.client import Client
from paceline.client.relay import Relay
from paceline.errors import OutOfResources

def use():
    client = Client(sys.argv[1])
    future = client.submit("echo", 1)
    async def wait():
        return await client.submit("echo", 2)
    for what in (
        lambda: future.add_done_callback(print),
        lambda: asyncio.run(wait()),
        lambda: Client().connect(),
        lambda: Relay(sys.argv[1], on_news=print).connect(),
    ):
        try:
            what()
        except OutOfResources as error:
            print(error, file=sys.stderr)
    future.result(10)
    future.add_done_callback(lambda _: print("called", file=sys.stderr))
    client.close()

atexit.register(use)
"""


def test_what_needs_the_thread_of_a_client_is_refused_by_name_where_the_exiting_interpreter_starts_none(
    node: FakeNode,
) -> None:
    *refused, called = run_script(node, 30.0, NO_MORE_THREADS + UNREAD_SCRIPT).splitlines()
    assert called == "called"
    assert len(refused) == 4
    for line, what in zip(refused, ["a callback", "a callback", "the discovery of nodes", "a relay"], strict=True):
        assert line.startswith(what)
        assert "Python starts no thread while it exits; " in line
        assert "ulimit" not in line


def test_a_script_whose_calls_nobody_accepts_ends_all_the_same_and_says_so_in_one_line(node: FakeNode) -> None:
    node.accepts = False
    [line] = run_script(node, 0.1).splitlines()
    assert "600 tasks were not accepted within 0.1 s and may be lost" in line


def test_close_says_what_was_not_accepted(node: FakeNode, caplog: pytest.LogCaptureFixture) -> None:
    with Client(node.address) as client:
        client.submit("add", 1).accepted(DEADLINE_S)
        assert caplog.text == ""
        node.accepts = False
        client.submit("add", 2)
        client.close(0.05)
    assert "1 task was not accepted within 0.05 s" in caplog.text


@contextmanager
def nothing_left() -> Iterator[None]:
    """Of descriptors, threads and open clients, once the background thread has had its turn."""
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    yield
    gc.collect()
    wait_until(lambda: not any(thread.name == "paceline-client" for thread in threading.enumerate()))
    wait_until(lambda: len(os.listdir("/proc/self/fd")) <= before)
    assert not closing._open


needs_proc = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts the descriptors of the process")


@needs_proc
def test_a_client_that_nobody_has_any_more_closes_itself_and_warns(node: FakeNode) -> None:
    with nothing_left():
        clients = [Client(node.address) for _ in range(3)]
        assert [client.submit("add", 1, 2).result(DEADLINE_S) for client in clients] == [3, 3, 3]
        with pytest.warns(ResourceWarning, match=f"client for {node.address} was not closed"):
            clients.clear()


@needs_proc
def test_a_client_that_was_never_used_closes_itself_too() -> None:
    with nothing_left(), pytest.warns(ResourceWarning, match="was not closed"):
        Client("127.0.0.1:7077")


@needs_proc
def test_a_future_outlives_the_name_of_its_client(node: FakeNode) -> None:
    node.hold = True
    with nothing_left():
        future = Client(node.address).submit("add", 1, 2)
        gc.collect()
        future.accepted(DEADLINE_S)
        node.release()
        assert future.result(DEADLINE_S) == 3
        with pytest.warns(ResourceWarning, match="was not closed"):
            del future


@needs_proc
def test_what_was_submitted_by_a_client_that_nobody_has_is_accepted_and_ends(node: FakeNode) -> None:
    node.hold = True
    called = threading.Event()
    with nothing_left(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        Client(node.address).submit("add", 1, 2).add_done_callback(lambda _: called.set())
        node.wait_for(lambda: node.known)
        node.release()
        assert called.wait(DEADLINE_S)


@needs_proc
def test_a_client_that_was_closed_leaves_nothing_and_does_not_warn(node: FakeNode) -> None:
    with nothing_left():
        with Client(node.address) as client:
            future = client.submit("add", 1, 2)
            future.result(DEADLINE_S)
        with pytest.raises(ClientClosed):
            client.submit("add", 1)
        del client, future
