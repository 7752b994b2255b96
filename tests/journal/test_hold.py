"""A data directory is one process's, whatever becomes of its files, and that process notices when it is no more."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from paceline.cli.app import run
from paceline.core.raft.log import Entry, HardState
from paceline.core.raft.ready import Persist
from paceline.errors import ConfigError, DataDirInUse, DataDirLost, JournalCorrupt, JournalFailed
from paceline.runtime.journal import hold as hold_module
from paceline.runtime.journal import journal as journal_module
from paceline.runtime.journal.data_directory import Storage
from paceline.runtime.journal.files import RealFiles
from paceline.runtime.journal.hold import Hold
from paceline.runtime.journal.journal import DiskJournal
from paceline.runtime.journal.recovery import find_segments
from paceline.runtime.journal.unusable import advice_for, failure_of, make_directory
from paceline.runtime.journal.writer import Writer

DEADLINE_S = 10.0
FILES = ("identity.json", "journal/needed", "journal/synced", "journal/0000000000000001.segment")


def opened(directory: Path) -> Storage:
    return Storage.open(directory, cluster_name="", mode="fsync")


def started(directory: Path) -> tuple[Storage, DiskJournal]:
    """As a node does it, with something in its journal."""
    storage = opened(directory)
    journal = DiskJournal(
        storage.journal_directory, storage.recovered, mode="fsync", wake=lambda: None, check=storage.check
    )
    storage.save_identity()
    journal.submit(Persist(1, HardState(3, "b"), None, [Entry(1, 3, 1, b"x")]))
    return storage, journal


def stopped(directory: Path) -> Path:
    storage, journal = started(directory)
    assert journal.close()
    storage.save_identity(clean=True)
    storage.close()
    return directory


# --- one process ------------------------------------------------------------------------------------------------


def remove_lock(directory: Path) -> None:
    (directory / "lock").unlink()


def replace_lock(directory: Path) -> None:
    (directory / "lock").unlink()
    (directory / "lock").write_text("1\n")


@pytest.mark.parametrize("lose", [remove_lock, replace_lock])
def test_a_second_process_is_refused_whatever_became_of_the_lock_file(
    tmp_path: Path, lose: Callable[[Path], None]
) -> None:
    storage = opened(tmp_path)
    lose(tmp_path)
    with pytest.raises(DataDirInUse):
        opened(tmp_path)
    storage.close()
    opened(tmp_path).close()


def test_where_directories_can_not_be_locked_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hold_module, "_lock_directory", lambda directory, descriptor: None)
    held = Hold(tmp_path)
    with pytest.raises(DataDirInUse, match=f"in use by process {os.getpid()}"):
        Hold(tmp_path)
    held.release()
    Hold(tmp_path).release()


# --- still the same directory -------------------------------------------------------------------------------------


def moved(directory: Path) -> None:
    directory.rename(directory.with_name("old"))


def replaced(directory: Path) -> None:
    moved(directory)
    shutil.copytree(directory.with_name("old"), directory)


def another_began_there(directory: Path) -> None:
    moved(directory)
    stopped(directory)


def journal_moved(directory: Path) -> None:
    (directory / "journal").rename(directory / "old")


@pytest.mark.parametrize("lose", [moved, replaced, another_began_there])
def test_a_node_does_not_write_who_it_is_into_another_directory(tmp_path: Path, lose: Callable[[Path], None]) -> None:
    directory = tmp_path / "data"
    storage, journal = started(directory)
    lose(directory)
    path = directory / "identity.json"
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(DataDirLost, match=f"written is in {tmp_path / 'old'}, and nothing of it is lost") as caught:
        storage.save_identity(clean=True)
    assert caught.value.exit_code == 70
    assert (path.read_bytes() if path.exists() else None) == before
    assert not journal.close(), "nor does it stop as if all were well"
    storage.close()
    Storage.open(tmp_path / "old", cluster_name="", mode="fsync").close()


def deleted(directory: Path) -> None:
    shutil.rmtree(directory)


def segment_deleted(directory: Path) -> None:
    (segment,) = find_segments(directory / "journal")
    segment.unlink()


def segment_replaced(directory: Path) -> None:
    (segment,) = find_segments(directory / "journal")
    data = segment.read_bytes()
    segment.unlink()
    segment.write_bytes(data)


@pytest.mark.parametrize("lose", [moved, journal_moved, deleted, segment_deleted, segment_replaced])
def test_a_journal_whose_files_are_gone_from_their_place_fails_by_itself(
    tmp_path: Path, lose: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "CHECK_INTERVAL_S", 0.01)
    directory = tmp_path / "data"
    storage, journal = started(directory)
    lose(directory)
    journal._thread.join(DEADLINE_S)
    assert isinstance(journal.failure, DataDirLost)
    assert ("if it voted alone, tasks that have not ended are lost" in str(journal.failure)) == (
        lose not in (moved, journal_moved)
    )
    assert "nothing that was accepted is lost with it" not in str(journal.failure)
    assert not journal.close()
    storage.close()


def test_what_can_not_be_told_of_a_directory_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Hold(tmp_path)

    def denied(path: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(hold_module.os, "stat", denied)
        held.check()
    held.release()


# --- what is no file ----------------------------------------------------------------------------------------------


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_directory(path: Path) -> None:
    path.mkdir()


def a_dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("nowhere"))


def a_link(path: Path) -> None:
    (path.with_name("elsewhere")).write_bytes(b"")
    path.symlink_to(path.with_name("elsewhere"))


def a_socket(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{folder}/{path.name}")  # whose own path may be too long
    os.close(folder)


@pytest.mark.parametrize("put", [a_fifo, a_directory, a_dangling_link, a_link, a_socket])
@pytest.mark.parametrize(
    "name", ["identity.json", "journal/needed", "journal/synced", "journal/0000000000000001.segment"]
)
def test_what_is_no_file_in_the_place_of_one_is_named_and_not_waited_for(
    tmp_path: Path, put: Callable[[Path], None], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = stopped(tmp_path / "data")
    (directory / name).unlink()
    put(directory / name)
    with pytest.raises(JournalCorrupt, match=f"{name} is damaged at byte 0: it is a .*, and should be a regular file"):
        opened(directory)
    for command in ("journal verify", "cluster recover --data-dir"):
        assert run([*command.split(), str(directory)]) == 62
        assert "should be a regular file" in capsys.readouterr().err
    fresh = Storage.open(directory, cluster_name="", mode="fsync", fresh=True)
    fresh.close()


@pytest.mark.parametrize("put", [a_fifo, a_directory, a_dangling_link, a_link, a_socket])
def test_what_is_no_file_in_the_place_of_the_lock_is_named_with_what_to_do(
    tmp_path: Path, put: Callable[[Path], None]
) -> None:
    directory = stopped(tmp_path / "data")
    (directory / "lock").unlink()
    put(directory / "lock")
    with pytest.raises(ConfigError, match=f"it is a .*: move {directory / 'lock'} away"):
        opened(directory)


@pytest.mark.parametrize("put", [a_fifo, a_dangling_link, lambda path: path.write_text("")])
def test_what_is_no_directory_in_the_place_of_the_journal_is_named(tmp_path: Path, put: Callable[[Path], None]) -> None:
    for has_identity in (True, False):
        directory = stopped(tmp_path / str(has_identity))
        shutil.rmtree(directory / "journal")
        put(directory / "journal")
        if not has_identity:
            (directory / "identity.json").unlink()
        with pytest.raises((ConfigError, JournalCorrupt), match=r"journal.* it is a ") as caught:
            opened(directory)
        assert "replace the disk" not in str(caught.value)


def test_a_directory_in_the_place_of_a_temporary_file_is_no_failure_of_the_disk(tmp_path: Path) -> None:
    storage, journal = started(tmp_path / "data")
    (tmp_path / "data" / "identity.json.tmp").mkdir()
    with pytest.raises(ConfigError, match=r"it is a directory\. Nodes make what is there themselves: move that away"):
        storage.save_identity()
    journal.close()
    storage.close()


def test_verify_of_what_is_no_directory_is_refused(tmp_path: Path) -> None:
    assert run(["journal", "verify", "/dev/null"]) == 2
    a_fifo(tmp_path / "fifo")
    assert run(["journal", "verify", str(tmp_path / "fifo")]) == 2


# --- what can be a data directory ---------------------------------------------------------------------------------


def test_the_journal_of_another_node_is_no_data_directory(tmp_path: Path) -> None:
    directory = stopped(tmp_path / "data")
    before = sorted(directory.rglob("*"))
    with pytest.raises(ConfigError, match=f"no data directory.*Give --data-dir {directory} to go on with that node"):
        opened(directory / "journal")
    assert sorted(directory.rglob("*")) == before
    (directory / "identity.json").unlink()
    with pytest.raises(ConfigError, match="no data directory"):
        make_directory(directory / "journal")


def test_a_link_that_leads_nowhere_is_not_called_a_file(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("")
    for name, said in {
        "dangling": f"is a link to {tmp_path / 'nowhere'}, where no directory is; give another --data-dir",
        "loop": "is a link to .*, where no directory is",
        "loop/node": "loop is a link to",
        "file": "it is a file; give another --data-dir",
        "file/node": "file is a file; give another --data-dir",
    }.items():
        with pytest.raises(ConfigError, match=said):
            make_directory(tmp_path / name)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    opened(tmp_path / "link").close()


def test_a_file_whose_attributes_forbid_it_is_said_to_be_that(tmp_path: Path) -> None:
    failure = failure_of("write", tmp_path, PermissionError(1, "Operation not permitted"))
    assert isinstance(failure, JournalFailed)
    assert f"lsattr -d {tmp_path}" in str(failure)
    assert "replace the disk" not in str(failure)
    assert "dmesg" in advice_for(OSError(30, "Read-only file system"), tmp_path)


def test_a_segment_that_is_no_file_by_the_time_it_is_written_is_not_written(tmp_path: Path) -> None:
    storage = opened(stopped(tmp_path / "data"))
    (segment,) = find_segments(storage.journal_directory)
    segment.unlink()
    a_fifo(segment)
    with pytest.raises(JournalCorrupt, match="it is a named pipe"):
        Writer(storage.journal_directory, storage.recovered, RealFiles(), sync=True)
    storage.close()
