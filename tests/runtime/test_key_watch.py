"""A node hears of a cluster file that has changed, and of nothing that it can't use."""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from paceline.cluster_file import ClusterFile, new_cluster
from paceline.key_changes import issue, overwrite
from paceline.runtime.key_watch import KeyWatch
from paceline.security import KeyRole


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.toml"
    path.touch(0o600)
    path.write_text(new_cluster(1, "farm").dumps())
    return path


def test_keys_that_are_new_are_handed_over_once_and_the_node_is_woken(path: Path) -> None:
    woken: list[bool] = []
    cluster = ClusterFile.load(path)
    watch = KeyWatch(cluster, lambda: woken.append(True))
    watch.look()
    assert (watch.take(), woken) == (None, [])
    changed, _ = issue(cluster, "shop", KeyRole.CLIENT)
    overwrite(path, changed.dumps())
    watch.look()
    watch.look()
    assert woken == [True]
    assert watch.take() == changed.node_keys
    assert watch.take() is None


def test_a_change_of_anything_but_keys_is_none(path: Path) -> None:
    cluster = ClusterFile.load(path)
    watch = KeyWatch(cluster, lambda: None)
    overwrite(path, replace(cluster, expect=3, addresses=("node1",)).dumps())
    watch.look()
    assert watch.take() is None


@pytest.mark.parametrize(
    "bad", ["half of a file", "", "another cluster", "the file of a client", "a named pipe", "digits", "no file"]
)
def test_what_can_not_be_used_keeps_what_was_known_and_is_said_once_and_what_follows_counts(
    path: Path, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = ClusterFile.load(path)
    changed, client = issue(cluster, "shop", KeyRole.CLIENT)
    watch = KeyWatch(cluster, lambda: None)
    text = {
        "half of a file": cluster.dumps()[:300],
        "": "",
        "another cluster": new_cluster(1, "other").dumps(),
        "the file of a client": client.dumps(),
        "digits": cluster.dumps().replace("expect = 1", f"expect = 0x{'f' * 5000}"),
    }.get(bad)
    if text is None:
        path.unlink()
        if bad == "a named pipe":
            os.mkfifo(path, 0o600)
    else:
        path.write_text(text)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            watch.look()
    (record,) = caplog.records
    assert "of the cluster 'farm', goes on with the keys it has" in record.getMessage()
    assert watch.take() is None
    path.unlink(missing_ok=True)
    path.touch(0o600)
    path.write_text(changed.dumps())
    watch.look()
    assert watch.take() == changed.node_keys


def test_whatever_a_look_raises_the_next_ones_count(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = ClusterFile.load(path)
    changed, _ = issue(cluster, "shop", KeyRole.CLIENT)
    woken = threading.Event()
    looks = 0

    def defect(_: Path) -> ClusterFile:
        nonlocal looks
        looks += 1
        if looks < 4:
            raise RuntimeError("a defect")
        return changed

    monkeypatch.setattr(ClusterFile, "load", defect)
    watch = KeyWatch(cluster, woken.set, every_s=0.001)
    watch.start()
    assert woken.wait(30)
    watch.stop()
    assert watch.take() == changed.node_keys
    (record,) = [each for each in caplog.records if each.levelno >= logging.WARNING]
    assert (
        "RuntimeError('a defect')). This node, of the cluster 'farm', goes on with the keys it has"
        in record.getMessage()
    )
