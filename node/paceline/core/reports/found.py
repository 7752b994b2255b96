"""Which tasks have a name and a state: the body of a FindReply. Its keys are listed in docs/protocol.md."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from paceline.core.scheduling.alter_requests import would_change
from paceline.core.scheduling.finding import Cursor, Page, find
from paceline.core.state.task import Task
from paceline_protocol.errors import LimitExceeded
from paceline_protocol.messages.client import FindRequest
from paceline_protocol.messages.graphs import FindInGraph
from paceline_protocol.messages.queues import FindInQueue, FindToAlter, Holding
from paceline_protocol.name_patterns import STARS_MAX, NamePattern

if TYPE_CHECKING:
    from paceline.core.scheduling.leader import Leader


def found(leader: Leader, request: FindRequest | FindInQueue | FindToAlter | FindInGraph, now: float) -> dict[str, Any]:
    """One page. While a new leader does not know yet what the nodes hold, it has nothing, and the same is asked again.
    Cost: see ``finding.py``. Raises LimitExceeded for a pattern that would cost more."""
    if (stars := request.name.count("*")) > STARS_MAX:
        raise LimitExceeded("stars in the pattern of a name", stars, STARS_MAX)
    tasks = leader.tasks
    until = request.until if request.term else tasks.next_age
    pattern = NamePattern(request.name)
    if isinstance(request, FindInGraph):
        page = Page(pattern, until, request.of_queue, _in_graph(request, now))
    elif isinstance(request, FindToAlter):
        page = Page(pattern, until, request.of_queue, _to_alter(request, now))
    else:
        page = Page(pattern, until, request.queue if isinstance(request, FindInQueue) else "")
    following: Cursor | None = (request.state, request.part, request.at)
    if request.term not in (0, leader.term):
        following = None  # the cursor is that of another leader
    elif tasks.is_settled and following is not None:
        following = find(tasks, page, request.states, following)
    return {
        "term": leader.term,
        "until": until,
        "ids": page.ids,
        "next": following,
        "is_settled": tasks.is_settled,
    }


def _in_graph(request: FindInGraph, now: float) -> Callable[[Task], bool]:
    """Whether a task is of the graph, and is to be altered if some are."""
    graph = request.graph
    if (request.holding, request.queue, request.priority) == (Holding.LEAVE, "", 0):
        return lambda task: task.graph == graph
    is_to_alter = _to_alter(request, now)
    return lambda task: task.graph == graph and is_to_alter(task)


def _to_alter(request: FindToAlter | FindInGraph, now: float) -> Callable[[Task], bool]:
    """Whether a task is to be altered, and is not so yet."""
    came_by = now - request.older_than_ms / 1_000

    def is_meant(task: Task) -> bool:
        may_be = task.is_logged and not (task.options is not None and task.options.has_inputs)
        return may_be and task.arrived_at <= came_by and would_change(task, request)

    return is_meant
