"""A log, and the last words of a process, when nobody takes them: nothing waits, all is bounded, and order is kept."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from integration.conftest import wait_until
from paceline.line_writer import LineWriter, LogHandler
from paceline.log_formats import JsonFormatter

LONG_S = 30.0
"""For what takes a moment; nothing is measured by it."""


def full_pipe() -> tuple[int, int]:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while os.write(writing, b"#" * 4096):
            pass
    except BlockingIOError:
        os.set_blocking(writing, True)
    return reading, writing


class Pipe:
    """A pipe that is full until it is read, and its writer."""

    def __init__(self, lines_max: int = 8, bytes_max: int = 10_000) -> None:
        self._read, write = full_pipe()
        self.stream = os.fdopen(write, "w", encoding="utf-8")
        self.writer = LineWriter(self.stream, lines_max=lines_max, bytes_max=bytes_max)

    def lines(self, until: str) -> list[str]:
        text = ""
        while until not in text:
            text += os.read(self._read, 65536).decode().replace("#", "")
        return text.splitlines()

    def close(self) -> None:
        assert self.writer.flush(LONG_S)
        self.stream.close()
        os.close(self._read)


@pytest.fixture
def full() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_lines_past_the_bound_are_dropped_and_their_number_is_said_when_it_goes_on(full: Pipe) -> None:
    for number in range(100):
        full.writer.put(f"line {number}")
    assert full.lines("missing") == [
        *(f"line {number}" for number in range(8)),
        "92 lines are missing here: they were dropped, as nobody took what was written before",
    ]
    assert full.writer.flush(LONG_S)
    full.writer.put("after")
    assert full.lines("after") == ["after"]


def test_the_bound_is_one_of_bytes_too_and_one_long_line_is_no_obstacle(full: Pipe) -> None:
    for name in "abc":
        full.writer.put(name * 9_000)
    assert [line[:3] for line in full.lines("missing")] == ["aaa", "2 l"]
    assert full.writer.flush(LONG_S)
    full.writer.put("d" * 50_000)
    assert full.lines("d\n") == ["d" * 50_000]


def test_what_a_process_says_last_is_never_dropped_and_comes_last(full: Pipe) -> None:
    for number in range(20):
        full.writer.put(f"line {number}")
    full.writer.put("paceline: error: the end", is_last=True)
    assert full.lines("the end")[-2:] == [
        "12 lines are missing here: they were dropped, as nobody took what was written before",
        "paceline: error: the end",
    ]


def test_a_flush_gives_up_once_and_then_only_waits_if_something_moves(full: Pipe) -> None:
    full.writer.put("line")
    assert not full.writer.flush(0.01)
    assert not full.writer.flush(LONG_S)  # at once
    full.lines("line")
    wait_until(lambda: full.writer.flush(LONG_S), "the thread has noted what it has written")


def test_a_write_that_fails_costs_its_line_alone_and_is_counted() -> None:
    class Disk(io.StringIO):
        is_full = True

        def write(self, text: str) -> int:
            if self.is_full:
                raise OSError(28, "No space left on device")
            return super().write(text)

    disk = Disk()
    writer = LineWriter(disk)
    writer.put("lost")
    writer.put("lost")
    assert writer.flush(LONG_S)
    disk.is_full = False
    writer.put("kept")
    assert writer.flush(LONG_S)
    assert disk.getvalue().splitlines() == [
        "2 lines are missing here: they were dropped, as nobody took what was written before",
        "kept",
    ]


def test_a_line_of_the_log_that_can_not_be_formatted_is_said_and_ends_nothing() -> None:
    stream = io.StringIO()
    handler = LogHandler(LineWriter(stream))
    handler.handle(logging.LogRecord("paceline.test", logging.ERROR, __file__, 1, "%d", ("no number",), None))
    handler.flush()
    assert "a line of the log can't be written: TypeError" in stream.getvalue()


def test_what_says_how_many_are_missing_has_the_form_of_the_log(full: Pipe) -> None:
    handler = LogHandler(full.writer)
    handler.setFormatter(JsonFormatter())
    for number in range(9):
        handler.handle(logging.LogRecord("paceline.test", logging.ERROR, __file__, 1, "line %d", (number,), None))
    last = json.loads(full.lines("missing")[-1])
    assert (last["level"], last["logger"]) == ("warning", "paceline.log")
    assert last["message"].startswith("1 line is missing here: it was dropped")


def test_a_defect_is_shown_with_its_traceback_and_ends_the_process_though_nobody_reads_that() -> None:
    code = "from paceline.cli.output import guard; guard(); raise RuntimeError('a defect')"
    reading, writing = full_pipe()
    for stderr in (subprocess.PIPE, writing):
        done = subprocess.run(
            [sys.executable, "-c", code],
            stderr=stderr,
            timeout=LONG_S,
            check=False,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 1
        assert stderr == writing or done.stderr.splitlines()[-1] == "RuntimeError: a defect"
    os.close(writing)
    os.close(reading)


STUCK = """
import logging, sys
from paceline.cli.app import run
from paceline.cli.logs import configure
configure("text", "info")
for number in range(10_000):
    logging.getLogger("paceline.node").warning("line %d", number)
print("went on", flush=True)
sys.exit(run(["status", "--cluster", "/nowhere"]))
"""


def test_a_process_whose_log_nobody_drains_goes_on_and_ends_with_its_code() -> None:
    reading, writing = full_pipe()
    done = subprocess.run(
        [sys.executable, "-c", STUCK], stdout=subprocess.PIPE, stderr=writing, timeout=LONG_S, check=False, text=True
    )
    assert (done.returncode, done.stdout) == (40, "went on\n")
    os.close(writing)
    os.close(reading)


def test_what_a_process_that_serves_says_on_a_stdout_that_nobody_drains_keeps_it_from_nothing() -> None:
    reading, writing = full_pipe()
    code = (
        "import sys; from paceline.cli.output import guard, say; guard(); say('ready'); sys.stderr.write('went on\\n')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, timeout=LONG_S, check=False, text=True
    )
    assert (done.returncode, done.stderr) == (0, "went on\n")
    os.close(writing)
    os.close(reading)


def test_what_a_process_has_logged_is_all_there_when_it_ends_and_why_it_ends_comes_last() -> None:
    patient = "from paceline.line_writer import LineWriter; LineWriter.flush.__defaults__ = (20.0,)\n"
    code = patient + STUCK.replace("10_000", "1_000")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=LONG_S, check=False, text=True)
    lines = done.stderr.splitlines()
    assert [line.rpartition(" ")[2] for line in lines[:-1]] == [str(number) for number in range(1_000)]
    assert lines[-1].startswith("paceline: error: can't read the cluster file /nowhere")
