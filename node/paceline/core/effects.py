"""What the core asks its shell to do. The shell does it in the order given here, and tells the core what became of it.

1. ``to_workers``, then ``to_peers``: nothing in them promises anything that is not durable.
2. ``persist``: write it down. Several may be under way; they complete in order.
3. ``after_persist``: send once this Effects' ``persist`` and all earlier ones are durable; then call
   ``NodeCore.persisted(persist.seq)`` and collect effects again.
4. ``save_snapshot``: write it, not before the Persists until then; later ones may overtake it, and if there is another
   before it is begun it may be left out. Nothing waits for it.
5. ``to_clients``, ``notices``.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from paceline.core.raft.log import Snapshot
from paceline.core.raft.ready import Persist
from paceline_protocol.messages import PeerMessage
from paceline_protocol.messages.client import ClientReply
from paceline_protocol.messages.membership import Envelope
from paceline_protocol.messages.records import Assignment

PeerBatch = tuple[str, Envelope, list[PeerMessage], bool]
"""(address, envelope, messages, whether by the quick connection; see ``outbox.py``)"""

WorkerBatch = tuple[bytes, tuple[Assignment, ...]]
"""(worker id, tasks to run)"""

Urgent = tuple[list[WorkerBatch], list[PeerBatch], list[tuple[bytes, ClientReply]]]
"""Tasks for workers, tasks and outcomes between nodes, replies to clients: none of it promises anything that is not
durable."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that an operator may want to know. ``level``: "info", "warning" or "error"; a line in the log."""

    level: str
    text: str


@dataclass(slots=True)
class Effects:
    """One turn's work for the shell."""

    to_workers: list[WorkerBatch] = field(default_factory=list)
    to_peers: list[PeerBatch] = field(default_factory=list)
    persist: Persist | None = None
    after_persist: list[PeerBatch] = field(default_factory=list)
    save_snapshot: Snapshot | None = None
    to_clients: list[tuple[bytes, ClientReply]] = field(default_factory=list)
    forget_addresses: list[str] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    identity_changed: bool = False
