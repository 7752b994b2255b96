"""What a client shows where it connects, while its file changes."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest

from paceline.client_keys import ClientKeys
from paceline.cluster_file import ClientFile, ClusterFile, load_cluster, new_cluster
from paceline.key_changes import drop_previous, issue, make_next_known, use_next
from paceline.security import KeyRole


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.toml"
    path.touch(mode=0o600)
    path.write_text(new_cluster(1).dumps())
    return path


def rotated(cluster: ClusterFile) -> ClusterFile:
    return drop_previous(use_next(make_next_known(cluster)))


def test_a_client_that_is_made_of_a_file_that_was_read_before_goes_by_what_it_says_now(path: Path) -> None:
    read = ClusterFile.load(path)
    now = rotated(read)
    path.write_text(now.dumps())
    assert ClientKeys(read, on_this_machine=False).credentials() == now.credentials != read.credentials


def test_so_does_one_that_connects_again_whoever_wrote_the_file_and_however_often(path: Path, tmp_path: Path) -> None:
    now = ClusterFile.load(path)
    keys = ClientKeys(now, on_this_machine=False)
    for _ in range(3):
        assert keys.credentials() == now.credentials
        now = rotated(now)
        beside = tmp_path / "copy"
        beside.write_text(now.dumps())
        shutil.copystat(path, beside)  # as who copies files with their times
        shutil.copy2(beside, path)
    assert keys.credentials() == now.credentials


def test_the_file_of_a_client_that_was_read_before_counts_as_it_is_now(tmp_path: Path) -> None:
    cluster, client = issue(new_cluster(1), "shop", KeyRole.CLIENT)
    path = tmp_path / "shop.toml"
    path.touch(mode=0o600)
    path.write_text(client.dumps())
    read = load_cluster(path)
    assert isinstance(read, ClientFile)
    now = read.updated(make_next_known(cluster))
    path.write_text(now.dumps())
    assert ClientKeys(read, on_this_machine=False).credentials() == now.credentials != read.credentials


def test_a_file_that_did_not_change_is_not_read_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.chmod(0o644)  # of which each reading warns
    keys = ClientKeys(load_cluster(path), on_this_machine=False)
    for _ in range(3):
        keys.credentials()
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


@pytest.mark.parametrize("is_gone", [False, True])
def test_without_its_file_or_with_nonsense_in_it_a_client_goes_on_with_what_it_has_and_says_so_once(
    path: Path, caplog: pytest.LogCaptureFixture, is_gone: bool
) -> None:
    read = load_cluster(path)
    keys = ClientKeys(read, on_this_machine=False)
    if is_gone:
        path.unlink()
    else:
        path.write_text("nonsense")
    for _ in range(3):
        assert keys.credentials() == read.credentials
    [record] = caplog.records
    assert record.message.endswith("This client goes on with the keys it has")
