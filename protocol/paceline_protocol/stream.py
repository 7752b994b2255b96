"""Frames on a byte stream, as between a node and its workers: four bytes of length, big-endian, then the frame."""

from __future__ import annotations

from struct import Struct
from typing import Final

from paceline_protocol.codec import MAX_FRAME_BYTES
from paceline_protocol.errors import FrameTooLarge

_LENGTH: Final = Struct(">I")
HEADER_BYTES: Final = _LENGTH.size


def pack_frame(frame: bytes) -> bytes:
    """A frame as it is written to the stream."""
    return _LENGTH.pack(len(frame)) + frame


class FrameReader:
    """Cuts what was read from a stream into frames again. Holds at most one frame that is not complete."""

    def __init__(self, limit_bytes: int = MAX_FRAME_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._buffer = bytearray()

    @property
    def is_within_frame(self) -> bool:
        """Whether a frame has begun to arrive, and its end has not."""
        return len(self._buffer) > 0

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that ``data`` completes, in order.

        Raises FrameTooLarge; the stream can't be read any further then.
        """
        buffer = self._buffer
        if not buffer and len(data) >= HEADER_BYTES:
            # Nearly always one read is one frame: then nothing is copied into the buffer and out again.
            (size,) = _LENGTH.unpack_from(data)
            if size == len(data) - HEADER_BYTES <= self._limit_bytes:
                return [data[HEADER_BYTES:]]
        buffer += data
        frames = []
        start = 0
        while len(buffer) - start >= HEADER_BYTES:
            (size,) = _LENGTH.unpack_from(buffer, start)
            if size > self._limit_bytes:
                raise FrameTooLarge(size, self._limit_bytes)
            end = start + HEADER_BYTES + size
            if len(buffer) < end:
                break
            frames.append(bytes(buffer[start + HEADER_BYTES : end]))
            start = end
        del buffer[:start]
        return frames
