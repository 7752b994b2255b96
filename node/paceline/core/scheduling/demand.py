"""How many slots the cluster has use for, for whoever starts and stops nodes, and for nodes that start and stop workers
(``runtime/children/scaling.py``): a worker that runs one task at a time is a slot.

A task that runs needs its slot. What waits is to begin within ``TARGET_WAIT_S``, if tasks of its name run as long as
they did so far: a task that takes longer than that needs a slot of its own, and of shorter ones several share one. So
nobody is asked to start machines for a queue that is worked off before they are there. While the queue is empty this is
the number of slots that are busy, which is how often tasks come times how long they run (J. D. C. Little, "A Proof for
the Queuing Formula: L = lambda W", 1961).

Tasks that run many at once have slots of their own, and are not counted. Nor are those that no node can run, as more of
the same nodes would not help; unless there is no worker at all, when the first node is yet to come.
"""

from __future__ import annotations

from math import ceil
from typing import Final

from paceline.core.measures.durations import Durations
from paceline.core.scheduling.live_tasks import LiveTasks

TARGET_WAIT_S: Final = 10.0
_TARGET_US: Final = TARGET_WAIT_S * 1e6


def slots_wanted(tasks: LiveTasks, durations: Durations) -> int:
    """Cost: that of nodes and of names, as far as these are looked at."""
    busy, needed = 0, 0.0
    for ledger in tasks.ledgers.values():
        held = ledger.busy
        busy += min(held, ledger.slots)
        if held > ledger.slots:
            needed += (held - ledger.slots) * _share(ledger.cost_us / held)
    return busy + ceil(needed + _needed(tasks.waiting_for_slots(), durations))


def more_wanted(tasks: LiveTasks, durations: Durations, node_id: str) -> int:
    """How many slots more than it has a node could have use for, with what waits in lanes."""
    return ceil(_needed(tasks.waiting_for_node(node_id), durations))


def _needed(waiting: dict[str, int], durations: Durations) -> float:
    """``waiting``: how many tasks, by name."""
    return sum([count * _share(durations.cost_us(name)) for name, count in waiting.items()])


def _share(duration_us: float) -> float:
    """The part of a slot that a task needs which waits."""
    return min(1.0, duration_us / _TARGET_US)
