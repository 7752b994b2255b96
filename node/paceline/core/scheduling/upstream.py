"""How tasks end that can't be run as those that they depend on did not succeed: the packed errors."""

from __future__ import annotations

from typing import Final

from paceline_protocol.errors import PayloadError
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.payload import ErrorInfo, pack_error_info, trim, unpack_error
from paceline_protocol.texts import one_line

CAUSE_BYTES: Final = 8 << 10
"""Of the first cause: thousands of tasks may end by one, and each says so."""
SUMMARY_BYTES: Final = 200
_UPSTREAM_FAILED: Final = int(TaskEnd.UPSTREAM_FAILED)


def upstream_error(input_id: bytes, end: int, payload: bytes) -> bytes:
    """Of a task whose input ended so: which task it was, its TaskEnd and its own packed error. That of a task that had
    failed for another before is passed on: it says which failed first."""
    if end == _UPSTREAM_FAILED:
        return payload
    cause = _shortened(payload)
    word = TaskEnd(end).name.lower().replace("_", " ")
    message = f"task {input_id.hex()}, which it depends on, ended as {word}{_summary(cause)}"
    info = ErrorInfo("UpstreamFailed", "paceline.errors", message, (input_id.hex(), end, cause), "")
    return pack_error_info(info)


def too_large_error(size_bytes: int, limit_bytes: int) -> bytes:
    """Of a task that would be called with more than one may be."""
    message = (
        f"its arguments take {size_bytes} bytes with the results of the tasks that it depends on, and the cluster "
        f"allows {limit_bytes} (--payload-limit-mib)"
    )
    return pack_error_info(ErrorInfo("InputsTooLarge", "paceline.errors", message, (size_bytes, limit_bytes), ""))


def _shortened(payload: bytes) -> bytes:
    """A packed error that is short enough to be kept with each task that fails for it. A worker has made it."""
    if len(payload) <= CAUSE_BYTES:
        return payload
    try:
        info = unpack_error(payload)
    except PayloadError:
        return b""
    part = CAUSE_BYTES // 4
    traceback = trim(info.traceback, 2 * part, keep_end=True)
    shorter = ErrorInfo(
        trim(info.type_name, SUMMARY_BYTES), trim(info.module, SUMMARY_BYTES), trim(info.message, part), None, traceback
    )
    return pack_error_info(shorter)


def _summary(payload: bytes) -> str:
    try:
        info = unpack_error(payload) if payload else None
    except PayloadError:
        return ""
    if info is None:
        return ""
    text = one_line(f"{info.type_name}: {info.message[:SUMMARY_BYTES]}")
    return f": {trim(text, SUMMARY_BYTES)}"
