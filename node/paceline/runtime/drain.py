"""How a node ends that was told to: it drains first, and says what became of what it ran.

The core drains (``core/work/draining.py``): it takes nothing more, has another node lead, and at the deadline gives
back what still runs. Here is when that is over, what is said of it, and with what the process ends.

A second signal ends the node at once. What it runs then is lost with it, as in a crash: the attempts count, and another
node runs the tasks again. Whoever closes the terminal of a node tells it once, though the shell sends SIGHUP then, and
the system once more as that ends; so does `timeout`, which signals the node and then its whole group.
"""

from __future__ import annotations

import logging
import signal
from math import inf
from typing import Final

from paceline.core.node import NodeCore
from paceline.errors import TasksCutShort

FINISH_S: Final = 2.0
"""Once nothing runs here any more, or should not, so long is waited for the leader to know what became of it. Results
on their way may be large: they have until the drain is over, while the leader is heard."""

_logger = logging.getLogger("paceline.node")


AGAIN_S: Final = 0.5
"""A second signal that comes sooner belongs to the first."""


def is_told_again(number: int, since_first_s: float) -> bool:
    """Whether a signal tells a node to end at once that was told to end ``since_first_s`` ago."""
    return number != signal.SIGHUP and since_first_s >= AGAIN_S


def _counted(tasks: int) -> str:
    return "1 task" if tasks == 1 else f"{tasks} tasks"


class Drain:
    """Of one process, from the first signal on."""

    def __init__(self, core: NodeCore, signal_name: str, lasts_s: float, now: float) -> None:
        slots = core.leader_link.slots
        self._core = core
        self._executed = slots.executed
        self._running = slots.running_tasks
        self._given_back = slots.draining.given_back  # by `paceline drain`, before
        self._ends_at = now + lasts_s + FINISH_S
        self._idle_since = inf
        _logger.info("stopping on %s", signal_name)
        if self._running:
            _logger.warning(
                "draining on %s: %s may end within %g s; a second signal stops the node at once",
                signal_name,
                _counted(self._running),
                lasts_s,
            )
        core.drain(now, lasts_s)

    def is_over(self, now: float) -> bool:
        """Whether nothing is left to wait for."""
        if self._core.has_drained(now) or now >= self._ends_at:
            return True
        link = self._core.leader_link
        is_reporting = bool(link.slots.held.unrecorded) and now < link.heard_at + FINISH_S
        if link.slots.running_tasks or is_reporting:
            self._idle_since = inf
        elif self._idle_since == inf:
            self._idle_since = now
        return now >= self._idle_since + FINISH_S

    def end(self, *, is_cut_short: bool) -> TasksCutShort | None:
        """Say what became of what ran. Returns what the process is to end with, if that is to be an error.
        ``is_cut_short``: by another signal."""
        slots = self._core.leader_link.slots
        draining = slots.draining
        cut = slots.running_tasks if is_cut_short else 0
        if self._running:
            parts = [f"{_counted(slots.executed - self._executed)} ended"]
            if given_back := draining.given_back - self._given_back:
                parts.append(f"{given_back} did not in time and were given back, with the attempt not used up")
            if cut:
                parts.append(f"{cut} were cut off by a second signal, and those attempts are lost")
            _logger.warning("drained: %s", "; ".join(parts))
        if draining.lost:
            more = draining.lost - len(draining.lost_named)
            named = ", ".join(draining.lost_named) + (f" and {more} others" if more else "")
            _logger.error("lost, as they had begun and may be begun once only: %s", named)
        return TasksCutShort(cut, draining.lost) if cut or draining.lost else None
