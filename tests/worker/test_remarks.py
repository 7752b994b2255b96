"""What tasks say of themselves reaches their node, costs nobody else, and harms nothing."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline import heartbeat, progress
from paceline.worker.own_remarks import OUTCOMES_PER_S, OwnRemarks
from paceline_protocol.codec import decode
from paceline_protocol.limits import OUTPUT_BYTES, PROGRESS_TEXT_CHARS, REMARKS_BYTES, REMARKS_TASKS
from paceline_protocol.messages.children import Remarks, WorkerReady
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.payload import unpack_error, unpack_value
from worker.played_node import DEADLINE_S, PlayedNode

TASKS = Path(__file__).parent / "remark_tasks.py"


@pytest.fixture(scope="module")
def speaker() -> Iterator[PlayedNode]:
    started = PlayedNode(str(TASKS))
    started.receive(WorkerReady)
    yield started
    started.close()


def heard(node: PlayedNode, name: str, *args: Any) -> tuple[list[Any], str]:
    """Run a task: what it has said of how far it is, and its output, as far as that came before its outcome."""
    node.remarks.clear()
    state, packed = node.run(f"remark_tasks.{name}", *args)
    assert state == TaskEnd.SUCCEEDED, unpack_error(packed)
    own = node.given_id
    said = [each for remarks in node.remarks for each in remarks.said if each[0] == own]
    assert all(attempt == 1 for _, attempt, *_ in said)
    positions = [unpack_value(packed) for _, _, packed, _, _ in said if packed]
    return positions, b"".join(output for *_, output, _ in said).decode()


def test_the_last_that_a_task_says_comes_before_its_outcome(speaker: PlayedNode) -> None:
    positions, output = heard(speaker, "steps", 3)
    assert positions[-1] == (3, 3, "step 3")
    assert output == ""


def test_what_it_says_meanwhile_comes_unasked(speaker: PlayedNode) -> None:
    positions, _ = heard(speaker, "steps", 4, 0.12)
    assert len(positions) > 1
    assert positions == sorted(positions)


def test_a_tight_loop_sends_little(speaker: PlayedNode) -> None:
    began = time.monotonic()
    positions, _ = heard(speaker, "steps", 20_000)
    took_s = time.monotonic() - began
    assert positions[-1] == (20_000, 20_000, "step 20000")
    assert len(positions) <= 3 + 10 * took_s


def test_what_it_prints_and_logs_is_its_own_and_its_log_needs_no_configuration(speaker: PlayedNode) -> None:
    _, output = heard(speaker, "speak", "hello")
    first, second, logged, warned = output.splitlines()
    assert (first, second, warned) == ("hello", "and an error", "a warning")
    assert logged.endswith(f"INFO    remark_tasks.speak {speaker.given_id.hex()}: a line of the log")


def test_as_json_each_line_of_a_task_is_an_object_with_its_id(capfd: pytest.CaptureFixture[str]) -> None:
    node = PlayedNode(str(TASKS), log_format="json")
    try:
        node.receive(WorkerReady)
        capfd.readouterr()
        _, output = heard(node, "speak_in_parts")
        own = {"task_id": node.given_id.hex(), "task_name": "remark_tasks.speak_in_parts", "attempt": 1}
        heard(node, "speak", "another")  # whose line ends the one before
        out, err = capfd.readouterr()
    finally:
        node.close()
    printed, logged = ([json.loads(line) for line in text.splitlines()] for text in (out, err))
    assert "\x1b" not in out
    of_first = [line for line in printed if line.get("task_id") == own["task_id"]]
    assert [line["message"] for line in of_first] == ["begun and ended", "ä\x1b[31m", "without an end"]
    assert of_first[0] == {
        "time": of_first[0]["time"],
        "level": "info",
        "logger": "paceline.task",
        "message": "begun and ended",
        **own,
        "stream": "stdout",
    }
    assert [(line["level"], line["message"]) for line in logged[:2]] == [
        ("warning", "a warning"),
        ("error", "it failed"),
    ]
    assert all(line == line | own for line in logged[:2])
    assert "KeyError: 'x'" in logged[1]["traceback"]
    assert {line["task_name"] for line in logged[2:]} == {"remark_tasks.speak"}
    assert output.startswith("begun and ended\n\nä\x1b[31m\n"), "what is kept by its id is as it was written"


def test_a_task_may_put_another_stream_in_the_place_of_its_own_and_the_first_back(
    capfd: pytest.CaptureFixture[str],
) -> None:
    node = PlayedNode(str(TASKS))
    try:
        node.receive(WorkerReady)
        capfd.readouterr()
        for _ in range(2):
            heard(node, "puts_another_stream_in_place")
        assert capfd.readouterr() == ("still heard\n" * 2, "still heard\n" * 2)
    finally:
        node.close()


def test_as_json_a_fork_waits_for_no_thread_that_it_does_not_have(capfd: pytest.CaptureFixture[str]) -> None:
    node = PlayedNode(str(TASKS), log_format="json")
    try:
        node.receive(WorkerReady)
        capfd.readouterr()
        assert node.result("remark_tasks.forks_while_a_thread_prints") == 0
        printed = [json.loads(line)["message"] for line in capfd.readouterr().out.splitlines()]
    finally:
        node.close()
    assert printed == ["of a fork", "begun and ended"]


def test_an_async_task_and_a_thread_of_a_task_say_so_too(speaker: PlayedNode) -> None:
    assert heard(speaker, "speak_async", "hello") == ([(0.5, 1, "")], "hello\n")
    assert heard(speaker, "from_a_thread") == ([(1, 2, "")], "from a thread\n")


def test_that_it_lives_is_said_without_a_number(speaker: PlayedNode) -> None:
    assert heard(speaker, "alive") == ([], "")
    assert len(speaker.remarks) == 1


def test_a_task_that_says_nothing_sends_nothing(speaker: PlayedNode) -> None:
    heard(speaker, "quiet")
    assert speaker.remarks == []


def test_what_subprocesses_and_forks_write_is_nobodys(speaker: PlayedNode) -> None:
    assert heard(speaker, "from_below") == ([], "")


def test_of_much_output_the_end_is_kept_and_the_rest_is_counted(speaker: PlayedNode) -> None:
    lines = 10_000
    _, output = heard(speaker, "shout", lines)
    assert output.splitlines()[-1].startswith(f"line {lines - 1:06}")
    own = [each for remarks in speaker.remarks for each in remarks.said]
    assert all(len(each[3]) <= OUTPUT_BYTES for each in own)
    assert sum(len(each[3]) + each[4] for each in own) == lines * len(f"line 000000 {'x' * 100}\n")


@pytest.mark.parametrize(
    ("which", "error", "message"),
    [
        ("negative", "ValueError", "done is -1"),
        ("nan", "ValueError", "done is nan"),
        ("infinite", "ValueError", "total is inf"),
        ("huge", "ValueError", "done is "),
        ("text", "TypeError", "done is 'half'"),
        ("negative total", "ValueError", "total is -1"),
        ("text of bytes", "TypeError", "text is b'x'"),
    ],
)
def test_wrong_arguments_are_errors_that_name_them(speaker: PlayedNode, which: str, error: str, message: str) -> None:
    failed = speaker.error("remark_tasks.wrong", which)
    assert failed.type_name == error
    assert message in failed.message


def test_more_than_all_is_allowed_a_long_text_is_cut_and_any_real_number_will_do(speaker: PlayedNode) -> None:
    positions, _ = heard(speaker, "right")
    assert positions[-1] == (0.5, 0, "")
    assert len(positions) == 1 or positions[0] == (3, 2, "x" * PROGRESS_TEXT_CHARS)


def test_what_is_said_for_a_task_that_has_ended_is_said_of_that_one(speaker: PlayedNode) -> None:
    heard(speaker, "keep")
    kept_id = speaker.given_id
    speaker.remarks.clear()
    assert speaker.run("remark_tasks.say_late")[0] == TaskEnd.SUCCEEDED
    assert [each[0] for remarks in speaker.remarks for each in remarks.said] == [kept_id]


def test_without_a_task_nothing_is_said_and_wrong_arguments_are_errors_all_the_same() -> None:
    progress(1, 2, "half")
    heartbeat()
    with pytest.raises(ValueError, match="done is -1"):
        progress(-1)


# --- what waits


def own_remarks() -> OwnRemarks:
    """Without a thread."""
    remarks = OwnRemarks(lambda _: None)
    remarks._has_thread = True
    return remarks


def taken(remarks: OwnRemarks) -> Remarks:
    message = decode(remarks.take())
    assert isinstance(message, Remarks)
    return message


def tid(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_what_waits_is_bounded_in_tasks_and_in_bytes() -> None:
    remarks = own_remarks()
    for number in range(REMARKS_TASKS + 5):
        remarks.output(tid(number), 1, "x" * 1_000)
    said = taken(remarks).said
    assert [each[0] for each in said] == [tid(number) for number in range(5, REMARKS_TASKS + 5)]
    assert sum(len(each[3]) for each in said) <= REMARKS_BYTES
    assert {len(each[3]) + each[4] for each in said} == {1_000}, "what is left out is counted"
    assert not remarks
    assert remarks.take() == b""


def test_another_attempt_begins_anew() -> None:
    remarks = own_remarks()
    remarks.output(tid(1), 1, "first")
    remarks.progress(tid(1), 1, (1, 2, ""))
    remarks.output(tid(1), 2, "second")
    assert taken(remarks).said == ((tid(1), 2, b"", b"second", 0),)


def test_outcomes_take_it_along_so_often_and_then_the_thread_does() -> None:
    remarks = own_remarks()
    frames = []
    for number in range(3 * OUTCOMES_PER_S):
        remarks.output(tid(number), 1, "x")
        frames.append(remarks.take_before_outcome())
    assert OUTCOMES_PER_S <= sum(map(bool, frames)) < 3 * OUTCOMES_PER_S
    assert remarks, "the rest waits for the thread"


def test_the_thread_sends_the_first_at_once_and_wakes_again() -> None:
    sent: list[bytes] = []
    remarks = OwnRemarks(sent.append)
    for number in range(3):
        remarks.progress(tid(number), 1, None)
        end = time.monotonic() + DEADLINE_S
        while len(sent) <= number:
            assert time.monotonic() < end, "nothing is sent"
            time.sleep(0.002)
        time.sleep(0.12 * (number == 1))  # it is idle by then


def test_while_the_node_takes_nothing_nothing_is_sent_and_the_end_is_kept() -> None:
    asked, free = threading.Event(), threading.Event()
    sent: list[bytes] = []

    def has_room() -> bool:
        asked.set()
        return free.is_set()

    remarks = OwnRemarks(sent.append, has_room)
    remarks.output(tid(1), 1, "first\n")
    assert asked.wait(DEADLINE_S)
    remarks.output(tid(1), 1, "last\n")
    assert sent == []
    free.set()
    end = time.monotonic() + DEADLINE_S
    while not sent and time.monotonic() < end:
        time.sleep(0.002)
    (frame,) = sent
    message = decode(frame)
    assert isinstance(message, Remarks)
    assert message.said == ((tid(1), 1, b"", b"first\nlast\n", 0),)
