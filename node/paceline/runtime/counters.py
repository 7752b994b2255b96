"""Plain integers that the reactor counts up, for whoever asks. They only watch: nothing depends on them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from paceline.runtime.children.causes import CAUSES


@dataclass(slots=True)
class Counters:
    """Totals since the node started."""

    turns: int = 0
    frames_received: int = 0
    bytes_received: int = 0  # of frames, without what carries them
    bytes_sent: int = 0
    frames_malformed: int = 0
    frames_ignored: int = 0  # of clients that are heard no more
    frames_unexpected: int = 0  # well formed, but not from where such a message may come
    frames_forbidden: int = 0  # well formed or not, from a connection whose key does not allow them
    peer_sends_failed: int = 0
    client_sends_stalled: int = 0
    clients_given_up: int = 0
    clients_ignored: int = 0  # heard no more, as too many of their frames were malformed
    loops_blocked: int = 0  # times that a task has kept the loop of an async worker from running the others
    loops_blocked_s: float = 0.0
    worker_exits: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))  # by cause

    def as_dict(self) -> dict[str, Any]:
        """Name to value."""
        return asdict(self)
