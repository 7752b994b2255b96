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

A call by name alone does not know what the decorator of its task says. The nodes announce that (:data:`Default`), and
the leader takes from there what the call leaves open. So such a call says with a 0 what is to be as usual: a map that
is empty, or has a 0, is that of a call by name (:func:`by_name`), and no other map has one.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Final, Literal, TypeAlias

from paceline_protocol.forms import qualified_name
from paceline_protocol.limits import BATCH_MAX, MAX_INT
from paceline_protocol.messages.records import (
    AT_MOST_ONCE,
    CANCEL,
    COMMITTED,
    NO_LOG,
    PRIORITY_DEFAULT,
    PRIORITY_MAX,
    TRACED,
    Options,
)
from paceline_protocol.moments import MOMENT_MAX_MS, at_admission
from paceline_protocol.option_types import (
    Choice,
    Errors,
    GatheringTime,
    Keep,
    KeepOrNot,
    Key,
    Moment,
    Needs,
    OptionType,
    Origin,
    QueueName,
    Rate,
    Span,
    Tags,
    TaskIds,
    Units,
    Whole,
    YesOrNo,
)

RETRIES_MAX: Final = 1_000_000
MAX_RUNNING: Final = 1_000_000
"""The highest limit of how many run at once."""
BACKOFF_S: Final = 1.0
BACKOFF_MAX_S: Final = 600.0
RECORDS_LEVEL: Final = 6
"""The feature level of results that are kept for a time, and of records."""
DEFAULTS_LEVEL: Final = 7
"""The feature level of the options that nodes announce."""
KEEP_DEAD_DAYS: Final = 7
DEAD_LEVEL: Final = 8
"""The feature level of dead tasks."""
LOST_CLIENTS_LEVEL: Final = 9
"""The feature level of tasks that are cancelled when their client is gone."""
DEADLINE_LEVEL: Final = 10
"""The feature level of deadlines."""
SCHEDULES_LEVEL: Final = 17
"""The feature level of schedules."""
MODULE_SCHEDULES_LEVEL: Final = 23
"""The feature level of schedules that come with modules, and of backfills."""
LISTS_LEVEL: Final = 14
"""The feature level of lists of live tasks, of tasks that wait no longer for their moment, and of how attempts were
lost, in records."""
PROGRESS_LEVEL: Final = 12
"""The feature level of what running tasks say of themselves. Nothing of it is in the log: it says who may be asked."""
QUEUES_LEVEL: Final = 16
"""The feature level of queues."""
KEYS_LEVEL: Final = 18
"""The feature level of calls with a key."""
INPUTS_LEVEL: Final = 19
"""The feature level of tasks that depend on tasks."""
LIMITS_LEVEL: Final = 20
"""The feature level of limits of how many run at once."""
GRAPHS_LEVEL: Final = 24
"""The feature level of graphs, which count their tasks."""
FAIRNESS_LEVEL: Final = 21
"""The feature level of fair keys."""
PLACES_LEVEL: Final = 22
"""The feature level of what tasks ask of the nodes that run them."""
BATCH_LEVEL: Final = 27
"""The feature level of calls that are handed to their function together."""
AFFINITY_WAIT_S: Final = 1.0
UNIQUE_FOR_S: Final = 60
"""For how long after its end a task holds its key, if its call does not say. Whatever a client submits again after a
failover has come by then."""
DEFAULT_QUEUE: Final = "default"
"""Of the calls that name none."""
ASYNC_LEVEL: Final = 11
"""The feature level of nodes that run many tasks at once in a worker."""

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
    _option(
        "retries",
        Whole(0, RETRIES_MAX, 0),
        ("leader", "worker"),
        "how often it is tried again after it has raised an exception",
        level=3,
    ),
    _option(
        "retry_on",
        Errors("every `Exception`", may_be_empty=False),
        ("worker",),
        "after which exceptions it is tried again",
        level=3,
    ),
    _option(
        "dont_retry_on",
        Errors("none", may_be_empty=True),
        ("worker",),
        "after which it is not, whatever `retry_on` says",
        level=3,
    ),
    _option(
        "backoff",
        Span(BACKOFF_S),
        ("leader",),
        "how long it waits before its first retry; before each next one twice as long",
        level=3,
    ),
    _option(
        "backoff_max",
        Span(BACKOFF_MAX_S),
        ("leader",),
        "how long it waits before a retry at most",
        level=3,
    ),
    _option(
        "jitter",
        YesOrNo(default=True),
        ("leader",),
        "whether each of these waits is chosen at random, up to that long",
        level=3,
    ),
    _option(
        "time_limit",
        Span(None),
        ("node",),
        "how long an attempt may run before its worker is killed, and it ends as TIMED_OUT",
        level=4,
    ),
    _option(
        "soft_time_limit",
        Span(None),
        ("worker",),
        "how long it may run before `SoftTimeLimitExceeded` is raised in it",
        level=4,
    ),
    _option(
        "cancel_raises",
        YesOrNo(default=False),
        ("worker",),
        "whether `Cancelled` is raised in it when it runs and is to be cancelled",
        level=5,
    ),
    _option(
        "cancel_grace",
        Span(None, may_be_zero=True),
        ("node",),
        "how long it may go on once it is asked to stop, before its worker is killed",
        level=5,
    ),
    _option(
        "result_ttl",
        Keep("until its submitter has it"),
        ("leader",),
        "how long its result and its record are kept for whoever asks by its id; then `ResultExpired`",
        level=RECORDS_LEVEL,
    ),
    _option(
        "keep_dead",
        KeepOrNot("not at all", KEEP_DEAD_DAYS),
        ("leader",),
        "how long it is kept, to be looked at and requeued, if it fails for good, is lost or times out",
        level=DEAD_LEVEL,
    ),
    # Of the leader itself, which makes the call of a dead task that is requeued.
    Option("requeued_from", Origin(), ("leader",), keywords=(), level=DEAD_LEVEL),
    _option(
        "on_client_lost",
        Choice(keep=0, cancel=CANCEL),
        ("leader",),
        "what becomes of it when the client that submitted it is gone for good",
        level=LOST_CLIENTS_LEVEL,
    ),
    _option(
        "deadline",
        Moment(),
        ("client", "leader", "node", "worker"),
        "when it ends at the latest: as EXPIRED if it has not started by then, and else as TIMED_OUT, with its worker",
        level=DEADLINE_LEVEL,
    ),
    _option(
        "queue",
        QueueName(DEFAULT_QUEUE),
        ("leader",),
        "in which queue it waits",
        level=QUEUES_LEVEL,
    ),
    _option(
        "idempotency_key",
        Key(),
        ("client", "leader"),
        "what makes calls of its name one task: those with the same key",
        level=KEYS_LEVEL,
    ),
    _option(
        "unique_for",
        Keep("for a minute"),
        ("leader",),
        "for how long after its end calls with its `idempotency_key` are still that task",
        level=KEYS_LEVEL,
    ),
    _option(
        "fair_key",
        Key(varies=False),
        ("leader",),
        "with whom it takes turns within its queue: those of each key have equal shares",
        level=FAIRNESS_LEVEL,
    ),
    _option(
        "tags",
        Tags(),
        ("leader",),
        "which tags a node has to have that runs it: all of these",
        level=PLACES_LEVEL,
    ),
    _option(
        "needs",
        Needs(),
        ("leader", "node"),
        "which amounts of what its node declares it takes while it runs",
        level=PLACES_LEVEL,
    ),
    _option(
        "affinity",
        Key(varies=False),
        ("leader",),
        "which tasks are best on one node: those with the same text begin there, if it has room",
        level=PLACES_LEVEL,
    ),
    _option(
        "affinity_wait",
        Span(AFFINITY_WAIT_S),
        ("leader",),
        "how long it waits for that node at most, while others have room",
        level=PLACES_LEVEL,
    ),
    _option(
        "batch",
        Whole(2, BATCH_MAX, otherwise="one"),
        ("leader", "node"),
        "how many calls of it its function is called with at once, at most: it gets lists",
        level=BATCH_LEVEL,
    ),
    _option(
        "batch_window",
        GatheringTime(),
        ("leader",),
        "how long the first of them waits for others",
        level=BATCH_LEVEL,
    ),
    _option(
        "after",
        TaskIds(),
        ("client", "leader"),
        "which tasks have to succeed before it may start",
        level=INPUTS_LEVEL,
    ),
    _option(
        "allow_failed_inputs",
        YesOrNo(default=False),
        ("leader", "worker"),
        "whether it runs though tasks that it depends on failed; it is called with their errors",
        level=INPUTS_LEVEL,
    ),
    # Of the client itself: the tasks whose futures are among the arguments. A dispatch carries their results.
    Option("inputs", TaskIds(), ("leader", "worker"), keywords=(), level=INPUTS_LEVEL),
    _option(
        "max_running",
        Whole(1, MAX_RUNNING, otherwise="as many as there is room for"),
        ("leader",),
        "how many of its name, or of its name and `limit_key`, may run at once in the whole cluster",
        level=LIMITS_LEVEL,
    ),
    _option(
        "rate",
        Rate(),
        ("leader", "node"),
        "how many of its name, or of its name and `limit_key`, may start in a second, minute or hour",
        level=LIMITS_LEVEL,
    ),
    _option(
        "limit_key",
        Key(varies=False),
        ("leader",),
        "what its limits count by: calls of its name with the same key, instead of all calls of its name",
        level=LIMITS_LEVEL,
    ),
    # Of nodes, in what they announce: the parameters by which the calls of a task are limited, which a call by name
    # does not know.
    Option("limit_by", Key(varies=False), ("leader",), keywords=(), level=LIMITS_LEVEL),
    _option(
        "graph",
        Key(varies=False),
        ("client", "leader", "worker"),
        "to which graph it belongs, under whose name its tasks are counted, listed and cancelled",
        level=GRAPHS_LEVEL,
    ),
    # Of the leader itself, as it hands out a task with a deadline: how much time is left until then. The node that is
    # given the task makes of it a moment of its own clock.
    Option("time_left", Span(None, highest_ms=MOMENT_MAX_MS), ("node",), keywords=(), level=DEADLINE_LEVEL),
    # Of the leader itself, of a task that somebody holds: it does not start until it is released.
    Option("held", Choice(free=0, held=1), ("leader",), keywords=(), level=FAIRNESS_LEVEL),
    # Of the leader itself, of a task that has lost several attempts: a worker that runs many at once is not to run it.
    Option("alone", Choice(beside=0, alone=1), ("node",), keywords=(), level=ASYNC_LEVEL),
    # Of the node itself, as it gives a task to a worker: which units it has of resources whose units have numbers.
    Option("units", Units(), ("worker",), keywords=(), level=PLACES_LEVEL),
    # Of the leader itself, which notes it in the log of a call that is to be remembered.
    Option("accepted", Moment(), ("leader",), keywords=(), level=RECORDS_LEVEL),
    # Of a call by name: whether it is the call that says its priority, though that is the usual one.
    Option("priority", Choice(open=0, given=1), ("leader",), keywords=(), level=DEFAULTS_LEVEL),
    # Of the client itself, which chooses the calls (``Client(trace_every=...)``).
    Option("trace", Choice(no=0, sampled=TRACED), ("leader", "node", "worker"), keywords=()),
)

BY_KEY: Final[dict[str, Option]] = {option.key: option for option in OPTIONS}
KEYWORDS: Final[tuple[Keyword, ...]] = (PRIORITY, *(keyword for option in OPTIONS for keyword in option.keywords))


class Exclusion:
    """A call whose option ``key`` is ``value`` can't have more than ``limit`` as its ``other`` option. None: whatever
    that is, if it is not as usual."""

    def __init__(
        self, key: str, value: int | None, other: str, limit: int, reason: str, *, may_travel: bool = False
    ) -> None:
        """``reason``: with what to do. ``may_travel``: only users are told; of a call that has both, ``key`` counts."""
        self.key: Final = key
        self.value: Final = value
        self.other: Final = other
        self.limit: Final = limit
        self.reason: Final = reason
        self.may_travel: Final = may_travel

    def holds(self, options: Options) -> bool:
        """Whether these options contradict themselves in this way."""
        other: int | str | bytes = options.get(self.other, 0)
        is_more = bool(other) if isinstance(other, str | bytes) else other > self.limit
        if self.value is None:
            return is_more and bool(options.get(self.key, 0))
        return is_more and bool(options.get(self.key) == self.value)


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
        "delivery",
        AT_MOST_ONCE,
        "retries",
        0,
        "delivery 'at_most_once' means one attempt; leave retries out, or delivery at 'at_least_once'",
    ),
    Exclusion("durability", NO_LOG, "keep_dead", 0, "with durability 'none' no dead task is kept; leave keep_dead out"),
    Exclusion(
        "durability",
        NO_LOG,
        "idempotency_key",
        0,
        "with durability 'none' nobody remembers which keys there were; leave idempotency_key out",
    ),
    *[
        Exclusion(
            "durability",
            NO_LOG,
            key,
            0,
            "with durability 'none' no result is kept for it: it can't depend on tasks; leave durability at 'log'",
        )
        for key in ("inputs", "after")
    ],
    Exclusion(
        "durability",
        NO_LOG,
        "graph",
        0,
        "with durability 'none' nobody remembers how it ended, and no graph can count it; leave graph out",
    ),
    Exclusion(
        "batch",
        None,
        "cancel_raises",
        0,
        "its function runs for other calls, too; leave cancel_raises out, and have it look at each of its calls",
    ),
    Exclusion("batch", None, "cancel_grace", 0, "its worker runs other calls, too; leave cancel_grace out"),
    Exclusion(
        "batch",
        None,
        "needs",
        0,
        "what a call needs would be taken for each; leave needs out, and give tags and nodes with as many workers as "
        "there is room for",
    ),
    Exclusion("durability", NO_LOG, "result_ttl", 0, "with durability 'none' no result is kept; leave result_ttl out"),
    *[
        Exclusion(
            "durability",
            NO_LOG,
            key,
            0,
            f"with durability 'none' no new leader knows what runs; leave {key} out",
        )
        for key in ("max_running", "rate")
    ],
    Exclusion(
        "durability", NO_LOG, "confirm", 0, "with durability 'none' nothing is committed; leave confirm at 'received'"
    ),
)


class Order:
    """A call that has both options has the ``lower`` one below the ``higher``."""

    def __init__(self, lower: str, higher: str, reason: str) -> None:
        """``reason``: with what to do."""
        self.lower: Final = lower
        self.higher: Final = higher
        self.reason: Final = reason

    def is_broken(self, options: Options) -> bool:
        """Whether these options contradict themselves in this way."""
        lower: int = options.get(self.lower, 0)
        higher: int = options.get(self.higher, 0)
        if lower < 0 and higher < 0:  # both are from now on
            lower, higher = -lower, -higher
        return 0 < higher <= lower


ORDERS: Final[tuple[Order, ...]] = (
    Order(
        "soft_time_limit",
        "time_limit",
        "soft_time_limit has to be less than time_limit, or it would never strike; give both, the soft one shorter",
    ),
    Order(
        "not_before",
        "deadline",
        "what may not start before its deadline never does; give it a later deadline, or an earlier delay or eta",
    ),
    Order(
        "not_before",
        "expires",
        "what may not start before it expires never does; give it a later expires, or an earlier delay or eta",
    ),
)


_OF_THE_CLIENT: Final = frozenset(("durability", "on_client_lost", "idempotency_key", "after"))
"""What the client of a call has to know of it: what it keeps, that it has to stay, what makes the id, and what it waits
for."""
ANNOUNCED: Final = frozenset(
    option.key
    for option in OPTIONS
    if (option.keywords or option.key == "limit_by") and option.key not in _OF_THE_CLIENT
)
"""What nodes may announce: all else that a task can be decorated with, and by which parameters its calls are limited.
"""
MOMENT_KEYS: Final = tuple(option.key for option in OPTIONS if isinstance(option.type, Moment))
"""The options whose values are moments."""


# --- calls by name --------------------------------------------------------------------------------------------------


def by_name(said: Options) -> Options:
    """The options of a call by name alone that says these, with 0 for what is to be as usual. One that says anything
    says its durability, which nobody announces."""
    if not said:
        return {}
    options = {"durability": 0, **said}
    return options if 0 in options.values() else {**options, "confirm": 0}  # as it can't be else without the log


def is_by_name(options: Options) -> bool:
    """Whether these are the options of a call by name alone."""
    return not options or 0 in options.values()


def completed(said: Options, announced: Options) -> Options | None:
    """What a call by name asks for, as the log has it: what it says, and else what its nodes announce."""
    options = {**announced, **said}
    return {key: value for key, value in options.items() if value != 0 and key != "priority"} or None


def contradiction(options: Options) -> str:
    """How these options contradict each other in a way that can't travel, with what to do; "" if they don't."""
    return next((each.reason for each in EXCLUSIONS if not each.may_travel and each.holds(options)), "")


def why_not_scheduled(options: Options) -> str:
    """Why the task of a schedule can't ask for this; "" if it can."""
    if any(options.get(moment, 0) > 0 for moment in ("not_before", "expires", "deadline")):
        return (
            "a moment that does not move with those of the schedule can't be of use: give delay, expires or "
            "deadline in seconds"
        )
    if options.get("idempotency_key", 0):
        return "the task of a moment has an id of its own, and is made once; leave idempotency_key out"
    if options.get("durability", 0):
        return "a task of a schedule is in the log; leave durability out"
    if options.get("on_client_lost", 0):
        return "a task of a schedule has no client; leave on_client_lost out"
    return ""


def announced(options: Options | None) -> Options:
    """What a node announces of the options that a task was decorated with."""
    return {key: value for key, value in (options or {}).items() if key in ANNOUNCED}


def understood(options: Options, level: int) -> Options:
    """Those that a node knows which understands this feature level."""
    return {key: value for key, value in options.items() if BY_KEY[key].level <= level}


# --- what clients, leaders and workers read -----------------------------------------------------------------------


def with_moments(options: Options, now_ms: int) -> Options:
    """The options of a call that is admitted at this wall-clock time: what is relative to it becomes a moment, and a
    call that is to be remembered has that moment, too. No client says how much time is left, what runs alone, which
    units it has, nor what is held. The same map if there is nothing of all that."""
    found = options
    if not _OF_NODES.isdisjoint(options):
        found = {key: value for key, value in options.items() if key not in _OF_NODES}
    for key in MOMENT_KEYS:
        if options.get(key, 0) < 0:
            found = {**found, key: at_admission(options[key], now_ms)}
    if options.get("result_ttl", 0) or options.get("idempotency_key", 0):
        found = {**found, "accepted": max(1, now_ms)}
    return found


_OF_NODES: Final = frozenset(("time_left", "alone", "units", "held"))
"""What leaders and nodes say to others of an attempt, or of a task that waits."""


def with_units(options: Options, units: str) -> Options:
    """The options of a call that a worker is given with these units."""
    return {**options, "units": units}


def alone(options: Options | None) -> Options:
    """The options of a call that is handed out to run alone."""
    return {"alone": 1} if options is None else {**options, "alone": 1}


def altered(options: Options | None, queue: str, *, is_held: bool) -> Options | None:
    """The options of a call that waits in this queue from now on, and is held or not."""
    found = {key: value for key, value in (options or {}).items() if key not in ("queue", "held")}
    if queue != DEFAULT_QUEUE:
        found["queue"] = queue
    if is_held:
        found["held"] = 1
    return found or None


def with_time_left(options: Options, now_ms: int) -> Options:
    """The options of a call with a deadline that is handed out at this wall-clock time of the leader."""
    return {**options, "time_left": min(max(1, options["deadline"] - now_ms), MOMENT_MAX_MS)}


def with_end(options: Options, now_ms: int) -> Options:
    """The options of a call that a node is given at this time of its own clock: of the time that is left until its
    deadline the moment at which that is over."""
    return {**options, "time_left": min(now_ms + options["time_left"], MOMENT_MAX_MS)}


def may_retry(options: Options | None, error: type[BaseException]) -> bool:
    """Whether a call asks for retries after such an exception, by the names of its classes."""
    if options is None or not options.get("retries", 0):
        return False
    return may_retry_after(options, set(map(qualified_name, error.__mro__)))


def may_retry_after(options: Options, names: Set[str]) -> bool:
    """The same, of a call that asks for retries; ``names``: those of the class and of all that it derives from."""
    if not names.isdisjoint(options.get("dont_retry_on", "").split(",")):
        return False
    return not names.isdisjoint(options.get("retry_on", "Exception").split(","))


def together(options: Options) -> tuple[tuple[str, int | str | bytes], ...]:
    """What calls of one name have in common that may be handed to their function together: all options but those that
    are of one call, or of where it waits. Empty for a call that asks for no ``batch``."""
    if options.get("batch", 0) < 2:
        return ()
    return tuple(sorted((key, value) for key, value in options.items() if key not in _OF_ONE_CALL))


_OF_ONE_CALL: Final = frozenset(
    (
        *MOMENT_KEYS,
        *(option.key for option in OPTIONS if option.type.varies),
        *("affinity", "fair_key", "graph", "held", "limit_key", "priority", "queue", "time_left", "trace", "units"),
    )
)


def is_logged(options: Options | None) -> bool:
    """False for a call that the leader keeps out of the log, so that its client has to keep it."""
    return options is None or options.get("durability") != NO_LOG


def is_traced(options: Options | None) -> bool:
    """Whether it is told when the call passed where."""
    return options is not None and options.get("trace") == TRACED
