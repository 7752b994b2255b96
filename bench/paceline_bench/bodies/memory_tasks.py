"""Served by one node alone, which is kept from running it: what is submitted of it waits."""

from __future__ import annotations

from paceline.worker.registry import task
from paceline_bench.bodies.tasks import hold


@task
def queued(gate: str, padding: bytes) -> None:
    """Waits for the gate if it begins."""
    hold.function(gate)
