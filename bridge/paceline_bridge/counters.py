"""The numbers of a running bridge, for metrics and status. One thread writes them, any thread reads them."""

from __future__ import annotations

from dataclasses import dataclass, field

STATES = ("starting", "running", "reconnecting", "stopping", "stopped")


@dataclass(slots=True)
class BridgeCounters:
    """``state`` is one of STATES. ``messages`` counts by (result, protocol), result being one of "submitted", "acked",
    "replied", "undelivered" (a reply that RabbitMQ did not take), "dead_lettered",
    "refused" and "duplicate" (a message for a task that another one asked for)."""

    state: str = "starting"
    connected: bool = False
    blocked: bool = False  # RabbitMQ takes no publishes, as it does when short of memory or disk
    turned_at: float = 0.0  # when the loop looked after everything last, on the monotonic clock
    cluster_heard_at: float = 0.0  # when its leader answered last, on the monotonic clock
    unacked: int = 0
    unacked_bytes: int = 0
    held: int = 0  # of them, refused ones for which the dead letter queue has no room
    outstanding: int = 0  # at the cluster, and not ended, without those that are or were delayed
    delayed: int = 0  # those, from their acceptance to their end
    window: int = 0
    connections_lost: int = 0
    messages: dict[tuple[str, str], int] = field(default_factory=dict)

    def lost(self) -> None:
        """The connections are lost, and with them all that was under way."""
        self.state = "reconnecting"
        self.connected = self.blocked = False
        self.unacked_bytes = self.held = 0
        self.unacked = self.outstanding = self.delayed = self.window = 0

    def count(self, result: str, protocol: str) -> None:
        key = (result, protocol)
        self.messages[key] = self.messages.get(key, 0) + 1
