"""How many tasks of each graph were accepted, and how many of these ended in which way.

A graph is a name that tasks have in common (``graph``). It has no entries of its own: whatever takes in a task of it
counts that, and whatever ends one counts the end. So every replica counts alike, and no leader has to know what another
one had counted. As long as one of its tasks has not ended a graph is kept. Of the others the MAX_GRAPHS that ended last
are.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from paceline.core.feature_levels import NodeTooOld
from paceline.core.state.section import Section
from paceline_protocol import fields
from paceline_protocol.limits import MAX_GRAPHS
from paceline_protocol.messages.records import TaskEnd

Counts: TypeAlias = tuple[int, ...]
"""By TaskEnd, how many ended so; at ACCEPTED, how many were accepted. Never changed once it is made."""

ACCEPTED: Final = 0
"""No TaskEnd has this number."""
_WORDS: Final[dict[int, str]] = {ACCEPTED: "accepted", **{int(end): end.name.lower() for end in TaskEnd}}
_NUMBERS: Final[dict[str, int]] = {word: number for number, word in _WORDS.items()}
_NONE: Final[Counts] = (0,) * (max(TaskEnd) + 1)
_check_items: Final = fields.many(
    fields.record(fields.string, fields.many(fields.record(fields.string, fields.integer)))
)


class GraphSection(Section):
    """By name. ``live``: the graphs of which some task has not ended, in the order in which the first was accepted;
    ``over``: the others, those that ended first in front. An item is (name, its counts by word), without those that
    are 0: see ``totals.py``."""

    def __init__(self, limit: int = MAX_GRAPHS) -> None:
        """``limit``: how many are kept that are over; fewer only in tests."""
        super().__init__("graphs")
        self.limit = limit
        self.live: dict[str, Counts] = {}
        self.over: OrderedDict[str, Counts] = OrderedDict()

    def counts_of(self, name: str) -> Counts | None:
        """None: no task of it was accepted, or that is long ago."""
        counts = self.live.get(name)
        return self.over.get(name) if counts is None else counts

    def is_accepted(self, name: str) -> None:
        """A task of this graph was accepted."""
        counts = self.live.get(name)
        if counts is None:
            counts = self.over.pop(name, _NONE)
        self.live[name] = (counts[ACCEPTED] + 1, *counts[ACCEPTED + 1 :])

    def has_ended(self, name: str, end: int) -> None:
        """One of its tasks ended so."""
        counts = self.live[name]
        counts = (*counts[:end], counts[end] + 1, *counts[end + 1 :])
        if live_of(counts):
            self.live[name] = counts
            return
        del self.live[name]
        self.over[name] = counts
        if len(self.over) > self.limit:
            self.over.popitem(last=False)

    def captured(self) -> list[Any]:
        return [*self.live.items(), *self.over.items()]

    def packed(self, captured: Any) -> tuple[Any, int]:
        name, counts = captured
        return (name, [(_WORDS[number], count) for number, count in enumerate(counts) if count]), 4 * len(name)

    def read(self, items: Iterable[Any]) -> None:
        _check_items(items)
        for name, words in items:
            if self.counts_of(name) is not None:
                raise ValueError("a graph is in it twice")
            numbers = list(_NONE)
            for word, count in words:
                if word not in _NUMBERS:
                    raise NodeTooOld(f"a snapshot counts {word!r} of a graph, which this node does not know")
                numbers[_NUMBERS[word]] = count
            counts = tuple(numbers)
            if live_of(counts) < 0 or min(counts) < 0:
                raise ValueError("of a graph more tasks ended than were accepted")
            if live_of(counts):
                self.live[name] = counts
            else:
                self.over[name] = counts

    def take_from(self, other: Any) -> None:
        read: GraphSection = other
        self.live, self.over = read.live, read.over


def live_of(counts: Counts) -> int:
    """How many of its tasks have not ended."""
    return counts[ACCEPTED] - sum(counts[ACCEPTED + 1 :])


def ends_of(counts: Counts) -> dict[str, int]:
    """How many ended in which way, by its word."""
    return {end.name.lower(): counts[end] for end in TaskEnd}
