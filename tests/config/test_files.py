"""Files of keys are there whole or not at all, whatever the disk says meanwhile."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from paceline.errors import ConfigError
from paceline.files import expanded, replace_file, write_new
from paceline.key_changes import overwrite
from paceline.key_changes import write_new as write_new_key


def full_disk(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_new_file_is_its_owners_alone_and_replaces_nothing(tmp_path: Path) -> None:
    path = tmp_path / "shop.toml"
    write_new(path, "first")
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        write_new(path, "second")
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_filesystem_without_links_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_link(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_link)
    test_a_new_file_is_its_owners_alone_and_replaces_nothing(tmp_path)


def test_a_full_disk_leaves_nothing_behind_and_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = tmp_path / "cluster.toml"
    kept.write_text("before")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(ConfigError, match=r"can't write .*: No space left on device; give another place with --out"):
        write_new_key(tmp_path / "shop.toml", "text")
    with pytest.raises(ConfigError, match=r"can't change .*: No space left on device; it is as it was"):
        overwrite(kept, "after")
    assert list(tmp_path.iterdir()) == [kept]
    assert kept.read_text() == "before"


def test_a_replaced_file_keeps_its_mode_and_a_link_to_it_stays_one(tmp_path: Path) -> None:
    path, link = tmp_path / "cluster.toml", tmp_path / "link.toml"
    path.write_text("before")
    path.chmod(0o640)
    link.symlink_to(path)
    replace_file(link, "after")
    assert (path.read_text(), path.stat().st_mode & 0o777, link.is_symlink()) == ("after", 0o640, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_not_taken_from_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cluster.toml"
    path.write_text("before")
    os.chown(path, 65534, 65534)
    overwrite(path, "by root")
    assert path.stat().st_uid == 65534
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ConfigError, match=r"it would be its owner's no more.* belongs to nobody, .*run by 12345; run"):
        overwrite(path, "after")
    assert path.read_text() == "by root"


def test_a_tilde_is_a_home_directory_and_one_that_nobody_knows_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert expanded("~/c.toml") == Path("/home/ann/c.toml")
    assert expanded("a/~/c.toml") == Path("a/~/c.toml")
    with pytest.raises(ConfigError, match="the home directory that '~nobody-of-that-name' stands for is not known"):
        expanded("~nobody-of-that-name/x")
