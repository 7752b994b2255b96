"""Which queues there are: the body of a QueuesReply. Its keys are listed in docs/protocol.md."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from paceline_protocol.options import DEFAULT_QUEUE

if TYPE_CHECKING:
    from paceline.core.scheduling.leader import Leader
    from paceline.core.scheduling.queues import Queue

ROWS: Final = 200
"""In one answer: whoever asks may not read, and then as many answers as a connection has room for stay in memory. First
the queues that are paused, then those in which most wait."""


def queues(leader: Leader, now: float) -> dict[str, Any]:
    """Cost: that of the queues, and of the tasks that nodes have."""
    tasks = leader.tasks
    running: Counter[str] = Counter()
    for ledger in tasks.all_ledgers():
        running.update([task.queue for task in ledger.held.values()])
    by_name = tasks.queues.by_name
    named = sum([queue.live for name, queue in by_name.items() if name != DEFAULT_QUEUE])
    shown = [queue for queue in by_name.values() if not queue.is_forgettable]
    shown.sort(key=lambda queue: (not queue.is_paused, -queue.count, queue.name))

    def row(queue: Queue) -> dict[str, Any]:
        live = len(tasks.live) - named if queue.name == DEFAULT_QUEUE else queue.live
        limited = tasks.gates.held.get(queue.name, 0)
        oldest_at = queue.oldest_arrived_at()
        return {
            "name": queue.name,
            "paused": queue.is_paused,
            "weight": queue.weight,
            "waiting": queue.count + limited,
            "running": running[queue.name],
            "delayed": max(0, live - queue.count - limited - running[queue.name]),
            "oldest_s": round(now - oldest_at, 3) if queue.count else None,
            "nodes": tasks.nodes_that_take(queue.name),
        }

    return {"queues": [row(queue) for queue in shown[:ROWS]], "more_queues": max(0, len(shown) - ROWS)}
