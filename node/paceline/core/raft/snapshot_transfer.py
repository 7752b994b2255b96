"""The transfer of a snapshot from a leader to one peer: both ends of it.

The leader sends one chunk at a time. The receiver's answer names the offset that it wants next, so a chunk that is
lost, doubled or of another snapshot costs a round trip and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from paceline.core.raft.contents import Contents, SnapshotReading
from paceline.core.raft.log import Snapshot
from paceline.core.raft.pages import Pieces
from paceline_protocol.codec import decode_config
from paceline_protocol.messages.consensus import SnapshotChunk

SNAPSHOT_CHUNK_BYTES = 256 * 1024


@dataclass(slots=True, eq=False)
class Outgoing:
    """The leader's end."""

    snapshot: Snapshot
    config: bytes
    sent_at: float = 0.0
    offset: int = 0  # of the chunk whose answer is awaited, or that is due
    due: bool = True
    resent: bool = False  # since the last answer. Only then is an earlier offset believed: the peer may have restarted

    def answered(self, offset: int) -> None:
        if offset > self.offset or self.resent:
            self.offset, self.due, self.resent = offset, True, False

    def take_chunk(self, term: int, now: float, resend_after_s: float) -> SnapshotChunk | None:
        """The chunk to send, or to send again after ``resend_after_s`` without an answer. None: nothing is due."""
        if not self.due:
            if now - self.sent_at < resend_after_s:
                return None
            self.resent = True
        self.due, self.sent_at = False, now
        snapshot, total = self.snapshot, len(self.snapshot.data)
        data = snapshot.data[self.offset : self.offset + SNAPSHOT_CHUNK_BYTES]
        return SnapshotChunk(term, snapshot.index, snapshot.term, self.config, self.offset, total, data)


@dataclass(slots=True, eq=False)
class Incoming:
    """The receiver's end. The first chunk of another snapshot, or of another term, starts anew."""

    key: tuple[int, int, int, int] = (0, 0, 0, 0)  # term, index, index's term, total
    data: Pieces = field(default_factory=Pieces)
    reading: SnapshotReading | None = None

    def add(self, chunk: SnapshotChunk, contents: Contents) -> int:
        """Take a chunk, and read what is whole of the snapshot. Returns the offset that is wanted next, which is
        ``chunk.total`` once the snapshot is whole. Raises PeerViolation if it can't be applied."""
        key = (chunk.term, chunk.index, chunk.index_term, chunk.total)
        if key != self.key:
            if chunk.offset:
                return 0
            self.key, self.data, self.reading = key, Pieces(), contents.begin_snapshot(chunk.total)
        if chunk.offset == len(self.data):
            self.data.append(chunk.data)
            if self.reading is not None:
                self.reading.read(self.data)
        return len(self.data)

    def snapshot(self, chunk: SnapshotChunk) -> Snapshot:
        """The whole snapshot; ``chunk`` is any of its chunks."""
        return Snapshot(chunk.index, chunk.index_term, decode_config(chunk.config), self.data, self.reading)
