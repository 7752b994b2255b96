"""Whether a node takes tasks, and what becomes of those that it has when it takes none.

A node that is quiet, or drains, offers its leader no slots, whatever its workers do: so it is given nothing more, as a
node without workers is not. What it has and no worker has begun it gives back at once, by an account that does not name
it (``leader_link.py``). What its workers have begun goes on.

Of a drain that has an end: once that is reached, the workers that run something are killed. What they had begun leaves
by the next account, as if it had never started here: so the attempt is not used up, and nothing of it is logged. That
is told to nobody before the worker is gone, since the same attempt then runs elsewhere. Only a task that may start once
is lost, as it promises, and is reported so.
"""

from __future__ import annotations

from collections.abc import Container
from typing import Final

from paceline_protocol.messages.records import AT_MOST_ONCE, Options
from paceline_protocol.messages.work import Availability

ONCE_KEPT: Final = 64
"""Tasks that may start once, and that the node holds no more: beyond so many they are sorted out."""
LOST_NAMED: Final = 20
_SERVES: Final = Availability.SERVES


class Draining:
    """Of one node. ``ends_at``: when what still runs is given back; only while it drains. ``given_back``: tasks that
    had begun here, and were, since the process began; ``lost``: those that could not be since the node took tasks last,
    ``lost_named`` the first of them."""

    __slots__ = ("_once", "availability", "ends_at", "given_back", "is_over", "lasts_s", "lost", "lost_named")

    def __init__(self) -> None:
        self.availability = Availability.SERVES
        self.ends_at = 0.0
        self.lasts_s = 0.0  # the whole drain
        self.is_over = False  # ends_at is reached: nothing that has begun here is to go on
        self.given_back = 0
        self.lost = 0
        self.lost_named: list[str] = []
        self._once: set[bytes] = set()

    @property
    def takes_tasks(self) -> bool:
        return self.availability is _SERVES

    def left_ms(self, now: float) -> int:
        """About how long it still drains. ``now``, or a little earlier."""
        return int(1_000 * max(0.0, min(self.ends_at - now, self.lasts_s)))

    def change(self, availability: int, now: float, lasts_s: float) -> bool:
        """The node takes tasks from now on, or none. ``lasts_s``: the drain, if it is one. False if that is so already,
        or the process is to end, which nobody takes back."""
        if availability == self.availability or self.availability == Availability.ENDS:
            return False
        self.availability = Availability(availability)
        self.lasts_s = lasts_s if self.drains else 0.0
        self.ends_at = now + self.lasts_s
        self.is_over = False
        if self.takes_tasks:  # what a drain has cost that is over is nothing that the end of the process has to tell
            self.lost = 0
            self.lost_named = []
        return True

    @property
    def drains(self) -> bool:
        return self.availability in (Availability.DRAINS, Availability.ENDS)

    def arrives(self, task_id: bytes, options: Options, held: Container[bytes], held_tasks: int) -> None:
        """A task with options is queued. ``held``: the tasks that the node holds, this one among them."""
        if options.get("delivery") != AT_MOST_ONCE:
            return
        self._once.add(task_id)
        if len(self._once) > ONCE_KEPT + 2 * held_tasks:
            self._once = {each for each in self._once if each in held}

    def takes_back(self, task_id: bytes, name: str, is_given_up: bool) -> bool:
        """Whether an attempt that was lost with its worker is given back to the leader in place of that.
        ``is_given_up``: the worker was killed at the end of a drain, whatever the node was told since."""
        if not (self.is_over or is_given_up):
            return False
        if task_id not in self._once:
            self.given_back += 1
            return True
        if self.takes_tasks:
            return False
        self.lost += 1
        if len(self.lost_named) < LOST_NAMED:
            self.lost_named.append(f"{name} {task_id.hex()}")
        return False
