"""A node's end of a worker's socket pair, alone and in its transport: partial writes, order, bounds, and ends."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest

from modes import source_only
from paceline.runtime.transport import channel as channel_module
from paceline.runtime.transport import child_channels
from paceline.runtime.transport.channel import BURST_READS, READ_BYTES, Channel
from paceline.runtime.transport.child_channels import HALF_FRAME_S
from paceline.runtime.transport.transport import Received, Sent, Source
from paceline.runtime.transport.zmq_transport import ZmqTransport
from paceline_protocol.codec import MAX_FRAME_BYTES
from paceline_protocol.stream import FrameReader, pack_frame

DEADLINE_S = 20.0
LARGE = bytes(range(256)) * 4096  # 1 MiB, several times what a socket holds
WORKER = b"worker-1"

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    theirs.settimeout(DEADLINE_S)
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def transport() -> Iterator[ZmqTransport]:
    made = ZmqTransport("127.0.0.1", 0, max_frame_bytes=MAX_FRAME_BYTES)
    yield made
    made.close()


def poll_until(transport: ZmqTransport, enough: Callable[[list[Received]], bool]) -> list[Received]:
    received: list[Received] = []
    deadline = time.monotonic() + DEADLINE_S
    while not enough(received):
        left_s = deadline - time.monotonic()
        assert left_s > 0, received
        received += transport.poll(left_s)
    return received


def ended(received: list[Received]) -> bool:
    return any(source is Source.CHILD for source, _, _ in received)


# --- the channel ------------------------------------------------------------------------------------------------


def test_a_large_frame_to_a_slow_reader_arrives_whole_and_in_order(pair: Pair) -> None:
    channel, reader = Channel(WORKER, pair[0]), FrameReader()
    frames = [b"first", LARGE, b"", b"last"]
    assert all(channel.send(frame) for frame in frames)
    assert channel.wants_turn
    arrived: list[bytes] = []
    while len(arrived) < len(frames):
        arrived += reader.feed(pair[1].recv(10_000))
        channel.flush()
    assert arrived == frames
    assert not channel.wants_turn


def test_what_a_worker_does_not_read_is_kept_up_to_a_bound_and_then_the_channel_is_broken(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(channel_module, "UNSENT_LIMIT_BYTES", 3 * len(LARGE))
    channel = Channel(WORKER, pair[0])
    sent = 0
    while channel.send(LARGE):
        sent += 1
        assert sent < 10
    assert sent >= 3
    assert not channel.send(b"small")
    assert not channel.ended
    assert channel.receive() == []
    assert channel.ended


def test_a_worker_that_is_gone_is_still_heard_to_the_end(pair: Pair) -> None:
    channel = Channel(WORKER, pair[0])
    pair[1].sendall(pack_frame(b"last words") + pack_frame(b"of it"))
    pair[1].close()
    assert not channel.send(b"too late")
    assert not channel.ended
    assert channel.receive() == [b"last words", b"of it"]
    assert channel.ended


def test_unread_frames_of_the_node_do_not_cost_those_of_the_worker(pair: Pair) -> None:
    """A socket closed with something unread resets the connection; what it sent before is read first."""
    channel = Channel(WORKER, pair[0])
    assert channel.send(b"never read")
    pair[1].sendall(pack_frame(b"last words"))
    pair[1].close()
    frames = channel.receive()
    frames += channel.receive()
    assert frames == [b"last words"]
    assert channel.ended


@pytest.mark.parametrize("garbage", [b"\xff" * 64, (MAX_FRAME_BYTES + 1).to_bytes(4, "big")])
def test_a_length_past_the_limit_ends_the_channel(pair: Pair, garbage: bytes) -> None:
    channel = Channel(WORKER, pair[0])
    pair[1].sendall(garbage)
    assert channel.receive() == []
    assert channel.ended
    assert not channel.send(b"frame")


def test_a_channel_says_whether_a_frame_is_under_way_and_what_is_none(pair: Pair) -> None:
    channel = Channel(WORKER, pair[0])
    data = pack_frame(b"frame")
    for part, is_within in ((data, False), (data + data[:3], True), (data[3:-1], True), (data[-1:], False)):
        pair[1].sendall(part)
        channel.receive()
        assert channel.is_within_frame is is_within
    assert channel.fault == ""
    pair[1].sendall((MAX_FRAME_BYTES + 1).to_bytes(4, "big"))
    channel.receive()
    assert str(MAX_FRAME_BYTES + 1) in channel.fault


# --- in its transport -------------------------------------------------------------------------------------------


def test_the_transport_sends_what_was_kept_as_the_worker_reads_on(transport: ZmqTransport, pair: Pair) -> None:
    transport.add_child(WORKER, Source.WORKER, pair[0])
    reader = FrameReader()
    frames = [LARGE, b"", b"after it"]
    assert all(transport.send_child(WORKER, frame) is Sent.OK for frame in frames)
    arrived: list[bytes] = []
    while len(arrived) < len(frames):
        arrived += reader.feed(pair[1].recv(READ_BYTES))
        assert transport.poll(0) == []
    assert arrived == frames


def test_a_poll_sleeps_when_a_worker_does_not_read_and_after_it_has_read(transport: ZmqTransport, pair: Pair) -> None:
    """Else the loop would turn for nothing: the kernel is asked for room only while something is kept."""
    transport.add_child(WORKER, Source.WORKER, pair[0])
    transport.poll(0)  # takes what the making of the ROUTER left behind
    assert transport.send_child(WORKER, LARGE) is Sent.OK
    assert transport._epoll.poll(0) == []
    reader = FrameReader()
    while not reader.feed(pair[1].recv(READ_BYTES)):
        transport.poll(0)
    transport.poll(0)  # there is room now: the first to see it stops asking
    assert transport._epoll.poll(0) == []


def test_a_worker_that_is_gone_is_told_once_after_its_last_words(transport: ZmqTransport, pair: Pair) -> None:
    transport.add_child(WORKER, Source.WORKER, pair[0])
    pair[1].sendall(pack_frame(b"last words"))
    pair[1].close()
    assert transport.send_child(WORKER, b"run") is Sent.GONE
    received = poll_until(transport, ended)
    assert received == [(Source.WORKER, WORKER, [b"last words"]), (Source.CHILD, pair[0].fileno(), [])]
    assert transport.send_child(WORKER, b"run") is Sent.GONE
    assert transport.poll(0) == []


def test_a_worker_that_reads_no_more_but_holds_its_end_is_told(transport: ZmqTransport, pair: Pair) -> None:
    transport.add_child(WORKER, Source.WORKER, pair[0])
    pair[1].shutdown(socket.SHUT_RD)
    assert transport.send_child(WORKER, b"run") is Sent.GONE
    assert poll_until(transport, ended) == [(Source.CHILD, pair[0].fileno(), [])]


def test_garbage_from_a_worker_is_told_as_its_end(transport: ZmqTransport, pair: Pair) -> None:
    transport.add_child(WORKER, Source.WORKER, pair[0])
    pair[1].sendall(b"\xff" * 16)
    assert poll_until(transport, ended) == [(Source.CHILD, pair[0].fileno(), [])]
    assert transport.send_child(WORKER, b"run") is Sent.GONE


def test_the_end_of_a_child_is_told_after_all_that_it_wrote(
    transport: ZmqTransport, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last frames may be more than one poll takes: the poll that leaves some behind tells of no end."""
    monkeypatch.setattr(channel_module, "READ_BYTES", 64)
    count = 3 * BURST_READS
    child_end = os.eventfd(1)
    try:
        transport.watch(child_end)  # readable from the start, as a pidfd is when the worker ended before the poll
        transport.add_child(WORKER, Source.WORKER, pair[0])
        pair[1].sendall(b"".join(pack_frame(bytes(60)) for _ in range(count)))
        received = poll_until(transport, ended)
        assert [source for source, _, _ in received] == [Source.WORKER] * count + [Source.CHILD]
        transport.unwatch(child_end)
    finally:
        os.close(child_end)


def test_a_descriptor_that_is_used_again_belongs_to_the_new_worker(transport: ZmqTransport) -> None:
    number = -1
    for turn in range(3):
        first, theirs = socket.socketpair()
        # So high that nothing else of this process, as what earlier tests have left, takes it or gives it back.
        with first, theirs, socket.socket(fileno=fcntl.fcntl(first, fcntl.F_DUPFD_CLOEXEC, 600)) as ours:
            assert turn == 0 or ours.fileno() == number
            number = ours.fileno()
            worker = b"worker-%d" % turn
            transport.add_child(worker, Source.WORKER, ours)
            theirs.sendall(pack_frame(b"ready"))
            assert poll_until(transport, bool) == [(Source.WORKER, worker, [b"ready"])]
            transport.remove_child(worker)
            transport.remove_child(worker)
            assert transport.send_child(worker, b"run") is Sent.GONE


@source_only
def test_a_worker_that_is_silent_within_a_frame_is_named_and_one_that_goes_on_is_not(
    transport: ZmqTransport, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(child_channels, "time", SimpleNamespace(monotonic=lambda: now))
    transport.add_child(WORKER, Source.WORKER, pair[0])
    data = pack_frame(b"a frame")
    for start in range(8):  # longer in all than a worker may be silent
        now += HALF_FRAME_S - 0.1
        pair[1].sendall(data[start : start + 1])
        assert transport.poll(DEADLINE_S) == []
        assert transport.faults == {}
    now += HALF_FRAME_S
    transport.poll(0)
    assert "half a frame" in transport.faults.pop(WORKER)
    pair[1].sendall(data[8:])
    assert transport.poll(DEADLINE_S) == [(Source.WORKER, WORKER, [b"a frame"])]
    now += HALF_FRAME_S
    transport.poll(0)
    assert transport.faults == {}


def test_a_worker_whose_frame_is_past_the_limit_is_named_when_its_channel_ends(
    transport: ZmqTransport, pair: Pair
) -> None:
    transport.add_child(WORKER, Source.WORKER, pair[0])
    pair[1].sendall(b"\xff" * 64)
    poll_until(transport, ended)
    assert "no frame" in transport.faults[WORKER]
