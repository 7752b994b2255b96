"""How many of a number of nodes decide."""

from __future__ import annotations


def majority(voters: int) -> int:
    return voters // 2 + 1


def wanted_voters(alive: int, limit: int) -> int:
    """How many voters a cluster of so many live nodes should have: the largest odd number within both."""
    count = min(alive, limit)
    return count if count % 2 else count - 1
