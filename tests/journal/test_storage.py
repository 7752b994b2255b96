"""Who a node is after a restart, and when it must not be the one it was."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random

import pytest

from journal.disk import Disk
from paceline.core.incarnation import INCARNATIONS
from paceline.core.raft.consensus import Persist
from paceline.core.raft.log import Entry, HardState
from paceline.errors import (
    ConfigError,
    DataDirInUse,
    IdentityLost,
    IdentityUsedUp,
    JournalCorrupt,
    JournalTooNew,
    JournalTooOld,
)
from paceline.runtime.journal import data_directory as storage_module
from paceline.runtime.journal import place
from paceline.runtime.journal.data_directory import Storage, give_up_identity, overtake
from paceline.runtime.journal.files import RealFiles
from paceline.runtime.journal.journal import DiskJournal
from paceline.runtime.journal.recovery import read_journal
from paceline.runtime.journal.writer import Writer


def start(directory: Path, *, cluster: str = "farm", mode: str = "fsync") -> Storage:
    """As a node does it: open, begin the journal, save the identity."""
    opened = Storage.open(directory, cluster_name=cluster, mode=mode)
    writer = Writer(opened.journal_directory, opened.recovered, RealFiles(), sync=mode == "fsync")
    opened.save_identity()
    if not opened.recovered.entries:
        writer.write([Persist(1, HardState(3, "b"), None, [Entry(1, 3, 1, b"x")])])
    writer.close()
    return opened


def test_a_node_is_itself_again_and_counts_its_starts(tmp_path: Path) -> None:
    first = start(tmp_path)
    first.identity.cluster_id = "c1"
    first.identity.handed_to = "other"
    first.identity.consents = frozenset()
    first.save_identity()
    first.close()
    second = start(tmp_path)
    assert second.identity.node_id == first.identity.node_id
    assert (second.identity.incarnation, second.identity.cluster_id, second.identity.handed_to) == (2, "c1", "other")
    assert second.identity.consents == frozenset(), "a consent that was given is not given again"
    assert second.recovered.hard_state == HardState(3, "b")
    second.close()


def test_two_processes_can_t_share_a_directory(tmp_path: Path) -> None:
    held = start(tmp_path)
    with pytest.raises(DataDirInUse, match=r"in use by process \d+"):
        start(tmp_path)
    held.close()
    start(tmp_path).close()


def test_a_directory_of_another_cluster_is_refused(tmp_path: Path) -> None:
    start(tmp_path).close()
    with pytest.raises(ConfigError, match="belongs to a node of cluster farm, and this one is of barn"):
        start(tmp_path, cluster="barn")


def test_an_identity_without_its_journal_must_not_be_used(tmp_path: Path) -> None:
    start(tmp_path).close()
    shutil.rmtree(tmp_path / "journal")
    with pytest.raises(IdentityLost, match="the journal is gone"):
        start(tmp_path)


def test_a_journal_without_its_identity_must_not_be_used(tmp_path: Path) -> None:
    start(tmp_path).close()
    (tmp_path / "identity.json").unlink()
    with pytest.raises(IdentityLost, match=r"no identity\.json"):
        start(tmp_path)


def test_a_start_that_was_cut_off_before_its_identity_was_saved_is_no_start(tmp_path: Path) -> None:
    opened = Storage.open(tmp_path, cluster_name="farm", mode="fsync")
    Writer(opened.journal_directory, opened.recovered, RealFiles(), sync=True).close()
    opened.close()
    start(tmp_path).close()


@pytest.mark.parametrize("clean", [False, True])
@pytest.mark.parametrize("wrote", ["os", "fsync"])
@pytest.mark.parametrize("starts", ["os", "fsync"])
def test_in_mode_os_a_crash_of_the_machine_makes_a_new_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrote: str, starts: str, clean: bool
) -> None:
    first = start(tmp_path, mode=wrote)
    if clean:
        first.save_identity(clean=True)
    first.close()
    monkeypatch.setattr(storage_module, "boot_id", lambda: "another")
    second = start(tmp_path, mode=starts)
    is_new = second.identity.node_id != first.identity.node_id
    assert is_new == (wrote == "os" and not clean), "what counts is how it was written"
    assert (tmp_path / "lost-1" / "journal").is_dir() == is_new
    second.close()


def test_in_mode_os_a_clean_stop_leaves_nothing_to_a_crash_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, term, count = Disk(), HardState(1, "b"), 50
    first = Storage.open(tmp_path, cluster_name="farm", mode="os", files=disk)
    log = DiskJournal(first.journal_directory, first.recovered, mode="os", wake=lambda: None, files=disk)
    first.save_identity()
    for seq in range(1, count + 1):
        log.submit(Persist(seq, term if seq == 1 else None, None, [Entry(seq, 1, 1, b"x")]))
    assert log.close()
    first.save_identity(clean=True)
    first.close()
    disk.lose_unsynced(Random(1))
    monkeypatch.setattr(storage_module, "boot_id", lambda: "another")
    second = Storage.open(tmp_path, cluster_name="farm", mode="os")
    second.close()
    assert second.identity.node_id == first.identity.node_id
    assert len(second.recovered.entries) == count


def test_in_mode_os_what_was_written_is_durable_before_a_start_with_fsync_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk()
    first = Storage.open(tmp_path, cluster_name="farm", mode="os", files=disk)
    writer = Writer(first.journal_directory, first.recovered, disk, sync=False)
    first.save_identity()
    writer.write([Persist(1, None, None, [Entry(1, 1, 1, b"x")])])
    writer.close()
    first.close()
    second = Storage.open(tmp_path, cluster_name="farm", mode="fsync", files=disk)
    Writer(second.journal_directory, second.recovered, disk, sync=True).close()
    second.save_identity()
    second.close()
    disk.lose_unsynced(Random(1))
    monkeypatch.setattr(storage_module, "boot_id", lambda: "another")
    third = Storage.open(tmp_path, cluster_name="farm", mode="fsync")
    third.close()
    assert third.identity.node_id == first.identity.node_id
    assert len(third.recovered.entries) == 1


def test_a_crash_of_the_node_alone_loses_nothing_in_mode_os(tmp_path: Path) -> None:
    first = start(tmp_path, mode="os")
    first.close()
    second = start(tmp_path, mode="os")
    assert second.identity.node_id == first.identity.node_id
    second.close()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", JournalCorrupt),
        ("[]", JournalCorrupt),
        ("[" * 100_000, JournalCorrupt),
        ('{"format": 2}', JournalCorrupt),
        ('{"format": 3}', JournalTooNew),
        ('{"format": 1}', JournalTooOld),
    ],
)
def test_an_identity_that_is_none_is_named(tmp_path: Path, text: str, error: type[Exception]) -> None:
    start(tmp_path).close()
    (tmp_path / "identity.json").write_text(text)
    with pytest.raises(error, match=r"identity\.json"):
        start(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("node_id", ""),
        ("node_id", "\x1b[2J"),
        ("node_id", "x" * 256),
        ("incarnation", -1),
        ("incarnation", True),
        ("cluster_id", "\n"),
        ("consents", [[]]),
        ("consents", [[1]]),
        ("consents", [1]),
        ("consents", [""]),
        ("handed_to", "\n"),
        ("recovery", []),
        ("recovery", {"finished": True}),
    ],
)
def test_an_identity_that_no_node_has_is_named(tmp_path: Path, name: str, value: object) -> None:
    start(tmp_path).close()
    path = tmp_path / "identity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(JournalCorrupt, match=rf"identity\.json .*{name}"):
        start(tmp_path)


def recorded(tmp_path: Path) -> Path:
    """The data directory of a real node of the format before: it accepted and ended one task, and was stopped."""
    return shutil.copytree(Path(__file__).parent / "recorded" / "format-1", tmp_path / "data")


def files_of(directory: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in directory.rglob("*") if path.is_file() and path.name != "lock"}


def test_a_data_directory_of_an_older_format_is_refused_with_what_to_do_and_left_as_it_was(tmp_path: Path) -> None:
    directory = recorded(tmp_path)
    before = files_of(directory)
    with pytest.raises(JournalTooOld, match=r"identity\.json .* it has format 1, and this paceline reads 2") as caught:
        start(directory)
    assert caught.value.exit_code == 68
    assert "let them end" in str(caught.value)
    assert "move the data directories away" in str(caught.value)
    assert files_of(directory) == before


def test_a_journal_of_an_older_format_is_refused_though_its_identity_is_gone(tmp_path: Path) -> None:
    directory = recorded(tmp_path)
    with pytest.raises(JournalTooOld, match=r"0000000000000001\.segment .* it has format 1"):
        read_journal(directory / "journal")
    (directory / "identity.json").unlink()
    with pytest.raises(JournalTooOld, match="it has format 1"):
        start(directory)


def test_the_identity_file_can_be_read_by_a_person(tmp_path: Path) -> None:
    opened = start(tmp_path)
    fields = json.loads((tmp_path / "identity.json").read_text())
    assert fields["node_id"] == opened.identity.node_id
    assert fields["cluster_name"] == "farm"
    opened.close()


def belongs_to_a_cluster(directory: Path) -> Storage:
    opened = start(directory)
    opened.identity.cluster_id = "c1"
    opened.save_identity()
    opened.close()
    return opened


def test_a_copy_of_the_directory_of_a_node_that_has_promised_something_is_refused(tmp_path: Path) -> None:
    first = belongs_to_a_cluster(tmp_path / "data")
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    with pytest.raises(IdentityLost, match=r"it is a copy of the directory that its node wrote.*start it with --moved"):
        start(tmp_path / "copy")
    again = start(tmp_path / "data")
    again.close()
    assert again.identity.node_id == first.identity.node_id


def test_a_directory_that_was_put_back_is_refused_until_somebody_says_that_it_was_moved(tmp_path: Path) -> None:
    first = belongs_to_a_cluster(tmp_path / "data")
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    start(tmp_path / "data").close()
    shutil.rmtree(tmp_path / "data")
    shutil.move(tmp_path / "copy", tmp_path / "data")
    with pytest.raises(IdentityLost, match="it is a copy"):
        Storage.open(tmp_path / "data", cluster_name="farm", mode="fsync")
    moved = Storage.open(tmp_path / "data", cluster_name="farm", mode="fsync", moved=True)
    moved.save_identity()
    moved.close()
    assert moved.identity.node_id == first.identity.node_id
    assert moved.identity.incarnation > first.identity.incarnation + 1_000, "later than any start that was not moved"
    again = start(tmp_path / "data")
    again.close()
    assert again.identity.incarnation == moved.identity.incarnation + 1, "it is said once"


def test_a_directory_that_is_renamed_is_no_copy(tmp_path: Path) -> None:
    first = belongs_to_a_cluster(tmp_path / "data")
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    again = start(tmp_path / "elsewhere")
    again.close()
    assert again.identity.node_id == first.identity.node_id


def test_a_copy_of_a_directory_that_belongs_to_no_cluster_is_another_node(tmp_path: Path) -> None:
    first = Storage.open(tmp_path / "data", cluster_name="farm", mode="fsync")
    Writer(first.journal_directory, first.recovered, RealFiles(), sync=True).close()
    first.save_identity()
    first.close()
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    second = start(tmp_path / "copy")
    second.close()
    assert second.identity.node_id != first.identity.node_id
    assert (tmp_path / "copy" / "lost-1" / "identity.json").exists()


def test_a_copy_of_a_node_that_has_given_its_consent_away_is_refused(tmp_path: Path) -> None:
    first = Storage.open(tmp_path / "data", cluster_name="farm", mode="fsync")
    Writer(first.journal_directory, first.recovered, RealFiles(), sync=True).close()
    first.identity.handed_to = "other"
    first.save_identity()
    first.close()
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    with pytest.raises(IdentityLost, match="it is a copy"):
        start(tmp_path / "copy")


ON_ANOTHER_MACHINE = {
    # machine ids then and now, whether the boot id is the same -> refused
    ("one", "two", False): True,
    ("one", "one", False): False,
    ("one", "two", True): False,  # one kernel: a container was made anew
    ("", "two", False): False,
    ("one", "", False): False,
}


@pytest.mark.parametrize(("case", "is_refused"), ON_ANOTHER_MACHINE.items())
def test_a_disk_in_another_machine_is_noticed_if_both_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: tuple[str, str, bool], is_refused: bool
) -> None:
    then, now, same_boot = case
    monkeypatch.setattr(storage_module, "machine_id", lambda: then)
    belongs_to_a_cluster(tmp_path)
    monkeypatch.setattr(storage_module, "machine_id", lambda: now)
    monkeypatch.setattr(place, "machine_id", lambda: now)
    if not same_boot:
        monkeypatch.setattr(place, "boot_id", lambda: "another")
    if is_refused:
        with pytest.raises(IdentityLost, match="its node wrote it on another machine, one, and this one is two"):
            start(tmp_path)
    else:
        start(tmp_path).close()


def test_a_directory_of_before_places_were_written_is_taken_as_it_is(tmp_path: Path) -> None:
    first = belongs_to_a_cluster(tmp_path)
    path = tmp_path / "identity.json"
    fields = json.loads(path.read_text())
    del fields["machine"], fields["inode"]
    path.write_text(json.dumps(fields))
    again = start(tmp_path)
    again.close()
    assert again.identity.node_id == first.identity.node_id


def test_whoever_only_looks_may_look_at_a_copy(tmp_path: Path) -> None:
    belongs_to_a_cluster(tmp_path / "data")
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    Storage.open_stopped(tmp_path / "copy").close()


def test_a_node_that_was_overtaken_by_its_copy_goes_on_above_it(tmp_path: Path) -> None:
    first = belongs_to_a_cluster(tmp_path)
    overtake(tmp_path, 77)
    again = start(tmp_path)
    again.close()
    assert (again.identity.node_id, again.identity.incarnation) == (first.identity.node_id, 78)


def test_a_node_that_was_started_as_often_as_its_numbers_allow_is_refused_by_name(tmp_path: Path) -> None:
    belongs_to_a_cluster(tmp_path)
    overtake(tmp_path, INCARNATIONS - 2)
    start(tmp_path).close()
    before = (tmp_path / "identity.json").read_bytes()
    with pytest.raises(IdentityUsedUp, match="can't be started for the 8388608th time"):
        start(tmp_path)
    assert (tmp_path / "identity.json").read_bytes() == before


def test_overtaking_keeps_how_the_journal_was_written(tmp_path: Path) -> None:
    start(tmp_path, mode="os").close()
    overtake(tmp_path, 3)
    assert json.loads((tmp_path / "identity.json").read_text())["journal"] == "os"


def test_an_identity_that_nobody_relies_on_can_be_given_up(tmp_path: Path) -> None:
    first = start(tmp_path)
    first.close()
    give_up_identity(tmp_path)
    second = start(tmp_path)
    second.close()
    assert second.identity.node_id != first.identity.node_id


# --- what a place is, as far as it can be told --------------------------------------------------------------------


def test_the_machine_id_counts_unless_it_is_that_of_a_container_or_of_this_boot_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "machine-id"
    installed.write_text("abc\n")
    monkeypatch.setattr(place, "MACHINE_ID", installed)
    monkeypatch.setattr(place, "SIGNS", ())
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setattr(place, "RUN", Path("/proc"))
    assert place.machine_id() == "abc"
    monkeypatch.setattr(place, "RUN", tmp_path)  # on the filesystem that is empty after each boot
    assert place.machine_id() == ""
    monkeypatch.setattr(place, "RUN", Path("/proc"))
    monkeypatch.setattr(place, "SIGNS", (installed,))
    assert place.machine_id() == ""
    monkeypatch.setattr(place, "SIGNS", ())
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert place.machine_id() == ""
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST")
    monkeypatch.setattr(place, "MACHINE_ID", tmp_path / "none")
    assert place.machine_id() == ""


def test_files_are_known_by_number_only_where_they_keep_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    file.touch()
    mounts = tmp_path / "mountinfo"
    monkeypatch.setattr(place, "MOUNTS", mounts)
    line = "36 35 98:0 / {} rw,noatime master:1 - {} /dev/x rw\n"
    spaced = str(tmp_path.resolve()).replace("_", "\\137")
    for point, kind, known in (("/", "ext4", True), (spaced, "fuse.sshfs", False), (spaced, "xfs", True)):
        mounts.write_text(line.format("/", "tmpfs") + line.format("/proc", "proc") + line.format(point, kind))
        with file.open("rb") as opened:
            assert bool(place.inode_of(opened.fileno(), tmp_path)) == known, (point, kind)
    mounts.write_text("nonsense\n")
    with file.open("rb") as opened:
        assert place.inode_of(opened.fileno(), tmp_path) == 0


def test_an_inode_that_was_used_again_is_another_file_where_the_filesystem_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, generation = tmp_path / "identity.json", 5
    path.touch()
    monkeypatch.setattr(place, "_filesystem", lambda directory: "ext4")
    monkeypatch.setattr(place, "_generation_of", lambda descriptor: generation)
    with path.open("rb") as file:
        written = {"inode": place.inode_of(file.fileno(), tmp_path), "machine": "", "boot_id": ""}
    assert place.copied(written, path) == ""
    generation = 0
    assert place.copied(written, path) == "", "a kernel that does not tell it is no copy"
    generation = 6
    assert "it is a copy" in place.copied(written, path)


def test_starts_differ_and_grow_with_each_millisecond(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = {place.new_start() for _ in range(100)}
    assert len(starts) == 100
    assert all(0 < each < 2**63 for each in starts)
    moments = iter(range(1_796_000_000_000_000_000, 1_796_000_000_100_000_000, 1_000_000))
    monkeypatch.setattr(place.time, "time_ns", lambda: next(moments))
    in_order = [place.new_start() for _ in range(100)]
    assert in_order == sorted(in_order)
