"""Tasks that wait for tasks: a client in a worker says that its task waits, and when nobody can run what it waits for.

A task that waits gives its slot back (``core/work/parking.py``), unless too many do already. Then what they wait for
may never start, and nothing fails: so whoever has waited for long asks the leader, and if no worker is free for the
other task, the worker's log tells. That may be a busy hour and no deadlock; the line says what to look at, and is
repeated seldom.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from paceline.errors import PacelineError
from paceline.parent_deadline import PARENT
from paceline_protocol.errors import PayloadError
from paceline_protocol.payload import unpack_value

if TYPE_CHECKING:
    import asyncio

    from paceline.client.future import Future

WARN_AFTER_S = 10.0
WARN_AGAIN_AFTER_S: Final = 60.0
ANSWER_TIMEOUT_S: Final = 5.0

_logger = logging.getLogger("paceline.client")

Wait = Callable[[Callable[[], object], float | None], bool]


class ParentWatch:
    """Of one client. ``where_is``: (task id, timeout in s) -> the body of a TaskReply, or None."""

    def __init__(self, where_is: Callable[[bytes, float], bytes | None]) -> None:
        self._where_is = where_is
        self._quiet_until_s = 0.0

    def wait(self, wait_until: Wait, ready: Callable[[], object], timeout_s: float | None, future: Future[Any]) -> bool:
        """Wait as ``wait_until`` does, with the slot given back, and look after ``future`` if that takes long."""
        goes_on = None if PARENT.waits is None or ready() else PARENT.waits(future.task_id)
        try:
            return self._wait(wait_until, ready, timeout_s, future)
        finally:
            if goes_on is not None:
                goes_on()

    def _wait(
        self, wait_until: Wait, ready: Callable[[], object], timeout_s: float | None, future: Future[Any]
    ) -> bool:
        began_s = time.monotonic()
        if timeout_s is not None and timeout_s <= WARN_AFTER_S:
            return wait_until(ready, timeout_s)
        if wait_until(ready, WARN_AFTER_S):
            return True
        self.look_after(future)
        return wait_until(ready, None if timeout_s is None else max(0.0, timeout_s - (time.monotonic() - began_s)))

    def watch(self, future: Future[Any], loop: asyncio.AbstractEventLoop) -> asyncio.TimerHandle:
        """The same for an await, whose loop must not be held up. Cancel the handle once the await has ended."""

        def begin() -> None:
            threading.Thread(target=self.look_after, args=(future,), name="paceline-parent", daemon=True).start()

        return loop.call_later(WARN_AFTER_S, begin)

    def look_after(self, future: Future[Any]) -> None:
        """Warn if no worker is free for its task. An answer that does not come is no reason to disturb the task."""
        now = time.monotonic()
        if now < self._quiet_until_s or future.done():
            return
        try:
            body = self._where_is(future.task_id, ANSWER_TIMEOUT_S)
            answer = unpack_value(body) if body is not None else {}
        except (PacelineError, PayloadError) as error:
            _logger.debug("where task %s is can't be told: %s", future.task_id.hex(), error)
            return
        if not answer.get("waits_for_worker"):
            return
        self._quiet_until_s = now + WARN_AGAIN_AFTER_S
        _logger.warning(
            "a task in this worker has waited %g s for task %s (%s), which has not started: %s. If more tasks wait for "
            "others than --max-parked, those beyond hold their workers, and none of them may ever end. Raise it, run "
            "fewer such tasks at a time, or submit and return without waiting (docs/tasks.md)",
            WARN_AFTER_S,
            future.name,
            future.task_id.hex(),
            answer["why"],
        )
