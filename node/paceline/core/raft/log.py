"""The log in memory: what was appended, what of it is durable, committed and applied.

Rules of this module:

- The log is the suffix after a snapshot point: ``snapshot_index`` and ``snapshot_term`` stand for all that was before.
- Four marks move through it. ``applied_index <= commit_index <= last_index``; ``durable_index <= last_index``. The
  commit index may run ahead of what is durable *here*: a quorum of others is enough.
- It is cut only by :meth:`Log.truncate_from`, and never at or below the commit index: that would undo what a quorum
  holds, so it stops the node.
- Writing is asynchronous. :meth:`Log.take_unsaved` hands each change to the disk once, in order, under a number, and
  :meth:`Log.saved` is told that the write is done. If entries are cut while their write is under way, that write no
  longer makes them durable. So an entry that was appended, cut and appended again is durable only once its *last* write
  is done.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from paceline.core.raft.contents import SnapshotReading
from paceline.core.raft.pages import Stream
from paceline_protocol.messages.consensus import Config, WireEntry

ENTRY_OVERHEAD_BYTES = 16
"""Added to the size of each entry's data, so that a batch of empty entries is bounded too."""


class ConsensusViolation(Exception):
    """The replicated log contradicts itself, by a fault of this node. It must stop: going on could lose or fork what
    was committed. No message leads here: what contradicts the log is refused as a PeerViolation before it counts."""


class LogForgotten(Exception):
    """What this node had acknowledged is gone from its disk. It must stop: it may have forgotten votes, too."""

    def __init__(self, leader: str, acknowledged: int, held: int) -> None:
        super().__init__(
            f"it has told its leader, node {leader}, that it keeps entry {acknowledged} of the log, and its journal "
            f"ends at entry {held}"
        )


@dataclass(slots=True, eq=False)
class Entry:
    """One log entry. ``decoded`` is ``data`` as the proposer had it parsed already, or as the follower has read it; it
    is never persisted or sent."""

    index: int
    term: int
    kind: int
    data: bytes
    decoded: Any = None


@dataclass(frozen=True, slots=True)
class HardState:
    """What a node must never forget: the highest term that it saw, and the node that it voted for there ("": none)."""

    term: int = 0
    vote: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state machine after entry ``index``, and the configuration in force there. ``reading``: of one that a leader
    sent, what has read ``data``; it is never persisted or sent."""

    index: int
    term: int
    config: Config
    data: Stream
    reading: SnapshotReading | None = field(default=None, compare=False)


@dataclass(slots=True)
class _Write:
    """A write under way, and the last entry that it makes durable. A cut lowers that."""

    seq: int
    last_index: int


class Log:
    """Entries ``first_index .. last_index``, all of them durable when it is built from what was persisted."""

    def __init__(self, snapshot_index: int = 0, snapshot_term: int = 0, entries: Iterable[Entry] = ()) -> None:
        self.snapshot_index = snapshot_index
        self.snapshot_term = snapshot_term
        self._entries = list(entries)
        for index, entry in enumerate(self._entries, snapshot_index + 1):
            if entry.index != index:
                raise ConsensusViolation(f"the persisted log has entry {entry.index} where {index} belongs")
        self.commit_index = snapshot_index
        self.applied_index = snapshot_index
        self.durable_index = self.last_index
        self._handed_index = self.last_index  # the last entry given to a write
        self._cut_from: int | None = None  # the lowest entry cut after it was given to a write
        self._writes: deque[_Write] = deque()

    @property
    def first_index(self) -> int:
        return self.snapshot_index + 1

    @property
    def last_index(self) -> int:
        return self.snapshot_index + len(self._entries)

    @property
    def last_term(self) -> int:
        return self._entries[-1].term if self._entries else self.snapshot_term

    def term_at(self, index: int) -> int | None:
        """The term of an entry, or of the snapshot point; None outside of what is held."""
        if index == self.snapshot_index:
            return self.snapshot_term
        if self.snapshot_index < index <= self.last_index:
            return self._entries[index - self.first_index].term
        return None

    def entries(
        self, from_index: int, limit_entries: int | None = None, limit_bytes: int | None = None
    ) -> Sequence[Entry]:
        """Entries from ``from_index`` on, within both limits, but at least one if there is any."""
        start = from_index - self.first_index
        if start < 0:
            raise ConsensusViolation(f"entry {from_index} was asked for after it was compacted away")
        found = self._entries[start : None if limit_entries is None else start + max(limit_entries, 1)]
        if limit_bytes is None:
            return found
        total_bytes = 0
        for count, entry in enumerate(found):
            total_bytes += ENTRY_OVERHEAD_BYTES + len(entry.data)
            if total_bytes > limit_bytes and count:
                return found[:count]
        return found

    def entries_to(self, from_index: int, to_index: int) -> list[Entry]:
        """Entries ``from_index .. to_index``, both included."""
        return self._entries[from_index - self.first_index : to_index - self.first_index + 1]

    def is_at_least(self, index: int, term: int) -> bool:
        """Whether a log that ends with (index, term) holds all that may be committed here (Raft paper, 5.4.1)."""
        return (term, index) >= (self.last_term, self.last_index)

    def last_agreeing(self, index: int, term: int) -> int:
        """The largest index <= ``index`` whose term is <= ``term``. Above it this log can't agree with one that has an
        entry of ``term`` at ``index``.

        An index below the snapshot point is returned as it is, since no terms are known there.
        """
        if index < self.snapshot_index:
            return index
        end = min(index, self.last_index) - self.snapshot_index
        return self.snapshot_index + bisect_right(self._entries, term, 0, end, key=lambda entry: entry.term)

    def first_conflict(self, prev_index: int, entries: Sequence[WireEntry]) -> int | None:
        """The index of the first of ``entries`` that this log does not hold with the same term; None if it holds all.

        Entries that the snapshot covers are committed, and so are the same in every log.
        """
        if prev_index == self.last_index:
            return prev_index + 1 if entries else None
        for index, (term, _kind, _data) in enumerate(entries, prev_index + 1):
            if index > self.snapshot_index and self.term_at(index) != term:
                return index
        return None

    def append(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            if entry.index != self.last_index + 1 or entry.term < self.last_term:
                raise ConsensusViolation(
                    f"entry {entry.index} of term {entry.term} can't follow {self.last_index} of term {self.last_term}"
                )
            self._entries.append(entry)

    def truncate_from(self, index: int) -> None:
        """Cut ``index`` and all entries after it, because the leader's log differs from there on."""
        if index <= self.commit_index:
            raise ConsensusViolation(f"a leader's log differs at {index}, and {self.commit_index} is committed here")
        if index > self.last_index:
            return
        del self._entries[index - self.first_index :]
        if index <= self._handed_index:
            self._cut_from = index if self._cut_from is None else min(self._cut_from, index)
        self._handed_index = min(self._handed_index, index - 1)
        self._limit_durable(index - 1)

    def commit_to(self, index: int) -> None:
        if index > self.last_index:
            raise ConsensusViolation(f"commit of {index}, and the log ends at {self.last_index}")
        self.commit_index = max(self.commit_index, index)

    def take_committed(self) -> list[Entry]:
        """The committed entries that were not handed out yet. They count as applied from here on."""
        if self.applied_index == self.commit_index:
            return []
        committed = self.entries_to(self.applied_index + 1, self.commit_index)
        self.applied_index = self.commit_index
        return committed

    def compact(self, to_index: int) -> None:
        """Drop the prefix up to ``to_index``, which a snapshot covers, as far as the log itself is durable."""
        if to_index > self.applied_index:
            raise ConsensusViolation(f"compaction to {to_index}, and only {self.applied_index} is applied")
        to_index = min(to_index, self.durable_index)
        if to_index <= self.snapshot_index:
            return
        self.snapshot_term, dropped = (
            self._entries[to_index - self.first_index].term,
            to_index - self.snapshot_index,
        )
        del self._entries[:dropped]
        self.snapshot_index = to_index

    def restore(self, index: int, term: int) -> None:
        """Replace the whole log by a snapshot point. Nothing is durable until the write of that snapshot is done."""
        if index <= self.commit_index:
            raise ConsensusViolation(f"a snapshot at {index} would undo the commit of {self.commit_index}")
        self._entries.clear()
        self.snapshot_index = self.commit_index = self.applied_index = self._handed_index = index
        self.snapshot_term = term
        self._cut_from = None
        self._limit_durable(0)

    def has_unsaved(self) -> bool:
        return self._handed_index < self.last_index or self._cut_from is not None

    def take_unsaved(self, seq: int) -> tuple[int | None, list[Entry]]:
        """What the write numbered ``seq`` must do: cut from an index (None: nothing to cut), then append."""
        cut_from, entries = self._cut_from, self.entries_to(self._handed_index + 1, self.last_index)
        self._cut_from = None
        self._handed_index = self.last_index
        self._writes.append(_Write(seq, self.last_index))
        return cut_from, entries

    def save_at_once(self) -> None:
        """Count every entry as durable, for a node that writes nothing to a disk."""
        self._cut_from = None
        self._handed_index = self.durable_index = self.last_index

    def saved(self, seq: int) -> None:
        """Every write up to ``seq`` is durable."""
        while self._writes and self._writes[0].seq <= seq:
            self.durable_index = max(self.durable_index, self._writes.popleft().last_index)

    def _limit_durable(self, index: int) -> None:
        self.durable_index = min(self.durable_index, index)
        for write in self._writes:
            write.last_index = min(write.last_index, index)
