"""Ways to break what is promised of queues; as those of ``peer_faults.py``."""

from __future__ import annotations

from typing import Any

from paceline.core.scheduling.queue_requests import QueueRequests
from paceline.core.scheduling.queue_turns import QueueTurns
from paceline.core.scheduling.queues import Queue, Queues
from paceline_protocol.messages.queues import SetQueue, SetQueueReply
from simulation.peer_faults import Method


def hand_out_of_paused_ones(true: Method) -> Method:
    def with_work(self: Queues, *, is_settled: bool) -> list[Queue]:
        return [queue for queue in self.by_name.values() if queue.waiting(is_settled)]

    return with_work


def answer_before_the_log_has_it(true: Method) -> Method:
    def set_queue(self: QueueRequests, key: bytes, request: SetQueue) -> None:
        true(self, key, request)
        if (key, request.request) in self._open:
            del self._open[key, request.request]
            wanted = self._wanted[request.queue]
            self.replies.append((key, SetQueueReply(request.request, "", *wanted)))

    return set_queue


def forget_what_the_log_says(true: Method) -> Method:
    def begin(self: QueueRequests, table: Any, tasks: Any, recording: Any) -> None:
        true(self, table, tasks, recording)
        for queue in tasks.queues.by_name.values():
            queue.is_paused = False

    return begin


def write_no_snapshot(true: Method) -> Method:
    return lambda self: []


def do_the_same_again(true: Method) -> Method:
    def set_queue(self: QueueRequests, key: bytes, request: SetQueue) -> None:
        self._answered.clear()
        true(self, key, request)

    return set_queue


def serve_the_first(true: Method) -> Method:
    """Whatever its share is."""

    def begin(self: QueueTurns, of: Queues, queues: list[Queue]) -> None:
        for queue in queues:
            queue.turn = 0
        of.virtual_time = 0
        true(self, of, queues)

    return begin


def save_up(true: Method) -> Method:
    """What a queue could not be given it has in one go."""

    def begin(self: QueueTurns, of: Queues, queues: list[Queue]) -> None:
        turns = [queue.turn for queue in queues]
        true(self, of, queues)
        for queue, turn in zip(queues, turns, strict=True):
            queue.turn = turn
        self._later = sorted((turn, index) for index, turn in enumerate(turns))

    return begin
