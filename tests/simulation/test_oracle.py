"""Each promise on events that are written by hand: what breaks it is found, and named; what does not is let pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from paceline.core.state.schedules import fired_id
from paceline_protocol.cancelled import LOST as LOST_STOPPING
from paceline_protocol.cancelled import STOPPED as STOPPED_ERROR
from paceline_protocol.cancelled import pack_cancelled
from paceline_protocol.codec import encode_calls, encode_config, encode_failed_attempt, encode_outcomes, join_ids
from paceline_protocol.messages.client import CancelState, DeadState
from paceline_protocol.messages.consensus import Config, EntryKind
from paceline_protocol.messages.records import AT_MOST_ONCE, CANCEL, COMMITTED, MAY_RETRY, NO_LOG, EndRecord, TaskEnd
from paceline_protocol.messages.schedules import (
    MAKES_TASK,
    Fired,
    Misfire,
    Overlap,
    ScheduleAnswer,
    ScheduleDefinition,
    ScheduleOp,
    When,
)
from paceline_protocol.rates import number_of
from paceline_protocol.requeued import requeued_id
from simulation.oracle import events as e
from simulation.oracle.accepted_tasks import AcceptedTasks
from simulation.oracle.at_most_once import AtMostOnce
from simulation.oracle.attempts import Attempts
from simulation.oracle.batches import Batches
from simulation.oracle.bounded_waits import BoundedWaits
from simulation.oracle.cancelling import Cancelling
from simulation.oracle.counted_graphs import CountedGraphs
from simulation.oracle.dead_tasks import KEEP_DEAD, KeptDead
from simulation.oracle.dependencies import Dependencies
from simulation.oracle.draining import Draining
from simulation.oracle.free_slots import FreeSlots
from simulation.oracle.handed_out import HandedOut
from simulation.oracle.held_tasks import HeldTasks
from simulation.oracle.keys import Keys
from simulation.oracle.lease import Lease
from simulation.oracle.located_tasks import LocatedTasks
from simulation.oracle.lost_clients import LostClients
from simulation.oracle.module_schedules import SchedulesOfModules
from simulation.oracle.not_logged import NotLogged
from simulation.oracle.one_cluster import OneCluster
from simulation.oracle.one_leader import OneLeader
from simulation.oracle.one_outcome import OneOutcome
from simulation.oracle.one_place import OnePlace
from simulation.oracle.oracle import Oracle, all_promises
from simulation.oracle.paused_queues import PausedQueues
from simulation.oracle.placed_tasks import PlacedTasks
from simulation.oracle.promise import KINDS, InvariantBroken, Promise
from simulation.oracle.rates import Rates
from simulation.oracle.reading import Reading
from simulation.oracle.retention import RESULT_TTL, Retention
from simulation.oracle.retries import Retries
from simulation.oracle.right_ends import RightEnds
from simulation.oracle.rivals import Rivals
from simulation.oracle.running import Running
from simulation.oracle.same_log import SameLog
from simulation.oracle.same_state import SameState
from simulation.oracle.schedules import ScheduledMoments
from simulation.oracle.slots import Slots
from simulation.oracle.steady_leader import SteadyLeader
from simulation.oracle.stopping import Stopping
from simulation.oracle.time_limits import TimeLimits
from simulation.oracle.timing import BEHIND_MS, EXPIRED, EXPIRES, LATE_MS, NOT_BEFORE, Timing
from simulation.oracle.told_fits_log import ToldFitsLog
from simulation.oracle.told_progress import ToldAttempts
from simulation.wall_clocks import right_ms

ID = b"the task's id..."
EVERY_S = ScheduleDefinition("reverse", b"hello", 4, None, When(2, every_ms=1_000))


def put(**changes: Any) -> e.ScheduleChanged:
    """A schedule of each second from 10 s on."""
    return e.ScheduleChanged(1.0, "beat", ScheduleOp.PUT, EVERY_S._replace(**changes), 10_000, 9_500)


def moment(
    at_ms: int,
    what: Fired = Fired.FIRED,
    *,
    missed: int = 0,
    next_ms: int = 0,
    leader_ms: int = 60_000,
    task_id: bytes = b"",
    args: bytes = b"hello",
) -> e.MomentFired:
    makes_task = what in MAKES_TASK
    call = (task_id or fired_id("beat", at_ms), "reverse", 4, args, None) if makes_task else None
    return e.MomentFired(2.0, "beat", at_ms, what, missed, next_ms or at_ms + 1_000, call, leader_ms)


def changed(op: ScheduleOp, next_ms: int = 0, from_ms: int = 0, at_s: float = 1.5) -> e.ScheduleChanged:
    return e.ScheduleChanged(at_s, "beat", op, None, next_ms, from_ms)


def schedule_answered(op: int, task_id: bytes = b"", asked_at_s: float = 1.2) -> e.ScheduleAnswered:
    return e.ScheduleAnswered(3.0, "beat", op, ScheduleAnswer.DONE, asked_at_s, task_id)


ONE_AT_A_TIME = put(overlap=Overlap.SKIP)
IN_TURN = put(overlap=Overlap.QUEUE)
RUNS = e.Submitted(1.9, fired_id("beat", 10_000), {}, (1, b"olleh"))
OF_MODULE, OTHER_VERSION = EVERY_S._replace(owner="shop"), EVERY_S._replace(owner="shop", priority=7)
HAS = e.ModuleHas(0.5, "a", OF_MODULE)
HAS_OTHER = e.ModuleHas(0.6, "b", OTHER_VERSION)
LEADS = e.Led(0.7, "a", 1, 0, lambda index: None)
IN_TERM_1 = e.Committed(0.9, 1, 1, int(EntryKind.NOOP), b"", 60_000)
COMES = put(owner="shop")
FILL = e.BackfillWanted(1.95, "beat", (9_000, 10_000), 60_000)
DONE = (int(TaskEnd.SUCCEEDED), b"olleh")
FAILED = (int(TaskEnd.FAILED), b"oops")
LOST = (int(TaskEnd.LOST), b"gone")
CANCELLED = (int(TaskEnd.CANCELLED), b"")
ONCE = {"delivery": AT_MOST_ONCE}
CONFIRMED = {"confirm": COMMITTED}
UNLOGGED = {"durability": NO_LOG}
TWICE = {"max_attempts": 2}
AGAIN = {"retries": 2, "backoff": 100}
LIMITED = {"time_limit": 300}
ONE_AT_ONCE: Any = {"max_running": 1, "limit_key": "k"}
OTHER_ID = b"another task's i"
ONE_A_SECOND: Any = {"rate": number_of("1/s"), "limit_key": "k"}
TWO_A_SECOND: Any = {"rate": number_of("2/s"), "limit_key": "k"}
OTHER_OF_ONE = e.Submitted(1.0, OTHER_ID, ONE_A_SECOND, DONE)
OTHER_OF_TWO = e.Submitted(1.0, OTHER_ID, TWO_A_SECOND, DONE)
OTHER = e.Submitted(1.0, OTHER_ID, ONE_AT_ONCE, DONE)
TOGETHER: Any = {"batch": 2}
BESIDE = e.Submitted(1.0, OTHER_ID, TOGETHER, DONE)
BESIDE_WITH_KEY = e.Submitted(1.0, OTHER_ID, {**TOGETHER, "deadline": 10**13, "fair_key": "k"}, DONE)
OTHER_STARTS = e.Started(4.0, OTHER_ID, 1, "b")
TIMED_OUT = (int(TaskEnd.TIMED_OUT), b"late")
OVERRAN = e.Overran(3.5, ID, 1)
GRACE = {"cancel_grace": 200}
STOP = e.AskedToStop(3.0, ID, 1)
STOPPED = (int(TaskEnd.CANCELLED), STOPPED_ERROR)
KILLED = (int(TaskEnd.CANCELLED), pack_cancelled("its worker was killed"))
TAKES_NONE, TAKES_TASKS = e.TakesNone(1.5, "a"), e.TakesTasks(1.6, "a")
TO_WORKER = e.GivenToWorker(3.0, ID, "a")
DRAIN_KILLS, CUT = e.DrainKills(3.1, ID, 1), e.CutByDrain(3.2, ID, 1)
USED = e.AttemptUsed(3.5, ID)
FINISHED = e.Finished(3.1, ID, 1, "a", *DONE)


def submitted(options: Mapping[str, Any] | None = None, at_s: float = 1.0) -> e.Event:
    return e.Submitted(at_s, ID, options or {}, DONE)


def told(end: tuple[int, bytes], at_s: float = 5.0) -> e.Event:
    return e.ToldEnd(at_s, ID, *end)


def ended(end: tuple[int, bytes], *, attempt: int = 1, leader_ms: int = 0) -> e.Event:
    return e.Ended(4.0, ID, attempt, *end, leader_ms)


def graph_told(total: int, live: int, asked_at_s: float = 7.0) -> e.Event:
    return e.GraphTold(8.0, "nightly", total, live, {}, asked_at_s)


def located(state: str, asked_at_s: float = 3.0) -> e.Event:
    return e.Located(4.0, ID, state, asked_at_s)


def how_far(attempt: int | None, asked_at_s: float = 3.4, said: object = None) -> e.Event:
    """The answer, with what such an attempt says."""
    if attempt is not None and said is None:
        said = (attempt, None, ID.hex())
    return e.ToldProgress(asked_at_s + 0.1, ID, attempt, said, asked_at_s)


def waits(at_s: float, node: str, *free: str) -> e.Event:
    return e.WaitsSeen(at_s, {ID: node}, frozenset(free))


def started(attempt: int = 1, *, at_s: float = 3.0) -> e.Event:
    return e.Started(at_s, ID, attempt, "a")


def failed(attempt: int = 1) -> e.Event:
    return e.Finished(
        3.5, ID, attempt, "a", MAY_RETRY, encode_failed_attempt(("oops", 0, int(TaskEnd.FAILED), b"oops"))
    )


def retried(attempt: int = 1, wait_ms: int = 0) -> e.Event:
    return e.Retried(3.5, ID, attempt, wait_ms)


def given_to_worker(at_s: float) -> e.Event:
    return e.GivenToWorker(at_s, ID)


def finished(end: tuple[int, bytes] = DONE, *, at_s: float = 3.5) -> e.Event:
    return e.Finished(at_s, ID, 1, "a", *end)


def answered(state: CancelState) -> e.Event:
    return e.CancelAnswered(6.0, ID, state, 5.5)


def dispatched(wall_ms: int, *, attempt: int = 1, at_s: float = 2.0) -> e.Event:
    return e.Dispatched(at_s, ID, attempt, "a", wall_ms, wall_ms)


def expiring(after_ms: int) -> Mapping[str, int]:
    return {EXPIRES: MOMENT + after_ms}


def state(node: str, index: int, tasks: bytes) -> e.Event:
    return e.StateSeen(1.0, node, index, {"tasks": tasks, "totals": b"same"})


def led(node: str, term: int, log: Mapping[int, int] | None = None) -> e.Event:
    return e.Led(1.0, node, term, 0, (log or {}).get)


def committed(index: int, term: int, kind: EntryKind = EntryKind.NOOP, data: bytes = b"") -> e.Event:
    return e.Committed(1.0, index, term, kind, data, 0)


def kept(*, at_s: float = 4.0, record: EndRecord | None = None) -> e.Event:
    return e.Ended(at_s, ID, 1, *DONE, 0, RECORD if record is None else record)


def shown(**changes: object) -> e.Event:
    told = {**RECORD._asdict(), "is_open": False, **changes}
    return e.Located(6.0, ID, "succeeded", 5.0, told)


def died(*, is_dead: bool = True, end: tuple[int, bytes] = FAILED) -> e.Event:
    return e.Ended(4.0, ID, 1, *end, 0, RECORD if is_dead else None, is_dead=is_dead)


def dead_answered(state: DeadState, *, is_requeue: bool = True) -> e.Event:
    return e.DeadAnswered(6.0, ID, state, 5.0, is_requeue)


def read(end: tuple[int, bytes]) -> e.Event:
    return e.ToldRead(8.0, ID, *end, 6.0)


ACCEPTED = e.Accepted(2.0, ID)
TOLD_ACCEPTED = e.ToldAccepted(2.5, ID)
RELEASED = e.Released(7.0, ID)
UNREAD = e.ReadRefused(8.0, ID, 6.0)
KEPT = {RESULT_TTL: 1_000}
WITH_KEY = {"idempotency_key": "k", "unique_for": 1_000}
INPUT_ID = b"an input........"
DEPENDS = {"inputs": INPUT_ID}
INPUT = e.Submitted(0.5, INPUT_ID, {}, DONE)
INPUT_DONE, INPUT_FAILED = e.Ended(2.5, INPUT_ID, 1, *DONE, 0), e.Ended(2.5, INPUT_ID, 1, *FAILED, 0)
INPUT_GONE, INPUT_HELD = e.Released(7.0, INPUT_ID), e.Held(6.0, INPUT_ID)
THIRD = e.Submitted(1.0, INPUT_ID, TOGETHER, DONE)
BOTH = e.CalledTogether(4.0, ((ID, "f"), (OTHER_ID, "f")))
REVERSED = e.CalledTogether(4.0, ((OTHER_ID, "f"), (ID, "f")))
ALL_THREE = e.CalledTogether(4.0, ((ID, "f"), (OTHER_ID, "f"), (INPUT_ID, "f")))
CALLED = e.CalledWith(2.7, ID, ((INPUT_ID, *DONE),))
NOT_DEPENDENT = e.InputOver(2.6, ID, ())
UPSTREAM = (int(TaskEnd.UPSTREAM_FAILED), b"another failed")
RECORD = EndRecord("reverse", 4, 1, 0, 0, "a", 1, 2, 3_000, 4_000, ())
OVER = e.ResultExpired(4.7, ID)
ONE_VOTER = e.Committed(0.6, 1, 1, EntryKind.CONFIG, encode_config(Config(("a",))), 0)
TERM_2 = e.Committed(4.2, 2, 2, EntryKind.NOOP, b"", 0)
FINISHED = e.Finished(3.5, ID, 1, "a", *DONE)
UNREAD_OVER = e.ReadRefused(8.0, ID, 6.0, has_expired=True)
TOLD_OVER = e.ToldExpired(8.0, ID)
IN_VIDEO = {"queue": "video"}
IN_GRAPH = {"graph": "nightly"}
GRAPH_DONE = e.GraphTold(8.0, "nightly", 1, 0, {int(TaskEnd.SUCCEEDED): 1}, 7.0)
ON_SSD, TAKES_GPU = {"tags": "ssd"}, {"needs": "gpu=1"}
HELD, FREE = e.Altered(1.5, ID, "default", True), e.Altered(1.7, ID, "default", False)
RESUME_ASKED = e.QueueAsked(1.6, "video")
PAUSED, RESUMED = e.QueueAnswered(1.5, "video", True), e.QueueAnswered(1.7, "video", False)
IN_PLACE = e.Submitted(1.0, ID, {}, DONE, requeued_from=b"a dead task.....")
TO_KEEP = {KEEP_DEAD: 1_000}
REQUEUE, DISCARD = e.DeadAsked(4.5, ID, is_requeue=True), e.DeadAsked(4.5, ID, is_requeue=False)
REQUEUED, DISCARDED = e.Requeued(4.6, ID, requeued_id(ID)), e.Discarded(4.6, ID)
TIME_OVER = e.Discarded(5.2, ID)
ASKED = e.CancelAsked(2.0, ID)
DIES = e.ClientGone(2.0, (ID,))
WITH_CLIENT = {"on_client_lost": CANCEL}
LEADER_2 = e.Led(3.5, "b", 2, 0, {}.get)
CALM = e.Calm(0.5)
MOMENT = 1_700_000_000_000
LATER = {NOT_BEFORE: MOMENT}
BY = {"deadline": right_ms(3.5)}
SOON = {EXPIRES: MOMENT}
GONE = (EXPIRED, b"")


def cancelled(at_s: float) -> e.Event:
    return e.Ended(at_s, ID, 1, *CANCELLED, 0)


RIGHT: list[tuple[type[Promise], Sequence[e.Event]]] = [
    (AcceptedTasks, [submitted(), ACCEPTED, TOLD_ACCEPTED, ended(DONE), told(DONE), e.Totals(9.0, 1)]),
    (AcceptedTasks, [submitted(UNLOGGED), TOLD_ACCEPTED, answered(CancelState.UNKNOWN), told(DONE), e.Totals(9.0, 0)]),
    (AcceptedTasks, [submitted(), answered(CancelState.UNKNOWN), told(DONE)]),
    (AcceptedTasks, [submitted(WITH_CLIENT), ACCEPTED, TOLD_ACCEPTED, DIES, cancelled(6.5), e.Totals(9.0, 1)]),
    (CountedGraphs, [submitted(IN_GRAPH), graph_told(0, 0), ACCEPTED, graph_told(1, 1), ended(DONE), GRAPH_DONE]),
    (CountedGraphs, [submitted(IN_GRAPH), ACCEPTED, ended(DONE), graph_told(1, 1, asked_at_s=3.9)]),
    (CountedGraphs, [submitted(), ACCEPTED, ended(DONE), graph_told(0, 0)]),
    (PausedQueues, [submitted(IN_VIDEO), PAUSED, RESUME_ASKED, dispatched(MOMENT)]),
    (PausedQueues, [submitted(IN_VIDEO), PAUSED, RESUME_ASKED, RESUMED, dispatched(MOMENT)]),
    (PausedQueues, [submitted(), PAUSED, dispatched(MOMENT)]),
    (PausedQueues, [submitted(IN_VIDEO), PAUSED, e.Altered(1.7, ID, "mail", False), dispatched(MOMENT)]),
    (HeldTasks, [submitted(), HELD, FREE, dispatched(MOMENT)]),
    (HeldTasks, [submitted(), e.Altered(1.5, ID, "video", False), dispatched(MOMENT)]),
    (PlacedTasks, [submitted(ON_SSD), e.WorkersHave(2.0, "a", (ID,), "ssd,zone-a", "")]),
    (PlacedTasks, [submitted(TAKES_GPU), e.WorkersHave(2.0, "a", (ID, ID), "", "gpu=2", ("gpu=0", "gpu=1"))]),
    (Draining, [CALM, ONE_VOTER, submitted(), started(), FINISHED, started(at_s=4.0)]),
    (Draining, [submitted(), TAKES_NONE, TAKES_TASKS, TO_WORKER]),
    (Draining, [submitted(), TAKES_NONE, e.Crashed(2.0, "a", False), TO_WORKER]),
    (Draining, [CALM, submitted(), started(), DRAIN_KILLS, CUT, started(at_s=3.3), FINISHED]),
    (Draining, [CALM, submitted(ONCE), USED, started(), DRAIN_KILLS, CUT, e.Drained(4.0, "a", True, "")]),
    (Draining, [submitted(), started(), FINISHED, started(at_s=4.0), e.Drained(4.0, "a", False, "it has one")]),
    (LostClients, [CALM, submitted(WITH_CLIENT), DIES, cancelled(6.5)]),
    (LostClients, [submitted(WITH_CLIENT), DIES, LEADER_2, TERM_2, cancelled(7.6)]),
    (LostClients, [submitted(WITH_CLIENT), ASKED, DIES, cancelled(2.5)]),
    (LostClients, [submitted(WITH_CLIENT), DIES, ended(DONE)]),
    (OneOutcome, [submitted(), ACCEPTED, ended(DONE), told(DONE), told(DONE)]),
    (OneOutcome, [submitted(TWICE), told(DONE), ACCEPTED, ended(LOST)]),
    (Reading, [submitted(), started(), finished(), ended(DONE), read(DONE), RELEASED, UNREAD]),
    (Reading, [submitted(UNLOGGED), started(), TOLD_ACCEPTED, finished(), read(DONE), UNREAD]),
    (Reading, [submitted(), UNREAD]),
    (Reading, [submitted(KEPT), TOLD_ACCEPTED, kept(), UNREAD_OVER]),
    (Retention, [CALM, submitted(KEPT), TOLD_ACCEPTED, FINISHED, kept(), shown(), OVER, UNREAD_OVER, TOLD_OVER]),
    (Retention, [submitted(KEPT), FINISHED, kept(), TERM_2, e.ResultExpired(4.3, ID), TOLD_OVER]),
    (Retention, [submitted(KEPT), FINISHED, e.ClockJumped(3.7, 0.9), kept(), e.ResultExpired(4.1, ID)]),
    (Retention, [submitted(KEPT), e.Ended(4.0, ID, 1, *GONE, 0, RECORD), e.Finished(4.3, ID, 1, "a", *DONE), OVER]),
    (Retention, [submitted(KEPT), kept(), OVER, kept(at_s=6.0, record=RECORD._replace(node="b")), UNREAD_OVER]),
    (Retention, [submitted(KEPT), e.ResultsBounded(2.0), kept(), RELEASED, UNREAD]),
    (Retention, [submitted(), ended(DONE), RELEASED, UNREAD]),
    (AcceptedTasks, [submitted(KEPT), ACCEPTED, kept(), OVER, TOLD_OVER]),
    (AcceptedTasks, [IN_PLACE, ACCEPTED, ended(DONE), e.Totals(9.0, 1)]),
    (Dependencies, [INPUT, submitted(DEPENDS), ACCEPTED, INPUT_DONE, CALLED, started(), ended(DONE), INPUT_GONE]),
    (Dependencies, [INPUT, submitted(DEPENDS), ACCEPTED, INPUT_FAILED, ended(UPSTREAM), INPUT_HELD, INPUT_GONE]),
    (Dependencies, [INPUT, submitted(DEPENDS | {"allow_failed_inputs": 1}), ACCEPTED, INPUT_FAILED, started()]),
    (Dependencies, [INPUT, submitted(DEPENDS), INPUT_DONE, INPUT_GONE, NOT_DEPENDENT, started(), ended(FAILED)]),
    (Keys, [submitted(WITH_KEY), ACCEPTED, ended(DONE), e.ResultExpired(4.5, ID), e.Accepted(5.0, ID)]),
    (Keys, [submitted(), ACCEPTED, e.Accepted(5.0, ID), RELEASED]),
    (KeptDead, [IN_PLACE, ACCEPTED, dispatched(MOMENT), ended(DONE)]),
    (ToldFitsLog, [IN_PLACE, ACCEPTED, ended(DONE), RELEASED]),
    (KeptDead, [submitted(TO_KEEP), died(), REQUEUE, REQUEUED, dead_answered(DeadState.REQUEUED)]),
    (KeptDead, [submitted(TO_KEEP), died(), REQUEUE, REQUEUED, dead_answered(DeadState.REQUEUED_BEFORE)]),
    (KeptDead, [submitted(TO_KEEP), died(), DISCARD, DISCARDED, dead_answered(DeadState.DISCARDED, is_requeue=False)]),
    (KeptDead, [CALM, submitted(TO_KEEP), died(), TIME_OVER, dead_answered(DeadState.UNKNOWN)]),
    (KeptDead, [submitted(TO_KEEP, 3.9), e.ClockJumped(4.1, 0.9), died(), DISCARDED]),
    (KeptDead, [submitted(TO_KEEP, 3.9), died(), TERM_2, DISCARDED]),
    (KeptDead, [submitted(TO_KEEP), ended(CANCELLED), died()]),
    (KeptDead, [submitted(), ended(FAILED)]),
    (KeptDead, [submitted(TO_KEEP), died(), dead_answered(DeadState.REFUSED), TIME_OVER]),
    (LocatedTasks, [submitted(KEPT), TOLD_ACCEPTED, kept(), OVER, located("ended")]),
    (RightEnds, [submitted(), started(), finished(), ended(DONE), told(DONE)]),
    (RightEnds, [submitted(ONCE), ended(LOST), told(LOST)]),
    (AtMostOnce, [submitted(ONCE), started(), ended(LOST)]),
    (AtMostOnce, [submitted(ONCE), ended(LOST), started()]),
    (AtMostOnce, [submitted(), started(), started()]),
    (HandedOut, [submitted(), dispatched(0), started(), dispatched(1), started()]),
    (Rates, [submitted(ONE_A_SECOND), OTHER_OF_ONE, given_to_worker(3.0), e.GivenToWorker(4.0, OTHER_ID)]),
    (Rates, [submitted(TWO_A_SECOND), OTHER_OF_TWO, given_to_worker(3.0), e.GivenToWorker(3.5, OTHER_ID)]),
    (Running, [submitted(ONE_AT_ONCE), OTHER, started(), finished(), OTHER_STARTS]),
    (Running, [submitted(ONE_AT_ONCE), OTHER, started(), e.BrokenOff(3.5, ID, 1, "a"), OTHER_STARTS]),
    (Running, [submitted(ONE_AT_ONCE), OTHER, started(), e.Crashed(3.5, "a", False), OTHER_STARTS]),
    (Running, [submitted({**ONE_AT_ONCE, "max_running": 2}), OTHER, OTHER_STARTS, started()]),
    (Batches, [submitted(TOGETHER), BESIDE, BOTH]),
    (Batches, [submitted(TOGETHER), BESIDE_WITH_KEY, BOTH]),
    (HandedOut, [submitted(), dispatched(0), started(), e.KilledBeside(2.0, ID), started()]),
    (Attempts, [submitted(TWICE), started(1), started(2), ended(LOST, attempt=2), told(LOST)]),
    (Attempts, [submitted(ONCE), ended(LOST), told(LOST)]),
    (Attempts, [submitted(), *map(started, range(1, 9)), ended(DONE, attempt=8)]),
    (Attempts, [submitted(), CALM, started(2), submitted(at_s=2.4), started(2)]),
    (Cancelling, [submitted(ONCE), ASKED, ended(CANCELLED), answered(CancelState.CANCELLED), told(CANCELLED)]),
    (Cancelling, [submitted(UNLOGGED), ASKED, answered(CancelState.CANCELLED)]),
    (Cancelling, [submitted(), ASKED, dispatched(0), ended(CANCELLED), started()]),
    (Cancelling, [submitted(), ASKED, dispatched(0), started(), ended(DONE), ended(CANCELLED), started()]),
    (Cancelling, [submitted(ONCE), ASKED, started(), answered(CancelState.RUNNING)]),
    (Cancelling, [submitted(), ASKED, e.NextInLine(3.0, ID), answered(CancelState.RUNNING)]),
    (Cancelling, [submitted(), ASKED, started(), ended(DONE)]),
    (Cancelling, [submitted(), ASKED, given_to_worker(2.5)]),
    (Cancelling, [CALM, submitted(), given_to_worker(1.9), ASKED, started(), ended(DONE)]),
    (Cancelling, [CALM, submitted(), ASKED, given_to_worker(2.05), started(), ended(DONE)]),
    (Cancelling, [CALM, submitted(), started(), e.CancelAsked(3.0, ID), given_to_worker(4.0)]),
    (LocatedTasks, [submitted(), TOLD_ACCEPTED, located("recovered"), ended(DONE), told(DONE), located("ended")]),
    (
        LocatedTasks,
        [submitted(), located("unknown", asked_at_s=2.0), TOLD_ACCEPTED, located("unknown", asked_at_s=2.0)],
    ),
    (LocatedTasks, [submitted(UNLOGGED), TOLD_ACCEPTED, located("unknown")]),
    (ToldAttempts, [CALM, submitted(), how_far(None), started(), how_far(1), finished(), how_far(1), how_far(None)]),
    (ToldAttempts, [CALM, submitted(), started(), how_far(None, 3.1)]),
    (ToldAttempts, [CALM, submitted(AGAIN), started(), failed(), retried(), how_far(1, 3.3), how_far(None, 3.6)]),
    (ToldAttempts, [submitted(), started(), started(2), how_far(1), how_far(None, 4.0)]),
    (ToldFitsLog, [submitted(), told(DONE), ACCEPTED, ended(DONE), RELEASED]),
    (ToldFitsLog, [submitted(CONFIRMED), ACCEPTED, ended(DONE), told(DONE), RELEASED]),
    (ToldFitsLog, [submitted(UNLOGGED), told(CANCELLED)]),
    (NotLogged, [submitted(), ACCEPTED, e.AttemptUsed(3.0, ID), ended(DONE)]),
    (NotLogged, [submitted(UNLOGGED), started(), told(DONE)]),
    (OneLeader, [led("a", 1), committed(1, 1), led("b", 2, {1: 1}), led("b", 2, {1: 1})]),
    (SteadyLeader, [led("a", 1), led("b", 2), CALM, e.Burst(1.0)]),
    (SameLog, [e.Applied(1.0, "a", 1, 1, 0, b"x"), committed(1, 1, data=b"x"), e.Applied(1.0, "b", 1, 1, 0, b"x")]),
    (SameState, [state("a", 8, b"x"), state("b", 8, b"x"), state("b", 16, b"y")]),
    (Lease, [e.LeaseUsed(1.0, "a", ("a", "b", "c"), ("b",))]),
    (Lease, [e.LeaseUsed(1.0, "a", ("a",), ())]),
    (OnePlace, [e.PlacesSeen(1.0, "a", "")]),
    (OneCluster, [e.IdentitySeen(1.0, "", {"1": frozenset("ab"), "2": frozenset()}), e.IdentitySeen(1.0, "x", {})]),
    (Rivals, [e.RivalStarted(1.0, "m", must_end=True), e.GaveUp(1.5, "m", False), e.RivalsAwaited(3.0)]),
    (Rivals, [e.RivalStarted(1.0, "m", must_end=False), e.RivalsAwaited(3.0), e.GaveUp(3.5, "m", True)]),
    (Rivals, [e.WasOvertaken(1.0, "m"), e.GaveUp(1.5, "m", True)]),
    (BoundedWaits, [e.Waited(1.0, wait, 0.0) for wait in e.Wait]),
    (BoundedWaits, [submitted(), CALM, told(DONE, at_s=1.9)]),
    (BoundedWaits, [submitted(), told(DONE, at_s=99.0)]),
    (BoundedWaits, [CALM, submitted(LATER), told(DONE, at_s=99.0)]),
    (BoundedWaits, [CALM, e.Burst(1.0), submitted(), told(DONE, at_s=99.0)]),
    (Slots, [e.Bound(1.0, "a", 1, 2), e.Bound(1.0, "a", 2, 2)]),
    (FreeSlots, [submitted(), waits(1.0, "a", "b"), waits(1.8, "a", "b")]),
    (FreeSlots, [submitted(), waits(1.0, "a"), waits(9.0, "a"), waits(9.5, "a", "b")]),
    (FreeSlots, [submitted(), waits(1.0, "a", "b"), waits(1.7, "c", "b"), waits(2.4, "c", "b")]),
    (Retries, [submitted(AGAIN), started(), failed(), retried(), started(2), ended(DONE, attempt=2)]),
    (Retries, [submitted(AGAIN), started(), failed(), retried(), failed(2), retried(2), failed(3), ended(FAILED)]),
    (Retries, [submitted({**AGAIN, **SOON}), started(), failed(), ended(FAILED)]),
    (Retries, [CALM, submitted(AGAIN), failed(), retried(wait_ms=100), started(2, at_s=3.6)]),
    (Retries, [submitted(), failed(), ended(FAILED)]),
    (Attempts, [submitted(AGAIN | TWICE), failed(), retried(), started(2), started(3), ended(LOST, attempt=3)]),
    (TimeLimits, [submitted(LIMITED), started(), OVERRAN, ended(TIMED_OUT), told(TIMED_OUT)]),
    (TimeLimits, [CALM, submitted(LIMITED), started(at_s=3.25), finished(), ended(DONE)]),
    (TimeLimits, [submitted(LIMITED), started(at_s=1.0), finished(), ended(DONE)]),
    (TimeLimits, [CALM, submitted(BY), started(at_s=3.0), OVERRAN, ended(TIMED_OUT)]),
    (TimeLimits, [CALM, submitted(BY), started(at_s=3.0), finished(), ended(DONE)]),
    (Timing, [submitted(BY), ended(GONE, leader_ms=right_ms(3.5)), told(GONE)]),
    (Stopping, [submitted(), started(), ASKED, STOP, finished(STOPPED), ended(STOPPED), told(STOPPED)]),
    (Stopping, [submitted(), started(), ASKED, STOP, answered(CancelState.STOPPING), finished(), ended(DONE)]),
    (Stopping, [CALM, submitted(GRACE), started(), ASKED, STOP, e.Overstayed(3.22, ID, 1), ended(KILLED)]),
    (Stopping, [submitted(GRACE), started(), ASKED, STOP, e.Overstayed(9.0, ID, 1), ended(KILLED)]),
    (Stopping, [submitted(AGAIN), started(), ASKED, STOP, failed(), retried(), started(2)]),
    (Stopping, [CALM, submitted(), started(), e.CancelAsked(3.4, ID), finished(), ended(DONE)]),
    (Stopping, [submitted(), ASKED, ended(CANCELLED), told(CANCELLED)]),
    (Cancelling, [submitted(ONCE), started(), ASKED, STOP, ended(STOPPED), told(STOPPED)]),
    (RightEnds, [submitted(), started(), ASKED, STOP, finished(STOPPED), ended(STOPPED)]),
    (Retries, [submitted(AGAIN), started(), ASKED, STOP, failed(), ended(FAILED)]),
    (OneOutcome, [submitted(), ACCEPTED, STOP, told(DONE), ended(STOPPED)]),
    (Timing, [submitted(LATER), dispatched(MOMENT), started(), ended(DONE)]),
    (Timing, [submitted(LATER), dispatched(MOMENT + 1), dispatched(MOMENT + 60_000, attempt=2)]),
    (Timing, [CALM, submitted(LATER), dispatched(MOMENT + LATE_MS)]),
    (Timing, [CALM, submitted(LATER), dispatched(MOMENT + 60_000, at_s=1.001)]),
    (
        Timing,
        [CALM, submitted({**UNLOGGED, **LATER}), dispatched(MOMENT), started(), finished(), dispatched(MOMENT + 500)],
    ),
    (Timing, [submitted(SOON), dispatched(MOMENT - 1), started(), ended(DONE)]),
    (Timing, [submitted(SOON), ended(GONE, leader_ms=MOMENT), told(GONE)]),
    (Timing, [submitted(SOON), dispatched(MOMENT - 1), ended(GONE, leader_ms=MOMENT), started()]),
    (Timing, [submitted(SOON), dispatched(MOMENT - 1), started(), ended(DONE), ended(GONE, leader_ms=MOMENT)]),
    (Timing, [submitted(SOON), given_to_worker(3.0)]),
    (Timing, [CALM, submitted(expiring(3_000 - LATE_MS)), given_to_worker(3.0)]),
    (Timing, [CALM, submitted(expiring(2_000)), given_to_worker(1.9), started(), given_to_worker(3.0)]),
    (
        Timing,
        [CALM, submitted(expiring(4_000 - BEHIND_MS)), dispatched(MOMENT - 1), ended(GONE, leader_ms=MOMENT + 4_000)],
    ),
    (ScheduledMoments, [put(), moment(10_000), moment(11_000), e.SchedulesSeen(9.0, 12_400)]),
    (ScheduledMoments, [put(), moment(12_000, missed=2), moment(13_000)]),
    (ScheduledMoments, [put(misfire=Misfire.SKIP), moment(12_000, Fired.SKIPPED, missed=3), moment(13_000)]),
    (ScheduledMoments, [put(misfire=Misfire.ALL, misfire_limit=2), moment(12_000, missed=2, leader_ms=13_000)]),
    (ScheduledMoments, [put(), changed(ScheduleOp.PAUSE), changed(ScheduleOp.RESUME, 13_000, 12_500), moment(13_000)]),
    (ScheduledMoments, [ONE_AT_A_TIME, RUNS, moment(10_000), moment(11_000, Fired.OVERLAPPED)]),
    (ScheduledMoments, [IN_TURN, RUNS, moment(10_000), moment(11_000, Fired.QUEUED)]),
    (
        ScheduledMoments,
        [put(), e.TriggerAsked(1.1, b"1" * 16), moment(9_700, Fired.TRIGGERED, task_id=b"1" * 16)],
    ),
    (ScheduledMoments, [put(), changed(ScheduleOp.REMOVE), schedule_answered(ScheduleOp.REMOVE)]),
    (ScheduledMoments, [put(), moment(10_000), FILL, moment(9_000, Fired.BACKFILLED), moment(10_000, Fired.HAD_TASK)]),
    (ScheduledMoments, [put(), e.BackfillAnswered(3.0, "beat", ScheduleAnswer.DONE, 2)]),
    (SchedulesOfModules, [HAS, HAS_OTHER, LEADS, IN_TERM_1, COMES, changed(ScheduleOp.PAUSE)]),
    (SchedulesOfModules, [HAS, HAS_OTHER, COMES, put(owner="shop", priority=7)]),
    (SchedulesOfModules, [HAS, put(), changed(ScheduleOp.REMOVE), COMES]),
    (SchedulesOfModules, [e.ModuleSeen(9.0, OF_MODULE, frozenset([OF_MODULE, OTHER_VERSION]), True)]),
    (SchedulesOfModules, [e.ModuleSeen(9.0, OF_MODULE, frozenset([OTHER_VERSION]), False)]),
]

BROKEN: list[tuple[type[Promise], Sequence[e.Event], str]] = [
    (AcceptedTasks, [submitted(), TOLD_ACCEPTED], "called accepted before it was committed"),
    (AcceptedTasks, [submitted(), ACCEPTED, TOLD_ACCEPTED, answered(CancelState.UNKNOWN)], "called unknown after"),
    (AcceptedTasks, [submitted()], "nobody was told how it ended"),
    (AcceptedTasks, [submitted(), ACCEPTED, told(DONE)], "accepted, and has no outcome"),
    (
        AcceptedTasks,
        [submitted(), ACCEPTED, told(DONE), ended(DONE), e.Totals(9.0, 2)],
        "2 outcomes are recorded, of 1",
    ),
    (OneOutcome, [submitted(), told(DONE), told(FAILED)], "told to end as"),
    (OneOutcome, [submitted(), ACCEPTED, ended(FAILED), told(DONE)], "recorded otherwise than told"),
    (OneOutcome, [submitted(ONCE), ACCEPTED, ended(DONE), told(LOST)], "recorded otherwise than told"),
    (OneOutcome, [submitted(TWICE), ACCEPTED, e.LostInTransfer(3.0, ID, "a")], "given up by a, whose leadership is"),
    (Reading, [submitted(), started(), finished(), read(DONE)], "read to have ended as (1, b'olleh')"),
    (Reading, [submitted(UNLOGGED), started(), read(DONE)], "which no worker has answered"),
    (Reading, [submitted(), TOLD_ACCEPTED, ended(DONE), UNREAD], "nothing has released it"),
    (Retention, [submitted(KEPT), ended(DONE)], "ended with no record"),
    (Retention, [submitted(), kept()], "ended with a record"),
    (Retention, [submitted(KEPT), kept(record=RECORD._replace(kept_until_ms=3_500))], "to be kept for 500 ms"),
    (Retention, [submitted(KEPT), kept(), RELEASED], "released before its time is over"),
    (Retention, [submitted(KEPT), OVER], "its result has expired, and it has none"),
    (Retention, [submitted(KEPT), FINISHED, kept(), e.ResultExpired(4.3, ID)], "expired after 0.800 of 1.0 s"),
    (Retention, [CALM, submitted(KEPT), kept(), e.ResultExpired(5.4, ID)], "is kept for 1.400 s, of 1.0"),
    (Retention, [submitted(KEPT), kept()], "its time is over, and its result is kept"),
    (Retention, [submitted(KEPT), TOLD_ACCEPTED, kept(), OVER, UNREAD], "said to be unknown"),
    (Retention, [submitted(KEPT), kept(), UNREAD_OVER], "said to have expired, and it has not"),
    (Retention, [submitted(KEPT), kept(), TOLD_OVER], "said to have expired, and it has not"),
    (Retention, [submitted(KEPT), kept(), shown(node="b")], "and recorded as"),
    (RightEnds, [submitted(), started(), told(DONE)], "which no worker has answered"),
    (RightEnds, [submitted(), started(), ended(DONE)], "which no worker has answered"),
    (RightEnds, [submitted(), started(), finished(FAILED)], "a worker answered"),
    (AtMostOnce, [submitted(ONCE), started(), started()], "started again"),
    (Rates, [submitted(ONE_A_SECOND), OTHER_OF_ONE, e.GivenToWorker(3.0, OTHER_ID), given_to_worker(3.9)], "and 1 may"),
    (Rates, [submitted(ONE_A_SECOND), given_to_worker(3.0), given_to_worker(3.5)], "2 within a period, and 1 may"),
    (Running, [submitted(ONE_AT_ONCE), OTHER, OTHER_STARTS, started()], "2 run, and 1 may"),
    (Running, [submitted(ONE_AT_ONCE), OTHER, OTHER_STARTS, e.Crashed(3.5, "a", False), started()], "2 run, and 1"),
    (Batches, [submitted(TOGETHER), BESIDE, THIRD, ALL_THREE], "is called for 3 at once"),
    (Batches, [submitted(TOGETHER), e.CalledTogether(4.0, ((ID, "f"), (ID, "f")))], "in one call twice"),
    (Batches, [submitted(TOGETHER), BESIDE, e.CalledTogether(4.0, ((OTHER_ID, "f"), (ID, "g")))], "of the name f"),
    (Batches, [submitted({**TOGETHER, "retries": 1}), BESIDE, REVERSED], "have another retries"),
    (Batches, [submitted(), BOTH], "is called for 2 at once"),
    (HandedOut, [submitted(), started()], "handed out 0 times"),
    (HandedOut, [submitted(), dispatched(0), started(), started()], "handed out 1 times"),
    (Attempts, [submitted(TWICE), started(3)], "attempt 3 starts, and 2 were lost"),
    (Attempts, [submitted(TWICE), ended(LOST, attempt=1)], "given up after attempt 1 of 2"),
    (Attempts, [submitted(), ended(LOST, attempt=7)], "attempts without end"),
    (Attempts, [submitted(UNLOGGED), told(LOST)], "attempts without end"),
    (Cancelling, [submitted(), ASKED, answered(CancelState.CANCELLED)], "told to be cancelled, and is not"),
    (Cancelling, [submitted(), ASKED, ended(CANCELLED), started()], "started after it was cancelled"),
    (
        Cancelling,
        [submitted(ONCE), ASKED, dispatched(0), ended(CANCELLED), started()],
        "started after it was cancelled",
    ),
    (Cancelling, [submitted(ONCE), ASKED, started(), ended(CANCELLED)], "cancelled after it had started"),
    (Cancelling, [submitted(), ASKED, dispatched(0), answered(CancelState.RUNNING)], "no worker has begun it"),
    (Cancelling, [CALM, submitted(), ASKED, given_to_worker(2.2)], "0.200 s after somebody wanted it cancelled"),
    (Cancelling, [submitted(), ended(CANCELLED)], "nobody asked for it"),
    (Cancelling, [submitted(UNLOGGED), told(CANCELLED)], "nobody asked for it"),
    (LocatedTasks, [submitted(), TOLD_ACCEPTED, located("unknown")], "told to be unknown"),
    (ToldAttempts, [submitted(), started(), how_far(1, said=(2, None, ID.hex()))], "told that attempt 1 has said"),
    (ToldAttempts, [submitted(), started(), how_far(2)], "attempt 2, which has not started"),
    (ToldAttempts, [CALM, submitted(), started(), how_far(None, 4.0)], "told nothing, and it runs"),
    (ToldAttempts, [CALM, submitted(), started(), started(2), how_far(1)], "a later one had started"),
    (ToldAttempts, [CALM, submitted(AGAIN), started(), failed(), retried(), how_far(1, 3.6)], "and waits"),
    (LocatedTasks, [submitted(), TOLD_ACCEPTED, located("ended")], "told to be ended"),
    (ToldFitsLog, [submitted(CONFIRMED), ACCEPTED, told(DONE)], "told to end before that was committed"),
    (ToldFitsLog, [submitted(ONCE), ACCEPTED, told(DONE)], "told to end before that was committed"),
    (ToldFitsLog, [submitted(), ACCEPTED, told(CANCELLED)], "told to end before that was committed"),
    (ToldFitsLog, [submitted(), ended(DONE)], "ended in the log before it was accepted"),
    (ToldFitsLog, [submitted(), ACCEPTED, ended(DONE), RELEASED], "released before its owner had its result"),
    (NotLogged, [submitted(UNLOGGED), ACCEPTED], "logged, and should not be"),
    (NotLogged, [submitted(UNLOGGED), e.AttemptUsed(3.0, ID)], "logged, and should not be"),
    (NotLogged, [submitted(UNLOGGED), ended(DONE)], "logged, and should not be"),
    (OneLeader, [led("a", 1), led("b", 1)], "a and b both lead in term 1"),
    (OneLeader, [committed(1, 1), led("b", 2)], "b leads without committed entry 1"),
    (OneLeader, [committed(1, 1), led("b", 3, {1: 2})], "b leads without committed entry 1"),
    (Attempts, [CALM, submitted(at_s=2.5), started(2)], "attempt 2 starts, and no node or worker was lost"),
    (SteadyLeader, [led("a", 1), CALM, led("b", 2)], "b comes to lead, in term 2"),
    (SameLog, [committed(1, 1, data=b"x"), e.Applied(1.0, "b", 1, 1, 0, b"y")], "b has applied another entry 1"),
    (SameState, [state("a", 8, b"x"), state("b", 8, b"y")], "b has another state after entry 8: tasks"),
    (Lease, [e.LeaseUsed(1.0, "a", ("a", "b", "c"), ())], "a dispatches, and can have heard only"),
    (Lease, [e.LeaseUsed(1.0, "d", ("a", "b", "c"), ("b",))], "d dispatches, and can have heard only"),
    (OnePlace, [e.PlacesSeen(1.0, "a", "it is in 2 places")], "a, which leads: it is in 2 places"),
    (OneCluster, [e.IdentitySeen(1.0, "x", {}), e.IdentitySeen(1.0, "y", {})], "y is formed beside x"),
    (OneCluster, [e.IdentitySeen(1.0, "", {"1": frozenset("ab"), "2": frozenset("b")})], "more than one node holds"),
    (Rivals, [e.RivalStarted(1.0, "m", must_end=True), e.RivalsAwaited(3.0)], "m goes on"),
    (Rivals, [e.RivalStarted(1.0, "m", must_end=True), e.GaveUp(1.5, "other", True)], "other ends, and is no copy"),
    (Rivals, [e.WasOvertaken(1.0, "m"), e.GaveUp(1.5, "m", False)], "m ends, and is no copy"),
    (BoundedWaits, [e.Waited(9.0, e.Wait.LEADER, 7.9)], "nobody leads within 1.0 s of healing"),
    (BoundedWaits, [e.Waited(9.0, e.Wait.SUCCESSOR, 5.9)], "connections carry nothing within 3.0 s of its cut"),
    (BoundedWaits, [e.Waited(99.0, e.Wait.RESULTS, 0.0, "(all of them)")], "for every task to have its result"),
    (BoundedWaits, [CALM, submitted(), told(DONE, at_s=2.1)], "has its result 1.100 s after it was submitted"),
    (
        FreeSlots,
        [submitted(), waits(1.0, "a", "b"), waits(1.9, "a", "b")],
        "waits at a for 0.900 s, and b could run it",
    ),
    (Slots, [e.Bound(1.0, "a", 3, 2)], "3 of its workers are busy"),
    (FreeSlots, [submitted(), waits(1.0, "a", "a"), waits(1.9, "a", "a")], "and a could run it"),
    (Retries, [submitted(AGAIN), retried()], "no worker has said that it failed"),
    (Retries, [submitted(AGAIN), failed(), retried(), retried()], "attempt 1 counts twice"),
    (Retries, [submitted(), failed(), retried()], "1 retries"),
    (Retries, [submitted(AGAIN), failed(), retried(wait_ms=101)], "waits 101 ms, and may wait 100"),
    (Retries, [submitted(AGAIN), failed(), retried(), failed(2), retried(2, 401)], "waits 401 ms, and may wait 200"),
    (Retries, [submitted({**AGAIN, "jitter": 1}), failed(), retried(wait_ms=99)], "waits 99 ms, and may wait 100"),
    (Retries, [submitted(AGAIN), failed(), retried(), failed(2), ended(FAILED)], "failed after 1 of 2 retries"),
    (Retries, [CALM, submitted(AGAIN), failed(), started(2)], "before the log has that the last one failed"),
    (Retries, [CALM, submitted(AGAIN), failed(), retried(wait_ms=100), started(2, at_s=3.55)], "0.050 s before"),
    (Retries, [CALM, submitted(AGAIN), failed(), retried(wait_ms=100), started(2, at_s=4.2)], "0.600 s after"),
    (Attempts, [submitted(AGAIN | TWICE), failed(), retried(), ended(LOST, attempt=2)], "given up after attempt 2"),
    (TimeLimits, [submitted(), started(), OVERRAN], "a limit that it does not have"),
    (TimeLimits, [CALM, submitted(LIMITED), started(at_s=3.4), OVERRAN], "killed -200 ms after its limit"),
    (TimeLimits, [CALM, submitted(LIMITED), started(at_s=3.0), finished()], "runs for 200 ms longer than it may"),
    (Stopping, [submitted(), started(), STOP], "asked to stop, and nobody wants it cancelled"),
    (Stopping, [submitted(), ASKED, started(), answered(CancelState.STOPPING)], "no worker was asked to stop it"),
    (Stopping, [CALM, submitted(AGAIN), started(), ASKED, STOP, started(2)], "one before it was asked to stop"),
    (Stopping, [CALM, submitted(AGAIN), started(), ASKED, STOP, failed(), retried()], "is retried, and was asked to"),
    (Stopping, [submitted(), started(), ASKED, STOP, e.Overstayed(9.0, ID, 1)], "killed as it goes on, which it may"),
    (Stopping, [submitted(GRACE), started(), ASKED, e.Overstayed(9.0, ID, 1)], "was not asked to stop"),
    (Stopping, [CALM, submitted(GRACE), started(), ASKED, STOP, e.Overstayed(3.1, ID, 1)], "s after its grace"),
    (Stopping, [CALM, submitted(GRACE), started(at_s=1.0), ASKED, STOP, finished()], "goes on for 0.300 s after"),
    (Stopping, [CALM, submitted(), started(at_s=1.0), ASKED, finished()], "runs on for 1.500 s, and is wanted no more"),
    (Stopping, [submitted(), started(), ASKED, STOP, ended(STOPPED)], "no worker has said so"),
    (Stopping, [submitted(), started(), ASKED, told((CANCELLED[0], LOST_STOPPING))], "was not asked to stop it"),
    (Stopping, [submitted(GRACE), started(), ASKED, STOP, ended(KILLED)], "which it was not"),
    (Stopping, [CALM, submitted(), started(), ASKED, ended(CANCELLED)], "told not to have begun, and it had"),
    (KeptDead, [submitted(TO_KEEP), ended(FAILED)], "is no dead task"),
    (KeptDead, [submitted(TO_KEEP), died(end=CANCELLED)], "is a dead task"),
    (Dependencies, [INPUT, submitted(DEPENDS), ACCEPTED, started()], "had ended"),
    (Dependencies, [INPUT, submitted(DEPENDS), INPUT_FAILED, started()], "depends on failed"),
    (Dependencies, [INPUT, submitted(DEPENDS), INPUT_FAILED, CALLED], "another result"),
    (Dependencies, [INPUT, submitted(DEPENDS), INPUT_DONE, ended(UPSTREAM)], "none of these failed"),
    (Dependencies, [INPUT, submitted(DEPENDS), INPUT_FAILED, ended(DONE)], "it ended otherwise"),
    (Dependencies, [INPUT, submitted(DEPENDS), ACCEPTED, INPUT_DONE, INPUT_GONE], "dropped that it needs"),
    (Dependencies, [submitted(), e.Held(4.0, ID)], "held for ever"),
    (Dependencies, [INPUT, e.ToldAccepted(1.0, INPUT_ID), submitted(DEPENDS), NOT_DEPENDENT], "has no result of"),
    (Keys, [submitted(WITH_KEY), ACCEPTED, e.Accepted(5.0, ID)], "its key is held"),
    (Keys, [submitted(WITH_KEY), ACCEPTED, ended(DONE), e.Accepted(5.0, ID)], "its key is held"),
    (Keys, [submitted(WITH_KEY), ACCEPTED, ended(DONE), RELEASED], "and so is its key"),
    (KeptDead, [submitted(), died()], "is a dead task"),
    (KeptDead, [submitted(TO_KEEP), died()], "its time is over, and it is kept"),
    (KeptDead, [submitted(TO_KEEP), died(), REQUEUED], "nobody has asked for that"),
    (KeptDead, [submitted(TO_KEEP), REQUEUE, REQUEUED], "it was never dead"),
    (KeptDead, [submitted(TO_KEEP), died(), REQUEUE, REQUEUED, REQUEUED], "it has left before, requeued"),
    (KeptDead, [submitted(TO_KEEP), died(), REQUEUE, REQUEUED, TIME_OVER], "it has left before, requeued"),
    (KeptDead, [submitted(TO_KEEP), died(), REQUEUE, e.Requeued(4.6, ID, b"another id......")], "is requeued as"),
    (KeptDead, [submitted(TO_KEEP, 3.9), died(), DISCARDED], "is discarded after 0.700 of 1.0 s"),
    (KeptDead, [CALM, submitted(TO_KEEP), died(), e.Discarded(5.4, ID)], "is kept for 1.400 s, of 1.0"),
    (KeptDead, [submitted(TO_KEEP), died(), REQUEUE, dead_answered(DeadState.REQUEUED)], "before the log has it"),
    (KeptDead, [IN_PLACE, dispatched(MOMENT)], "handed out before the log has it"),
    (KeptDead, [submitted(TO_KEEP), died(), dead_answered(DeadState.UNKNOWN)], "no dead task, and it is one"),
    (
        KeptDead,
        [submitted(TO_KEEP), died(), REQUEUE, REQUEUED, dead_answered(DeadState.UNKNOWN)],
        "unknown, and it was requeued",
    ),
    (TimeLimits, [submitted(LIMITED), started(), told(TIMED_OUT)], "no worker was killed for it"),
    (TimeLimits, [CALM, submitted(BY), started(at_s=3.0), e.Overran(3.4, ID, 1)], "killed -100 ms after its limit"),
    (TimeLimits, [CALM, submitted(BY), started(at_s=3.0), finished(at_s=3.6)], "runs for 100 ms longer than it may"),
    (Timing, [submitted(BY), ended(GONE, leader_ms=right_ms(3.5) - 1)], "expired 1 ms early"),
    (TimeLimits, [submitted(LIMITED), started(), ended(TIMED_OUT)], "no worker was killed for it"),
    (Timing, [submitted(LATER), dispatched(MOMENT - 1)], "a hands it out 1 ms early"),
    (Timing, [CALM, submitted(LATER), dispatched(MOMENT + LATE_MS + 1)], "ms late"),
    (Timing, [CALM, submitted({**UNLOGGED, **LATER}), dispatched(MOMENT + LATE_MS + 1)], "ms late"),
    (Timing, [CALM, submitted(LATER), started(), finished(), dispatched(MOMENT + LATE_MS + 1)], "ms late"),
    (Timing, [submitted(SOON), dispatched(MOMENT + 1)], "1 ms after it expired"),
    (Timing, [submitted(SOON), ended(GONE, leader_ms=MOMENT - 7)], "expired 7 ms early"),
    (Timing, [submitted(SOON), ended(GONE, leader_ms=MOMENT), started()], "started after it had expired"),
    (Timing, [submitted({**ONCE, **SOON}), started(), ended(GONE, leader_ms=MOMENT)], "expired after it had started"),
    (Timing, [submitted(), ended(GONE, leader_ms=MOMENT)], "no moment at which it does"),
    (Timing, [submitted(UNLOGGED), told(GONE)], "no moment at which it does"),
    (Timing, [CALM, submitted(SOON), ended(GONE, leader_ms=MOMENT)], "expired 3000 ms late"),
    (Timing, [CALM, submitted(SOON), dispatched(MOMENT - 1), ended(GONE, leader_ms=MOMENT)], "expired 3000 ms late"),
    (PlacedTasks, [submitted(ON_SSD), e.WorkersHave(2.0, "a", (ID,), "zone-a", "")], "a, which has no tag ssd"),
    (PlacedTasks, [submitted(TAKES_GPU), e.WorkersHave(2.0, "a", (ID,), "", "gpu=2", ("gpu=0+1",))], "2 units of 1"),
    (
        PlacedTasks,
        [submitted(TAKES_GPU), e.WorkersHave(2.0, "a", (ID, ID), "", "gpu=2", ("gpu=0", "gpu=0"))],
        "shares a unit on a: gpu=0",
    ),
    (PlacedTasks, [submitted(TAKES_GPU), e.WorkersHave(2.0, "a", (ID,), "", "")], "1 gpu are taken on a, of 0"),
    (PlacedTasks, [submitted(TAKES_GPU), e.WorkersHave(2.0, "a", (ID, ID), "", "gpu=1")], "2 gpu are taken on a, of 1"),
    (HeldTasks, [submitted(), HELD, dispatched(MOMENT)], "a hands out a task that is held"),
    (
        PausedQueues,
        [submitted(), PAUSED, e.Altered(1.7, ID, "video", False), dispatched(MOMENT)],
        "a hands out a task of video, which is paused",
    ),
    (CountedGraphs, [submitted(IN_GRAPH), ACCEPTED, graph_told(0, 0)], "0 tasks are told, and 1 had been accepted"),
    (CountedGraphs, [submitted(IN_GRAPH), graph_told(2, 2)], "2 tasks are told, and 1 were submitted"),
    (CountedGraphs, [submitted(IN_GRAPH), graph_told(1, 0)], "where others are"),
    (CountedGraphs, [submitted(IN_GRAPH), ACCEPTED, GRAPH_DONE], "1 are told to have ended as 1, and 0 have"),
    (CountedGraphs, [submitted(IN_GRAPH), ACCEPTED, ended(DONE), graph_told(1, 1)], "0 are told to have ended as 1"),
    (PausedQueues, [submitted(IN_VIDEO), PAUSED, dispatched(MOMENT)], "a hands out a task of video, which is paused"),
    (Draining, [submitted(), TAKES_NONE, TO_WORKER], "a takes no tasks, and gives one to a worker"),
    (Draining, [CALM, submitted(), started(), DRAIN_KILLS, started(at_s=3.15)], "is only about to be ended"),
    (Draining, [CALM, submitted(), started(), DRAIN_KILLS, CUT, USED], "an attempt is used up"),
    (Draining, [CALM, submitted(), started(), FINISHED, started(at_s=4.0)], "begun again, though it had ended"),
    (
        Draining,
        [CALM, ONE_VOTER, submitted(), ACCEPTED, started(), FINISHED, started(at_s=4.0)],
        "begun again, though it had ended",
    ),
    (
        Draining,
        [CALM, e.Drained(4.0, "a", False, "it has one")],
        "a was drained in calm, and has not done so: it has one",
    ),
    (LostClients, [submitted(WITH_CLIENT), DIES, cancelled(4.0)], "cancelled 2.200 s after its client was gone or"),
    (LostClients, [submitted(WITH_CLIENT), DIES, LEADER_2, TERM_2, cancelled(7.0)], "cancelled 3.500 s after its"),
    (LostClients, [CALM, submitted(WITH_CLIENT), DIES, cancelled(8.0)], "cancelled 6.000 s after its client was gone"),
    (Cancelling, [submitted(), ACCEPTED, DIES, cancelled(6.5)], "cancelled, and nobody asked for it"),
    (Timing, [CALM, submitted(SOON), given_to_worker(3.0)], "given to a worker 3000 ms after it was to expire"),
    (ScheduledMoments, [moment(10_000)], "there is no such schedule"),
    (ScheduledMoments, [put(), moment(10_000), moment(10_000)], "fires twice"),
    (ScheduledMoments, [put(), moment(11_000)], "1 moments of beat are left out, and 0 are said"),
    (ScheduledMoments, [put(), moment(10_000, next_ms=12_000)], "one is left out, or is none"),
    (ScheduledMoments, [put(), moment(10_500)], "10500 is no moment of beat"),
    (ScheduledMoments, [put(), moment(10_000, leader_ms=9_999)], "its leader's clock has shown 9999 at most"),
    (ScheduledMoments, [put(misfire=Misfire.ALL), moment(12_000, missed=2)], "were to be made up for"),
    (ScheduledMoments, [put(), moment(12_000, Fired.SKIPPED, missed=3)], "and was to be made up for"),
    (ScheduledMoments, [put(), changed(ScheduleOp.PAUSE), moment(10_000)], "fires, and is paused"),
    (ScheduledMoments, [put(), moment(10_000, args=b"other")], "another task made than it says"),
    (ScheduledMoments, [put(), moment(10_000, task_id=b"1" * 16)], "has another id"),
    (ScheduledMoments, [put(), moment(10_000, Fired.TRIGGERED, task_id=b"1" * 16)], "nobody has asked for that"),
    (ScheduledMoments, [put(), moment(10_000, Fired.OVERLAPPED)], "nothing stood in its way"),
    (ScheduledMoments, [ONE_AT_A_TIME, RUNS, moment(10_000), moment(11_000)], "beside an earlier task of its own"),
    (ScheduledMoments, [IN_TURN, moment(10_000, Fired.DEQUEUED)], "did not wait"),
    (
        ScheduledMoments,
        [IN_TURN, RUNS, moment(10_000), moment(11_000, Fired.QUEUED), moment(11_000, Fired.DEQUEUED)],
        "which was to end before",
    ),
    (ScheduledMoments, [FILL], "is backfilled, and there is no such schedule"),
    (ScheduledMoments, [put(), FILL], "that fires by itself"),
    (ScheduledMoments, [put(), moment(10_000), e.BackfillWanted(2.0, "beat", (9_500,), 60_000)], "is no moment of"),
    (ScheduledMoments, [put(), moment(10_000), e.BackfillWanted(2.0, "beat", (9_000,), 8_999)], "that is over"),
    (ScheduledMoments, [put(), moment(10_000), FILL, FILL], "that waits for its task"),
    (ScheduledMoments, [put(), moment(10_000), FILL, moment(10_000, Fired.HAD_TASK)], "not in front"),
    (ScheduledMoments, [put(), moment(10_000), FILL, moment(9_000, Fired.HAD_TASK)], "and had none"),
    (
        ScheduledMoments,
        [ONE_AT_A_TIME, RUNS, moment(10_000), FILL, moment(9_000, Fired.BACKFILLED)],
        "is backfilled beside an earlier task",
    ),
    (ScheduledMoments, [put(), moment(10_000), FILL, e.SchedulesSeen(9.0, 10_500)], "waits for nothing"),
    (ScheduledMoments, [e.BackfillAnswered(3.0, "beat", ScheduleAnswer.REFUSED, 2)], "are said to wait"),
    (SchedulesOfModules, [HAS, COMES, changed(ScheduleOp.REMOVE)], "is removed, and comes with a module"),
    (SchedulesOfModules, [HAS, COMES, put()], "is changed by hand, and comes with a module"),
    (SchedulesOfModules, [HAS_OTHER, COMES], "no node has it so"),
    (SchedulesOfModules, [HAS, put(), COMES], "was made by hand, and a module overwrites it"),
    (
        SchedulesOfModules,
        [HAS, HAS_OTHER, LEADS, IN_TERM_1, COMES, put(owner="shop", priority=7)],
        "its leader's own node still has it as it was",
    ),
    (SchedulesOfModules, [e.ModuleSeen(9.0, None, frozenset([OF_MODULE]), False)], "all nodes have is not there"),
    (
        SchedulesOfModules,
        [e.ModuleSeen(9.0, OF_MODULE, frozenset([OTHER_VERSION]), True)],
        "as no node has it",
    ),
    (ScheduledMoments, [put(), schedule_answered(ScheduleOp.PAUSE)], "told to be changed before the log has it"),
    (ScheduledMoments, [put(), schedule_answered(0, b"1" * 16)], "told to be triggered before the log has it"),
    (ScheduledMoments, [put(), e.SchedulesSeen(9.0, 10_501)], "is over, and nothing has become of it"),
    (
        ScheduledMoments,
        [put(), changed(ScheduleOp.PAUSE), changed(ScheduleOp.RESUME, 10_000, 12_500)],
        "one is left out, or is none",
    ),
]


def tell(kind: type[Promise], happened: Sequence[e.Event]) -> None:
    oracle = Oracle([kind])
    for event in happened:
        oracle.hear(event)
    oracle.end()


@pytest.mark.parametrize(("kind", "happened"), RIGHT)
def test_what_keeps_a_promise_is_let_pass(kind: type[Promise], happened: Sequence[e.Event]) -> None:
    tell(kind, happened)


@pytest.mark.parametrize(("kind", "happened", "finding"), BROKEN)
def test_what_breaks_a_promise_is_found_and_named(
    kind: type[Promise], happened: Sequence[e.Event], finding: str
) -> None:
    with pytest.raises(InvariantBroken) as found:
        tell(kind, happened)
    assert finding in str(found.value)
    assert kind.says in str(found.value)
    assert ID.hex() in str(found.value) or not hasattr(happened[0], "task_id") or "outcomes" in finding


def test_every_promise_is_tried_both_ways_and_takes_part() -> None:
    promises = set(all_promises())
    assert promises == {kind for kind, _ in RIGHT} == {kind for kind, _, _ in BROKEN}
    assert {type(promise) for promise in Oracle().promises} == promises


def test_a_promise_can_not_wait_for_what_never_happens() -> None:
    with pytest.raises(TypeError, match="on_told_lies"):
        type("Misspelt", (Promise,), {"on_told_lies": lambda self, event: None})
    assert KINDS["on_told_end"] is e.ToldEnd


def test_what_an_entry_says_of_tasks_is_heard_after_it_in_its_order() -> None:
    oracle = Oracle([])
    oracle.hear(submitted())
    oracle.hear(committed(1, 1, EntryKind.ACCEPT, encode_calls([(ID, "reverse", 0, b"hello", None)])))
    oracle.hear(committed(2, 1, EntryKind.ATTEMPT, join_ids([ID])))
    oracle.hear(committed(3, 1, EntryKind.OUTCOME, encode_outcomes([(ID, 2, *DONE, 50), (ID, 3, *FAILED, 50)])))
    oracle.hear(committed(4, 1, EntryKind.RELEASE, join_ids([ID])))
    story = oracle.record.stories[ID]
    assert (story.accepted_at, story.attempts_used, story.outcome) == (1.0, 1, DONE)
    assert list(oracle.record.log) == [1, 2, 3, 4]


def test_an_entry_of_a_kind_that_nobody_reads_is_not_passed_over() -> None:
    with pytest.raises(KeyError):
        Oracle([]).hear(e.Committed(1.0, 1, 1, 99, b"", 0))
