"""What tasks print and log, seen on its way to stdout and stderr, so that the node can keep the end of it by task.

It goes where it went before, to the descriptors that the worker has from its node, unchanged: this only looks at what
passes through ``sys.stdout`` and ``sys.stderr``, where it belongs to the task that runs in the thread, or the event
loop, that writes (``current.py``). What C code or a subprocess writes to the descriptors is nobody's, as nobody can
tell whose it is.

With ``--log-format json`` each line is an object, as those of the node's log are, with the id of its task. Then a line
waits until it is whole, or is that of another task, or is long.
"""

from __future__ import annotations

import atexit
import io
import logging
import os
import sys
from _thread import RLock  # the name of before a module has patched it
from typing import Any, Final, TextIO

from paceline.log_formats import JsonFormatter
from paceline.worker import current

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(task_name)s %(task_id)s: %(message)s"
TASK_LOGGER = "paceline.task"
LINE_LIMIT_CHARS: Final = 8_192
_watched: Final[list[TextIO]] = []
"""They stay for good. A task may put another stream in the place of ``sys.stdout``, and ``sys.__stdout__`` back: what
is gone closes the buffer beneath it, which that one has, too, and no task of this worker could print any more."""


class TaskStream(io.TextIOWrapper):
    """In place of ``sys.stdout`` or ``sys.stderr``."""

    def write(self, text: str, /) -> int:
        written = super().write(text)
        current.printed(text)
        return written

    def log(self, record: logging.LogRecord, text: str) -> None:
        """A record of the task's log, and as text."""
        self.write(f"{text}\n")


class JsonStream(TaskStream):
    """The same, an object for each line."""

    label = ""

    def begin(self, label: str) -> JsonStream:
        """``label``: what the lines say of where they were written."""
        self.label = label
        self._lock = RLock()  # a handler of signals may print, too
        self._formatter = JsonFormatter()
        self._begun = ""  # of a line that is not whole
        self._owner: current.CurrentTask | None = None
        atexit.register(self._end_line)
        os.register_at_fork(after_in_child=self._forked)
        return self

    def _forked(self) -> None:
        """Another thread may have been printing, and is not in this process; nor is the begun line of this one."""
        self._lock = RLock()
        self._begun = ""

    def write(self, text: str, /) -> int:
        current.printed(text)
        with self._lock:
            owner = current.current_task()
            if self._begun and _id_of(owner) != _id_of(self._owner):
                self._end_line()
            self._owner = owner
            *whole, self._begun = (self._begun + text).split("\n")
            for line in whole:
                self._put(line)
            if len(self._begun) > LINE_LIMIT_CHARS:
                self._end_line()
        return len(text)

    def log(self, record: logging.LogRecord, text: str) -> None:
        current.printed(f"{text}\n")
        with self._lock:
            self._end_line()
            io.TextIOWrapper.write(self, f"{self._formatter.format(record)}\n")

    def _end_line(self) -> None:
        begun, self._begun = self._begun, ""
        self._put(begun)

    def _put(self, line: str) -> None:
        if not line:
            return
        record = logging.LogRecord(TASK_LOGGER, logging.INFO, "", 0, line, None, None)
        record.stream = self.label
        if self._owner is not None:
            record.__dict__.update(_fields(self._owner.id, self._owner.name, self._owner.attempt))
        io.TextIOWrapper.write(self, f"{self._formatter.format(record)}\n")


def _id_of(task: current.CurrentTask | None) -> str:
    return "" if task is None else task.id


def _fields(task_id: str, name: str, attempt: int) -> dict[str, Any]:
    return {"task_id": task_id, "task_name": name, "attempt": attempt}


def watch(name: str, *, is_json: bool = False) -> None:
    """Look at what is written to this stream of ``sys``, which leaves line by line, into a file too, so that prints
    survive a crash. One that is closed, or of another type, is left as it is. So is ``sys.__stdout__``, and whoever has
    that one writes past this."""
    stream = getattr(sys, name)
    if type(stream) is not io.TextIOWrapper:
        return
    stream.reconfigure(line_buffering=True)
    kind = JsonStream if is_json else TaskStream
    watched = kind(stream.buffer, stream.encoding, stream.errors, line_buffering=True)
    if isinstance(watched, JsonStream):
        watched.begin(name)
    _watched.append(watched)
    setattr(sys, name, watched)


class StderrHandler(logging.Handler):
    """Writes to what ``sys.stderr`` is by then, as prints do."""

    def emit(self, record: logging.LogRecord) -> None:
        stream: TextIO | None = sys.stderr
        try:
            if isinstance(stream, TaskStream):
                stream.log(record, self.format(record))
            elif stream is not None:
                stream.write(f"{self.format(record)}\n")
        except Exception:  # noqa: BLE001 - as every handler does
            self.handleError(record)


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
    """The log of a task."""
    return TaskLog(logging.getLogger(TASK_LOGGER), _fields(task_id, name, attempt))
