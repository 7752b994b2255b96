"""What had been synced is there and whole, or its node does not start: a crash takes nothing of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest

from journal.disk import Crash, Disk
from journal.model import state_of
from paceline.core.raft.log import Entry, HardState
from paceline.core.raft.ready import Persist
from paceline.errors import JournalCorrupt
from paceline.runtime.journal import records
from paceline.runtime.journal.data_directory import Storage
from paceline.runtime.journal.files import RealFiles
from paceline.runtime.journal.recovery import (
    Recovered,
    find_segments,
    needed_path,
    pack_needed,
    read_journal,
    segment_path,
)
from paceline.runtime.journal.synced import PLACE_BYTES, SyncedTo, mark_path, read_mark
from paceline.runtime.journal.writer import Writer


def write(writer: Writer, numbers: range) -> None:
    for number in numbers:
        writer.write([Persist(number, HardState(1, "a"), None, [Entry(number, 1, 1, bytes(range(100)))])])


def killed_after(directory: Path, entries: int, segment_bytes: int = 1 << 20) -> None:
    """The journal of a process that was killed once so many entries were durable."""
    writer = Writer(directory, Recovered(), Disk(), sync=True, segment_bytes=segment_bytes)
    write(writer, range(1, entries + 1))
    writer.close()


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "emptied": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "garbage": lambda data: Random(1).randbytes(len(data)),
    "cut in its header": lambda data: data[:20],
    "cut behind its header": lambda data: data[:24],
    "cut in half": lambda data: data[: len(data) // 16 * 8],
    "zeros from the middle on": lambda data: data[: len(data) // 16 * 8].ljust(len(data), b"\0"),
    "its last byte but padding": lambda data: data[:-9],
}


@pytest.mark.parametrize("segment_bytes", [1 << 20, 300])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_last_segment_that_lost_what_was_synced_is_refused_by_name(
    tmp_path: Path, damage: str, segment_bytes: int
) -> None:
    killed_after(tmp_path, 5, segment_bytes)
    last = find_segments(tmp_path)[-1]
    last.write_bytes(DAMAGES[damage](last.read_bytes()))
    with pytest.raises(JournalCorrupt, match=f"{last.name} is damaged at byte"):
        read_journal(tmp_path)


def test_what_a_killed_node_had_synced_is_missed_if_it_is_gone() -> None:
    """Its segment ends behind a whole group, as if the others had never been."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        killed_after(directory, 5)
        with segment_path(directory, 1).open("r+b") as file:
            file.truncate(len(records.pack_header(1)) + 24)
        with suppress(JournalCorrupt):
            found = read_journal(directory)
            raise AssertionError(f"{5 - len(found.entries)} entries are not missed")


def test_a_segment_that_ends_before_its_last_group_is_found_by_the_one_behind_it(tmp_path: Path) -> None:
    writer = Writer(tmp_path, Recovered(), Disk(), sync=True, segment_bytes=700)
    sizes = []
    for number in range(1, 9):
        write(writer, range(number, number + 1))
        sizes.append(segment_path(tmp_path, 1).stat().st_size)
    writer.close()
    assert len(find_segments(tmp_path)) == 2
    with segment_path(tmp_path, 1).open("r+b") as file:
        file.truncate(sizes[1])
    with pytest.raises(JournalCorrupt, match=r"0002.segment is damaged at byte \d+: group \d follows group \d"):
        read_journal(tmp_path)


def test_a_segment_that_a_crash_left_half_made_is_none(tmp_path: Path) -> None:
    killed_after(tmp_path, 5)
    before = state_of(read_journal(tmp_path))
    for content in (b"", bytes(40), b"PLJ1"):
        segment_path(tmp_path, 2).write_bytes(content)
        found = read_journal(tmp_path)
        assert state_of(found) == before
        assert found.torn is not None


@pytest.mark.parametrize("name", ["synced", "needed"])
def test_a_journal_without_one_of_its_files_is_refused_by_name(tmp_path: Path, name: str) -> None:
    stopped(tmp_path).close()
    (tmp_path / "journal" / name).unlink()
    with pytest.raises(JournalCorrupt, match=f"{name} is damaged at byte 0: the file is missing"):
        Storage.open(tmp_path, cluster_name="", mode="fsync")


def test_what_says_how_far_it_was_synced_is_whole_though_the_power_fails_while_it_is_written(tmp_path: Path) -> None:
    killed_after(tmp_path, 5)
    data = mark_path(tmp_path).read_bytes()
    mark = read_mark(tmp_path)
    assert mark is not None
    for place in (0, PLACE_BYTES):
        mark_path(tmp_path).write_bytes(data[:place] + bytes(PLACE_BYTES) + data[place + PLACE_BYTES :])
        left = read_mark(tmp_path)
        assert left is not None
        assert SyncedTo(1, 0) < left <= mark
    mark_path(tmp_path).write_bytes(bytes(2 * PLACE_BYTES))
    with pytest.raises(JournalCorrupt, match="does not say how far"):
        read_journal(tmp_path)


def test_a_journal_of_before_it_was_noted_how_far_it_was_synced_is_taken_as_it_is(tmp_path: Path) -> None:
    killed_after(tmp_path, 5)
    whole = state_of(read_journal(tmp_path))
    mark_path(tmp_path).unlink()
    assert state_of(read_journal(tmp_path)) == whole


def test_which_segments_are_needed_may_not_be_set_back(tmp_path: Path) -> None:
    killed_after(tmp_path, 9, segment_bytes=300)
    needed_path(tmp_path).write_bytes(pack_needed(1, 1))
    with pytest.raises(JournalCorrupt, match="needed is damaged at byte 0: it names segments up to 1"):
        read_journal(tmp_path)


def stopped(directory: Path) -> Storage:
    """The directory of a node that has stopped cleanly."""
    storage = Storage.open(directory, cluster_name="", mode="fsync")
    writer = Writer(storage.journal_directory, storage.recovered, RealFiles(), sync=True)
    storage.save_identity()
    write(writer, range(1, 6))
    writer.stop()
    writer.close()
    storage.save_identity(clean=True)
    return storage


def test_after_a_clean_stop_no_write_counts_as_torn(tmp_path: Path) -> None:
    stopped(tmp_path).close()
    with segment_path(tmp_path / "journal", 1).open("ab") as file:
        file.write(b"what no node wrote")
    with pytest.raises(JournalCorrupt, match="its node had stopped cleanly"):
        Storage.open(tmp_path, cluster_name="", mode="fsync")


def test_a_clean_stop_leaves_on_disk_how_far_the_journal_goes(tmp_path: Path) -> None:
    disk = Disk()
    writer = Writer(tmp_path, Recovered(), disk, sync=True)
    write(writer, range(1, 6))
    writer.stop()
    writer.close()
    for seed in range(8):
        disk.lose_unsynced(Random(seed))
        assert read_mark(tmp_path) == SyncedTo(1, segment_path(tmp_path, 1).stat().st_size)


def test_what_is_noted_was_synced_before(tmp_path: Path) -> None:
    """Else a power cut would leave a journal that counts as damaged."""
    for seed in range(30):
        directory = tmp_path / str(seed)
        directory.mkdir()
        random, disk = Random(seed), Disk()
        disk.crash_after(random.randint(10, 40))
        try:
            writer = Writer(directory, Recovered(), disk, sync=True, segment_bytes=300)
            write(writer, range(1, 20))
        except Crash:
            pass
        disk.lose_unsynced(random)
        read_journal(directory)
