"""What a call asks for, read once."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from modes import source_only
from paceline.core.state import call_options
from paceline.core.state.call_options import SHARED_LIMIT, resolve
from paceline.core.state.task import Task
from paceline_protocol.messages.records import AT_MOST_ONCE, COMMITTED, NO_LOG, TRACED, Options


def task(options: Options | None) -> Task:
    return Task((b"i" * 16, "add", 4, b"args", options))


def reading(task: Task) -> tuple[Any, ...]:
    return (task.attempt_limit(5), task.must_log_start, task.waits_for_commit, task.is_logged, task.is_traced)


@pytest.mark.parametrize(
    ("options", "read"),
    [
        (None, (5, False, False, True, False)),
        ({}, (5, False, False, True, False)),
        ({"max_attempts": 2}, (2, False, False, True, False)),
        ({"delivery": AT_MOST_ONCE}, (1, True, True, True, False)),
        ({"delivery": AT_MOST_ONCE, "max_attempts": 9}, (1, True, True, True, False)),
        ({"confirm": COMMITTED}, (5, False, True, True, False)),
        ({"durability": NO_LOG}, (5, False, False, False, False)),
        ({"trace": TRACED}, (5, False, False, True, True)),
        (
            dict.fromkeys(("max_attempts", "delivery", "confirm", "durability", "trace"), 0),
            (5, False, False, True, False),
        ),
    ],
)
def test_each_option_is_read_and_what_is_0_is_as_if_it_were_not_there(
    options: Options | None, read: tuple[Any, ...]
) -> None:
    assert reading(task(options)) == read


def test_a_start_that_is_logged_need_not_be_logged_again() -> None:
    once = task({"delivery": AT_MOST_ONCE})
    once.lost_attempts = 1
    assert not once.must_log_start


def test_calls_that_ask_for_the_same_share_it() -> None:
    first, second = task({"max_attempts": 3}), task({"max_attempts": 3})
    assert first.options is second.options
    assert task(None).options is None


def test_what_is_passed_on_is_the_clients_own_map_in_its_order() -> None:
    one, other = {"max_attempts": 3, "confirm": 1}, {"confirm": 1, "max_attempts": 3}
    moments = {"confirm": 1, "not_before": 5, "max_attempts": 3, "expires": 9}
    both = {"expires": 7, "deadline": 6, "not_before": 5, "accepted": 9}
    of_a_dead_one = {"requeued_from": "ab" * 16, "accepted": 9}
    for options in (one, other, {"confirm": 0}, moments, {"deadline": 6}, {"expires": 7}, both, of_a_dead_one):
        made = task(dict(options))
        assert msgpack.packb(made.call) == msgpack.packb((b"i" * 16, "add", 4, b"args", options))
        assert msgpack.packb(made.assignment) == msgpack.packb((b"i" * 16, 1, "add", b"args", options))


def test_a_call_by_name_that_asks_for_nothing_is_as_one_without_options() -> None:
    assert (task({}).options, task({}).wire_options) == (None, None)


def test_what_is_remembered_for_sharing_is_bounded_and_what_tasks_hold_they_keep() -> None:
    kept = task({"max_attempts": 1_000_000})
    for number in range(2 * SHARED_LIMIT):
        resolve({"max_attempts": number + 1})
        assert len(call_options._shared) <= SHARED_LIMIT
    assert reading(kept) == (1_000_000, False, False, True, False)


@source_only
def test_calls_that_differ_in_their_moments_alone_share_the_rest() -> None:
    """A million of them may wait."""
    options = [resolve({"not_before": moment_ms, "max_attempts": 3}) for moment_ms in (5, 6)]
    assert [each.wire for each in options] == [{"not_before": each, "max_attempts": 3} for each in (5, 6)]
    assert options[0]._map is options[1]._map
    for number in range(2 * SHARED_LIMIT):
        resolve({"not_before": 5, "max_attempts": number + 1})
        assert len(call_options._shapes) <= SHARED_LIMIT
    assert options[0].wire == {"not_before": 5, "max_attempts": 3}


@source_only
def test_a_call_with_a_moment_does_not_push_the_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_options, "_VARYING", frozenset({"max_attempts"}))
    shared = resolve({"confirm": COMMITTED})
    assert resolve({"confirm": COMMITTED}) is shared
    assert resolve({"max_attempts": 3}) is not resolve({"max_attempts": 3})
