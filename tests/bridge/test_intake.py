"""How much of a queue the bridge holds, in messages and bytes: with a RabbitMQ of a few lines, and with a real one."""

from __future__ import annotations

import random
import threading
import tracemalloc
from collections.abc import Callable

import pika.data
import pytest

from bridge.processes import Broker, wait_until
from bridge.raw_headers import array, entry, table
from bridge.test_link import Holder
from paceline_bridge.intake import FIRST, HEADERS_FACTOR, OVERHEAD_BYTES, Intake, Share
from paceline_bridge.rabbitmq import Link

MIB = 1 << 20
SHARE = 256 * MIB
LIMIT = 500


class Queue:
    """A queue of RabbitMQ and what consumes it: of each consumer no more is unacknowledged than it asked for. What a
    consumer that is cancelled had asked for comes all the same, as far as ``late`` says."""

    def __init__(self, weight: Callable[[int], int], late: bool = False) -> None:
        self.intake = Intake(LIMIT)
        self.held: list[int] = []
        self.most_bytes = self.most = 0
        self.consumers = 0
        self._weight = weight
        self._late = late
        self._tag = 0
        self._open = 0  # how much more RabbitMQ may send
        self._own = 0  # the first tag of this consumer
        self._begin()

    def _begin(self) -> None:
        left, self._open = self._open, self.intake.begin(SHARE)
        self._own = self._tag + 1
        self.consumers += 1
        for _ in range(left if self._late else 0):
            self._came()

    def _came(self) -> None:
        self._tag += 1
        self.held.append(self._tag)
        self.intake.came(self._tag, self._weight(self._tag))
        self.most = max(self.most, len(self.intake))
        self.most_bytes = max(self.most_bytes, self.intake.held_bytes)

    def _look(self) -> None:
        if not self.intake.asked or self.intake.is_to_change(SHARE):
            self._begin()

    def fill(self) -> None:
        """RabbitMQ sends what it may."""
        while self._open:
            self._open -= 1
            self._came()
            self._look()

    def ack(self, count: int) -> None:
        for _ in range(min(count, len(self.held))):
            tag = self.held.pop(random.randrange(len(self.held)))
            self._open += tag >= self._own and self.intake.asked > 0
            self.intake.gone(tag)
            self._look()


def test_small_messages_are_held_up_to_the_prefetch_and_no_further() -> None:
    queue = Queue(lambda _: 1_000)
    queue.fill()
    assert len(queue.intake) == queue.most
    assert LIMIT - FIRST < queue.most <= LIMIT
    assert queue.consumers < 10
    for _ in range(100):
        queue.ack(LIMIT)
        queue.fill()
    assert queue.most <= LIMIT
    assert queue._tag / queue.consumers > 100, "it changes seldom, for so many messages"


def test_while_light_messages_are_acknowledged_one_by_one_a_consumer_lasts_for_some_of_them() -> None:
    queue = Queue(lambda _: 1_000)
    queue.fill()
    before = queue.consumers
    for _ in range(400):
        queue.ack(1)
        queue.fill()
    assert queue.consumers - before <= 400 // FIRST + 1


def test_heavy_messages_are_held_up_to_the_share() -> None:
    queue = Queue(lambda _: 16 * MIB)
    for _ in range(50):
        queue.fill()
        queue.ack(3)
    assert queue.most_bytes <= SHARE


def test_one_message_that_is_heavier_than_the_share_is_held_alone_once_that_is_known() -> None:
    queue = Queue(lambda _: 300 * MIB)
    queue.fill()
    assert len(queue.held) == 1
    queue.ack(1)
    queue.fill()
    assert len(queue.held) == 1


def test_messages_that_suddenly_become_heavy_exceed_the_share_by_what_was_asked_for_and_once() -> None:
    heavy_from = 5_000
    queue = Queue(lambda tag: 1_000 if tag < heavy_from else 4 * MIB, late=True)
    while queue._tag < heavy_from:
        queue.fill()
        queue.ack(100)
    queue.ack(LIMIT)
    assert queue.most_bytes <= LIMIT * 4 * MIB
    queue.most_bytes = 0
    for _ in range(200):
        queue.fill()
        queue.ack(10)
    assert queue.most_bytes <= SHARE


def test_a_queue_that_would_be_deleted_without_a_consumer_always_has_one_that_asks_for_a_message() -> None:
    queue = Queue(lambda _: 300 * MIB)
    queue.intake.least = 1
    queue.fill()
    assert len(queue.held) == 2
    for _ in range(20):
        queue.ack(1)
        queue.fill()
        assert queue.intake.asked == 1
        assert 1 <= len(queue.held) <= 2
    queue._weight = lambda _: 1_000
    for _ in range(1_000):
        queue.ack(2)
        queue.fill()
    assert queue.most > 400, "light ones are held in numbers again"


def test_what_a_message_takes_once_it_is_read_counts() -> None:
    """A compressed body says nothing of that."""
    intake = Intake(LIMIT)
    intake.begin(SHARE)
    for tag in range(1, 4):
        intake.came(tag, 1_000)
        intake.heavier(tag, 100 * MIB)
    assert intake.held_bytes > 300 * MIB
    assert intake.is_to_change(SHARE)
    for tag in range(1, 4):
        intake.gone(tag)
    assert intake.held_bytes == 0
    assert intake.begin(SHARE) == 2, "as many as fit if they are as heavy"


@pytest.mark.parametrize(
    "values",
    [
        b"".join(b"\2%c%cV" % (a, b) for a in range(48, 90) for b in range(48, 90)),
        entry(b"a", array(*[table(b"\0V")] * 10_000)),
        entry(b"a", array(*[table(entry(b"a", b"V"))] * 10_000)),
        entry(b"a", array(*[b"D\1\0\0\0\1"] * 10_000)),
    ],
    ids=["names", "tables", "tables of one", "decimals"],
)
def test_headers_take_no_more_than_they_are_counted_for(values: bytes) -> None:
    data = len(values).to_bytes(4) + values
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        kept = pika.data.decode_table(data, 0)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept
    assert after - before < HEADERS_FACTOR * len(data)


@pytest.mark.parametrize("seed", range(20))
def test_a_queue_never_stops_for_ever_whatever_its_messages_weigh(seed: int) -> None:
    chance = random.Random(seed)
    random.seed(seed)
    queue = Queue(lambda _: chance.choice([OVERHEAD_BYTES, 50_000, 5 * MIB, 400 * MIB]), late=chance.random() < 0.5)
    for _ in range(300):
        before = queue._tag
        queue.fill()
        queue.ack(chance.randrange(1, 50))
        assert queue.most <= LIMIT
        if not queue.held:
            queue.fill()
            assert queue._tag > before
    queue.ack(LIMIT)
    queue.fill()
    assert queue.held


def test_the_bytes_that_a_link_holds_are_bounded_and_every_message_comes_once(broker: Broker) -> None:
    heavy, light = broker.declare(**{"x-queue-type": "quorum", "x-delivery-limit": 1}), broker.declare()
    broker.publish(heavy, *[b"%04d" % number + bytes(500_000) for number in range(60)])
    broker.publish(light, *[b"%04d" % number for number in range(600)])
    holder = Holder()
    link = Link(broker.url, {heavy: False, light: False}, broker.declare(), 500, 8 * MIB, False, holder)
    thread = threading.Thread(target=link.run)
    thread.start()

    def came(is_heavy: bool) -> list[bytes]:
        return [body[:4] for _, body in list(holder.came) if (len(body) > 1_000) == is_heavy]

    try:
        wait_until(lambda: len(came(False)) > 490, lambda: f"{len(came(False))} light ones")
        wait_until(lambda: len(came(True)) >= FIRST, lambda: f"{len(came(True))} heavy ones")
        most = done = 0
        while done < 660:
            wait_until(lambda at=done: len(holder.came) > at, lambda: f"{len(holder.came)} came")  # type: ignore[misc]
            tag, _ = holder.came[done]
            most = max(most, link.consumers.held_bytes)
            link.call(lambda tag=tag: link.consumers.ack(tag))  # type: ignore[misc]
            done += 1
        assert most <= 8 * MIB + 600 * 2 * OVERHEAD_BYTES
        assert came(True) == [b"%04d" % number for number in range(60)], "each once, in order: none was sent back"
        assert sorted(came(False)) == [b"%04d" % number for number in range(600)]
    finally:
        link.call(link.close)
        thread.join()


def test_queues_that_are_consumed_have_equal_parts_of_the_bytes() -> None:
    share = Share(900)
    assert share.size_bytes == 900
    for number in (1, 2, 3, 3):
        share.take(number)
    assert (share.size_bytes, 3 in share) == (300, True)
    share.leave(3)
    share.leave(3)
    assert (share.size_bytes, 3 in share) == (450, False)
    share.leave(1)
    share.leave(2)
    assert share.size_bytes == 900
