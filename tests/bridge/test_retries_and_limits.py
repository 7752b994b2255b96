"""Retries and time limits that messages ask for: what they become as options of a call, and what is refused."""

from __future__ import annotations

import json
import math
import struct
import uuid
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from bridge.messages import call_of, recorded, refusal_of
from bridge.raw_headers import array
from bridge.test_headers import number, with_task
from paceline_bridge.message import Message
from paceline_protocol.codec import encode_calls
from paceline_protocol.moments import FROM_NOW_MAX_DAYS, FROM_NOW_MAX_MS
from paceline_protocol.options import RETRIES_MAX

WEEK_MS = 7 * 86_400_000


def of_celery(limits: Any) -> Message:
    message = recorded("celery-2")
    return replace(message, headers={**message.headers, "timelimit": limits})


def of_dramatiq(**options: Any) -> Message:
    body = json.loads(recorded("dramatiq-retries").body)
    return recorded("dramatiq-retries", body=json.dumps({**body, "options": options}).encode())


def options_of(message: Message) -> object:
    call = call_of(message)
    encode_calls([(call.task_id, call.name, call.priority, b"", dict(call.options))])
    return call.options


# --- Celery


def test_what_a_worker_of_celery_publishes_to_try_again_has_its_limits_and_no_number_of_retries_that_are_left() -> None:
    first, again = recorded("celery-2"), recorded("celery-2-retry")
    assert again.headers["retries"] == 1
    assert again.headers.keys() <= first.headers.keys() | {"retries"}
    at_ms = datetime.fromisoformat(again.headers["eta"]).timestamp() * 1e3
    options = call_of(again, now=at_ms / 1e3 - 60).options
    assert options == {"not_before": math.ceil(at_ms), "time_limit": 10_000, "soft_time_limit": 2_000}


def test_limits_of_celery_are_seconds_and_the_hard_one_stands_first() -> None:
    assert options_of(recorded("celery-2-time-limit")) == {"time_limit": 10_000, "soft_time_limit": 3_000}


@pytest.mark.parametrize(
    ("limits", "carried"),
    [
        ([10, None], {"time_limit": 10_000}),
        ([None, 3], {"soft_time_limit": 3_000}),
        ([1.5, 0.0001], {"time_limit": 1_500, "soft_time_limit": 1}),
        ((10, 3), {"time_limit": 10_000, "soft_time_limit": 3_000}),
        ([None, None], {}),
        ([0, 0], {}),  # for Celery's workers, too
        ([], {}),
        (None, {}),
    ],
)
def test_each_limit_of_celery_may_be_left_out(limits: object, carried: object) -> None:
    assert options_of(of_celery(limits)) == carried


def test_limits_of_protocol_1_stand_in_the_body() -> None:
    body = json.loads(recorded("celery-1").body) | {"timelimit": [2.5, 1]}
    message = recorded("celery-1", body=json.dumps(body).encode())
    assert options_of(message) == {"time_limit": 2_500, "soft_time_limit": 1_000}


@pytest.mark.parametrize(
    "limits",
    [
        [-1, None],
        [None, -0.5],
        [float("nan"), None],
        [None, float("inf")],
        [1e300, None],
        [10**300, None],
        [FROM_NOW_MAX_DAYS * 86_400 + 1, None],
        ["10", None],
        [True, None],
        [{"a": 1}, None],
        [10],
        [10, 5, 1],
        10,
        "10",
        {"hard": 10},
    ],
)
def test_a_limit_of_celery_that_is_none_is_refused_to_its_caller(limits: object) -> None:
    refused = refusal_of(of_celery(limits))
    assert (refused.reason, refused.reply is not None) == ("time-limit", True)


@pytest.mark.parametrize("limits", [[3, 10], [3, 3], [0.0001, 0.0002]])
def test_a_soft_limit_that_would_never_strike_is_refused_with_what_to_do(limits: object) -> None:
    refused = refusal_of(of_celery(limits))
    assert (refused.reason, "give both, the soft one shorter" in refused.detail) == ("time-limit", True)


def test_the_longest_limit_can_be_sent() -> None:
    assert options_of(of_celery([FROM_NOW_MAX_DAYS * 86_400, None])) == {"time_limit": FROM_NOW_MAX_MS}


@pytest.mark.parametrize(
    ("kind", "form"),
    [(b"d", ">d"), (b"f", ">f")],
)
def test_what_is_behind_the_point_of_a_limit_counts_though_the_client_library_drops_it(kind: bytes, form: str) -> None:
    limits = array(number(kind, form, 1.5), number(kind, form, 0.5))
    assert options_of(with_task(timelimit=limits)) == {"time_limit": 1_500, "soft_time_limit": 500}
    whole = array(number(b"I", ">i", 10), number(b"l", ">q", 3))
    assert options_of(with_task(timelimit=whole)) == {"time_limit": 10_000, "soft_time_limit": 3_000}


@pytest.mark.parametrize(
    "value",
    [number(b"d", ">d", float("nan")), number(b"d", ">d", float("inf")), b"D" + struct.pack(">Bi", 1, 15), b"t\1"],
)
def test_a_limit_in_a_header_that_is_no_number_is_refused(value: bytes) -> None:
    assert refusal_of(with_task(timelimit=array(value, b"V"))).reason == "time-limit"


# --- dramatiq


def test_a_number_of_retries_of_dramatiq_is_honoured() -> None:
    assert options_of(recorded("dramatiq-retries")) == {"retries": 3}
    asked = {"retries": 3, "backoff": 500, "jitter": 1, "backoff_max": 60_000, "soft_time_limit": 30_000}
    assert options_of(recorded("dramatiq-backoff")) == asked


def test_what_a_worker_of_dramatiq_puts_back_asks_for_the_retries_that_are_left() -> None:
    again = recorded("dramatiq-retry")
    options = json.loads(again.body)["options"]
    assert options.keys() == {"max_retries", "time_limit", "retries", "traceback", "requeue_timestamp", "eta"}
    assert (options["max_retries"], options["retries"]) == (3, 1)
    assert options_of(again) == {"not_before": 0, "retries": 2, "soft_time_limit": 60_000}
    assert call_of(again).task_id != uuid.UUID(json.loads(again.body)["message_id"]).bytes, "it is another task"


@pytest.mark.parametrize(
    ("asked", "carried"),
    [
        ({"max_retries": 0, "min_backoff": 5}, {"retries": 0}),  # whatever the nodes announce
        ({"min_backoff": 5, "max_backoff": 10}, {"backoff": 5, "jitter": 1, "backoff_max": 10}),  # how often they do
        ({}, {}),
        ({"max_retries": None}, {"retries": RETRIES_MAX}),
        ({"max_retries": 5, "min_backoff": 200}, {"retries": 5, "backoff": 200, "jitter": 1, "backoff_max": WEEK_MS}),
        ({"max_retries": 5, "max_backoff": 900}, {"retries": 5, "backoff_max": 900}),
        (
            {"max_retries": 5, "min_backoff": 7_200_000.5, "max_backoff": 10 * WEEK_MS},
            {"retries": 5, "backoff": 7_200_001, "jitter": 1, "backoff_max": WEEK_MS},
        ),
        (
            {"max_retries": 5, "min_backoff": 0, "max_backoff": 0},
            {"retries": 5, "backoff": 1, "jitter": 1, "backoff_max": 1},
        ),
        (
            {"max_retries": 5, "min_backoff": 20, "max_backoff": 10},
            {"retries": 5, "backoff": 10, "jitter": 1, "backoff_max": 10},
        ),
        ({"max_retries": 5, "min_backoff": None, "max_backoff": None}, {"retries": 5}),
    ],
)
def test_retries_of_dramatiq_wait_as_long_as_the_message_says_and_no_less(asked: Any, carried: object) -> None:
    assert options_of(of_dramatiq(**asked)) == carried


@pytest.mark.parametrize(
    ("tried", "carried"),
    [
        (2, {"retries": 3, "backoff": 400, "jitter": 1, "backoff_max": 60_000}),
        (5, {"retries": 0}),
        (10**9, {"retries": 0}),
        (-3, {"retries": 8, "backoff": 100, "jitter": 1, "backoff_max": 60_000}),
    ],
)
def test_retries_that_a_worker_of_theirs_has_made_count(tried: int, carried: object) -> None:
    again = {"requeue_timestamp": 1, "traceback": "Traceback ..."}
    message = of_dramatiq(max_retries=5, min_backoff=100, max_backoff=60_000, retries=tried, **again)
    assert options_of(message) == carried


def test_no_number_of_retries_makes_a_backoff_that_takes_long_to_compute() -> None:
    asked = of_dramatiq(max_retries=None, min_backoff=1, retries=10**9)
    assert options_of(asked) == {"retries": RETRIES_MAX, "backoff": WEEK_MS, "jitter": 1, "backoff_max": WEEK_MS}


@pytest.mark.parametrize("value", [-1, 1.5, float("nan"), RETRIES_MAX + 1, "3", True, [3]])
def test_a_number_of_retries_that_is_none_is_refused(value: object) -> None:
    assert refusal_of(of_dramatiq(max_retries=value)).reason == "retries"


@pytest.mark.parametrize("option", ["min_backoff", "max_backoff"])
@pytest.mark.parametrize("value", [-1, float("nan"), float("inf"), 10**400, "3", True, [3]])
def test_a_backoff_that_is_none_is_refused_by_its_name(option: str, value: object) -> None:
    refused = refusal_of(of_dramatiq(max_retries=3, **{option: value}))
    assert (refused.reason, refused.detail.startswith(option)) == ("retries", True)


@pytest.mark.parametrize(
    ("limit", "carried"),
    [
        (60_000, {"soft_time_limit": 60_000}),
        (0.5, {"soft_time_limit": 1}),
        (float("inf"), {"soft_time_limit": 0}),  # none, whatever the nodes announce
        (0, {}),
        (None, {}),
    ],
)
def test_a_limit_of_dramatiq_is_the_soft_one(limit: object, carried: object) -> None:
    assert options_of(of_dramatiq(time_limit=limit)) == carried


@pytest.mark.parametrize("limit", [-1, float("nan"), float("-inf"), 10**400, "60000", True, [1]])
def test_a_limit_of_dramatiq_that_is_none_is_refused(limit: object) -> None:
    refused = refusal_of(of_dramatiq(time_limit=limit))
    assert (refused.reason, "milliseconds" in refused.detail) == ("time-limit", True)
    assert refused.detail.startswith("time_limit is ")


@pytest.mark.parametrize("option", ["throws", "retry_when"])
def test_what_can_not_be_in_a_message_is_refused_if_it_is(option: str) -> None:
    assert refusal_of(of_dramatiq(**{option: "ValueError"})).reason == "retries"
