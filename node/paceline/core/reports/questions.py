"""The questions that an operator can ask, each with its answer. A new one is a message, and a row here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paceline.core.node.questions import AskedOf, Question
from paceline.core.reports.dead import dead_task, dead_tasks
from paceline.core.reports.found import found
from paceline.core.reports.graphs import graphs
from paceline.core.reports.listed import listed
from paceline.core.reports.queues import queues
from paceline.core.reports.scheduled import scheduled
from paceline.core.reports.status import status
from paceline.core.reports.waiting import waiting
from paceline.core.reports.whereabouts import whereabouts
from paceline.core.scheduling.run_now import run_now
from paceline_protocol.messages.client import (
    Admin,
    DeadTaskReply,
    DeadTaskRequest,
    DeadTasksReply,
    DeadTasksRequest,
    FindReply,
    FindRequest,
    OutputRequest,
    ProgressRequest,
    StatusReply,
    StatusRequest,
    TaskReply,
    TaskRequest,
    WaitingReply,
    WaitingRequest,
)
from paceline_protocol.messages.graphs import FindInGraph, GraphsReply, GraphsRequest, TasksOfGraphRequest
from paceline_protocol.messages.live import RunNow, RunNowReply, TasksReply, TasksRequest
from paceline_protocol.messages.queues import FindInQueue, FindToAlter, QueuesReply, QueuesRequest
from paceline_protocol.messages.schedules import SchedulesReply, SchedulesRequest
from paceline_protocol.payload import pack_value

if TYPE_CHECKING:
    from paceline.core.node import NodeCore


def tell_status(node: NodeCore, key: bytes, request: StatusRequest, now: float) -> StatusReply:
    """Reply with the status."""
    return StatusReply(request.request, pack_value(status(node, now)))


def change_cluster(node: NodeCore, key: bytes, request: Admin, now: float) -> None:
    """Take a request to change the cluster. The reply follows once that is done, or refused."""
    node.role.ask(key, request, now)


def tell_whereabouts(node: NodeCore, key: bytes, request: TaskRequest, now: float) -> TaskReply:
    """Reply with where a task is."""
    leader = node.leader
    assert leader is not None, "a question of the leader"
    return TaskReply(request.request, pack_value(whereabouts(leader, request.id, now)))


def tell_waiting(node: NodeCore, key: bytes, request: WaitingRequest, now: float) -> WaitingReply:
    """Reply with which tasks wait, by name."""
    leader = node.leader
    assert leader is not None, "a question of the leader"
    return WaitingReply(request.request, pack_value(waiting(leader, request)))


def tell_dead_tasks(node: NodeCore, key: bytes, request: DeadTasksRequest, now: float) -> DeadTasksReply:
    """Reply with the dead tasks that are kept."""
    return DeadTasksReply(request.request, pack_value(dead_tasks(node.table, node.settings, request)))


def tell_dead_task(node: NodeCore, key: bytes, request: DeadTaskRequest, now: float) -> DeadTaskReply:
    """Reply with all of one dead task."""
    return DeadTaskReply(request.request, "", pack_value(dead_task(node.table, request.id)))


def tell_found(
    node: NodeCore, key: bytes, request: FindRequest | FindInQueue | FindToAlter | FindInGraph, now: float
) -> FindReply:
    """Reply with some of the tasks that have a name and a state."""
    leader = node.leader
    assert leader is not None, "a question of the leader"
    return FindReply(request.request, pack_value(found(leader, request, now)))


def tell_listed(node: NodeCore, key: bytes, request: TasksRequest | TasksOfGraphRequest, now: float) -> TasksReply:
    """Reply with some of the tasks that have not ended."""
    leader = node.leader
    assert leader is not None, "a question of the leader"
    return TasksReply(request.request, pack_value(listed(leader, request, now)))


def have_run(node: NodeCore, key: bytes, request: RunNow, now: float) -> RunNowReply:
    """Let tasks wait for their moments no longer."""
    leader = node.leader
    assert leader is not None, "a question of the leader"
    return RunNowReply(request.request, "", run_now(leader, request.ids, now))


def ask_nodes(node: NodeCore, key: bytes, request: ProgressRequest | OutputRequest, now: float) -> None:
    """Ask the nodes what a task says of itself. The reply follows once they have told."""
    leader = node.leader
    assert leader is not None, "a question of the leader"
    leader.remarks.ask(key, request, node.peering.directory.level_of, now)


def tell_queues(node: NodeCore, key: bytes, request: QueuesRequest, now: float) -> QueuesReply:
    """Reply with which queues there are."""
    leader = node.leader
    assert leader is not None, "a question of the leader"
    return QueuesReply(request.request, pack_value(queues(leader, now)))


def tell_graphs(node: NodeCore, key: bytes, request: GraphsRequest, now: float) -> GraphsReply:
    """Reply with a graph, or with which there are."""
    leader = node.leader
    assert leader is not None, "a question of the leader"
    return GraphsReply(request.request, pack_value(graphs(leader, node.table, request)))


def tell_schedules(node: NodeCore, key: bytes, request: SchedulesRequest, now: float) -> SchedulesReply:
    """Reply with some of the schedules."""
    leader = node.leader
    assert leader is not None, "a question of the leader"
    return SchedulesReply(request.request, pack_value(scheduled(leader, node.table, request, node.wall_clock_ms(now))))


QUESTIONS: Final = (
    Question(StatusRequest, AskedOf.ANY_NODE, tell_status),
    Question(Admin, AskedOf.LEADER, change_cluster),
    Question(TaskRequest, AskedOf.LEADER, tell_whereabouts),
    Question(WaitingRequest, AskedOf.LEADER, tell_waiting),
    Question(DeadTasksRequest, AskedOf.LEADER, tell_dead_tasks),
    Question(DeadTaskRequest, AskedOf.LEADER, tell_dead_task),
    Question(FindRequest, AskedOf.LEADER, tell_found),
    Question(TasksRequest, AskedOf.LEADER, tell_listed),
    Question(RunNow, AskedOf.LEADER, have_run),
    Question(SchedulesRequest, AskedOf.LEADER, tell_schedules),
    Question(ProgressRequest, AskedOf.LEADER, ask_nodes),
    Question(OutputRequest, AskedOf.LEADER, ask_nodes),
    Question(QueuesRequest, AskedOf.LEADER, tell_queues),
    Question(FindInQueue, AskedOf.LEADER, tell_found),
    Question(FindToAlter, AskedOf.LEADER, tell_found),
    Question(FindInGraph, AskedOf.LEADER, tell_found),
    Question(TasksOfGraphRequest, AskedOf.LEADER, tell_listed),
    Question(GraphsRequest, AskedOf.LEADER, tell_graphs),
)
