"""Who may connect: RFC 27, answered by a pure function."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from paceline.local_token import password
from paceline.runtime.transport.gate import Gate
from paceline.runtime.transport.zap import answer
from paceline.security import NodeKeys, generate_keys

PAIR = generate_keys()
KEY = z85.decode(PAIR.public)
OPEN_TO_KEYS = Gate(NodeKeys(PAIR), b"").user_of
REQUEST = [b"1.0", b"request-1", b"", b"10.0.0.1", b"", b"CURVE", KEY]


def test_a_key_of_the_cluster_is_let_in() -> None:
    assert answer(REQUEST, OPEN_TO_KEYS) == [b"1.0", b"request-1", b"200", b"OK", PAIR.public.encode(), b""]


@pytest.mark.parametrize("key", [bytes(32), KEY[:31], KEY + b"\0", PAIR.public.encode(), b""])
def test_any_other_key_is_refused(key: bytes) -> None:
    assert answer([*REQUEST[:6], key], OPEN_TO_KEYS)[1:3] == [b"request-1", b"400"]


def plain(gate: Gate, *credentials: bytes) -> bytes:
    return answer([*REQUEST[:5], b"PLAIN", *credentials], gate.user_of)[2]


def test_without_keys_the_token_of_this_user_opens_the_port_that_it_is_made_for() -> None:
    gate = Gate(None, b"token")
    gate.port = 7077
    assert plain(gate, b"paceline", password(b"token", 7077).encode()) == b"200"
    assert plain(gate, b"paceline", password(b"token", 7078).encode()) == b"400"
    assert plain(gate, b"paceline", password(b"other", 7077).encode()) == b"400"
    for wrong in ((), (b"paceline",), (b"paceline", b""), (b"paceline", b"token"), (b"", b"", b"")):
        assert plain(gate, *wrong) == b"400"
    assert answer(REQUEST, gate.user_of)[2] == b"400"


def test_an_open_node_lets_in_whatever_is_shown() -> None:
    assert plain(Gate(None, b""), b"paceline", b"") == b"200"


@pytest.mark.parametrize("mechanism", [b"NULL", b"PLAIN", b"GSSAPI", b"curve", b""])
def test_any_other_mechanism_is_refused(mechanism: bytes) -> None:
    assert answer([*REQUEST[:5], mechanism, KEY], OPEN_TO_KEYS)[2] == b"400"


def test_credentials_are_one_frame() -> None:
    assert answer(REQUEST[:6], OPEN_TO_KEYS)[2] == b"400"
    assert answer([*REQUEST, KEY], OPEN_TO_KEYS)[2] == b"400"


@pytest.mark.parametrize("frames", [[], [b"1.0"], [b"2.0", *REQUEST[1:]], [b"1.0", bytes(256), *REQUEST[2:]]])
def test_what_is_not_a_request_is_not_answered(frames: list[bytes]) -> None:
    assert answer(frames, OPEN_TO_KEYS) == []


@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(REQUEST)), max_size=9))
def test_no_other_request_is_ever_let_in(frames: list[bytes]) -> None:
    reply = answer(frames, OPEN_TO_KEYS)
    if reply and reply[2] == b"200":
        assert frames[0] == b"1.0"
        assert frames[5:] == [b"CURVE", KEY]
