"""How a task came to its end that was cancelled after it had begun. One that had not has an empty payload."""

from __future__ import annotations

from typing import Final

from paceline_protocol.payload import ErrorInfo, pack_error_info


def pack_cancelled(how: str) -> bytes:
    """The payload of such an end: ``how`` completes "the task was cancelled: it ..."."""
    return pack_error_info(ErrorInfo("TaskCancelled", "paceline.errors", how, (), ""))


STOPPED: Final = pack_cancelled("it stopped when it was asked to")
"""What a worker answers for a task that let the exception through."""
LOST: Final = pack_cancelled("it ended with its worker when it had been asked to stop")
NOT_AGAIN: Final = pack_cancelled("it had run, and was not run again")
