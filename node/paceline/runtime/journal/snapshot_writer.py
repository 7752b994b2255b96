"""Writes a snapshot's file under a temporary name, a slice at a time, and syncs each slice.

A snapshot may have hundreds of megabytes, which take seconds to write. The node goes on with its work meanwhile, and
none of its Persists may wait for more than one slice.
"""

from __future__ import annotations

from pathlib import Path
from zlib import crc32

from paceline.core.raft.log import Snapshot
from paceline.runtime.journal.files import Files, write_all
from paceline.runtime.journal.snapshot_file import pack_snapshot, snapshot_path

SLICE_BYTES = 1 << 20


class SnapshotWriter:
    """Writes one file. Every method raises OSError."""

    def __init__(self, files: Files, directory: Path, snapshot: Snapshot, slice_bytes: int) -> None:
        self.snapshot = snapshot
        self._files = files
        self._path = snapshot_path(directory, snapshot.index, snapshot.term)
        self._aside = self._path.with_name(self._path.name + ".tmp")
        self._slices = pack_snapshot(snapshot.index, snapshot.term, snapshot.config, snapshot.data, slice_bytes)
        self._size = 0
        self._crc = 0
        files.remove(self._aside)
        self._descriptor = files.create(self._aside)

    def write_slice(self) -> bool:
        """Write and sync one more slice. False: there was nothing left."""
        data = next(self._slices, None)
        if data is None:
            return False
        write_all(self._files, self._descriptor, data)
        self._files.sync(self._descriptor)
        self._size += len(data)
        self._crc = crc32(data, self._crc)
        return True

    def finish(self) -> tuple[int, int, int, int]:
        """Give the file its name, durably. Returns index, term, size and crc32."""
        self.close()
        self._files.rename(self._aside, self._path)
        self._files.sync_directory(self._path.parent)
        return self.snapshot.index, self.snapshot.term, self._size, self._crc

    def give_up(self) -> None:
        """Remove the file: the snapshot is not needed any more."""
        self.close()
        self._files.remove(self._aside)

    def close(self) -> None:
        """Close the file, whole or not."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            self._files.close(descriptor)
