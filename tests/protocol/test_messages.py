"""Messages to frames and back: the round trips, and the contract that the table of kinds keeps."""

from __future__ import annotations

from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modes import COMPILED
from paceline_protocol import codec
from paceline_protocol.errors import FrameTooLarge, LimitExceeded, LocalProtocolError, VersionMismatch
from paceline_protocol.messages import Message, PeerMessage
from paceline_protocol.messages.children import (
    Stop,
    ToWorkerMessage,
    WebMessage,
    WorkerFailed,
    WorkerMessage,
    WorkerReady,
)
from paceline_protocol.messages.client import (
    Cancel,
    ClientMessage,
    ClientReply,
    Failure,
    Hello,
    Pong,
    Redirect,
    Refusal,
    StatusReply,
    Submit,
    Wait,
)
from paceline_protocol.messages.consensus import Config, ConsensusMessage
from paceline_protocol.messages.membership import Envelope, MembershipMessage
from paceline_protocol.messages.message import PROTOCOL_VERSION, Sender, sent_by
from paceline_protocol.messages.trace import Trace
from paceline_protocol.messages.work import Revoke, WorkMessage
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
    assert sorted(cls.__name__ for cls in CLASSES) == sorted(cls.__name__ for cls in get_args(Message))
    for kind, (cls, checks) in codec.KINDS.items():
        assert len(checks) == len(cls._fields), f"kind {kind}"


def test_the_unions_for_the_type_checker_are_what_is_said_over_the_classes() -> None:
    assert sent_by(Sender.OPERATOR) == set(get_args(ClientMessage))
    assert sent_by(Sender.NODE) == set(get_args(ClientReply))
    assert sent_by(Sender.PEER) == {Envelope, *get_args(PeerMessage)}
    assert sent_by(Sender.WORKER) == set(get_args(WorkerMessage))
    assert sent_by(Sender.PARENT) | sent_by(Sender.WEB) == {
        *get_args(ToWorkerMessage),
        *get_args(WebMessage),
    }


def test_kinds_stay_in_the_groups_of_their_direction() -> None:
    groups = {range(1, 20): ClientMessage, range(20, 40): ClientReply, range(50, 60): ConsensusMessage}
    groups |= {range(40, 50): Envelope | MembershipMessage, range(60, 70): WorkMessage}
    groups |= {range(70, 80): ConsensusMessage, range(110, 114): ClientMessage, range(114, 120): ClientReply}
    groups |= {range(150, 155): ClientMessage, range(155, 160): ClientReply}
    groups |= {range(80, 90): WorkerMessage | ToWorkerMessage, range(90, 100): WebMessage}
    groups |= {range(130, 132): ClientMessage, range(132, 134): ClientReply, range(134, 136): WorkMessage}
    groups |= {range(136, 137): WorkerMessage, range(140, 142): WorkMessage, range(160, 162): WorkMessage}
    groups |= {range(120, 130): WorkMessage, range(170, 173): ClientMessage, range(173, 175): ClientReply}
    groups |= {range(176, 178): ClientMessage, range(178, 180): ClientReply}
    groups |= {range(175, 176): WorkMessage, range(196, 197): WorkMessage}
    groups |= {range(200, 202): WorkMessage, range(202, 203): ClientReply}
    groups |= {range(210, 212): WorkerMessage, range(212, 213): WorkMessage}
    groups |= {range(180, 185): ClientMessage, range(185, 187): ClientReply, range(187, 188): WorkMessage}
    groups |= {range(120, 130): WorkMessage, range(191, 194): ClientMessage, range(194, 196): ClientReply}
    for kind, (cls, _) in codec.KINDS.items():
        if cls is Trace:  # goes three ways
            assert kind == 100
            continue
        group = next(members for numbers, members in groups.items() if kind in numbers)
        assert cls in get_args(group)


def test_a_frame_begins_with_magic_version_and_kind() -> None:
    assert codec.encode(Pong(5)) == bytes([0x50, PROTOCOL_VERSION, 24, 0x91, 5])
    assert codec.encode(Stop()) == bytes([0x50, PROTOCOL_VERSION, 84, 0x90])


def test_an_enum_travels_as_its_number_and_a_list_as_an_array() -> None:
    decoded = codec.decode(codec.encode(Failure(Refusal.QUEUE_FULL, "full")))
    assert isinstance(decoded, Failure)
    assert type(decoded.code) is int
    ids: Any = [b"i" * 16]
    assert codec.decode(codec.encode(Cancel(1, ids))) == Cancel(1, (b"i" * 16,))


def test_a_frame_of_another_version_says_which_and_nothing_else_is_read() -> None:
    frame = codec.encode(Failure(Refusal.BAD_REQUEST, ""), version=7)
    for readable in (frame, frame[:3], frame[:3] + b"\xc1"):
        with pytest.raises(VersionMismatch) as caught:
            codec.decode(readable)
        assert (caught.value.ours, caught.value.theirs) == (PROTOCOL_VERSION, 7)


@pytest.mark.parametrize(
    "message",
    [
        Hello(b"too short", "name"),
        Redirect(-1, "", ""),
        Redirect(2**63, "", ""),
        Redirect(1, None, ""),  # type: ignore[arg-type]
        Cancel(1, (b"short",)),
        WorkerReady(1, ("",)),
        Failure(99, ""),
        Pong(2**70),
        Submit(1, object(), b""),  # type: ignore[arg-type]
        Pong("\udc80"),  # type: ignore[arg-type]
        Config(),
        "no message at all",
    ],
    ids=repr,
)
def test_what_the_other_side_must_refuse_is_not_sent(message: Any) -> None:
    with pytest.raises((LocalProtocolError, TypeError) if COMPILED else LocalProtocolError):
        codec.encode(message)


def test_the_error_names_the_field_and_says_what_was_expected() -> None:
    with pytest.raises(LocalProtocolError, match=r"^Redirect\.leader_id: a string is expected, not NoneType$"):
        codec.encode(Redirect(1, None, ""))  # type: ignore[arg-type]


def test_a_version_that_is_no_byte_is_refused() -> None:
    with pytest.raises(LocalProtocolError):
        codec.encode(Stop(), version=256)


@pytest.mark.parametrize(
    "message",
    [
        Redirect(1, "x" * (codec.MAX_STRING_CHARS + 1), ""),
        WorkerFailed(1, "m", "", "x" * (codec.MAX_TRACEBACK_CHARS + 1)),
        StatusReply(1, bytes(codec.MAX_FRAME_BYTES)),
        Wait(1, (b"i" * 16,) * (codec.MAX_REQUEST_TASKS + 1)),
        Cancel(1, (b"i" * 16,) * (codec.MAX_REQUEST_TASKS + 1)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_is_past_a_limit_is_not_sent(message: Message) -> None:
    with pytest.raises(LimitExceeded) as caught:
        codec.encode(message)
    assert caught.value.size > caught.value.limit


def test_what_is_just_at_a_limit_is_sent() -> None:
    long_text = WorkerFailed(1, "m", "", "x" * codec.MAX_TRACEBACK_CHARS)
    assert codec.decode(codec.encode(long_text)) == long_text
    full_batch = Revoke(1, (b"i" * 16,) * codec.MAX_BATCH_ITEMS)
    assert codec.decode(codec.encode(full_batch)) == full_batch
    with pytest.raises(LocalProtocolError):
        codec.encode(full_batch._replace(ids=(*full_batch.ids, b"i" * 16)))


def test_a_frame_past_the_limit_is_not_read() -> None:
    with pytest.raises(FrameTooLarge) as caught:
        codec.decode(bytes(codec.MAX_FRAME_BYTES + 1))
    assert caught.value.limit == codec.MAX_FRAME_BYTES
