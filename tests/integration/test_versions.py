"""A node beside data of another version: it says so, does nothing, and leaves it as it was."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from integration.conftest import DEADLINE_S, TASKS
from paceline.core.feature_levels import FEATURE_LEVEL
from paceline.core.raft.consensus import Persist
from paceline.core.raft.log import Entry, HardState
from paceline.runtime.journal.data_directory import Storage
from paceline.runtime.journal.files import RealFiles
from paceline.runtime.journal.writer import Writer
from paceline_protocol.codec import encode_config
from paceline_protocol.messages.consensus import Config, EntryKind

RECORDED = Path(__file__).parents[1] / "journal" / "recorded" / "format-1"


def run_node(directory: Path) -> subprocess.CompletedProcess[str]:
    options = ["--port", "0", "--workers", "1", "--metrics", "off", "--no-discovery", "--data-dir", str(directory)]
    command = [sys.executable, "-m", "paceline", "node", TASKS, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def test_a_node_does_not_start_on_a_data_directory_of_an_older_format(tmp_path: Path) -> None:
    directory = shutil.copytree(RECORDED, tmp_path / "data")
    ended = run_node(directory)
    assert ended.returncode == 68
    assert "was written by an older paceline: it has format 1" in ended.stderr
    assert "move the data directories away" in ended.stderr


def test_a_node_does_not_start_on_a_log_of_a_higher_feature_level(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path, cluster_name="", mode="fsync")
    storage.identity.cluster_id = "later"
    writer = Writer(storage.journal_directory, storage.recovered, RealFiles(), sync=True)
    config = encode_config(Config((storage.identity.node_id,), level=FEATURE_LEVEL + 1))
    writer.write([Persist(1, HardState(1, ""), None, [Entry(1, 1, int(EntryKind.CONFIG), config)])])
    writer.close()
    storage.save_identity()
    storage.close()
    ended = run_node(tmp_path)
    assert ended.returncode == 45
    assert f"feature level {FEATURE_LEVEL + 1}, and this node understands up to {FEATURE_LEVEL}" in ended.stderr
    assert "upgrade paceline here" in ended.stderr
