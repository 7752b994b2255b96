"""Which paceline this is."""

from __future__ import annotations

import importlib.util


def is_compiled() -> bool:
    """Whether the modules on the way of every task are compiled (docs/decisions/0013), or run as source."""
    spec = importlib.util.find_spec("paceline.core.raft.consensus")
    return spec is not None and spec.origin is not None and not spec.origin.endswith(".py")
