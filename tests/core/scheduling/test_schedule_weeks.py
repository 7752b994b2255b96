"""Fifty schedules over weeks, with changes of the leader, restarts of all and clocks that jump: 10,000 firings."""

from __future__ import annotations

from collections import defaultdict
from random import Random

import pytest

from core.scheduling.test_schedules import BEGIN_MS, Scheduled
from paceline_protocol.codec import decode_firings
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.schedules import Fired, Misfire, Overlap, When, WhenKind
from paceline_protocol.when import next_after

WEEKS = 3
WEEK_MS = 7 * 86_400_000
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
OUTAGE_MS = 4 * 3_600_000
"""For so long at most nobody leads, or a clock jumps."""


def whens(rng: Random) -> list[When]:
    found = [When(WhenKind.CRON, f"{rng.randrange(60)} * * * *", rng.choice(ZONES)) for _ in range(16)]
    found += [When(WhenKind.EVERY, every_ms=rng.randrange(3_000_000, 9_000_000)) for _ in range(10)]
    found += [When(WhenKind.CRON, f"{rng.randrange(60)} */3 * * *", rng.choice(ZONES)) for _ in range(12)]
    found += [When(WhenKind.CRON, f"{rng.randrange(60)} 2 * * *", rng.choice(ZONES)) for _ in range(10)]
    found += [When(WhenKind.CRON, "0 9 * * MON-FRI", "Europe/Berlin"), When(WhenKind.CRON, "@weekly", "UTC")]
    return found


def taken(lead: Scheduled, said: dict[str, list[tuple[int, int, int]]]) -> None:
    """Take down what the log of this leader says."""
    for kind, data, _ in lead.entries[: lead.committed]:
        if kind == EntryKind.FIRING:
            for name, moment_ms, what, missed, _next_ms, _call in decode_firings(data):
                said[name].append((moment_ms, what, missed))


@pytest.mark.parametrize("seed", [1, 2])
def test_each_moment_of_fifty_schedules_fires_once_over_weeks(seed: int) -> None:
    rng = Random(seed)
    lead = Scheduled()
    policies = {}
    for number, when in enumerate(whens(rng)):
        policy = rng.choice((Misfire.ONCE, Misfire.ALL, Misfire.ALL))
        overlap = rng.choice((Overlap.ALLOW, Overlap.QUEUE))
        lead.put(f"schedule {number}", when, misfire=policy, overlap=overlap, misfire_limit=1_000)
        policies[f"schedule {number}"] = policy
    begins = {name: row.next_ms for name, row in lead.table.schedules.items()}
    assert len(begins) == 50
    said: dict[str, list[tuple[int, int, int]]] = defaultdict(list)
    shown_ms = BEGIN_MS
    happened = {"leader": 0, "outage": 0, "ahead": 0, "back": 0, "lost": 0}
    while shown_ms < BEGIN_MS + WEEKS * WEEK_MS:
        lead.now = max(lead.now, lead.leader._due.clock.monotonic_at(lead.leader._due.fires.wakes_ms))
        drawn = rng.random()
        if drawn < 0.01:
            happened["outage"] += 1
            lead.now += rng.randrange(OUTAGE_MS) / 1_000
        elif drawn < 0.015:
            happened["ahead"] += 1
            lead.clock.offset_s += rng.randrange(OUTAGE_MS) / 1_000
        elif drawn < 0.02:
            happened["back"] += 1
            lead.clock.offset_s -= rng.randrange(OUTAGE_MS) / 1_000
        lead.leader.meet_moments(lead.now)
        if drawn > 0.98:
            happened["lost"] += 1  # what was proposed is not committed
            lead.leader.log(lead.now)
        else:
            lead.commit()
            if drawn < 0.9:
                lead.end_all()
        if drawn > 0.97:
            happened["leader"] += 1
            taken(lead, said)
            lead = lead.next_leader()
        shown_ms = max(shown_ms, lead.clock.ms(lead.now))
    lead.commit()
    taken(lead, said)
    assert all(happened.values()), happened
    fired = 0
    for name, row in lead.table.schedules.items():
        expected_ms = begins[name]
        for moment_ms, what, missed in said[name]:
            if what == Fired.DEQUEUED:
                continue
            passed = 0
            while expected_ms < moment_ms:
                passed += 1
                expected_ms = next_after(row.definition.when, expected_ms)
            assert (expected_ms, passed) == (moment_ms, missed), f"{name}: each moment in turn, or counted as missed"
            assert not passed or policies[name] == Misfire.ONCE
            expected_ms = next_after(row.definition.when, expected_ms)
        assert row.next_ms == expected_ms, f"{name}: none is left"
        queued = [moment_ms for moment_ms, what, _ in said[name] if what == Fired.QUEUED]
        dequeued = [moment_ms for moment_ms, what, _ in said[name] if what == Fired.DEQUEUED]
        assert queued == [*dequeued, *row.waiting], f"{name}: what was queued fires in its turn"
        fired += row.fired
        assert row.fired == sum(what in (Fired.FIRED, Fired.DEQUEUED) for _, what, _ in said[name])
    assert fired >= 10_000
    assert lead.table.totals.accepted == fired, "each with a task of its own"
