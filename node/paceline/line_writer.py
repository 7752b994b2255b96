"""Lines for stdout and stderr, of which nobody may take any: a pipe that is not drained, a terminal that is stopped.

The rules:

- Whoever has a line never waits. A thread writes, and may sit in a write for ever. The descriptor is left as it is:
  other processes have it too, so it is not made non-blocking.
- What waits is bounded, in lines and in bytes. Past that, lines are dropped and counted until half of the room is free
  again; then a line in their place says how many they were. The lines that are left keep their order.
- A process that ends waits FLUSH_S for what waits, and no longer. What it has to say last of all, as why it ends, is
  never dropped.
- A write that fails drops its line, as nobody can be told.
"""

from __future__ import annotations

import atexit
import logging
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Final, TextIO

LINES_MAX: Final = 4096
BYTES_MAX: Final = 1 << 20
"""Of all lines that wait; one that is longer waits alone."""
FLUSH_S: Final = 1.0
IDLE_S: Final = 10.0
"""How long the thread stays when there is nothing to write."""

_STANDARD: Final = (1, 2)


def dropped_lines(number: int) -> str:
    were = "line is missing here: it was" if number == 1 else "lines are missing here: they were"
    return f"{number} {were} dropped, as nobody took what was written before"


class LineWriter:
    """Of one stream. For any thread, and for handlers of signals: its lock can be taken again by who has it."""

    def __init__(self, stream: TextIO, *, lines_max: int = LINES_MAX, bytes_max: int = BYTES_MAX) -> None:
        self.stream = stream
        self._lines_max = lines_max
        self._bytes_max = bytes_max
        self._changed = threading.Condition()
        self._lines: deque[tuple[bytes, int]] = deque()  # what is lost if it is not written: a line, or a count of them
        self._bytes = 0
        self._written = 0
        self._stuck_at = -1  # what was written when a flush gave up
        self._dropped = 0
        self._is_full = False
        self._notice: Callable[[int], str] = dropped_lines
        self._has_thread = False

    def put(self, line: str, *, notice: Callable[[int], str] = dropped_lines, is_last: bool = False) -> None:
        """Returns at once. ``notice``: the line that says how many were dropped. ``is_last``: why the process ends."""
        data = self._encoded(line)
        with self._changed:
            self._notice = notice
            if not is_last and self._has_no_room(len(data)):
                self._dropped += 1
                return
            self._say_dropped()
            self._append(data, 1)

    def flush(self, wait_s: float = FLUSH_S) -> bool:
        """Whether all is written. Waits for it, but not twice while nothing moves."""
        with self._changed:
            if self._lines and self._stuck_at == self._written:
                return False
            if self._changed.wait_for(lambda: not self._lines, wait_s):
                return True
            self._stuck_at = self._written
            return False

    def _has_no_room(self, size: int) -> bool:
        share = 2 if self._is_full else 1
        lines, size = len(self._lines) * share, (self._bytes + size) * share
        self._is_full = bool(self._lines) and (lines >= self._lines_max or size > self._bytes_max)
        return self._is_full

    def _say_dropped(self) -> None:
        if self._dropped:
            dropped, self._dropped = self._dropped, 0
            self._append(self._encoded(self._notice(dropped)), dropped)

    def _append(self, data: bytes, lost: int) -> None:
        self._lines.append((data, lost))
        self._bytes += len(data)
        if not self._has_thread:
            self._has_thread = True
            try:
                threading.Thread(target=self._run, name="paceline-lines", daemon=True).start()
            except RuntimeError:  # the interpreter ends, or there are too many threads
                self._has_thread = False
                self._lines.pop()
                self._bytes -= len(data)
                if _is_writable(self.stream):
                    self._write(data)
        self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._lines, IDLE_S):
                    self._has_thread = False
                    return
                data, lost = self._lines[0]
            is_written = self._write(data)
            with self._changed:
                self._lines.popleft()
                self._bytes -= len(data)
                self._written += 1
                if not is_written:
                    self._dropped += lost
                elif not self._lines:
                    self._say_dropped()
                self._changed.notify_all()

    def _encoded(self, line: str) -> bytes:
        return f"{line}\n".encode(getattr(self.stream, "encoding", None) or "utf-8", "backslashreplace")

    def _write(self, data: bytes) -> bool:
        try:
            descriptor = _descriptor_of(self.stream)
            if descriptor is None:
                self.stream.write(data.decode(getattr(self.stream, "encoding", None) or "utf-8"))
                self.stream.flush()
                return True
            rest = memoryview(data)
            while rest:
                try:
                    rest = rest[os.write(descriptor, rest) :]
                except BlockingIOError:
                    _wait_writable(descriptor)
        except (OSError, ValueError):
            return False
        return True


def _descriptor_of(stream: TextIO) -> int | None:
    """Its descriptor, if that is stdout or stderr itself; another may be closed, and be another file's by now."""
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError, AttributeError):
        return None
    return descriptor if descriptor in _STANDARD else None


def _wait_writable(descriptor: int) -> None:
    poller = select.poll()
    poller.register(descriptor, select.POLLOUT)
    poller.poll()


def _is_writable(stream: TextIO) -> bool:
    """Whether a line can be written now without waiting for anybody."""
    descriptor = _descriptor_of(stream)
    return descriptor is None or bool(select.select([], [descriptor], [], 0)[1])


_writers: dict[str, LineWriter] = {}


def stderr_writer() -> LineWriter:
    """That of ``sys.stderr``."""
    return _writer_of("stderr")


def stdout_writer() -> LineWriter:
    """That of ``sys.stdout``. What others print there comes before or after whole lines of it."""
    return _writer_of("stdout")


def _writer_of(name: str) -> LineWriter:
    stream = getattr(sys, name)
    writer = _writers.get(name)
    if writer is None or writer.stream is not stream:
        writer = _writers[name] = LineWriter(stream)
    return writer


@atexit.register
def _flush_all() -> None:
    for writer in list(_writers.values()):
        writer.flush()


class LogHandler(logging.Handler):
    """Of a log that goes to a LineWriter, by default that of stderr."""

    def __init__(self, writer: LineWriter | None = None) -> None:
        super().__init__()
        self._writer = writer or stderr_writer()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001 - of whoever logs; it must not end what logs
            line = f"a line of the log can't be written: {error!r}, of {record.msg!r}"
        self._writer.put(line, notice=self._notice)

    def flush(self) -> None:
        self._writer.flush()

    def _notice(self, number: int) -> str:
        text = dropped_lines(number)
        return self.format(logging.LogRecord("paceline.log", logging.WARNING, __file__, 0, text, (), None))
