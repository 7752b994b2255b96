"""The journal's thread: what it writes together, when it says so, and what it does when the disk refuses."""

from __future__ import annotations

import errno
import threading
from pathlib import Path

import pytest

from journal.disk import Disk
from journal.model import CONFIG
from paceline.core.raft.consensus import Persist
from paceline.core.raft.log import Entry, HardState, Snapshot
from paceline.errors import JournalFailed
from paceline.runtime.journal import journal as journal_module
from paceline.runtime.journal.journal import DiskJournal
from paceline.runtime.journal.records import BODY_LIMIT_BYTES
from paceline.runtime.journal.recovery import Recovered, read_journal
from paceline.runtime.journal.writer import Writer

DEADLINE_S = 20.0


class HeldDisk(Disk):
    """Its syncs wait until they are let through."""

    def __init__(self) -> None:
        super().__init__()
        self.hold = False
        self.waiting = threading.Event()
        self.let = threading.Event()

    def sync(self, descriptor: int) -> None:
        if self.hold:
            self.waiting.set()
            assert self.let.wait(DEADLINE_S)
        super().sync(descriptor)


class Woken:
    """Counts wakes, and waits for what the journal says then."""

    def __init__(self) -> None:
        self._changed = threading.Condition()

    def __call__(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def until(self, holds: object) -> None:
        with self._changed:
            assert self._changed.wait_for(holds, DEADLINE_S)  # type: ignore[arg-type]


def persist(seq: int, term: int | None = None) -> Persist:
    return Persist(seq, HardState(term, "a") if term else None, None, [Entry(seq, 1, 1, b"x" * 20)])


def journal(directory: Path, disk: Disk, mode: str = "fsync") -> tuple[DiskJournal, Woken]:
    woken = Woken()
    return DiskJournal(directory, Recovered(), mode=mode, wake=woken, files=disk), woken


def test_what_piles_up_during_a_sync_is_written_with_one_more(tmp_path: Path) -> None:
    disk = HeldDisk()
    log, woken = journal(tmp_path, disk)
    disk.hold = True
    log.submit(persist(1))
    assert disk.waiting.wait(DEADLINE_S)
    before = disk.syncs
    for seq in range(2, 1002):
        log.submit(persist(seq))
    assert log.durable_seq() == 0
    disk.hold = False
    disk.let.set()
    woken.until(lambda: log.durable_seq() == 1001)
    assert disk.syncs == before + 2
    log.close()
    assert [entry.index for entry in read_journal(tmp_path).entries] == list(range(1, 1002))


def test_mode_os_syncs_nothing_but_term_and_vote(tmp_path: Path) -> None:
    disk = Disk()
    log, woken = journal(tmp_path, disk, mode="os")
    before = disk.syncs
    for seq in range(1, 50):
        log.submit(persist(seq))
        woken.until(lambda seq=seq: log.durable_seq() == seq)
    assert disk.syncs == before
    log.submit(persist(50, term=2))
    woken.until(lambda: log.durable_seq() == 50)
    assert disk.syncs == before + 1
    log.close()
    assert read_journal(tmp_path).hard_state == HardState(2, "a")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("operation", ["write", "sync"])
def test_a_disk_that_refuses_is_not_asked_again(tmp_path: Path, operation: str, number: int) -> None:
    class Refusing(Disk):
        refuses = False
        asked = 0

        def _step(self, path: Path) -> None:
            if self.refuses:
                self.asked += 1
            super()._step(path)

        def write(self, descriptor: int, data: bytes) -> int:
            if self.refuses and operation == "write":
                self.asked += 1
                raise OSError(number, "refused", "the.segment")
            return super().write(descriptor, data)

        def sync(self, descriptor: int) -> None:
            if self.refuses and operation == "sync":
                raise OSError(number, "refused", "the.segment")
            super().sync(descriptor)

    disk = Refusing()
    log, woken = journal(tmp_path, disk)
    log.submit(persist(1))
    woken.until(lambda: log.durable_seq() == 1)
    disk.refuses = True
    log.submit(persist(2))
    woken.until(lambda: log.failure is not None)
    asked = disk.asked
    log.submit(persist(3))
    log.close()
    assert isinstance(log.failure, JournalFailed)
    assert "the.segment" in str(log.failure)
    assert (log.durable_seq(), disk.asked) == (1, asked)


def test_whatever_ends_the_thread_is_a_failure_of_the_journal(tmp_path: Path) -> None:
    log, woken = journal(tmp_path, Disk())
    log.submit(persist(1))
    woken.until(lambda: log.durable_seq() == 1)
    log.submit(Persist(2, None, None, [Entry(2, 1, 1, bytes(BODY_LIMIT_BYTES))]))  # with its head it is larger
    woken.until(lambda: log.failure is not None)
    log.close()
    assert "ValueError: a record of" in str(log.failure)
    assert log.durable_seq() == 1


def test_closing_writes_what_was_submitted(tmp_path: Path) -> None:
    log, _ = journal(tmp_path, Disk())
    for seq in range(1, 20):
        log.submit(persist(seq))
    log.close()
    assert log.durable_seq() == 19
    assert len(read_journal(tmp_path).entries) == 19


def test_a_journal_that_gave_up_a_part_when_it_was_closed_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = HeldDisk()
    log, woken = journal(tmp_path, disk)
    disk.hold = True
    log.submit(persist(1))
    assert disk.waiting.wait(DEADLINE_S)
    monkeypatch.setattr(journal_module, "CLOSE_TIMEOUT_S", 0.01)
    assert log.close() is False
    disk.let.set()
    woken.until(lambda: log.durable_seq() == 1)


def test_a_journal_that_failed_when_it_was_closed_says_so(tmp_path: Path) -> None:
    disk = Disk()
    log, woken = journal(tmp_path, disk, mode="os")
    log.submit(persist(1))
    woken.until(lambda: log.durable_seq() == 1)
    disk.fail_at(0, errno.EIO)
    assert log.close() is False
    assert log.failure is not None


def snapshot(size_bytes: int) -> Snapshot:
    return Snapshot(1, 1, CONFIG, bytes(size_bytes))


def test_what_is_submitted_while_a_snapshot_is_written_waits_for_one_slice_of_it(tmp_path: Path) -> None:
    class Watched(Disk):
        """With each slice something is submitted, and it is seen what became of that by the next."""

        def __init__(self) -> None:
            super().__init__()
            self.durable: list[int] = []
            self.is_saved = threading.Event()

        def write(self, descriptor: int, data: bytes) -> int:
            if self._open[descriptor].name.endswith(".snapshot.tmp"):
                self.durable.append(log.durable_seq())
                log.submit(persist(len(self.durable) + 1))
            return super().write(descriptor, data)

        def rename(self, source: Path, destination: Path) -> None:
            super().rename(source, destination)
            if destination.suffix == ".snapshot":
                self.is_saved.set()

    disk = Watched()
    log = DiskJournal(tmp_path, Recovered(), mode="fsync", wake=Woken(), files=disk, slice_bytes=100)
    log.submit(persist(1))
    log.save_snapshot(snapshot(1_000))
    assert disk.is_saved.wait(10)
    assert log.close()
    assert disk.durable == list(range(1, 12))
    found = read_journal(tmp_path)
    assert found.snapshot is not None
    assert [entry.index for entry in found.entries] == list(range(2, 13))


def test_of_the_snapshots_that_wait_only_the_last_is_written(tmp_path: Path) -> None:
    writer = Writer(tmp_path, Recovered(), Disk(), sync=True)
    writer.write([persist(number) for number in range(1, 10)])
    for index in range(1, 9):
        writer.write([Snapshot(index, 1, CONFIG, b"data")])
        if index == 1:
            writer.save_slice()
    written = []
    while writer.is_saving:
        writer.save_slice()
        written.append(writer.snapshot and writer.snapshot[0])
    writer.close()
    assert [index for index, before in zip(written, [None, *written], strict=False) if index != before] == [1, 8]


def test_a_snapshot_of_the_node_s_own_does_not_follow_a_later_one_of_its_leader(tmp_path: Path) -> None:
    """It would take its place, and what is between the two would be missing."""
    writer = Writer(tmp_path, Recovered(), Disk(), sync=True)
    writer.write([Persist(1, snapshot=Snapshot(100, 1, CONFIG, b"of the leader")), Snapshot(50, 1, CONFIG, b"own")])
    assert not writer.is_saving
    writer.close()
    found = read_journal(tmp_path).snapshot
    assert found is not None
    assert (found.index, found.data) == (100, b"of the leader")


def test_a_snapshot_that_can_t_be_written_is_a_failure_of_the_journal(tmp_path: Path) -> None:
    class Full(Disk):
        def write(self, descriptor: int, data: bytes) -> int:
            if self._open[descriptor].name.endswith(".snapshot.tmp"):
                raise OSError(errno.ENOSPC, "refused", str(self._open[descriptor]))
            return super().write(descriptor, data)

    log, woken = journal(tmp_path, Full())
    log.submit(persist(1))
    log.save_snapshot(snapshot(1_000))
    woken.until(lambda: log.failure is not None)
    assert log.close() is False
    assert "1-1.snapshot.tmp: No space left on device" in str(log.failure)
    assert log.durable_seq() == 1
    assert read_journal(tmp_path).snapshot is None


def test_a_directory_that_can_t_be_written_is_a_named_error(tmp_path: Path) -> None:
    with pytest.raises(JournalFailed, match=r"can't write .*0001\.segment: No space left"):
        journal(tmp_path, Disk(fails={0: errno.ENOSPC}))
