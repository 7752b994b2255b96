"""What tests of several rooms have to have."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def usual_recursion_limit() -> Iterator[None]:
    """That of a process which nothing has raised; what else this one has tested may have."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1_000)
    yield
    sys.setrecursionlimit(before)
