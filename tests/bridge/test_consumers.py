"""What a link does about queues, with a RabbitMQ that answers when it is told to."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest

from paceline_bridge import auto_delete
from paceline_bridge.consumers import ANSWER_LIMIT_S, Consumers


class PlayedRabbitMq:
    """It says of each queue that it is there, and of those that are ``healthy`` all else that it is asked."""

    is_open = True

    def __init__(self, *healthy: str) -> None:
        self.ioloop = self
        self.now = 0.0
        self._healthy = healthy
        self._count = count()
        self._due: list[tuple[float, int, Callable[[], object]]] = []

    def call_later(self, delay_s: float, then: Callable[[], object]) -> None:
        heapq.heappush(self._due, (self.now + delay_s, next(self._count), then))

    def pass_time(self, until: float) -> None:
        while self._due and self._due[0][0] <= until:
            self.now, _, then = heapq.heappop(self._due)
            then()
        self.now = until

    def ask(self, _: object, queue: str, then: Callable[[bool], object]) -> None:
        if queue in self._healthy:
            self.call_later(0, lambda: then(False))

    def channel(self, on_open_callback: Callable[[Any], object]) -> None:
        def consume(queue: str, *_: object, callback: Callable[[Any], object], **__: object) -> str:
            if queue in self._healthy:
                self.call_later(0, lambda: callback(None))
            return queue

        def declare(*_: object, callback: Callable[[Any], object], **__: object) -> None:
            self.call_later(0, lambda: callback(None))

        def nothing(*_: object, **__: object) -> None: ...

        channel = SimpleNamespace(is_open=True, queue_declare=declare, basic_consume=consume, basic_qos=nothing)
        channel.add_on_close_callback = channel.add_on_cancel_callback = nothing
        self.call_later(0, lambda: on_open_callback(channel))


def test_each_queue_of_which_nothing_is_said_is_named_however_many_there_are_and_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One after another is asked whether it goes with its last consumer, so that the last one has to wait for long."""
    caplog.set_level("INFO", "paceline.bridge")
    rabbitmq = PlayedRabbitMq("good")
    monkeypatch.setattr(auto_delete, "ask", rabbitmq.ask)
    queues = dict.fromkeys(("bad-1", "bad-2", "good", "bad-3"), False)
    link = Consumers(queues, 10, 1 << 20, False, "there", lambda *_: None, pytest.fail, {})
    link.open(rabbitmq)
    rabbitmq.pass_time(2 * (len(queues) + 1) * ANSWER_LIMIT_S)
    said = [text for record in caplog.records if "has said nothing of" in (text := record.getMessage())]
    assert sorted(text.split()[5] for text in said) == ["bad-1", "bad-2", "bad-3"]
    assert "consuming good" in caplog.text
