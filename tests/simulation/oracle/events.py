"""What can happen in a simulated cluster, as far as promises are concerned.

Times are seconds of the simulated world, moments are milliseconds since 1970 by somebody's wall clock. Nodes are named
by their id. All that a task may be asked for is in ``Submitted.options``, by key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from paceline_protocol.messages.records import Call, EndRecord
from paceline_protocol.messages.schedules import ScheduleDefinition


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. ``at_s``: when, by the world's clock."""

    at_s: float


# --- clients --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Submitted(Event):
    """A client asks for a task. ``answer``: (TaskEnd, payload), which any run of it that ends by itself gives, unless
    it is flaky: then a run may fail with ``failure``, too."""

    task_id: bytes
    options: Mapping[str, Any]
    answer: tuple[int, bytes]
    failure: bytes = b""
    requeued_from: bytes = b""  # the dead task in whose place it is to be; nobody waits for it


@dataclass(frozen=True, slots=True)
class InputOver(Event):
    """The cluster has no result of a task that this one is to depend on. ``left``: the tasks on which the client has it
    depend now."""

    task_id: bytes
    left: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CalledWith(Event):
    """A worker is given the results of tasks that this one depends on."""

    task_id: bytes
    results: tuple[tuple[bytes, int, bytes], ...]


@dataclass(frozen=True, slots=True)
class CalledTogether(Event):
    """A worker calls a function once for these tasks. ``calls``: their ids and names."""

    calls: tuple[tuple[bytes, str], ...]


@dataclass(frozen=True, slots=True)
class DeadAsked(Event):
    """A client wants a dead task requeued, or else discarded."""

    task_id: bytes
    is_requeue: bool


@dataclass(frozen=True, slots=True)
class DeadAnswered(Event):
    """The cluster says what that came to: a DeadState."""

    task_id: bytes
    state: int
    asked_at_s: float
    is_requeue: bool


@dataclass(frozen=True, slots=True)
class QueueAsked(Event):
    """A client asks for a queue to be paused, resumed or weighed."""

    queue: str


@dataclass(frozen=True, slots=True)
class QueueAnswered(Event):
    """It is told whether the queue is paused. Nobody else has asked for anything meanwhile."""

    queue: str
    paused: bool


@dataclass(frozen=True, slots=True)
class Altered(Event):
    """The log has in which queue a task waits from now on, and whether it is held."""

    task_id: bytes
    queue: str
    is_held: bool


@dataclass(frozen=True, slots=True)
class GraphTold(Event):
    """The cluster says how many tasks a graph has, how many of these have not ended, or not by its log, and how many
    ended in which way, by TaskEnd."""

    name: str
    total: int
    live: int
    ends: Mapping[int, int]
    asked_at_s: float


@dataclass(frozen=True, slots=True)
class TriggerAsked(Event):
    """A client wants the task of a schedule made now, under this id."""

    task_id: bytes


@dataclass(frozen=True, slots=True)
class ScheduleAnswered(Event):
    """It is told what came of a request: a ScheduleAnswer. ``op``: a ScheduleOp, or 0 with the ``task_id`` of what is
    triggered."""

    name: str
    op: int
    answer: int
    asked_at_s: float
    task_id: bytes


@dataclass(frozen=True, slots=True)
class ToldAccepted(Event):
    """The cluster tells the client that it has the task."""

    task_id: bytes


@dataclass(frozen=True, slots=True)
class ToldEnd(Event):
    """The cluster tells the client how the task ended: a TaskEnd and its payload."""

    task_id: bytes
    end: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class ClientGone(Event):
    """A client's process dies. ``task_ids``: of those that it waits for."""

    task_ids: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class CancelAsked(Event):
    """A client wants the task cancelled."""

    task_id: bytes


@dataclass(frozen=True, slots=True)
class CancelAnswered(Event):
    """The cluster says what that came to: a CancelState."""

    task_id: bytes
    state: int
    asked_at_s: float


@dataclass(frozen=True, slots=True)
class Located(Event):
    """The cluster says where a task is: the ``state`` of a TaskReply."""

    task_id: bytes
    state: str
    asked_at_s: float
    told: Mapping[str, Any] = field(default_factory=dict)  # all that the reply says


@dataclass(frozen=True, slots=True)
class ToldProgress(Event):
    """The cluster says how far a task is: which attempt has said so, and what; None if it has nothing to tell.
    ``is_whole``: its leader knew what the nodes hold, and all that it has asked have told."""

    task_id: bytes
    attempt: int | None
    said: Any
    asked_at_s: float
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class ToldRead(Event):
    """The cluster tells a client that has asked for another's task how that ended."""

    task_id: bytes
    end: int
    payload: bytes
    asked_at_s: float


@dataclass(frozen=True, slots=True)
class ReadRefused(Event):
    """The cluster tells such a client that it has nothing to tell of the task. ``has_expired``: as the time is over for
    which its result was kept."""

    task_id: bytes
    asked_at_s: float
    has_expired: bool = False


@dataclass(frozen=True, slots=True)
class ToldExpired(Event):
    """The cluster tells the client that the time is over for which the result of its own task was kept."""

    task_id: bytes


# --- leaders, nodes and workers -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dispatched(Event):
    """A leader gives a node the task. ``wall_ms``: what that leader's wall clock shows then. ``shown_ms``: the highest
    moment that it has shown there since the task was submitted, as it may have been set back meanwhile."""

    task_id: bytes
    attempt: int
    leader: str
    wall_ms: int
    shown_ms: int


@dataclass(frozen=True, slots=True)
class LostInTransfer(Event):
    """A leader gives a task up as LOST while its leadership is being transferred."""

    task_id: bytes
    leader: str


@dataclass(frozen=True, slots=True)
class WorkersHave(Event):
    """A node has given its workers more: these are all tasks that they have and have not answered for. ``tags`` and
    ``amounts``: that the node declares. ``units``: those that each of these tasks was given."""

    node: str
    task_ids: tuple[bytes, ...]
    tags: str
    amounts: str
    units: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GivenToWorker(Event):
    """A node gives the task to one of its workers, which may have others to begin before."""

    task_id: bytes
    node: str = ""


@dataclass(frozen=True, slots=True)
class NextInLine(Event):
    """A worker that has nothing else to do was given the task, and has not read of it yet: for its node it counts as
    begun, also if that worker dies first."""

    task_id: bytes


@dataclass(frozen=True, slots=True)
class Started(Event):
    """A worker begins with the task."""

    task_id: bytes
    attempt: int
    node: str


@dataclass(frozen=True, slots=True)
class Finished(Event):
    """A worker is done with the task, and tells its node. ``end``: a TaskEnd, or MAY_RETRY, of which ``payload`` is a
    failed attempt."""

    task_id: bytes
    attempt: int
    node: str
    end: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class BrokenOff(Event):
    """A worker does not run the task any more, and has not said how it ended: it has ended itself, or was told to stop
    it for its limit."""

    task_id: bytes
    attempt: int
    node: str


@dataclass(frozen=True, slots=True)
class Overran(Event):
    """A node kills the worker of this task, which has a time limit. With a grace the task is cancelled beside others,
    and its worker killed once it has gone on for so long."""

    task_id: bytes
    attempt: int
    grace_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AskedToStop(Event):
    """A node asks the worker that it gave this task to stop it, whatever the worker has come to."""

    task_id: bytes
    attempt: int


@dataclass(frozen=True, slots=True)
class Overstayed(Event):
    """A node kills the worker of this task, which goes on though it was asked to stop."""

    task_id: bytes
    attempt: int


@dataclass(frozen=True, slots=True)
class TakesNone(Event):
    """A node takes no tasks from now on: it is quiet, or drains."""

    node: str


@dataclass(frozen=True, slots=True)
class TakesTasks(Event):
    """A node takes tasks again."""

    node: str


@dataclass(frozen=True, slots=True)
class DrainKills(Event):
    """A node that drains kills the worker of this task, as its time is over."""

    task_id: bytes
    attempt: int


@dataclass(frozen=True, slots=True)
class CutByDrain(Event):
    """That worker has ended, with the task that it had begun."""

    task_id: bytes
    attempt: int


@dataclass(frozen=True, slots=True)
class Drained(Event):
    """A node that drained ends. ``in_time``: as nothing is left to do there. ``left``: what is, if not."""

    node: str
    in_time: bool
    left: str


@dataclass(frozen=True, slots=True)
class KilledBeside(Event):
    """The worker of this task ends by another one that runs beside it, or is killed for that: what a leader has handed
    out once may begin once more."""

    task_id: bytes


@dataclass(frozen=True, slots=True)
class Crashed(Event):
    """A node ends without a word, and with it its workers."""

    node: str
    power_fails: bool


@dataclass(frozen=True, slots=True)
class RivalStarted(Event):
    """A machine begins on a copy of a disk: on its own as it was before, or beside the one that goes on with the
    original. ``must_end``: it lacks what its leader has its word for, or is older than others know, or is beside its
    original."""

    machine: str
    must_end: bool


@dataclass(frozen=True, slots=True)
class WasOvertaken(Event):
    """A machine begins again, as a copy of it was heard in its place. What that acknowledged this one may lack."""

    machine: str


@dataclass(frozen=True, slots=True)
class GaveUp(Event):
    """A machine has ended by itself, since it must not be the node that it was. ``has_forgotten``: as it lacks what its
    leader has its word for."""

    machine: str
    has_forgotten: bool


@dataclass(frozen=True, slots=True)
class RivalsAwaited(Event):
    """Nothing has gone wrong since the last RivalStarted, nobody else has come to lead, and there was time enough."""


@dataclass(frozen=True, slots=True)
class LeaseUsed(Event):
    """A leader has handed out tasks. ``heard``: the voters whose frames can have reached it within an election
    timeout."""

    node: str
    voters: tuple[str, ...]
    heard: tuple[str, ...]


# --- the log --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Applied(Event):
    """A node applies a log entry."""

    node: str
    index: int
    term: int
    kind: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Committed(Event):
    """A log entry is applied for the first time anywhere. These come in the order of the log, each followed by what it
    says of tasks (``entries.py``). ``leader_ms``: the highest moment that the wall clock of its term's leader has shown
    so far."""

    index: int
    term: int
    kind: int
    data: bytes
    leader_ms: int


@dataclass(frozen=True, slots=True)
class Accepted(Event):
    """By the log, the cluster has the task."""

    task_id: bytes


@dataclass(frozen=True, slots=True)
class ScheduleChanged(Event):
    """By the log, this is done to a schedule: a ScheduleOp. Of PUT and RESUME with the next moment, and the one up to
    which nothing fires."""

    name: str
    op: int
    definition: ScheduleDefinition | None
    next_ms: int
    from_ms: int


@dataclass(frozen=True, slots=True)
class MomentFired(Event):
    """By the log, this became of a moment of a schedule: a Fired, how many before it were missed, the next moment, and
    the call of the task that it makes. ``leader_ms``: as of Committed."""

    name: str
    moment_ms: int
    what: int
    missed: int
    next_ms: int
    call: Call | None
    leader_ms: int


@dataclass(frozen=True, slots=True)
class SchedulesSeen(Event):
    """In calm: what all clocks show, and nothing stands in the way of schedules."""

    right_ms: int


@dataclass(frozen=True, slots=True)
class BackfillWanted(Event):
    """By the log, tasks of these past moments of a schedule are wanted. ``leader_ms``: as of Committed."""

    name: str
    moments: tuple[int, ...]
    leader_ms: int


@dataclass(frozen=True, slots=True)
class BackfillAnswered(Event):
    """A client is told what came of a backfill: a ScheduleAnswer, and how many moments have their tasks made."""

    name: str
    answer: int
    waiting: int


@dataclass(frozen=True, slots=True)
class ModuleHas(Event):
    """A node is started, and its module comes with this schedule."""

    node_id: str
    definition: ScheduleDefinition


@dataclass(frozen=True, slots=True)
class ModuleSeen(Event):
    """In calm: the schedule that comes with the module, as the leader has it, and ``versions`` of those that nodes
    have. ``is_old``: of the leader, which has had time to change it."""

    definition: ScheduleDefinition | None
    versions: frozenset[ScheduleDefinition]
    is_old: bool


@dataclass(frozen=True, slots=True)
class AttemptUsed(Event):
    """By the log, an attempt of the task is used up: lost, or about to start if there is to be only one."""

    task_id: bytes


@dataclass(frozen=True, slots=True)
class Retried(Event):
    """By the log, this attempt of the task has failed, and the next one waits so long."""

    task_id: bytes
    attempt: int
    wait_ms: int


@dataclass(frozen=True, slots=True)
class Ended(Event):
    """By the log, the task ended so. ``leader_ms``: as of the entry."""

    task_id: bytes
    attempt: int
    end: int
    payload: bytes
    leader_ms: int
    record: EndRecord | None = None
    is_dead: bool = False


@dataclass(frozen=True, slots=True)
class Requeued(Event):
    """By the log, a new task takes the place of a dead one."""

    task_id: bytes
    new_id: bytes


@dataclass(frozen=True, slots=True)
class Discarded(Event):
    """By the log, a dead task is kept no longer."""

    task_id: bytes


@dataclass(frozen=True, slots=True)
class Held(Event):
    """By the log, whoever submitted the task has its result, and others that live depend on it."""

    task_id: bytes


@dataclass(frozen=True, slots=True)
class Released(Event):
    """By the log, whoever submitted the task has its result."""

    task_id: bytes


@dataclass(frozen=True, slots=True)
class ResultExpired(Event):
    """By the log, the time is over for which the result of the task was kept."""

    task_id: bytes


# --- consensus ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Led(Event):
    """A node leads the log. ``term_at``: the term of its entry at an index above ``snapshot_index``, None if there is
    none."""

    node: str
    term: int
    snapshot_index: int
    term_at: Callable[[int], int | None]


@dataclass(frozen=True, slots=True)
class StateSeen(Event):
    """A node has applied everything up to an index. ``digests``: of what it has made of that, by section."""

    node: str
    index: int
    digests: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class PlacesSeen(Event):
    """Where a leader has its live tasks. ``wrong``: what does not fit, "" if all does."""

    node: str
    wrong: str


@dataclass(frozen=True, slots=True)
class WaitsSeen(Event):
    """Which tasks may run and have not begun, with the nodes where they wait, and which nodes have a worker that is
    free for one. All workers can run all tasks, of two kinds: ``is_async`` says which is meant. Heard in calm."""

    waiting: Mapping[bytes, str]
    free: frozenset[str]
    is_async: bool = False


@dataclass(frozen=True, slots=True)
class Bound(Event):
    """A worker is given tasks. ``busy``: how many workers of its node, with this one, have tasks and do not wait for
    others. ``slots``: how many may begin to."""

    node_id: str
    busy: int
    slots: int


@dataclass(frozen=True, slots=True)
class IdentitySeen(Event):
    """What a node is has changed. ``consents``: of all machines, by machine, those that are held there and were not
    handed on. ``cluster_id``: "" for a node of no cluster."""

    cluster_id: str
    consents: Mapping[str, frozenset[str]]


# --- the world ------------------------------------------------------------------------------------------------------


class Wait(Enum):
    """What is waited for once all faults have ended, or but the one that is looked at."""

    LEADER = "somebody to lead"
    SUCCESSOR = "somebody to lead in place of one whose main connections carry nothing"
    CAUGHT_UP = "every member to catch up"
    RESULTS = "every task to have its result"
    APPLIED = "every member to have applied all records"


@dataclass(frozen=True, slots=True)
class Waited(Event):
    """It is still waited for. ``since_s``: since when. ``detail``: what is missing, for whoever reads it."""

    wait: Wait
    since_s: float
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Calm(Event):
    """From now on nothing goes wrong, all clocks are right, there are slots for whatever may start, the leader knows
    what its nodes hold, and every client has found it."""


@dataclass(frozen=True, slots=True)
class Burst(Event):
    """From now on many tasks come at once: their results may wait until their client has read others."""


@dataclass(frozen=True, slots=True)
class ClockJumped(Event):
    """The monotonic clock of some machine jumps ahead."""

    by_s: float


@dataclass(frozen=True, slots=True)
class ResultsBounded(Event):
    """From now on there are more results than leaders keep."""


@dataclass(frozen=True, slots=True)
class Totals(Event):
    """In the end, a leader that has applied everything has recorded so many outcomes, each task once."""

    recorded: int
