"""Replies to Celery callers: the bodies that Celery's ``rpc://`` backend reads. Pure.

Source: celery/backends/base.py (``_get_result_meta``, ``exception_to_python``) of Celery 5.7.
"""

from __future__ import annotations

import builtins
from datetime import UTC, datetime
from typing import Any

from paceline_bridge.formats.bodies import write_json, write_msgpack
from paceline_bridge.message import Refused, ReplyAddress
from paceline_protocol.errors import MalformedPayload, PayloadError, UnpackedTooLarge
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.payload import ErrorInfo, unpack_error, unpack_value

SUMMARY_LIMIT_CHARS = 300
_ENDS = frozenset(
    (
        ("asyncio.exceptions", "CancelledError"),
        ("gevent.timeout", "Timeout"),
        ("greenlet", "GreenletExit"),
        ("trio", "Cancelled"),
        ("_pytest.outcomes", "Exit"),
    )
)
"""Those beside Python's own that are no ``Exception``, (module, name). Of a user's own class it can't be known here."""


def started(reply: ReplyAddress) -> bytes:
    """The cluster has accepted the task, and it has not ended. Whether a worker has begun with it is not known."""
    return _body(reply, None, "STARTED", {"bridge": "paceline"}, None)


def ended(reply: ReplyAddress, end: int, payload: bytes, now: float) -> bytes:
    """How the task ended: ``end`` is a TaskEnd, ``payload`` its packed result or error. ``now``: seconds since the
    epoch. A task that has expired is refused, as :func:`refused` writes it."""
    done = datetime.fromtimestamp(now, UTC).isoformat()
    if end == TaskEnd.CANCELLED:
        return _revoked(reply, done, "cancelled")
    try:
        if end == TaskEnd.SUCCEEDED:
            return _body(reply, done, "SUCCESS", unpack_value(payload), None)
        info = unpack_error(payload)
    except UnpackedTooLarge as error:
        return refused(reply, Refused("celery", "too-large", f"the task has ended, and {error}"), now)
    except MalformedPayload as error:
        return _failure(reply, done, "builtins", "ValueError", [f"the result can't be read: {error}"])
    except (TypeError, ValueError, RecursionError) as error:
        return _failure(
            reply,
            done,
            "kombu.exceptions",
            "EncodeError",
            [f"the task succeeded, but its result can't be sent: {error}"],
        )
    if end == TaskEnd.LOST:
        return _failure(reply, done, "billiard.exceptions", "WorkerLostError", [info.message])
    if end == TaskEnd.TIMED_OUT:
        return _failure(reply, done, "billiard.exceptions", "TimeLimitExceeded", list(info.args or ()))
    if (info.module, info.type_name) == ("paceline.errors", "SoftTimeLimitExceeded"):
        return _failure(reply, done, "billiard.exceptions", "SoftTimeLimitExceeded", [], info.traceback)
    return _raised(reply, done, info)


def summary(end: int, payload: bytes) -> str:
    """How the task ended, in one line for a log."""
    if end == TaskEnd.CANCELLED:
        return "it was cancelled"
    try:
        info = unpack_error(payload)
    except PayloadError as error:
        return f"its error can't be read: {error}"
    if end == TaskEnd.EXPIRED:
        return f"it expired at {info.message}"
    return " ".join(f"{info.type_name}: {info.message}".split())[:SUMMARY_LIMIT_CHARS]


def refused(reply: ReplyAddress, refusal: Refused, now: float) -> bytes:
    """The bridge or the cluster refused the message. ``now``: seconds since the epoch."""
    done = datetime.fromtimestamp(now, UTC).isoformat()
    if refusal.reason == "expired":
        return _revoked(reply, done, "expired")
    if refusal.reason == "unknown-task":
        # As Celery's worker reports it: the exception's class makes a sentence of the task's name.
        said = f"paceline bridge refuses this message (unknown-task): {refusal.detail}"
        return _failure(reply, done, "celery.exceptions", "NotRegistered", [refusal.task], said)
    kind = "ValueError" if refusal.reason in ("bad-body", "too-large", "arguments") else "NotImplementedError"
    return _failure(
        reply, done, "builtins", kind, [f"paceline bridge refuses this message ({refusal.reason}): {refusal.detail}"]
    )


def _raised(reply: ReplyAddress, done: str, info: ErrorInfo) -> bytes:
    if not _is_exception(info.module, info.type_name):
        text = f"the task raised {info.module}.{info.type_name}, which ends programs: {info.message}"
        return _failure(reply, done, "builtins", "Exception", [text], info.traceback)
    args = list(info.args) if info.args is not None else [info.message]
    try:
        return _failure(reply, done, info.module, info.type_name, args, info.traceback)
    except (TypeError, ValueError, RecursionError):  # arguments that JSON can't hold
        return _failure(reply, done, info.module, info.type_name, [info.message], info.traceback)


def _is_exception(module: str, name: str) -> bool:
    """Whether a class is one that a caller may be given. SystemExit and its like are none: ``get()`` raises them, and
    no caller expects it to end the program."""
    if module == "builtins":
        cls = getattr(builtins, name, None)
        return isinstance(cls, type) and issubclass(cls, Exception)
    return (module, name) not in _ENDS


def _revoked(reply: ReplyAddress, done: str, why: str) -> bytes:
    result = {"exc_type": "TaskRevokedError", "exc_message": [why], "exc_module": "celery.exceptions"}
    return _body(reply, done, "REVOKED", result, None)


def _failure(
    reply: ReplyAddress, done: str, module: str, kind: str, args: list[Any], traceback: str | None = None
) -> bytes:
    result = {"exc_type": kind, "exc_message": args, "exc_module": module}
    return _body(reply, done, "FAILURE", result, traceback)


def _body(reply: ReplyAddress, done: str | None, status: str, result: object, traceback: str | None) -> bytes:
    body: dict[str, Any] = {
        "task_id": reply.task_id,
        "status": status,
        "result": result,
        "traceback": traceback,
        "children": [],
        "date_done": done,
    }
    if reply.group_id is not None:
        body["group_id"] = reply.group_id
    if reply.parent_id is not None:
        body["parent_id"] = reply.parent_id
    return (write_msgpack if reply.is_msgpack else write_json)(body)
