"""Backfills: the tasks of past moments of a schedule, which somebody asks for.

Which moments those are is decided as the request comes, and is in the log: the row of the schedule has those that wait,
in their order. What becomes of each is an item of a FIRING entry, as with any moment (``schedule_keeper.py``), and its
task has the id of that moment. So a moment that has its task already, by its time, by another backfill or under an
earlier leader, gets none, as far as the cluster remembers the id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from paceline.core.state.schedules import ScheduleRow, fired_id
from paceline_protocol.when import next_after

BACKFILL_LIMIT: Final = 1_000
"""Moments of one request, and of one schedule that wait."""
BACKFILLS_LIMIT: Final = 100_000
"""Those of all schedules that wait: 8 bytes each, on every replica."""


class Backfill:
    """What a request comes to. ``new``: moments that are to wait now; ``waiting``: how many do with those that did
    before; ``made``: how many have had their tasks; ``why``: why nothing is done, "" if it is."""

    __slots__ = ("made", "new", "waiting", "why")

    def __init__(self, new: tuple[int, ...] = (), waiting: int = 0, made: int = 0, why: str = "") -> None:
        self.new: Final = new
        self.waiting: Final = waiting
        self.made: Final = made
        self.why: Final = why


def backfill(
    row: ScheduleRow,
    rows: Iterable[ScheduleRow],
    from_ms: int,
    to_ms: int,
    now_ms: int,
    was_made: Callable[[bytes], bool],
) -> Backfill:
    """The moments from ``from_ms`` to ``to_ms``, both included, that are over. ``rows``: all schedules. ``was_made``:
    whether there is, or was, a task of this id. Raises ScheduleError."""
    end_ms = min(to_ms, now_ms if row.paused or not row.next_ms else min(now_ms, row.next_ms - 1))
    if from_ms > to_ms:
        return Backfill(why="it ends before it begins")
    found: list[int] = []
    moment_ms = next_after(row.definition.when, max(0, from_ms - 1))
    while moment_ms and moment_ms <= end_ms:
        if len(found) == BACKFILL_LIMIT:
            return Backfill(why=f"there are more than {BACKFILL_LIMIT} moments in that time; ask for a shorter one")
        found.append(moment_ms)
        moment_ms = next_after(row.definition.when, moment_ms)
    known = {*row.backfill, *row.waiting}
    missing = [each for each in found if each not in known]
    new = tuple([each for each in missing if not was_made(fired_id(row.name, each))])
    if len(row.backfill) + len(new) > BACKFILL_LIMIT:
        return Backfill(why=f"{len(row.backfill)} moments of it wait already, of {BACKFILL_LIMIT}; ask again later")
    if new and sum([len(each.backfill) for each in rows]) + len(new) > BACKFILLS_LIMIT:
        return Backfill(why=f"moments of all schedules wait already, {BACKFILLS_LIMIT} at most; ask again later")
    return Backfill(new, len(found) - len(missing) + len(new), len(missing) - len(new))
