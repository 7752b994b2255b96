"""How the web process asks its node, which may be slow or stand still. The node is played."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from paceline.web.link import NodeLink, NodeSilent
from paceline_protocol.codec import decode, encode
from paceline_protocol.messages.children import MetricsReply, MetricsRequest
from paceline_protocol.payload import pack_value
from paceline_protocol.stream import FrameReader, pack_frame

SHORT_S = 0.05


class PlayedNode:
    """The node's end of the pair."""

    def __init__(self) -> None:
        ours, self.theirs = socket.socketpair()
        ours.settimeout(10)
        self.socket = ours
        self._reader = FrameReader()

    def await_request(self) -> int:
        """How many requests the next read holds."""
        frames = self._reader.feed(self.socket.recv(65_536))
        assert all(isinstance(decode(frame), MetricsRequest) for frame in frames)
        return len(frames)

    def answer(self, value: int) -> None:
        self.socket.sendall(pack_frame(encode(MetricsReply(pack_value({"value": value})))))

    def has_unread_requests(self) -> bool:
        self.socket.setblocking(False)
        try:
            return bool(self.socket.recv(65_536))
        except BlockingIOError:
            return False
        finally:
            self.socket.settimeout(10)


class WatchedLink(NodeLink):
    """Tells when somebody has thrown away what came too late, and waits."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(connected)
        self.waits = threading.Event()

    def _read(self, wait_s: float) -> bytes | None:
        if wait_s:
            self.waits.set()
        return super()._read(wait_s)


@pytest.fixture
def node() -> Iterator[PlayedNode]:
    played = PlayedNode()
    yield played
    played.socket.close()
    played.theirs.close()


def answer_once(node: PlayedNode, value: int) -> threading.Thread:
    def serve() -> None:
        node.await_request()
        node.answer(value)

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_the_answer_of_the_node_is_returned(node: PlayedNode) -> None:
    link = NodeLink(node.theirs)
    for value in (1, 2):
        thread = answer_once(node, value)
        assert link.ask(10) == {"value": value}
        thread.join()


def test_a_node_that_does_not_answer_in_time_is_silent(node: PlayedNode) -> None:
    with pytest.raises(NodeSilent, match=r"did not turn within 0\.05 s.*restart it"):
        NodeLink(node.theirs).ask(SHORT_S)


def test_a_silent_node_is_asked_once_however_many_want_to_know(node: PlayedNode) -> None:
    link = NodeLink(node.theirs)
    for _ in range(3):
        with pytest.raises(NodeSilent):
            link.ask(SHORT_S)
    assert node.await_request() == 1
    assert not node.has_unread_requests()


def test_an_answer_that_came_too_late_is_thrown_away(node: PlayedNode) -> None:
    link = NodeLink(node.theirs)
    with pytest.raises(NodeSilent):
        link.ask(SHORT_S)
    node.await_request()
    node.answer(1)
    thread = answer_once(node, 2)
    assert link.ask(10) == {"value": 2}
    thread.join()


def test_an_answer_to_an_earlier_question_counts_if_it_comes_while_somebody_waits(node: PlayedNode) -> None:
    link = WatchedLink(node.theirs)
    with pytest.raises(NodeSilent):
        link.ask(SHORT_S)
    link.waits.clear()
    answers: list[object] = []
    waiting = threading.Thread(target=lambda: answers.append(link.ask(10)))
    waiting.start()
    assert link.waits.wait(10)
    thread = answer_once(node, 3)
    waiting.join()
    thread.join()
    assert answers == [{"value": 3}]


class WatchedLock:
    """Tells when somebody who has to wait for it comes."""

    def __init__(self) -> None:
        self.wanted = threading.Event()
        self._lock = threading.Lock()

    def acquire(self, timeout: float = -1) -> bool:
        if self._lock.locked():
            self.wanted.set()
        return self._lock.acquire(timeout=timeout)

    def release(self) -> None:
        self._lock.release()


def test_who_waits_while_an_answer_comes_gets_it_too_and_who_comes_later_does_not(node: PlayedNode) -> None:
    link = WatchedLink(node.theirs)
    lock = link._lock = WatchedLock()  # type: ignore[assignment]
    answers: list[object] = []
    first, second = (threading.Thread(target=lambda: answers.append(link.ask(10))) for _ in range(2))
    first.start()
    assert link.waits.wait(10)
    second.start()
    assert lock.wanted.wait(10)
    assert node.await_request() == 1
    node.answer(5)
    first.join()
    second.join()
    assert answers == [{"value": 5}] * 2
    assert not node.has_unread_requests()
    thread = answer_once(node, 6)
    assert link.ask(10) == {"value": 6}
    thread.join()
