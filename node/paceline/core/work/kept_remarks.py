"""What a node keeps of what its running tasks say of themselves: how far they are, that they live, and the end of what
they print and log.

All of it is best effort, and for whoever asks (``scheduling/remark_requests.py``): no decision is made by it, nothing
of it is in the log or sent to anybody unasked, and a node that ends takes it along. Of each task the last attempt that
has said something is kept. It is bounded in tasks and in bytes: those that no worker of this node runs any more make
way first, the one that was heard longest ago before the others. Without that they are kept for KEPT_S.

A worker runs user code, which may speak in its place: what counts is of attempts that this worker was given.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, TypeAlias

from paceline_protocol.limits import MAX_INT, OUTPUT_BYTES, PROGRESS_BYTES, REMARKS_BYTES

KEPT_S: Final = 600.0
"""Behind the last that was heard of a task which does not run here any more."""
KEPT_TASKS: Final = 1_000
KEPT_BYTES: Final = 4 << 20
"""Of all of them. 256 tasks may have all that is kept of one."""
TASK_BYTES: Final = 400
"""What one takes beside what it has said."""

Said: TypeAlias = tuple[bytes, int, bytes, bytes, int]
"""As in a Remarks."""


class Remark:
    """What one attempt has said last. ``worker_id``: who runs it. ``skipped``: bytes of output that are not kept."""

    __slots__ = ("attempt", "heard_at", "heard_ms", "output", "progress", "progress_ms", "skipped", "worker_id")

    def __init__(self, attempt: int, worker_id: bytes) -> None:
        self.attempt = attempt
        self.worker_id = worker_id
        self.heard_at = 0.0
        self.heard_ms = 0
        self.progress = b""
        self.progress_ms = 0
        self.output = b""
        self.skipped = 0

    @property
    def size_bytes(self) -> int:
        return TASK_BYTES + len(self.progress) + len(self.output)

    def print(self, output: bytes, skipped: int) -> None:
        """It has printed this, behind ``skipped`` bytes that are lost."""
        if skipped:  # what is kept has no gap
            self.skipped += len(self.output) + skipped
            self.output = b""
        whole = self.output + output
        kept = whole[-OUTPUT_BYTES:]
        self.skipped = min(self.skipped + len(whole) - len(kept), MAX_INT)  # user code may have said any number
        self.output = kept


class KeptRemarks:
    """Of one node, by task."""

    def __init__(self) -> None:
        self._kept: dict[bytes, Remark] = {}  # the one that was heard longest ago first
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._kept)

    def of(self, task_id: bytes) -> Remark | None:
        """What is kept of a task."""
        return self._kept.get(task_id)

    def is_of(self, worker_id: bytes, task_id: bytes, attempt: int) -> bool:
        """Whether something of this attempt was heard of this worker before: it may have ended meanwhile."""
        kept = self._kept.get(task_id)
        return kept is not None and kept.attempt == attempt and kept.worker_id == worker_id

    def add(self, worker_id: bytes, said: Said, now: float, now_ms: int) -> None:
        """Its worker says this of a task. Nothing is kept of what no worker of ours would say, as it is too long."""
        task_id, attempt, progress, output, skipped = said
        if len(progress) > PROGRESS_BYTES or len(output) > REMARKS_BYTES:
            return
        kept = self._kept.pop(task_id, None)
        if kept is not None:
            self._bytes -= kept.size_bytes
        if kept is None or kept.attempt < attempt:
            kept = Remark(attempt, worker_id)
        if kept.attempt == attempt:
            kept.heard_at, kept.heard_ms = now, now_ms
            if progress:
                kept.progress, kept.progress_ms = progress, now_ms
            if output or skipped:
                kept.print(output, skipped)
        self._kept[task_id] = kept
        self._bytes += kept.size_bytes

    @property
    def is_full(self) -> bool:
        """Whether some are to make way."""
        return len(self._kept) > KEPT_TASKS or self._bytes > KEPT_BYTES

    def make_room(self, running: Collection[bytes]) -> None:
        """Keep the bounds. ``running``: the tasks that workers of this node have."""
        for task_id in [each for each in self._kept if each not in running]:
            if not self.is_full:
                return
            self._drop(task_id)
        while self.is_full:
            self._drop(next(iter(self._kept)))

    def forget(self, running: Collection[bytes], now: float) -> None:
        """Drop those whose time is over. To be called every so often."""
        for task_id, kept in list(self._kept.items()):
            if now < kept.heard_at + KEPT_S:
                return
            if task_id not in running:
                self._drop(task_id)

    def _drop(self, task_id: bytes) -> None:
        self._bytes -= self._kept.pop(task_id).size_bytes
