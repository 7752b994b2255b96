"""What a worker answers for the tasks that it is given. Real processes; each wait has a deadline."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from paceline_protocol.messages.children import CleaningUp, Done, Run
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.messages.trace import Stage, Trace
from paceline_protocol.payload import MESSAGE_LIMIT_BYTES, NAME_LIMIT_BYTES, pack_value, unpack_error, unpack_value
from worker.played_node import PAYLOAD_LIMIT_BYTES, PlayedNode


def test_a_result_comes_back(node: PlayedNode) -> None:
    assert node.result("sample_tasks.add", 2, 3) == 5


def test_keyword_arguments_arrive_as_such(node: PlayedNode) -> None:
    assert node.result("sample_tasks.keywords", "one", second="three") == ["one", "three"]


def test_an_exception_has_the_traceback_of_the_task_alone(node: PlayedNode) -> None:
    error = node.error("sample_tasks.divide", 1, 0)
    assert (error.module, error.type_name, error.message) == ("builtins", "ZeroDivisionError", "division by zero")
    files = [line for line in error.traceback.splitlines() if line.lstrip().startswith("File ")]
    assert len(files) == 2
    assert "in divide" in files[0]
    assert "in _divide" in files[1]


def test_a_cause_is_shown(node: PlayedNode) -> None:
    error = node.error("sample_tasks.chained")
    assert error.type_name == "ValueError"
    assert "ZeroDivisionError: division by zero" in error.traceback
    assert "paceline" + os.sep + "worker" + os.sep not in error.traceback


def test_wrong_arguments_fail_with_the_message_alone(node: PlayedNode) -> None:
    error = node.error("sample_tasks.add", 1)
    assert error.type_name == "TypeError"
    assert "missing 1 required positional argument: 'b'" in error.message
    assert error.traceback == ""


def test_an_unknown_task_fails_by_name(node: PlayedNode) -> None:
    error = node.error("sample_tasks.nothing")
    assert error.type_name == "UnknownTask"
    assert "sample_tasks.nothing" in error.message


def test_arguments_that_can_not_be_unpacked_fail(node: PlayedNode) -> None:
    task_id, attempt, name, _args, options = node.assignment("sample_tasks.add")
    node.send(Run(((task_id, attempt, name, b"\xc1", options),)))
    (outcome,) = node.receive(Done).outcomes
    assert outcome[2] == TaskEnd.FAILED


def test_arguments_that_unpack_to_far_more_fail_by_name_and_that_task_alone(node: PlayedNode) -> None:
    many = 16 * 1024 * 1024 - 100
    lists = b"\x92\xc0\xdd" + many.to_bytes(4, "big") + b"\x90" * many
    modulus = sys.hash_info.modulus
    keys = b"".join(pack_value(number * modulus) + b"\x00" for number in range(20, 20_020))
    for args, name in (
        (lists, "UnpackedTooLarge"),
        (b"\x92\xc0\xdf" + (20_000).to_bytes(4, "big") + keys, "MalformedPayload"),
    ):
        task_id, attempt, task, _args, options = node.assignment("sample_tasks.add")
        node.send(Run(((task_id, attempt, task, args, options),)))
        (outcome,) = node.receive(Done).outcomes
        assert (outcome[2], unpack_error(outcome[3]).type_name) == (TaskEnd.FAILED, name)
    assert node.result("sample_tasks.add", 2, 3) == 5


def test_a_result_that_can_not_be_sent_fails_and_names_the_place(node: PlayedNode) -> None:
    error = node.error("sample_tasks.opaque")
    assert error.type_name == "UnserializableValue"
    assert "the result of sample_tasks.opaque" in error.message
    assert "inside" in error.message
    assert "Opaque" in error.message
    assert error.traceback == ""


def test_a_result_past_the_limit_fails_and_names_the_sizes(node: PlayedNode) -> None:
    error = node.error("sample_tasks.large", PAYLOAD_LIMIT_BYTES)
    assert error.type_name == "PayloadTooLarge"
    assert "the result of sample_tasks.large" in error.message
    assert str(PAYLOAD_LIMIT_BYTES) in error.message


@pytest.mark.parametrize(
    ("name", "args", "raised"),
    [
        ("leave", (3,), "SystemExit"),
        ("interrupt", (), "KeyboardInterrupt"),
        ("generator_exit", (), "GeneratorExit"),
        ("recurse", (), "RecursionError"),
        ("no_memory", (), "MemoryError"),
        ("unspeakable", (), "Unspeakable"),
        ("exit_later", (), "SystemExit"),
    ],
)
def test_whatever_a_task_raises_the_worker_goes_on(
    node: PlayedNode, name: str, args: tuple[int, ...], raised: str
) -> None:
    assert node.error(f"sample_tasks.{name}", *args).type_name == raised
    assert node.result("sample_tasks.add", 2, 3) == 5
    assert node.result("sample_tasks.add_later", 2, 3) == 5


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("leaving", "(its __str__ raised SystemExit)"),
        ("endless", "(its __str__ raised RecursionError)"),
        ("long", "x" * MESSAGE_LIMIT_BYTES),
        ("long name", ""),
        ("odd module", ""),
        ("hidden", ""),
        ("traceless", ""),
        ("classless", ""),
    ],
)
def test_an_exception_that_ends_or_floods_whoever_looks_at_it_fails_its_task_alone(
    node: PlayedNode, kind: str, message: str
) -> None:
    error = node.error("sample_tasks.odd", kind)
    assert error.message == message
    assert len(error.type_name) <= NAME_LIMIT_BYTES
    assert node.result("sample_tasks.add", 2, 3) == 5


def test_a_result_whose_class_can_not_be_looked_at_fails_its_task_alone(node: PlayedNode) -> None:
    assert "can't be sent" in node.error("sample_tasks.odd_result").message
    assert node.result("sample_tasks.add", 2, 3) == 5


def test_a_traceback_reads_no_source_from_what_is_no_file(node: PlayedNode) -> None:
    error = node.error("sample_tasks.from_device")
    assert error.message == "from nowhere"
    assert '"/dev/zero", line 1' in error.traceback


def test_a_task_may_replace_getpid(sample: PlayedNode) -> None:
    sample.result("sample_tasks.replace_getpid")
    assert sample.result("sample_tasks.add", 2, 3) == 5


def test_an_async_task_is_told_at_once_though_it_leaves_what_does_not_end(node: PlayedNode, tmp_path: Path) -> None:
    told = tmp_path / "told"
    assert node.result("sample_tasks.leave_stubborn", str(told), kind=CleaningUp) == "at once"
    told.touch()
    node.cleaned_up()
    assert node.result("sample_tasks.add_later", 2, 3) == 5  # in another loop


def test_an_async_task_runs_to_its_end(node: PlayedNode) -> None:
    assert node.result("sample_tasks.add_later", 2, 3) == 5


def test_an_async_traceback_has_no_frames_of_the_event_loop(node: PlayedNode) -> None:
    error = node.error("sample_tasks.divide_later", 1, 0)
    assert "in divide_later" in error.traceback
    assert "asyncio" not in error.traceback


def test_context_variables_do_not_leak_from_one_async_task_to_the_next(node: PlayedNode) -> None:
    assert node.result("sample_tasks.set_context") == "nothing"
    assert node.result("sample_tasks.set_context") == "nothing"


def test_what_an_async_task_leaves_on_the_loop_is_cancelled(node: PlayedNode) -> None:
    node.result("sample_tasks.leave_running", kind=CleaningUp)
    node.cleaned_up()
    assert node.result("sample_tasks.left_was_cancelled") is True


def test_printing_harms_nothing(node: PlayedNode) -> None:
    assert node.result("sample_tasks.chatter") == 4


def test_stdin_is_empty(node: PlayedNode) -> None:
    assert node.result("sample_tasks.read_stdin") == ""


def test_tasks_do_not_see_the_arguments_of_the_worker(node: PlayedNode) -> None:
    assert node.result("sample_tasks.arguments") == 1


def test_an_interrupt_does_not_end_a_worker(node: PlayedNode) -> None:
    assert node.result("sample_tasks.interrupt_self") == "still here"


def test_an_interrupt_ends_a_subprocess_of_a_task_as_usual(node: PlayedNode) -> None:
    assert node.result("sample_tasks.subprocess_dies_of_sigint") != 0


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_subprocesses_inherit_no_descriptor_of_the_worker(node: PlayedNode) -> None:
    # The listing itself holds /proc/self/fd open for as long as it runs.
    assert [held for held in node.result("sample_tasks.inherited_fds") if not held.startswith("/proc/")] == []


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing_works_in_a_task(node: PlayedNode, method: str) -> None:
    assert node.result("sample_tasks.in_processes", method) == [2, 4, 6]


@pytest.mark.parametrize(("how", "code"), [("return", 0), ("exit", 7), ("raise", 1)])
def test_a_fork_that_comes_out_of_its_task_answers_nothing(node: PlayedNode, how: str, code: int) -> None:
    assert node.result("sample_tasks.fork_and_return", how) == code
    assert node.result("sample_tasks.add", 2, 3) == 5


def test_a_malformed_frame_is_ignored(node: PlayedNode) -> None:
    for frame in (b"", b"\x00" * 10, b"P\x01\x52\xc1", b"P\x63\x52\x90"):
        node.send_frame(frame)
    node.send(Done(()))  # a message, but not one for workers
    assert node.result("sample_tasks.add", 2, 3) == 5


def test_a_batch_is_run_in_order_and_every_outcome_comes_once(node: PlayedNode) -> None:
    assignments = tuple(node.assignment("sample_tasks.add", number, 0) for number in range(50))
    node.send(Run(assignments))
    outcomes: list[tuple[bytes, int, int, bytes, int]] = []
    while len(outcomes) < len(assignments):
        outcomes += node.receive(Done).outcomes
    assert [outcome[0] for outcome in outcomes] == [assignment[0] for assignment in assignments]
    assert [unpack_value(outcome[3]) for outcome in outcomes] == list(range(50))


def test_of_a_sampled_task_the_times_come_before_its_outcome(node: PlayedNode) -> None:
    task_id, attempt, name, args, _ = node.assignment("sample_tasks.add", 2, 3)
    before_ns = time.monotonic_ns()
    node.send(Run(((task_id, attempt, name, args, {"trace": 1}),)))
    trace = node.receive(Trace)
    (outcome,) = node.receive(Done).outcomes
    assert trace.id == outcome[0] == task_id
    (started, started_ns), (ended, ended_ns) = trace.stamps
    assert (started, ended) == (Stage.WORKER_START, Stage.WORKER_END)
    assert before_ns <= started_ns <= ended_ns <= time.monotonic_ns()
    assert node.result("sample_tasks.add", 4, 5) == 9  # which receives a Done, and no other frame before it
