"""How many voters are a majority, and how many there should be."""

from __future__ import annotations


def majority(voters: int) -> int:
    return voters // 2 + 1


def wanted_voters(alive: int, limit: int) -> int:
    """How many voters a cluster with ``alive`` live nodes should have: the largest odd number within that and
    ``limit``."""
    count = min(alive, limit)
    return count if count % 2 else count - 1
