"""What the replicated log asks of its shell: one :class:`Ready` per turn.

The order that the shell keeps, for each of them:

1. send ``send_now``: messages that promise nothing that is not durable, as a leader's Appends;
2. write ``persist`` and make it durable: its hard state first, then the snapshot (which replaces the whole log), the
   cut, the entries. A crash may leave any prefix of these;
3. only then send ``send_after`` and call :meth:`Consensus.persisted`. A Ready without ``persist`` still waits for the
   writes before it, since its answers may promise what those contain. So ``send_after`` is sent in the order of the
   Readies;
4. install ``snapshot``, apply ``committed``, answer ``snapshots_wanted``;
5. answer ``reads`` from the state that is applied by then.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from paceline.core.raft.log import Entry, HardState, Snapshot
from paceline_protocol.messages.consensus import ConsensusMessage


@dataclass(slots=True)
class Persist:
    """One write. ``seq`` counts them; :meth:`Consensus.persisted` takes it back once the write is durable."""

    seq: int
    hard_state: HardState | None = None
    truncate_from: int | None = None
    entries: list[Entry] = field(default_factory=list)
    snapshot: Snapshot | None = None


@dataclass(slots=True)
class Ready:
    """What to do now, in the order that the module's docstring gives."""

    persist: Persist | None
    send_now: list[tuple[str, ConsensusMessage]]
    send_after: list[tuple[str, ConsensusMessage]]
    committed: list[Entry]
    snapshot: Snapshot | None
    snapshots_wanted: list[str]
    reads: list[tuple[int, int]]  # (ticket, index): a state with this entry applied is not stale for that read

    def __bool__(self) -> bool:
        return bool(
            self.persist
            or self.send_now
            or self.send_after
            or self.committed
            or self.snapshot
            or self.snapshots_wanted
            or self.reads
        )
