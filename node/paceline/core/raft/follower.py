"""What a node takes in from the leader of its term: entries, commits and snapshots.

What this module guarantees:

- The log is cut only where it differs from the leader's, and never at or below the commit index.
- It commits no further than what this very Append verified against the leader's log.
- An answer says that the log agrees with the leader's up to an index. It may be sent only once the log is durable up to
  there.
- A snapshot replaces the log only if it reaches beyond what is committed here and the log does not hold its entry.
- Nothing gets into the log that can't be there, or can't be applied: :meth:`Follower.read` and
  :meth:`Follower.check_chunk` raise PeerViolation before anything of the message counts, the term included.

``consensus.py`` has checked before that the sender leads in this term.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from paceline.core.raft.configuration import ConfigHistory, check_sane, check_succession
from paceline.core.raft.contents import Contents
from paceline.core.raft.log import Entry, Log, LogForgotten
from paceline.core.raft.snapshot_transfer import Incoming
from paceline.core.raft.writes import Writes
from paceline_protocol.codec import decode_config
from paceline_protocol.errors import PeerViolation
from paceline_protocol.messages.consensus import (
    Append,
    AppendResponse,
    EntryKind,
    Forgotten,
    SnapshotChunk,
    SnapshotResponse,
)

MAX_INDEX: Final = 2**62
"""No log gets there: the number of the next entry always fits into a frame."""


class Follower:
    """Makes this node's log equal to its leader's."""

    def __init__(self, log: Log, configs: ConfigHistory, writes: Writes) -> None:
        self._log = log
        self._configs = configs
        self._writes = writes
        self._incoming: Incoming | None = None
        self.contents = Contents()  # set by the node, which knows what its log is of
        self.heard_commit_index = 0  # the highest that the leader of ``heard_term`` has sent; for metrics alone
        self.heard_term = 0
        self._round_term = 0
        self._round = 0  # the highest number of a Confirm of that term

    def asked(self, term: int, number: int) -> None:
        """The leader of this term has begun a round of Confirm. What is answered from here on says so."""
        if term != self._round_term:
            self._round_term, self._round = term, 0
        self._round = max(self._round, number)

    def _round_in(self, term: int) -> int:
        return self._round if term == self._round_term else 0

    def read(self, append: Append) -> Sequence[Entry]:
        """The entries of an Append that this log lacks; before the first of them it is to be cut. The Append is of this
        node's term or a later one.

        Raises PeerViolation for what no leader of such a term sends: its log holds all that is committed here (Raft
        paper, 5.4.3), with the same terms; its terms never fall, and reach up to its own; its configurations follow
        each other by single changes; and each of its entries was applied by whoever proposed it, or will be. None of
        that depends on how late the message comes, or on what this node has missed: of what is not committed here
        nothing is asked but that.
        """
        log, entries = self._log, append.entries
        prev_index, prev_term = append.prev_index, append.prev_term
        held_term = log.term_at(prev_index)
        if prev_term > append.term:
            raise PeerViolation(f"entry {prev_index} of term {prev_term}, in term {append.term}")
        if prev_index <= log.commit_index and held_term not in (None, prev_term):
            raise PeerViolation(f"entry {prev_index} of term {prev_term}, and here it is committed with {held_term}")
        if not entries or not self._agrees(append):
            return ()  # it is refused, if it is not a heartbeat
        at = log.snapshot_index - prev_index - 1
        if 0 <= at < len(entries) and entries[at][0] != log.snapshot_term:
            raise PeerViolation(f"entry {log.snapshot_index} of term {entries[at][0]}, and it is committed here")
        from_index = log.first_conflict(prev_index, entries)
        if from_index is None:
            return ()
        if from_index <= log.commit_index:
            raise PeerViolation(f"another entry {from_index}, and {log.commit_index} is committed here")
        return self._read_entries(from_index, append)

    def _read_entries(self, from_index: int, append: Append) -> list[Entry]:
        read: list[Entry] = []
        last_term, config = self._log.term_at(from_index - 1) or 0, self._configs.at(from_index - 1)
        for index, (term, kind, data) in enumerate(append.entries[from_index - append.prev_index - 1 :], from_index):
            if not last_term <= term <= append.term:
                raise PeerViolation(f"entry {index} of term {term} behind one of {last_term}, in term {append.term}")
            entry = Entry(index, term, kind, data)
            if kind == EntryKind.CONFIG:
                following = self._configs.readable(decode_config(data))
                check_succession(config, following)
                entry.decoded = config = following
            else:
                entry.decoded = self.contents.read_entry(kind, data)
            read.append(entry)
            last_term = term
        return read

    def on_append(self, append: Append, read: Sequence[Entry]) -> AppendResponse:
        """``read``: what :meth:`read` has made of it."""
        log = self._log
        if append.term != self.heard_term:
            self.heard_term, self.heard_commit_index = append.term, 0
        self.heard_commit_index = max(self.heard_commit_index, append.commit)  # also while it waits for a snapshot
        if not self._agrees(append):
            return self._refusal(append)
        if read:
            self._take_entries(read)
        verified_index = append.prev_index + len(append.entries)
        log.commit_to(min(append.commit, verified_index))
        return AppendResponse(append.term, True, verified_index, 0, 0, self._round_in(append.term))

    def _agrees(self, append: Append) -> bool:
        """Whether the logs are the same up to the entry before those of the Append. What a snapshot covers is
        committed, and so it is the same in every log."""
        log = self._log
        return append.prev_index <= log.snapshot_index or log.term_at(append.prev_index) == append.prev_term

    def _refusal(self, append: Append) -> AppendResponse:
        """The hint skips all entries of terms that the leader's log can't have there (one round trip per term)."""
        hint_index = self._log.last_agreeing(append.prev_index, append.prev_term)
        hint_term = self._log.term_at(hint_index) or 0
        asked = self._round_in(append.term)
        return AppendResponse(append.term, False, append.prev_index, hint_index, hint_term, asked)

    def _take_entries(self, entries: Sequence[Entry]) -> None:
        """Append the new entries, after those that differ from the leader's are cut."""
        log = self._log
        log.truncate_from(entries[0].index)
        self._configs.truncate_from(entries[0].index)
        log.append(entries)
        for entry in entries:
            if entry.kind == EntryKind.CONFIG:
                self._configs.append(entry.index, entry.decoded)

    def check_chunk(self, chunk: SnapshotChunk) -> None:
        """Raises PeerViolation for a chunk that no leader sends. A snapshot that reaches beyond what is committed here
        was taken at a later entry of the same log, so its term is no lower. What is in it is read as it arrives."""
        if chunk.offset + len(chunk.data) > chunk.total:
            raise PeerViolation(f"bytes {chunk.offset} to {chunk.offset + len(chunk.data)} of {chunk.total}")
        log = self._log
        if chunk.index <= log.commit_index:
            return
        self.contents.check_size(chunk.total)
        committed_term = log.term_at(log.commit_index) or 0
        if not committed_term <= chunk.index_term <= chunk.term or chunk.index >= MAX_INDEX:
            raise PeerViolation(f"a snapshot of entry {chunk.index}, term {chunk.index_term}")
        check_sane(self._configs.readable(decode_config(chunk.config)))

    def on_snapshot_chunk(self, chunk: SnapshotChunk) -> SnapshotResponse:
        log = self._log
        if chunk.index > log.commit_index and log.term_at(chunk.index) == chunk.index_term:
            log.commit_to(chunk.index)  # this log holds all of it, and a snapshot covers only committed entries
        wanted = chunk.total
        if chunk.index > log.commit_index:
            incoming = self._incoming = self._incoming or Incoming()
            try:
                wanted = incoming.add(chunk, self.contents)
            except PeerViolation:
                self._incoming = None  # nothing can follow
                raise
            if wanted == chunk.total:
                snapshot = incoming.snapshot(chunk)
                self._writes.install(snapshot)
                self._configs.restore(snapshot.index, snapshot.config)
                self._incoming = None
        return SnapshotResponse(chunk.term, chunk.index, wanted)

    def check_memory(self, leader: str, forgotten: Forgotten) -> None:
        """Raises LogForgotten if this log does not hold what the leader says this node has acknowledged."""
        log = self._log
        held_term = log.term_at(forgotten.index)
        is_another = forgotten.index > log.snapshot_index and held_term != forgotten.index_term != 0
        if forgotten.index > log.last_index or is_another:
            raise LogForgotten(leader, forgotten.index, log.last_index)

    def forget_incoming(self) -> None:
        """Drop a snapshot that has arrived in part: its sender does not lead any more."""
        self._incoming = None
