"""Which tasks have not ended: the body of a TasksReply. Its keys are listed in docs/protocol.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paceline.core.scheduling.finding import Cursor, state_of
from paceline.core.scheduling.listing import Listing, fill
from paceline_protocol.errors import LimitExceeded
from paceline_protocol.messages.graphs import TasksOfGraphRequest
from paceline_protocol.messages.live import LiveState, TasksRequest
from paceline_protocol.name_patterns import STARS_MAX

if TYPE_CHECKING:
    from paceline.core.scheduling.leader import Leader
    from paceline.core.state.task import Task


def listed(leader: Leader, request: TasksRequest | TasksOfGraphRequest, now: float) -> dict[str, Any]:
    """One page. While a new leader does not know yet what the nodes hold, it lists what it knows, and says so. Cost:
    see ``listing.py``. Raises LimitExceeded for a pattern that would cost more."""
    if (stars := request.name.count("*")) > STARS_MAX:
        raise LimitExceeded("stars in the pattern of a name", stars, STARS_MAX)
    tasks = leader.tasks
    graph = request.graph if isinstance(request, TasksOfGraphRequest) else ""
    listing = Listing(request.name, request.node, request.limit, graph)
    following: Cursor | None = (request.state, request.part, request.at)
    if request.term not in (0, leader.term):
        following = None  # the cursor is that of another leader
    elif following is not None:
        following = fill(tasks, listing, request.states, following)
    return {
        "term": leader.term,
        "tasks": [_row(leader, task, now) for task in listing.tasks],
        "next": following,
        "is_settled": tasks.is_settled,
        "running": tasks.at_nodes,
        "waiting": tasks.waiting + tasks.limited,
        "delayed": tasks.delayed,
    }


def _row(leader: Leader, task: Task, now: float) -> dict[str, Any]:
    """What anybody may know of one who may look at the cluster."""
    failures = leader.tasks.failures_of(task)
    failed = 0 if failures is None else failures.count
    asked = leader.cancelling.request_for(task)
    since = task.sent_at if task.has_place_at_node else task.arrived_at
    return {
        "id": task.id,
        "name": task.name,
        "state": LiveState(state_of(task)).name.lower(),
        "priority": task.priority,
        "attempt": task.attempt,
        "failed_attempts": failed,
        "lost_attempts": max(0, task.attempt - 1 - failed),
        "node": task.node if task.has_place_at_node else "",
        "since_s": round(max(0.0, now - since), 3) if since or not task.has_place_at_node else None,
        "not_before_ms": (leader.tasks.not_before_ms(task) or None) if task.is_delayed else None,
        "stopping": asked is not None and asked.is_stopping,
    }
