"""Where a command's words go: stdout and stderr that may be closed, full, or of a pipe that nobody reads.

A result that can't be written is an error of the command, whatever wrote it: :func:`guard` puts a writer under
``sys.stdout`` that raises :class:`OutputFailed`, and nothing else does. After that it swallows the rest, so that the
interpreter has nothing to complain of at its exit. What can't be told on stderr can't be told at all, and changes no
exit code. A descriptor that is closed at the start is opened on /dev/null, or the first socket would get its number,
and with it whatever is printed.
"""

from __future__ import annotations

import io
import os
import select
import sys
import traceback
from types import TracebackType
from typing import Final, TextIO

import click

from paceline.line_writer import stderr_writer, stdout_writer
from paceline_protocol.texts import lines, one_line

STDOUT: Final = 1


class OutputFailed(OSError):
    """stdout does not take what a command prints. ``is_unread``: nobody reads that pipe, nor has to be told."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.errno, os.strerror(error.errno or 0))
        self.is_unread = isinstance(error, BrokenPipeError)

    def __str__(self) -> str:
        return f"can't write to stdout: {self.strerror}; what is missing was not printed, and what was done is done"


class _Stdout(io.FileIO):
    """The file under stdout."""

    has_failed = False

    def write(self, data: object, /) -> int:
        if self.has_failed:
            return memoryview(data).nbytes  # type: ignore[arg-type]
        try:
            while (written := super().write(data)) is None:  # type: ignore[arg-type]
                select.select([], [self], [])  # it does not block, as other programs may have set it, and is full
            return written
        except OSError as error:
            self.has_failed = True
            raise OutputFailed(error) from error


def guard() -> None:
    """Called once, before anything is printed or opened."""
    sys.excepthook = _show_defect
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)  # the lowest number that is free; to write there fails, as it should
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115 - as long as the process lives
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdout is None or (isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.fileno() == STDOUT):
        sys.stdout = _guarded(sys.stdout)


def _guarded(given: TextIO | None) -> TextIO:
    encoding = given.encoding if given is not None else "utf-8"
    is_terminal = given is not None and given.isatty()
    buffered = io.BufferedWriter(_Stdout(STDOUT, "w", closefd=False))
    # What a terminal or a file of another encoding has no form for is shown as Python writes it.
    return io.TextIOWrapper(buffered, encoding=encoding, errors="backslashreplace", line_buffering=is_terminal)


def flush() -> None:
    """What is printed and still waits is written now. Raises OutputFailed."""
    if sys.stdout is not None:
        sys.stdout.flush()


def complain(text: str) -> None:
    """A line on stderr, behind what the log has for it, if it takes one within ``line_writer.FLUSH_S``."""
    writer = stderr_writer()
    writer.put(lines(text), is_last=True)
    writer.flush()


def _show_defect(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    complain("".join(traceback.format_exception(kind, error, trace)).rstrip())


def say(*texts: str) -> None:
    """Lines on stdout of a process that serves: it waits for nobody, and nobody may read it."""
    stdout_writer().put("\n".join(map(one_line, texts)))


def show(*texts: str) -> None:
    """Lines of a command's result, for a person. Each stays one, whatever others have put into what it quotes."""
    click.echo("\n".join(map(one_line, texts)))
