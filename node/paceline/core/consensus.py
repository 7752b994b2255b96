"""The replicated log: one node's part in it, as a state machine without clock, disk or network.

Raft (Ongaro and Ousterhout, 2014; Ongaro's thesis for membership) with pre-vote and check-quorum. Time comes in as
``now``, in monotonic seconds; messages and writes go out through :meth:`Consensus.take_ready`.

The order that the shell keeps, for each :class:`Ready`:

1. send ``send_now``: a leader's Appends, which promise nothing;
2. write ``persist`` and make it durable: its hard state first, then the snapshot (which replaces the whole log), the
   cut, the entries. A crash may leave any prefix of that;
3. only then send ``send_after`` and call :meth:`Consensus.persisted`. A Ready without ``persist`` still waits for the
   writes before it: its answers may promise what they contain. So ``send_after`` leaves in the order of the Readies;
4. install ``snapshot``, apply ``committed``, answer ``snapshots_wanted``;
5. answer ``reads``, from what is applied by then.

What the rules are made of:

- Term and vote are durable before a vote, an answer or a vote request leaves. A candidate counts its own vote, and a
  leader its own entries, once :meth:`Consensus.persisted` says so.
- Only entries of the own term are committed by counting (Raft paper, 5.4.2), and a follower commits no further than
  what this very Append verified against its leader's log.
- The log is cut only where it differs from the leader's, and never at or below the commit index.
- A configuration is in force from its entry's append. The next one waits until the last is committed and the leader
  has committed an entry of its own term (without the latter, two leaders' changes could have disjoint quorums).
- A leader that has not heard a majority for ``election_timeout_min_s`` steps down. That long a voter that hears a
  leader helps nobody to depose it.

:class:`~paceline.core.log.ConsensusViolation` from any method means that the log contradicts itself: stop the node.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from math import inf
from typing import Any

from paceline.core.config_change import ConfigHistory, changed_servers, normal
from paceline.core.election import Ballot, ElectionTimer, RandomSource, Timing
from paceline.core.log import ConsensusViolation, Entry, HardState, Log, Snapshot
from paceline.core.pages import Stream
from paceline.core.progress import HandOver, PeerProgress, Replication
from paceline.core.reads import Reads
from paceline.core.transfer import Incoming
from paceline_protocol.codec import decode_config, encode_config
from paceline_protocol.messages import (
    Append,
    AppendResponse,
    Config,
    Confirm,
    Confirmed,
    ConsensusMessage,
    EntryKind,
    Removed,
    SnapshotChunk,
    SnapshotResponse,
    TimeoutNow,
    VoteRequest,
    VoteResponse,
)

__all__ = [
    "Consensus",
    "ConsensusViolation",
    "Entry",
    "HardState",
    "Log",
    "Persist",
    "RandomSource",
    "Ready",
    "Role",
    "Snapshot",
    "Timing",
]

BLANK = HardState()
NO_CONFIG = Config()
_OF_A_LEADER = (Append, SnapshotChunk, TimeoutNow, Confirm)


class Role(Enum):
    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


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


class Consensus:
    """One node of a replicated log.

    ``hard_state`` and ``log`` are what was persisted, ``config`` is the configuration at the log's snapshot point (the
    entries after it say what was in force later). A node that is in no configuration listens and never campaigns.

    ``durable_at_once``: nothing is written down (a restart is a new node), so whatever take_ready would hand out for
    that counts as durable, and ``Ready.persist`` is always None.
    """

    def __init__(
        self,
        node_id: str,
        *,
        timing: Timing,
        random: RandomSource,
        now: float,
        hard_state: HardState = BLANK,
        log: Log | None = None,
        config: Config = NO_CONFIG,
        durable_at_once: bool = False,
    ) -> None:
        self.node_id = node_id
        self.timing = timing
        self.log = log if log is not None else Log()
        self.hard_state = hard_state
        self.role = Role.FOLLOWER
        self.leader_id = ""
        self._now = now
        self._configs = ConfigHistory(self.log.snapshot_index, config)
        for entry in self.log.entries(self.log.first_index):
            if entry.kind == EntryKind.CONFIG:
                self._configs.append(entry.index, decode_config(entry.data))
        self._timer = ElectionTimer(timing, random, now)
        if self.config.voters == (node_id,):
            self._timer.expire(now)
        self._durable_at_once = durable_at_once
        self._ballot: Ballot | None = None
        self._replication: Replication | None = None  # as leader
        self._reads: Reads | None = None  # as leader
        self._last_ticket = 0
        self._term_start_index = 0  # as leader: the first entry of its term
        self._incoming: Incoming | None = None
        self._removed_at = (0, 0)  # (term, index) from which on others know it to be no voter
        self._seq = 0
        self._handed_hard_state = hard_state
        self._hard_state_seq = 0  # the last write that held a hard state
        self._saved_seq = 0
        self._installed: Snapshot | None = None
        self._send_now: list[tuple[str, ConsensusMessage]] = []
        self._send_after: list[tuple[str, ConsensusMessage]] = []

    # --- what it knows ---

    @property
    def term(self) -> int:
        return self.hard_state.term

    @property
    def is_leader(self) -> bool:
        return self.role is Role.LEADER

    @property
    def commit_index(self) -> int:
        return self.log.commit_index

    @property
    def applied_index(self) -> int:
        """The last entry that a Ready handed out."""
        return self.log.applied_index

    @property
    def config(self) -> Config:
        """The configuration in force: the last one in the log, committed or not."""
        return self._configs.current

    @property
    def config_committed(self) -> bool:
        return self._configs.index <= self.log.commit_index

    @property
    def is_removed(self) -> bool:
        """Whether this node was told of a configuration, later than the one it goes by, in which it does not vote."""
        return self._removed_at > self._config_position()

    def _config_position(self) -> tuple[int, int]:
        """(term, index) of the entry that put the current configuration in force, or of the snapshot that covers it.

        Such pairs grow along every log. One that is smaller than a committed pair stands before it there, or was never
        committed.
        """
        index = max(self._configs.index, self.log.snapshot_index)
        return self.log.term_at(index) or 0, index

    @property
    def has_committed_in_term(self) -> bool:
        """Leader: whether all that earlier terms accepted is committed, and so known to be final."""
        return self.is_leader and self.log.commit_index >= self._term_start_index

    def has_quorum_lease(self, now: float) -> bool:
        """Whether this leader heard a majority within ``election_timeout_min_s``."""
        return self._replication is not None and now < self._replication.lease_until(now)

    def match_of(self, peer: str) -> int:
        """Leader: how far this peer's log is known to agree, durably. 0 if nothing is known."""
        known = self._replication.peers.get(peer) if self._replication is not None else None
        return known.match if known is not None else 0

    def progress(self, now: float) -> dict[str, PeerProgress]:
        """Leader: its peers, for ``status`` and for the choice of who is promoted. Empty elsewhere."""
        if self._replication is None:
            return {}
        recent_s = self.timing.election_timeout_max_s
        return {
            peer_id: PeerProgress(peer.match, peer.state, now - peer.heard_at <= recent_s, peer.heard_at)
            for peer_id, peer in self._replication.peers.items()
        }

    def snapshot(self, data: Stream) -> Snapshot:
        """``data``, which is the state machine after ``applied_index``, with what a snapshot needs beside it."""
        index = self.log.applied_index
        term = self.log.term_at(index)
        assert term is not None, "compaction stays at or below the applied index"
        return Snapshot(index, term, self._configs.at(index), data)

    # --- time ---

    def next_deadline(self) -> float:
        """When :meth:`tick` is due, if nothing happens before; infinity for a node that only listens."""
        if self._replication is not None:
            return min(self._replication.heartbeat_at, self._replication.lease_until(self._now))
        return self._timer.deadline if self._may_campaign() else inf

    def tick(self, now: float) -> bool:
        """Do what is due. True if this node leads and it was time for its heartbeats."""
        self._now = max(now, self._now)
        self._check_quorum()
        if self._replication is not None:
            if now >= self._replication.heartbeat_at:
                self._send_now.extend(self._replication.heartbeats(now))
                if self._reads is not None:
                    self._ask_voters(self._reads.open_question())
                return True
        elif now >= self._timer.deadline and self._may_campaign():
            if self.role is Role.CANDIDATE and not self._vote_is_durable():
                self._timer.reset(now)  # its own disk is slow: another term would not make it faster
            else:
                self.campaign(now)
        return False

    def campaign(self, now: float, transfer: bool = False) -> None:
        """Stand for election. ``transfer``: the leader asked for it. So no voter's lease stands in the way, and there
        is no pre-vote, which the leader's next Append would end."""
        if self.is_leader or not self._may_campaign():
            return
        self._now = max(now, self._now)
        self.role, self.leader_id = Role.PRE_CANDIDATE, ""
        if transfer:
            self._become_candidate(transfer)
            return
        self._timer.reset(self._now)
        self._ask_for_votes(Ballot(pre=True, transfer=False))
        self._record_vote(self.node_id, granted=True)

    def transfer_leadership(self, to: str, now: float) -> bool:
        """Leader: make way for this voter (Ongaro's thesis, 3.10). False if it can't be, or another is under way.

        The voter is brought up to date and then stands at once, with every voter's leave. This node goes on leading
        until a higher term says otherwise; after ``election_timeout_max_s`` the attempt is over. Who proposes nothing
        meanwhile makes sure that the voter catches up, and that its log is as long as any.
        """
        if self._replication is None or to == self.node_id or to not in self.config.voters:
            return False
        if self.transfer_target(now):
            return False
        until = now + self.timing.election_timeout_max_s
        self._replication.hand_over = HandOver(to, until)
        return True

    def transfer_target(self, now: float) -> str:
        """Leader: the voter that it makes way for, "" if none."""
        hand_over = self._replication.hand_over if self._replication is not None else None
        return hand_over.to if hand_over is not None and now < hand_over.until else ""

    def _check_quorum(self) -> None:
        if self.is_leader and not self.has_quorum_lease(self._now):
            self._become_follower(self.term, "")

    def _may_campaign(self) -> bool:
        """A voter may; so may one whose removal is in its log but not known to be committed.

        Its log may be the longest one left, so that nobody else could win without its vote (Ongaro's thesis, 4.2.2).
        Not so once it was told that its removal is committed: then others have that entry.
        """
        if self.is_removed:
            return False
        if self.node_id in self.config.voters:
            return True
        previous = self._configs.previous
        return previous is not None and self.node_id in previous.voters and not self.config_committed

    # --- forming a cluster, proposing ---

    def bootstrap(self, now: float) -> None:
        """Form a cluster of this node alone. It then wins an ordinary election that only its own disk can delay.

        A term without a log is no obstacle: a crash during an earlier attempt leaves that, and nothing was promised.
        Raises ValueError if the node has a log. That it belongs to no other cluster is for the caller to know.
        """
        if self.log.last_index or self.config.voters:
            raise ValueError("only a node without a log can form a cluster")
        self._set_hard_state(HardState(max(self.term, 1), self.hard_state.vote or self.node_id))
        self._append(EntryKind.CONFIG, encode_config(Config((self.node_id,))))
        self.campaign(now)

    def propose(self, kind: int, data: bytes, decoded: Any = None) -> int | None:
        """Append an entry and return its index; None unless this node leads. It is sent by the next take_ready."""
        return self._append(kind, data, decoded) if self.is_leader else None

    def read_index(self, now: float) -> int | None:
        """Ask for a read that is not stale: a ticket, which a later ``Ready.reads`` holds with the entry that has to be
        applied first. None unless this node leads and knows what earlier terms committed.

        A ticket that was not confirmed when this node ceases to lead never is.
        """
        self._now = max(now, self._now)
        self._check_quorum()
        if self._reads is None or not self.has_committed_in_term:
            return None
        ticket = self._last_ticket + 1
        if not self._reads.add(ticket, self.log.commit_index):
            return None
        self._last_ticket = ticket
        return ticket

    def propose_config(self, config: Config) -> bool:
        """Change the configuration by one server. In force at once; False if it can't be done now.

        Raises ValueError if more than one server's part would change, or no voter would be left.
        """
        config = normal(config)
        changed = changed_servers(self.config, config)
        if len(changed) > 1:
            raise ValueError(f"one server at a time: {', '.join(sorted(changed))} would change")
        if config == self.config or not self._may_change_config():
            return False
        self._append(EntryKind.CONFIG, encode_config(config))
        return True

    def _may_change_config(self) -> bool:
        return self.has_committed_in_term and self.config_committed

    def _append(self, kind: int, data: bytes, decoded: Any = None) -> int:
        entry = Entry(self.log.last_index + 1, self.term, kind, data, decoded)
        self.log.append((entry,))
        if kind == EntryKind.CONFIG:
            self._config_appended(entry)
        return entry.index

    def _config_appended(self, entry: Entry) -> None:
        self._configs.append(entry.index, decode_config(entry.data))
        if self._replication is not None:
            self._replication.set_config(self.config, self._now)

    # --- what the shell reports ---

    def persisted(self, seq: int) -> None:
        """Every :class:`Persist` up to this one is durable."""
        self.log.saved(seq)
        self._saved_seq = max(seq, self._saved_seq)
        if self.role is Role.CANDIDATE and self._vote_is_durable():
            self._record_vote(self.node_id, granted=True)
        self._advance_commit()

    def _vote_is_durable(self) -> bool:
        return self.hard_state == self._handed_hard_state and self._saved_seq >= self._hard_state_seq

    def snapshot_for(self, to: str, snapshot: Snapshot) -> None:
        """The answer to ``Ready.snapshots_wanted``, which asks once. One that comes too late is ignored."""
        if self._replication is not None:
            self._replication.start_transfer(to, snapshot)

    def compact(self, to_index: int) -> None:
        """Drop the log up to an applied entry that a durable snapshot covers.

        The shell writes such a snapshot in the order of the other writes, behind what they have to cut; otherwise a
        crash could leave it in front of entries that don't follow it.
        """
        self.log.compact(to_index)
        self._configs.compact(self.log.snapshot_index)
        if self._replication is not None:
            self._replication.compacted()

    def take_ready(self) -> Ready:
        """Everything that has to be done since the last call."""
        reads = self._take_reads() if self._reads is not None else []
        self._collect_messages()
        if self._durable_at_once:
            persist = None
            if self._installed is not None:
                self.log.save_at_once()
            while self._has_unsaved():
                self._save_at_once()  # which may make this node a leader, with an entry to append
                self._collect_messages()
        else:
            persist = self._take_persist()
        installed, self._installed = self._installed, None
        replication = self._replication
        wanted = replication.take_snapshots_wanted() if replication is not None and replication.peers else []
        send_now, self._send_now = self._send_now, []
        send_after, self._send_after = self._send_after, []
        return Ready(persist, send_now, send_after, self.log.take_committed(), installed, wanted, reads)

    def _take_reads(self) -> list[tuple[int, int]]:
        assert self._reads is not None
        self._ask_voters(self._reads.new_question())
        return self._reads.take_confirmed(self.config.voters, self.node_id)

    def _ask_voters(self, number: int | None) -> None:
        if number is not None:
            question = Confirm(self.term, number)
            self._send_now.extend((voter, question) for voter in self.config.voters if voter != self.node_id)

    def _collect_messages(self) -> None:
        if self._replication is not None and self._replication.peers:
            self._send_now.extend(self._replication.messages(self._now))
            timeout_now = self._replication.timeout_now(self._now)
            if timeout_now is not None:
                self._send_now.append(timeout_now)

    def _has_unsaved(self) -> bool:
        return self.log.has_unsaved() or self.hard_state is not self._handed_hard_state

    def _save_at_once(self) -> None:
        self._handed_hard_state = self.hard_state
        self.log.save_at_once()
        if self.role is Role.CANDIDATE:
            self._record_vote(self.node_id, granted=True)
        self._advance_commit()

    def _take_persist(self) -> Persist | None:
        changed = self.hard_state if self.hard_state != self._handed_hard_state else None
        if changed is None and self._installed is None and not self.log.has_unsaved():
            return None
        self._seq += 1
        if changed is not None:
            self._handed_hard_state = changed
            self._hard_state_seq = self._seq
        truncate_from, entries = self.log.take_unsaved(self._seq)
        return Persist(self._seq, changed, truncate_from, entries, self._installed)

    # --- messages ---

    def step(self, sender: str, message: ConsensusMessage, now: float) -> None:
        """A message of ``sender``, whom the transport has authenticated."""
        self._now = max(now, self._now)
        self._check_quorum()
        if isinstance(message, Removed):
            self._on_removed(message)
            return
        if isinstance(message, VoteRequest):
            self._tell_if_removed(sender)
        if not self._settle_term(sender, message):
            return
        match message:
            case Append():
                self._on_append(sender, message)
            case AppendResponse() | SnapshotResponse() | Confirmed():
                self._on_answer(sender, message)
            case VoteRequest():
                self._on_vote_request(sender, message)
            case VoteResponse():
                self._on_vote_response(sender, message)
            case SnapshotChunk():
                self._on_snapshot_chunk(sender, message)
            case Confirm():
                self._follow(sender)
                self._send_after.append((sender, Confirmed(self.term, message.number)))
            case TimeoutNow():
                self._follow(sender)
                self.campaign(self._now, transfer=True)

    def _settle_term(self, sender: str, message: ConsensusMessage) -> bool:
        """Bring the node to the message's term; False if the message ends here."""
        if message.term < self.term:
            self._refuse_stale(sender, message)
            return False
        if isinstance(message, VoteRequest):
            if message.term > self.term and self._protects_leader(message):
                return False
            if message.pre:
                return True  # asks what would be: nobody's term changes
        elif isinstance(message, VoteResponse) and message.pre and message.granted:
            return True  # its term is the one that the candidate would stand in
        if message.term > self.term:
            self._become_follower(message.term, sender if isinstance(message, _OF_A_LEADER) else "")
        return True

    def _refuse_stale(self, sender: str, message: ConsensusMessage) -> None:
        """A deposed leader or a late candidate learns the term from this. Late answers are dropped."""
        if isinstance(message, VoteRequest):
            self._send_after.append((sender, VoteResponse(self.term, False, message.pre)))
        elif isinstance(message, _OF_A_LEADER):
            self._send_after.append((sender, AppendResponse(self.term, False, 0)))

    def _tell_if_removed(self, sender: str) -> None:
        """One that was removed while it was away would stand for ever: nobody sends it the entry that says so."""
        config = self.config
        if config.voters and sender not in config.voters and self.config_committed:
            self._send_after.append((sender, Removed(*self._config_position())))

    def _on_removed(self, message: Removed) -> None:
        """Of any term: it speaks of what is committed."""
        self._removed_at = max(self._removed_at, (message.term, message.index))
        if self._ballot is not None and self.is_removed:
            self._become_follower(self.term, "")

    def _protects_leader(self, request: VoteRequest) -> bool:
        return not request.transfer and (self.is_leader or self._timer.lease_holds(self._now))

    # --- elections ---

    def _on_vote_request(self, sender: str, request: VoteRequest) -> None:
        granted = self._may_grant(sender, request) and self.log.is_at_least(request.last_index, request.last_term)
        if granted and not request.pre:
            self._set_hard_state(HardState(self.term, sender))
            self._timer.reset(self._now)
        term = request.term if granted else self.term
        self._send_after.append((sender, VoteResponse(term, granted, request.pre)))

    def _may_grant(self, sender: str, request: VoteRequest) -> bool:
        """Learners answer too: one that was promoted may not know it yet, and its vote may be needed."""
        if request.pre:
            return request.term > self.term
        return self.hard_state.vote == sender or (not self.hard_state.vote and not self.leader_id)

    def _on_vote_response(self, sender: str, response: VoteResponse) -> None:
        if self._ballot is None or self._ballot.pre != response.pre:
            return
        if response.pre and response.granted and response.term != self.term + 1:
            return
        self._record_vote(sender, response.granted)

    def _record_vote(self, voter: str, granted: bool) -> None:
        ballot = self._ballot
        if ballot is None:
            return
        ballot.record(voter, granted, self._now)
        won = ballot.outcome(self.config.voters)
        if won is False:
            self._become_follower(self.term, "")
        elif won and ballot.pre:
            self._become_candidate(transfer=False)
        elif won:
            self._become_leader(ballot)

    def _ask_for_votes(self, ballot: Ballot) -> None:
        self._ballot = ballot
        term = self.term + 1 if ballot.pre else self.term
        request = VoteRequest(term, self.log.last_index, self.log.last_term, ballot.pre, ballot.transfer)
        self._send_after.extend((voter, request) for voter in self.config.voters if voter != self.node_id)

    def _become_candidate(self, transfer: bool) -> None:
        self.role = Role.CANDIDATE
        self._set_hard_state(HardState(self.term + 1, self.node_id))
        self._timer.reset(self._now)
        self._ask_for_votes(Ballot(pre=False, transfer=transfer))  # its own vote counts once that is durable

    def _become_leader(self, ballot: Ballot) -> None:
        self.role, self.leader_id, self._ballot = Role.LEADER, self.node_id, None
        self._replication = Replication(self.node_id, self.term, self.log, self.timing, self.config, ballot.heard_at)
        self._reads = Reads()
        self._term_start_index = self._append(EntryKind.NOOP, b"")
        self._send_now.extend(self._replication.heartbeats(self._now))

    def _become_follower(self, term: int, leader_id: str) -> None:
        if term > self.term:
            self._set_hard_state(HardState(term))
        self.role, self.leader_id = Role.FOLLOWER, leader_id
        self._ballot = self._replication = self._reads = self._incoming = None
        self._timer.reset(self._now)

    def _set_hard_state(self, hard_state: HardState) -> None:
        self.hard_state = hard_state

    # --- following ---

    def _follow(self, leader_id: str) -> None:
        """``leader_id`` leads in this term: its message says so."""
        if self.leader_id != leader_id:
            if self.leader_id:
                raise ConsensusViolation(f"{self.leader_id} and {leader_id} both lead in term {self.term}")
            self._become_follower(self.term, leader_id)
        self._timer.hear_leader(self._now)

    def _on_append(self, leader_id: str, append: Append) -> None:
        self._follow(leader_id)
        log = self.log
        if append.prev_index > log.snapshot_index and log.term_at(append.prev_index) != append.prev_term:
            self._refuse(leader_id, append)
            return
        conflict = log.first_conflict(append.prev_index, append.entries)
        if conflict is not None:
            self._take_entries(conflict, append)
        verified_index = append.prev_index + len(append.entries)
        log.commit_to(min(append.commit, verified_index))
        self._send_after.append((leader_id, AppendResponse(self.term, True, verified_index)))

    def _refuse(self, leader_id: str, append: Append) -> None:
        """The hint skips all entries of terms that the leader's log can't have there (one round trip per term)."""
        hint_index = self.log.last_agreeing(append.prev_index, append.prev_term)
        hint_term = self.log.term_at(hint_index) or 0
        response = AppendResponse(self.term, False, append.prev_index, hint_index, hint_term)
        self._send_after.append((leader_id, response))

    def _take_entries(self, from_index: int, append: Append) -> None:
        """Append what is new; what stands in its place, and differs, is cut first."""
        self.log.truncate_from(from_index)
        self._configs.truncate_from(from_index)
        for term, kind, data in append.entries[from_index - append.prev_index - 1 :]:
            entry = Entry(self.log.last_index + 1, term, kind, data)
            self.log.append((entry,))
            if kind == EntryKind.CONFIG:
                self._config_appended(entry)

    def _on_snapshot_chunk(self, leader_id: str, chunk: SnapshotChunk) -> None:
        self._follow(leader_id)
        if chunk.index > self.log.commit_index and self.log.term_at(chunk.index) == chunk.index_term:
            self.log.commit_to(chunk.index)  # all of it is here; a snapshot covers only what is committed
        wanted = chunk.total
        if chunk.index > self.log.commit_index:
            self._incoming = self._incoming or Incoming()
            wanted = self._incoming.add(chunk)
            if wanted == chunk.total:
                self._install(self._incoming.snapshot(chunk))
        self._send_after.append((leader_id, SnapshotResponse(self.term, chunk.index, wanted)))

    def _install(self, snapshot: Snapshot) -> None:
        self.log.restore(snapshot.index, snapshot.term)
        self._configs = ConfigHistory(snapshot.index, snapshot.config)
        self._installed = snapshot
        self._incoming = None

    # --- leading ---

    def _on_answer(self, sender: str, response: AppendResponse | SnapshotResponse | Confirmed) -> None:
        replication = self._replication
        peer = replication.peers.get(sender) if replication is not None else None
        if replication is None or peer is None:
            return
        peer.heard_at = self._now
        if isinstance(response, AppendResponse):
            replication.on_append_response(peer, response)
        elif isinstance(response, Confirmed):
            if self._reads is not None:
                self._reads.answered(sender, response.number)
            return
        else:
            replication.on_snapshot_response(peer, response)
        self._advance_commit()

    def _advance_commit(self) -> None:
        if self._replication is None:
            return
        index = self._replication.quorum_index()
        if index <= self.log.commit_index or not self._may_count(index):
            return
        self.log.commit_to(index)
        if self.config_committed and self.node_id not in self.config.voters:
            # The others learn of the commit now, and not from a successor's election.
            self._send_now.extend(self._replication.messages(self._now))
            self._send_now.extend(self._replication.heartbeats(self._now))
            self._become_follower(self.term, "")

    def _may_count(self, index: int) -> bool:
        return self.log.term_at(index) == self.term
