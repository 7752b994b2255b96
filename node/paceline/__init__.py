"""Python tasks on a group of machines, with no broker to install.

::

    from paceline import Client, task

    @task
    def add(x, y):
        return x + y

    with Client() as client:
        print(client.submit(add, 2, 3).result())

A node serves the tasks of a module: ``paceline node tasks.py``. :class:`Cluster` starts one from a script.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paceline.errors import (
    Cancelled,
    ResultExpired,
    ResultUnknown,
    Retry,
    SoftTimeLimitExceeded,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TaskLost,
    TaskTimedOut,
    UpstreamFailed,
)
from paceline.importing import import_own
from paceline.worker.current import CurrentTask, current_task, heartbeat, progress
from paceline.worker.registry import Task, task

if TYPE_CHECKING:
    from paceline.client import Client, Future, NamedTask
    from paceline.client.executor import Executor
    from paceline.local import Cluster
    from paceline.schedules import Schedule, Timetable, at, cron, every

__all__ = [
    "Cancelled",
    "Client",
    "Cluster",
    "CurrentTask",
    "Executor",
    "Future",
    "NamedTask",
    "ResultExpired",
    "ResultUnknown",
    "Retry",
    "Schedule",
    "SoftTimeLimitExceeded",
    "Task",
    "TaskCancelled",
    "TaskExpired",
    "TaskFailed",
    "TaskLost",
    "TaskTimedOut",
    "Timetable",
    "UpstreamFailed",
    "at",
    "cron",
    "current_task",
    "every",
    "heartbeat",
    "progress",
    "task",
]
__version__ = "0.1.0"

_HOMES = {
    "Client": "paceline.client",
    "Cluster": "paceline.local",
    "Executor": "paceline.client.executor",
    "Future": "paceline.client",
    "NamedTask": "paceline.client",
    "Schedule": "paceline.schedules",
    "Timetable": "paceline.schedules",
    "at": "paceline.schedules",
    "cron": "paceline.schedules",
    "every": "paceline.schedules",
}


def __getattr__(name: str) -> Any:
    """The client's names are imported when they are first used: a worker needs ``task`` alone, and starts faster so."""
    if name in _HOMES:
        return getattr(import_own(_HOMES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
