"""A worker and a function that is called for several calls at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from paceline import NamedTask, task
from paceline.errors import BadBatchResult, ConfigError
from paceline.worker.batches import BatchSignature, results_of
from paceline_protocol.cancelled import STOPPED
from paceline_protocol.codec import decode_failed_attempt
from paceline_protocol.messages.children import CleaningUp, Done, Remarks, Run, WorkerReady
from paceline_protocol.messages.records import MAY_RETRY, Options, TaskEnd
from paceline_protocol.payload import unpack_error, unpack_value
from worker.played_node import DEADLINE_S, Nodes, PlayedNode

MODULE = Path(__file__).parent / "batch_tasks.py"
BATCH: Options = {"batch": 8}


@pytest.fixture(scope="module")
def node() -> Iterator[PlayedNode]:
    started = PlayedNode(str(MODULE))
    started.receive(WorkerReady)
    yield started
    started.close()


def send(node: PlayedNode, name: str, *calls: Any, options: Options | None = BATCH) -> list[bytes]:
    """One Run of a call for each of these values; a dict of them for keyword arguments."""
    made = []
    for given in calls:
        args, kwargs = ((), given) if isinstance(given, dict) else ((given,), {})
        made.append((*node.assignment(f"batch_tasks.{name}", *args, **kwargs)[:4], options))
    node.send(Run(tuple(made)))
    node._given += len(made)
    return [each[0] for each in made]


def answers(node: PlayedNode, ids: list[bytes], kind: type[Done | CleaningUp] = Done) -> list[tuple[int, bytes]]:
    """(state, payload) of each, in the order in which they were given."""
    found: dict[bytes, tuple[int, bytes]] = {}
    while len(found) < len(ids):
        found.update({each[0]: (each[2], each[3]) for each in node.receive(kind).outcomes})
    assert list(found) == ids
    return [found[each] for each in ids]


def run(node: PlayedNode, name: str, *calls: Any, options: Options | None = BATCH) -> list[Any]:
    """How each ended: its result, or the name and message of its error."""
    shown = []
    for state, packed in answers(node, send(node, name, *calls, options=options)):
        if state == TaskEnd.SUCCEEDED:
            shown.append(unpack_value(packed))
        elif state == MAY_RETRY:
            summary, delay_ms, _, _ = decode_failed_attempt(packed)
            shown.append((summary, delay_ms))
        else:
            error = unpack_error(packed)
            shown.append((error.type_name, error.message))
    return shown


def test_each_call_ends_by_its_own_element(node: PlayedNode) -> None:
    assert run(node, "ends", 1, "fails", 3) == [(1, "m"), ("KeyError", "'one'"), (3, "m")]
    again = run(node, "ends", "again", 2, "fails", options={**BATCH, "retries": 1})
    assert again == [("paceline.errors.Retry: later", 5_001), (2, "m"), ("KeyError: 'one'", 0)]
    ((_, what), other) = run(node, "ends", "can't be sent", 2)
    assert ("the result of batch_tasks.ends" in what, other) == (True, (2, "m"))


def test_arguments_become_lists_by_their_parameters_and_what_does_not_fit_fails_its_own_call(node: PlayedNode) -> None:
    assert run(node, "ends", 1, {"values": 2, "unit": "km"}) == [(1, ["m", "km"]), (2, ["m", "km"])]
    wrong, right = run(node, "ends", {"value": 1}, {"values": 2})
    assert (wrong[0], right) == ("TypeError", (2, "m"))
    assert [each[0] for each in run(node, "ends", {"value": 1}, {})] == ["TypeError"] * 2


@pytest.mark.parametrize(
    ("what", "error", "said"),
    [
        ("raises", "ValueError", "all of them"),
        ("too few", "BadBatchResult", "returned 1 results"),
        ("no list", "BadBatchResult", "a value of type str"),
        ("a dict", "BadBatchResult", "a value of type dict"),
    ],
)
def test_what_is_no_list_of_results_fails_each(node: PlayedNode, what: str, error: str, said: str) -> None:
    for name, message in run(node, "ends", what, "other"):
        assert (name, said in message) == (error, True)
    retried = run(node, "ends", what, "other", options={**BATCH, "retries": 1})
    assert [delay_ms for _, delay_ms in retried] == [0, 0]


def test_the_function_knows_each_of_its_calls(node: PlayedNode) -> None:
    ids = send(node, "tell_current", 1, 2, 3, options={**BATCH, "deadline": 10**13})
    told = [unpack_value(packed) for _, packed in answers(node, ids)]
    assert told == [[each.hex(), 1, "batch_tasks.tell_current", False, 10**13] for each in ids] or told == [
        (each.hex(), 1, "batch_tasks.tell_current", False, 10**13) for each in ids
    ]


def test_a_call_that_asks_for_no_batch_is_called_for_alone(node: PlayedNode) -> None:
    assert run(node, "ends", 1, options=None) == [(1, "m")]
    ids = send(node, "ends", 1, 2, options=None)
    assert [unpack_value(packed) for _, packed in answers(node, ids)] == [(1, "m"), (2, "m")]
    mixed = [node.assignment("batch_tasks.plain", 1), node.assignment("batch_tasks.ends", 2)]
    node.send(Run(tuple(mixed)))
    node._given += 2
    got: list[Any] = []
    while len(got) < 2:
        got += [unpack_value(each[3]) for each in node.receive(Done).outcomes]
    assert got == [1, (2, "m")]


def begin(node: PlayedNode, name: str, *calls: Any) -> tuple[list[bytes], int]:
    """Returns their ids, once they have begun, and the number of the first."""
    first = node._given + 1
    ids = send(node, name, *calls)
    assert node.child.begun_tasks is not None
    end = time.monotonic() + DEADLINE_S
    while node.child.begun_tasks.begun < node._given:
        assert time.monotonic() < end
        time.sleep(0.002)
    return ids, first


def test_one_that_is_asked_to_stop_may_stop_and_the_others_go_on(node: PlayedNode) -> None:
    ids, first = begin(node, "wait_until_asked", 20.0, 20.0, 20.0)
    node.stop(first + 1)
    (before, stopped, behind) = answers(node, ids)
    assert stopped == (TaskEnd.CANCELLED, STOPPED)
    assert [unpack_value(packed) for _, packed in (before, behind)] == [[False, True, False]] * 2
    ids, first = begin(node, "wait_until_asked", 0.0)
    assert [unpack_value(packed) for _, packed in answers(node, ids)] == [[False]]


def test_an_async_one_is_cancelled_once_all_are_to_stop(node: PlayedNode) -> None:
    ids, first = begin(node, "sleeps", 20.0, 20.0)
    node.stop(first + 1)
    node.stop(first)
    assert answers(node, ids) == [(TaskEnd.CANCELLED, STOPPED)] * 2
    ids, first = begin(node, "sleeps", 0.3, 0.3)
    node.stop(first + 1)  # the last of them, whose number is that of what has begun
    assert [state for state, _ in answers(node, ids)] == [TaskEnd.SUCCEEDED] * 2


def test_what_is_to_stop_before_they_begin_is_passed_over_and_the_others_run(nodes: Nodes) -> None:
    node = nodes.start_ready(str(MODULE))[0]
    node.stop(2)
    node.stop(3)
    ids = send(node, "ends", 1, 2, 3)
    ended = answers(node, ids)
    assert [state for state, _ in ended] == [TaskEnd.SUCCEEDED, TaskEnd.CANCELLED, TaskEnd.CANCELLED]
    assert [packed for _, packed in ended[1:]] == [b"", b""]


def test_what_it_leaves_in_its_loop_is_ended_behind_them(node: PlayedNode) -> None:
    ids = send(node, "leaves", 30.0, 30.0)
    assert [state for state, _ in answers(node, ids, CleaningUp)] == [TaskEnd.SUCCEEDED] * 2
    node.cleaned_up()
    assert run(node, "ends", 1) == [(1, "m")]


def test_a_soft_limit_is_one_for_all_of_them(node: PlayedNode) -> None:
    ended = run(node, "too_long", 20.0, 0.0, options={**BATCH, "soft_time_limit": 50})
    assert [name for name, _ in ended] == ["SoftTimeLimitExceeded"] * 2


def test_progress_is_said_of_all_of_them(node: PlayedNode) -> None:
    ids = send(node, "ends", "says how far", 2)
    said: dict[bytes, Any] = {}
    answered: list[bytes] = []
    while len(answered) < 2 or len(said) < 2:
        message = node.receive_any()
        if isinstance(message, Remarks):
            said.update({each[0]: unpack_value(each[2])[:2] for each in message.said})
        else:
            assert isinstance(message, Done)
            answered += [each[0] for each in message.outcomes]
    assert {task_id: tuple(position) for task_id, position in said.items()} == dict.fromkeys(ids, (1, 2))


def test_results_that_do_not_fit_into_one_frame_are_told_in_several(node: PlayedNode) -> None:
    sizes = [90_000] * 40
    assert [len(each) for each in run(node, "many", *sizes)] == sizes


def test_a_worker_that_dies_has_begun_all_of_them(nodes: Nodes) -> None:
    node = nodes.start_ready(str(MODULE))[0]
    send(node, "ends", 1, "dies", 3)
    node.wait_end()
    assert node.child.begun_tasks is not None
    assert node.child.begun_tasks.begun == 3


def takes(a: Any, b: Any = 5, /, *, c: Any = 6) -> None: ...
def variable(*values: Any) -> None: ...
def nothing() -> None: ...


def test_a_parameter_that_nobody_gives_keeps_its_default() -> None:
    signature = BatchSignature("m.takes", takes)
    bound = [signature.bind((1,), {}), signature.bind((2, 3), {})]
    assert signature.columns(bound) == (([1, 2], [5, 3]), {})
    assert signature.columns([signature.bind((1,), {"c": 2})]) == (([1],), {"c": [2]})


@pytest.mark.parametrize("function", [variable, nothing])
def test_a_function_that_can_take_no_lists_is_refused_where_it_is_written(function: Any) -> None:
    with pytest.raises(ConfigError, match="name them, without"):
        task(batch=2)(function)


def test_what_has_a_length_and_is_no_text_is_a_list_of_results() -> None:
    assert results_of("m.f", (1, 2), 2) == [1, 2]
    for wrong in ({1: 2}, b"ab", iter([1, 2]), None, [1]):
        with pytest.raises(BadBatchResult):
            results_of("m.f", wrong, 2)


def test_options_that_do_not_go_with_it_are_refused() -> None:
    for options in ({"cancel_raises": True}, {"cancel_grace": 1}, {"needs": {"gpu": 1}}, {"run_in": "thread"}):
        with pytest.raises(ConfigError, match="leave"):
            task(batch=2, **options)(takes)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="batch_window and no batch"):
        task(batch_window=1)(takes)
    with pytest.raises(ConfigError, match="one call at a time"):
        task(takes).options(batch=2)
    with pytest.raises(ConfigError, match="60 seconds at most"):
        NamedTask("m.f", batch=2, batch_window=61)
