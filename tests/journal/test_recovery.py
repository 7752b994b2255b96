"""Whatever happens to the disk and whenever, a journal gives back a state that the node was in, and never one from
before what it had called durable."""

from __future__ import annotations

import os
import struct
import tracemalloc
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from zlib import crc32

import msgpack  # type: ignore[import-untyped]
import pytest

from journal.disk import Crash, Disk
from journal.model import CONFIG, State, Submitter, state_of
from paceline.core.raft.consensus import Consensus, Persist
from paceline.core.raft.log import Entry, HardState, Log, Snapshot
from paceline.core.raft.timing import Timing
from paceline.errors import JournalCorrupt, JournalTooNew
from paceline.runtime.journal import records as record_module
from paceline.runtime.journal import span_sums
from paceline.runtime.journal.records import GROUPS, Record, RecordKind, pack_header, pack_record, records
from paceline.runtime.journal.recovery import Recovered, find_segments, needed_path, read_journal
from paceline.runtime.journal.writer import Writer
from paceline_protocol.codec import encode_config
from paceline_protocol.messages.consensus import Append, AppendResponse, Config, EntryKind

SMALL_SEGMENT = 600


def write_all(directory: Path, submitter: Submitter, disk: Disk, batches: int) -> list[State]:
    """Write random batches, and slices of snapshots between them. Returns the last durable state, and if it was cut
    off, also what was under way."""
    allowed = [submitter.state]
    writer = None
    try:
        writer = Writer(directory, read_journal(directory), disk, sync=True, segment_bytes=600, slice_bytes=200)
        for _ in range(batches):
            batch = [submitter.next() for _ in range(submitter.random.randint(1, 3))]
            allowed.append(submitter.state)
            writer.write(batch)
            allowed = [submitter.state]
            while writer.is_saving and submitter.random.random() < 0.7:
                allowed += submitter.states_if_saved()
                before = writer.snapshot
                writer.save_slice()
                if writer.snapshot is not None and writer.snapshot != before:
                    submitter.saved(writer.snapshot[0])
                allowed = [submitter.state]
    except Crash:
        pass
    if writer is not None:
        writer.close()
    return allowed


@pytest.mark.parametrize("seed", range(20))
def test_what_was_written_is_read_back(tmp_path: Path, seed: int) -> None:
    submitter = Submitter(Random(seed))
    disk = Disk()
    disk.short_writes = seed % 2 == 1
    write_all(tmp_path, submitter, disk, batches=40)
    found = read_journal(tmp_path)
    assert state_of(found) == submitter.state
    assert found.torn is None


@pytest.mark.parametrize("seed", range(8))
def test_a_power_cut_at_any_moment_leaves_a_state_no_older_than_the_durable_one(tmp_path: Path, seed: int) -> None:
    whole = Disk()
    (tmp_path / "whole").mkdir()
    write_all(tmp_path / "whole", Submitter(Random(seed)), whole, batches=15)
    for moment in range(whole.operations):
        directory = tmp_path / str(moment)
        directory.mkdir()
        submitter, disk = Submitter(Random(seed)), Disk(crash_at=moment)
        allowed = write_all(directory, submitter, disk, batches=15)
        disk.lose_unsynced(Random(moment))
        found = read_journal(directory)
        assert state_of(found) in allowed, f"cut at operation {moment}"
        # And the node goes on from there: what it writes then is read back behind it.
        writer = Writer(directory, found, Disk(), sync=True, segment_bytes=SMALL_SEGMENT)
        last = max([found.snapshot.index if found.snapshot else 0, *(entry.index for entry in found.entries)])
        writer.write([Persist(1, HardState(99, "z"), None, [Entry(last + 1, 99, 1, b"later")])])
        writer.close()
        again = state_of(read_journal(directory))
        assert again.hard_state == (99, "z")
        assert again.entries[-1] == (last + 1, 99, 1, b"later")
        assert again.entries[:-1] == state_of(found).entries


@pytest.mark.parametrize("seed", range(8))
def test_what_a_node_finds_after_it_was_killed_no_power_cut_takes_back(tmp_path: Path, seed: int) -> None:
    """A node believes that what it finds is durable. What its process had written and not synced by then is not."""
    whole = Disk()
    (tmp_path / "whole").mkdir()
    write_all(tmp_path / "whole", Submitter(Random(seed)), whole, batches=15)
    for moment in range(whole.operations):
        directory = tmp_path / str(moment)
        directory.mkdir()
        disk = Disk(crash_at=moment)
        disk.short_writes = moment % 2 == 1
        allowed = write_all(directory, Submitter(Random(seed)), disk, batches=15)
        disk.start_again()
        found = read_journal(directory)
        assert state_of(found) in allowed, f"killed at operation {moment}"
        Writer(directory, found, disk, sync=True, segment_bytes=SMALL_SEGMENT).close()
        disk.lose_unsynced(Random(moment))
        assert state_of(read_journal(directory)) == state_of(found), f"killed at operation {moment}"


def test_a_follower_acknowledges_nothing_that_a_power_cut_takes_back() -> None:
    """It is killed before it has synced an entry, finds that when it starts, and is asked by the leader for it."""
    with TemporaryDirectory() as name:
        directory, disk = Path(name), Disk()
        writer = Writer(directory, read_journal(directory), disk, sync=True)
        config = Entry(1, 1, int(EntryKind.CONFIG), encode_config(Config(("a", "b", "c"))))
        writer.write([Persist(1, HardState(1, "a"), None, [config])])
        disk.crash_after(1)  # the write, and no sync
        with pytest.raises(Crash):
            writer.write([Persist(2, None, None, [Entry(2, 1, int(EntryKind.NOOP), b"")])])
        writer.close()
        disk.start_again()
        found = read_journal(directory)
        Writer(directory, found, disk, sync=True).close()
        follower = Consensus(
            "b",
            timing=Timing(),
            random=Random(1),
            now=0.0,
            hard_state=found.hard_state,
            log=Log(entries=found.entries),
            config=Config(),
        )
        follower.step("a", Append(1, 2, 1, 1, ()), 0.1)
        ready = follower.take_ready()
        acknowledged = [answer for _, answer in ready.send_after if isinstance(answer, AppendResponse)]
        assert ready.persist is None
        assert acknowledged == [AppendResponse(1, True, 2)]
        disk.lose_unsynced(Random(3))
        assert read_journal(directory).entries[-1].index == 2


def written(directory: Path, *, groups: int = 6) -> tuple[list[State], Path]:
    """A journal of one segment, one Persist in each group; the state after each group."""
    writer = Writer(directory, read_journal(directory), Disk(), sync=True)
    states = [State()]
    for number in range(1, groups + 1):
        writer.write([Persist(number, HardState(number, "a"), None, [Entry(number, number, 1, bytes(range(50)))])])
        states.append(state_of(read_journal(directory)))
    writer.close()
    (path,) = find_segments(directory)
    return states, path


def write_entries(directory: Path, count: int) -> None:
    """In segments of one or two entries."""
    writer = Writer(directory, Recovered(), Disk(), sync=True, segment_bytes=200)
    for number in range(1, count + 1):
        writer.write([Persist(number, HardState(1, "a"), None, [Entry(number, 1, 1, bytes(100))])])
    writer.close()


def test_every_cut_of_the_last_write_gives_a_prefix(tmp_path: Path) -> None:
    """Of a write that was not synced, a power cut may leave any part. Of what was synced it takes nothing."""
    states, path = written(tmp_path)
    synced = path.stat().st_size
    disk = Disk()
    writer = Writer(tmp_path, read_journal(tmp_path), disk, sync=True)
    disk.crash_after(1)  # the write, and no sync
    with pytest.raises(Crash):
        writer.write([Persist(9, HardState(9, "b"), None, [Entry(7, 9, 1, bytes(range(50)))])])
    writer.close()
    whole = state_of(read_journal(tmp_path))
    assert whole != states[-1]
    data = path.read_bytes()
    for size in range(synced, len(data)):
        for left in (data[:size], data[:size] + bytes(len(data) - size)):
            path.write_bytes(left)
            found = read_journal(tmp_path)
            assert state_of(found) in (states[-1], whole)  # the last bytes are padding
            assert found.torn is None or found.torn.offset + found.torn.dropped_bytes == len(left)
    for size in range(synced):
        for left in (data[:size], data[:size] + bytes(len(data) - size)):
            if left[:synced] == data[:synced]:
                continue
            path.write_bytes(left)
            with pytest.raises(JournalCorrupt):
                read_journal(tmp_path)


def test_a_changed_bit_is_found_wherever_it_is(tmp_path: Path) -> None:
    _, path = written(tmp_path)
    data = path.read_bytes()
    whole = state_of(read_journal(tmp_path))
    refused = 0
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
        try:
            assert state_of(read_journal(tmp_path)) == whole  # a changed byte of padding says nothing and hurts nobody
        except (JournalCorrupt, JournalTooNew):
            refused += 1
    assert refused > len(data) * 0.8


def test_damage_before_the_tail_names_the_file_and_the_place(tmp_path: Path) -> None:
    _, path = written(tmp_path)
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    with pytest.raises(JournalCorrupt, match=r"0001.segment is damaged at byte \d+: .*whole records follow"):
        read_journal(tmp_path)


def test_a_missing_segment_is_corruption_whichever_it_is(tmp_path: Path) -> None:
    write_entries(tmp_path, 8)
    paths = find_segments(tmp_path)
    assert len(paths) > 3
    for path in paths:
        data = path.read_bytes()
        path.unlink()
        with pytest.raises(JournalCorrupt, match=f"{path.name} is damaged at byte 0: the file is missing"):
            read_journal(tmp_path)
        path.write_bytes(data)
    for path in paths:
        path.unlink()
    with pytest.raises(JournalCorrupt, match="the file is missing"):
        read_journal(tmp_path)


def test_what_says_which_segments_are_needed_is_believed_only_if_it_is_whole(tmp_path: Path) -> None:
    write_entries(tmp_path, 8)
    path = needed_path(tmp_path)
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(JournalCorrupt, match="needed is damaged"):
            read_journal(tmp_path)


def test_covered_segments_and_unfinished_snapshots_that_a_crash_leaves_are_no_damage_and_are_removed(
    tmp_path: Path,
) -> None:
    write_entries(tmp_path, 8)
    covered = {path: path.read_bytes() for path in find_segments(tmp_path)}
    writer = Writer(tmp_path, read_journal(tmp_path), Disk(), sync=True)
    writer.write([Snapshot(8, 1, CONFIG, b"data")])
    while writer.is_saving:
        writer.save_slice()
    writer.close()
    whole = sorted(tmp_path.iterdir())
    assert not set(whole) & set(covered)
    for path, data in covered.items():
        path.write_bytes(data)  # of several that were removed only this comes back: there is a gap behind it
        (tmp_path / "00000000000000000009-1.snapshot.tmp").write_bytes(b"half")
        (tmp_path / "00000000000000000009-1.snapshot").write_bytes(b"no record names it")
        found = read_journal(tmp_path)
        assert found.snapshot is not None
        assert (found.snapshot.index, found.entries, found.hard_state) == (8, [], HardState(1, "a"))
        Writer(tmp_path, found, Disk(), sync=True).close()
        assert sorted(tmp_path.iterdir()) == whole


@pytest.mark.parametrize("what", ["missing", "changed", "shorter"])
def test_a_snapshot_that_is_not_what_was_written_is_corruption(tmp_path: Path, what: str) -> None:
    submitter = Submitter(Random(7))
    writer = Writer(tmp_path, Recovered(), Disk(), sync=True)
    while writer.snapshot is None:
        writer.write([submitter.next()])
        while writer.is_saving:
            writer.save_slice()
    writer.close()
    (path,) = tmp_path.glob("*.snapshot")
    data = bytearray(path.read_bytes())
    if what == "missing":
        path.unlink()
    elif what == "changed":
        data[-1] ^= 1
        path.write_bytes(data)
    else:
        path.write_bytes(data[:-1])
    with pytest.raises(JournalCorrupt):
        read_journal(tmp_path)


def test_a_journal_goes_on_after_the_last_number_of_a_group(tmp_path: Path) -> None:
    submitter = Submitter(Random(5))
    writer = Writer(tmp_path, Recovered(group=GROUPS - 20), Disk(), sync=True, segment_bytes=SMALL_SEGMENT)
    for _ in range(19):
        writer.write([submitter.next()])
    needed_path(tmp_path).unlink()
    with pytest.raises(JournalCorrupt, match="needed is damaged at byte 0: the file is missing"):
        read_journal(tmp_path)
    writer._needed = None
    for _ in range(40):
        writer.write([submitter.next()])
    writer.close()
    found = read_journal(tmp_path)
    assert state_of(found) == submitter.state
    assert 0 < found.group < GROUPS - 20
    writer = Writer(tmp_path, found, Disk(), sync=True, segment_bytes=SMALL_SEGMENT)
    writer.write([submitter.next()])
    writer.close()
    assert state_of(read_journal(tmp_path)) == submitter.state


@pytest.mark.parametrize("before", range(1, 5))
def test_damage_is_told_from_a_torn_tail_where_the_numbers_of_groups_begin_again(tmp_path: Path, before: int) -> None:
    writer = Writer(tmp_path, Recovered(group=GROUPS - before), Disk(), sync=True)
    for number in range(1, 5):
        writer.write([Persist(number, None, None, [Entry(number, 1, 1, bytes(range(50)))])])
    writer.close()
    (path,) = find_segments(tmp_path)
    data = path.read_bytes()
    (tmp_path / "synced").unlink()  # which would tell it by itself
    for record in records(memoryview(data), 1):
        changed = bytearray(data)
        changed[record.offset + 16] ^= 1
        path.write_bytes(changed)
        if record.end == len(data):
            torn = read_journal(tmp_path).torn
            assert torn is not None
            assert torn.offset == record.offset
            continue
        with pytest.raises(
            JournalCorrupt, match=f"damaged at byte {record.offset}: .*records follow at byte {record.end}"
        ):
            read_journal(tmp_path)


def test_a_torn_write_of_what_looks_like_records_is_read_in_a_time_that_is_linear_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client's argument may be made of heads of records, each of which claims all that follows it."""
    summed = 0

    def counted(data: bytes | memoryview, value: int = 0) -> int:
        nonlocal summed
        summed += memoryview(data).nbytes
        return crc32(data, value)

    monkeypatch.setattr(record_module, "crc32", counted)
    monkeypatch.setattr(span_sums, "crc32", counted)
    size = 1 << 18
    head = struct.Struct(">IIIBBxx")
    parts = [head.pack(size - place, 1, 4 + place % 7, 1 + place % 4, 1) for place in range(0, size, head.size)]
    heads = b"a".join(b"".join(parts[n::8]) for n in range(8))  # at a multiple of 8 in one of its parts
    writer = Writer(tmp_path, Recovered(), Disk(), sync=False)
    writer.write([Persist(1, None, None, [Entry(1, 1, 1, b"x")])])
    writer.write([Persist(2, None, None, [Entry(2, 1, 1, heads)])])
    writer.close()
    (path,) = find_segments(tmp_path)
    os.truncate(path, path.stat().st_size - 8)
    summed = 0
    torn = read_journal(tmp_path).torn
    assert torn is not None
    assert torn.dropped_bytes > size
    assert size < summed < 10 * size


@pytest.mark.parametrize("seed", range(5))
def test_sums_of_spans_are_those_of_their_bytes(seed: int) -> None:
    random = Random(seed)
    data = random.randbytes(random.randrange(300))
    sums = span_sums.SpanSums(memoryview(data))
    for start in range(0, len(data) + 1, 8):
        for end in range(start, len(data) + 1):
            value = random.getrandbits(32)
            assert sums.crc32(start, end, value) == crc32(data[start:end], value)


def test_a_later_format_is_not_read(tmp_path: Path) -> None:
    _, path = written(tmp_path)
    data = bytearray(path.read_bytes())
    data[4:6] = (3).to_bytes(2, "big")
    data[16:20] = crc32(bytes(data[:16])).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(JournalTooNew, match="format 3"):
        read_journal(tmp_path)


NONSENSE: list[tuple[RecordKind, object]] = [
    (RecordKind.HARD_STATE, []),
    (RecordKind.HARD_STATE, ["1", "a"]),
    (RecordKind.HARD_STATE, [-1, "a"]),
    (RecordKind.HARD_STATE, [1 << 63, "a"]),
    (RecordKind.HARD_STATE, [1, None]),
    (RecordKind.TRUNCATE, [1.5]),
    (RecordKind.TRUNCATE, [True]),
    (RecordKind.ENTRIES, ["abcd"]),
    (RecordKind.ENTRIES, [["a", 1, 1, b""]]),
    (RecordKind.ENTRIES, [[0, 1, 1, b""]]),
    (RecordKind.ENTRIES, [[1, "a", 1, b""]]),
    (RecordKind.ENTRIES, [[1, 1, 1, "text"]]),
    (RecordKind.ENTRIES, [[1, 1, 1, b"", 1]]),
    (RecordKind.SNAPSHOT, ["x", 1, 1, 1, False]),
    (RecordKind.SNAPSHOT, [1, "\0", 1, 1, False]),
    (RecordKind.SNAPSHOT, [1, 1, 1, 1, None]),
    (RecordKind.SNAPSHOT, {}),
]


@pytest.mark.parametrize(("kind", "content"), NONSENSE, ids=lambda value: str(value)[:40])
def test_a_record_that_is_whole_and_makes_no_sense_is_named_with_its_place(
    tmp_path: Path, kind: RecordKind, content: object
) -> None:
    head = pack_header(1)
    record = pack_record(1, len(head), 1, kind, msgpack.packb(content), last=True)
    (tmp_path / "0000000000000001.segment").write_bytes(head + record)
    with pytest.raises(JournalCorrupt, match=r"0001\.segment is damaged at byte 24: the record makes no sense"):
        read_journal(tmp_path)


def test_segments_and_snapshots_that_are_covered_are_removed(tmp_path: Path) -> None:
    submitter = Submitter(Random(11))
    write_all(tmp_path, submitter, Disk(), batches=300)
    assert len(list(tmp_path.glob("*.snapshot"))) == 1
    assert len(find_segments(tmp_path)) < 60
    assert len(list(tmp_path.glob("*.tmp"))) <= 1, "the one that was under way"
    Writer(tmp_path, read_journal(tmp_path), Disk(), sync=True).close()
    assert not list(tmp_path.glob("*.tmp"))
    assert state_of(read_journal(tmp_path)) == submitter.state


def test_what_a_record_announces_is_not_set_aside() -> None:
    body = (b"\xdd\x00\x0f\xff\xff" * 900).ljust(1 << 20, b"\0")
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        with pytest.raises(ValueError, match="No more data"):
            Record(0, 0, 1, RecordKind.ENTRIES, True, body).fields()
        assert tracemalloc.get_traced_memory()[1] - before < 8 << 20, "no more than some copies of the record"
    finally:
        tracemalloc.stop()
