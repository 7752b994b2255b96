"""What a node and its children, the workers and the web process, say to each other."""

# No ``from __future__ import annotations``: ``message.py`` says why.

from typing import NamedTuple, TypeAlias

from paceline_protocol.messages.message import (
    Id,
    LongString,
    Name,
    PackedDefaults,
    PackedOwnSchedules,
    PackedValue,
    Sender,
    message,
)
from paceline_protocol.messages.records import NO_DEFAULTS, NO_SCHEDULES, Assignment, Outcome
from paceline_protocol.messages.trace import Trace

# --- node <-> worker --------------------------------------------------------------------------------------------


@message(80, Sender.WORKER)
class WorkerReady(NamedTuple):
    pid: int
    names: tuple[Name, ...]
    defaults: PackedDefaults = NO_DEFAULTS  # codec.encode_defaults: of those of these tasks that ask for something
    async_names: tuple[Name, ...] = ()  # those that can run many at once: `async def`, or in threads
    schedules: PackedOwnSchedules = NO_SCHEDULES  # codec.encode_own_schedules: those that come with its modules


@message(81, Sender.WORKER)
class WorkerFailed(NamedTuple):
    """The worker can't serve: one of its modules does not import."""

    pid: int
    module: str
    error: LongString
    traceback: LongString


@message(82, Sender.PARENT, trusted=True)
class Run(NamedTuple):
    """Tasks for one worker, run in order."""

    tasks: tuple[Assignment, ...]


@message(83, Sender.WORKER, trusted=True)
class Done(NamedTuple):
    outcomes: tuple[Outcome, ...]


@message(84, Sender.PARENT)
class Stop(NamedTuple):
    """Finish what you run, then exit."""


@message(85, Sender.WORKER, trusted=True)
class CleaningUp(NamedTuple):
    """As Done, but the last of these tasks has left something that the worker ends now. It begins no other task until
    it has answered for that one again, with the end CANCELLED."""

    outcomes: tuple[Outcome, ...]


@message(86, Sender.PARENT)
class NodeMoved(NamedTuple):
    """Workers are started with the address of their node, which listens at another one from now on. A worker that runs
    a task hears it behind that."""

    address: str


@message(136, Sender.WORKER)
class Remarks(NamedTuple):
    """What tasks of this worker say of themselves while they run: how far they are, that they live, what they print and
    log. At most REMARKS_PER_S of them are sent. One that is lost with its worker is not repeated."""

    said: tuple[tuple[Id, int, PackedValue, bytes, int], ...]
    # (task id, attempt, how far it is, b"" if it does not say, more of its output, bytes that are left out before that)


@message(87, Sender.PARENT)
class ServeAsync(NamedTuple):
    """From now on this worker runs what it is given beside what it runs, each task once it has read of it. Said once,
    before its first Run."""

    slots: int  # so many at once at most


@message(88, Sender.PARENT)
class StopAttempts(NamedTuple):
    """To a worker that serves so: those of these tasks that run are asked to stop."""

    ids: tuple[Id, ...]


@message(89, Sender.WORKER)
class LoopBlocked(NamedTuple):
    """A task has kept the event loop of its worker from running the others for so long."""

    name: Name
    blocked_ms: int


@message(210, Sender.WORKER)
class Waits(NamedTuple):
    """A task of this worker does nothing before that other task has ended, which may be anybody's. Until it goes on,
    nothing behind it is begun here."""

    id: Id
    waits_for: Id


@message(211, Sender.WORKER)
class GoesOn(NamedTuple):
    """A task that waited goes on. It does so without asking; that it has ended says the same."""

    id: Id


# --- node <-> its web process -------------------------------------------------------------------------------------


@message(90, Sender.WEB)
class MetricsRequest(NamedTuple):
    """Somebody asked the web process how the node is. It asks again only once it has the answer."""


@message(91, Sender.PARENT)
class MetricsReply(NamedTuple):
    """Counts, and how things stand; that it comes says that the node's loop turns."""

    body: PackedValue  # a packed map


WorkerMessage: TypeAlias = (
    WorkerReady | WorkerFailed | Done | CleaningUp | Remarks | LoopBlocked | Waits | GoesOn | Trace
)
ToWorkerMessage: TypeAlias = Run | Stop | NodeMoved | ServeAsync | StopAttempts
WebMessage: TypeAlias = MetricsRequest | MetricsReply
