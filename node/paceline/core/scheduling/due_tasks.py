"""Tasks that ask for a moment of the wall clock: one before which they may not start, or from which on they may not.

Both moments are in the call and so in the log; each leader goes by its own clock, and sets for each of its tasks the
earliest moment at which something becomes of it (``deadlines.Moments``). That is looked at once the clock shows it, and
not before: a clock that is set forward or back changes when that is, and nothing else.

A task that is tried again waits for a time (``retrying.py``), by the monotonic clock of its leader: no setting of the
wall clock makes that longer or shorter. That it does, and until when by the wall clock, is in the log for the next
leader.

A delayed task that an earlier leader accepted may be at a node all the same, if that leader's clock was ahead of this
one's. So it can be adopted, and it is handed out only once the nodes have said what they hold. One of which the log
says that it started is not delayed again.

Who decides what becomes of a task is ``recording.py``; here is what its call asks for, compared with the clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from paceline.core.deadlines import Moments
from paceline.core.scheduling.paces import Pace
from paceline.core.scheduling.retention import Retention
from paceline.core.scheduling.retrying import Retrying
from paceline.core.state.call_options import CallOptions
from paceline.core.state.task import Task
from paceline.core.wall_clock import WallClock
from paceline_protocol.messages.records import Assignment, FailedAttempt, Options, Retry
from paceline_protocol.moments import datetime_of, shown
from paceline_protocol.options import with_moments, with_time_left
from paceline_protocol.requeued import requeued_options


class DueTasks:
    """Of one leader. ``moments``: the node's, which are this leader's alone while it leads.

    They are held until the nodes have said what they hold (:meth:`settle`), and while the leadership is transferred:
    nothing may become of a task then. Whoever hands out tasks must not while one is reached and not met
    (:meth:`is_any_reached`): it may be that of a task that has expired.
    """

    __slots__ = (
        "_hurried",
        "_is_settled",
        "_is_transferring",
        "_moments",
        "_monotonic",
        "_waits",
        "altering",
        "clock",
        "fires",
        "retention",
        "retrying",
    )

    def __init__(
        self,
        clock: WallClock,
        moments: Moments,
        waits: Moments | None = None,
        retrying: Retrying | None = None,
        retention: Retention | None = None,
        fires: Moments | None = None,
    ) -> None:
        """``waits``: the moments of the monotonic clock at which tasks are tried again; the node's, as ``moments``.
        ``fires``: those of schedules (``schedule_keeper.py``), likewise."""
        self.fires = fires if fires is not None else Moments()
        self.fires.clear()
        self.retention = retention if retention is not None else Retention(clock)
        self.retrying = retrying if retrying is not None else Retrying()
        self.clock = clock
        self._hurried: set[bytes] = set()  # live tasks that do not wait for the moment of their call any more
        self.altering: set[bytes] = set()  # those of LiveTasks
        self._monotonic = WallClock()
        self._waits = waits if waits is not None else Moments()
        self._is_settled = False
        self._is_transferring = False
        self._moments = moments
        self._moments.clear()
        self._waits.clear()
        self._hold()

    def settle(self) -> None:
        """The nodes have said what they hold, or had time to."""
        self._is_settled = True
        self._hold()

    def transfer(self, on: bool) -> None:
        """Whether the leadership is being transferred."""
        self._is_transferring = on
        self.retention.hold(on)
        self.fires.hold(on)
        self._hold()

    def _hold(self) -> None:
        is_held = self._is_transferring or not self._is_settled
        self._moments.hold(is_held)
        self._waits.hold(is_held)

    def is_any_reached(self, now: float) -> bool:
        """Whether something is to become of a task, but for being tried again."""
        return self.clock.has_reached(self._moments.earliest_ms, now)

    def fails(self, task: Task, failed: FailedAttempt, now: float) -> Retry | None:
        """The attempt of a task has failed: when it is tried again, None if it is not."""
        summary, delay_ms, _end, _error = failed
        now_ms = max(0, self.clock.ms_from(now))
        wait_ms = self.retrying.wait_ms(task, delay_ms, now_ms)
        if wait_ms is None:
            return None
        self.retrying.waits(task, now + wait_ms / 1_000)
        return task.id, task.attempt, now_ms + wait_ms, now_ms, summary

    def failure_is_logged(self, task: Task, now: float) -> None:
        """The log has that its attempt has failed: the next one may start once its wait is over."""
        self.retrying.is_logged(task.id)
        self.watch(task, now)

    def recover(self, task: Task, now: float) -> None:
        """An earlier leader accepted this task, of which attempts may have failed there. How much of its wait has
        passed the wall clock tells, which may be behind that leader's: it waits no longer than it would from now on."""
        failures = self.retrying.by_id.get(task.id)
        if failures is not None:
            left_ms = min(failures.not_before_ms - self.clock.ms(now), failures.wait_ms)
            self.retrying.waits_until[task.id] = now + max(0, left_ms) / 1_000

    def at_admission(self, options: Options, now: float) -> Options:
        """The options that are logged: moments that are relative to the call's admission are absolute there. The same
        map if there are none."""
        return with_moments(options, self.clock.ms_from(now))

    def at_requeue(self, options: Options, task_id: bytes, now: float) -> Options:
        """The same for the new task that takes the place of this dead one."""
        return requeued_options(options, task_id, self.clock.ms_from(now))

    def is_early(self, task: Task, now: float) -> bool:
        """Whether it may not start yet."""
        if self._is_stopped(task):
            return True
        waits_until = self.retrying.waits_until.get(task.id) if self.retrying.waits_until else None
        if waits_until is not None:
            return waits_until == inf or not self._monotonic.has_reached(self._monotonic.ms_from(waits_until), now)
        options = task.options
        if options is None or not options.not_before_ms or task.id in self._hurried:
            return False
        return not self.clock.has_reached(options.not_before_ms, now)

    def _is_stopped(self, task: Task) -> bool:
        """Whether it waits for no moment: somebody holds it, or the log is to have first that it is altered."""
        return task.is_held or (bool(self.altering) and task.id in self.altering)

    def retry_wait_ms(self, task: Task, now: float) -> int:
        """How long a task that has failed still waits until it is tried again; 0 if it does not, or if the log does not
        have that yet."""
        waits_until = self.retrying.waits_until.get(task.id) if self.retrying.waits_until else None
        if waits_until is None or waits_until == inf or not task.is_delayed:
            return 0
        return max(0, self._monotonic.ms_from(waits_until) - self._monotonic.ms_from(now))

    def assignment(self, task: Task, now: float) -> Assignment:
        """A task as its node is sent it now."""
        options = task.options
        if options is None or not options.deadline_ms:
            return task.assignment
        return task.id, task.attempt, task.name, task.args, with_time_left(options.wire, self.clock.ms(now))

    def is_late(self, options: CallOptions, now: float) -> bool:
        """Whether it may not start any more."""
        return options.expires_ms > 0 and self.clock.has_reached(options.expires_ms, now)

    def watch(self, task: Task, now: float) -> None:
        """Set the next moment at which something becomes of a task, which may be past."""
        options = task.options
        if options is None or not options.has_moment:
            return
        moment_ms = options.expires_ms
        waits_until = self.retrying.waits_until.get(task.id) if self.retrying.waits_until else None
        if self._is_stopped(task):
            pass
        elif waits_until is not None:
            if task.is_delayed and waits_until < inf:
                self._waits.set(task.id, self._monotonic.ms_from(waits_until))
        elif self.is_early(task, now):
            moment_ms = min(moment_ms or options.not_before_ms, options.not_before_ms)
        if moment_ms:
            self._moments.set(task.id, moment_ms)

    def pace(self, paces: Iterable[Pace]) -> None:
        """Turns of these come back at moments of the monotonic clock."""
        for pace in paces:
            self._waits.set(pace.key, pace.next_ms)

    def hurry(self, task: Task) -> bool:
        """A delayed task is to wait for its moment no longer. False, with nothing changed: what it waits for is the
        log. Afterwards, when it is where it belongs, it is to be watched anew."""
        options, waits_until = task.options, self.retrying.waits_until.get(task.id)
        if self._is_stopped(task):
            return False
        if options is None or waits_until == inf or (waits_until is None and not options.not_before_ms):
            return False
        self.forget(task.id)
        if options.not_before_ms:
            self._hurried.add(task.id)
        return True

    def forget(self, task_id: bytes) -> None:
        """Nothing becomes of this task any more."""
        self._moments.drop(task_id)
        self._waits.drop(task_id)
        self._hurried.discard(task_id)
        self.retrying.forget(task_id)

    def take_reached(self, now: float) -> list[bytes]:
        """Some of the tasks whose moments are reached, the earliest first, and keys of paces to which turns come
        back."""
        reached = self._moments.take_reached(self.clock, now)
        waited = self._waits.take_reached(self._monotonic, now)
        return reached + waited if not reached or not waited else list(dict.fromkeys(reached + waited))


def expiry_of(options: CallOptions) -> str:
    """When it expired, for a person."""
    return shown(datetime_of(options.expires_ms))
