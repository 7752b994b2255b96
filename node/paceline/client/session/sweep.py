"""Cancelling all tasks of a name and a state: which page of them is asked for next, and what became of those so far.

The leader finds them page by page (``core/scheduling/finding.py``), and each page is cancelled before the next is asked
for. Passes are made until one finds nothing new. Of a leader that comes meanwhile nobody knows which tasks it had taken
in after this began, so that it ends there. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

from paceline.errors import ConfigError, RequestRefused
from paceline.options import shown
from paceline_protocol.limits import MAX_NAME_CHARS
from paceline_protocol.messages.client import CancelState
from paceline_protocol.messages.live import LiveState
from paceline_protocol.name_patterns import STARS_MAX, NamePattern

_BEGINNING: Final = (0, 0, 0)
_COUNTED: Final[dict[int, str]] = {
    CancelState.CANCELLED: "cancelled",
    CancelState.STOPPING: "stopping",
    CancelState.RUNNING: "running",
    CancelState.FINISHED: "ended",
    CancelState.UNKNOWN: "ended",
}
_STAY: Final = (CancelState.STOPPING, CancelState.RUNNING)


class PageRequest(NamedTuple):
    """A FindRequest, a FindInQueue, with a ``change`` a FindToAlter, or with a ``graph`` a FindInGraph, but for its
    number. ``queue``, ``graph``: "" for all.
    ``change``: (holding, queue, priority), as an AlterTasks has them."""

    name: str
    states: tuple[int, ...]
    term: int = 0
    until: int = 0
    cursor: tuple[int, int, int] = _BEGINNING
    queue: str = ""
    older_than_ms: int = 0
    change: tuple[int, str, int] | None = None
    graph: str = ""


class Sweep:
    """``next``: the page to ask for. ``is_over``: there is none. ``is_early``: the leader does not know yet; the page
    is asked for again a little later. ``counts``: what became of the tasks."""

    def __init__(
        self,
        name: str | None,
        state: str | Iterable[str],
        *,
        all_names: bool,
        queue: str | None = None,
        graph: str | None = None,
        counted: Mapping[int, str] = _COUNTED,
        stay: Collection[int] = _STAY,
    ) -> None:
        """``counted``: the words for what may become of a task; ``stay``: of these, those in which it is found again.
        Raises ConfigError for what can't be looked for, and for a name that would be everybody's."""
        self._counted = counted
        self._stay = stay
        is_bounded = queue is not None or graph is not None
        pattern = _pattern(name, all_names=all_names or (name is None and is_bounded))
        self.next = PageRequest(pattern, _states(state), queue=queue or "", graph=graph or "")
        self.is_over = False
        self.is_early = False
        self.counts = Counter(dict.fromkeys(counted.values(), 0))
        self._there: set[bytes] = set()  # of what was asked for, what has not ended, and so may be found again
        self._is_any_new = False

    def found(self, answer: Mapping[str, Any]) -> list[bytes]:
        """The body of a FindReply. Returns what is to be cancelled. Raises RequestRefused if another leads by now."""
        asked, following = self.next, answer["next"]
        if asked.term not in (0, answer["term"]):
            raise RequestRefused("another node leads now, and does not know how far this had come; ask again")
        new = [task_id for task_id in answer["ids"] if task_id not in self._there]
        self._is_any_new = self._is_any_new or bool(new)
        self.is_early = not answer["is_settled"]
        if not new and following is not None and tuple(following) == asked.cursor and answer["ids"]:
            following = None  # all that is found there was asked for, and stays as it is
        if following is None:  # what has moved meanwhile from one state to another may have been passed over
            self.is_over = not self._is_any_new
            following, self._is_any_new = _BEGINNING, False
        self.next = asked._replace(term=answer["term"], until=answer["until"], cursor=tuple(following))
        return new

    def became(self, states: Mapping[bytes, int]) -> None:
        """What was to be cancelled has become this (CancelState)."""
        for task_id, state in states.items():
            self.counts[self._counted[state]] += 1
            if state in self._stay:
                self._there.add(task_id)

    @property
    def told(self) -> str:
        """What became of them, for a person."""
        return ", ".join(f"{count} {word}" for word, count in self.counts.items() if count) or "nothing was found"


def _pattern(name: str | None, *, all_names: bool) -> str:
    if all_names and name is None:
        return "*"
    if all_names or not isinstance(name, str) or NamePattern(name).names_nothing:
        raise ConfigError(
            f"the name of the tasks to cancel is {shown(name)}; say which, as name='reports.*', or all_names=True alone"
        )
    if len(name) > MAX_NAME_CHARS or name.count("*") > STARS_MAX:
        raise ConfigError(
            f"the name {shown(name)} can't be looked for; at most {MAX_NAME_CHARS} characters, {STARS_MAX} of them *"
        )
    return name


def _states(state: str | Iterable[str]) -> tuple[int, ...]:
    asked = {state} if isinstance(state, str) else set(state)
    known = {each.name.lower(): int(each) for each in LiveState}
    if not asked or not asked <= known.keys():
        raise ConfigError(f"the state {shown(state)} is not one of tasks to cancel; there are {', '.join(known)}")
    return tuple(number for word, number in known.items() if word in asked)
