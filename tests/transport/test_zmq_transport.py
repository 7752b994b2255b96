"""What only sockets can show: keys, ports, threads, signals, and hostile connections."""

from __future__ import annotations

import errno
import signal
import socket
import threading
from collections.abc import Iterator
from types import FrameType

import pytest
import zmq

from modes import source_only
from paceline.config import parse_address
from paceline.errors import ConfigError, PortInUse
from paceline.runtime.interfaces import local_host, reachable_hosts
from paceline.runtime.transport import peer_sockets
from paceline.runtime.transport.transport import Sent, Source
from paceline.runtime.transport.zmq_sockets import open_peer
from paceline.runtime.transport.zmq_transport import ZmqTransport
from paceline.security import Credentials, KeyRole, Standing, generate_keys
from paceline_protocol.limits import MAX_BATCH_FRAMES
from transport.worlds import DEADLINE_S, MAX_FRAME_BYTES, WorkerEnd, ZmqEnd, ZmqWorld, connect_peer, hear, take, until


@pytest.fixture
def plain() -> Iterator[ZmqWorld]:
    world = ZmqWorld()
    yield world
    world.close()


@pytest.fixture
def curve() -> Iterator[ZmqWorld]:
    world = ZmqWorld(generate_keys())
    yield world
    world.close()


def wait_for_event(world: ZmqWorld, node: ZmqTransport, end: ZmqEnd, event: zmq.Event, frame: bytes) -> None:
    """Send a frame and wait until this happens to the end's connection; nothing may arrive at the node meanwhile."""
    end.socket.send(frame)

    def happened() -> bool:
        assert node.poll(0.01) == []
        return event in end.events()

    until(world, happened, str(event.name))


def assert_serves(world: ZmqWorld, node: ZmqTransport) -> None:
    world.client(node).send(b"from a friend")
    assert take(world, node, 1)[0][2] == [b"from a friend"]


# --- keys -------------------------------------------------------------------------------------------------------


def test_a_client_with_another_key_pair_is_refused_and_nothing_of_it_arrives(curve: ZmqWorld) -> None:
    node = curve.node()
    stranger = curve.client(node, own=generate_keys())
    wait_for_event(curve, node, stranger, zmq.Event.HANDSHAKE_FAILED_AUTH, b"let me in")
    assert_serves(curve, node)


def test_a_client_without_keys_is_cut_off_and_nothing_of_it_arrives(curve: ZmqWorld) -> None:
    node = curve.node()
    stranger = curve.plain_client(node)
    wait_for_event(curve, node, stranger, zmq.Event.DISCONNECTED, b"let me in")
    assert_serves(curve, node)


def test_a_node_with_other_keys_reaches_nobody(curve: ZmqWorld) -> None:
    other = ZmqWorld(generate_keys())
    try:
        ours, theirs = curve.node(), other.node()
        watcher = other.client(ours)  # the keys of the other cluster, as its nodes' DEALERs use them
        assert theirs.send_peer(ours.address, [b"envelope", b"message"]) is Sent.FULL
        wait_for_event(curve, ours, watcher, zmq.Event.DISCONNECTED, b"let me in")
        assert theirs.send_peer(ours.address, [b"envelope", b"message"]) is Sent.FULL
    finally:
        other.close()


# --- addresses --------------------------------------------------------------------------------------------------


def test_a_port_in_use_is_named(plain: ZmqWorld) -> None:
    node = plain.node()
    with pytest.raises(PortInUse) as caught:
        plain.node(parse_address(node.address)[1])
    assert caught.value.address == node.address


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"can't listen on 203\.0\.113\.1:0"):
        ZmqTransport("203.0.113.1", 0, max_frame_bytes=MAX_FRAME_BYTES)


def test_the_advertised_host_is_the_given_one_and_the_port_the_bound_one() -> None:
    node = ZmqTransport("127.0.0.1", 0, advertise_host="node1.example", max_frame_bytes=MAX_FRAME_BYTES)
    try:
        host, port = parse_address(node.address)
        assert host == "node1.example"
        assert port > 0
    finally:
        node.close()


def test_a_node_listens_at_another_address_once_it_is_told_to(plain: ZmqWorld) -> None:
    node = plain.node()
    assert_serves(plain, node)
    node.set_bind_host("127.0.0.2")
    assert node.local_address == f"127.0.0.2:{node.port}"
    moved = socket.socket()
    until(plain, lambda: node.poll(0.01) == [] and moved.connect_ex(("127.0.0.2", node.port)) == 0, "it listens there")
    moved.close()

    def has_left() -> bool:
        """libzmq's own thread closes the old socket, some time after it was told to."""
        with socket.socket() as left:
            return node.poll(0.01) == [] and left.connect_ex(("127.0.0.1", node.port)) == errno.ECONNREFUSED

    until(plain, has_left, "nobody listens where it did")


def test_a_node_bound_to_every_interface_advertises_one_that_others_can_reach() -> None:
    assert not {"0.0.0.0", "*", "::"}.intersection(reachable_hosts("0.0.0.0"))
    assert reachable_hosts("localhost") == ("127.0.0.1",)
    assert reachable_hosts("10.1.2.3") == ("10.1.2.3",)


def test_processes_of_the_same_machine_are_told_an_address_that_works_there() -> None:
    node = ZmqTransport("0.0.0.0", 0, advertise_host="node1.example", max_frame_bytes=MAX_FRAME_BYTES)
    try:
        assert node.local_address == f"127.0.0.1:{parse_address(node.address)[1]}"
        socket.create_connection(parse_address(node.local_address), timeout=DEADLINE_S).close()
    finally:
        node.close()
    assert [local_host(host) for host in ("*", "::", "localhost", "10.1.2.3")] == [
        "127.0.0.1",
        "::1",
        "127.0.0.1",
        "10.1.2.3",
    ]


def test_an_ipv6_node_talks_to_its_peers(plain: ZmqWorld) -> None:
    try:
        one = ZmqTransport("::1", 0, max_frame_bytes=MAX_FRAME_BYTES)
    except ConfigError:
        pytest.skip("this machine has no IPv6")
    two = plain.node()
    try:
        until(
            plain,
            lambda: one.poll(0) == [] and two.send_peer(one.address, [b"envelope", b"message"]) is Sent.OK,
            "a connection",
        )
        assert one.address.startswith("[::1]:")
        assert take(plain, one, 1)[0][2] == [b"envelope", b"message"]
    finally:
        one.close()


def test_a_peers_address_that_makes_no_sense_is_gone_and_logged_once(
    plain: ZmqWorld, caplog: pytest.LogCaptureFixture
) -> None:
    node = plain.node()
    assert node.send_peer("tcp://nonsense", [b"envelope", b"message"]) is Sent.GONE
    assert node.send_peer("tcp://nonsense", [b"envelope", b"message"]) is Sent.GONE
    assert len(caplog.records) == 1


@source_only
def test_the_number_of_peer_connections_is_bounded(plain: ZmqWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_sockets, "PEER_SOCKETS_MAX", 1)
    node = plain.node()
    assert node.send_peer("127.0.0.1:1", [b"envelope", b"message"]) is Sent.FULL
    assert node.send_peer("127.0.0.1:2", [b"envelope", b"message"]) is Sent.GONE
    node.forget_peer("127.0.0.1:1")
    assert node.send_peer("127.0.0.1:2", [b"envelope", b"message"]) is Sent.FULL


@source_only
def test_at_the_bound_the_peer_that_was_sent_to_longest_ago_makes_room_if_that_was_long_ago(
    plain: ZmqWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(peer_sockets, "PEER_SOCKETS_MAX", 2)
    node, first, second, third = (plain.node() for _ in range(4))
    for peer in (first, second, first):
        connect_peer(plain, node, peer)
    for _ in range(3):  # or in a large cluster each would close the connection that another has just begun
        assert node.send_peer(third.address, [b"envelope", b"message"]) is Sent.GONE
    assert len(caplog.records) == 1
    monkeypatch.setattr(peer_sockets, "UNUSED_S", 0.0)
    assert node.send_peer(third.address, [b"envelope", b"message"]) is Sent.FULL
    monkeypatch.undo()
    monkeypatch.setattr(peer_sockets, "PEER_SOCKETS_MAX", 2)
    connect_peer(plain, node, third)
    assert node.send_peer(first.address, [b"envelope", b"message"]) is Sent.OK
    assert node.send_peer(second.address, [b"envelope", b"message"]) is Sent.GONE


@source_only
def test_at_the_bound_a_voter_has_a_connection_and_keeps_it(plain: ZmqWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_sockets, "PEER_SOCKETS_MAX", 2)
    node, voter, other, moved, unknown = (plain.node() for _ in range(5))
    node.is_voters = {voter.address, moved.address}.__contains__
    for peer in (voter, other):
        connect_peer(plain, node, peer)
    connect_peer(plain, node, moved)  # at once, though the others were sent to just now
    assert node.send_peer(voter.address, [b"envelope", b"message"]) is Sent.OK
    assert node.send_peer(other.address, [b"envelope", b"message"]) is Sent.GONE
    monkeypatch.setattr(peer_sockets, "UNUSED_S", 0.0)
    assert node.send_peer(unknown.address, [b"envelope", b"message"]) is Sent.GONE


# --- quick connections ------------------------------------------------------------------------------------------


def connect_twice(world: ZmqWorld, one: ZmqTransport, two: ZmqTransport) -> None:
    """Until quick batches come by a connection of their own."""
    connect_peer(world, one, two)
    senders: dict[bytes, object] = {}

    def both() -> bool:
        for frame, is_quick in ((b"bulk", False), (b"quick", True)):
            one.send_peer(two.address, [b"envelope", frame], is_quick=is_quick)
        senders.update({frames[1]: sender for _, sender, frames in two.poll(0.02)})
        while (more := two.receive_more()) is not None:
            senders[more[2][1]] = more[1]
        return len(set(senders.values())) == 2

    until(world, both, "both connections")


@pytest.mark.parametrize("with_keys", [False, True])
def test_a_quick_batch_waits_behind_nothing_that_was_sent_before(with_keys: bool) -> None:
    world = ZmqWorld(generate_keys() if with_keys else None)
    try:
        one, two = world.node(), world.node()
        connect_twice(world, one, two)
        while two.poll(0.05):
            pass
        for _ in range(100):  # far more than is taken in before it is read
            assert one.send_peer(two.address, [b"envelope", bytes(256 << 10)]) is Sent.OK
        assert one.send_peer(two.address, [b"envelope", b"quick"], is_quick=True) is Sent.OK
        before = 0

        def is_here() -> bool:
            nonlocal before
            received = [frames[1] for _, _, frames in two.poll(0.01)]
            before += len(received)
            return b"quick" in received

        until(world, is_here, "the quick batch")
        assert before < 50
    finally:
        world.close()


def test_a_quick_batch_takes_the_other_connection_while_its_own_takes_nothing(plain: ZmqWorld) -> None:
    one, two = plain.node(), plain.node()
    assert one.send_peer(two.address, [b"envelope", b"early"], is_quick=True) is Sent.FULL
    connect_twice(plain, one, two)
    one._quick.sockets[two.address].close()
    one._quick.sockets[two.address] = open_peer(one._context, "127.0.0.1:1", Credentials(), MAX_FRAME_BYTES)
    while two.poll(0.05):
        pass
    assert one.send_peer(two.address, [b"envelope", b"quick"], is_quick=True) is Sent.OK
    assert take(plain, two, 1)[0][2] == [b"envelope", b"quick"]


def test_a_peer_that_is_forgotten_has_neither_connection_any_more(plain: ZmqWorld) -> None:
    one, two = plain.node(), plain.node()
    connect_twice(plain, one, two)
    one.forget_peer(two.address)
    assert (one._peers.sockets, one._quick.sockets) == ({}, {})


# --- the machine's own side -------------------------------------------------------------------------------------


def test_a_client_cannot_take_over_the_session_of_another(plain: ZmqWorld) -> None:
    node = plain.node()
    owner = plain.client(node, ROUTING_ID=b"session")
    owner.send(b"mine")
    take(plain, node, 1)
    thief = plain.client(node, ROUTING_ID=b"session")
    wait_for_event(plain, node, thief, zmq.Event.HANDSHAKE_SUCCEEDED, b"now mine")
    assert node.send_client(b"session", b"secret") is Sent.OK
    assert hear(plain, owner, 1) == [b"secret"]
    assert thief.receive() == []


def test_wake_from_another_thread_ends_a_poll(plain: ZmqWorld) -> None:
    node = plain.node()
    waker = threading.Thread(target=node.wake)
    waker.start()
    assert node.poll(DEADLINE_S) == [(Source.WAKE, 0, [])]
    waker.join()


def test_wake_from_a_signal_handler_ends_a_poll(plain: ZmqWorld) -> None:
    node = plain.node()

    def handler(number: int, frame: FrameType | None) -> None:
        node.wake()

    previous = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        assert node.poll(DEADLINE_S) == [(Source.WAKE, 0, [])]
    finally:
        signal.signal(signal.SIGALRM, previous)


def test_no_message_is_left_asleep_when_sends_and_receives_interleave(plain: ZmqWorld) -> None:
    """Sends use up the edges of the sockets' file descriptors; a poll that trusted them alone would sleep too long."""
    node, peer = plain.node(), plain.node()
    client, worker = plain.client(node), plain.worker(node, b"w")
    rounds = 500
    lost: list[ZmqEnd | WorkerEnd] = []

    def converse(end: ZmqEnd | WorkerEnd) -> None:
        for _ in range(rounds):
            if not end.ask(b"ping", DEADLINE_S / 2):  # well before the poll of the node ends by itself
                lost.append(end)
                return

    threads = [threading.Thread(target=converse, args=[end]) for end in (client, worker)]
    for thread in threads:
        thread.start()
    answered = 0
    while answered < 2 * rounds and not lost:
        for source, sender, _ in node.poll(DEADLINE_S):
            assert isinstance(sender, bytes)
            node.send_peer(peer.address, [b"envelope", b"message"])
            send = node.send_client if source is Source.CLIENT else node.send_child
            assert send(sender, b"pong") is Sent.OK
            answered += 1
        peer.poll(0)
    for thread in threads:
        thread.join()
    assert lost == []


def test_an_fd_that_its_owner_closed_can_still_be_unwatched(plain: ZmqWorld) -> None:
    node = plain.node()
    one, two = socket.socketpair()
    fd = one.fileno()
    node.watch(fd)
    one.close()
    two.close()
    node.unwatch(fd)
    assert node.poll(0) == []


# --- hostile connections ----------------------------------------------------------------------------------------


def test_a_frame_beyond_the_limit_ends_its_connection(plain: ZmqWorld) -> None:
    node = plain.node()
    client = plain.client(node)
    wait_for_event(plain, node, client, zmq.Event.DISCONNECTED, bytes(MAX_FRAME_BYTES + 1))
    assert_serves(plain, node)


@pytest.mark.parametrize("noise", [b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, bytes(64), bytes(range(256))])
def test_bytes_that_are_not_zeromq_disturb_nobody(plain: ZmqWorld, noise: bytes) -> None:
    node = plain.node()
    with socket.create_connection(parse_address(node.address), timeout=DEADLINE_S) as connection:
        connection.sendall(noise)
        assert_serves(plain, node)


def test_connections_are_read_in_turn_however_much_one_of_them_has_sent(plain: ZmqWorld) -> None:
    node = plain.node()
    flooder, other = plain.client(node), plain.client(node)
    for end in (flooder, other):
        end.send(b"hello")
    greeted = {frames[0]: key for _, key, frames in take(plain, node, 2)}
    assert greeted
    for _ in range(100):
        flooder.send(b"flood")
    until(plain, lambda: bool(node.poll(0.02)), "the flood")
    flooder.send(b"flood")
    other.send(b"other")

    def is_heard() -> bool:
        """The flood never ends: for each message that is read the flooder sends another."""
        heard = [frames[0] for _, _, frames in node.poll(0.02)]
        for _ in range(heard.count(b"flood")):
            flooder.send(b"flood")
        return b"other" in heard

    until(plain, is_heard, "the other client")


@source_only
@pytest.mark.parametrize("role", [KeyRole.NODE, KeyRole.OBSERVER])
def test_a_message_of_very_many_parts_is_not_read_and_takes_a_bounded_part_of_each_turn(
    plain: ZmqWorld, role: KeyRole, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = plain.node()
    monkeypatch.setattr(node._gate, "standing", lambda sender: Standing(role, "mallory"))
    flooder, other = plain.client(node), plain.client(node)
    turns = 10
    flooder.socket.send_multipart([b"x"] * (turns * MAX_BATCH_FRAMES))
    flooder.send(b"behind it")
    ((source, _, frames),) = take(plain, node, 1)
    assert (source, frames) == (Source.PEER, [])
    other.send(b"other")
    received = [node.poll(0) for _ in range(turns - 1)]
    assert received[:-1] == [[(Source.WAKE, 0, [])]] * (turns - 2)
    heard = [frames for _, _, frames in received[-1] + take(plain, node, 2) if frames]
    assert sorted(heard) == [[b"behind it"], [b"other"]]


@pytest.mark.parametrize(("parts", "frames"), [(MAX_BATCH_FRAMES, MAX_BATCH_FRAMES), (MAX_BATCH_FRAMES + 1, 0)])
def test_a_batch_has_a_bound_and_up_to_it_arrives_whole(plain: ZmqWorld, parts: int, frames: int) -> None:
    node = plain.node()
    plain.client(node).socket.send_multipart([b"x"] * parts)
    ((source, _, received),) = take(plain, node, 1)
    assert (source, len(received)) == (Source.PEER, frames)


@source_only
def test_of_a_batch_that_is_not_read_or_that_no_node_sent_no_frame_is_kept(
    plain: ZmqWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = plain.node()
    end = plain.client(node)
    end.socket.send_multipart([b"envelope", b"message"])
    ((_, session, frames),) = take(plain, node, 1)
    assert frames == [b"envelope", b"message"]
    node.unread.sessions = {session}
    end.socket.send_multipart([b"envelope", b"message"])
    assert take(plain, node, 1) == [(Source.PEER, session, [b"", b""])]
    node.unread.sessions = ()
    monkeypatch.setattr(node._gate, "standing", lambda sender: Standing(KeyRole.CLIENT, "mallory"))
    end.socket.send_multipart([b"envelope", b"message"])
    assert take(plain, node, 1) == [(Source.PEER, session, [b"", b""])]
    assert_serves(plain, node)
