"""The disks of this folder's tests are simulated, and so are their directories in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from journal.disk import memory


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="paceline-journal-", dir=memory()) as directory:
        yield Path(directory)
