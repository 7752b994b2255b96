"""What running tasks say of themselves, as whoever asks is told: how far they are, and what they print and log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, Final

from paceline.client.future import Future
from paceline.client.targets import TaskId, task_id_of
from paceline.errors import NotAllowed, ResultUnknown
from paceline.options import check_seconds
from paceline_protocol.errors import PayloadError
from paceline_protocol.limits import PROGRESS_TEXT_CHARS
from paceline_protocol.moments import datetime_of
from paceline_protocol.payload import unpack_value

if TYPE_CHECKING:
    from paceline.client.driver.driver import Driver

NO_ANSWER: Final = "no answer within {:g} s; `paceline status` shows whether somebody leads"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskProgress:
    """How far a task is, as it has said last. ``done`` of ``total``, and ``text``: as given to
    `current_task().progress()`; None and "" if it has said only that it lives, and ``total`` None if it gave none.
    ``at``: when it said that; ``heard_at``: when it was last heard of, by what it said, printed or logged; both in UTC
    by the wall clock of its node. ``attempt``: which said that. ``node``: where."""

    done: int | float | None
    total: int | float | None
    text: str
    at: datetime | None
    heard_at: datetime
    attempt: int
    node: str

    @property
    def fraction(self) -> float | None:
        """From 0 to 1; None without a total. More than all counts as all, and of nothing all is done."""
        if self.done is None or self.total is None:
            return None
        return min(1.0, self.done / self.total) if self.total else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOutput:
    """The end of what a task has printed and logged. ``skipped``: so many bytes before it are not kept. ``size``: so
    many are. ``heard_at``, ``attempt``, ``node``: as of `TaskProgress`; if nothing was heard of the task they are None,
    and "" for ``node``."""

    text: str
    skipped: int
    size: int
    heard_at: datetime | None
    attempt: int | None
    node: str


class ProgressQuestions:
    """The part of a Client that asks what tasks say of themselves."""

    _driver: Driver

    def progress(self, task: Future[Any] | TaskId, timeout: float = 5.0) -> TaskProgress | None:
        """How far a task says it is, whoever submitted it: a future, or an id. Of a task that runs, what the attempt
        says that runs; of one that has ended, what it has said last, as long as its node keeps that. None if it has
        said nothing.

        Raises ResultUnknown for an id that the cluster does not know, ValueError for what is no id, FeatureLevelTooLow
        if the leader is of an older version, TimeoutError if it does not answer in time.
        """
        check_seconds("timeout", timeout)
        task_id = task.task_id if isinstance(task, Future) else task_id_of(task)
        body = self._driver.progress(task_id, timeout)
        if body is None:
            raise TimeoutError(NO_ANSWER.format(timeout))
        return progress_of(task_id, body)

    def output(self, task: Future[Any] | TaskId, timeout: float = 5.0) -> TaskOutput:
        """The end of what a task has printed and logged, 16 KiB at most: of its last attempt that was heard of, as long
        as its node keeps that. ``task``: a future, or the id of a task that anybody submitted.

        Raises NotAllowed to an observer, and what :meth:`progress` raises.
        """
        check_seconds("timeout", timeout)
        task_id = task.task_id if isinstance(task, Future) else task_id_of(task)
        reply = self._driver.output_of(task_id, timeout)
        if reply is None:
            raise TimeoutError(NO_ANSWER.format(timeout))
        if reply.refused:
            raise NotAllowed(reply.refused)
        return output_of(task_id, reply.body)


def progress_of(task_id: bytes, body: bytes) -> TaskProgress | None:
    """From the body of a ProgressReply. Raises ResultUnknown."""
    told = _known(task_id, body)
    if told["attempt"] is None:
        return None
    done, total, text = _said(told["progress"])
    at_ms = told["progress_ms"]
    return TaskProgress(
        done=done,
        total=total,
        text=text,
        at=None if at_ms is None else datetime_of(at_ms),
        heard_at=datetime_of(told["heard_ms"]),
        attempt=told["attempt"],
        node=told["node"],
    )


def output_of(task_id: bytes, body: bytes) -> TaskOutput:
    """From the body of an OutputReply. Raises ResultUnknown."""
    told = _known(task_id, body)
    heard_ms = told["heard_ms"]
    output: bytes = told["output"]
    skipped = told["skipped"]
    while output and output[0] & 0xC0 == 0x80:  # the rest of a character that was cut
        output, skipped = output[1:], skipped + 1
    return TaskOutput(
        text=output.decode("utf-8", "replace"),
        skipped=skipped,
        size=len(output),
        heard_at=None if heard_ms is None else datetime_of(heard_ms),
        attempt=told["attempt"],
        node=told["node"],
    )


def _known(task_id: bytes, body: bytes) -> dict[str, Any]:
    told: dict[str, Any] = unpack_value(body)
    if not told["known"]:
        raise ResultUnknown(
            f"{task_id.hex()}: no task of this id was accepted, or it ended so long ago that its record is gone"
        )
    return told


def _said(packed: bytes | None) -> tuple[int | float | None, int | float | None, str]:
    """What its worker has packed: user code may have spoken in its place, and then it has said nothing."""
    if packed is None:
        return None, None, ""
    try:
        match unpack_value(packed):
            case (int() | float() as done, int() | float() | None as total, str() as text):
                if isfinite(done) and done >= 0 and (total is None or (isfinite(total) and total >= 0)):
                    return done, total, text[:PROGRESS_TEXT_CHARS]
    except (PayloadError, OverflowError):
        pass
    return None, None, ""
