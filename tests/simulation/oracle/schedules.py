"""Schedules: what becomes of each moment, once.

The model of one schedule, in the order of the log. Its moments are computed here anew, from its definition alone: each
is behind the one before, none is left out that is not counted as missed, and none fires that its leader's clock has not
shown. What a moment comes to is what its policies say. What a client is told the log has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from math import inf

from paceline_protocol.messages.schedules import (
    MAKES_TASK,
    Fired,
    Misfire,
    Overlap,
    ScheduleAnswer,
    ScheduleDefinition,
    ScheduleOp,
    When,
    WhenKind,
)
from simulation.oracle.events import (
    BackfillAnswered,
    BackfillWanted,
    Ended,
    MomentFired,
    ScheduleAnswered,
    ScheduleChanged,
    SchedulesSeen,
    TriggerAsked,
)
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record

MISSED_COUNTED = 64
"""Of more moments that are missed together the log says no number."""
TOLD_WITHIN_S = 5.0
"""A leader goes by what it has applied when it says what becomes of a moment; the end of a task may stand in front of
that in the log for as long as that does not commit."""
LATE_MS = 500
"""In calm a moment has become something by then."""


def is_understood(when: When) -> bool:
    """Whether its moments can be computed here. Somebody hostile may have schedules that no client of these has."""
    return when.kind == WhenKind.EVERY or (when.kind == WhenKind.CRON and when.text.endswith(" * * * * *"))


def interval_ms(when: When) -> int:
    """Between two moments. Of cron the simulator uses expressions of seconds alone."""
    if when.kind == WhenKind.EVERY:
        return when.every_ms
    seconds = when.text.split()[0]
    return 1_000 * (1 if seconds == "*" else int(seconds.removeprefix("*/")))


def first_behind(when: When, moment_ms: int) -> int:
    """The first moment behind this one."""
    from_ms, step_ms = when.from_ms if when.kind == WhenKind.EVERY else 0, interval_ms(when)
    return from_ms + ((moment_ms - from_ms) // step_ms + 1) * step_ms


def fired_id(name: str, moment_ms: int) -> bytes:
    """Of the task of this moment."""
    made_of = moment_ms.to_bytes(8, "big") + name.encode()
    return blake2b(made_of, digest_size=16, person=b"paceline firing").digest()


@dataclass(slots=True)
class Known:
    """What the log says of one schedule."""

    definition: ScheduleDefinition
    next_ms: int
    handled_ms: int
    paused: bool = False
    tasks: list[bytes] = field(default_factory=list)  # of those made while their overlap was minded
    waiting: list[int] = field(default_factory=list)
    backfill: list[int] = field(default_factory=list)
    ended_at_s: float = -inf  # when the last one of its tasks had ended, by the log


class ScheduledMoments(Promise):
    says = "each moment of a schedule fires once, or comes to what its policies say"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._known: dict[str, Known] = {}
        self._foreign: set[str] = set()  # those of others, of which nothing is promised here
        self._triggers: set[bytes] = set()
        self._made: set[bytes] = set()
        self._changed_at_s: dict[tuple[str, int], float] = {}

    def on_trigger_asked(self, event: TriggerAsked) -> None:
        self._triggers.add(event.task_id)

    def on_schedule_changed(self, event: ScheduleChanged) -> None:
        self._changed_at_s[event.name, event.op] = event.at_s
        known = self._known.get(event.name)
        if event.definition is not None and not is_understood(event.definition.when):
            self._known.pop(event.name, None)
            self._foreign.add(event.name)
            return
        if event.op == ScheduleOp.PUT:
            assert event.definition is not None
            self._foreign.discard(event.name)
            handled_ms = max(event.from_ms, 0 if known is None else known.handled_ms)
            before = known or Known(event.definition, 0, 0)
            known = Known(event.definition, event.next_ms, handled_ms, before.paused, before.tasks)
            known.ended_at_s = before.ended_at_s
            self._known[event.name] = known
        elif known is not None and event.op == ScheduleOp.REMOVE:
            del self._known[event.name]
        elif known is not None and event.op == ScheduleOp.PAUSE:
            known.paused = True
        elif known is not None and event.op == ScheduleOp.RESUME:
            known.paused, known.next_ms = False, event.next_ms
            known.handled_ms = max(known.handled_ms, event.from_ms)
        if known is not None and event.op in (ScheduleOp.PUT, ScheduleOp.RESUME):
            self._check_next(event.name, known, known.handled_ms)

    def _check_next(self, name: str, known: Known, behind_ms: int) -> None:
        if known.next_ms != first_behind(known.definition.when, behind_ms):
            self.broken(f"the moment of {name} behind {behind_ms} is {known.next_ms}: one is left out, or is none")

    def on_moment_fired(self, event: MomentFired) -> None:
        name, known = event.name, self._known.get(event.name)
        if name in self._foreign:
            return
        if known is None:
            self.broken(f"{name} fires, and there is no such schedule")
        if (event.call is not None) != (event.what in MAKES_TASK):
            self.broken(f"a moment of {name} has a task, or has none, against what is said of it")
        if event.what == Fired.TRIGGERED:
            if event.call is None or event.call[0] not in self._triggers:
                self.broken(f"{name} is triggered, and nobody has asked for that")
        elif event.what == Fired.DEQUEUED:
            if not known.waiting or known.waiting.pop(0) != event.moment_ms:
                self.broken(f"the moment {event.moment_ms} of {name} fires, and did not wait, or not in front")
            if self._is_running(known):
                self.broken(f"{name} runs beside an earlier task of its own, which was to end before")
        elif event.what == Fired.BACKFILLED or (event.what == Fired.HAD_TASK and event.moment_ms <= known.handled_ms):
            self._fill(event, known)
        else:
            self._meet(event, known)
        self._check_task(event, known)

    def on_backfill_wanted(self, event: BackfillWanted) -> None:
        name, known = event.name, self._known.get(event.name)
        if name in self._foreign:
            return
        if known is None:
            self.broken(f"{name} is backfilled, and there is no such schedule")
        when = known.definition.when
        for moment_ms in event.moments:
            if moment_ms > event.leader_ms or moment_ms != first_behind(when, moment_ms - 1):
                self.broken(f"{moment_ms} is no moment of {name} that is over, and is backfilled")
        if not known.paused and known.next_ms <= max(event.moments):
            self.broken(f"a moment of {name} is backfilled that fires by itself")
        if {*known.waiting, *known.backfill} & set(event.moments):
            self.broken(f"a moment of {name} is backfilled that waits for its task")
        known.backfill += event.moments
        known.handled_ms = max(known.handled_ms, *event.moments)

    def on_backfill_answered(self, event: BackfillAnswered) -> None:
        if event.waiting and event.answer != ScheduleAnswer.DONE:
            self.broken(f"{event.name} is not backfilled, and moments of it are said to wait")

    def _fill(self, event: MomentFired, known: Known) -> None:
        name, moment_ms = event.name, event.moment_ms
        if not known.backfill or known.backfill.pop(0) != moment_ms:
            self.broken(f"the moment {moment_ms} of {name} is backfilled, and did not wait, or not in front")
        self._check_had_task(event)
        if event.what == Fired.BACKFILLED and known.definition.overlap != Overlap.ALLOW and self._is_running(known):
            self.broken(f"{name} is backfilled beside an earlier task of its own")

    def _check_had_task(self, event: MomentFired) -> None:
        if event.what == Fired.HAD_TASK and fired_id(event.name, event.moment_ms) not in self._made:
            self.broken(f"the moment {event.moment_ms} of {event.name} is said to have had its task, and had none")

    def _meet(self, event: MomentFired, known: Known) -> None:
        name, moment_ms, when = event.name, event.moment_ms, known.definition.when
        self._check_had_task(event)
        step_ms = interval_ms(when)
        if known.paused:
            self.broken(f"{name} fires, and is paused")
        if moment_ms <= known.handled_ms:
            self.broken(f"the moment {moment_ms} of {name} fires twice, or was over before")
        if moment_ms > event.leader_ms:
            self.broken(f"{name} fires at {moment_ms}, and its leader's clock has shown {event.leader_ms} at most")
        if (moment_ms - known.next_ms) % step_ms:
            self.broken(f"{moment_ms} is no moment of {name}")
        passed = (moment_ms - known.next_ms) // step_ms
        missed = event.missed - (event.what == Fired.SKIPPED)
        if missed != passed and (passed <= MISSED_COUNTED or missed < MISSED_COUNTED):
            self.broken(f"{passed} moments of {name} are left out, and {missed} are said to be missed")
        definition = known.definition
        made_up_ms = moment_ms + (definition.misfire_limit - 1) * step_ms
        if definition.misfire == Misfire.ALL and passed and made_up_ms > event.leader_ms:
            self.broken(f"{passed} moments of {name} are left out, which were to be made up for")
        if event.what == Fired.SKIPPED and definition.misfire != Misfire.SKIP:
            self.broken(f"the moment {moment_ms} of {name} is left out, and was to be made up for")
        is_running = self._is_running(known) or bool(known.waiting)
        ran_lately = is_running or event.at_s < known.ended_at_s + TOLD_WITHIN_S
        if event.what in (Fired.QUEUED, Fired.OVERLAPPED) and (definition.overlap == Overlap.ALLOW or not ran_lately):
            self.broken(f"the moment {moment_ms} of {name} has no task, and nothing stood in its way")
        if event.what == Fired.FIRED and definition.overlap != Overlap.ALLOW and is_running:
            self.broken(f"{name} runs beside an earlier task of its own")
        if event.what == Fired.QUEUED:
            known.waiting.append(moment_ms)
        known.handled_ms, known.next_ms = moment_ms, event.next_ms
        self._check_next(name, known, moment_ms)

    def _check_task(self, event: MomentFired, known: Known) -> None:
        if event.call is None:
            return
        task_id, task, priority, args, _options = event.call
        definition = known.definition
        if (task, priority, args) != (definition.task, definition.priority, definition.args):
            self.broken(f"{event.name} has another task made than it says")
        expected = fired_id(event.name, event.moment_ms)
        if event.what != Fired.TRIGGERED and task_id != expected:
            self.broken(f"the task of the moment {event.moment_ms} of {event.name} has another id")
        if task_id in self._made:
            self.broken(f"a task of {event.name} is made twice", self.record.stories[task_id])
        self._made.add(task_id)
        if definition.overlap != Overlap.ALLOW:
            known.tasks.append(task_id)

    def _is_running(self, known: Known) -> bool:
        """Whether a task of it has not ended, by the log."""
        stories: Mapping[bytes, object] = self.record.stories
        known.tasks = [each for each in known.tasks if each in stories and self.record.stories[each].outcome is None]
        return bool(known.tasks)

    def on_ended(self, event: Ended) -> None:
        for known in self._known.values():
            if event.task_id in known.tasks:
                known.ended_at_s = event.at_s

    def on_schedule_answered(self, event: ScheduleAnswered) -> None:
        if event.answer != ScheduleAnswer.DONE:
            return
        if event.task_id:
            if event.task_id not in self._made:
                self.broken(f"{event.name} is told to be triggered before the log has it")
        elif self._changed_at_s.get((event.name, event.op), -1.0) < event.asked_at_s:
            self.broken(f"{event.name} is told to be changed before the log has it")

    def on_schedules_seen(self, event: SchedulesSeen) -> None:
        for name, known in self._known.items():
            if not known.paused and known.next_ms + LATE_MS < event.right_ms:
                self.broken(f"the moment {known.next_ms} of {name} is over, and nothing has become of it")
            is_idle = not self._is_running(known) and event.at_s > known.ended_at_s + LATE_MS / 1_000
            if (known.waiting or known.backfill) and not known.paused and is_idle:
                self.broken(f"a moment of {name} waits for nothing")
