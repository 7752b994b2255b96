"""``paceline watch``: follows tasks by their ids until they have ended."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

import click

from paceline.cli.asking import asks_the_leader, connected, task_ids
from paceline.cli.exits import exit_code_of, message_of
from paceline.cli.options import show_value, to_json
from paceline.cli.output import show
from paceline.errors import (
    NotAllowed,
    ResultExpired,
    ResultUnknown,
    TaskCancelled,
    TaskExpired,
    TaskFailed,
    TaskLost,
    TaskTimedOut,
    UpstreamFailed,
)
from paceline_protocol.moments import shown
from paceline_protocol.texts import cut, one_line

if TYPE_CHECKING:
    from paceline.client import Client, Future, TaskOutput, TaskProgress

EVERY_S: Final = 0.5
"""Between two looks at all tasks."""
SILENT_S: Final = 10.0
"""From then on a line says for how long nothing was heard of a task that has said something before."""
COLUMNS: Final = 80
BAR_CHARS: Final = 20
LINE_CHARS: Final = 4_000
"""A line of a task's log that is longer is shown in parts, also if it never ends, as those of progress bars do."""
ID_CHARS: Final = 8

_ENDS: Final[dict[type[Exception], str]] = {
    TaskCancelled: "cancelled",
    TaskLost: "lost",
    TaskExpired: "expired",
    TaskTimedOut: "timed_out",
    UpstreamFailed: "upstream_failed",
    TaskFailed: "failed",
}
_BY_STATE: Final = {end: error for error, end in _ENDS.items()}


class Watched:
    """One task, as it was told last. ``exit_code``: None until it has ended."""

    def __init__(self, client: Client, task_id: str, timeout_s: float) -> None:
        self.task_id = task_id
        self.state = ""
        self.progress: TaskProgress | None = None
        self.silent_s = 0.0
        self.exit_code: int | None = None
        self.end: dict[str, Any] = {}
        self._client = client
        self._timeout_s = timeout_s
        self._future: Future[Any] = client.task(task_id)  # who asks before the end is told it, whoever takes the result
        self._heard_since = time.monotonic()
        self._log = LogLines()

    def look(self, *, logs: bool) -> list[str]:
        """Ask how it stands. Returns what is new in its log. Raises ResultUnknown if nobody knows it, and TimeoutError
        if the leader does not answer."""
        found = self._client.where_is(self.task_id, self._timeout_s)
        if found["state"] == "unknown":
            raise ResultUnknown(f"{self.task_id}: {found['why']}")
        has_ended = not found["is_open"] or (self._future.done() and not self._is_refused())
        before, self.progress = self.progress, self._client.progress(self.task_id, self._timeout_s)
        if self.progress is None or before is None or self.progress.heard_at != before.heard_at:
            self._heard_since = time.monotonic()
        self.silent_s = time.monotonic() - self._heard_since
        self.state = found["state"]
        lines: list[str] = []
        if logs:
            lines += self._log.new(self._client.output(self.task_id, self._timeout_s))
        if has_ended:
            lines += self._log.rest()
            self._tell_end()
        return lines

    def _is_refused(self) -> bool:
        """Whether this key may not be told the end, which is said at once."""
        return isinstance(self._future.exception(0), NotAllowed)

    def _tell_end(self) -> None:
        error = self._future.exception(self._timeout_s)
        if error is None:
            value = self._future.described(0)
            self.state, self.exit_code, self.end = "succeeded", 0, {"result": value}
        elif isinstance(error, NotAllowed):  # an observer is told how it ended, and no more
            failed = _BY_STATE.get(self.state)
            self.exit_code = 0 if self.state == "succeeded" else (failed or NotAllowed).exit_code  # type: ignore[attr-defined]
        else:
            cause = error.__cause__ if isinstance(error.__cause__, TaskFailed) else error
            if not isinstance(cause, ResultUnknown | ResultExpired) or self.state not in (*_BY_STATE, "succeeded"):
                self.state = _ENDS.get(type(cause), self.state)
            self.exit_code, self.end = exit_code_of(cause) or 1, {"error": message_of(cause)}

    def is_unknown(self, error: ResultUnknown) -> None:
        """Nobody knows it."""
        self.state, self.exit_code, self.end = "unknown", error.exit_code, {"error": str(error)}


class LogLines:
    """What is new of the output of one task, line by line."""

    def __init__(self) -> None:
        self._attempt: int | None = None
        self._seen_bytes = 0  # of that attempt's output
        self._begun = ""  # a line that is not whole

    def new(self, output: TaskOutput) -> Iterator[str]:
        """The lines behind those that were there before. None while its node does not answer, or is gone."""
        if output.attempt is None:
            return
        if output.attempt != self._attempt:
            yield from self.rest()
            if self._attempt is not None:
                yield f"--- attempt {output.attempt}, on node {output.node} ---"
            self._attempt, self._seen_bytes = output.attempt, 0
        missing = output.skipped - self._seen_bytes
        text = output.text.encode()
        if missing > 0:
            yield from self.rest()
            yield f"--- {missing} bytes before this are not kept ---"
        elif missing < 0:
            text = text[-missing:]
        self._seen_bytes = max(self._seen_bytes, output.skipped + output.size)
        *whole, self._begun = (self._begun + text.decode("utf-8", "replace")).split("\n")
        yield from whole
        if len(self._begun) > LINE_CHARS:
            yield from self.rest()

    def rest(self) -> Iterator[str]:
        """What it has begun of a line."""
        begun, self._begun = self._begun, ""
        if begun:
            yield begun


class Printer:
    """For people. On a terminal the lines of tasks that have not ended stand below all others, and are renewed."""

    def __init__(self, *, is_terminal: bool) -> None:
        self._is_terminal = is_terminal
        self._standing = 0
        self._last: dict[str, str] = {}

    def log(self, task: Watched, line: str) -> None:
        self._erase()
        show(line)

    def tell(self, task: Watched) -> None:
        """How it stands, if that is not shown already; or how it ended."""
        line = one_line(line_of(task))  # its text is of the task, and none of its lines may look like another's
        if task.exit_code is not None:
            self._erase()
            self._last.pop(task.task_id, None)
            if "result" in task.end:
                line += f": {show_value(task.end['result'])}"
            elif task.end:
                line += f": {task.end['error']}"
            show(*line.splitlines())
        elif self._last.get(task.task_id) != line:
            self._last[task.task_id] = line
            if not self._is_terminal:
                show(cut(line, COLUMNS))

    def rest(self) -> None:
        """All is told for now."""
        if self._is_terminal:
            self._erase()
            size = shutil.get_terminal_size()
            columns, rows = min(COLUMNS, size.columns - 1), max(1, size.lines - 1)  # what scrolls away is not erased
            standing = list(self._last.values())
            if len(standing) > rows:
                standing[rows - 1 :] = [f"... and {len(standing) - rows + 1} more"]
            for line in standing:
                click.echo(cut(line, columns))
            self._standing = len(standing)
        sys.stdout.flush()

    def _erase(self) -> None:
        if self._standing:
            click.echo(f"\x1b[{self._standing}A\x1b[J", nl=False, color=True)
            self._standing = 0


class JsonPrinter:
    """A line of JSON for each thing that is new."""

    def __init__(self) -> None:
        self._last: dict[str, Any] = {}

    def log(self, task: Watched, line: str) -> None:
        click.echo(to_json({"task_id": task.task_id, "log": line}))

    def tell(self, task: Watched) -> None:
        told: dict[str, Any] = {"task_id": task.task_id, "state": task.state}
        progress = task.progress
        if progress is not None:
            told |= {name: getattr(progress, name) for name in ("done", "total", "text", "attempt", "node")}
            told["heard_at"] = shown(progress.heard_at)
        if task.exit_code is not None:
            told |= {**task.end, "exit_code": task.exit_code}
        if self._last.get(task.task_id) != told:
            self._last[task.task_id] = told
            click.echo(to_json(told))

    def rest(self) -> None:
        sys.stdout.flush()


def line_of(task: Watched) -> str:
    """``5f0c5d0e dispatched [#####...............]  25 % 250/1000 the text``."""
    words = [task.task_id[:ID_CHARS], task.state]
    progress = task.progress
    if progress is not None:
        if progress.fraction is not None:
            full = int(progress.fraction * BAR_CHARS)
            words.append(f"[{'#' * full}{'.' * (BAR_CHARS - full)}] {progress.fraction * 100:3.0f} %")
        if progress.done is not None:
            words.append("/".join(_number(each) for each in (progress.done, progress.total) if each is not None))
        words.append(progress.text)
        if progress.attempt > 1:
            words.append(f"(attempt {progress.attempt})")
        if task.exit_code is None and task.silent_s >= SILENT_S:
            words.append(f"(silent for {task.silent_s:.0f} s)")
    return " ".join(filter(None, words))


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.6g}"


@click.command()
@click.argument("ids", nargs=-1, required=True, metavar="ID...", callback=task_ids)
@click.option("--logs", is_flag=True, help="Show what the tasks print and log, too.")
@asks_the_leader(10.0)
def watch(ids: tuple[str, ...], logs: bool, timeout_s: float, as_json: bool, **where: Any) -> int:
    """Follow tasks until they have ended: how far they are, and how they end.

    ID is what `paceline submit` printed, whoever submitted it. The exit code is 0 if all have succeeded, and else that
    of the error of the first that has not. To stop watching stops no task.

    \b
    paceline watch 5f0c5d0e3b7f4a31a6f2b7f3a90c1d2e --logs
    """
    printer: Printer | JsonPrinter = JsonPrinter() if as_json else Printer(is_terminal=sys.stdout.isatty())
    with connected(**where) as client:
        tasks = [Watched(client, task_id, timeout_s) for task_id in ids]
        follow(tasks, printer, logs=logs, pause=lambda: time.sleep(EVERY_S))
    return next((task.exit_code for task in tasks if task.exit_code), 0)


def follow(tasks: list[Watched], printer: Printer | JsonPrinter, *, logs: bool, pause: Callable[[], None]) -> None:
    """Look at the tasks until all have ended. Raises ResultUnknown if there is one, and nobody knows it."""
    while True:
        for task in tasks:
            if task.exit_code is None:
                try:
                    for line in task.look(logs=logs):
                        printer.log(task, line)
                except ResultUnknown as error:
                    if len(tasks) == 1:
                        raise
                    task.is_unknown(error)
                printer.tell(task)
        printer.rest()
        if all(task.exit_code is not None for task in tasks):
            return
        pause()
