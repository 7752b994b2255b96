"""Has tasks wait for their moments no longer, as somebody asks for that: delayed ones, and those that wait to be tried
again.

Nothing of it is in the log. A leader that dies before such a task has started may leave it to the next one as it was,
delayed; whoever asked asks again. The other way round nothing can go wrong: whatever has started is no earlier than
somebody has asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from paceline_protocol.messages.live import RunNowState

if TYPE_CHECKING:
    from paceline.core.scheduling.leader import Leader


def run_now(leader: Leader, ids: Iterable[bytes], now: float) -> tuple[tuple[bytes, int], ...]:
    """What becomes of each of these, each once."""
    return tuple([(task_id, int(_run_now(leader, task_id, now))) for task_id in dict.fromkeys(ids)])


def _run_now(leader: Leader, task_id: bytes, now: float) -> RunNowState:
    tasks, recording = leader.tasks, leader.recording
    task = tasks.live.get(task_id)
    if task is None:
        if recording.dead_end_of(task_id) is not None:
            return RunNowState.DEAD
        is_known = recording.open_task(task_id) is not None or recording.knows(task_id)
        return RunNowState.ENDED if is_known else RunNowState.UNKNOWN
    if not tasks.is_settled or not recording.is_logging:
        return RunNowState.NOT_YET
    if task.has_place_at_node:
        return RunNowState.RUNNING
    if not task.is_delayed or task.is_held:
        return RunNowState.WAITING
    return RunNowState.DUE if recording.run_now(task, now) else RunNowState.NOT_YET
