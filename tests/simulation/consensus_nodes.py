"""The nodes of a :class:`~simulation.consensus_world.World`: a consensus core, its disk, and messages under way."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from paceline.core.raft.consensus import Consensus
from paceline.core.raft.log import Entry, HardState, Log, Snapshot
from paceline.core.raft.ready import Persist
from paceline_protocol.messages.consensus import Config, ConsensusMessage


class InvariantViolation(AssertionError):
    """The cluster did something that the replicated log must never do."""


@dataclass
class Disk:
    """What of one node survives a crash."""

    hard_state: HardState = field(default_factory=HardState)
    snapshot: Snapshot = field(default_factory=lambda: Snapshot(0, 0, Config(), b""))
    entries: dict[int, Entry] = field(default_factory=dict)

    def steps(self, persist: Persist) -> list[Callable[[], None]]:
        """One write as the steps between which a crash may fall."""
        steps: list[Callable[[], None]] = []
        if persist.hard_state is not None:
            steps.append(partial(setattr, self, "hard_state", persist.hard_state))
        if persist.snapshot is not None:
            steps.append(partial(self._replace, persist.snapshot))
        if persist.truncate_from is not None:
            steps.append(partial(self._cut, persist.truncate_from))
        return [*steps, *(partial(self._append, entry) for entry in persist.entries)]

    def copy(self) -> Disk:
        """What somebody may put back later."""
        return Disk(self.hard_state, self.snapshot, dict(self.entries))

    def save_snapshot(self, snapshot: Snapshot) -> None:
        if snapshot.index > self.snapshot.index:
            self.snapshot = snapshot
            self.entries = {index: entry for index, entry in self.entries.items() if index > snapshot.index}

    def last_index(self) -> int:
        return max(self.entries, default=self.snapshot.index)

    def holds(self, index: int, term: int) -> bool:
        return index <= self.snapshot.index or (index in self.entries and self.entries[index].term == term)

    def log(self) -> Log:
        return Log(self.snapshot.index, self.snapshot.term, [self.entries[index] for index in sorted(self.entries)])

    def _replace(self, snapshot: Snapshot) -> None:
        self.snapshot, self.entries = snapshot, {}

    def _cut(self, index: int) -> None:
        self.entries = {at: entry for at, entry in self.entries.items() if at < index}

    def _append(self, entry: Entry) -> None:
        if entry.index != self.last_index() + 1:
            raise InvariantViolation(f"entry {entry.index} is written behind {self.last_index()}")
        self.entries[entry.index] = Entry(entry.index, entry.term, entry.kind, entry.data)


@dataclass
class Write:
    """What waits for a disk, and what may be sent only afterwards."""

    persist: Persist | None
    snapshot: Snapshot | None  # one that the node took itself
    send_after: list[tuple[str, ConsensusMessage]]


@dataclass
class Node:
    node_id: str
    disk: Disk = field(default_factory=Disk)
    core: Consensus | None = None  # None while it is down
    now: float = 0.0
    writes: deque[Write] = field(default_factory=deque)
    snapshot_queued: bool = False
    applied_index: int = 0
    digest: bytes = b""
    checked_to: tuple[int, int, int] = (0, 0, 0)
    checked_commit: int = 0
    checked_lead: tuple[int, ...] = ()
    reads: dict[int, int] = field(default_factory=dict)  # ticket -> what was committed when it was asked for


@dataclass
class Flight:
    """A message under way."""

    sender: str
    recipient: str
    message: ConsensusMessage


def next_digest(digest: bytes, entry: Entry) -> bytes:
    return hashlib.sha256(b"%b|%d|%d|%d|%b" % (digest, entry.index, entry.term, entry.kind, entry.data)).digest()
