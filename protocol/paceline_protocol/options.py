"""What a call can ask for: one table, and everything that follows from it.

A row of :data:`OPTIONS` says of one option what its values are, who reads it, what users call it and what it does.
From the table come the check of what travels (``fields.py``), the lines of the grammar in docs/protocol.md, the table
of docs/tasks.md, the keywords of ``@task``, ``task.options`` and ``NamedTask``, what is said of a value that can't be
used, the flags of ``paceline submit``, and the strategy of the property tests. Where a list has to be written out, for
type checkers and readers, a test compares it with the table.

To add an option: a row here, with the next feature level (``core/feature_levels.py``); a line in each of the three
lists of ``paceline/options.py``; the lines of the two pages that ``tests/protocol/test_options.py`` then asks for, word
for word; and its use. The core reads it as an attribute of ``core/state/call_options.py``, the client and a worker with
a function like those at the end of this file.

An option that nobody gave does not travel, and a call without any carries None: that is the case that costs nothing.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

from paceline_protocol.limits import MAX_INT
from paceline_protocol.messages.records import (
    AT_MOST_ONCE,
    COMMITTED,
    NO_LOG,
    PRIORITY_DEFAULT,
    PRIORITY_MAX,
    TRACED,
    Options,
)
from paceline_protocol.moments import at_admission
from paceline_protocol.option_types import Choice, Moment, OptionType, Whole

Reader: TypeAlias = Literal["client", "leader", "node", "worker"]


class Keyword:
    """One way for a user to give an option: the keyword ``name``, and with dashes the flag of ``paceline submit``."""

    def __init__(self, name: str, type: OptionType, help: str) -> None:
        """``help``: half a sentence, which a column heading or a flag completes."""
        self.name: Final[str] = name
        self.type: Final[OptionType] = type
        self.help: Final[str] = help


class Option:
    """One row. ``key``: in the map of a call. ``keywords``: how users give it; of several, one may be given.
    ``level``: the feature level from which on a node knows it."""

    def __init__(
        self, key: str, type: OptionType, readers: tuple[Reader, ...], keywords: tuple[Keyword, ...], level: int = 1
    ) -> None:
        self.key: Final[str] = key
        self.type: Final[OptionType] = type
        self.readers: Final[tuple[Reader, ...]] = readers
        self.keywords: Final[tuple[Keyword, ...]] = keywords
        self.level: Final[int] = level


def _option(key: str, type: OptionType, readers: tuple[Reader, ...], help: str, level: int = 1) -> Option:
    """A row whose keyword is its key."""
    return Option(key, type, readers, (Keyword(key, type, help),), level)


PRIORITY: Final = Keyword("priority", Whole(0, PRIORITY_MAX, PRIORITY_DEFAULT), "higher first, then older")
"""Not in the map: every call has a priority, and so a field of its own for it. The first of the KEYWORDS."""

OPTIONS: Final[tuple[Option, ...]] = (
    _option(
        "max_attempts",
        Whole(1, MAX_INT, otherwise="the cluster's (5)"),
        ("leader",),
        "how many workers or nodes may die under it before it ends as LOST",
    ),
    _option(
        "delivery",
        Choice(at_least_once=0, at_most_once=AT_MOST_ONCE),
        ("leader",),
        "what happens when a worker or node dies under it",
    ),
    _option(
        "confirm",
        Choice(received=0, committed=COMMITTED),
        ("leader",),
        "when the submitter is told the result",
    ),
    _option(
        "durability",
        Choice(log=0, none=NO_LOG),
        ("client", "leader"),
        "whether the cluster remembers it",
    ),
    Option(
        "not_before",
        Moment(),
        ("leader",),
        (
            Keyword("delay", Moment(absolute=False), "how long it waits before it may start"),
            Keyword("eta", Moment(relative=False), "when it may start, and not before"),
        ),
        level=2,
    ),
    _option(
        "expires",
        Moment(),
        ("leader",),
        "when it ends as EXPIRED unless it has started by then",
        level=2,
    ),
    # Of the client itself, which chooses the calls (``Client(trace_every=...)``).
    Option("trace", Choice(no=0, sampled=TRACED), ("leader", "node", "worker"), keywords=()),
)

BY_KEY: Final[dict[str, Option]] = {option.key: option for option in OPTIONS}
KEYWORDS: Final[tuple[Keyword, ...]] = (PRIORITY, *(keyword for option in OPTIONS for keyword in option.keywords))


class Exclusion:
    """A call whose option ``key`` is ``value`` can't have more than ``limit`` as its ``other`` option."""

    def __init__(self, key: str, value: int, other: str, limit: int, reason: str, *, may_travel: bool = False) -> None:
        """``reason``: with what to do. ``may_travel``: only users are told; of a call that has both, ``key`` counts."""
        self.key: Final = key
        self.value: Final = value
        self.other: Final = other
        self.limit: Final = limit
        self.reason: Final = reason
        self.may_travel: Final = may_travel

    def holds(self, options: Options) -> bool:
        """Whether these options contradict themselves in this way."""
        other: int = options.get(self.other, 0)
        return other > self.limit and bool(options.get(self.key) == self.value)


EXCLUSIONS: Final[tuple[Exclusion, ...]] = (
    Exclusion("durability", NO_LOG, "delivery", 0, "delivery 'at_most_once' needs the log; leave durability at 'log'"),
    Exclusion(
        "delivery",
        AT_MOST_ONCE,
        "max_attempts",
        1,
        "delivery 'at_most_once' means one attempt; leave max_attempts out",
        may_travel=True,
    ),
    Exclusion(
        "durability", NO_LOG, "confirm", 0, "with durability 'none' nothing is committed; leave confirm at 'received'"
    ),
)


MOMENT_KEYS: Final = tuple(option.key for option in OPTIONS if isinstance(option.type, Moment))
"""The options whose values are moments."""


# --- what clients, leaders and workers read -----------------------------------------------------------------------


def with_moments(options: Options, now_ms: int) -> Options:
    """The options of a call that is admitted at this wall-clock time: what is relative to it becomes a moment. The same
    map if nothing is."""
    found = options
    for key in MOMENT_KEYS:
        if options.get(key, 0) < 0:
            found = {**found, key: at_admission(options[key], now_ms)}
    return found


def is_logged(options: Options | None) -> bool:
    """False for a call that the leader keeps out of the log, so that its client has to keep it."""
    return options is None or options.get("durability") != NO_LOG


def is_traced(options: Options | None) -> bool:
    """Whether it is told when the call passed where."""
    return options is not None and options.get("trace") == TRACED
