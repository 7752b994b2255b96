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

from paceline.core.scheduling.ageing import Ageing
from paceline.core.scheduling.credits import NodeLedger
from paceline.core.scheduling.fair_lines import FairTurns
from paceline.core.scheduling.lanes import Lane, Lanes
from paceline.core.scheduling.placement import PLACEMENTS_LIMIT, Key, Requirements, key_of
from paceline.core.scheduling.runners import Runners
from paceline.core.state.call_options import CallOptions
from paceline.core.state.task import State, Task
from paceline_protocol.limits import MAX_QUEUES
from paceline_protocol.options import DEFAULT_QUEUE

SWEEP_QUEUES: Final = 64
"""So many queues that nothing is known of may stay, and as many as there are others."""
SWEEP_PLACED: Final = 64
"""The same of what tasks ask of their nodes, in all queues together."""


NOTHING: Final = Requirements("", "")
"""What a task asks for that asks for nothing: every node meets it."""


class QueueLanes:
    """Waiting tasks of one queue, by what has to be told apart: ``ready``; ``unlogged``, that need no log; ``alone``,
    that run alone; and those that are recovered. ``fair``: the turns of fair keys in the queue. ``ageing``: when the
    oldest task in it is next, whatever its priority."""

    __slots__ = ("ageing", "alone", "fair", "lanes", "ready", "recovered", "recovered_alone", "unlogged")

    def __init__(
        self,
        runners: Runners,
        alone: Runners,
        fair: FairTurns,
        ageing: Ageing,
        placement: Requirements | None = None,
    ) -> None:
        """``runners``: who can run what; ``alone``: the same of tasks that run alone. ``placement``: what all of these
        tasks ask of their nodes."""
        self.fair = fair
        self.ageing = ageing
        self.ready = Lanes(runners, State.READY, fair, placement, ageing)
        self.unlogged = Lanes(runners, State.READY, fair, placement, ageing)
        self.alone = Lanes(alone, State.READY, fair, placement, ageing)
        self.recovered = Lanes(runners, State.RECOVERED, fair, placement, ageing)
        self.recovered_alone = Lanes(alone, State.RECOVERED, fair, placement, ageing)
        self.lanes: tuple[Lanes, ...] = (
            self.ready,
            self.unlogged,
            self.alone,
            self.recovered,
            self.recovered_alone,
        )

    def lanes_of(self, task: Task, state: int) -> Lanes:
        """Where one of these tasks waits, which is READY or RECOVERED."""
        if state == State.RECOVERED:
            return self.recovered_alone if task.runs_alone else self.recovered
        if task.runs_alone:
            return self.alone
        return self.ready if task.is_logged else self.unlogged

    def count_of(self, is_settled: bool) -> int:
        """How many may be handed out. ``is_settled``: recovered ones, too."""
        count = self.ready.count + self.unlogged.count + self.alone.count
        return count + self.recovered.count + self.recovered_alone.count if is_settled else count

    def served(self, is_settled: bool) -> list[Lane]:
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
            served = self.recovered_alone.served + served
        return served

    def serve(self, changed: Set[str], takers: frozenset[str] | None, takers_alone: frozenset[str] | None) -> None:
        """The nodes, or what they can run, changed; see Lanes.serve. ``takers``: those that take these tasks;
        ``takers_alone``: the same of tasks that run alone."""
        for lanes in (self.ready, self.unlogged, self.recovered):
            lanes.serve(changed, takers)
        for lanes in (self.alone, self.recovered_alone):
            lanes.serve(changed, takers_alone)


class Queue(QueueLanes):
    """The waiting tasks of one queue. Those that ask something of their nodes are apart: ``placed``, by what that is.
    ``turn``: when it is due a task, in virtual time. ``live``: how many live tasks with options are in it, wherever
    they are."""

    __slots__ = ("is_paused", "live", "name", "placed", "turn", "weight")

    def __init__(self, name: str, runners: Runners, alone: Runners) -> None:
        """``runners``: who can run what; ``alone``: the same of tasks that run alone."""
        super().__init__(runners, alone, FairTurns(), Ageing())
        self.name = name
        self.weight = 1
        self.is_paused = False
        self.turn = 0
        self.live = 0
        self.placed: dict[Key, Placed] = {}

    def lanes_for(self, task: Task, state: int) -> Lanes:
        """Where a task of this queue waits, which is READY or RECOVERED."""
        options = task.options
        if options is not None and options.is_placed:
            return self.placed[key_of(task.name, options)].lanes_of(task, state)
        return self.lanes_of(task, state)

    @property
    def all_lanes(self) -> list[Lanes]:
        """Those of all of its tasks."""
        return [*self.lanes, *[lanes for placed in self.placed.values() for lanes in placed.lanes]]

    @property
    def count(self) -> int:
        """How many tasks wait."""
        return self.waiting(True)

    def oldest_arrived_at(self) -> float:
        """When the oldest waiting task came; inf if none waits."""
        return min([lanes.oldest_arrived_at() for lanes in self.all_lanes])

    def waiting(self, is_settled: bool) -> int:
        """How many tasks may be handed out. ``is_settled``: recovered ones, too."""
        count = self.count_of(is_settled)
        return count + sum([placed.count_of(is_settled) for placed in self.placed.values()]) if self.placed else count

    def served_lanes(self, is_settled: bool) -> list[Lane]:
        """See :meth:`QueueLanes.served`."""
        served = self.served(is_settled)
        for placed in self.placed.values():
            if placed.count_of(is_settled):
                served = served + placed.served(is_settled)
        return served

    @property
    def is_forgettable(self) -> bool:
        """Whether nothing is lost if it is made anew."""
        return not self.live and self.weight == 1 and not self.is_paused and self.name != DEFAULT_QUEUE


class Placed(QueueLanes):
    """The waiting tasks of one queue that ask the same of their nodes."""

    __slots__ = ("placement",)

    def __init__(self, placement: Requirements, runners: Runners, alone: Runners, of: Queue) -> None:
        super().__init__(runners, alone, of.fair, of.ageing, placement)
        self.placement = placement


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
        self._placed_count = 0  # over all queues, those among them that no live task asks for any more
        self._sweep_placed_at = SWEEP_PLACED

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

    # --- what tasks ask of their nodes (placement.py) -----------------------------------------------------------

    def enters(self, name: str, options: CallOptions) -> None:
        """A live task of this name has come that has these options."""
        queue = self.of(options.queue)
        queue.live += 1
        if options.is_placed:
            self._placed(queue, key_of(name, options)).placement.live += 1

    def leaves(self, name: str, options: CallOptions) -> None:
        """It has ended."""
        queue = self.by_name[options.queue]
        queue.live -= 1
        if options.is_placed:
            queue.placed[key_of(name, options)].placement.live -= 1

    def has_room_to_place(self, queue: str, key: Key) -> bool:
        """Whether a task of this queue may ask for this, as others do, or something else is asked for no more."""
        if self._placed_count < PLACEMENTS_LIMIT:
            return True
        if (known := self.by_name.get(queue)) is not None and key in known.placed:
            return True
        self._sweep_placed()
        return self._placed_count < PLACEMENTS_LIMIT

    @property
    def has_placed(self) -> bool:
        """Whether tasks ask something of their nodes, or did until lately."""
        return self._placed_count > 0

    def placement_of(self, name: str, options: CallOptions) -> Requirements:
        """What a live task asks for."""
        return self.by_name[options.queue].placed[key_of(name, options)].placement if options.is_placed else NOTHING

    def placed(self) -> list[Placed]:
        """All tasks that wait and ask something, by what that is."""
        return [placed for queue in self.by_name.values() for placed in queue.placed.values()]

    def placed_lanes(self, *, is_settled: bool) -> list[Lane]:
        """The lanes of such tasks that may be handed out and that some node serves. ``is_settled``: recovered ones,
        too."""
        return [
            lane
            for queue in self.by_name.values()
            if not queue.is_paused
            for placed in queue.placed.values()
            if placed.count_of(is_settled)
            for lane in placed.served(is_settled)
        ]

    def _placed(self, queue: Queue, key: Key) -> Placed:
        placed = queue.placed.get(key)
        if placed is None:
            if self._placed_count >= self._sweep_placed_at:
                self._sweep_placed()
            placed = queue.placed[key] = Placed(Requirements(*key), self.runners, self.alone_runners, queue)
            self._placed_count += 1
            self.lanes += placed.lanes
            self._serve_placed(queue, placed, frozenset())
        return placed

    def _sweep_placed(self) -> None:
        """Let go of what no live task asks for."""
        for queue in self.by_name.values():
            for key in [key for key, placed in queue.placed.items() if not placed.placement.live]:
                for lanes in queue.placed.pop(key).lanes:
                    for lane in lanes.lanes:
                        lane.sweep()  # so that it counts for no fair key
        self._gather_lanes()
        self._sweep_placed_at = 2 * self._placed_count + SWEEP_PLACED

    def _serve_placed(self, queue: Queue, placed: Placed, changed: Set[str]) -> None:
        meeting = [runners.that_meet(placed.placement) for runners in (self.runners, self.alone_runners)]
        takers = [runners.takers_of(queue.name) for runners in (self.runners, self.alone_runners)]
        both = [some if them is None else some & them for some, them in zip(meeting, takers, strict=True)]
        placed.serve(changed, both[0], both[1])

    # --- queues -------------------------------------------------------------------------------------------------

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
        for placed in queue.placed.values():
            self._serve_placed(queue, placed, changed)

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
        self._gather_lanes()
        self._sweep_at = min(MAX_QUEUES, 2 * len(self.by_name) + SWEEP_QUEUES)

    def _gather_lanes(self) -> None:
        self.lanes = [lanes for queue in self.by_name.values() for lanes in queue.all_lanes]
        self._placed_count = sum([len(queue.placed) for queue in self.by_name.values()])
