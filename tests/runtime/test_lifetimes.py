"""Which workers are replaced or killed as they are old or have grown."""

from __future__ import annotations

from math import inf

from paceline.runtime.children.lifetimes import (
    LIMIT_LOOK_S,
    LOOK_S,
    OUTDATED,
    RELOAD_LOOK_S,
    Finding,
    LifetimeLimits,
    Lifetimes,
    own_max_age_s,
)

MIB = 1 << 20


def no_memory_is_asked_for(_worker_id: bytes) -> int:
    raise AssertionError


def test_without_limits_nobody_looks() -> None:
    lifetimes = Lifetimes(LifetimeLimits())
    lifetimes.serves(b"w", 1.0)
    assert lifetimes.look_at == inf


def test_a_worker_is_old_once_it_has_the_age_that_it_may_have_until_it_has_ended() -> None:
    lifetimes = Lifetimes(LifetimeLimits(max_age_s=100.0))
    lifetimes.serves(b"\x00", 1.0)
    lifetimes.serves(b"\x01", 50.0)
    assert lifetimes.look_at == 1.0 + LOOK_S
    assert lifetimes.look(100.9, no_memory_is_asked_for) == []
    assert lifetimes.look_at == 100.9 + LOOK_S
    old = Finding(b"\x00", "it has run for 100 s", is_large=False, is_over=False)
    assert lifetimes.look(101.0, no_memory_is_asked_for) == [old]
    lifetimes.ends(b"\x00")
    assert lifetimes.look(102.0, no_memory_is_asked_for) == []
    lifetimes.ends(b"\x01")
    assert lifetimes.look(1_000.0, no_memory_is_asked_for) == []
    assert lifetimes.look_at == inf


def test_after_a_reload_the_workers_of_before_are_to_be_replaced_until_they_have_ended() -> None:
    lifetimes = Lifetimes(LifetimeLimits())
    lifetimes.reload([b"v", b"w"], 5.0)
    assert lifetimes.look_at == 5.0
    outdated = {Finding(each, OUTDATED, is_large=False, is_over=False) for each in (b"v", b"w")}
    assert set(lifetimes.look(5.0, no_memory_is_asked_for)) == outdated
    assert lifetimes.look_at == 5.0 + RELOAD_LOOK_S
    lifetimes.ends(b"v")
    assert (lifetimes.outdated, lifetimes.is_outdated(b"v"), lifetimes.is_outdated(b"w")) == (1, False, True)
    lifetimes.ends(b"w")
    assert lifetimes.look(6.0, no_memory_is_asked_for) == []
    assert lifetimes.look_at == inf


def test_a_worker_is_large_if_it_has_more_memory_than_it_may_have() -> None:
    lifetimes = Lifetimes(LifetimeLimits(max_rss_bytes=200 * MIB))
    lifetimes.serves(b"v", 1.0)
    lifetimes.serves(b"w", 1.0)
    memory = {b"v": 200 * MIB, b"w": 1536 * MIB}
    large = Finding(b"w", "it has 1.5 GiB of memory", is_large=True, is_over=False)
    assert lifetimes.look(2.0, memory.__getitem__) == [large]


def test_a_worker_that_is_over_its_limit_is_found_sooner_and_told_with_both_numbers() -> None:
    lifetimes = Lifetimes(LifetimeLimits(max_rss_bytes=200 * MIB, memory_limit_bytes=2048 * MIB))
    for worker_id in (b"u", b"v", b"w"):
        lifetimes.serves(worker_id, 1.0)
    assert lifetimes.look_at == 1.0 + LIMIT_LOOK_S
    memory = {b"u": 200 * MIB, b"v": 2048 * MIB, b"w": 2150 * MIB}
    assert lifetimes.look(2.0, memory.__getitem__) == [
        Finding(b"v", "it has 2.0 GiB of memory", is_large=True, is_over=False),
        Finding(b"w", "it has 2.1 GiB of memory, and its limit is 2.0 GiB", is_large=True, is_over=True),
    ]


def test_workers_that_began_together_are_old_one_after_the_other_and_none_later_than_it_may_be() -> None:
    ages = {own_max_age_s(bytes([number]), 100.0) for number in range(256)}
    assert len(ages) == 256
    assert (max(ages), min(ages) > 90.0) == (100.0, True)
