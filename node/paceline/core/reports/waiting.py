"""Which tasks wait, by name: the body of a WaitingReply. Its keys are listed in docs/protocol.md.

The counts are exact. They are kept as tasks come and go, so that an answer costs what the names do, of which it looks
at NAMES_LOOKED_AT, and not what the tasks do. The ids of one name are looked for in a bounded number of tasks at a
time; whoever wants all asks again.

Whoever asks may not read: then as many answers as a connection has room for stay in memory. So one answer is short, and
says how much it leaves out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from paceline.core.scheduling.live_tasks import NAMES_LOOKED_AT
from paceline_protocol.messages.client import WaitingRequest
from paceline_protocol.messages.work import Availability

if TYPE_CHECKING:
    from paceline.core.scheduling.leader import Leader

NAMES_BYTES: Final = 32 * 1024
"""What the rows of names in one answer take: first the names that no node runs, then those of which most tasks wait."""
ROW_BYTES: Final = 80
"""More than a row takes beside its name."""
IDS_LIMIT: Final = 1_000
"""In one answer."""
SCAN_TASKS: Final = 10_000
"""How many tasks one request has looked at for its ids: a millisecond or two."""
SHOWN_NAMES: Final = 20
"""In a status, and as series of the metrics, of names that no node runs, and of dead tasks: those of which there are
most."""


def waiting(leader: Leader, request: WaitingRequest) -> dict[str, Any]:
    """Cost: that of the names, and of ``SCAN_TASKS`` tasks; that of those before, which are skipped, is small."""
    tasks = leader.tasks
    ids: list[bytes] = []
    looked_at = more = 0
    is_end = True
    if request.name:
        waits = tasks.waiting_of(request.name) or tasks.delayed_of(request.name)
        order = [request.name] if waits else []
        if waits:
            ids, looked_at, is_end = tasks.find_waiting(request.name, request.skip, SCAN_TASKS, IDS_LIMIT)
    else:
        unserved = tasks.unserved_by_name()
        names = tasks.waiting_names() | set(unserved)
        order = _that_fit(sorted(names, key=lambda name: (name not in unserved, -tasks.waiting_of(name), name)))
        more = max(len(names), tasks.name_count if len(names) >= NAMES_LOOKED_AT else 0) - len(order)
    idle = nodes_that_take_none(leader)
    return {
        "names": [
            {
                "name": name,
                "waiting": tasks.waiting_of(name),
                "delayed": tasks.delayed_of(name),
                "nodes": tasks.nodes_that_run(name),
                "idle_nodes": 0 if tasks.is_served(name) else sum(name in names for names in idle),
            }
            for name in order
        ],
        "more_names": more,
        "ids": ids,
        "skip": None if is_end else request.skip + looked_at,
    }


def nodes_that_take_none(leader: Leader) -> list[frozenset[str]]:
    """Of each node that is quiet, drains or is being stopped the names that it runs."""
    ledgers = leader.tasks.ledgers
    return [
        ledgers[node_id].announced
        for node_id, state in leader.nodes.by_id.items()
        if state.enrolled and state.availability != Availability.SERVES and node_id in ledgers
    ]


def _that_fit(names: list[str]) -> list[str]:
    """The first of these names, as far as their rows may be in one answer."""
    left_bytes = NAMES_BYTES
    for number, name in enumerate(names):
        left_bytes -= ROW_BYTES + len(name.encode(errors="backslashreplace"))
        if left_bytes < 0:
            return names[:number]
    return names


def most_frequent(counts: dict[str, int]) -> dict[str, int]:
    """Of names with how many tasks there are of each: the ``SHOWN_NAMES`` of which there are most."""
    return dict(sorted(counts.items(), key=lambda row: (-row[1], row[0]))[:SHOWN_NAMES])
