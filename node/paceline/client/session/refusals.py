"""What a refusal leads to: the exception of a call that the cluster refuses, or another try if the cluster is not
ready.

A cluster that is forming, or has just changed its leader, is not ready yet. The client tries again after growing
pauses, with whichever leader there is then. So the time since the cluster was last ready outlives the epochs. Pure.
"""

from __future__ import annotations

import math
from typing import Final

from paceline.client.session.candidates import Jitter
from paceline.errors import (
    FeatureLevelTooLow,
    IdempotencyKeyUsed,
    InputUnknown,
    NoLeader,
    QueueFull,
    RequestRefused,
    ResultExpired,
    ResultUnknown,
    UnknownTask,
)
from paceline_protocol.errors import PayloadTooLarge
from paceline_protocol.keyed import key_of
from paceline_protocol.messages.client import Refusal
from paceline_protocol.messages.records import CALL_OPTIONS, Call

RETRY_MIN_S: Final = 0.05
RETRY_MAX_S: Final = 1.0


class Unready:
    """Since when the cluster has refused calls because it was not ready, and how long to wait before the next try."""

    def __init__(self, limit_s: float, random: Jitter) -> None:
        """``limit_s``: for how long the client tries again."""
        self._limit_s = limit_s
        self._random = random
        self._since_s = math.inf
        self._detail = ""
        self._pause_s = RETRY_MIN_S

    def refused(self, detail: str, now: float) -> None:
        self._since_s = min(self._since_s, now)
        self._detail = detail

    def next_pause_s(self) -> float:
        """With jitter; longer each time."""
        pause_s = self._pause_s * self._random.uniform(0.5, 1.0)
        self._pause_s = min(self._pause_s * 2, RETRY_MAX_S)
        return pause_s

    def took_something(self) -> None:
        """A leader has accepted a call, or sent a result."""
        self._since_s = math.inf
        self._pause_s = RETRY_MIN_S

    def give_up(self, now: float) -> NoLeader | None:
        """The error for refused calls, once the cluster has been unready for ``limit_s``; else None. Then the time
        starts again."""
        if now < self._since_s + self._limit_s:
            return None
        error = NoLeader(now - self._since_s, self._detail)
        self._since_s = math.inf
        return error

    def forget(self) -> None:
        """Nothing is outstanding any more, so the time does not count."""
        self._since_s = math.inf


def refusal_error(call: Call | None, code: int, detail: str, payload_limit_bytes: int) -> Exception:
    """The exception for a call that was refused for good. ``call`` is None if it is no longer kept."""
    if code == Refusal.UNKNOWN_TASK:
        return UnknownTask(call[1] if call is not None else "", detail)
    if code == Refusal.QUEUE_FULL:
        return QueueFull(detail)
    if code == Refusal.PAYLOAD_TOO_LARGE:
        return PayloadTooLarge(len(call[3]) if call is not None else 0, payload_limit_bytes)
    if code == Refusal.UNKNOWN_ID:
        is_keyed = call is not None and bool(key_of(call[CALL_OPTIONS]))
        return IdempotencyKeyUsed(detail) if is_keyed else ResultUnknown(detail)
    if code == Refusal.RESULT_EXPIRED:
        return ResultExpired(detail)
    if code == Refusal.INPUT_OVER:
        return InputUnknown(detail)
    if code == Refusal.LEVEL_TOO_LOW:
        return FeatureLevelTooLow(detail)
    return RequestRefused(detail or f"a node refused the task with code {code}")
