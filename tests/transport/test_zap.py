"""Who may connect: RFC 27, answered by a pure function."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.runtime.transport.zap import answer

KEY = bytes(range(32))
REQUEST = [b"1.0", b"request-1", b"", b"10.0.0.1", b"", b"CURVE", KEY]


def test_a_key_of_the_cluster_is_let_in() -> None:
    assert answer(REQUEST, {KEY}) == [b"1.0", b"request-1", b"200", b"OK", b"", b""]


@pytest.mark.parametrize("allowed", [set(), {bytes(32)}, {KEY[:31]}, {KEY + b"\0"}])
def test_any_other_key_is_refused(allowed: set[bytes]) -> None:
    assert answer(REQUEST, allowed)[1:3] == [b"request-1", b"400"]


@pytest.mark.parametrize("mechanism", [b"NULL", b"PLAIN", b"GSSAPI", b"curve", b""])
def test_any_other_mechanism_is_refused(mechanism: bytes) -> None:
    assert answer([*REQUEST[:5], mechanism, KEY], {KEY})[2] == b"400"


def test_credentials_are_one_frame() -> None:
    assert answer(REQUEST[:6], {KEY})[2] == b"400"
    assert answer([*REQUEST, KEY], {KEY})[2] == b"400"


@pytest.mark.parametrize("frames", [[], [b"1.0"], [b"2.0", *REQUEST[1:]], [b"1.0", bytes(256), *REQUEST[2:]]])
def test_what_is_not_a_request_is_not_answered(frames: list[bytes]) -> None:
    assert answer(frames, {KEY}) == []


@given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from(REQUEST)), max_size=9))
def test_no_other_request_is_ever_let_in(frames: list[bytes]) -> None:
    reply = answer(frames, {KEY})
    if reply and reply[2] == b"200":
        assert frames[0] == b"1.0"
        assert frames[5:] == [b"CURVE", KEY]
