"""What every Transport does. Each test runs over ZeroMQ, over ZeroMQ with CURVE, and over the twin in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from paceline.runtime.transport.transport import BURST_MESSAGES, Sent, Source
from paceline.security import generate_keys
from transport.worlds import DEADLINE_S, MemoryWorld, World, ZmqWorld, connect_peer, hear, take, until


@pytest.fixture(params=["memory", "zmq", "curve"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made: World
    if request.param == "memory":
        made = MemoryWorld()
    else:
        made = ZmqWorld(generate_keys() if request.param == "curve" else None)
    yield made
    made.close()


def test_a_client_is_answered_by_its_session(world: World) -> None:
    node = world.node()
    client = world.client(node)
    client.send(b"question")
    [(source, session, frames)] = take(world, node, 1)
    assert (source, frames) == (Source.CLIENT, [b"question"])
    assert isinstance(session, bytes)
    assert node.send_client(session, b"answer") is Sent.OK
    assert hear(world, client, 1) == [b"answer"]


def test_a_worker_is_known_by_its_id(world: World) -> None:
    node = world.node()
    worker = world.worker(node, b"worker-1")
    worker.send(b"ready")
    assert take(world, node, 1) == [(Source.WORKER, b"worker-1", [b"ready"])]
    assert node.send_child(b"worker-1", b"run") is Sent.OK
    assert hear(world, worker, 1) == [b"run"]


def test_a_child_is_what_its_owner_says_it_is(world: World) -> None:
    node = world.node()
    web = world.web(node, b"web")
    web.send(b"question")
    assert take(world, node, 1) == [(Source.WEB, b"web", [b"question"])]
    assert node.send_child(b"web", b"answer") is Sent.OK
    assert hear(world, web, 1) == [b"answer"]


def test_a_batch_between_peers_arrives_whole(world: World) -> None:
    one, two = world.node(), world.node()
    connect_peer(world, one, two)
    assert one.send_peer(two.address, [b"envelope", b"first", b"", b"third"]) is Sent.OK
    [(source, _, frames)] = take(world, two, 1)
    assert (source, frames) == (Source.PEER, [b"envelope", b"first", b"", b"third"])


def test_a_quick_batch_arrives_whole_from_the_first_on(world: World) -> None:
    one, two = world.node(), world.node()
    connect_peer(world, one, two)
    for number in range(20):  # before the connection of its own stands, and afterwards
        assert one.send_peer(two.address, [b"envelope", b"%d" % number], is_quick=True) is Sent.OK
        [(source, _, frames)] = take(world, two, 1)
        assert (source, frames) == (Source.PEER, [b"envelope", b"%d" % number])


def test_one_frame_is_a_clients_and_two_are_a_peers(world: World) -> None:
    one, two = world.node(), world.node()
    connect_peer(world, one, two)
    client = world.client(two)
    client.send(b"alone")
    one.send_peer(two.address, [b"envelope", b"message"])
    kinds = {source: frames for source, _, frames in take(world, two, 2)}
    assert kinds == {Source.CLIENT: [b"alone"], Source.PEER: [b"envelope", b"message"]}


def test_each_sender_keeps_its_order(world: World) -> None:
    one, two = world.node(), world.node()
    connect_peer(world, one, two)
    client = world.client(two)
    for number in range(100):
        client.send(b"%d" % number)
        assert one.send_peer(two.address, [b"envelope", b"%d" % number]) is Sent.OK
    received = take(world, two, 200)
    expected = [b"%d" % number for number in range(100)]
    assert [frames[0] for source, _, frames in received if source is Source.CLIENT] == expected
    assert [frames[1] for source, _, frames in received if source is Source.PEER] == expected


def test_replies_to_a_client_keep_their_order(world: World) -> None:
    node = world.node()
    client = world.client(node)
    client.send(b"hello")
    [(_, session, _)] = take(world, node, 1)
    assert isinstance(session, bytes)
    expected = [b"%d" % number for number in range(200)]
    assert all(node.send_client(session, frame) is Sent.OK for frame in expected)
    assert hear(world, client, 200) == expected


def test_a_poll_takes_a_burst_of_a_worker_and_one_message_of_a_client(world: World) -> None:
    node = world.node()
    client, worker = world.client(node), world.worker(node, b"w")
    count = 3 * BURST_MESSAGES
    for number in range(count):
        client.send(b"%d" % number)
        worker.send(b"%d" % number)
    bursts = []

    def all_here() -> bool:
        bursts.append(node.poll(0.02))
        return sum(map(len, bursts)) == 2 * count

    until(world, all_here, "every message")
    for burst in bursts:
        sources = [source for source, _, _ in burst]
        assert sources.count(Source.CLIENT) <= 1
        assert sources == sorted(sources, key=lambda source: source is Source.CLIENT), "workers come first"


def test_what_a_poll_leaves_is_received_without_another_and_in_order(world: World) -> None:
    node = world.node()
    client = world.client(node)
    expected = [b"%d" % number for number in range(100)]
    for frame in expected:
        client.send(frame)
    received: list[bytes] = []

    def all_here() -> bool:
        received.extend(frames[0] for _, _, frames in node.poll(0.02))
        while node.has_more and (more := node.receive_more()) is not None:
            received.append(more[2][0])
        return len(received) == len(expected)

    until(world, all_here, "every message")
    assert received == expected
    assert not node.has_more or node.receive_more() is None


def test_a_frame_that_is_not_to_be_read_is_reported_without_it(world: World) -> None:
    node = world.node()
    client, ignored = world.client(node), world.client(node)
    ignored.send(b"who?")
    ((_, session, _),) = take(world, node, 1)
    assert isinstance(session, bytes)
    node.unread.sessions = {session}
    node.unread.above_bytes = 10
    ignored.send(b"me")
    assert take(world, node, 1) == [(Source.CLIENT, session, [])]
    client.send(b"x" * 11)
    ((source, _, frames),) = take(world, node, 1)
    assert (source, frames) == (Source.CLIENT, [])
    client.send(b"x" * 10)
    assert take(world, node, 1)[0][2] == [b"x" * 10]


def test_sending_to_an_unknown_client_or_worker_is_gone(world: World) -> None:
    node = world.node()
    assert node.send_client(b"nobody", b"frame") is Sent.GONE
    assert node.send_child(b"nobody", b"frame") is Sent.GONE


def test_sending_to_a_client_that_left_is_gone(world: World) -> None:
    node = world.node()
    client = world.client(node)
    client.send(b"hello")
    [(_, session, _)] = take(world, node, 1)
    assert isinstance(session, bytes)
    client.close()

    def gone() -> bool:
        node.poll(0.01)
        return node.send_client(session, b"frame") is Sent.GONE

    until(world, gone, "GONE")


def test_a_client_that_does_not_read_fills_its_queue_and_delays_nobody_else(world: World) -> None:
    node = world.node()
    deaf, other = world.client(node), world.client(node)
    deaf.send(b"deaf")
    [(_, deaf_session, _)] = take(world, node, 1)
    other.send(b"other")
    [(_, other_session, _)] = take(world, node, 1)
    assert isinstance(deaf_session, bytes)
    assert isinstance(other_session, bytes)
    frame = bytes(100_000)
    for _ in range(10_000):
        if node.send_client(deaf_session, frame) is Sent.FULL:
            break
    else:
        pytest.fail("never FULL")
    assert node.send_client(other_session, b"still served") is Sent.OK
    assert hear(world, other, 1) == [b"still served"]


def test_nothing_is_kept_for_a_peer_that_is_not_there(world: World) -> None:
    one, two = world.node(), world.node()
    connect_peer(world, one, two)
    address = two.address
    two.close()
    until(world, lambda: one.send_peer(address, [b"old", b"old"]) is Sent.FULL, "FULL")
    again = world.restart(address)

    def fresh() -> bool:
        one.send_peer(address, [b"new", b"new"])
        received = again.poll(0.02)
        assert all(frames == [b"new", b"new"] for _, _, frames in received)
        return bool(received)

    until(world, fresh, "a batch to the peer that came back")


def test_a_forgotten_peer_can_be_sent_to_again(world: World) -> None:
    one, two = world.node(), world.node()
    connect_peer(world, one, two)
    one.forget_peer(two.address)
    one.forget_peer("never.heard.of:1")
    connect_peer(world, one, two)


def test_a_large_frame_arrives_whole_in_every_direction(world: World) -> None:
    one, two = world.node(), world.node()
    connect_peer(world, one, two)
    client, worker = world.client(two), world.worker(two, b"w")
    large = bytes(range(256)) * 4096  # 1 MiB
    client.send(large)
    worker.send(large)
    assert one.send_peer(two.address, [b"envelope", large, b"small"]) is Sent.OK
    received = {source: (end, frames) for source, end, frames in take(world, two, 3)}
    assert received[Source.CLIENT][1] == [large]
    assert received[Source.WORKER] == (b"w", [large])
    assert received[Source.PEER][1] == [b"envelope", large, b"small"]
    session = received[Source.CLIENT][0]
    assert isinstance(session, bytes)
    assert two.send_client(session, large) is Sent.OK
    assert two.send_child(b"w", large) is Sent.OK
    assert hear(world, client, 1) == [large]
    assert hear(world, worker, 1, two) == [large]


def test_a_watched_fd_is_reported_until_it_is_unwatched(world: World) -> None:
    node = world.node()
    fd = world.readable(node)
    assert node.poll(0) == []
    node.watch(fd)
    assert node.poll(DEADLINE_S) == [(Source.CHILD, fd, [])]
    assert node.poll(DEADLINE_S) == [(Source.CHILD, fd, [])]
    node.unwatch(fd)
    node.unwatch(fd)
    assert node.poll(0) == []


def test_many_wakes_are_one(world: World) -> None:
    node = world.node()
    for _ in range(100_000):  # more than a pipe holds
        node.wake()
    assert node.poll(DEADLINE_S) == [(Source.WAKE, 0, [])]
    assert node.poll(0) == []


def test_a_poll_with_nothing_to_tell_returns_nothing(world: World) -> None:
    assert world.node().poll(0) == []
    assert world.node().poll(0.001) == []


def test_a_closed_node_can_be_closed_and_woken_again(world: World) -> None:
    node = world.node()
    node.close()
    node.close()
    node.wake()
