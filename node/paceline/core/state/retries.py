"""The attempts of live tasks that failed, and the moments before which their next ones may not start."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from paceline.core.state.call_options import KEPT_FAILURES
from paceline.core.state.section import Section
from paceline_protocol import fields
from paceline_protocol.codec import decode_retries
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import Retry

if TYPE_CHECKING:
    from paceline.core.state.table import TaskTable

_check_items: Final = fields.many(
    fields.record(
        fields.identifier,
        fields.integer,
        fields.moment,
        fields.many(fields.record(fields.attempt, fields.moment, fields.line)),
    )
)


class FailedAttempts:
    """The failed attempts of one task. Never changed once it is made.

    ``count``: how many. ``not_before_ms``: when the next attempt may start. ``kept``: the first and the last of them,
    each (attempt, failed_at_ms, summary)."""

    __slots__ = ("count", "kept", "not_before_ms")

    def __init__(self, count: int, not_before_ms: int, kept: tuple[tuple[int, int, str], ...]) -> None:
        self.count: Final = count
        self.not_before_ms: Final = not_before_ms
        self.kept: Final = kept

    @property
    def last_attempt(self) -> int:
        """The attempt that failed last."""
        return self.kept[-1][0]

    @property
    def wait_ms(self) -> int:
        """How long it was to wait when that attempt had failed."""
        return max(0, self.not_before_ms - self.kept[-1][1])


def failed_again(before: FailedAttempts | None, retry: Retry) -> FailedAttempts:
    """One more attempt of a task has failed."""
    _task_id, attempt, not_before_ms, failed_at_ms, summary = retry
    failure = (attempt, failed_at_ms, summary)
    if before is None:
        return FailedAttempts(1, not_before_ms, (failure,))
    kept = before.kept if len(before.kept) < KEPT_FAILURES else (before.kept[0], *before.kept[2:])
    return FailedAttempts(before.count + 1, not_before_ms, (*kept, failure))


class Retries(Section):
    """By id. An item is (id, count, not_before_ms, kept)."""

    def __init__(self) -> None:
        super().__init__("retries", (EntryKind.RETRY,))
        self.by_id: dict[bytes, FailedAttempts] = {}

    def decode(self, kind: int, data: bytes) -> Any:
        return decode_retries(data)

    def apply(self, table: TaskTable, kind: int, data: bytes, decoded: Any) -> None:
        """RETRY: an attempt of each of these tasks has failed, and it is tried again."""
        tasks, by_id = table.tasks, self.by_id
        retries: list[Retry] = decoded if decoded is not None else decode_retries(data)
        for retry in retries:
            task_id = retry[0]
            if task_id in tasks:
                by_id[task_id] = failed_again(by_id.get(task_id), retry)

    def captured(self) -> list[Any]:
        return list(self.by_id.items())

    def packed(self, captured: Any) -> tuple[Any, int]:
        task_id, failures = captured
        return (task_id, failures.count, failures.not_before_ms, failures.kept), sum(
            [len(summary) for _, _, summary in failures.kept]
        )

    def read(self, items: Iterable[Any]) -> None:
        _check_items(items)
        for task_id, count, not_before_ms, kept in items:
            if not 0 < len(kept) <= KEPT_FAILURES or count < len(kept):
                raise ValueError(f"{len(kept)} failures of a task are kept, of {count}")
            self.by_id[task_id] = FailedAttempts(count, not_before_ms, kept)

    def take_from(self, other: Any) -> None:
        retries: Retries = other
        self.by_id = retries.by_id
