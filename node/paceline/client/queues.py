"""Queues: which there are, and pausing them, letting them go on, and weighing them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from paceline.client.questions import NO_ANSWER, unpacked
from paceline.errors import ConfigError, NotAllowed, RequestRefused
from paceline.options import check_queue, check_seconds, shown
from paceline_protocol.limits import MAX_WEIGHT
from paceline_protocol.messages.queues import Pausing

if TYPE_CHECKING:
    from paceline.client.driver.driver import Driver


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueInfo:
    """One queue, as the leader told it.

    ``weight``: how many tasks it is given while a queue of weight 1 is given one. ``waiting``: its tasks that no node
    has been given; ``running``: that a node has; ``delayed``: that wait for their moments. ``oldest_s``: for how many
    seconds the oldest of the waiting ones has waited, None if none does. ``nodes``: how many nodes take its tasks.
    """

    name: str
    paused: bool
    weight: int
    waiting: int
    running: int
    delayed: int
    oldest_s: float | None
    nodes: int


class QueueQuestions:
    """The part of a Client that asks for queues, and changes them."""

    _driver: Driver

    def queues(self, timeout: float = 30.0) -> list[QueueInfo]:
        """``default``, the queues in which tasks are, and those that are paused or have a weight: first those that are
        paused, then those in which most wait. Of more than 200 the rest is left out.

        Raises TimeoutError if the leader does not answer in time."""
        check_seconds("timeout", timeout)
        answer = unpacked(self._driver.queues(timeout), timeout)
        return [QueueInfo(**{key: row[key] for key in QueueInfo.__slots__}) for row in answer["queues"]]

    def pause_queue(self, name: str, timeout: float = 30.0) -> None:
        """Have no task of a queue begin any more, on any node, until it is resumed. What has begun goes on, and what is
        submitted waits. It is so once this returns, whoever leads from then on.

        Raises ConfigError for what is no name of a queue, NotAllowed to an observer, RequestRefused if there are too
        many queues, TimeoutError if the leader does not answer in time."""
        self._set_queue(name, Pausing.PAUSE, 0, timeout)

    def resume_queue(self, name: str, timeout: float = 30.0) -> None:
        """Let the tasks of a paused queue begin again. Raises as :meth:`pause_queue`."""
        self._set_queue(name, Pausing.RESUME, 0, timeout)

    def weigh_queue(self, name: str, weight: int, timeout: float = 30.0) -> None:
        """Of two queues whose tasks wait for the same nodes, one of weight 3 is given three tasks while one of weight 1
        is given one. A queue that nobody has weighed has weight 1. Raises as :meth:`pause_queue`, and ConfigError for
        what is no weight."""
        if type(weight) is not int or not 1 <= weight <= MAX_WEIGHT:
            raise ConfigError(f"the weight {shown(weight)} can't be used: it is a whole number from 1 to {MAX_WEIGHT}")
        self._set_queue(name, Pausing.LEAVE, weight, timeout)

    def _set_queue(self, name: str, pausing: Pausing, weight: int, timeout: float) -> None:
        check_seconds("timeout", timeout)
        check_queue(name)
        reply: Any = self._driver.set_queue(name, int(pausing), weight, timeout)
        if reply is None:
            raise TimeoutError(NO_ANSWER.format(timeout))
        if reply.refused:
            raise (RequestRefused if reply.weight else NotAllowed)(reply.refused)
