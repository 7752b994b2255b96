"""The tasks that the benchmarks run. They do nothing, so that what is measured is the cluster."""

from __future__ import annotations

from paceline.worker.registry import task


@task
def noop(value: int) -> int:
    """Gives back what it got, so that every answer can be checked against its question."""
    return value
