"""Prometheus's own programs, which Debian's package ``prometheus`` has and ``./dev test`` installs."""

from __future__ import annotations

import os
import shutil

import pytest


def tool(name: str) -> str:
    """The path of ``prometheus`` or ``promtool``. Without it the test is skipped, but in CI it fails."""
    path = shutil.which(name)
    if path is None:
        reason = f"{name} is not installed: apt-get install prometheus"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path
