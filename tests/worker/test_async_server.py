"""A worker that runs many tasks at once: a real process, and this end of its link."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline_protocol import payload
from paceline_protocol.cancelled import STOPPED
from paceline_protocol.messages.children import Done, LoopBlocked, Run, ServeAsync, Stop, StopAttempts, WorkerReady
from paceline_protocol.messages.records import Assignment, Options, TaskEnd
from worker.played_node import DEADLINE_S, PlayedNode

TASKS = Path(__file__).parent / "async_tasks.py"


class AsyncNode(PlayedNode):
    """A node whose worker runs many at once."""

    def __init__(self, log_format: str = "text") -> None:
        super().__init__(str(TASKS), log_format=log_format)
        self.ready = self.receive(WorkerReady)
        self.send(ServeAsync(100))

    def give(self, name: str, *args: Any, options: Options | None = None) -> Assignment:
        assignment = (*self.assignment(f"async_tasks.{name}", *args)[:4], options)
        self.send(Run((assignment,)))
        return assignment

    def ends(self, *given: Assignment) -> list[tuple[int, bytes]]:
        """How these ended, in any order."""
        found: dict[bytes, tuple[int, bytes]] = {}
        while len(found) < len(given):
            for task_id, _attempt, state, packed, _duration_us in self.receive(Done).outcomes:
                found[task_id] = state, packed
        return [found[each[0]] for each in given]

    def results(self, *given: Assignment) -> list[Any]:
        ends = self.ends(*given)
        assert {end for end, _ in ends} == {TaskEnd.SUCCEEDED}, [payload.unpack_error(packed) for _, packed in ends]
        return [payload.unpack_value(packed) for _, packed in ends]


@pytest.fixture(scope="module")
def node() -> Iterator[AsyncNode]:
    started = AsyncNode()
    yield started
    started.close()


@pytest.fixture
def own() -> Iterator[AsyncNode]:
    started = AsyncNode()
    yield started
    started.close()


def wait_for(path: Path) -> None:
    end = time.monotonic() + DEADLINE_S
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_a_worker_says_which_of_its_tasks_can_run_many_at_once(node: AsyncNode) -> None:
    assert set(node.ready.names) == set(node.ready.async_names)
    assert "async_tasks.in_thread" in node.ready.async_names


def test_each_begins_whatever_else_runs_and_all_are_counted_as_begun(own: AsyncNode) -> None:
    names = [f"task {number:02}" for number in range(50)]
    assert own.results(*[own.give("meet", name, 50) for name in names]) == [names] * 50
    assert own.child.begun_tasks is not None
    assert own.child.begun_tasks.begun == 50


def test_each_finds_itself_in_its_coroutines_and_in_threads(node: AsyncNode) -> None:
    given = [node.give(name, 20) for name in ("own_id", "in_thread") * 10]
    assert node.results(*given) == [[each[0].hex()] for each in given]


def test_a_request_to_stop_reaches_one_alone(node: AsyncNode, tmp_path: Path) -> None:
    given = [node.give("wait_for_ever", str(tmp_path / str(number))) for number in range(3)]
    given.append(node.give("until_cancelled", str(tmp_path / "3")))
    for number in range(4):
        wait_for(tmp_path / str(number))
    for each in (given[1], given[3], given[0], given[2]):
        node.send(StopAttempts((each[0],)))
        assert node.ends(each) == [(TaskEnd.CANCELLED, STOPPED)]


def test_one_that_is_asked_to_stop_before_it_begins_does_not(node: AsyncNode, tmp_path: Path) -> None:
    given = node.assignment("async_tasks.wait_for_ever", str(tmp_path / "begun"))
    node.send(Run((given,)))
    node.send(StopAttempts((given[0],)))
    assert node.ends(given) == [(TaskEnd.CANCELLED, STOPPED)]


def test_a_soft_limit_strikes_one_alone(node: AsyncNode) -> None:
    struck = node.give("limited", options={"soft_time_limit": 20})
    others = [node.give("own_id", 50) for _ in range(5)]
    assert len(node.results(*others)) == 5
    ((end, packed),) = node.ends(struck)
    assert (end, payload.unpack_error(packed).type_name) == (TaskEnd.FAILED, "SoftTimeLimitExceeded")


def test_what_a_task_has_left_is_cancelled_and_its_outcome_does_not_wait(node: AsyncNode, tmp_path: Path) -> None:
    assert node.results(node.give("leave", str(tmp_path / "ended"))) == ["left"]
    wait_for(tmp_path / "ended")


@pytest.mark.parametrize("name", ["stop_the_loop", "leave_exit"])
def test_a_task_that_ends_the_loop_or_leaves_what_does_ends_no_other(node: AsyncNode, name: str) -> None:
    beside = node.give("own_id", 50)
    ends = node.give(name)
    assert node.results(ends, beside) == ["went on", [beside[0].hex()]]


def test_one_that_cancels_all_there_are_keeps_none_from_beginning(node: AsyncNode) -> None:
    given = [node.assignment(f"async_tasks.{name}", *args) for name, args in (("cancel_all", ()), ("own_id", (3,)))]
    node.send(Run(tuple(given)))
    assert node.results(*given) == ["went on", [given[1][0].hex()]]


@pytest.mark.parametrize("way", ["to_thread", "run_in_executor"])
def test_a_thread_that_a_task_starts_in_the_loop_finds_it(node: AsyncNode, way: str) -> None:
    given = node.give("by_hand", way)
    assert node.results(given) == [given[0].hex()]


def test_a_process_that_a_task_has_forked_does_not_go_on_in_the_loop(node: AsyncNode, tmp_path: Path) -> None:
    beside = node.give("own_id", 50)
    assert node.results(node.give("fork", str(tmp_path / "went on")), beside) == ["1", [beside[0].hex()]]
    assert not (tmp_path / "went on").exists()


def test_its_arguments_are_its_own(node: AsyncNode) -> None:
    assert node.results(node.give("holders", [1, 2, 3])) == [0]


def test_nobody_is_blamed_for_a_thread_of_a_task_beside_it(own: AsyncNode, tmp_path: Path) -> None:
    own.give("end_by_thread", str(tmp_path / "told"))
    own.give("tell_and_block", str(tmp_path / "told"))
    assert own.wait_end() == "exit code 9"
    assert own.pool.blamed(own.child.id) == 0


def test_whatever_it_raises_is_its_own_outcome(node: AsyncNode) -> None:
    ends = node.ends(node.give("exits"), node.give("stops_iteration"), node.give("nothing_like_it"))
    assert [end for end, _ in ends] == [TaskEnd.FAILED] * 3
    assert [payload.unpack_error(packed).type_name for _, packed in ends] == [
        "SystemExit",
        "StopIteration",
        "UnknownTask",
    ]


def test_who_blocks_the_loop_is_named_with_how_long(capfd: pytest.CaptureFixture[str]) -> None:
    own = AsyncNode()  # it writes where this test reads
    given = own.give("block", 0.5)
    blocked: list[LoopBlocked] = []
    while not blocked:  # its outcome may come before
        message = own.receive_any()
        blocked += [message] if isinstance(message, LoopBlocked) else []
        assert isinstance(message, LoopBlocked | Done)
    assert blocked[0].name == given[2]
    assert blocked[0].blocked_ms >= 200
    said, end = "", time.monotonic() + DEADLINE_S
    while f" WARNING paceline.worker: task {given[2]} has blocked the event loop of its worker" not in said:
        assert time.monotonic() < end
        time.sleep(0.01)
        said += capfd.readouterr().err
    own.close()


def test_what_can_not_be_raised_in_a_thread_is_said_to_do_nothing_once_for_each_name(
    capfd: pytest.CaptureFixture[str],
) -> None:
    own = AsyncNode(log_format="json")
    limited = own.give("in_thread", 1, options={"soft_time_limit": 1, "time_limit": 60_000})
    again = own.give("in_thread", 2, options={"cancel_raises": 1})
    own.ends(limited, again, own.give("in_thread", 3, options={"time_limit": 60_000}))
    own.close()  # it has written all that it had to say
    (said,) = [line for line in capfd.readouterr().err.splitlines() if "runs in a thread" in line]
    told = json.loads(said)
    assert (told["level"], told["logger"], told["task_name"]) == ("warning", "paceline.worker", limited[2])
    assert f"task {limited[2]} runs in a thread" in told["message"]
    assert "so that soft_time_limit does nothing" in told["message"]


@pytest.mark.parametrize(("name", "is_known"), [("end_worker", True), ("end_later", True), ("end_in_thread", False)])
def test_if_the_code_of_a_task_ends_the_worker_its_node_can_see_of_which_it_was(
    own: AsyncNode, tmp_path: Path, name: str, *, is_known: bool
) -> None:
    own.results(own.give("own_id", 3))
    own.give("wait_for_ever", str(tmp_path / "begun"))
    wait_for(tmp_path / "begun")
    own.give(name)
    assert own.wait_end() == "exit code 9"
    assert own.pool.blamed(own.child.id) == (3 if is_known else 0)


def test_it_ends_when_it_is_told_to_and_with_its_node(own: AsyncNode) -> None:
    own.results(own.give("own_id", 1))
    own.send(Stop())
    assert own.wait_end() == "exit code 0"
