"""What a frame carries packed: calls, outcomes, a configuration, ids."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modes import COMPILED
from paceline_protocol import codec
from paceline_protocol.errors import LimitExceeded, LocalProtocolError, MalformedFrame
from paceline_protocol.limits import MAX_ATTEMPT
from paceline_protocol.messages.consensus import Config
from paceline_protocol.messages.records import MAY_RETRY, EndRecord, TaskEnd
from paceline_protocol.moments import MOMENT_MAX_MS
from protocol.message_strategies import calls, ids, outcomes

DETERMINISTIC = settings(derandomize=True, deadline=None, max_examples=60)

CALL = (b"i" * 16, "add", 4, b"args", {"max_attempts": 3})
OUTCOME = (b"i" * 16, 1, 2, b"payload", 250)
NO_INT = (None, "1", b"1", 1.5, True, -1, 2**63, (1,))
NO_BYTES = (None, "text", 1, 1.5, True, ())
NO_ID = (*NO_BYTES, b"", b"i" * 15, b"i" * 17)
NO_NAME = (None, b"add", 1, 1.5, True, (), "", "n" * 256)
NO_OPTIONS = (1, "x", b"x", (), True, {"unknown": 1}, {"max_attempts": "1"}, {"max_attempts": -1}, {1: 1}, {b"x": 1})
NO_OPTIONS += ({"delivery": 2}, {"delivery": 1, "durability": 1}, {"confirm": 1, "durability": 1}, {"confirm": True})

PAST_ALL = b"i" * 16 + (MAX_ATTEMPT + 1).to_bytes(8, "big")

WRONG_CALL = [NO_ID, NO_NAME, (*NO_INT, 10), NO_BYTES, (*NO_OPTIONS, {"max_attempts": True})]
WRONG_OUTCOME = [NO_ID, NO_INT, (*NO_INT, 0, 8), NO_BYTES, NO_INT]


def with_one_wrong_field(record: tuple[Any, ...], wrong: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [
        (*record[:place], value, *record[place + 1 :]) for place, values in enumerate(wrong) for value in values
    ] + [record[:-1], (*record, 0), (), None, 1, "abcde", b"abcde"]  # type: ignore[list-item]


@given(st.lists(calls, max_size=5))
@DETERMINISTIC
def test_calls_come_back_as_they_went(batch: list[Any]) -> None:
    data = codec.encode_calls(batch)
    assert codec.decode_calls(data) == batch
    assert codec.encode_calls(codec.decode_calls(data)) == data


@given(st.lists(outcomes, max_size=5))
@DETERMINISTIC
def test_outcomes_come_back_as_they_went(batch: list[Any]) -> None:
    data = codec.encode_outcomes(batch)
    assert codec.decode_outcomes(data) == batch
    assert codec.encode_outcomes(codec.decode_outcomes(data)) == data


def test_the_state_of_an_outcome_may_be_the_enum() -> None:
    assert codec.decode_outcomes(codec.encode_outcomes([(b"i" * 16, 1, TaskEnd.LOST, b"", 0)])) == [
        (b"i" * 16, 1, 4, b"", 0)
    ]


@pytest.mark.parametrize("call", with_one_wrong_field(CALL, WRONG_CALL), ids=repr)
def test_a_call_with_one_wrong_field_is_neither_sent_nor_taken(call: Any) -> None:
    with pytest.raises(LocalProtocolError):
        codec.encode_calls([CALL, call])
    with pytest.raises(MalformedFrame):
        codec.decode_calls(msgpack.packb((CALL, call)))


@pytest.mark.parametrize("outcome", with_one_wrong_field(OUTCOME, WRONG_OUTCOME), ids=repr)
def test_an_outcome_with_one_wrong_field_is_not_taken(outcome: Any) -> None:
    with pytest.raises(MalformedFrame):
        codec.decode_outcomes(msgpack.packb((OUTCOME, outcome)))


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(LocalProtocolError, match="unknown option 'tries'"):
        codec.encode_calls([(b"i" * 16, "add", 4, b"", {"tries": 3})])


@pytest.mark.parametrize("count", [0, 1, 15, 16, 255, 256, codec.MAX_BATCH_ITEMS, 70_000])
def test_how_many_calls_a_batch_has_is_known_before_it_is_decoded(count: int) -> None:
    assert codec.count_calls(msgpack.packb([1] * count)) == count
    for other in (b"", b"\xdc", msgpack.packb({"a": 1}), msgpack.packb(b"x" * count)):
        assert codec.count_calls(other) == 0


def test_a_batch_past_the_limit_is_neither_sent_nor_taken() -> None:
    full = [CALL] * codec.MAX_BATCH_ITEMS
    assert len(codec.decode_calls(codec.encode_calls(full))) == codec.MAX_BATCH_ITEMS
    with pytest.raises(LimitExceeded):
        codec.encode_calls([*full, CALL])
    with pytest.raises(MalformedFrame):
        codec.decode_calls(msgpack.packb([*full, CALL]))
    with pytest.raises(LimitExceeded):
        codec.encode_outcomes([OUTCOME] * (codec.MAX_BATCH_ITEMS + 1))


@given(st.lists(ids, max_size=20))
@DETERMINISTIC
def test_ids_come_back_as_they_went(batch: list[bytes]) -> None:
    assert codec.split_ids(codec.join_ids(batch)) == batch


def test_ids_of_another_length_are_neither_joined_nor_split() -> None:
    with pytest.raises(LocalProtocolError):
        codec.join_ids([b"i" * 15, b"i" * 17])
    with pytest.raises(MalformedFrame):
        codec.split_ids(b"i" * 33)


def test_ids_are_bounded_by_the_frame_and_not_by_the_batch() -> None:
    many = [b"i" * 16] * (codec.MAX_BATCH_ITEMS + 1)
    assert codec.split_ids(codec.join_ids(many)) == many
    with pytest.raises(LimitExceeded):
        codec.split_ids(bytes(codec.MAX_FRAME_BYTES + 16))


@given(st.lists(st.tuples(ids, st.integers(0, MAX_ATTEMPT)), max_size=20))
@DETERMINISTIC
def test_held_tasks_come_back_as_they_went(held: list[tuple[bytes, int]]) -> None:
    assert codec.decode_held(codec.encode_held(held)) == held


def test_held_tasks_are_bounded_by_the_frame_and_not_by_the_batch() -> None:
    many = [(b"i" * 16, 1)] * (codec.MAX_BATCH_ITEMS + 1)
    assert codec.decode_held(codec.encode_held(many)) == many
    with pytest.raises(LimitExceeded):
        codec.encode_held([(b"i" * 16, 1)] * (codec.MAX_FRAME_BYTES // 24 + 1))
    with pytest.raises(LimitExceeded):
        codec.decode_held(bytes(codec.MAX_FRAME_BYTES + 24))


@pytest.mark.parametrize("data", [b"i" * 23, b"i" * 25, PAST_ALL], ids=["short", "long", "past all"])
def test_held_tasks_that_are_cut_or_of_an_attempt_that_there_is_not_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedFrame):
        codec.decode_held(data)


@pytest.mark.parametrize("held", [(b"i" * 15, 1), (b"i" * 16, -1), (b"i" * 16, MAX_ATTEMPT + 1)])
def test_held_tasks_that_would_be_malformed_are_not_sent(held: tuple[bytes, int]) -> None:
    with pytest.raises(LocalProtocolError):
        codec.encode_held([held])


@given(st.sets(st.text(max_size=10), max_size=6), st.integers(0, 6))
@DETERMINISTIC
def test_a_configuration_comes_back_as_it_went(nodes: set[str], voters: int) -> None:
    config = Config(tuple(sorted(list(nodes)[:voters])), tuple(sorted(list(nodes)[voters:])))
    assert codec.decode_config(codec.encode_config(config)) == config


@pytest.mark.parametrize(
    "groups",
    [(("b", "a"), ()), (("a", "a"), ()), ((), ("b", "a")), (("a",), ("a",)), ((1,), ()), ("a", ()), ((None,), ())],
    ids=repr,
)
def test_a_configuration_out_of_order_or_with_a_node_twice_is_neither_sent_nor_taken(groups: Any) -> None:
    with pytest.raises((LocalProtocolError, TypeError) if COMPILED else LocalProtocolError):
        codec.encode_config(Config(*groups))
    with pytest.raises(MalformedFrame):
        codec.decode_config(msgpack.packb(groups))


RECORD = EndRecord("add", 4, 2, 0, 1, "n1", 1_000, 2_000, 3_000, 4_000, ((1, 1_500, "ValueError: no"),))
NO_MOMENT = (*NO_INT, MOMENT_MAX_MS + 1)
NO_FAILURES = (None, 1, b"1", "1", (1,), ((1, 1),), ((1, -1, "no"),), ((1, 1, b"no"),), ((1, 1, "two\nlines"),))
WRONG_RECORD = [NO_NAME, (*NO_INT, 10), (*NO_INT, 2**40 + 1), NO_INT, NO_INT, (None, b"n1", 1)]
WRONG_RECORD += [NO_MOMENT] * 4 + [NO_FAILURES]
LOSS = (1, "on node n1: killed by SIGSEGV")
WITH_LOSSES = RECORD._replace(losses=(LOSS,))
NO_LOSSES = (None, (), (LOSS,) * 9, ((1,),), ((1, "no", 1),), ((-1, "no"),), ((1, b"no"),), ((1, "two\nlines"),))


def test_kept_outcomes_come_back_as_they_went_each_with_its_record() -> None:
    kept = [(OUTCOME, RECORD), (OUTCOME, RECORD._replace(node="", failures=())), (OUTCOME, WITH_LOSSES)]
    assert codec.decode_kept(codec.encode_kept(kept)) == kept
    assert isinstance(codec.decode_kept(codec.encode_kept(kept))[0][1], EndRecord)


def test_a_record_of_a_task_that_lost_nothing_is_packed_as_it_was_before_there_were_losses_in_it() -> None:
    packed = codec.encode_kept([(OUTCOME, RECORD)])
    assert packed == msgpack.packb([[list(OUTCOME), [*RECORD[:-2], [list(failure) for failure in RECORD.failures]]]])
    assert len(codec.encode_kept([(OUTCOME, WITH_LOSSES)])) == len(packed) + 3 + len(LOSS[1]) + 1


@pytest.mark.parametrize(
    "record",
    [
        *with_one_wrong_field(RECORD.packed, WRONG_RECORD),
        *[
            wrong
            for wrong in with_one_wrong_field(WITH_LOSSES.packed, [*WRONG_RECORD, NO_LOSSES])
            if wrong != RECORD.packed
        ],
    ],
)
def test_a_record_that_none_can_be_is_refused(record: Any) -> None:
    with pytest.raises((MalformedFrame, LimitExceeded)):
        codec.decode_kept(msgpack.packb([(OUTCOME, record)]))


@pytest.mark.parametrize("outcome", [*with_one_wrong_field(OUTCOME, WRONG_OUTCOME), (*OUTCOME[:2], MAY_RETRY, b"", 1)])
def test_an_outcome_that_ends_no_task_has_no_record(outcome: Any) -> None:
    with pytest.raises((MalformedFrame, LimitExceeded)):
        codec.decode_kept(msgpack.packb([(outcome, RECORD.packed)]))
