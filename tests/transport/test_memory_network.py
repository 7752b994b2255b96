"""The twin's own promises: virtual time, loss, order, crashes, and the same run twice."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from paceline.runtime.transport.memory_transport import QUEUE_MESSAGES, LinkKind, MemoryNetwork, MemoryTransport, Policy
from paceline.runtime.transport.transport import Received, Sent, Source

A, B = "a:7077", "b:7077"


def batches(received: list[Received]) -> list[bytes]:
    return [frames[1] for source, _, frames in received if source is Source.PEER]


def fixed(*delays_s: float) -> Policy:
    return lambda *_: delays_s


def poll_all(node: MemoryTransport) -> list[Received]:
    """All that is here."""
    received = node.poll(0)
    while more := node.receive_more():
        received.append(more)
    return received


def test_a_frame_arrives_when_its_time_has_come_and_not_before() -> None:
    network = MemoryNetwork(fixed(0.5))
    one, two = network.node(A), network.node(B)
    assert network.next_delivery() is None
    assert one.send_peer(B, [b"", b"x"]) is Sent.OK
    assert network.next_delivery() == 0.5
    network.now = 0.4
    assert network.deliver_due() == 0
    network.now = 0.5
    assert network.deliver_due() == 1
    assert two.poll(0) == [(Source.PEER, A.encode(), [b"", b"x"])]


def test_a_policy_can_lose_and_double_frames() -> None:
    network = MemoryNetwork(fixed())
    one, two = network.node(A), network.node(B)
    assert one.send_peer(B, [b"", b"lost"]) is Sent.OK
    network.policy = fixed(0.0, 0.0)
    assert one.send_peer(B, [b"", b"twice"]) is Sent.OK
    network.deliver_due()
    assert batches(poll_all(two)) == [b"twice", b"twice"]


def test_equal_delays_keep_the_order_and_unequal_ones_reorder() -> None:
    delays = iter([0.1, 0.1, 0.05])
    network = MemoryNetwork(lambda *_: [next(delays)])
    one, two = network.node(A), network.node(B)
    for name in (b"first", b"second", b"overtakes"):
        one.send_peer(B, [b"", name])
    network.now = 1.0
    network.deliver_due()
    assert batches(poll_all(two)) == [b"overtakes", b"first", b"second"]


def test_the_policy_sees_kind_and_names_of_both_ends_and_how_much_it_is() -> None:
    seen: list[tuple[LinkKind, str, str, int]] = []

    def policy(kind: LinkKind, source: str, destination: str, size_bytes: int) -> Sequence[float]:
        seen.append((kind, source, destination, size_bytes))
        return (0.0,)

    network = MemoryNetwork(policy)
    one = network.node(A)
    network.node(B)
    client, worker = network.client(A, b"c"), network.worker(A, b"w")
    client.send(b"")
    worker.send(b"1")
    one.send_client(b"c", b"22")
    one.send_child(b"w", b"333")
    one.send_peer(B, [b"4", b"444"])
    one.send_peer(B, [b"5", b"4444"], is_quick=True)
    assert seen == [
        (LinkKind.CLIENT, client.name, A, 0),
        (LinkKind.WORKER, worker.name, A, 1),
        (LinkKind.CLIENT, A, client.name, 2),
        (LinkKind.WORKER, A, worker.name, 3),
        (LinkKind.PEER, A, B, 4),
        (LinkKind.QUICK, A, B, 5),
    ]


def test_a_crash_takes_the_inboxes_the_connections_and_what_is_on_the_way() -> None:
    network = MemoryNetwork()
    one, two = network.node(A), network.node(B)
    client = network.client(B, b"c")
    one.send_peer(B, [b"", b"in the inbox"])
    network.deliver_due()
    one.send_peer(B, [b"", b"on the way"])
    network.crash(B)
    network.crash(B)
    assert network.deliver_due() == 1
    assert two.poll(0) == []
    assert one.send_peer(B, [b"", b"to nobody"]) is Sent.FULL
    assert client.send(b"anyone?") is Sent.GONE

    again = network.node(B)
    assert again.poll(0) == []
    assert again.send_client(b"c", b"frame") is Sent.GONE
    assert client.send(b"anyone?") is Sent.GONE
    one.send_peer(B, [b"", b"to the new one"])
    network.deliver_due()
    assert batches(poll_all(again)) == [b"to the new one"]


def test_what_a_node_sent_before_it_crashed_still_arrives() -> None:
    network = MemoryNetwork()
    one, two = network.node(A), network.node(B)
    one.send_peer(B, [b"", b"last words"])
    network.crash(A)
    network.deliver_due()
    assert batches(poll_all(two)) == [b"last words"]


def test_closing_the_old_node_does_not_touch_the_new_one() -> None:
    network = MemoryNetwork()
    old = network.node(A)
    network.crash(A)
    network.node(A)
    old.close()
    assert network.client(A, b"c").send(b"frame") is Sent.OK


def test_one_node_at_an_address() -> None:
    network = MemoryNetwork()
    network.node(A)
    with pytest.raises(ValueError, match="already"):
        network.node(A)


def test_a_link_holds_a_bounded_number_of_messages_and_reading_makes_room() -> None:
    network = MemoryNetwork()
    one, two = network.node(A), network.node(B)
    for _ in range(QUEUE_MESSAGES):
        assert one.send_peer(B, [b"", b"x"]) is Sent.OK
    assert one.send_peer(B, [b"", b"x"]) is Sent.FULL
    assert network.client(B, b"c").send(b"another link") is Sent.OK
    network.deliver_due()
    taken = sum(source is Source.PEER for source, _, _ in poll_all(two))
    for _ in range(taken):
        assert one.send_peer(B, [b"", b"x"]) is Sent.OK
    assert one.send_peer(B, [b"", b"x"]) is Sent.FULL


def test_the_same_seed_gives_the_same_deliveries() -> None:
    def run(seed: int) -> list[tuple[float, list[bytes]]]:
        generator = random.Random(seed)
        network = MemoryNetwork(
            lambda kind, source, destination, size_bytes: [generator.random()] * generator.randrange(3)
        )
        one, two = network.node(A), network.node(B)
        for number in range(50):
            one.send_peer(B, [b"", b"%d" % number])
        story = []
        while (due := network.next_delivery()) is not None:
            network.now = due
            network.deliver_due()
            story.append((due, batches(poll_all(two))))
        return story

    assert run(7) == run(7)
    assert run(7) != run(8)
