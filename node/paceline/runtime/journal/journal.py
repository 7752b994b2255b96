"""The journal: it writes the replicated log to the disk, and tells the reactor what is durable.

The reactor submits each Persist in order. It sends the messages that promise the Persist's content only once the
journal says that the Persist is durable. The journal has a thread of its own. The thread writes all Persists that were
submitted while it was busy as one group, makes the group durable with one sync, and wakes the reactor. It never
reorders. A snapshot that the node took itself is not waited for: it is written a slice at a time between the groups,
and counts only once the record that follows its last slice is written.

With ``journal = "memory"`` there is no journal: the core counts everything as durable, and a restart makes a new node.

The journal never retries on a disk that failed: after a failed sync the system may have dropped the data that it could
not write. The journal stops and sets ``failure``, and nothing becomes durable after that.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from paceline.core.measures.histogram import LATENCY_BOUNDS_US, Histogram
from paceline.core.raft.log import Snapshot
from paceline.core.raft.ready import Persist
from paceline.errors import DataDirLost, JournalFailed
from paceline.runtime.journal.files import Files, RealFiles
from paceline.runtime.journal.recovery import Recovered
from paceline.runtime.journal.snapshot_writer import SLICE_BYTES
from paceline.runtime.journal.unusable import advice_for, failure_of
from paceline.runtime.journal.writer import SEGMENT_BYTES, Writer
from paceline.runtime.limits import start_threads

CLOSE_TIMEOUT_S = 10.0
CHECK_INTERVAL_S = 1.0
"""From one look at whether the files are still where they were to the next."""

_logger = logging.getLogger("paceline.journal")


class Journal(Protocol):
    """The order in which Persists were submitted is the order in which they become durable."""

    failure: JournalFailed | None

    def submit(self, persist: Persist) -> None:
        """Start writing."""

    def save_snapshot(self, snapshot: Snapshot) -> None:
        """Start writing a snapshot that this node took itself. Once it is written, the entries before it are not
        needed. Persists that are submitted later may be durable earlier. If several snapshots wait, only the last is
        written."""

    def durable_seq(self) -> int:
        """Everything up to this Persist.seq is durable."""


class DiskJournal:
    """A journal in a directory, with its thread. ``mode``: "fsync", or "os", where only term and vote are synced.

    The journal's thread calls ``wake`` whenever more is durable or the journal has failed; ``wake`` must not block.
    """

    def __init__(
        self,
        directory: Path,
        recovered: Recovered,
        *,
        mode: str,
        wake: Callable[[], None],
        check: Callable[[], None] | None = None,
        files: Files | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        slice_bytes: int = SLICE_BYTES,
    ) -> None:
        """``check``: raises DataDirLost if the data directory is not in its place any more. Raises JournalFailed if the
        directory can't be written."""
        self.failure: JournalFailed | None = None
        self.write_time = Histogram(LATENCY_BOUNDS_US)  # of one group, with its sync; written by the thread alone
        self.writing_since: float | None = None  # monotonic; None while nothing is being written
        self._directory = directory
        self._wake = wake
        self._check = check
        self._check_at = 0.0
        self._queue: deque[Persist | Snapshot] = deque()
        self._signal = threading.Event()
        self._closing = False
        self._durable_seq = 0
        try:
            self._writer = Writer(
                directory,
                recovered,
                files or RealFiles(),
                sync=mode == "fsync",
                segment_bytes=segment_bytes,
                slice_bytes=slice_bytes,
            )
        except OSError as error:
            raise failure_of("write", directory.parent, error) from error
        self._thread = threading.Thread(target=self._run, name="paceline-journal", daemon=True)
        try:
            start_threads(self._thread.start)
        except BaseException:
            self._writer.close()
            raise

    def submit(self, persist: Persist) -> None:
        self._queue.append(persist)
        self._signal.set()

    def save_snapshot(self, snapshot: Snapshot) -> None:
        self._queue.append(snapshot)
        self._signal.set()

    def durable_seq(self) -> int:
        return self._durable_seq

    def close(self) -> bool:
        """Write all submitted Persists, sync them in any mode, and stop. A snapshot that is not whole is given up.
        After CLOSE_TIMEOUT_S the rest is given up, too: nothing of it was promised. True if all Persists are
        durable."""
        self._closing = True
        self._signal.set()
        self._thread.join(CLOSE_TIMEOUT_S)
        if self._thread.is_alive():
            _logger.error("the disk at %s does not answer; what was not durable yet is given up", self._directory)
            return False
        return self.failure is None

    def _run(self) -> None:
        try:
            try:
                while self._write_pending():
                    pass
                self._look_at_files()
                self._writer.stop()
            finally:
                self._writer.close()
        except DataDirLost as error:
            self._fail(error)
        except OSError as error:
            path = Path(error.filename or self._directory)
            self._fail(JournalFailed("write", str(path), os.strerror(error.errno or 0), advice_for(error, path)))
        except BaseException as error:  # whatever ends this thread, nothing becomes durable any more
            self._fail(JournalFailed("write", str(self._directory), f"{type(error).__name__}: {error}"))
            _logger.critical("the journal ended by a defect of its own", exc_info=error)
        finally:
            self._wake()

    def _fail(self, failure: JournalFailed) -> None:
        _logger.critical("%s", failure)  # first: who sees the failure acts on it, and logs that
        self.failure = failure

    def _look_at_files(self) -> None:
        """Raises DataDirLost. What is written to files that are gone is durable nowhere."""
        if self._check is not None:
            self._check()
        self._writer.check()
        self._check_at = time.monotonic() + CHECK_INTERVAL_S

    def _write_pending(self) -> bool:
        """Wait for something to write, and write it, then one slice of a snapshot. False: the journal is closed."""
        if not self._writer.is_saving:
            self._signal.wait(max(0.0, self._check_at - time.monotonic()))
        if time.monotonic() >= self._check_at:
            self._look_at_files()
        self._signal.clear()
        closing = self._closing  # read before the queue is: what was submitted before close() is written
        batch: list[Persist | Snapshot] = []
        while self._queue:
            batch.append(self._queue.popleft())
        if batch:
            began = self.writing_since = time.monotonic()
            self._writer.write(batch)
            self.writing_since = None
            self.write_time.observe_s(time.monotonic() - began)
            for each in batch:
                if isinstance(each, Persist):
                    self._durable_seq = each.seq
            self._wake()
        if self._writer.is_saving and not closing:
            self._writer.save_slice()
        return not closing
