"""`paceline cluster recover`: one survivor's disk, made the only voter of a new cluster. On the real journal."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from journal.disk import Crash, Disk, no_space
from paceline.cli.app import run
from paceline.core.raft.consensus import Consensus, Persist
from paceline.core.raft.log import Entry, HardState, Log, Snapshot
from paceline.core.raft.timing import Timing
from paceline.core.state.snapshots import snapshot_of
from paceline.core.state.table import TaskTable
from paceline.errors import (
    DataDirInUse,
    IdentityLost,
    JournalCorrupt,
    JournalFailed,
    RecoveryRefused,
    RecoveryUnfinished,
)
from paceline.runtime.journal.data_directory import Storage
from paceline.runtime.journal.files import Files, RealFiles
from paceline.runtime.journal.recovery import find_segments, read_journal
from paceline.runtime.journal.unsafe_recovery import look, recover
from paceline.runtime.journal.writer import Writer
from paceline_protocol.codec import decode_config, encode_config
from paceline_protocol.messages.consensus import Config, EntryKind

AT = "2030-01-02T03:04:05+00:00"
OTHERS = ("x1", "x2")  # sorted behind every id of a node


def survivor(directory: Path, *, config: Config | None = None, cluster_id: str = "old", snapshot: bool = False) -> str:
    """The directory of a node that voted with two others. Returns its id."""
    storage = Storage.open(directory, cluster_name="farm", mode="fsync")
    node_id = storage.identity.node_id
    storage.identity.cluster_id = cluster_id
    storage.identity.consents = frozenset()
    storage.identity.handed_to = OTHERS[0]
    writer = Writer(storage.journal_directory, storage.recovered, RealFiles(), sync=True)
    storage.save_identity()
    voters = config if config is not None else Config((node_id, *OTHERS), ("e1",), ("e2",), 5)
    entries = [Entry(1, 2, int(EntryKind.CONFIG), encode_config(voters)), Entry(2, 4, int(EntryKind.NOOP), b"")]
    if voters.voters:
        writer.write([Persist(1, HardState(7, OTHERS[1]), None, entries)])
    if snapshot:
        data = snapshot_of(TaskTable())
        writer.write([Snapshot(2, 4, voters, data)])
        while writer.is_saving:
            writer.save_slice()
    writer.close()
    storage.close()
    return node_id


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != "lock"}


def started(directory: Path) -> Consensus:
    """As a node does it."""
    storage = Storage.open(directory, cluster_name="farm", mode="fsync")
    storage.close()
    found, snapshot = storage.recovered, storage.recovered.snapshot
    return Consensus(
        storage.identity.node_id,
        timing=Timing(),
        random=random.Random(1),
        now=0.0,
        hard_state=found.hard_state,
        log=Log(snapshot.index, snapshot.term, found.entries) if snapshot else Log(entries=found.entries),
        config=snapshot.config if snapshot else Config(),
    )


@pytest.mark.parametrize("snapshot", [False, True])
def test_the_survivor_leads_alone_in_a_new_cluster_and_commits_all_of_its_log(tmp_path: Path, snapshot: bool) -> None:
    node_id = survivor(tmp_path, snapshot=snapshot)
    done = recover(tmp_path, new_cluster_id="new", at=AT)
    assert (done.survivor.cluster_id, done.survivor.last_term, done.survivor.last_index) == ("old", 4, 2)
    assert (done.config_term, done.config_index) == (8, 3)
    assert set(done.survivor.lost_voters) == set(OTHERS)
    consensus = started(tmp_path)
    assert consensus.config == Config((node_id,), limit=5), "what the operator asked for stays, the lost nodes go"
    consensus.tick(0.0)
    for _ in range(4):
        ready = consensus.take_ready()
        if ready.persist is not None:
            consensus.persisted(ready.persist.seq)
    assert consensus.is_leader
    assert consensus.term > done.config_term
    assert consensus.commit_index == consensus.log.last_index > done.config_index


def test_the_identity_names_the_new_cluster_and_the_recovery_for_ever(tmp_path: Path) -> None:
    node_id = survivor(tmp_path)
    recover(tmp_path, new_cluster_id="new", at=AT)
    for _ in range(2):
        storage = Storage.open(tmp_path, cluster_name="farm", mode="fsync")
        storage.save_identity()
        storage.close()
        assert (storage.identity.node_id, storage.identity.cluster_id) == (node_id, "new")
        assert storage.recovery is not None
        assert (storage.recovery.at, storage.recovery.old_cluster_id, storage.recovery.last_index) == (AT, "old", 2)
    assert (storage.identity.consents, storage.identity.handed_to) == (frozenset(), OTHERS[0]), "given once"


def test_in_mode_os_a_crash_of_the_machine_before_the_first_start_takes_nothing_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node_id = survivor(tmp_path)
    recover(tmp_path, new_cluster_id="new", at=AT)
    monkeypatch.setattr("paceline.runtime.journal.data_directory.boot_id", lambda: "another")
    storage = Storage.open(tmp_path, cluster_name="farm", mode="os")
    storage.close()
    assert storage.identity.node_id == node_id


def test_in_mode_os_a_crash_of_the_machine_in_the_middle_takes_nothing_back_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node_id = survivor(tmp_path)
    (segment,) = find_segments(tmp_path / "journal")
    resting = segment.read_bytes()

    def no_room(*_: object) -> None:
        raise JournalFailed("write", str(segment), "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("paceline.runtime.journal.unsafe_recovery._write", no_room)
        with pytest.raises(JournalFailed):
            recover(tmp_path, new_cluster_id="new", at=AT)
    monkeypatch.setattr("paceline.runtime.journal.data_directory.boot_id", lambda: "another")
    with pytest.raises(RecoveryUnfinished, match="run `paceline cluster recover --unsafe"):
        Storage.open(tmp_path, cluster_name="farm", mode="os")
    assert segment.read_bytes() == resting
    assert recover(tmp_path, new_cluster_id="newer", at=AT).survivor.node_id == node_id


def test_a_look_changes_nothing(tmp_path: Path) -> None:
    survivor(tmp_path)
    before = contents(tmp_path)
    assert look(tmp_path).last_index == 2
    assert contents(tmp_path) == before


def test_a_power_cut_at_any_moment_leaves_the_old_node_or_one_that_waits_to_be_recovered_again(tmp_path: Path) -> None:
    for cut_at in range(200):
        directory = tmp_path / str(cut_at)
        node_id = survivor(directory)
        disk = Disk(crash_at=cut_at)
        try:
            recover(directory, new_cluster_id="new", at=AT, files=disk)
            break
        except Crash:
            disk.lose_unsynced(random.Random(cut_at))
        try:
            storage = Storage.open(directory, cluster_name="farm", mode="fsync")
        except RecoveryUnfinished:
            pass
        else:
            storage.close()
            is_alone = started(directory).config.voters == (node_id,)
            assert (storage.identity.cluster_id == "new") == is_alone, "one vote, under one configuration"
            if is_alone:
                continue  # the cut came after all of it was there
        again = recover(directory, new_cluster_id="newer", at=AT)
        assert again.survivor.cluster_id == "old"
        assert started(directory).config.voters == (node_id,)
    else:
        pytest.fail("the recovery never ends")
    assert cut_at > 10


def test_a_disk_that_refuses_is_told_and_the_node_does_not_start(tmp_path: Path) -> None:
    refused = 0
    for operation in range(200):
        directory = tmp_path / str(operation)
        survivor(directory)
        files: Files = Disk(fails=no_space(operation))
        try:
            recover(directory, new_cluster_id="new", at=AT, files=files)
            break
        except JournalFailed:
            refused += 1
        recover_again = recover(directory, new_cluster_id="newer", at=AT) if not _is_done(directory) else None
        assert recover_again is None or recover_again.survivor.cluster_id == "old"
    assert refused > 10


def _is_done(directory: Path) -> bool:
    fields = json.loads((directory / "identity.json").read_text())
    return bool(fields.get("recovery", {}).get("finished"))


def test_what_is_no_survivor_is_refused_with_the_reason(tmp_path: Path) -> None:
    def refused(directory: Path, match: str) -> None:
        with pytest.raises(RecoveryRefused, match=match):
            recover(directory, new_cluster_id="new", at=AT)

    refused(tmp_path / "nothing", "is no data directory of a node")
    assert not (tmp_path / "nothing").exists()
    survivor(tmp_path / "blank", cluster_id="")
    refused(tmp_path / "blank", "never belonged to a cluster")
    survivor(tmp_path / "worker", config=Config())
    refused(tmp_path / "worker", "holds nothing of its cluster's log")
    survivor(tmp_path / "done")
    recover(tmp_path / "done", new_cluster_id="new", at=AT)
    refused(tmp_path / "done", "is the only voter of its cluster already")


def test_a_directory_that_is_locked_or_damaged_is_a_named_error(tmp_path: Path) -> None:
    survivor(tmp_path)
    held = Storage.open(tmp_path, cluster_name="farm", mode="fsync")
    with pytest.raises(
        DataDirInUse, match=r"in use by process \d+; a node that runs can't be recovered: stop it first"
    ):
        recover(tmp_path, new_cluster_id="new", at=AT)
    held.close()
    (segment,) = find_segments(tmp_path / "journal")
    data = bytearray(segment.read_bytes())
    data[40] ^= 1
    segment.write_bytes(data)
    with pytest.raises(JournalCorrupt, match="is damaged at byte"):
        recover(tmp_path, new_cluster_id="new", at=AT)
    (tmp_path / "identity.json").unlink()
    shutil.rmtree(segment.parent)
    survivor(tmp_path)
    (tmp_path / "identity.json").unlink()
    with pytest.raises(IdentityLost, match=r"no identity\.json"):
        recover(tmp_path, new_cluster_id="new", at=AT)


def test_the_command_refuses_without_unsafe_and_says_what_may_be_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    survivor(tmp_path)
    before = contents(tmp_path)
    assert run(["cluster", "recover", "--data-dir", str(tmp_path)]) == 66
    said = capsys.readouterr().err
    assert "nothing was changed" in said
    assert "up to entry 2 of term 4: 0 queued tasks, 0 results" in said
    assert "First start the other voters" in said
    assert contents(tmp_path) == before


def test_the_command_says_what_it_did_and_the_journal_shows_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node_id = survivor(tmp_path)
    assert run(["cluster", "recover", "--unsafe", "--data-dir", str(tmp_path), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["node"], said["old_cluster_id"], said["last_index"], said["queued"]) == (node_id, "old", 2, 0)
    assert said["new_cluster_id"] not in ("", "old")
    assert set(said["lost_voters"]) == set(OTHERS)
    entry = read_journal(tmp_path / "journal").entries[-1]
    assert (entry.index, entry.term, entry.kind) == (said["config_index"], said["config_term"], EntryKind.CONFIG)
    assert decode_config(entry.data).voters == (node_id,)
    assert run(["journal", "dump", str(tmp_path), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[-1]["content"][0]["index"] == said["config_index"]


def test_the_command_prints_for_a_person_what_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    node_id = survivor(tmp_path)
    assert run(["cluster", "recover", "--unsafe", "--data-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert node_id in said
    assert "What only the lost voters had is gone" in said
