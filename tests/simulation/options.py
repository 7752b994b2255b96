"""What the tasks of simulated clients ask for."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeAlias

from paceline_protocol.messages.records import AT_MOST_ONCE, CANCEL, COMMITTED, NO_LOG, Options
from paceline_protocol.rates import number_of

Maker: TypeAlias = Callable[[Random, int], Options | None]
"""(random, what a right wall clock shows, in milliseconds) -> the options of a call."""


def always(**options: int) -> Maker:
    return lambda rng, now_ms: dict(options) or None


def moments(*keys: str, **options: int) -> Maker:
    """Each of these keys is a moment within a few seconds, of which some are past."""
    return lambda rng, now_ms: {**options, **{key: now_ms + rng.randint(-500, 3_000) for key in keys}}


MIX: tuple[tuple[int, Maker], ...] = (
    (5, always()),
    (2, always(delivery=AT_MOST_ONCE)),
    (1, always(confirm=COMMITTED)),
    (2, always(durability=NO_LOG)),
    (1, always(max_attempts=2)),
    (1, moments("not_before")),
    (1, moments("expires")),
    (1, moments("not_before", "expires")),
    (1, moments("not_before", "expires", delivery=AT_MOST_ONCE)),
    (1, moments("not_before", "expires", durability=NO_LOG)),
    (2, always(time_limit=300)),
    (1, always(time_limit=200, retries=1, backoff=50)),
    (1, always(time_limit=300, durability=NO_LOG)),
    (1, always(time_limit=300, delivery=AT_MOST_ONCE)),
    (2, always(cancel_grace=100)),
    (1, always(cancel_grace=50, time_limit=300)),
    (1, always(cancel_grace=100, retries=2, backoff=40)),
    (1, always(cancel_grace=100, delivery=AT_MOST_ONCE)),
    (1, always(cancel_grace=100, durability=NO_LOG)),
    (2, always(retries=2, backoff=40)),
    (1, always(retries=3, backoff=30, backoff_max=50, jitter=1)),
    (1, always(retries=1, backoff=200, max_attempts=2)),
    (1, always(retries=2, backoff=50, confirm=COMMITTED)),
    (1, always(retries=2, backoff=50, durability=NO_LOG)),
    (1, moments("not_before", "expires", retries=3, backoff=300)),
    (2, moments("deadline")),
    (1, moments("deadline", time_limit=300)),
    (1, moments("deadline", retries=2, backoff=50)),
    (1, moments("deadline", durability=NO_LOG)),
    (1, moments("not_before", "deadline", delivery=AT_MOST_ONCE)),
    (3, always(result_ttl=700)),
    (1, always(result_ttl=2_000)),
    (1, always(result_ttl=400, retries=2, backoff=50)),
    (1, always(result_ttl=1_000, delivery=AT_MOST_ONCE)),
    (1, always(result_ttl=300, confirm=COMMITTED)),
    (1, moments("expires", result_ttl=500)),
    (3, always(keep_dead=900)),
    (1, always(keep_dead=2_000, retries=1, backoff=40)),
    (1, always(keep_dead=600, result_ttl=500)),
    (1, always(keep_dead=1_500, max_attempts=1)),
    (1, always(keep_dead=1_000, time_limit=200)),
    (1, always(keep_dead=800, delivery=AT_MOST_ONCE)),
    (1, always(keep_dead=1_200, confirm=COMMITTED)),
    (1, moments("not_before", "expires", keep_dead=1_500)),
    (1, always(on_client_lost=CANCEL)),
)
"""(weight, maker). A new option has a row here, and its promise a file in ``oracle/``."""

KEYED: Options = {"idempotency_key": "k", "unique_for": 9_000}
"""Of calls that several clients submit. Ids of simulated tasks do not follow from their keys. No copy of such a
call is under way for that long."""

PLACES: tuple[Options, ...] = (
    {"needs": "gpu=1"},
    {"needs": "gpu=2"},
    {"needs": "gpu=1,memory_mb=2"},
    {"needs": "memory_mb=3"},
    {"tags": "ssd"},
    {"tags": "ssd,zone-a", "needs": "memory_mb=1"},
    {"affinity": "model 1"},
    {"affinity": "model 2", "needs": "memory_mb=1", "affinity_wait": 300},
)
"""What tasks ask of nodes in worlds where they do. The first node has all of it."""

LIMIT_KEYS = 3
"""Of each name."""
RATES = ("2/s", "7/s", "45/s")
"""By key."""


def with_limit(rng: Random, asked: Options | None, name: str) -> Options | None:
    """The options of a call with a limit, if they may have one. Calls of one key have the same, and one name."""
    if asked and asked.get("durability"):
        return asked
    number = rng.randrange(LIMIT_KEYS)
    limits = {"max_running": 1 + number} if rng.random() < 0.7 else {}
    if not limits or rng.random() < 0.2:
        limits["rate"] = number_of(RATES[number])
    return {**(asked or {}), **limits, "limit_key": f"{name} {number}"}


def with_batch(rng: Random, asked: Options | None, now_ms: int) -> Options | None:
    """The options of a call that may be handed to its function with others, if they may be so. What runs beside others
    in a worker does not."""
    if asked and not asked.keys().isdisjoint(("cancel_grace", "needs")):
        return asked
    options: Options = {**(asked or {}), "batch": rng.choice((2, 4, 4, 8))}
    if rng.random() < 0.2:
        options.setdefault("time_limit", 10)
    elif rng.random() < 0.2 and not options.get("not_before"):
        options.setdefault("deadline", now_ms + rng.randrange(20, 400))
    window_ms = rng.choice((0, 0, 50, 300))
    return {**options, "batch_window": window_ms} if window_ms else options


WEIGHTS = [weight for weight, _ in MIX]
MAKERS = [maker for _, maker in MIX]


def choose(rng: Random, now_ms: int) -> Options | None:
    """The options of the next call."""
    return rng.choices(MAKERS, WEIGHTS)[0](rng, now_ms)
