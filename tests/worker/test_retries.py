"""What a worker says of a task that has failed and may be tried again: only it knows the exception."""

from __future__ import annotations

import pytest

from paceline_protocol.codec import decode_failed_attempt
from paceline_protocol.limits import SUMMARY_LIMIT_BYTES
from paceline_protocol.messages.records import MAY_RETRY, Options, TaskEnd
from paceline_protocol.payload import unpack_error
from worker.played_node import PlayedNode

ONCE: Options = {"retries": 1}


@pytest.mark.parametrize(
    ("name", "options", "may_retry"),
    [
        ("divide", None, False),
        ("divide", {"max_attempts": 2}, False),
        ("divide", ONCE, True),
        ("divide", ONCE | {"retry_on": "ZeroDivisionError"}, True),
        ("divide", ONCE | {"retry_on": "OSError,ArithmeticError"}, True),
        ("divide", ONCE | {"retry_on": "OSError,ValueError"}, False),
        ("divide", ONCE | {"dont_retry_on": "ArithmeticError"}, False),
        ("divide", ONCE | {"retry_on": "ArithmeticError", "dont_retry_on": "ZeroDivisionError"}, False),
        ("divide", ONCE | {"retry_on": "Error"}, False),
        ("fail_as_its_own", ONCE | {"retry_on": "sample_tasks.Long"}, True),
        ("fail_as_its_own", ONCE | {"retry_on": "Long"}, False),
        ("exits", ONCE, False),
        ("exits", ONCE | {"retry_on": "SystemExit"}, True),
        ("nothing", ONCE, False),
        ("opaque", ONCE, False),
        ("asks_for_a_retry", None, False),
        ("asks_for_a_retry", ONCE | {"retry_on": "OSError"}, True),
    ],
)
def test_a_task_that_raises_may_be_tried_again_if_its_call_asks_for_that_after_such_an_exception(
    node: PlayedNode, name: str, options: Options | None, may_retry: bool
) -> None:
    args = (1, 0) if name == "divide" else ()
    state, payload = node.run(f"sample_tasks.{name}", *args, options=options)
    assert state == (MAY_RETRY if may_retry else TaskEnd.FAILED)
    error = unpack_error(decode_failed_attempt(payload)[3] if may_retry else payload)
    assert error.type_name


def test_a_failed_attempt_has_its_exception_in_a_line_and_the_whole_error(node: PlayedNode) -> None:
    state, payload = node.run("sample_tasks.divide", 1, 0, options=ONCE)
    summary, delay, _, error = decode_failed_attempt(payload)
    assert (state, summary, delay) == (MAY_RETRY, "ZeroDivisionError: division by zero", 0)
    assert "in _divide" in unpack_error(error).traceback


def test_a_task_can_choose_how_long_it_waits(node: PlayedNode) -> None:
    _, payload = node.run("sample_tasks.asks_for_a_retry", 1.5, options=ONCE)
    summary, delay, _, error = decode_failed_attempt(payload)
    assert delay == 1_501
    assert summary.startswith("paceline.errors.Retry: the task asks to be tried again")
    assert unpack_error(error).type_name == "Retry"
    _, payload = node.run("sample_tasks.asks_for_a_retry", 0, options=ONCE)
    assert decode_failed_attempt(payload)[1] == 2, "a millisecond, and not its backoff"


def test_a_retry_that_a_task_without_retries_asks_for_says_what_it_needs(node: PlayedNode) -> None:
    assert "it needs a retry, as of @task(retries=3)" in node.error("sample_tasks.asks_for_a_retry").message


def test_a_delay_that_can_not_be_is_an_error_of_the_task(node: PlayedNode) -> None:
    error = node.error("sample_tasks.asks_for_a_retry", -1)
    assert (error.type_name, error.message) == (
        "ValueError", "delay -1 can't be used: it is a time from 0 seconds to 36525 days"
    )  # fmt: skip
    for delay in ("soon", True):
        error = node.error("sample_tasks.asks_for_a_retry", delay)
        assert error.message == f"delay {delay!r} can't be used: it is seconds or a timedelta"


@pytest.mark.parametrize(
    "kind", ["leaving", "endless", "long", "long name", "hidden", "traceless", "classless", "odd module"]
)
def test_whatever_an_exception_does_to_whoever_looks_at_it_the_worker_goes_on(node: PlayedNode, kind: str) -> None:
    state, payload = node.run("sample_tasks.odd", kind, options=ONCE)
    assert state in (TaskEnd.FAILED, MAY_RETRY)
    if state == MAY_RETRY:
        assert len(decode_failed_attempt(payload)[0].encode()) <= SUMMARY_LIMIT_BYTES
    assert node.result("sample_tasks.add", 2, 3) == 5
