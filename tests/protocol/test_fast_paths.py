"""The short ways through the codec give what the long ones give."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline_protocol import codec, kinds, packing
from paceline_protocol.errors import LimitExceeded, LocalProtocolError, MalformedFrame
from paceline_protocol.messages import Message
from paceline_protocol.messages.children import Done, Run
from paceline_protocol.messages.client import Ping, Submit, Update
from protocol.message_strategies import CLASSES, ids, integers, names, of_class, task_ends

DETERMINISTIC = settings(derandomize=True, deadline=None, max_examples=25)
MANY = settings(derandomize=True, deadline=None, max_examples=300)

ID = b"i" * 16
USUAL: list[Message] = [
    Submit(1, 0, b"calls", False),
    Update(1, (1,), (), ((ID, 1, b"value"),)),
    Update(2, (), (), ()),
    Run(((ID, 1, "tasks.add", b"args", None),)),
    Done(((ID, 1, 1, b"value", 3),)),
]

# Right and wrong values for one place, so that records are nearly always almost right.
wrong = st.sampled_from([None, True, -1, 2**63, 1.0, "", "x" * 256, b"", b"i" * 15, (), (ID,), {}])
a_bool = st.booleans()
some_bytes = st.binary(max_size=4)


def almost(*parts: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    """Tuples of these parts, some with one that is wrong, missing or too many."""
    right = st.tuples(*parts)
    spoiled = st.tuples(right, st.integers(0, len(parts) - 1), wrong).map(
        lambda drawn: (*drawn[0][: drawn[1]], drawn[2], *drawn[0][drawn[1] + 1 :])
    )
    return st.one_of(right, right, spoiled, right.map(lambda items: items[:-1]), right.map(lambda items: (*items, 0)))


def few(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=2).map(tuple)


FIELDS: dict[type, st.SearchStrategy[tuple[Any, ...]]] = {
    Submit: almost(integers, integers, some_bytes, a_bool),
    Update: almost(
        integers,
        few(integers | wrong),
        st.just(()) | few(almost(ids, st.integers(0, 7), st.text(max_size=3))),
        few(almost(ids, task_ends, some_bytes)),
    ),
    Run: almost(few(almost(ids, integers, names, some_bytes, st.none() | st.just({"max_attempts": 1})))),
    Done: almost(few(almost(ids, integers, task_ends, some_bytes, integers))),
}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@given(data=st.data())
@DETERMINISTIC
def test_the_fields_alone_travel_as_the_message_does(cls: type, data: st.DataObject) -> None:
    message = data.draw(of_class(cls))
    values = tuple(message)
    frame = codec.encode(message)
    assert codec.encode_fields(cls, values) == frame
    assert codec.decode_fields(frame) == (cls, values)
    assert codec.decode_fields(memoryview(frame)) == (cls, values)


def test_a_list_of_outcomes_gives_the_frame_of_a_tuple() -> None:
    outcomes = [(ID, 1, 1, b"value", 3), (ID, 2, 2, b"error", 4)]
    assert codec.encode_fields(Done, (outcomes,)) == codec.encode(Done(tuple(outcomes)))


def test_fields_of_a_seldom_sent_kind_are_read_back_before_they_leave() -> None:
    with pytest.raises(LocalProtocolError, match=r"Ping\.ack"):
        codec.encode_fields(Ping, (-1,))


@pytest.mark.parametrize("message", USUAL, ids=lambda message: type(message).__name__)
def test_the_usual_messages_are_checked_at_once(message: Message) -> None:
    values = tuple(message)
    assert kinds.AT_ONCE[type(message)](values)


@pytest.mark.parametrize("cls", FIELDS, ids=lambda cls: cls.__name__)
@given(data=st.data())
@MANY
def test_a_check_at_once_takes_nothing_that_the_closer_look_refuses(cls: type, data: st.DataObject) -> None:
    values = data.draw(FIELDS[cls])
    checked_at_once = kinds.AT_ONCE[cls](values)
    shape = kinds.BY_CLASS[cls]
    try:
        kinds.check_fields(shape, values)
    except (ValueError, LimitExceeded):
        assert not checked_at_once
        return
    try:
        frame = codec.encode_fields(cls, values)
    except LocalProtocolError:
        return  # text that UTF-8 has no form for
    assert codec.decode_fields(frame) == (cls, values)


@pytest.mark.parametrize("cls", FIELDS, ids=lambda cls: cls.__name__)
def test_a_check_at_once_takes_no_batch_past_the_limit(cls: type) -> None:
    item: dict[type, Any] = {
        Update: (ID, 1, b""),
        Run: (ID, 1, "tasks.add", b"", None),
        Done: (ID, 1, 1, b"", 0),
    }
    batch = (item.get(cls),) * (codec.MAX_BATCH_ITEMS + 1)
    values = {Submit: (1, 0, batch, False), Update: (1, (), (), batch)}.get(cls, (batch,))
    assert not kinds.AT_ONCE[cls](values)


def test_a_wrong_field_is_named_after_the_check_at_once() -> None:
    frame = codec.encode_fields(Update, (1, (), (), ((ID, 9, b""),)))
    with pytest.raises(MalformedFrame, match=r"Update\.results: a TaskEnd is expected, not int 9"):
        codec.decode(frame)


def test_a_packer_that_failed_or_grew_is_not_used_again() -> None:
    expected = codec.encode(Submit(1, 0, b"calls"))
    bad: Any = object()
    with pytest.raises(LocalProtocolError):
        codec.encode(Submit(1, 0, bad))
    assert codec.encode(Submit(1, 0, b"calls")) == expected
    kept = len(packing._packers)
    codec.encode(Submit(1, 0, bytes(packing._KEPT_BUFFER_BYTES)))
    assert len(packing._packers) == kept - 1
    assert codec.encode(Submit(1, 0, b"calls")) == expected
