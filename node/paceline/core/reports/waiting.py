"""Which tasks wait, by name: the body of a WaitingReply. Its keys are listed in docs/protocol.md.

The counts are exact. They are kept as tasks come and go, so that an answer costs what the names do and not what the
tasks do. The ids of one name are looked for in a bounded number of tasks at a time; whoever wants all asks again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from paceline_protocol.messages import WaitingRequest

if TYPE_CHECKING:
    from paceline.core.scheduling.leader import Leader
    from paceline.core.scheduling.live_tasks import LiveTasks

NAMES_LIMIT: Final = 1_000
"""In one answer: first the names that no node runs, then those of which most tasks wait."""
SCAN_TASKS: Final = 10_000
"""How many tasks one request has looked at for its ids: a millisecond or two."""
SHOWN_NAMES: Final = 20
"""In a status, and as series of the metrics: the names that no node runs of which most tasks wait."""


def waiting(leader: Leader, request: WaitingRequest) -> dict[str, Any]:
    """Cost: that of the names, and of ``SCAN_TASKS`` tasks behind the first ``skip``."""
    tasks = leader.tasks
    ready, delayed, unserved = tasks.waiting_by_name(), tasks.delayed_by_name(), tasks.unserved_by_name()
    names = set(ready) | set(delayed)
    if request.name:
        names &= {request.name}
    order = sorted(names, key=lambda name: (name not in unserved, -ready.get(name, 0), name))
    ids, looked_at = tasks.find_waiting(request.name, request.skip, SCAN_TASKS) if names and request.name else ([], 0)
    return {
        "names": [
            {
                "name": name,
                "waiting": ready.get(name, 0),
                "delayed": delayed.get(name, 0),
                "nodes": tasks.nodes_that_run(name),
            }
            for name in order[:NAMES_LIMIT]
        ],
        "more_names": max(0, len(order) - NAMES_LIMIT),
        "ids": ids,
        "skip": request.skip + looked_at if looked_at == SCAN_TASKS else None,
    }


def unserved(tasks: LiveTasks) -> dict[str, int]:
    """How many tasks wait under names that no node runs: the ``SHOWN_NAMES`` of which most wait."""
    counts = tasks.unserved_by_name()
    return dict(sorted(counts.items(), key=lambda row: (-row[1], row[0]))[:SHOWN_NAMES])
