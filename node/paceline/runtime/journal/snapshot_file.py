"""A snapshot's file: its name, its bytes, and what is read back from them.

``writer.py`` and ``snapshot_writer.py`` write one; the record that names it has its size and its crc32.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import msgpack  # type: ignore[import-untyped]

from paceline.core.raft.pages import Stream
from paceline.errors import JournalCorrupt
from paceline.runtime.journal.files import open_data_file
from paceline_protocol.codec import decode_config, encode_config
from paceline_protocol.errors import ProtocolError
from paceline_protocol.messages.consensus import Config

SNAPSHOT_MAGIC = b"PLS2"
PIECE_BYTES = 1 << 20
SNAPSHOT_HEAD_LIMIT_BYTES = 16 << 20
SNAPSHOT_HEAD_FIELDS = 4


@dataclass(frozen=True, slots=True)
class SnapshotFile:
    """A snapshot as it was read from the disk."""

    index: int
    term: int
    config: Config
    data: bytes
    path: Path


def snapshot_path(directory: Path, index: int, term: int) -> Path:
    return directory / f"{index:020d}-{term}.snapshot"


def pack_snapshot(
    index: int, term: int, config: Config, data: Stream, piece_bytes: int = PIECE_BYTES
) -> Iterator[bytes]:
    """The content of a snapshot's file, in pieces."""
    head = msgpack.packb([index, term, encode_config(config), len(data)])
    yield SNAPSHOT_MAGIC + len(head).to_bytes(4, "big") + head
    for start in range(0, len(data), piece_bytes):
        yield bytes(data[start : start + piece_bytes])


def read_snapshot(path: Path, index: int, term: int) -> SnapshotFile:
    """Read and check a snapshot's file. Raises JournalCorrupt."""
    start = len(SNAPSHOT_MAGIC) + 4
    try:
        with open(open_data_file(path, os.O_RDONLY), "rb") as file:
            head = file.read(start)
            end = start + int.from_bytes(head[len(SNAPSHOT_MAGIC) :], "big")
            fields = file.read(min(end - start, SNAPSHOT_HEAD_LIMIT_BYTES))
            data = file.read()  # alone: it may be as much as the node has memory for
    except FileNotFoundError:
        raise JournalCorrupt(str(path), 0, "the file is missing") from None
    try:
        if not head.startswith(SNAPSHOT_MAGIC):
            raise ValueError("it does not begin as a snapshot does")
        file_index, file_term, packed_config, size = msgpack.unpackb(
            fields, max_array_len=SNAPSHOT_HEAD_FIELDS, max_map_len=0, max_ext_len=0
        )
        if (file_index, file_term) != (index, term):
            raise ValueError(f"it is of entry {file_index}, term {file_term}")
        if size != len(data):
            raise ValueError(f"it holds {len(data)} bytes, and should hold {size}")
        config = decode_config(packed_config)
    except (TypeError, ValueError, ProtocolError) as error:
        raise JournalCorrupt(str(path), end, str(error)) from error
    return SnapshotFile(index, term, config, data, path)


class Summed:
    """Pieces, with their size and crc32 once all have been taken. They are not kept."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.size = 0
        self.crc = 0
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.size += len(piece)
            self.crc = crc32(piece, self.crc)
            yield piece


def file_crc(path: Path) -> int:
    checksum = 0
    with open(open_data_file(path, os.O_RDONLY), "rb") as file:
        while data := file.read(1 << 20):
            checksum = crc32(data, checksum)
    return checksum
