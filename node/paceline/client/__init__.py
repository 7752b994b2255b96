"""What a program uses to run tasks on a cluster: ``Client``, and the ``Future`` that it gives for each call.

``client.py`` is the face, without a thread or a socket of its own. ``session/`` is the client's side of the protocol,
pure, as the core of a node is: which node to talk to, what to send, what became of each task. ``driver/`` is the shell
around it: sockets, the threads of the program, and the futures. ``relay.py`` is the same for a program that submits for
others.

The rules: a call that was submitted ends, with a result or an error, whatever leader dies meanwhile, and without a line
of the program's own; the thread that waits for a result does the work, so that no other thread stands on its way; and a
client never imports a node.
"""

from paceline.client.client import Client, current_client
from paceline.client.dead_tasks import DeadDetails, DeadGroup, DeadRecord, Requeued
from paceline.client.future import Future
from paceline.client.gathering import DoneAndNotDone
from paceline.client.graphs import Graph, GraphProgress
from paceline.client.live_tasks import LivePage, LiveTask
from paceline.client.mapping import Mapped, Unordered
from paceline.client.progress import TaskOutput, TaskProgress
from paceline.client.schedules import Backfilled, ScheduledTask
from paceline.client.targets import NamedTask
from paceline.client.task_record import TaskRecord

__all__ = [
    "Backfilled",
    "Client",
    "DeadDetails",
    "DeadGroup",
    "DeadRecord",
    "DoneAndNotDone",
    "Future",
    "Graph",
    "GraphProgress",
    "LivePage",
    "LiveTask",
    "Mapped",
    "NamedTask",
    "Requeued",
    "ScheduledTask",
    "TaskOutput",
    "TaskProgress",
    "TaskRecord",
    "Unordered",
    "current_client",
]
