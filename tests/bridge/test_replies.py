"""What Celery's own backend makes of the replies."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest
from celery import Celery
from celery.exceptions import (
    NotRegistered,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    TimeLimitExceeded,
    WorkerLostError,
)

from paceline import errors
from paceline_bridge import replies
from paceline_bridge.message import Refused, ReplyAddress
from paceline_protocol.coded import CodedValue
from paceline_protocol.errors import UnpackedTooLarge
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.payload import WITH_CLASSES, ErrorInfo, pack_error, pack_error_info, pack_value, with_earlier

NOW = 1_800_000_000.0
REPLY = ReplyAddress("queue", "id-1", "correlation-1", group_id="g-1", parent_id="p-1")


class Mine(Exception):
    """An exception of the caller's own."""


def decoded(body: bytes) -> dict[str, Any]:
    """As Celery's backend leaves it to the caller."""
    backend = Celery("caller", broker="memory://", backend="rpc://").backend
    meta: dict[str, Any] = backend.meta_from_decoded(backend.decode(body.decode()))
    return meta


def test_a_value_comes_back_with_celerys_types() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    meta = decoded(replies.ended(REPLY, TaskEnd.SUCCEEDED, pack_value({"at": moment, "raw": b"\xff"}), NOW))
    assert (meta["status"], meta["result"]) == ("SUCCESS", {"at": moment, "raw": b"\xff"})
    assert (meta["task_id"], meta["group_id"], meta["parent_id"]) == ("id-1", "g-1", "p-1")


@pytest.mark.parametrize("is_msgpack", [False, True])
def test_a_value_of_a_class_comes_back_as_its_fields(is_msgpack: bool) -> None:
    lines = [CodedValue("namedtuple", "shop:Line", {"count": 2}), CodedValue("enum", "shop:Colour", "RED")]
    order = CodedValue(
        "dataclass", "shop:Order", {"lines": lines, "path": CodedValue("path", "pathlib:PosixPath", "/a")}
    )
    packed = pack_value([order, CodedValue("shop.money", "shop:Money", 5)], None, WITH_CLASSES)
    body = replies.ended(replace(REPLY, is_msgpack=is_msgpack), TaskEnd.SUCCEEDED, packed, NOW)
    meta = msgpack.unpackb(body) if is_msgpack else decoded(body)
    assert (meta["status"], meta["result"]) == ("SUCCESS", [{"lines": [{"count": 2}, "RED"], "path": "/a"}, 5])


@pytest.mark.parametrize("error", [KeyError("k"), Mine("a", 2)])
def test_an_exception_comes_back_as_its_own_class(error: Exception) -> None:
    meta = decoded(replies.ended(REPLY, TaskEnd.FAILED, pack_error(error, "Traceback ..."), NOW))
    assert meta["status"] == "FAILURE"
    assert type(meta["result"]) is type(error)
    assert meta["result"].args == error.args
    assert meta["traceback"] == "Traceback ..."


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        asyncio.CancelledError(),
        BaseExceptionGroup("", [SystemExit()]),
    ],
)
def test_what_would_end_the_caller_comes_back_as_an_exception_that_names_it(error: BaseException) -> None:
    meta = decoded(replies.ended(REPLY, TaskEnd.FAILED, pack_error(error, "Traceback ..."), NOW))
    assert type(meta["result"]) is Exception
    assert type(error).__name__ in str(meta["result"])
    assert meta["traceback"] == "Traceback ..."


def test_a_name_of_pythons_that_is_no_exception_is_not_asked_of_the_caller() -> None:
    packed = pack_error_info(ErrorInfo("eval", "builtins", "x", ("1",), ""))
    assert type(decoded(replies.ended(REPLY, TaskEnd.FAILED, packed, NOW))["result"]) is Exception


def test_arguments_of_an_exception_that_json_can_not_hold_become_its_message() -> None:
    meta = decoded(replies.ended(REPLY, TaskEnd.FAILED, pack_error(ValueError({1, 2}), ""), NOW))
    assert isinstance(meta["result"], ValueError)
    assert "1, 2" in str(meta["result"])


def test_a_result_that_json_can_not_hold_is_a_failure_that_says_so() -> None:
    meta = decoded(replies.ended(REPLY, TaskEnd.SUCCEEDED, pack_value({1, 2}), NOW))
    assert meta["status"] == "FAILURE"
    assert "set" in str(meta["result"])


@pytest.mark.parametrize("end", [TaskEnd.SUCCEEDED, TaskEnd.FAILED])
def test_a_result_that_unpacks_to_too_much_is_refused_by_name(end: TaskEnd, monkeypatch: pytest.MonkeyPatch) -> None:
    def unpack(_: bytes) -> Any:
        raise UnpackedTooLarge(10_000_005, 512 << 20)

    monkeypatch.setattr(replies, "unpack_value", unpack)
    monkeypatch.setattr(replies, "unpack_error", unpack)
    meta = decoded(replies.ended(REPLY, end, b"", NOW))
    assert (meta["status"], type(meta["result"])) == ("FAILURE", ValueError)
    assert "(too-large): the task has ended, and 10000005 bytes of packed values hold" in str(meta["result"])
    assert "10000005 bytes" in replies.summary(TaskEnd.FAILED, b"")


def test_a_lost_and_a_cancelled_task_are_what_celery_calls_them() -> None:
    lost = pack_error_info(ErrorInfo("TaskLost", "paceline.errors", "gone", (5, "gone"), ""))
    assert isinstance(decoded(replies.ended(REPLY, TaskEnd.LOST, lost, NOW))["result"], WorkerLostError)
    revoked = decoded(replies.ended(REPLY, TaskEnd.CANCELLED, b"", NOW))
    assert (revoked["status"], type(revoked["result"])) == ("REVOKED", TaskRevokedError)


def test_a_task_that_ran_for_too_long_is_what_celery_calls_it_and_so_is_one_that_failed_before() -> None:
    earlier = [(1, 1_000, "ValueError: first")]
    hard = with_earlier(pack_error_info(ErrorInfo("TaskTimedOut", "paceline.errors", "", (60.0,), "")), earlier)
    meta = decoded(replies.ended(REPLY, TaskEnd.TIMED_OUT, hard, NOW))
    assert (meta["status"], type(meta["result"]), meta["result"].args) == ("FAILURE", TimeLimitExceeded, (60.0,))
    soft = with_earlier(pack_error(errors.SoftTimeLimitExceeded(3.0), "Traceback ..."), earlier)
    meta = decoded(replies.ended(REPLY, TaskEnd.FAILED, soft, NOW))
    assert (type(meta["result"]), meta["traceback"]) == (SoftTimeLimitExceeded, "Traceback ...")
    again = with_earlier(pack_error(KeyError("k"), "Traceback ..."), earlier)
    assert type(decoded(replies.ended(REPLY, TaskEnd.FAILED, again, NOW))["result"]) is KeyError


def test_a_refusal_names_its_reason() -> None:
    meta = decoded(replies.refused(REPLY, Refused("celery", "chain", "no chains", REPLY), NOW))
    assert (meta["status"], type(meta["result"])) == ("FAILURE", NotImplementedError)
    assert "(chain): no chains" in str(meta["result"])
    refusal = Refused("celery", "unknown-task", "no node knows it", REPLY, "tasks.gone")
    unknown = decoded(replies.refused(REPLY, refusal, NOW))
    assert isinstance(unknown["result"], NotRegistered)
    assert repr(unknown["result"]).startswith("Task of kind 'tasks.gone' never registered")
    assert unknown["traceback"].endswith("no node knows it")
    assert decoded(replies.refused(REPLY, Refused("celery", "expired", "late", REPLY), NOW))["status"] == "REVOKED"


def test_a_task_that_has_expired_is_told_as_celery_tells_it_and_named_in_a_log() -> None:
    packed = pack_error_info(ErrorInfo("TaskExpired", "paceline.errors", "noon", ("noon",), ""))
    detail = replies.summary(TaskEnd.EXPIRED, packed)
    assert detail == "it expired at noon"
    meta = decoded(replies.refused(REPLY, Refused("celery", "expired", detail), NOW))
    assert (meta["status"], type(meta["result"]), str(meta["result"])) == ("REVOKED", TaskRevokedError, "expired")


def test_a_reply_to_a_message_in_msgpack_is_in_msgpack_and_says_so_of_what_that_can_not_hold() -> None:
    reply = replace(REPLY, is_msgpack=True)
    meta = msgpack.unpackb(replies.ended(reply, TaskEnd.SUCCEEDED, pack_value({"raw": b"\xff", "n": 1.5}), NOW))
    assert (meta["status"], meta["result"], meta["task_id"]) == ("SUCCESS", {"raw": b"\xff", "n": 1.5}, "id-1")
    for value in (datetime(2026, 1, 2, tzinfo=UTC), 2**70):
        meta = msgpack.unpackb(replies.ended(reply, TaskEnd.SUCCEEDED, pack_value(value), NOW))
        assert (meta["status"], meta["result"]["exc_type"]) == ("FAILURE", "EncodeError")


def test_started_is_no_end() -> None:
    assert json.loads(replies.started(REPLY))["status"] == "STARTED"
