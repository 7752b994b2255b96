"""What one node has to write down, and what of its term and vote is durable.

What this module guarantees:

- Every change of term, vote and log, and every snapshot that a leader sent, is handed out for writing once, in the
  order of the changes, under a number that grows.
- :attr:`Writes.has_durable_vote` holds only if the very term and vote that are in force have been written. A candidate
  counts its own vote by that. :class:`~paceline.core.raft.log.Log` knows how far the entries are durable.
"""

from __future__ import annotations

from paceline.core.raft.log import HardState, Log, Snapshot
from paceline.core.raft.ready import Persist


class Writes:
    """Hands one node's hard state, log and snapshots to its disk. All of them are durable when this is made."""

    def __init__(self, log: Log, hard_state: HardState) -> None:
        self.hard_state = hard_state
        self.installed: Snapshot | None = None  # a leader sent it, and no Ready has handed it out yet
        self._log = log
        self._handed = hard_state
        self._handed_seq = 0  # the last write that held a hard state
        self._seq = 0
        self._saved_seq = 0

    def set_hard_state(self, hard_state: HardState) -> None:
        self.hard_state = hard_state

    def install(self, snapshot: Snapshot) -> None:
        """Replace the whole log by a snapshot that a leader sent."""
        self._log.restore(snapshot.index, snapshot.term)
        self.installed = snapshot

    @property
    def has_durable_vote(self) -> bool:
        return self.hard_state == self._handed and self._saved_seq >= self._handed_seq

    def has_unsaved(self) -> bool:
        """Whether term, vote or log changed since they were handed out."""
        return self._log.has_unsaved() or self.hard_state is not self._handed

    @property
    def is_under_way(self) -> bool:
        """Whether any change is not durable yet, whether it was handed out or not."""
        return self._saved_seq < self._seq or self.has_unsaved()

    def take_persist(self) -> Persist | None:
        """The write of all changes since the last one; None if there are none."""
        changed = self.hard_state if self.hard_state != self._handed else None
        if changed is None and self.installed is None and not self._log.has_unsaved():
            return None
        self._seq += 1
        if changed is not None:
            self._handed = changed
            self._handed_seq = self._seq
        truncate_from, entries = self._log.take_unsaved(self._seq)
        return Persist(self._seq, changed, truncate_from, entries, self.installed)

    def saved(self, seq: int) -> None:
        """Every write up to ``seq`` is durable."""
        self._log.saved(seq)
        if seq > self._saved_seq:
            self._saved_seq = seq

    def save_at_once(self) -> None:
        """Count term, vote and log as durable, for a node that writes nothing to a disk."""
        self._handed = self.hard_state
        self._log.save_at_once()
