"""Frames on a byte stream: however it is cut, the same frames come out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline_protocol.errors import FrameTooLarge
from paceline_protocol.stream import HEADER_BYTES, FrameReader, pack_frame

FRAMES = st.lists(st.binary(max_size=40), max_size=8)


def read(pieces: list[bytes], limit_bytes: int = 1000) -> list[bytes]:
    reader = FrameReader(limit_bytes)
    return [frame for piece in pieces for frame in reader.feed(piece)]


def test_a_frame_is_four_bytes_of_length_and_itself() -> None:
    assert pack_frame(b"abc") == b"\x00\x00\x00\x03abc"
    assert HEADER_BYTES == 4


def test_every_cut_of_a_stream_in_three_gives_the_same_frames() -> None:
    frames = [b"first", b"", b"x", b"the last of them"]
    stream = b"".join(map(pack_frame, frames))
    for one in range(len(stream) + 1):
        for two in range(one, len(stream) + 1):
            assert read([stream[:one], stream[one:two], stream[two:]]) == frames


def test_a_stream_read_byte_by_byte_gives_the_same_frames() -> None:
    frames = [b"", b"ab", b"", b"c"]
    assert read([bytes([byte]) for byte in b"".join(map(pack_frame, frames))]) == frames


@given(FRAMES, st.data())
def test_any_cuts_of_any_stream_give_the_same_frames(frames: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(pack_frame, frames))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(pieces) == frames


def test_empty_frames_are_frames() -> None:
    assert read([pack_frame(b"") * 3]) == [b"", b"", b""]


def test_a_frame_that_is_not_complete_is_kept_back() -> None:
    assert read([pack_frame(b"whole") + pack_frame(b"cut")[:-1]]) == [b"whole"]


def test_a_frame_at_the_limit_is_read() -> None:
    assert read([pack_frame(bytes(10))], limit_bytes=10) == [bytes(10)]


@pytest.mark.parametrize("cut", [1, HEADER_BYTES, HEADER_BYTES + 1, HEADER_BYTES + 11])
def test_a_frame_past_the_limit_is_refused_with_its_size(cut: int) -> None:
    stream = pack_frame(bytes(11))
    with pytest.raises(FrameTooLarge, match="11") as refused:
        read([stream[:cut], stream[cut:]], limit_bytes=10)
    assert "10" in str(refused.value)


def test_the_length_alone_is_enough_to_refuse() -> None:
    with pytest.raises(FrameTooLarge):
        read([b"\xff\xff\xff\xff"])
