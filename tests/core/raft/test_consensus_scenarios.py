"""Each file in tests/scenarios is a story of the replicated log, with what must come of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from core.scenarios import run_file
from paceline.core.raft import replication as progress
from paceline.core.raft import snapshot_transfer as transfer

SCENARIOS = sorted((Path(__file__).parents[2] / "scenarios").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario_prints_what_its_file_says(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "SNAPSHOT_CHUNK_BYTES", 12)
    monkeypatch.setattr(progress, "APPEND_LIMIT_ENTRIES", 2)
    printed = run_file(path)
    if os.environ.get("PACELINE_REWRITE") == "1":
        path.write_text(printed)
    assert printed == path.read_text()
