"""Messages to frames and back: the round trips, and the contract that the table of kinds keeps."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modes import COMPILED
from paceline_protocol import codec
from paceline_protocol import messages as m
from paceline_protocol.errors import FrameTooLarge, LimitExceeded, LocalProtocolError, VersionMismatch
from protocol.message_strategies import CLASSES, of_class

DETERMINISTIC = settings(derandomize=True, deadline=None, max_examples=25)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@given(data=st.data())
@DETERMINISTIC
def test_every_message_comes_back_as_it_went(cls: type, data: st.DataObject) -> None:
    message = data.draw(of_class(cls))
    frame = codec.encode(message)
    decoded = codec.decode(frame)
    assert decoded == message
    assert type(decoded) is cls
    assert codec.decode(memoryview(frame)) == message
    assert codec.encode(decoded) == frame, "the same message always gives the same bytes"


def test_every_message_class_has_exactly_one_kind_and_one_check_per_field() -> None:
    assert sorted(cls.__name__ for cls in CLASSES) == sorted(cls.__name__ for cls in get_args(m.Message))
    for kind, (cls, checks) in codec.KINDS.items():
        assert len(checks) == len(cls._fields), f"kind {kind}"


def test_the_unions_for_the_type_checker_are_what_is_said_over_the_classes() -> None:
    assert m.sent_by(m.Sender.OPERATOR) == set(get_args(m.ClientMessage))
    assert m.sent_by(m.Sender.NODE) == set(get_args(m.ClientReply))
    assert m.sent_by(m.Sender.PEER) == {m.Envelope, *get_args(m.PeerMessage)}
    assert m.sent_by(m.Sender.WORKER) == set(get_args(m.WorkerMessage))
    assert m.sent_by(m.Sender.PARENT) | m.sent_by(m.Sender.WEB) == {
        *get_args(m.ToWorkerMessage),
        *get_args(m.WebMessage),
    }


def test_kinds_stay_in_the_groups_of_their_direction() -> None:
    groups = {range(1, 20): m.ClientMessage, range(20, 40): m.ClientReply, range(50, 60): m.ConsensusMessage}
    groups |= {range(40, 50): m.Envelope | m.MembershipMessage, range(60, 70): m.WorkMessage}
    groups |= {range(70, 80): m.ConsensusMessage}
    groups |= {range(80, 90): m.WorkerMessage | m.ToWorkerMessage, range(90, 100): m.WebMessage}
    for kind, (cls, _) in codec.KINDS.items():
        if cls is m.Trace:  # goes three ways
            assert kind == 100
            continue
        group = next(members for numbers, members in groups.items() if kind in numbers)
        assert cls in get_args(group)


def test_a_frame_begins_with_magic_version_and_kind() -> None:
    assert codec.encode(m.Pong(5)) == bytes([0x50, m.PROTOCOL_VERSION, 24, 0x91, 5])
    assert codec.encode(m.Stop()) == bytes([0x50, m.PROTOCOL_VERSION, 84, 0x90])


def test_an_enum_travels_as_its_number_and_a_list_as_an_array() -> None:
    decoded = codec.decode(codec.encode(m.Failure(m.Refusal.QUEUE_FULL, "full")))
    assert isinstance(decoded, m.Failure)
    assert type(decoded.code) is int
    ids: Any = [b"i" * 16]
    assert codec.decode(codec.encode(m.Cancel(1, ids))) == m.Cancel(1, (b"i" * 16,))


def test_a_frame_of_another_version_says_which_and_nothing_else_is_read() -> None:
    frame = codec.encode(m.Failure(m.Refusal.BAD_REQUEST, ""), version=7)
    for readable in (frame, frame[:3], frame[:3] + b"\xc1"):
        with pytest.raises(VersionMismatch) as caught:
            codec.decode(readable)
        assert (caught.value.ours, caught.value.theirs) == (m.PROTOCOL_VERSION, 7)


@pytest.mark.parametrize(
    "message",
    [
        m.Hello(b"too short", "name"),
        m.Redirect(-1, "", ""),
        m.Redirect(2**63, "", ""),
        m.Redirect(1, None, ""),  # type: ignore[arg-type]
        m.Cancel(1, (b"short",)),
        m.WorkerReady(1, ("",)),
        m.Failure(99, ""),
        m.Pong(2**70),
        m.Submit(1, object(), b""),  # type: ignore[arg-type]
        m.Pong("\udc80"),  # type: ignore[arg-type]
        m.Config(),
        "no message at all",
    ],
    ids=repr,
)
def test_what_the_other_side_must_refuse_is_not_sent(message: Any) -> None:
    with pytest.raises((LocalProtocolError, TypeError) if COMPILED else LocalProtocolError):
        codec.encode(message)


def test_the_error_names_the_field_and_says_what_was_expected() -> None:
    with pytest.raises(LocalProtocolError, match=r"^Redirect\.leader_id: a string is expected, not NoneType$"):
        codec.encode(m.Redirect(1, None, ""))  # type: ignore[arg-type]


def test_a_version_that_is_no_byte_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        codec.encode(m.Stop(), version=256)


@pytest.mark.parametrize(
    "message",
    [
        m.Redirect(1, "x" * (codec.MAX_STRING_CHARS + 1), ""),
        m.WorkerFailed(1, "m", "", "x" * (codec.MAX_TRACEBACK_CHARS + 1)),
        m.StatusReply(1, bytes(codec.MAX_FRAME_BYTES)),
        m.Wait(1, (b"i" * 16,) * (codec.MAX_REQUEST_TASKS + 1)),
        m.Cancel(1, (b"i" * 16,) * (codec.MAX_REQUEST_TASKS + 1)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_is_past_a_limit_is_not_sent(message: m.Message) -> None:
    with pytest.raises(LimitExceeded) as caught:
        codec.encode(message)
    assert caught.value.size > caught.value.limit


def test_what_is_just_at_a_limit_is_sent() -> None:
    long_text = m.WorkerFailed(1, "m", "", "x" * codec.MAX_TRACEBACK_CHARS)
    assert codec.decode(codec.encode(long_text)) == long_text
    full_batch = m.Revoke(1, (b"i" * 16,) * codec.MAX_BATCH_ITEMS)
    assert codec.decode(codec.encode(full_batch)) == full_batch
    with pytest.raises(LocalProtocolError):
        codec.encode(full_batch._replace(ids=(*full_batch.ids, b"i" * 16)))


def test_a_frame_past_the_limit_is_not_read() -> None:
    with pytest.raises(FrameTooLarge) as caught:
        codec.decode(bytes(codec.MAX_FRAME_BYTES + 1))
    assert caught.value.limit == codec.MAX_FRAME_BYTES
