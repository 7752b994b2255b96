"""The leader fires schedules: it says in the log what has become of each moment, and has the task made.

Which moment is next is in the log; here it is compared with the wall clock. When the clock shows it, one item of a
FIRING entry says that it is over and has the call of its task (``state/schedules.py``). The task is handed out once the
log has that, as with what takes the place of a dead task: its id follows from the schedule and the moment. A leader
that dies before takes both along, and the next one finds the moment as it was: none is left out by that, and none fires
twice. As long as an item of a schedule, or a change, is on its way into the log, nothing else is done with it.

Moments never run backwards: if a clock is put back, nothing fires until it shows what has not been fired. If it jumps
ahead, or nobody led, moments were missed: there are several that the clock shows, or one that is late. What becomes of
these says ``misfire``.

A moment that can't have its task now, as the queue is full or no node runs the name, is not over: it is looked at again
after RETRY_MS, and why is told to whoever lists schedules. So nothing is made of it in vain, and it may be missed.
"""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING, Final

from paceline.core.scheduling.backfills import backfill
from paceline.core.scheduling.draft import DRAFT_BYTES, ITEM_BYTES, Propose
from paceline.core.scheduling.module_schedules import ModuleSchedules, anchored
from paceline.core.state.schedules import AppliedFiring, ScheduleRow, fired_id, size_of
from paceline.core.state.task import Task
from paceline_protocol.codec import decode_definition, encode_backfills, encode_firings, encode_schedule_changes
from paceline_protocol.limits import MAX_DETAIL_CHARS
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import Call
from paceline_protocol.messages.schedules import (
    BackfillMoments,
    BackfillReply,
    BackfillSchedule,
    ChangeSchedule,
    Fired,
    Firing,
    Misfire,
    Overlap,
    PutSchedule,
    ScheduleAnswer,
    ScheduleChange,
    ScheduleDefinition,
    ScheduleOp,
    ScheduleReply,
    TriggerSchedule,
)
from paceline_protocol.moments import MOMENT_MAX_MS
from paceline_protocol.options import MODULE_SCHEDULES_LEVEL, SCHEDULES_LEVEL, why_not_scheduled
from paceline_protocol.texts import one_line
from paceline_protocol.when import ScheduleError, count, last_ones, next_after

if TYPE_CHECKING:
    from paceline.core.scheduling.admission import Admission
    from paceline.core.scheduling.due_tasks import DueTasks
    from paceline.core.scheduling.nodes import Nodes
    from paceline.core.scheduling.recording import Recording
    from paceline.core.scheduling.unheard import Notice
    from paceline.core.state.table import TaskTable

SCHEDULES_LIMIT: Final = 10_000
SCHEDULES_LIMIT_BYTES: Final = 64 << 20
"""Of all schedules, with their arguments."""
GRACE_MS: Final = 30_000
"""With misfire "skip", a moment that is later than that is missed. An election takes less."""
RETRY_MS: Final = 250
ZONE_RETRY_MS: Final = 60_000
MOMENTS_AT_ONCE: Final = 256
"""In one turn so many moments are computed, or those of one schedule: some milliseconds."""
MISSED_COUNTED: Final = 64
"""Of moments that are missed together, so many are counted."""
WAITING_LIMIT: Final = 100
"""Moments of one schedule that are queued. Beyond that they are as those that overlap."""
OPEN_LIMIT: Final = 100
"""Tasks of one schedule that minds an overlap. Beyond that none is triggered."""
REVIEW_S: Final = 1.0
"""Between two looks at which schedules come with the modules of nodes."""
SETTLE_S: Final = 5.0
"""So long a new leader changes none of them: what some nodes announce may be on its way."""
REFUSED_S: Final = 60.0
"""Then one that could not be is tried again."""
CHANGES_AT_ONCE: Final = 256
NAMES_SHOWN: Final = 10
"""In one line."""
BACKFILLED_AT_ONCE: Final = 64
"""Moments of one schedule; the next ones once the log has these."""
OPEN_REQUESTS: Final = 1_024
"""Requests that wait for the log. Beyond that they are refused: a disk may stand still."""
_TOO_MANY: Final = "too many requests to change schedules wait for the log; ask again in a moment"

Request = PutSchedule | ChangeSchedule | TriggerSchedule | BackfillSchedule
Reply = ScheduleReply | BackfillReply


class _Flight:
    """What is on its way into the log: ``index`` is that of its entry."""

    __slots__ = ("became", "index", "names", "requests", "tasks")

    def __init__(
        self,
        index: int,
        names: list[str],
        tasks: list[Task],
        requests: list[tuple[bytes, Reply]],
        became: list[tuple[int, int]],
    ) -> None:
        self.became: Final = became  # of moments: each (a Fired, how many before it were missed)
        self.index: Final = index
        self.names: Final = names
        self.tasks: Final = tasks
        self.requests: Final = requests  # each (connection, reply): they are done with it


class ScheduleKeeper:
    """Of one leader. ``replies``: for clients, by connection; emptied by the caller. ``held``: schedules of which a
    moment is due that can't have its task now, and why."""

    __slots__ = (
        "_admission",
        "_due",
        "_flights",
        "_in_flight",
        "_is_settled",
        "_name_of",
        "_notice",
        "_owned",
        "_propose",
        "_queued",
        "_recording",
        "_refused_until",
        "_requests",
        "_review_at",
        "_since",
        "_table",
        "_told",
        "held",
        "modules",
        "replies",
    )

    def __init__(
        self,
        table: TaskTable,
        propose: Propose,
        recording: Recording,
        admission: Admission,
        due: DueTasks,
        notice: Notice | None,
        now: float = 0.0,
    ) -> None:
        self.replies: list[tuple[bytes, Reply]] = []
        self.held: dict[str, str] = {}
        self._table = table
        self._propose = propose
        self._recording = recording
        self._admission = admission
        self._due = due
        self._notice = notice
        self._flights: deque[_Flight] = deque()
        self._in_flight = Counter[str]()  # by schedule, how many flights have something of it
        self._requests: deque[tuple[bytes, Request]] = deque()
        self._queued: set[str] = set()  # of which moments wait: for the task of an earlier one, or to be backfilled
        self._told: set[str] = set()  # zones that this machine does not know, as the log of the node says
        self.modules = ModuleSchedules(table, notice)
        self._owned: set[str] = set()  # those that come with modules
        self._is_settled = False  # every node has announced its schedules, or had time to
        self._since = now
        self._review_at = now
        self._refused_until: dict[str, float] = {}  # of modules, those that can't be now
        self._name_of: dict[bytes, str] = {}  # by the key of the schedule among the moments
        for name in table.schedules:
            self._watch(name)

    # --- moments ------------------------------------------------------------------------------------------------

    def _watch(self, name: str) -> None:
        """Set the moment at which something becomes of a schedule next."""
        row = self._table.schedules.get(name)
        if row is None or row.paused or not row.next_ms:
            key = fired_id(name, 0)
            self._due.fires.drop(key)
            self._name_of.pop(key, None)
            self.held.pop(name, None)
        else:
            self._wake_at(name, row.next_ms)
        if row is not None and row.definition.owner:
            self._owned.add(name)
        else:
            self._owned.discard(name)
        if row is not None and (row.waiting or row.backfill) and not row.paused:
            self._queued.add(name)
        else:
            self._queued.discard(name)

    def _wake_at(self, name: str, moment_ms: int) -> None:
        key = fired_id(name, 0)
        self._name_of[key] = name
        self._due.fires.set(key, moment_ms)

    def meet(self, now: float) -> None:
        """The clock shows moments of schedules: fire them."""
        left = MOMENTS_AT_ONCE
        firings: list[AppliedFiring] = []
        for key in self._due.fires.take_reached(self._due.clock, now):
            name = self._name_of.get(key, "")
            if left <= 0 or not self._recording.is_logging:
                self._watch(name)  # in the next turn
            elif name not in self._in_flight:  # else it is watched again once the log has that
                made = self._fire(name, now)
                left -= max(1, len(made))
                firings += made
        self._log_firings(firings)
        if self._queued and self._recording.is_logging:
            self._fire_queued(now)

    def _fire(self, name: str, now: float) -> list[AppliedFiring]:
        """What has become of the moments that the clock shows, of one schedule; nothing, if it is to be looked at
        again."""
        row = self._table.schedules.get(name)
        now_ms = self._due.clock.ms(now)
        if row is None or row.paused or not row.next_ms or row.next_ms > now_ms:
            self._watch(name)
            return []
        try:
            moments, missed, next_ms = _due_moments(row, now_ms)
        except ScheduleError as error:
            self._hold(name, str(error), now_ms + ZONE_RETRY_MS)
            if str(error) not in self._told:
                self._told.add(str(error))
                if self._notice is not None:
                    self._notice("error", f"the schedule {name!r} can't fire while this node leads: {error}")
            return []
        self.held.pop(name, None)
        return self._made_of(row, moments, missed, next_ms, now)

    def _made_of(
        self, row: ScheduleRow, moments: list[int], missed: int, next_ms: int, now: float
    ) -> list[AppliedFiring]:
        """An item for each of the moments, as far as their tasks can be made now."""
        if row.definition.misfire == Misfire.SKIP and moments[-1] + GRACE_MS < self._due.clock.ms(now):
            return [(row.name, moments[-1], int(Fired.SKIPPED), missed + 1, next_ms, None)]
        made: list[AppliedFiring] = []
        is_running, waiting = self._is_running(row), len(row.waiting)
        for number, moment_ms in enumerate(moments):
            behind_ms = moments[number + 1] if number + 1 < len(moments) else next_ms
            what, task = Fired.FIRED, None
            if self._was_made(fired_id(row.name, moment_ms)):
                what = self._had_task
            elif row.definition.overlap != Overlap.ALLOW and (is_running or waiting):
                what = Fired.OVERLAPPED
                if row.definition.overlap == Overlap.QUEUE and waiting < WAITING_LIMIT:
                    what = Fired.QUEUED
                    waiting += 1
            else:
                task = self._task_of(row, fired_id(row.name, moment_ms), now)
                if task is None:
                    break
                is_running = True
            made.append((row.name, moment_ms, int(what), 0 if number else missed, behind_ms, task))
        return made

    @property
    def _had_task(self) -> Fired:
        """What becomes of a moment that had its task under a schedule of the same name, which was removed since: so
        this one was added by a clock that is behind."""
        is_known = not self._admission.cluster_level.refusal(MODULE_SCHEDULES_LEVEL, "")
        return Fired.HAD_TASK if is_known else Fired.SKIPPED

    def _is_running(self, row: ScheduleRow) -> bool:
        """Whether the log does not have yet that the tasks of earlier firings have ended."""
        tasks = self._table.tasks
        return any(task_id in tasks for task_id in row.open)

    def _task_of(self, row: ScheduleRow, task_id: bytes, now: float) -> Task | None:
        """The task of a firing, which is handed out once the log has it. None: not now, and ``held`` has why."""
        call, refused = self._admission.scheduled(_call_of(row, task_id), now)
        if refused:
            self._hold(row.name, refused, self._due.clock.ms(now) + RETRY_MS)
            return None
        return self._recording.fire(call, now)

    def _hold(self, name: str, why: str, until_ms: int) -> None:
        self.held[name] = why[:MAX_DETAIL_CHARS]
        self._wake_at(name, until_ms)

    def _fire_queued(self, now: float) -> None:
        """Fire what waits for tasks that have ended by now, and what is to be backfilled."""
        firings: list[AppliedFiring] = []
        for name in list(self._queued):
            row = self._table.schedules.get(name)
            if row is None or name in self._in_flight or self._is_running(row):
                continue
            if row.waiting:
                firings += self._of_waiting(row, row.waiting[:1], Fired.DEQUEUED, now)
            else:
                limit = BACKFILLED_AT_ONCE if row.definition.overlap == Overlap.ALLOW else 1
                firings += self._of_waiting(row, row.backfill[:limit], Fired.BACKFILLED, now)
            if len(firings) >= MOMENTS_AT_ONCE:
                break
        self._log_firings(firings)

    def _of_waiting(self, row: ScheduleRow, moments: tuple[int, ...], what: Fired, now: float) -> list[AppliedFiring]:
        """An item for each of the moments, as far as their tasks can be made now, or were before."""
        made: list[AppliedFiring] = []
        for moment_ms in moments:
            task_id = fired_id(row.name, moment_ms)
            if what == Fired.BACKFILLED and self._was_made(task_id):
                made.append((row.name, moment_ms, int(Fired.HAD_TASK), 0, row.next_ms, None))
                continue
            task = self._task_of(row, task_id, now)
            if task is None:
                break
            self.held.pop(row.name, None)
            made.append((row.name, moment_ms, int(what), 0, row.next_ms, task))
        return made

    # --- what clients ask for -----------------------------------------------------------------------------------

    def ask(self, key: bytes, request: Request, now: float) -> None:
        """Do what a client asks for, and reply once that is committed. ``key``: its connection. Raises ProtocolError
        for a definition that can't be read."""
        if isinstance(request, PutSchedule):
            decode_definition(request.definition)
        if len(self._requests) + sum([len(flight.requests) for flight in self._flights]) >= OPEN_REQUESTS:
            self._refuse(key, request, _TOO_MANY)
        else:
            self._requests.append((key, request))
            self._take_requests(now)

    def _take_requests(self, now: float) -> None:
        """Do what can be done of what is asked for; the rest waits for the log."""
        if not self._recording.is_logging:
            return
        for _ in range(len(self._requests)):
            key, request = self._requests.popleft()
            if request.name in self._in_flight:
                self._requests.append((key, request))
            elif isinstance(request, TriggerSchedule):
                self._trigger(key, request, now)
            elif isinstance(request, BackfillSchedule):
                self._backfill(key, request, now)
            else:
                self._change(key, request, now)

    def _change(self, key: bytes, request: PutSchedule | ChangeSchedule, now: float) -> None:
        row = self._table.schedules.get(request.name)
        at_ms = self._changed_at_ms(row, now)
        answer, detail = ScheduleAnswer.UNCHANGED, ""
        change: ScheduleChange | None = None
        if isinstance(request, PutSchedule):
            definition = decode_definition(request.definition)._replace(owner="")
            if self._is_owned(row):
                answer, detail = ScheduleAnswer.OWNED, row.definition.owner if row is not None else ""
            else:
                change, detail = self._put(request.name, definition, row, at_ms)
            if change is None and detail and answer != ScheduleAnswer.OWNED:
                answer = ScheduleAnswer.REFUSED
        elif row is None:
            answer = ScheduleAnswer.UNKNOWN
        elif request.op == ScheduleOp.REMOVE and self._is_owned(row):
            answer, detail = ScheduleAnswer.OWNED, row.definition.owner
        else:
            answer, detail, change = _changed(request, row, at_ms)
        if change is None:
            self._answer(key, request.request, answer, detail)
        else:
            self._log_change(key, request.request, change)

    def _changed_at_ms(self, row: ScheduleRow | None, now: float) -> int:
        """The moment up to which nothing fires of a schedule that is changed now."""
        return min(max(0, self._due.clock.ms_from(now), 0 if row is None else row.handled_ms), MOMENT_MAX_MS)

    def _put(
        self, name: str, definition: ScheduleDefinition, row: ScheduleRow | None, at_ms: int
    ) -> tuple[ScheduleChange | None, str]:
        """The change that makes this schedule of it, or why there can't be one; neither if it is so."""
        before = None if row is None else row.definition
        definition = anchored(definition, before, at_ms)
        if definition == before:
            return None, ""
        detail, next_ms = self._why_not(name, definition, row), 0
        if not detail:
            try:
                next_ms = next_after(definition.when, at_ms)
                detail = "" if next_ms else "it would never fire: its moment is over, or there is none"
            except ScheduleError as error:
                detail = f"the leader can't tell its moments: {error}"
        return (None, detail) if detail else ((int(ScheduleOp.PUT), name, definition, next_ms, at_ms), "")

    # --- those that come with modules ---------------------------------------------------------------------------

    def _is_owned(self, row: ScheduleRow | None) -> bool:
        """Whether the schedule comes with a module that a node has, or may have: not all of them have said it yet."""
        if row is None or not row.definition.owner:
            return False
        return not self._is_settled or self.modules.has(row.name, row.definition.owner)

    def review(self, nodes: Nodes, *, is_settled: bool, now: float) -> None:
        """Have the schedules that come with the modules of the nodes, and no others of modules."""
        if now < self._review_at or not (self.modules or self._owned):
            return
        self._review_at = now + REVIEW_S
        self._is_settled = is_settled and now >= self._since + SETTLE_S
        enrolled = nodes.incarnations()
        wanted = self.modules.review(enrolled, self._owned, is_settled=self._is_settled, now=now)
        changes: list[ScheduleChange] = []
        for name, definition in wanted:
            if len(changes) == CHANGES_AT_ONCE:
                break
            if name in self._in_flight or now < self._refused_until.get(name, 0.0):
                continue
            change = self._own_change(name, definition, now)
            if change is not None:
                changes.append(change)
        self._log_own(changes)

    def _own_change(self, name: str, definition: ScheduleDefinition | None, now: float) -> ScheduleChange | None:
        row = self._table.schedules.get(name)
        if definition is None:
            return int(ScheduleOp.REMOVE), name, None, 0, 0
        at_ms = self._changed_at_ms(row, now)
        change, why = self._put(name, definition, row, at_ms)
        self._refused_until.pop(name, None)
        if why:
            self._refused_until[name] = now + REFUSED_S
            self.modules.refused(name, definition.owner, why)
        return change

    def _log_own(self, changes: list[ScheduleChange]) -> None:
        """Propose entries of some MiB each, and say what they do."""
        some: list[ScheduleChange] = []
        size_bytes = 0
        for change in changes:
            definition = change[2]
            item_bytes = ITEM_BYTES + (0 if definition is None else len(definition.args))
            if some and size_bytes + item_bytes > DRAFT_BYTES:
                self._log_changes(some, [])
                some, size_bytes = [], 0
            some.append(change)
            size_bytes += item_bytes
        if some:
            self._log_changes(some, [])
        if self._notice is None or not changes:
            return
        by_what: dict[str, list[str]] = {}
        for op, name, definition, _next_ms, _at_ms in changes:
            row, what = self._table.schedules.get(name), "removed, as no node has had them for ten minutes"
            if op == ScheduleOp.PUT and definition is not None:
                what = f"{'added' if row is None else 'changed'}, as they come with the module {definition.owner}"
            by_what.setdefault(what, []).append(name)
        for what, names in by_what.items():
            more = f" and {len(names) - NAMES_SHOWN} others" if len(names) > NAMES_SHOWN else ""
            shown = ", ".join([one_line(name) for name in names[:NAMES_SHOWN]])
            self._notice("info", f"schedules are {one_line(what)}: {shown}{more}")

    def _why_not(self, name: str, definition: ScheduleDefinition, row: ScheduleRow | None) -> str:
        """Why there can't be this schedule now; "" if it can."""
        options = definition.options or {}
        table, before = self._table, 0 if row is None else size_of(name, row.definition)
        too_low = self._admission.cluster_level.refusal(SCHEDULES_LEVEL, "a schedule")
        if not too_low and options:
            too_low = self._admission.cluster_level.refusal_of(options)
        if too_low:
            return too_low
        unfit = why_not_scheduled(options)
        if unfit:
            return unfit
        if row is None and len(table.schedules) >= SCHEDULES_LIMIT:
            return f"there are {SCHEDULES_LIMIT} schedules, which is the most; remove some, as those that are over"
        if table.schedule_bytes - before + size_of(name, definition) > SCHEDULES_LIMIT_BYTES:
            return f"the schedules would take more than {SCHEDULES_LIMIT_BYTES >> 20} MiB; give smaller arguments"
        return self._admission.too_large(definition.args)

    def _trigger(self, key: bytes, request: TriggerSchedule, now: float) -> None:
        row = self._table.schedules.get(request.name)
        if self._was_made(request.id):
            self._answer(key, request.request, ScheduleAnswer.DONE, "")
        elif row is None:
            self._answer(key, request.request, ScheduleAnswer.UNKNOWN, "")
        elif len(row.open) >= OPEN_LIMIT and self._is_running(row):
            detail = f"{OPEN_LIMIT} of its tasks have not ended; ask again once some have"
            self._answer(key, request.request, ScheduleAnswer.REFUSED, detail)
        else:
            call, refused = self._admission.scheduled(_call_of(row, request.id), now)
            if refused:
                self._answer(key, request.request, ScheduleAnswer.REFUSED, refused)
                return
            task = self._recording.fire(call, now)
            now_ms = min(max(0, self._due.clock.ms(now)), MOMENT_MAX_MS)
            firing: AppliedFiring = (row.name, now_ms, int(Fired.TRIGGERED), 0, row.next_ms, task)
            self._log_firings([firing], [(key, _done(request.request))])

    def _refuse(self, key: bytes, request: Request, why: str) -> None:
        if isinstance(request, BackfillSchedule):
            self.replies.append((key, BackfillReply(request.request, "", int(ScheduleAnswer.REFUSED), why, 0, 0)))
        else:
            self._answer(key, request.request, ScheduleAnswer.REFUSED, why)

    def _backfill(self, key: bytes, request: BackfillSchedule, now: float) -> None:
        row, number = self._table.schedules.get(request.name), request.request
        if row is None:
            self.replies.append((key, BackfillReply(number, "", int(ScheduleAnswer.UNKNOWN), "", 0, 0)))
            return
        why = self._admission.cluster_level.refusal(MODULE_SCHEDULES_LEVEL, "a backfill")
        if not why:
            now_ms = min(max(0, self._due.clock.ms(now)), MOMENT_MAX_MS)
            rows = self._table.schedules.values()
            try:
                found = backfill(row, rows, request.from_ms, request.to_ms, now_ms, self._was_made)
                why = found.why
            except ScheduleError as error:
                why = f"the leader can't tell its moments: {error}"
        if why:
            self._refuse(key, request, why[:MAX_DETAIL_CHARS])
            return
        reply = BackfillReply(number, "", int(ScheduleAnswer.DONE), "", found.waiting, found.made)
        if not found.new:
            self.replies.append((key, reply))
            return
        moments: list[BackfillMoments] = [(request.name, found.new)]
        index = self._propose(EntryKind.BACKFILL, encode_backfills(moments), moments)
        self._fly(_Flight(index, [request.name], [], [(key, reply)], []))

    def _was_made(self, task_id: bytes) -> bool:
        """Whether there is a task of this id, or was one, as far as is remembered."""
        return self._recording.open_task(task_id) is not None or self._recording.knows(task_id)

    def _answer(self, key: bytes, number: int, answer: int, detail: str) -> None:
        self.replies.append((key, ScheduleReply(number, "", int(answer), detail[:MAX_DETAIL_CHARS])))

    # --- the log ------------------------------------------------------------------------------------------------

    def _log_firings(self, firings: list[AppliedFiring], requests: list[tuple[bytes, Reply]] | None = None) -> None:
        """Propose entries of some MiB each."""
        some: list[AppliedFiring] = []
        size_bytes = 0
        for firing in firings:
            task = firing[5]
            item_bytes = ITEM_BYTES + (0 if task is None else len(task.args))
            if some and size_bytes + item_bytes > DRAFT_BYTES:
                self._log_some(some, [])
                some, size_bytes = [], 0
            some.append(firing)
            size_bytes += item_bytes
        if some:
            self._log_some(some, requests or [])

    def _log_some(self, firings: list[AppliedFiring], requests: list[tuple[bytes, Reply]]) -> None:
        packed: list[Firing] = []
        for name, moment_ms, what, missed, next_ms, task in firings:
            packed.append((name, moment_ms, what, missed, next_ms, None if task is None else task.call))
        index = self._propose(EntryKind.FIRING, encode_firings(packed), firings)
        tasks = [firing[5] for firing in firings]
        made = [task for task in tasks if task is not None]
        became = [(firing[2], firing[3]) for firing in firings]
        self._fly(_Flight(index, [firing[0] for firing in firings], made, requests, became))

    def _log_change(self, key: bytes, number: int, change: ScheduleChange) -> None:
        self._log_changes([change], [(key, _done(number))])

    def _log_changes(self, changes: list[ScheduleChange], requests: list[tuple[bytes, Reply]]) -> None:
        index = self._propose(EntryKind.SCHEDULE, encode_schedule_changes(changes), changes)
        self._fly(_Flight(index, [change[1] for change in changes], [], requests, []))

    def _fly(self, flight: _Flight) -> None:
        self._in_flight.update(set(flight.names))
        self._flights.append(flight)

    def log(self, now: float) -> None:
        """The log may grow: do what has waited for that."""
        if self._requests:
            self._take_requests(now)

    def applied(self, index: int, now: float) -> bool:
        """Everything up to this entry is applied. True: tasks may be handed out that could not be before."""
        if not self._flights and not self._queued:
            return False
        has_tasks = False
        while self._flights and self._flights[0].index <= index:
            flight = self._flights.popleft()
            for name in set(flight.names):
                self._in_flight[name] -= 1
                if not self._in_flight[name]:
                    del self._in_flight[name]
            for what, missed in flight.became:
                self._recording.count_moment(what, missed)
            for task in flight.tasks:
                self._recording.fired(task, now)
                has_tasks = True
            for name in flight.names:
                self._watch(name)
            self.replies += flight.requests
        if self._recording.is_logging:
            self._fire_queued(now)
            self._take_requests(now)
        return has_tasks


def _due_moments(row: ScheduleRow, now_ms: int) -> tuple[list[int], int, int]:
    """(the moments that the clock shows and that may have a task, how many before them are missed, the moment behind
    them, 0 for none). Raises ScheduleError."""
    when, first_ms = row.definition.when, row.next_ms
    next_ms = next_after(when, first_ms)
    if not next_ms or next_ms > now_ms:
        return [first_ms], 0, next_ms
    limit = max(1, row.definition.misfire_limit) if row.definition.misfire == Misfire.ALL else 1
    moments = last_ones(when, first_ms, now_ms, limit)
    if len(moments) < limit:
        moments = [first_ms, *moments]
    missed = 0
    if moments[0] > first_ms:
        missed = 1 + count(when, first_ms, moments[0] - 1, MISSED_COUNTED)
    return moments, missed, next_after(when, now_ms)


def _done(number: int) -> ScheduleReply:
    return ScheduleReply(number, "", int(ScheduleAnswer.DONE), "")


def _call_of(row: ScheduleRow, task_id: bytes) -> Call:
    definition = row.definition
    return task_id, definition.task, definition.priority, definition.args, definition.options


def _changed(
    request: ChangeSchedule, row: ScheduleRow, at_ms: int
) -> tuple[ScheduleAnswer, str, ScheduleChange | None]:
    """What a request makes of a schedule that there is."""
    if request.op == ScheduleOp.REMOVE:
        return ScheduleAnswer.DONE, "", (int(ScheduleOp.REMOVE), row.name, None, 0, 0)
    if request.op not in (ScheduleOp.PAUSE, ScheduleOp.RESUME):
        return ScheduleAnswer.REFUSED, "a schedule is put with its definition", None
    if row.paused == (request.op == ScheduleOp.PAUSE):
        return ScheduleAnswer.UNCHANGED, "", None
    if request.op == ScheduleOp.PAUSE:
        return ScheduleAnswer.DONE, "", (int(ScheduleOp.PAUSE), row.name, None, 0, 0)
    try:
        next_ms = next_after(row.definition.when, at_ms)
    except ScheduleError as error:
        return ScheduleAnswer.REFUSED, f"the leader can't tell its moments: {error}", None
    return ScheduleAnswer.DONE, "", (int(ScheduleOp.RESUME), row.name, None, next_ms, at_ms)
