"""Prometheus's own programs, which Debian's package ``prometheus`` has and ``./dev test`` installs."""

from __future__ import annotations

import os
import shutil

import pytest

from paceline.web.table import METRICS
from paceline_bridge.counters import BridgeCounters
from paceline_bridge.metrics import families


def tool(name: str) -> str:
    """The path of ``prometheus`` or ``promtool``. Without it the test is skipped, but in CI it fails."""
    path = shutil.which(name)
    if path is None:
        reason = f"{name} is not installed: apt-get install prometheus"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def metric_names() -> set[str]:
    """Every name that nodes and bridges may serve."""
    names = {spec.name for spec in METRICS} | {f"{spec.name}_bucket" for spec in METRICS if spec.kind == "histogram"}
    of_bridges = families(BridgeCounters(messages={("acked", "plain"): 1}))
    return names | {sample.name for family in of_bridges for sample in family.samples}
