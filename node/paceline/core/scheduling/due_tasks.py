"""Tasks that ask for a moment of the wall clock: one before which they may not start, or from which on they may not.

Both moments are in the call and so in the log; each leader goes by its own clock, and sets for each of its tasks the
earliest moment at which something becomes of it (``deadlines.Moments``). That is looked at once the clock shows it, and
not before: a clock that is set forward or back changes when that is, and nothing else.

A delayed task that an earlier leader accepted may be at a node all the same, if that leader's clock was ahead of this
one's. So it can be adopted, and it is handed out only once the nodes have said what they hold. One of which the log
says that it started is not delayed again.

Who decides what becomes of a task is ``recording.py``; here is what its call asks for, compared with the clock.
"""

from __future__ import annotations

from paceline.core.deadlines import Moments
from paceline.core.state.call_options import CallOptions
from paceline.core.state.task import Task
from paceline.core.wall_clock import WallClock
from paceline_protocol.messages.records import Options
from paceline_protocol.moments import datetime_of
from paceline_protocol.options import with_moments


class DueTasks:
    """Of one leader. ``moments``: the node's, which are this leader's alone while it leads.

    They are held until the nodes have said what they hold (:meth:`settle`), and while the leadership is transferred:
    nothing may become of a task then. Whoever hands out tasks must not while one is reached and not met
    (:meth:`is_any_reached`): it may be that of a task that has expired.
    """

    __slots__ = ("_clock", "_is_settled", "_is_transferring", "_moments")

    def __init__(self, clock: WallClock, moments: Moments) -> None:
        self._clock = clock
        self._is_settled = False
        self._is_transferring = False
        self._moments = moments
        moments.clear()
        moments.hold(True)

    def settle(self) -> None:
        """The nodes have said what they hold, or had time to."""
        self._is_settled = True
        self._moments.hold(self._is_transferring)

    def transfer(self, on: bool) -> None:
        """Whether the leadership is being transferred."""
        self._is_transferring = on
        self._moments.hold(on or not self._is_settled)

    def is_any_reached(self, now: float) -> bool:
        """Whether something is to become of a task."""
        return self._clock.has_reached(self._moments.earliest_ms, now)

    def at_admission(self, options: Options, now: float) -> Options:
        """The options that are logged: moments that are relative to the call's admission are absolute there. The same
        map if there are none."""
        return with_moments(options, self._clock.ms_from(now))

    def is_early(self, options: CallOptions, now: float) -> bool:
        """Whether it may not start yet."""
        return options.not_before_ms > 0 and not self._clock.has_reached(options.not_before_ms, now)

    def is_late(self, options: CallOptions, now: float) -> bool:
        """Whether it may not start any more."""
        return options.expires_ms > 0 and self._clock.has_reached(options.expires_ms, now)

    def watch(self, task: Task, now: float) -> None:
        """Set the next moment at which something becomes of a task, which may be past."""
        options = task.options
        if options is None or not options.has_moment:
            return
        moment_ms = options.expires_ms
        if self.is_early(options, now):
            moment_ms = min(moment_ms or options.not_before_ms, options.not_before_ms)
        if moment_ms:
            self._moments.set(task.id, moment_ms)

    def forget(self, task_id: bytes) -> None:
        """Nothing becomes of this task any more."""
        self._moments.drop(task_id)

    def take_reached(self, now: float) -> list[bytes]:
        """Some of the tasks whose moments are reached, the earliest first."""
        return self._moments.take_reached(self._clock, now)


def expiry_of(options: CallOptions) -> str:
    """When it expired, for a person."""
    return datetime_of(options.expires_ms).isoformat(sep=" ", timespec="milliseconds")
