"""`--fresh`, and data that is another user's."""

from __future__ import annotations

import errno
import importlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from journal.test_storage import start
from paceline import ownership
from paceline.cli.app import run
from paceline.config import ClusterFile
from paceline.errors import ConfigError, DataDirInUse, JournalFailed
from paceline.ownership import name_of
from paceline.runtime.journal import data_directory
from paceline.runtime.journal.data_directory import Storage
from paceline.runtime.journal.recovery import read_journal
from paceline.worker.registry import check_module
from paceline_bridge import config as bridge_config

NOBODY = 65534


def begin(directory: Path) -> Storage:
    return Storage.open(directory, cluster_name="farm", mode="fsync", fresh=True)


# --- begin with nothing


def test_what_was_there_is_put_aside_and_said_and_nothing_is_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = start(tmp_path)
    before.close()
    with caplog.at_level(logging.WARNING, "paceline"):
        fresh = begin(tmp_path)
    assert fresh.identity.node_id != before.identity.node_id
    assert (fresh.identity.incarnation, fresh.recovered.entries) == (1, [])
    aside = tmp_path / "before-1"
    assert len(read_journal(aside / "journal").entries) == 1
    assert before.identity.node_id in (aside / "identity.json").read_text()
    assert str(aside) in caplog.text
    fresh.close()
    with stopped(aside) as kept:
        assert kept.identity.node_id == before.identity.node_id


@contextmanager
def stopped(directory: Path) -> Iterator[Storage]:
    storage = Storage.open_stopped(directory)
    try:
        yield storage
    finally:
        storage.close()


def test_each_time_has_a_place_of_its_own(tmp_path: Path) -> None:
    start(tmp_path).close()
    start_fresh(tmp_path)
    start_fresh(tmp_path)
    assert sorted(path.name for path in tmp_path.glob("before-*")) == ["before-1", "before-2"]


def start_fresh(directory: Path) -> None:
    begin(directory).close()
    start(directory).close()


def test_where_nothing_is_there_is_nothing_to_put_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    begin(tmp_path / "new").close()
    assert caplog.text == ""
    assert not list((tmp_path / "new").glob("before-*"))


@pytest.mark.parametrize("gone", ["journal", "identity.json"])
def test_damaged_data_is_no_obstacle(tmp_path: Path, gone: str) -> None:
    start(tmp_path).close()
    (tmp_path / "identity.json").write_text("{")
    os.rename(tmp_path / gone, tmp_path / "elsewhere")
    begin(tmp_path).close()
    start(tmp_path).close()


def test_data_of_a_node_that_runs_is_left_alone(tmp_path: Path) -> None:
    held = start(tmp_path)
    with pytest.raises(DataDirInUse):
        begin(tmp_path)
    held.close()
    assert not list(tmp_path.glob("before-*"))


# --- another user's


@contextmanager
def as_nobody() -> Iterator[None]:
    """File accesses are those of an ordinary user."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def reachable(tmp_path: Path) -> Path:
    """A directory to which every user can get."""
    for each in (tmp_path, *tmp_path.parents):
        if each != Path("/") and each.stat().st_uid == os.geteuid():
            each.chmod(each.stat().st_mode | 0o711)
    return tmp_path


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
@pytest.mark.parametrize("locked", [".", "lock", "identity.json", "journal"])
def test_files_of_root_are_said_to_be_that_with_what_to_do(tmp_path: Path, locked: str) -> None:
    data = reachable(tmp_path) / "data"
    start(data).close()
    data.chmod(0o777)
    for path in data.rglob("*"):
        path.chmod(0o777)
        os.chown(path, NOBODY, -1)
    os.chown(data, NOBODY, -1)
    os.chown(data / locked, 0, 0)
    (data / locked).chmod(0o600)
    with as_nobody(), pytest.raises(ConfigError) as caught:
        start(data)
    message = str(caught.value)
    assert f"belongs to root, and this is run by {name_of(NOBODY)}; run the node as that user" in message
    assert f"make all of it yours with `sudo chown -R {name_of(NOBODY)} {data}`" in message
    assert "replace the disk" not in message


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
@pytest.mark.parametrize(
    "read",
    [ClusterFile.load, bridge_config.load, lambda path: check_module(str(path))],
    ids=["cluster", "bridge", "module"],
)
def test_a_file_that_only_root_may_read_is_said_to_be_that(tmp_path: Path, read: Callable[[Path], object]) -> None:
    path = reachable(tmp_path) / "file.py"
    path.touch(mode=0o600)
    with as_nobody(), pytest.raises(ConfigError) as caught:
        read(path)
    assert f"{path} belongs to root, and this is run by {name_of(NOBODY)}; run the " in str(caught.value)
    assert "init" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
@pytest.mark.parametrize("command", ["journal verify", "journal dump", "cluster recover --data-dir"])
def test_no_command_has_a_traceback_for_a_directory_of_root(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    data = reachable(tmp_path) / "locked" / "data"
    start(data).close()
    data.parent.chmod(0o700)
    run(["version"])  # so that all modules are imported by a user who may
    for module in ("cluster", "journal"):
        importlib.import_module(f"paceline.cli.{module}")
    importlib.import_module("paceline.runtime.journal.unsafe_recovery")
    with as_nobody():
        assert run([*command.split(), str(data)]) == 40
    assert f"{data.parent} belongs to root" in capsys.readouterr().err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a directory of another user")
def test_nobody_is_told_to_take_over_the_directory_above(tmp_path: Path) -> None:
    above = reachable(tmp_path) / "state"
    above.mkdir(mode=0o711)
    with as_nobody(), pytest.raises(ConfigError) as caught:
        Storage.open(above / "node", cluster_name="farm", mode="fsync")
    assert f"`sudo install -d -m 700 -o {name_of(NOBODY)} {above / 'node'}`" in str(caught.value)
    assert "chown" not in str(caught.value)


def test_a_file_of_ones_own_that_may_not_be_written_is_said_to_be_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(ownership, "ROOT", -1)  # whom no mode stops
    error = data_directory.failure_of("write", tmp_path, denied)
    assert isinstance(error, ConfigError)
    assert f"{tmp_path} is yours, and its mode forbids it: `chmod u+rwX {tmp_path}`" in str(error)


def test_a_disk_that_fails_is_not_taken_for_that(tmp_path: Path) -> None:
    full = data_directory.failure_of("write", tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    assert isinstance(full, JournalFailed)
    immutable = data_directory.failure_of("write", tmp_path, OSError(errno.EPERM, "Operation not permitted"))
    assert isinstance(immutable, JournalFailed)
