"""What tasks print and log, seen on its way to stdout and stderr, so that the node can keep the end of it by task.

It goes where it went before, to the descriptors that the worker has from its node, unchanged: this only looks at what
passes through ``sys.stdout`` and ``sys.stderr``, where it belongs to the task that runs in the thread, or the event
loop, that writes (``current.py``). What C code or a subprocess writes to the descriptors is nobody's, as nobody can
tell whose it is.
"""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import Callable
from typing import Any, TextIO

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(task_name)s %(task_id)s: %(message)s"
TASK_LOGGER = "paceline.task"


class TaskStream(io.TextIOWrapper):
    """In place of ``sys.stdout`` or ``sys.stderr``. ``seen``: is given what is written."""

    seen: Callable[[str], None]

    def write(self, text: str, /) -> int:
        written = super().write(text)
        self.seen(text)
        return written


def watch(name: str, seen: Callable[[str], None]) -> None:
    """Have this stream of ``sys`` say what is written to it, line by line to where it goes, into a file too, so that
    prints survive a crash. One that is closed, or of another type, is left as it is."""
    stream = getattr(sys, name)
    if type(stream) is not io.TextIOWrapper:
        return
    encoding, errors = stream.encoding, stream.errors
    watched = TaskStream(stream.detach(), encoding, errors, line_buffering=True)
    watched.seen = seen
    setattr(sys, name, watched)
    setattr(sys, f"__{name}__", watched)


class StderrHandler(logging.StreamHandler[TextIO]):
    """Writes to what ``sys.stderr`` is by then, as prints do."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


class TaskLog(logging.LoggerAdapter[logging.Logger]):
    """The log of one task. Its lines have the task's name and id, and the records ``task_name``, ``task_id`` and
    ``attempt``."""

    def process(self, msg: Any, kwargs: Any) -> tuple[Any, Any]:
        kwargs["extra"] = {**(kwargs.get("extra") or {}), **(self.extra or {})}
        return msg, kwargs


def prepare_log() -> None:
    """The logger of tasks works unasked, from INFO on, and leaves the root logger alone, which is the tasks' own."""
    logger = logging.getLogger(TASK_LOGGER)
    handler = StderrHandler()
    handler.setFormatter(logging.Formatter(LOG_FORMAT, defaults={"task_name": "-", "task_id": "-"}))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


def log_of(task_id: str, name: str, attempt: int) -> TaskLog:
    return TaskLog(logging.getLogger(TASK_LOGGER), {"task_id": task_id, "task_name": name, "attempt": attempt})
