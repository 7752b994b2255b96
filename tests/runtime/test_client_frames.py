"""Who sends what is no frame is told so a few times, and then heard no more."""

from __future__ import annotations

import logging

import pytest

from paceline.runtime.client_frames import FRAME_EXTRA_BYTES, MALFORMED_LIMIT_FRAMES, REMEMBERED_CONNECTIONS
from paceline.runtime.transport.transport import Source
from paceline_protocol.codec import decode, encode
from paceline_protocol.limits import MAX_BATCH_FRAMES
from paceline_protocol.messages.client import Failure, Ping, Redirect
from runtime.test_reactor import NODE, Rig


def detail(rig: Rig, frame: bytes) -> str:
    """What a Failure that answers this frame says."""
    (answer,) = rig.say_bytes("client", frame)
    assert isinstance(answer, Failure)
    return answer.detail


def test_a_client_that_sent_too_many_malformed_frames_is_told_so_and_heard_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig()
    rig.ends["other"] = rig.network.client(NODE, b"other")
    with caplog.at_level(logging.WARNING, "paceline.node"):
        for _ in range(MALFORMED_LIMIT_FRAMES - 1):
            assert detail(rig, b"what is no frame") == "not a paceline frame"
        assert [type(answer) for answer in rig.say("client", Ping(0))] == [Redirect]
        assert "it is heard no more" in detail(rig, b"what is no frame")
        for _ in range(3):
            assert rig.say_bytes("client", b"what is no frame") == []
            assert rig.say("client", Ping(0)) == []
    assert ["a client is heard no more" in record.getMessage() for record in caplog.records] == [True]
    assert [type(answer) for answer in rig.say("other", Ping(0))] == [Redirect]
    counters = rig.reactor.counters
    assert (counters.frames_malformed, counters.frames_ignored, counters.clients_ignored) == (16, 6, 1)


def test_a_frame_that_is_larger_than_any_of_a_client_is_refused_unread() -> None:
    rig = Rig()
    limit_bytes = rig.reactor.core.settings.payload_limit_bytes + FRAME_EXTRA_BYTES
    assert f"at most {limit_bytes} bytes" in detail(rig, bytes(limit_bytes + 1))
    assert detail(rig, bytes(limit_bytes)) == "not a paceline frame"


def test_what_is_known_of_connections_that_send_malformed_frames_is_bounded() -> None:
    rig = Rig()
    for number in range(REMEMBERED_CONNECTIONS + 10):
        end = rig.network.client(NODE, b"%d" % number)
        frames = 1 if number % 2 else MALFORMED_LIMIT_FRAMES
        for _ in range(frames):
            end.send(b"what is no frame")
        rig.network.deliver_due()
        rig.reactor.turn()
        rig.network.deliver_due()
        answers = [decode(frame) for frame in end.receive()]
        assert len(answers) == frames
    for number in range(2 * REMEMBERED_CONNECTIONS):
        rig.reactor._clients._refuse(b"again%d" % number, "")
    assert len(rig.reactor._clients._malformed) == REMEMBERED_CONNECTIONS
    assert len(rig.reactor._clients._ignored) == REMEMBERED_CONNECTIONS // 2 + 5
    for number in range(REMEMBERED_CONNECTIONS):
        for _ in range(MALFORMED_LIMIT_FRAMES):
            rig.reactor._clients._refuse(b"more%d" % number, "")
    assert len(rig.reactor._clients._ignored) == REMEMBERED_CONNECTIONS
    rig.ends["last"] = rig.network.client(NODE, b"more%d" % (REMEMBERED_CONNECTIONS - 1))
    assert rig.say_bytes("last", encode(Ping(0))) == []


def test_one_message_of_more_frames_than_any_batch_is_enough_to_be_heard_no_more() -> None:
    rig = Rig()
    rig.ends["other"] = rig.network.client(NODE, b"other")
    rig.reactor._receive((Source.PEER, b"client", []), 0.0)
    rig.network.deliver_due()
    (failure,) = map(decode, rig.ends["client"].receive())
    assert isinstance(failure, Failure)
    assert failure.detail.endswith(f"a message has at most {MAX_BATCH_FRAMES} frames")
    rig.reactor._receive((Source.PEER, b"client", [b"envelope"]), 0.0)
    assert rig.say("client", Ping(0)) == []
    assert [type(answer) for answer in rig.say("other", Ping(0))] == [Redirect]
    counters = rig.reactor.counters
    assert (counters.frames_malformed, counters.frames_ignored, counters.clients_ignored) == (1, 2, 1)
