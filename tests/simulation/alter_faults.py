"""Ways to break what is promised of tasks that are held, moved and given another priority; as those of
``peer_faults.py``."""

from __future__ import annotations

from typing import Any

from paceline.core.scheduling.alter_requests import AlterRequests
from paceline.core.scheduling.due_tasks import DueTasks
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.state.task import Task
from paceline_protocol.messages.queues import AlterReply, AlterState, AlterTasks
from simulation.peer_faults import Method


def hand_out_what_is_held(true: Method) -> Method:
    """It is in the log, and nobody looks."""

    def is_stopped(self: DueTasks, task: Task) -> bool:
        return task.id in self.altering

    return is_stopped


def leave_it_in_its_lane(true: Method) -> Method:
    """It is handed out while the log is waited for."""

    def set_aside(self: LiveTasks, task: Task) -> None:
        if task.is_delayed:
            true(self, task)

    def is_whole(self: LiveTasks, task: Task) -> None:
        set_aside(self, task)
        if not task.is_delayed:
            self.altering.add(task.id)

    return is_whole


def answer_before_the_log_has_it(true: Method) -> Method:
    def alter(self: AlterRequests, key: bytes, request: AlterTasks) -> None:
        true(self, key, request)
        wait = self._open.pop((key, request.request), None)
        if wait is not None:
            self.replies.append((key, AlterReply(request.request, "", tuple(wait.states.items()))))

    return alter


def change_the_task_itself(true: Method) -> Method:
    """As a snapshot may be packing it."""

    def altered(self: Task, queue: str, priority: int, *, is_held: bool) -> Task:
        made: Any = true(self, queue, priority, is_held=is_held)
        self.options, self.priority = made.options, made.priority
        return self

    return altered


def do_it_again(true: Method) -> Method:
    def alter(self: AlterRequests, key: bytes, request: AlterTasks) -> None:
        self._answered.clear()
        true(self, key, request)

    return alter


def not_held(true: Method) -> Method:
    return property(lambda self: False)  # type: ignore[return-value]


def take_what_has_started(true: Method) -> Method:
    def state_of(self: AlterRequests, task_id: bytes, request: AlterTasks, *, is_copy: bool) -> AlterState | None:
        found = true(self, task_id, request, is_copy=is_copy)
        return AlterState.DONE if found == AlterState.RUNNING else found

    return state_of
