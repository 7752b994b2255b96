"""What a node does as leader of one term: append, replicate, commit, confirm reads, transfer the leadership.

Made when an election is won and dropped when the term ends, so that nothing of it can be mistaken later.

What this module guarantees:

- Only entries of the leader's own term are committed by counting (Raft paper, 5.4.2); earlier ones are committed with
  them.
- The leader counts itself for an entry once it has written it durably, and beside itself only voters.
- A configuration is in force from its entry's append. The next one waits until the last is committed and the leader
  has committed an entry of its own term (without the latter, two leaders' changes could have disjoint quorums).
- A read is confirmed only if it arrived after the first commit of the term: before that the leader may not know what
  earlier terms committed.

``replication.py`` knows how far each peer is, and what it is sent next.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from paceline.core.raft.configuration import ConfigHistory
from paceline.core.raft.confirmations import Confirmations
from paceline.core.raft.leadership_transfer import LeadershipTransfer
from paceline.core.raft.log import Entry, Log
from paceline.core.raft.read_index import ReadIndex
from paceline.core.raft.replication import Replication
from paceline.core.raft.timing import Timing
from paceline_protocol.codec import decode_config, encode_config
from paceline_protocol.errors import PeerViolation
from paceline_protocol.messages.consensus import (
    AppendResponse,
    Config,
    Confirm,
    Confirmed,
    ConsensusMessage,
    EntryKind,
    SnapshotResponse,
    TimeoutNow,
)

_CONFIG: Final = int(EntryKind.CONFIG)  # looked up in its enum at each use it would cost as much as the append


class Leadership:
    """One term's leader. ``heard_at``: when each voter that answered its election did; the others count as silent."""

    def __init__(
        self,
        node_id: str,
        term: int,
        log: Log,
        configs: ConfigHistory,
        timing: Timing,
        heard_at: Mapping[str, float],
        now: float,
    ) -> None:
        self.replication = Replication(node_id, term, log, timing, configs.current, heard_at, now)
        self._node_id = node_id
        self._term = term
        self._log = log
        self._configs = configs
        self._timing = timing
        self._since = now
        self._confirmations = Confirmations(timing.election_timeout_max_s)
        self._reads = ReadIndex()
        self._transfer: LeadershipTransfer | None = None
        self._term_start_index = self.append(EntryKind.NOOP, b"", now)

    # --- the log ---

    def append(self, kind: int, data: bytes, now: float, decoded: Any = None) -> int:
        """Append an entry to the log and return its index. A configuration is in force at once."""
        entry = Entry(self._log.last_index + 1, self._term, kind, data, decoded)
        self._log.append((entry,))
        if kind == _CONFIG:
            self._configs.append(entry.index, decode_config(data))
            self.replication.set_config(self._configs.current, now)
            self._confirmations.keep(self.replication.peers)
            if self._transfer is not None and self._transfer.to not in self._configs.current.voters:
                self._transfer = None
        return entry.index

    @property
    def has_committed_in_term(self) -> bool:
        """Whether every entry of earlier terms that may have been committed is known to be committed."""
        return self._log.commit_index >= self._term_start_index

    def change_config(self, config: Config, now: float) -> bool:
        """Propose a checked configuration. False if no change can be made now, or if it is in force already."""
        if config == self._configs.current or not self._may_change_config():
            return False
        self.append(EntryKind.CONFIG, encode_config(config), now)
        return True

    def _may_change_config(self) -> bool:
        return self.has_committed_in_term and self._configs.index <= self._log.commit_index

    def advance_commit(self) -> bool:
        """Commit what is durable at a majority. True if that commits this leader's own removal: it must resign."""
        index = self.replication.quorum_index()
        if index <= self._log.commit_index or not self._may_count(index):
            return False
        self._log.commit_to(index)
        return self._configs.index <= index and self._node_id not in self._configs.current.voters

    def _may_count(self, index: int) -> bool:
        return self._log.term_at(index) == self._term

    # --- its peers ---

    def on_answer(self, sender: str, response: AppendResponse | SnapshotResponse | Confirmed, now: float) -> bool:
        """Take in a peer's answer; returns as :meth:`advance_commit` does. Answers of nodes that are not (or no longer)
        peers are ignored."""
        peer = self.replication.peers.get(sender)
        if peer is None:
            return False
        if isinstance(response, Confirmed):
            if not peer.forgot_round:
                peer.heard(self._confirmations.answered(sender, response.number))
            return False
        peer.answered_at = now
        if isinstance(response, AppendResponse):
            self.replication.on_append_response(peer, response, self._confirmations.last)
        else:
            self.replication.on_snapshot_response(peer, response, self._confirmations.last)
        return self.advance_commit()

    def check_answer(self, response: AppendResponse | Confirmed) -> None:
        """Raises PeerViolation for an answer of this term to what this leader has not sent."""
        if isinstance(response, Confirmed):
            if response.number > self._confirmations.last:
                raise PeerViolation(f"round {response.number} is confirmed, and {self._confirmations.last} is the last")
        elif response.success and response.index > self._log.last_index:
            raise PeerViolation(f"it holds entry {response.index}, and the log ends at {self._log.last_index}")
        elif response.round > self._confirmations.last:
            raise PeerViolation(f"it heard of round {response.round}, and {self._confirmations.last} is the last")

    def next_deadline(self, now: float) -> float:
        """When the next heartbeat is due, or the leader gives up, whichever is earlier."""
        return min(self.replication.heartbeat_at, self.gives_up_at(now))

    def gives_up_at(self, now: float) -> float:
        """When the leader gives up if it hears nothing: at the end of its lease, but not before voters can have
        answered its first round. Those that elected it may have done so long before the last of them did."""
        return max(self.replication.lease_until(now), self._since + self._timing.election_timeout_min_s)

    def tick(self, now: float, send: list[tuple[str, ConsensusMessage]]) -> bool:
        """Add the heartbeats if they are due. Returns whether they were."""
        if now < self.replication.heartbeat_at:
            return False
        self.beat(now, send)
        return True

    def beat(self, now: float, send: list[tuple[str, ConsensusMessage]]) -> None:
        """Add the heartbeats, and a Confirm to each peer."""
        if self._transfer is not None:
            self._transfer.repeat()
        send.extend(self.replication.heartbeats(now))
        self._ask(now, send)

    def collect(self, send: list[tuple[str, ConsensusMessage]], now: float) -> None:
        """Add the messages that are due to each peer."""
        send.extend(self.replication.messages(now))
        transfer = self._transfer
        if transfer is None:
            return
        if transfer.is_over(now):
            self._transfer = None
        elif transfer.must_tell(self.replication.match_of(transfer.to), self._log.last_index):
            send.append((transfer.to, TimeoutNow(self._term)))

    # --- leadership transfer ---

    def transfer(self, to: str, now: float) -> bool:
        """Begin to transfer the leadership to this voter. False if ``to`` is not another voter, or if a transfer is
        under way."""
        if to == self._node_id or to not in self._configs.current.voters or self.transfer_target(now):
            return False
        self._transfer = LeadershipTransfer(to, now + self._timing.election_timeout_max_s)
        return True

    def transfer_target(self, now: float) -> str:
        """The voter that the leadership is being transferred to; "" if no transfer is under way."""
        transfer = self._transfer
        return "" if transfer is None or transfer.is_over(now) else transfer.to

    def best_voter(self) -> str:
        """The other voter with the longest log; among equals, the one that was heard most recently."""
        peers = self.replication.peers
        others = (voter for voter in self._configs.current.voters if voter in peers)
        return max(others, key=lambda voter: (peers[voter].counted, peers[voter].heard_at))

    # --- reads ---

    def add_read(self, ticket: int) -> bool:
        """Take a read. False if the leader does not know yet what earlier terms committed, or if too many reads
        wait."""
        last_round = self._confirmations.last
        return self.has_committed_in_term and self._reads.add(ticket, self._log.commit_index, last_round)

    def take_reads(self, now: float, send: list[tuple[str, ConsensusMessage]]) -> list[tuple[int, int]]:
        """The reads that are confirmed. Adds a Confirm to each peer if a read has arrived since the last round."""
        if not self._reads:
            return []
        if self._reads.wants_round(self._confirmations.last):
            self._ask(now, send)
        through = self._confirmations.answered_by_majority(self._configs.current.voters, self._node_id)
        return self._reads.take_confirmed(through)

    def _ask(self, now: float, send: list[tuple[str, ConsensusMessage]]) -> None:
        confirm = Confirm(self._term, self._confirmations.ask(now))
        send.extend((peer, confirm) for peer in self.replication.peers)
