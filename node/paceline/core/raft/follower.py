"""What a node takes in from the leader of its term: entries, commits and snapshots.

What this module guarantees:

- The log is cut only where it differs from the leader's, and never at or below the commit index.
- It commits no further than what this very Append verified against the leader's log.
- An answer says that the log agrees with the leader's up to an index. It may be sent only once the log is durable up to
  there.
- A snapshot replaces the log only if it reaches beyond what is committed here and the log does not hold its entry.

``consensus.py`` has checked before that the sender leads in this term.
"""

from __future__ import annotations

from paceline.core.raft.configuration import ConfigHistory
from paceline.core.raft.log import Entry, Log
from paceline.core.raft.snapshot_transfer import Incoming
from paceline.core.raft.writes import Writes
from paceline_protocol.codec import decode_config
from paceline_protocol.messages import Append, AppendResponse, EntryKind, SnapshotChunk, SnapshotResponse


class Follower:
    """Makes this node's log equal to its leader's."""

    def __init__(self, log: Log, configs: ConfigHistory, writes: Writes) -> None:
        self._log = log
        self._configs = configs
        self._writes = writes
        self._incoming: Incoming | None = None
        self.heard_commit_index = 0  # the highest that a leader has sent; for metrics alone

    def on_append(self, append: Append) -> AppendResponse:
        log = self._log
        self.heard_commit_index = max(self.heard_commit_index, append.commit)  # also while it waits for a snapshot
        if append.prev_index > log.snapshot_index and log.term_at(append.prev_index) != append.prev_term:
            return self._refusal(append)
        conflict = log.first_conflict(append.prev_index, append.entries)
        if conflict is not None:
            self._take_entries(conflict, append)
        verified_index = append.prev_index + len(append.entries)
        log.commit_to(min(append.commit, verified_index))
        return AppendResponse(append.term, True, verified_index)

    def _refusal(self, append: Append) -> AppendResponse:
        """The hint skips all entries of terms that the leader's log can't have there (one round trip per term)."""
        hint_index = self._log.last_agreeing(append.prev_index, append.prev_term)
        hint_term = self._log.term_at(hint_index) or 0
        return AppendResponse(append.term, False, append.prev_index, hint_index, hint_term)

    def _take_entries(self, from_index: int, append: Append) -> None:
        """Append the new entries, after those that differ from the leader's are cut."""
        log = self._log
        entries = append.entries[from_index - append.prev_index - 1 :]
        # One that can't be read raises here, before the log has it: a log with such an entry is damaged for good.
        configs = {
            index: decode_config(data)
            for index, (_, kind, data) in enumerate(entries, from_index)
            if kind == EntryKind.CONFIG
        }
        log.truncate_from(from_index)
        self._configs.truncate_from(from_index)
        for term, kind, data in entries:
            entry = Entry(log.last_index + 1, term, kind, data)
            log.append((entry,))
            config = configs.get(entry.index)
            if config is not None:
                self._configs.append(entry.index, config)

    def on_snapshot_chunk(self, chunk: SnapshotChunk) -> SnapshotResponse:
        log = self._log
        if chunk.index > log.commit_index and log.term_at(chunk.index) == chunk.index_term:
            log.commit_to(chunk.index)  # this log holds all of it, and a snapshot covers only committed entries
        wanted = chunk.total
        if chunk.index > log.commit_index:
            incoming = self._incoming = self._incoming or Incoming()
            wanted = incoming.add(chunk)
            if wanted == chunk.total:
                snapshot = incoming.snapshot(chunk)
                self._writes.install(snapshot)
                self._configs.restore(snapshot.index, snapshot.config)
                self._incoming = None
        return SnapshotResponse(chunk.term, chunk.index, wanted)

    def forget_incoming(self) -> None:
        """Drop a snapshot that has arrived in part: its sender does not lead any more."""
        self._incoming = None
