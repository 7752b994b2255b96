"""What a future among the arguments of a call becomes: a reference, the value, or an error; and once more, if the
cluster does not have the result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from paceline.client.future import REFUSED, Future
from paceline.client.inputs import FUTURES, InputsOfCalls, packed_call
from paceline.errors import ConfigError, InputUnknown, QueueFull, TaskCancelled, UpstreamFailed
from paceline.worker.inputs import args_with_results
from paceline_protocol.errors import MalformedPayload, UnserializableValue
from paceline_protocol.forms import Reference, read_reference
from paceline_protocol.inputs import envelope, split
from paceline_protocol.limits import MAX_INPUTS
from paceline_protocol.messages.records import Call, Options, TaskEnd
from paceline_protocol.options import by_name
from paceline_protocol.payload import WITH_CLASSES, pack_error, pack_value, unpack_args, unpack_value

OWNER: Any = object()
ID = b"a call.........."


@dataclass
class Box:
    content: Any


def tid(number: int) -> bytes:
    return number.to_bytes(16)


def future(number: int, value: Any = None, *, end: int = 0, payload: bytes | Exception = b"") -> Future[Any]:
    """Of a task that has not ended; or has, with this value or in this way."""
    made: Future[Any] = Future(OWNER, tid(number), "add")
    if value is not None:
        made.resolve(TaskEnd.SUCCEEDED, pack_value(value))
    elif end:
        made.resolve(end, payload)
    return made


def packed(*args: Any, options: Options | None = None, after: tuple[Any, ...] = (), **kwargs: Any) -> Any:
    return packed_call(OWNER, ("add", 4, options), args, kwargs, None, after)


def called_with(call: Any, **results: tuple[int, bytes]) -> tuple[list[Any], dict[str, Any]]:
    """What the worker makes of it; of each input its result, by ``t`` and its number."""
    options = call[3] or {}
    carried = split(options.get("inputs"))
    args = envelope(call[2], [(each, *results[f"t{int.from_bytes(each)}"]) for each in carried]) if carried else call[2]
    return args_with_results(args, options)


def test_a_call_without_futures_is_as_it_was() -> None:
    options: Options = {"retries": 1}
    call = packed(1, [2], options=options, key=3)
    assert type(call) is tuple
    assert call[3] is options
    assert unpack_args(call[2]) == ([1, [2]], {"key": 3})


def test_what_has_not_ended_is_a_reference_wherever_it_stands_and_each_result_one_object() -> None:
    one, two = future(1), future(2)
    call = packed([one, (two, {"deep": one})], Box(two), key=one)
    assert split(call[3]["inputs"]) == [tid(1), tid(2)]
    args, kwargs = called_with(call, t1=(1, pack_value([1])), t2=(1, pack_value("two")))
    assert (args, kwargs) == ([[[1], ("two", {"deep": [1]})], Box("two")], {"key": [1]})
    assert args[0][0] is kwargs["key"]


@pytest.mark.parametrize("value", ["x", 1 << 80, (1, {2}), [(3,)], {"a": (4,)}, 2.5])
def test_what_has_succeeded_is_its_value(value: Any) -> None:
    call = packed(future(1, value), key=[future(2, value)])
    assert call[3] is None
    assert unpack_args(call[2]) == ([value], {"key": [value]})


def test_what_did_not_succeed_is_an_error_of_the_call_or_is_what_it_is_called_with() -> None:
    failed = future(1, end=TaskEnd.FAILED, payload=pack_error(ValueError("no"), ""))
    refused = future(2, end=REFUSED, payload=QueueFull("full"))
    for each, kind in ((failed, ValueError), (refused, QueueFull), (future(3, end=TaskEnd.CANCELLED), TaskCancelled)):
        with pytest.raises(UpstreamFailed) as raised:
            packed(1, [each])
        assert isinstance(raised.value.__cause__, kind)
        assert raised.value.task_id == each.task_id.hex()
        with pytest.raises(UpstreamFailed):
            packed(1, after=(each,), options={"after": each.task_id})
    call = packed([failed, refused, future(4)], options={"allow_failed_inputs": 1})
    (values,), _ = called_with(call, t4=(TaskEnd.LOST, pack_error(OSError("gone"), "")))
    assert [type(value).__name__ for value in values] == ["ValueError", "TaskFailed", "TaskLost"]


def test_an_error_of_an_error_is_passed_on_with_the_first_cause() -> None:
    first = UpstreamFailed("task 1 failed", "01")
    first.__cause__ = ValueError("no")
    with pytest.raises(UpstreamFailed) as raised:
        packed(future(2, end=REFUSED, payload=first))
    assert (raised.value.task_id, raised.value.__cause__) == ("01", first.__cause__)


def test_after_names_what_has_not_ended_once_and_what_is_called_with_it_is_not_named_again() -> None:
    one, two, ended = future(1), future(2), future(3, 3)
    after = (one, two, ended, tid(4), tid(4).hex(), one)
    call = packed(two, options={"after": b"x" * 16}, after=after)
    assert split(call[3]["inputs"]) == [tid(2)]
    assert split(call[3]["after"]) == [tid(1), tid(4)]
    assert set(call[3][FUTURES]) == {one, two}
    assert packed(1, options={"after": b"x" * 16}, after=(ended,))[3] in (None, {})


def test_a_call_by_name_stays_one() -> None:
    for said in ({}, {"retries": 2}):
        call = packed(future(1), options=by_name(said))
        assert {**call[3], FUTURES: 0} == {**by_name({**said, "inputs": tid(1)}), FUTURES: 0}


def test_what_is_no_input_is_refused_where_it_is_written() -> None:
    foreign: Future[Any] = Future(object(), tid(1), "add")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"is of another client.*client\.task\(future\.task_id\)"):
        packed(foreign)
    with pytest.raises(ConfigError, match="is of another client"):
        packed(1, options={"after": foreign.task_id}, after=(foreign,))
    with pytest.raises(ConfigError, match=f"has {MAX_INPUTS + 1} futures among its arguments, and may have"):
        packed([future(number) for number in range(MAX_INPUTS + 1)])
    with pytest.raises(UnserializableValue, match="a future stands for a result among the arguments of a call"):
        pack_value([future(1)], None, WITH_CLASSES)
    with pytest.raises(UnserializableValue, match="argument 1"):
        packed([object()], key=future(1))


def kept(call: Any, *, accepted: bool = True) -> tuple[InputsOfCalls, Call]:
    """A call that was submitted."""
    inputs = InputsOfCalls()
    inputs.keep(ID, call, lambda task_id: accepted)
    return inputs, (ID, *call)


def test_a_call_whose_input_the_cluster_has_no_longer_is_packed_with_what_the_client_has() -> None:
    one, two, three = future(1), future(2), future(3)
    call = packed(one, [two], options={"retries": 1}, after=(three,))
    inputs, submitted = kept(call)
    one.resolve(TaskEnd.SUCCEEDED, pack_value((1, 2)))
    three.resolve(TaskEnd.SUCCEEDED, pack_value(None))
    again = inputs.packed_again(submitted, "over", lambda task_id: True)
    assert again[4] == {"retries": 1, "inputs": tid(2)}
    (first, (second,)), _ = unpack_args(again[3], put=read_reference)
    assert (first, type(second)) == ((1, 2), Reference)
    two.resolve(TaskEnd.SUCCEEDED, pack_value("two"))
    once_more = inputs.packed_again(again, "over", lambda task_id: True)
    assert (once_more[4], unpack_args(once_more[3])) == ({"retries": 1}, ([(1, 2), ["two"]], {}))


def test_one_whose_input_is_to_be_submitted_again_itself_is_too_and_is_behind_it() -> None:
    inputs, submitted = kept(packed(future(1)))
    assert inputs.packed_again(submitted, "over", lambda task_id: False) == submitted


def test_if_nothing_has_come_the_call_fails_by_name() -> None:
    inputs, submitted = kept(packed(future(1)))
    with pytest.raises(InputUnknown, match="it is over"):
        inputs.packed_again(submitted, "it is over", lambda task_id: True)
    one = future(1)
    inputs, submitted = kept(packed(one))
    one.resolve(TaskEnd.CANCELLED, b"")
    with pytest.raises(UpstreamFailed):
        inputs.packed_again(submitted, "over", lambda task_id: True)


def test_the_futures_of_calls_that_are_accepted_are_forgotten() -> None:
    inputs = InputsOfCalls()
    for number in range(100):
        inputs.keep(tid(number), packed(future(number)), lambda task_id: True)
    assert len(inputs._futures) == 1


def test_a_worker_that_is_not_given_a_result_says_so() -> None:
    call = packed(future(1))
    with pytest.raises(MalformedPayload, match=f"the result of task {tid(1).hex()} is missing"):
        args_with_results(envelope(call[2], []), call[3])


def test_a_reference_stands_in_the_arguments_of_a_call_with_inputs_and_nowhere_else() -> None:
    call = packed(future(1))
    for read in (unpack_args, unpack_value):
        with pytest.raises(MalformedPayload, match="extension 15 of 16 bytes is unknown or out of place"):
            read(call[2])
    shown, _ = unpack_args(call[2], put=read_reference)
    with pytest.raises(UnserializableValue, match="here give its result"):
        pack_value(shown, None, WITH_CLASSES)
