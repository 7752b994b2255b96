"""What the tasks of this worker say of themselves, on its way to the node: how far they are, that they live, what they
print and log.

The rules of this module:

- It is best effort. Whoever says something never waits for the node: what is said is noted, of progress the latest and
  of output the end, and a thread sends it, the first at once and then every EVERY_S. It is started with the first
  remark: a worker whose tasks say nothing has none.
- What a task has said leaves before its outcome if that is not too often (OUTCOMES_PER_S), so that who has the outcome
  finds its last words. Else it follows.
- It is bounded in tasks and in bytes. What waits longest is dropped first.
- While the node takes nothing the thread sends nothing, so that no worker ends for what its task has said: that is for
  outcomes to decide, which have to arrive.
- A process that a task has forked says nothing: its node's link is not its own.
"""

from __future__ import annotations

import os
from _thread import RLock, allocate_lock, start_new_thread  # the names of before a module has patched them
from collections.abc import Callable
from time import monotonic, sleep
from typing import Final

from paceline_protocol.codec import encode
from paceline_protocol.limits import OUTPUT_BYTES, REMARKS_BYTES, REMARKS_PER_S, REMARKS_TASKS
from paceline_protocol.messages.children import Remarks
from paceline_protocol.payload import pack_value

EVERY_S: Final = 0.1
OUTCOMES_PER_S: Final = REMARKS_PER_S - round(1 / EVERY_S)
"""So often what is said leaves with an outcome, and as often in a burst. The rest is for the thread."""

Position = tuple[int | float, int | float | None, str]
"""How far a task is: done, total, text."""


class Pending:
    """What one attempt has said, and its node was not told."""

    __slots__ = ("attempt", "output", "output_bytes", "position", "skipped")

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self.position: Position | None = None
        self.output: list[bytes] = []
        self.output_bytes = 0
        self.skipped = 0

    def cut(self, limit_bytes: int) -> None:
        """Keep the end of its output."""
        if self.output_bytes > limit_bytes:
            kept = b"".join(self.output)[-limit_bytes:]
            self.skipped += self.output_bytes - len(kept)
            self.output, self.output_bytes = [kept], len(kept)


class OwnRemarks:
    """Of one worker. ``send``: a frame to the node, from any thread; it may wait. ``has_room``: whether it need not."""

    def __init__(self, send: Callable[[bytes], None], has_room: Callable[[], bool] = lambda: True) -> None:
        self._send = send
        self._has_room = has_room
        self._lock = RLock()  # a handler of signals may say something, too
        self._pending: dict[bytes, Pending] = {}
        self._output_bytes = 0
        self._wake = allocate_lock()
        self._wake.acquire()
        self._is_idle = False
        self._has_thread = False
        self._is_off = False
        self._tokens, self._tokens_at = float(OUTCOMES_PER_S), monotonic()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def _forked(self) -> None:
        self._is_off = True

    def __bool__(self) -> bool:
        """Whether something waits to be told."""
        return bool(self._pending)

    # --- what is said -------------------------------------------------------------------------------------------

    def progress(self, task_id: bytes, attempt: int, position: Position | None) -> None:
        """An attempt says how far it is; None: that it lives."""
        if self._is_off:
            return
        with self._lock:
            pending = self._of(task_id, attempt)
            pending.position = position or pending.position
        self._tell_thread()

    def output(self, task_id: bytes, attempt: int, text: str) -> None:
        """An attempt prints this."""
        if self._is_off or not text:
            return
        # A text of any length is cut before it is encoded.
        data = text[-OUTPUT_BYTES:].encode("utf-8", "backslashreplace")
        with self._lock:
            pending = self._of(task_id, attempt)
            before = pending.output_bytes
            pending.output.append(data)
            pending.output_bytes += len(data)
            pending.skipped += max(0, len(text) - OUTPUT_BYTES)
            if pending.output_bytes > 2 * OUTPUT_BYTES:
                pending.cut(OUTPUT_BYTES)
            self._output_bytes += pending.output_bytes - before
            if self._output_bytes > REMARKS_BYTES:
                self._drop_output()
        self._tell_thread()

    def _of(self, task_id: bytes, attempt: int) -> Pending:
        pending = self._pending.get(task_id)
        if pending is None or pending.attempt != attempt:
            if pending is not None:
                self._output_bytes -= pending.output_bytes
            elif len(self._pending) >= REMARKS_TASKS:
                self._drop_oldest()
            pending = self._pending[task_id] = Pending(attempt)
        return pending

    def _drop_oldest(self) -> None:
        self._output_bytes -= self._pending.pop(next(iter(self._pending))).output_bytes

    def _drop_output(self) -> None:
        """That of the tasks which wait longest to be told of."""
        for each in self._pending.values():
            if self._output_bytes <= REMARKS_BYTES:
                return
            self._output_bytes -= each.output_bytes
            each.skipped += each.output_bytes
            each.output, each.output_bytes = [], 0

    # --- what leaves --------------------------------------------------------------------------------------------

    def take(self) -> bytes:
        """The frame with all that waits; b"" if nothing does."""
        with self._lock:
            pending, self._pending, self._output_bytes = self._pending, {}, 0
        if not pending:
            return b""
        for each in pending.values():
            each.cut(OUTPUT_BYTES)
        return encode(
            Remarks(
                tuple(
                    [
                        (
                            task_id,
                            each.attempt,
                            b"" if each.position is None else pack_value(each.position),
                            b"".join(each.output),
                            each.skipped,
                        )
                        for task_id, each in pending.items()
                    ]
                )
            )
        )

    def take_before_outcome(self) -> bytes:
        """As :meth:`take`, unless that was too often: then it is the thread's."""
        now = monotonic()
        self._tokens = min(float(OUTCOMES_PER_S), self._tokens + (now - self._tokens_at) * OUTCOMES_PER_S)
        self._tokens_at = now
        if self._tokens < 1.0:
            return b""
        self._tokens -= 1.0
        return self.take()

    def _tell_thread(self) -> None:
        if self._is_idle:
            self._is_idle = False
            try:
                self._wake.release()
            except RuntimeError:  # another thread has done so
                pass
        elif not self._has_thread:
            self._has_thread = True
            try:
                start_new_thread(self._run, ())
            except RuntimeError:  # the system has no room for it: the next remark tries again
                self._has_thread = False

    def _run(self) -> None:
        while True:
            if self._pending and not self._has_room():
                sleep(EVERY_S)
                continue
            frame = self.take()
            if frame:
                self._send(frame)
                sleep(EVERY_S)
                continue
            self._is_idle = True
            if self._pending:  # said in between, by who did not see that this is idle
                self._is_idle = False
                continue
            self._wake.acquire()
