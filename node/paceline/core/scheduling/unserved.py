"""Tasks that wait under names which no node runs, as after a release that renamed a task, or for tags and amounts that
no node has: the leader says so, or they would wait for ever and nobody would know.

A node that is restarted takes its names away for a moment, so nothing is said before a name has been without a node
for ``GRACE_S``. Each time that this happens to a name counts, and is told for powers of ten alone: a node that comes
and goes does not fill the log. All of that begins anew with each leader.
"""

from __future__ import annotations

from typing import Final

from paceline.core.measures.repeats import is_power_of_ten
from paceline.core.scheduling.unheard import Notice

GRACE_S: Final = 10.0
REVIEW_S: Final = 1.0
NAMES_LIMIT: Final = 1_000
"""Names that are watched; of more than that, nobody reads each."""
NAMES_TOLD: Final = 10
"""In one line."""


UNSERVED: Final = (
    "no node runs what {count} tasks wait for: {shown}. Start a node with the module that has them, or cancel them: "
    "`paceline tasks cancel --name NAME`"
)
UNPLACED: Final = (
    "no node has what {count} tasks ask for: {shown}. Start a node that has it, with --tag or --resource; `paceline "
    "tasks why ID` says which comes closest"
)


class Unserved:
    """The names that no node runs and under which tasks wait; or, likewise, what no node has that tasks ask for."""

    def __init__(self, notice: Notice | None = None, line: str = UNSERVED) -> None:
        """``notice``: has a line logged; without it nothing is said. ``line``: which."""
        self._notice = notice
        self._line = line
        self._since: dict[str, float] = {}  # when a name was first seen without a node; gone once that has ended
        self._times: dict[str, int] = {}  # how often that went on for GRACE_S
        self._told: set[str] = set()
        self._review_at = 0.0

    def is_due(self, now: float) -> bool:
        """Whether it is time for another review()."""
        if now < self._review_at:
            return False
        self._review_at = now + REVIEW_S
        return True

    def review(self, waiting: dict[str, int], now: float) -> None:
        """``waiting``: how many tasks wait, by name, of the names that no node runs now. Cost: that of the names."""
        if self._notice is None or not (waiting or self._since):
            return
        for name in [name for name in self._since if name not in waiting]:
            del self._since[name]
            self._told.discard(name)
        new: list[str] = []
        for name in waiting:
            if name not in self._since:
                if len(self._since) < NAMES_LIMIT:
                    self._since[name] = now
            elif name not in self._told and now >= self._since[name] + GRACE_S:
                self._told.add(name)
                if self._is_to_be_told(name):
                    new.append(name)
        if new:
            self._notice("warning", _said(self._line, sorted(new, key=lambda name: (-waiting[name], name)), waiting))

    def _is_to_be_told(self, name: str) -> bool:
        if name not in self._times and len(self._times) >= NAMES_LIMIT:
            self._times.clear()
        count = self._times[name] = self._times.get(name, 0) + 1
        return is_power_of_ten(count)


def _said(line: str, names: list[str], waiting: dict[str, int]) -> str:
    shown = ", ".join(f"{name if name.isprintable() else ascii(name)} ({waiting[name]})" for name in names[:NAMES_TOLD])
    more = f" and {len(names) - NAMES_TOLD} others" if len(names) > NAMES_TOLD else ""
    count = sum(waiting[name] for name in names)
    return line.replace("{count}", str(count)).replace("{shown}", shown + more)
