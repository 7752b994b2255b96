"""Delayed messages whose callers wait stay unacknowledged, and leave room for the others of their queue, in number and
in bytes: the ledger and the intake of one queue, with a RabbitMQ of a few lines."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from paceline_bridge.deliveries import Ledger
from paceline_bridge.intake import Intake
from paceline_bridge.message import Message, ReplyAddress, TaskCall
from paceline_bridge.owed import Delivery
from paceline_protocol.messages.records import TaskEnd

MIB = 1 << 20
AHEAD_S = 540.0
BODY_BYTES = 2_000
"""What a message has here, whatever it is said to weigh."""


class Queue:
    """One queue that never ends, whose tasks are accepted at once, and end at once unless they are delayed."""

    def __init__(self, prefetch: int, share_bytes: int) -> None:
        self.ledger = Ledger(prefetch // 2, retained_bytes=share_bytes // 2)
        self.intake = Intake(prefetch)
        self.came = 0
        self._share_bytes = share_bytes
        self._unacked: set[int] = set()  # of the consumer that there is
        self._begin()

    def _begin(self) -> None:
        self.intake.begin(self._share_bytes)
        self._unacked.clear()

    def _look(self) -> None:
        if not self.intake.asked or self.intake.is_to_change(self._share_bytes):
            self._begin()

    @property
    def sends(self) -> bool:
        """Whether RabbitMQ may send another message."""
        return len(self._unacked) < self.intake.asked

    def send(self, weight: int, *, delayed: bool) -> None:
        self.came += 1
        tag, task_id = self.came, self.came.to_bytes(16)
        self.intake.came(tag, weight)
        self._unacked.add(tag)
        self._look()
        reply = ReplyAddress("caller", str(tag), str(tag))
        message = Message("q", bytes(BODY_BYTES))
        delivery = Delivery((1, tag), message, reply, "celery", weight_bytes=self.intake.weight_of(tag))
        ledger = self.ledger
        ledger.delivered()
        call = TaskCall("celery", task_id, "tasks.add", (), {}, reply=reply, packed=bytes(BODY_BYTES))
        ledger.add(call, delivery, 0.0, AHEAD_S if delayed else 0.0)
        assert ledger.take(1 << 30) == call
        assert ledger.accept(task_id, 0.0) == []
        for surplus in ledger.take_surplus():
            self._gone(surplus)
            ledger.acked(surplus)
        if not delayed:
            for ended in ledger.end(task_id, (int(TaskEnd.SUCCEEDED), b"")):
                self._gone(ended)
                ledger.settle(task_id, ended)

    def _gone(self, delivery: Delivery) -> None:
        self.intake.gone(delivery.tag[1])
        self._unacked.discard(delivery.tag[1])
        self._look()


def test_heavy_delayed_messages_take_half_of_the_share_and_no_more() -> None:
    queue = Queue(500, 256 * MIB)
    for _ in range(1_000):
        assert queue.sends, f"after {queue.came} messages"
        queue.send(MIB, delayed=True)
    assert queue.intake.held_bytes == 128 * MIB
    assert queue.ledger.unacked == 128
    queue.ledger.come_due(AHEAD_S)
    queue.send(MIB, delayed=True)
    assert queue.ledger.unacked == 129, "those that are due count no more"


def test_of_delayed_messages_that_are_acknowledged_neither_body_nor_arguments_are_kept() -> None:
    """Nobody but this process owes their replies, and there may be 200,000 of them."""
    queue = Queue(500, 256 * MIB)
    for _ in range(1_000):
        queue.send(MIB, delayed=True)
    entries = queue.ledger.entries.values()
    kept = sum(len(entry.call.packed) + len(entry.deliveries[0].message.body) for entry in entries)
    assert kept == queue.ledger.unacked * BODY_BYTES == 128 * BODY_BYTES
    assert len(queue.ledger.owed()) == 1_000 - 128


@pytest.mark.parametrize("seed", range(60))
def test_no_number_of_delayed_messages_stops_a_queue_whatever_they_weigh(seed: int) -> None:
    chance = random.Random(seed)
    share = chance.choice([MIB, 16 * MIB, 256 * MIB])
    queue = Queue(chance.choice([2, 10, 100, 500]), share)
    weights: list[Callable[[], int]] = [
        lambda: 1_000,
        lambda: 1_000 + int(share * chance.uniform(0, 0.05)),
        lambda: int(share * chance.uniform(0.05, 0.6)),
        lambda: int(share * chance.uniform(0.01, 1.3)),
    ]
    weight = chance.choice(weights)
    while queue.came < 1_000:
        assert queue.sends, f"after {queue.came} messages"
        if chance.random() < 0.01:
            weight = chance.choice(weights)
        queue.send(weight(), delayed=chance.random() < 0.7)
