"""What nodes and people leave in files: data directories, snapshots, cluster files, and addresses in settings."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from random import Random
from typing import Final

from fuzz.samples import Samples
from fuzz.target import SCRATCH, Cut, Target, joined, must
from journal.disk import Disk
from paceline.config import ClusterFile, format_address, new_cluster, parse_address
from paceline.core.feature_levels import FEATURE_LEVEL, NodeTooOld
from paceline.core.raft.consensus import Consensus
from paceline.core.raft.log import Entry, HardState, Log, Snapshot
from paceline.core.raft.ready import Persist
from paceline.core.raft.timing import Timing
from paceline.core.state.snapshots import restore, snapshot_of
from paceline.core.state.table import TaskTable
from paceline.errors import ConfigError, PacelineError
from paceline.runtime.journal import records
from paceline.runtime.journal.data_directory import Storage
from paceline.runtime.journal.files import RealFiles
from paceline.runtime.journal.recovery import (
    decoded,
    needed_path,
    pack_needed,
    read_journal,
    segment_path,
)
from paceline.runtime.journal.snapshot_file import snapshot_path
from paceline.runtime.journal.synced import PLACE_BYTES, SyncedTo, mark_path, pack_mark
from paceline.runtime.journal.writer import Writer
from paceline_protocol.codec import encode_calls, encode_config, encode_kept, encode_outcomes, encode_requeued
from paceline_protocol.messages.consensus import Config, EntryKind
from paceline_protocol.messages.records import EndRecord, TaskEnd

# --- a data directory -------------------------------------------------------------------------------------------

NODE = SCRATCH / "node"
FILES_LIMIT = 24
IDENTITY, NEEDED, SNAPSHOT = 0, 1, 2
FIRST_SEGMENT = 3
"""What the first byte of a file says that it is. From here on: a segment, and its number."""
SYNCED = 255


def data_directory(data: bytes) -> str:
    """PacelineError: those that ``Storage.open`` and ``decoded`` name. What can be opened can be opened again, once it
    was written to.

    The first byte says whether checksums are made right: damage is seen by them, and a faulty writer is not.
    """
    cut = Cut(data)
    are_right = cut.byte() % 2 == 1
    _empty(NODE)
    for _ in range(FILES_LIMIT):
        kind, content = cut.byte(), cut.some()
        if not content:
            break
        path = _path_of(kind)
        path.write_bytes(_with_checksums(content, kind) if are_right else content)
    try:
        storage = Storage.open(NODE, cluster_name="", mode="fsync", files=_Unsynced())
    except PacelineError as error:
        return type(error).__name__
    try:
        return _start(storage)
    finally:
        storage.close()


def _start(storage: Storage) -> str:
    """As a node does, up to its first write."""
    found = storage.recovered
    snapshot = found.snapshot

    def recovered() -> None:
        Consensus(
            storage.identity.node_id,
            timing=Timing(),
            random=Random(1),
            now=0.0,
            hard_state=found.hard_state,
            log=Log(snapshot.index, snapshot.term, found.entries) if snapshot else Log(entries=found.entries),
            config=snapshot.config if snapshot else Config(),
            feature_level=FEATURE_LEVEL,
        )
        if snapshot:
            restore(TaskTable(), snapshot.data)

    try:
        decoded(storage.directory, recovered)
    except PacelineError as error:
        return f"not started: {type(error).__name__}"
    before = len(found.entries)
    try:
        Writer(storage.journal_directory, found, Disk(), sync=False).close()
    except PacelineError as error:
        return f"not written: {type(error).__name__}"
    must(len(read_journal(storage.journal_directory).entries) == before, "opened again, there are other entries")
    return f"opened, {min(before, 3)} entries{' and a snapshot' if snapshot else ''}"


class _Unsynced(RealFiles):
    """Nobody cuts the power here, and a sync takes longer than all else."""

    def sync(self, descriptor: int) -> None:
        pass

    def sync_directory(self, path: Path) -> None:
        pass


def _empty(directory: Path) -> None:
    journal = directory / "journal"
    journal.mkdir(parents=True, exist_ok=True)
    for folder in (journal, directory):
        for path in folder.iterdir():
            if path.is_file():
                path.unlink()


def _path_of(kind: int) -> Path:
    journal = NODE / "journal"
    if kind == IDENTITY:
        return NODE / "identity.json"
    if kind == NEEDED:
        return needed_path(journal)
    if kind == SYNCED:
        return mark_path(journal)
    return snapshot_path(journal, 1, 1) if kind == SNAPSHOT else segment_path(journal, kind - FIRST_SEGMENT + 1)


def _with_checksums(content: bytes, kind: int) -> bytes:
    """As a writer would have written it."""
    if kind == NEEDED:
        words = content.split()[:2]
        return pack_needed(int(words[0]), int(words[1])) if len(words) == 2 and b"".join(words).isdigit() else content
    if kind == SYNCED:
        return b"".join(
            pack_mark(SyncedTo(int.from_bytes(content[at + 4 : at + 12]), int.from_bytes(content[at + 12 : at + 20])))
            for at in (0, PLACE_BYTES)
        )
    if kind < FIRST_SEGMENT or len(content) < records.SEGMENT_HEADER_BYTES:
        return content
    number = kind - FIRST_SEGMENT + 1
    data = bytearray(content)
    data[: records.SEGMENT_HEADER_BYTES] = records.pack_header(number)
    at = records.SEGMENT_HEADER_BYTES
    head = records._RECORD
    while at + head.size <= len(data):
        length, _, group, record_kind, last = head.unpack_from(data, at)
        length = min(length, len(data) - at - head.size)
        body = bytes(data[at + head.size : at + head.size + length])
        checksum = records._checksum(number, at, group, record_kind, last, body)
        head.pack_into(data, at, length, checksum, group, record_kind, last)
        at += head.size + length + -(head.size + length) % records.ALIGNMENT
    return bytes(data)


def data_directory_seeds() -> Iterable[bytes]:
    for are_right in (0, 1):
        for writes in (1, 4, 7):
            with tempfile.TemporaryDirectory() as folder:
                directory = Path(folder)
                storage = Storage.open(directory, cluster_name="", mode="fsync", files=_Unsynced())
                writer = Writer(storage.journal_directory, storage.recovered, Disk(), sync=False, segment_bytes=400)
                for persist in _persists(writes):
                    writer.write([persist])
                writer.close()
                storage.save_identity()
                storage.close()
                yield bytes([are_right]) + b"".join(_file(path) for path in _files(directory))


def _persists(writes: int) -> Iterator[Persist]:
    """What a node writes: its vote, entries of each kind, another leader's in place of some, a snapshot."""
    samples = Samples(Random(writes))
    calls = encode_calls([(bytes([number]) * 16, "add", 4, b"args", None) for number in range(2)])
    config = encode_config(Config(("a",)))
    data = [(EntryKind.NOOP, b""), (EntryKind.CONFIG, config), (EntryKind.ACCEPT, calls)]
    data += [(EntryKind.OUTCOME, samples.outcomes(1)), (EntryKind.RELEASE, bytes(16)), (EntryKind.ATTEMPT, bytes(16))]
    data += [(EntryKind.RECORD, encode_kept([KEPT])), (EntryKind.EXPIRE, bytes(16))]
    data += [(EntryKind.DEAD, encode_kept([KEPT])), (EntryKind.REQUEUE, encode_requeued([REQUEUED]))]
    data += [(EntryKind.DISCARD, bytes(16))]
    index = 0
    for seq in range(1, writes + 1):
        persist = Persist(seq, hard_state=HardState(seq, "a"))
        if seq == 5:
            persist.truncate_from, index = index - 1, index - 2
        if seq == 6:
            table = TaskTable()
            table.apply(EntryKind.ACCEPT, calls)
            persist.snapshot, index = Snapshot(1, 1, Config(("a",)), snapshot_of(table)), 1
        persist.entries = [Entry(index + each, seq, *data[(index + each) % len(data)]) for each in (1, 2, 3)]
        index += 3
        yield persist


def _files(directory: Path) -> list[Path]:
    journal = directory / "journal"
    return [directory / "identity.json", *sorted(path for path in journal.iterdir() if path.is_file())]


def _file(path: Path) -> bytes:
    if path.suffix == ".json":
        kind = IDENTITY
    elif path.name in ("needed", "synced"):
        kind = NEEDED if path.name == "needed" else SYNCED
    else:
        kind = SNAPSHOT if path.suffix == ".snapshot" else FIRST_SEGMENT + int(path.stem) - 1
    content = path.read_bytes()
    if kind == IDENTITY:  # which a node would find to be a copy, and put all of it aside unread
        content = json.dumps({**json.loads(content), "inode": 0}).encode()
    return bytes([kind]) + joined(content[:4_000])


# --- a snapshot -------------------------------------------------------------------------------------------------


def snapshot(data: bytes) -> str:
    """ValueError, NodeTooOld. A table that was read writes the same table."""
    table = TaskTable()
    try:
        restore(table, data)
    except (ValueError, NodeTooOld) as error:
        return type(error).__name__
    again = TaskTable()
    restore(again, snapshot_of(table))
    must(snapshot_of(again) == snapshot_of(table), "what was restored is written otherwise")
    return f"restored, {min(3, len(table.tasks))} tasks"


RECORD: Final = EndRecord("add", 4, 2, 0, 1, "n1", 1, 2, 3, 4, ((1, 1, "ValueError: no"),))
REQUEUED: Final = (bytes([3]) * 16, (bytes([7]) * 16, "add", 4, b"args", {"requeued_from": "03" * 16}))
WITH_LOSSES: Final = RECORD._replace(losses=((1, "on node n1: exit code 3"),))
KEPT: Final = ((bytes([5]) * 16, 2, int(TaskEnd.FAILED), b"error", 5), RECORD)


def snapshot_seeds() -> Iterable[bytes]:
    table = TaskTable()
    yield snapshot_of(table)
    ids = [bytes([number]) * 16 for number in range(6)]
    options = {"max_attempts": 2, "delivery": 1}
    calls = encode_calls([(each, "add", 4, b"args", options if each[0] % 2 else None) for each in ids])
    outcomes = encode_outcomes([(each, 1, int(TaskEnd.SUCCEEDED), b"payload", 5) for each in ids[:3]])
    for kind, entry in (
        (EntryKind.ACCEPT, calls),
        (EntryKind.OUTCOME, outcomes),
        (EntryKind.ATTEMPT, ids[4]),
        (EntryKind.RELEASE, ids[0]),
        (EntryKind.RECORD, encode_kept([KEPT])),
        (EntryKind.EXPIRE, ids[5]),
        (EntryKind.DEAD, encode_kept([((ids[3], 2, int(TaskEnd.LOST), b"error", 5), WITH_LOSSES)])),
    ):
        table.apply(kind, entry)
        yield snapshot_of(table)


# --- what people write ------------------------------------------------------------------------------------------


def cluster_file(data: bytes) -> str:
    """ConfigError. What can be used is written as it was read."""
    path = SCRATCH / "cluster.toml"
    path.write_bytes(data)
    path.chmod(0o600)
    try:
        found = ClusterFile.load(path)
    except ConfigError as error:
        must("\n" not in str(error)[:20], "a refusal that begins with nothing")
        return "ConfigError"
    path.write_text(found.dumps())
    must(ClusterFile.load(path) == found, "a cluster file that is another once it was written")
    return "read"


def cluster_file_seeds() -> Iterable[bytes]:
    text = new_cluster(3, "shop").dumps()
    yield from (text.encode(), text.replace("3", "true").encode(), b"\xef\xbb\xbf" + text.encode())


def address(data: bytes) -> str:
    """ConfigError. An address is one again once it was written."""
    try:
        host, port = parse_address(data.decode("utf-8", "surrogateescape"))
    except ConfigError:
        return "ConfigError"
    must(parse_address(format_address(host, port)) == (host, port), "an address that is another once it was written")
    return "read"


def address_seeds() -> Iterable[bytes]:
    yield from (b"node1", b"node1:7077", b"[fd00::1]:7077", b"[::1]", b" 10.0.0.1:1 ")


TARGETS = (
    Target("data-directory", data_directory, data_directory_seeds, longest_bytes=16_384),
    Target("snapshot", snapshot, snapshot_seeds),
    Target("cluster-file", cluster_file, cluster_file_seeds),
    Target("address", address, address_seeds, longest_bytes=256),
)
