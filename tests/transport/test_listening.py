"""A node to which strangers leave no more files: it does not spin, who is connected is served, and others are once
there is room."""

from __future__ import annotations

import errno
import os
import resource
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import pytest
import zmq

from paceline.runtime import limits
from paceline.runtime.transport import listening as listening_module
from paceline.runtime.transport.transport import Sent
from paceline.runtime.transport.zmq_transport import ZmqTransport
from paceline.security import generate_keys
from transport.worlds import ZmqEnd, ZmqWorld, hear, take, until

FILES = 40
"""That this process may open, beside those that it has."""
STRANGERS = """
import socket, sys
held = []
while True:
    held.append(socket.socket())
    held[-1].settimeout(0.2)
    try:
        held[-1].connect(("127.0.0.1", int(sys.argv[1])))
    except OSError:
        held.pop().close()
"""


@pytest.fixture
def world() -> Iterator[ZmqWorld]:
    world = ZmqWorld(generate_keys())
    yield world
    world.close()


@pytest.fixture
def few_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(limits, "_open_files", limits._OpenFiles())
    limits._open_files.reserve = limits._open_files.waiting = 8
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    fillers = [os.eventfd(0)]  # in the gaps below it
    while fillers[-1] < highest:
        fillers.append(os.eventfd(0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (fillers[-1] + FILES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)
    for filler in fillers:
        os.close(filler)


@pytest.fixture
def table(few_files: None) -> Iterator[TextIO]:
    """The kernel's sockets; open, as no more files may be opened later."""
    with Path("/proc/net/tcp").open() as file:
        yield file


@contextmanager
def strangers(port: int) -> Iterator[None]:
    """Connections that say nothing, as many as there may be."""
    with subprocess.Popen([sys.executable, "-c", STRANGERS, str(port)]) as process:
        many = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (many, many))
        try:
            yield
        finally:
            process.kill()


def waiting(table: TextIO, port: int) -> int:
    """The connections that are made and wait to be taken: the kernel has that as the unread bytes of a listener."""
    table.seek(0)
    for line in table.read().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{port:04X}") and fields[3] == "0A":
            return int(fields[4].partition(":")[2], 16)
    raise NobodyListens(port)


class NobodyListens(AssertionError):
    pass


def is_let_go_of(table: TextIO, port: int) -> bool:
    try:
        waiting(table, port)
    except NobodyListens:
        return True
    return False


def assert_answered(world: ZmqWorld, node: ZmqTransport, end: ZmqEnd) -> None:
    end.send(b"ask")
    ((_, sender, _),) = take(world, node, 1)
    assert isinstance(sender, bytes)
    assert node.send_client(sender, b"answer") is Sent.OK
    assert hear(world, end, 1) == [b"answer"]


@pytest.mark.parametrize("has_filter", [True, False])
def test_whoever_is_connected_is_served_while_strangers_hold_every_file_and_others_are_once_there_is_room(
    world: ZmqWorld,
    table: TextIO,
    has_filter: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if not has_filter:
        monkeypatch.setattr(listening_module, "_SO_ATTACH_FILTER", 0xFFFF)  # a kernel that knows none
    node = world.node()
    lasting = world.client(node)
    assert_answered(world, node, lasting)
    with strangers(node.port):
        until(world, lambda: node.poll(0.02) == [] and not node._listening.is_on, "it takes no more")
        until(world, lambda: node.poll(0.02) == [] and waiting(table, node.port) == 0, "nobody waits to be taken")
        assert_answered(world, node, lasting)
    until(world, lambda: node.poll(0.02) == [] and node._listening.is_on, "it takes connections again")
    assert_answered(world, node, world.client(node))
    assert_answered(world, node, lasting)
    (said,) = [message for message in caplog.messages if "can open no more files" in message]
    assert "ulimit -n" in said


def test_a_node_that_has_no_room_can_move_to_another_address(world: ZmqWorld, table: TextIO) -> None:
    node = world.node()
    with strangers(node.port):
        until(world, lambda: node.poll(0.02) == [] and not node._listening.is_on, "it takes no more")
        node.set_bind_host("127.0.0.2")
    until(world, lambda: node.poll(0.02) == [] and node._listening.is_on, "it listens there")
    assert node.local_address == f"127.0.0.2:{node.port}"
    until(world, lambda: waiting(table, node.port) == 0, "where it listened before is let go of")


@pytest.mark.parametrize("files", range(6))
def test_with_too_few_files_to_listen_it_is_tried_again(world: ZmqWorld, table: TextIO, files: int) -> None:
    node = world.node()
    node._listening.stop()
    node._listening._watch_no_more()  # as a node that is full
    until(world, lambda: is_let_go_of(table, node.port), "libzmq has closed what it listened on")
    limits._open_files.reserve = files
    with every_file():
        node._listening.start()
        assert node._listening.is_on == (files >= listening_module.FILES_TO_LISTEN)
    until(world, lambda: node.poll(0.02) == [] and node._listening.is_on, "it listens again")


def test_a_file_that_is_taken_in_the_moment_in_which_a_node_listens_again_is_tried_again(
    world: ZmqWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = world.node()
    node._listening.stop()
    with monkeypatch.context() as patch:
        patch.setattr(os, "dup", no_more_files)
        node._listening.start()
        assert not node._listening.is_on
    until(world, lambda: node.poll(0.02) == [] and node._listening.is_on, "it listens again")
    assert_answered(world, node, world.client(node))


def no_more_files(_: int) -> int:
    raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@contextmanager
def every_file() -> Iterator[None]:
    """This process can open no more."""
    opened = []
    try:
        with suppress(OSError):
            while True:
                opened.append(os.eventfd(0))
        yield
    finally:
        for each in opened:
            os.close(each)


class LateEvents:
    """What libzmq had said before the node moved: that it could not take a connection."""

    def __init__(self) -> None:
        self._events = [struct.pack("=HI", zmq.EVENT_ACCEPT_FAILED, errno.EMFILE)]

    def recv_multipart(self, flags: int) -> list[bytes]:
        if not self._events:
            raise zmq.Again
        return [self._events.pop()]


def test_what_comes_late_of_where_a_node_listened_does_not_keep_it_from_listening_again(
    world: ZmqWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = world.node()
    listening = node._listening
    listening.stop()
    with monkeypatch.context() as patch:
        patch.setattr(listening, "_events", LateEvents())
        listening.look()
    until(world, lambda: node.poll(0.02) == [] and listening.is_on, "it listens again")
    assert_answered(world, node, world.client(node))
