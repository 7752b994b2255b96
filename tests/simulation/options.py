"""What the tasks of simulated clients ask for."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import TypeAlias

from paceline_protocol.messages.records import AT_MOST_ONCE, COMMITTED, NO_LOG, Options

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
)
"""(weight, maker). A new option has a row here, and its promise a file in ``oracle/``."""

WEIGHTS = [weight for weight, _ in MIX]
MAKERS = [maker for _, maker in MIX]


def choose(rng: Random, now_ms: int) -> Options | None:
    """The options of the next call."""
    return rng.choices(MAKERS, WEIGHTS)[0](rng, now_ms)
