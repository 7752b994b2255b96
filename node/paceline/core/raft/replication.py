"""How far each peer's log agrees with the leader's, and what the leader sends it next.

Rules of this module:

- :class:`Replication` lives as long as one leadership. A new leader knows nothing about its peers, and a deposed one
  keeps nothing that could be mistaken later.
- ``match < next`` always, and neither a late nor a doubled answer moves ``match`` back. A success is true for the rest
  of the term, since no peer cuts what it has verified against this leader.
- Links lose, reorder and repeat messages. There are no timers for resending: each heartbeat is an empty Append just
  behind the last entry that was sent, so a peer that has missed an entry refuses it.
- A peer that refuses what it had acknowledged, or whose log ends before that, has *forgotten*: its disk is that of
  before. An answer says up to which round of Confirm its sender had heard. So a refusal that was given after the
  leader knew of an acknowledgement can't be mistaken for one that is late (``Progress.has_lost``). Such a peer counts
  for nothing and gets no entries, until it shows that it holds all that it had acknowledged.
- What is in flight to one peer is bounded by count and bytes, and nothing but heartbeats goes to a peer that is silent.

A peer is in one of three states:

=========  =====================================================================  ========================
PROBE      where the logs agree is unknown: one empty Append at a time finds out   -> REPLICATE on success
REPLICATE  they agree up to ``match``: batches are sent ahead of their answers     -> PROBE on a refusal
SNAPSHOT   the entries it needs are compacted: a snapshot is sent chunk by chunk   -> REPLICATE when installed
=========  =====================================================================  ========================

A peer that stays silent for an election timeout is put back to PROBE.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from math import inf

from paceline.core.raft.log import ENTRY_OVERHEAD_BYTES, Log, Snapshot
from paceline.core.raft.quorum import majority
from paceline.core.raft.snapshot_transfer import Outgoing
from paceline.core.raft.timing import Timing
from paceline_protocol.codec import encode_config
from paceline_protocol.messages.consensus import (
    Append,
    AppendResponse,
    Config,
    Forgotten,
    SnapshotChunk,
    SnapshotResponse,
)

APPEND_LIMIT_BYTES = 1024 * 1024
APPEND_LIMIT_ENTRIES = 4096
IN_FLIGHT_LIMIT_APPENDS = 64
IN_FLIGHT_LIMIT_BYTES = 2 * 1024 * 1024
"""A heartbeat waits behind what is in flight, which makes its answer old and shortens the leader's lease."""


class PeerState(Enum):
    PROBE = "probe"
    REPLICATE = "replicate"
    SNAPSHOT = "snapshot"


@dataclass(frozen=True, slots=True)
class PeerProgress:
    """One peer, for ``status``."""

    match: int
    state: PeerState
    recently_active: bool
    heard_at: float  # the latest moment as of which it is known to follow and to write; -inf if never in this term
    has_forgotten: bool = False  # it lacks what it had acknowledged in this term, and counts for nothing


@dataclass(slots=True, eq=False)
class Progress:
    """One peer, as its leader sees it."""

    next: int
    heard_at: float  # when the latest round of Confirm was sent that it has answered
    answered_at: float  # when it last answered an Append or a chunk, which it does once its disk has written that
    match: int = 0
    match_round: int = 0  # the last round of Confirm that had been sent when ``match`` became known
    forgot_round: int = 0  # the round after which it had forgotten what it acknowledged; 0 if it has not
    held: int = 0  # of one that has forgotten: how far its log may agree
    state: PeerState = PeerState.PROBE
    probe_due: bool = True
    snapshot_wanted: bool = False
    transfer: Outgoing | None = None
    snapshot_bytes: int = 0  # of the snapshot that it is or was sent, until it has been sent all that follows, too
    in_flight: deque[tuple[int, int]] = field(default_factory=deque)  # (last index, bytes) of each Append
    in_flight_bytes: int = 0

    def heard(self, asked_at: float | None) -> None:
        """The peer has answered a round that was sent at ``asked_at``; None: a round that is no longer remembered."""
        if asked_at is not None and asked_at > self.heard_at and not self.forgot_round:
            self.heard_at = asked_at

    def probe(self, next_index: int) -> None:
        self._enter(PeerState.PROBE, next_index)
        self.probe_due = True

    def replicate(self) -> None:
        self._enter(PeerState.REPLICATE, self.match + 1)

    def want_snapshot(self) -> None:
        self._enter(PeerState.SNAPSHOT, self.match + 1)
        self.snapshot_wanted = True

    def _enter(self, state: PeerState, next_index: int) -> None:
        self.state, self.next = state, max(next_index, self.match + 1)
        self.probe_due = self.snapshot_wanted = False
        self.transfer = None
        self.in_flight.clear()
        self.in_flight_bytes = 0

    def has_or_is_sent(self) -> int:
        """The entry up to which the peer needs nothing from the log."""
        return self.match if self.transfer is None else max(self.match, self.transfer.snapshot.index)

    @property
    def counted(self) -> int:
        """The last entry that it is known to hold durably, by what it says by now."""
        return 0 if self.forgot_round else self.match

    def has_lost(self, refusal: AppendResponse) -> bool:
        """Whether this refusal shows that the peer lacks what it had acknowledged. It was given after that, as it knows
        of a later round; and up to ``match`` no peer cuts its log in this term."""
        return refusal.round > self.match_round and min(refusal.index - 1, refusal.hint_index) < self.match

    def forget(self, refusal: AppendResponse) -> None:
        """It has forgotten: ask for the last entry that it acknowledged, and for nothing else."""
        self.forgot_round = max(refusal.round, self.forgot_round)
        self.held = min(refusal.index - 1, refusal.hint_index)
        self.heard_at = -inf
        self._enter(PeerState.PROBE, self.match + 1)

    def remembers(self, response: AppendResponse) -> bool:
        """Whether the peer holds all that it acknowledged, by this answer: it does unless it had forgotten, and this
        is from before."""
        if self.forgot_round and (response.index < self.match or response.round <= self.forgot_round):
            return False
        self.forgot_round = 0
        return True

    def may_send(self) -> bool:
        return len(self.in_flight) < IN_FLIGHT_LIMIT_APPENDS and self.in_flight_bytes < IN_FLIGHT_LIMIT_BYTES

    def sent(self, append: Append, size_bytes: int) -> None:
        self.next += len(append.entries)
        self.in_flight.append((self.next - 1, size_bytes))
        self.in_flight_bytes += size_bytes

    def verified(self, index: int, last_round: int) -> None:
        """The peer holds, durably, the leader's log up to ``index``. ``last_round``: of Confirm, that was sent."""
        if index > self.match:
            self.match, self.match_round = index, last_round
        self.next = max(self.next, self.match + 1)
        while self.in_flight and self.in_flight[0][0] <= self.match:
            self.in_flight_bytes -= self.in_flight.popleft()[1]


class Replication:
    """All peers of one leader: what they answered, and what to send them."""

    def __init__(
        self,
        node_id: str,
        term: int,
        log: Log,
        timing: Timing,
        config: Config,
        heard_at: Mapping[str, float],
        now: float,
    ) -> None:
        self._node_id = node_id
        self._term = term
        self._log = log
        self._timing = timing
        self._since = now
        self._lease_until = -inf  # a lower bound; computed anew once it is reached
        self._has_reminders = False
        self._config = config
        self.peers = {
            peer: Progress(log.last_index + 1, heard_at.get(peer, -inf), heard_at.get(peer, -inf))
            for peer in (*config.voters, *config.learners)
            if peer != node_id
        }
        self.heartbeat_at = inf

    # --- the configuration, the quorum ---

    def set_config(self, config: Config, now: float) -> None:
        """A new peer counts as just heard. Otherwise the leader could lose its lease before it has asked the peer."""
        members = {*config.voters, *config.learners} - {self._node_id}
        new = self._log.last_index + 1
        self.peers = {peer: self.peers.get(peer) or Progress(new, now, now) for peer in sorted(members)}
        self._config = config
        self._lease_until = -inf

    def quorum_index(self) -> int:
        """The last entry that is durable at a majority of voters. The leader's own writes count once they are done."""
        if not self.peers and self._config.voters == (self._node_id,):
            return self._log.durable_index
        matches = [
            self._log.durable_index if voter == self._node_id else self.peers[voter].counted
            for voter in self._config.voters
        ]
        return sorted(matches, reverse=True)[majority(len(matches)) - 1]

    def lease_until(self, now: float) -> float:
        """Until when the leader may count on a majority to follow it: an election timeout after it sent the latest
        round that a majority has answered."""
        if now >= self._lease_until:
            heard = [inf if voter == self._node_id else self.peers[voter].heard_at for voter in self._config.voters]
            quorum_heard_at = sorted(heard, reverse=True)[majority(len(heard)) - 1]
            self._lease_until = quorum_heard_at + self._timing.election_timeout_min_s
        return self._lease_until

    # --- how far the peers are ---

    def match_of(self, peer: str) -> int:
        """The last entry that this peer is known to hold durably. 0 if nothing is known."""
        known = self.peers.get(peer)
        return known.counted if known is not None else 0

    def progress(self, now: float) -> dict[str, PeerProgress]:
        recent_s = self._timing.election_timeout_max_s
        return {
            peer_id: PeerProgress(
                peer.held if peer.forgot_round else peer.match,
                peer.state,
                now - heard_at <= recent_s,
                heard_at,
                peer.forgot_round > 0,
            )
            for peer_id, peer in self.peers.items()
            for heard_at in (min(peer.heard_at, peer.answered_at),)
        }

    def needed_behind(self, now: float, silent_s: float) -> int:
        """The entry behind which some peer may still need the log. Up to there every peer has the entries, or is being
        sent a snapshot that covers them. Peers that have been silent for ``silent_s``, or have forgotten, don't
        count."""
        since = now - silent_s
        counted = [
            peer
            for peer in self.peers.values()
            if not peer.forgot_round and max(peer.heard_at, peer.answered_at, self._since) >= since
        ]
        return min((peer.has_or_is_sent() for peer in counted), default=self._log.last_index)

    # --- answers ---

    def on_append_response(self, peer: Progress, response: AppendResponse, last_round: int) -> None:
        """``last_round``: of Confirm, that was sent."""
        if not response.success:
            self._on_refusal(peer, response)
        elif response.index <= self._log.last_index and peer.remembers(response):
            peer.verified(response.index, last_round)
            if peer.state is not PeerState.REPLICATE and response.index == peer.match >= self._log.snapshot_index:
                peer.replicate()

    def _on_refusal(self, peer: Progress, response: AppendResponse) -> None:
        if peer.has_lost(response):
            peer.forget(response)
            self._lease_until = -inf
            self._has_reminders = True
            return
        if response.index <= peer.match or peer.forgot_round:
            return  # a late answer: the peer has verified more since
        if peer.state is PeerState.REPLICATE:
            self._probe(peer, peer.match + 1)
        elif peer.state is PeerState.PROBE and response.index == peer.next - 1:
            agreed = self._log.last_agreeing(min(response.hint_index, response.index - 1), response.hint_term)
            if max(agreed, peer.match) < self._log.snapshot_index:
                peer.want_snapshot()
            else:
                peer.probe(agreed + 1)

    def take_reminders(self) -> list[tuple[str, Forgotten]]:
        """What is to be told to peers that have just shown that they have forgotten, each time that they do."""
        if not self._has_reminders:
            return []
        self._has_reminders = False
        log = self._log
        lost = [(peer_id, peer.match) for peer_id, peer in self.peers.items() if peer.forgot_round]
        return [(peer_id, Forgotten(self._term, index, log.term_at(index) or 0)) for peer_id, index in lost]

    def on_snapshot_response(self, peer: Progress, response: SnapshotResponse, last_round: int) -> None:
        transfer = peer.transfer
        if transfer is None or response.index != transfer.snapshot.index:
            return
        if response.offset < len(transfer.snapshot.data):
            transfer.answered(response.offset)
            return
        peer.verified(response.index, last_round)
        if peer.match >= self._log.snapshot_index:
            peer.replicate()
        else:  # the log was compacted further meanwhile: the peer needs a newer snapshot
            self._probe(peer, peer.match + 1)

    def start_transfer(self, to: str, snapshot: Snapshot) -> None:
        peer = self.peers.get(to)
        if peer is None or peer.state is not PeerState.SNAPSHOT or peer.transfer is not None:
            return
        if snapshot.index < self._log.snapshot_index:
            peer.snapshot_wanted = True  # the log was compacted beyond this snapshot
        else:
            peer.transfer = Outgoing(snapshot, encode_config(snapshot.config))
            peer.snapshot_bytes = len(snapshot.data)

    def snapshot_bytes(self) -> int:
        """The size of the largest snapshot that some peer is sent, or has and has not caught up behind yet."""
        return max((peer.snapshot_bytes for peer in self.peers.values()), default=0)

    def compacted(self) -> None:
        """The log lost its prefix: probe the peers whose next entry was in it."""
        for peer in self.peers.values():
            if peer.state is not PeerState.SNAPSHOT and peer.next <= self._log.snapshot_index:
                self._probe(peer, peer.match + 1)

    def _probe(self, peer: Progress, next_index: int) -> None:
        peer.probe(max(next_index, self._log.first_index))

    # --- what to send ---

    def heartbeats(self, now: float) -> Iterator[tuple[str, Append]]:
        """An empty Append to every peer. It says who leads and what is committed, and its answer shows what arrived."""
        self.heartbeat_at = now + self._timing.heartbeat_interval_s
        for peer_id, peer in self.peers.items():
            silent = now - peer.heard_at > self._timing.election_timeout_max_s
            if silent and peer.state is not PeerState.PROBE:
                self._probe(peer, peer.match + 1)
            peer.probe_due = False
            yield peer_id, self._append(max(peer.next - 1, self._log.snapshot_index), limit_entries=0)

    def take_snapshots_wanted(self) -> list[str]:
        wanted = [peer_id for peer_id, peer in self.peers.items() if peer.snapshot_wanted]
        for peer_id in wanted:
            self.peers[peer_id].snapshot_wanted = False
        return wanted

    def messages(self, now: float) -> Iterator[tuple[str, Append | SnapshotChunk]]:
        """The messages that are due to each peer. Peers with the same next entry share one Append, so that it is
        encoded once."""
        batches: dict[int, tuple[Append, int]] = {}
        for peer_id, peer in self.peers.items():
            if peer.state is PeerState.REPLICATE:
                while peer.next <= self._log.last_index and peer.may_send():
                    if peer.next not in batches:
                        append = self._append(peer.next - 1, APPEND_LIMIT_ENTRIES)
                        batches[peer.next] = (
                            append,
                            sum(ENTRY_OVERHEAD_BYTES + len(data) for _, _, data in append.entries),
                        )
                    append, size_bytes = batches[peer.next]
                    peer.sent(append, size_bytes)
                    yield peer_id, append
                if peer.next > self._log.last_index:
                    peer.snapshot_bytes = 0
            elif peer.probe_due:
                peer.probe_due = False
                yield peer_id, self._append(peer.next - 1, limit_entries=0)
            elif peer.transfer is not None:
                chunk = peer.transfer.take_chunk(self._term, now, self._timing.election_timeout_min_s)
                if chunk is not None:
                    yield peer_id, chunk

    def _append(self, prev_index: int, limit_entries: int) -> Append:
        log = self._log
        prev_term = log.term_at(prev_index)
        assert prev_term is not None, "a peer's next index lies within the log or just behind it"
        entries = log.entries(prev_index + 1, limit_entries, APPEND_LIMIT_BYTES) if limit_entries else ()
        batch = tuple((entry.term, entry.kind, entry.data) for entry in entries)
        return Append(self._term, prev_index, prev_term, log.commit_index, batch)
