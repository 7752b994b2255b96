"""Queues: tasks that wait together, and take turns with those of other queues.

A task waits in the queue that its call names. Within a queue the order is that of ``lanes.py``: higher priority first,
then age. Between queues it is their *weights*: of two that have tasks waiting for the same nodes, one of weight 3 is
given three tasks for each that one of weight 1 is given. A queue that is *paused* is given none.

Whose turn it is says ``queue_turns.py``.

Anybody who may submit can name a queue, so their number is bounded; one that no live task names, and of which nothing
is said in the log, makes room for another.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final

from paceline.core.scheduling.credits import NodeLedger
from paceline.core.scheduling.fair_lines import FairTurns
from paceline.core.scheduling.lanes import Lane, Lanes
from paceline.core.scheduling.runners import Runners
from paceline.core.state.task import State, Task
from paceline_protocol.limits import MAX_QUEUES
from paceline_protocol.options import DEFAULT_QUEUE

SWEEP_QUEUES: Final = 64
"""So many queues that nothing is known of may stay, and as many as there are others."""


class Queue:
    """The waiting tasks of one queue, by what has to be told apart: ``ready``; ``unlogged``, that need no log;
    ``alone``, that run alone; and those that are recovered. ``turn``: when it is due a task, in virtual time.
    ``live``: how many live tasks with options are in it, wherever they are. ``fair``: the turns of fair keys."""

    __slots__ = (
        "alone",
        "fair",
        "is_paused",
        "lanes",
        "live",
        "name",
        "ready",
        "recovered",
        "recovered_alone",
        "turn",
        "unlogged",
        "weight",
    )

    def __init__(self, name: str, runners: Runners, alone: Runners) -> None:
        """``runners``: who can run what; ``alone``: the same of tasks that run alone."""
        self.name = name
        self.weight = 1
        self.is_paused = False
        self.turn = 0
        self.live = 0
        self.fair = FairTurns()
        self.ready = Lanes(runners, State.READY, self.fair)
        self.unlogged = Lanes(runners, State.READY, self.fair)
        self.alone = Lanes(alone, State.READY, self.fair)
        self.recovered = Lanes(runners, State.RECOVERED, self.fair)
        self.recovered_alone = Lanes(alone, State.RECOVERED, self.fair)
        self.lanes: tuple[Lanes, ...] = (
            self.ready,
            self.unlogged,
            self.alone,
            self.recovered,
            self.recovered_alone,
        )

    def lanes_for(self, task: Task, state: int) -> Lanes:
        """Where a task of this queue waits, which is READY or RECOVERED."""
        if state == State.RECOVERED:
            return self.recovered_alone if task.runs_alone else self.recovered
        if task.runs_alone:
            return self.alone
        return self.ready if task.is_logged else self.unlogged

    @property
    def count(self) -> int:
        """How many tasks wait."""
        return self.waiting(True)

    def oldest_arrived_at(self) -> float:
        """When the oldest waiting task came; inf if none waits."""
        return min([lanes.oldest_arrived_at() for lanes in self.lanes])

    def waiting(self, is_settled: bool) -> int:
        """How many tasks may be handed out. ``is_settled``: recovered ones, too."""
        count = self.ready.count + self.unlogged.count + self.alone.count
        return count + self.recovered.count + self.recovered_alone.count if is_settled else count

    def served_lanes(self, is_settled: bool) -> list[Lane]:
        """The lanes whose tasks may be handed out and that some node serves, those of recovered tasks first.
        ``is_settled``: these may be handed out, too."""
        served = self.ready.served
        if self.unlogged.count:
            served = served + self.unlogged.served if self.ready.count else self.unlogged.served
        if self.alone.count:
            served = served + self.alone.served
        if is_settled and self.recovered.count:
            served = self.recovered.served + served
        if is_settled and self.recovered_alone.count:
            served = served + self.recovered_alone.served
        return served

    def serve(self, changed: Set[str], takers: frozenset[str] | None, takers_alone: frozenset[str] | None) -> None:
        """The nodes, or what they can run, changed; see Lanes.serve. ``takers``: those that take its tasks;
        ``takers_alone``: the same of tasks that run alone."""
        for lanes in (self.ready, self.unlogged, self.recovered):
            lanes.serve(changed, takers)
        for lanes in (self.alone, self.recovered_alone):
            lanes.serve(changed, takers_alone)

    @property
    def is_forgettable(self) -> bool:
        """Whether nothing is lost if it is made anew."""
        return not self.live and self.weight == 1 and not self.is_paused and self.name != DEFAULT_QUEUE


class Queues:
    """All queues by name. ``default``: of the tasks whose calls name none; it is always there. ``lanes``: those of all
    queues. ``virtual_time``: see ``queue_turns.py``."""

    def __init__(self, own_id: str = "") -> None:
        self.runners = Runners(own_id)
        self.alone_runners = Runners(own_id, is_alone=True)
        self.default = Queue(DEFAULT_QUEUE, self.runners, self.alone_runners)
        self.by_name: dict[str, Queue] = {DEFAULT_QUEUE: self.default}
        self.lanes: list[Lanes] = [*self.default.lanes]
        self.virtual_time = 0
        self._only = [self.default]
        self._sweep_at = SWEEP_QUEUES

    def of(self, name: str) -> Queue:
        """The queue of this name; a new one, if there is none. See :meth:`has_room_for`."""
        queue = self.by_name.get(name)
        if queue is None:
            if len(self.by_name) >= self._sweep_at:
                self._sweep()
            queue = self.by_name[name] = Queue(name, self.runners, self.alone_runners)
            self.lanes += queue.lanes
            self._serve(queue, frozenset())
        return queue

    def has_room_for(self, name: str) -> bool:
        """Whether a task may name this queue, as it is there, or another makes room for it."""
        by_name = self.by_name
        return name in by_name or len(by_name) < MAX_QUEUES or any(queue.is_forgettable for queue in by_name.values())

    def set(self, name: str, *, is_paused: bool, weight: int) -> None:
        """The log says this of a queue."""
        queue = self.of(name)
        queue.is_paused, queue.weight = is_paused, weight

    def serve(self, serving: dict[str, NodeLedger], alone: dict[str, NodeLedger]) -> None:
        """The nodes, or what they offer, changed. ``serving``: their ledgers, by key; ``alone``: those for tasks that
        run alone. Cost: that of the names that nodes run or did, of the queues, and of the tasks in lanes that part."""
        changed = self.runners.serve(serving) | self.alone_runners.serve(alone)
        for queue in self.by_name.values():
            self._serve(queue, changed)

    def _serve(self, queue: Queue, changed: Set[str]) -> None:
        queue.serve(changed, self.runners.takers_of(queue.name), self.alone_runners.takers_of(queue.name))

    def waiting(self, *, is_settled: bool) -> int:
        """How many tasks may be handed out, were no queue paused. ``is_settled``: recovered ones, too."""
        if len(self.by_name) == 1:
            return self.default.waiting(is_settled)
        return sum([queue.waiting(is_settled) for queue in self.by_name.values()])

    def with_work(self, *, is_settled: bool) -> list[Queue]:
        """The queues of which a task may be handed out, if a node has credit for it. ``is_settled``: a recovered one,
        too."""
        default = self.default
        if len(self.by_name) == 1:  # as in most clusters: there is no list to make in each turn
            return self._only if not default.is_paused and default.waiting(is_settled) else []
        return [queue for queue in self.by_name.values() if not queue.is_paused and queue.waiting(is_settled)]

    def _sweep(self) -> None:
        """Let go of queues of which nothing is known."""
        for name in [name for name, queue in self.by_name.items() if queue.is_forgettable]:
            del self.by_name[name]
        self.lanes = [lanes for queue in self.by_name.values() for lanes in queue.lanes]
        self._sweep_at = min(MAX_QUEUES, 2 * len(self.by_name) + SWEEP_QUEUES)
