"""The replicated log: one node's part in it, as a state machine without clock, disk or network.

Raft (Ongaro and Ousterhout, 2014; Ongaro's thesis for membership) with pre-vote and check-quorum. Time comes in as
``now``, in monotonic seconds; messages and writes go out through :meth:`Consensus.take_ready`, and the order that the
shell keeps with them is in ``ready.py``.

What lives here is what the parts share: who leads, and which messages are of this term. Each part keeps its own state
and its own promises:

- ``election``: votes, given and asked for; the lease that a voter grants a leader it hears
- ``eligibility``: whether this node may campaign at all, or was removed
- ``leadership``: as leader, append, commit by counting, change the configuration, read, transfer the leadership
  (``leadership_transfer``)
- ``confirmations``: as leader, who is known to follow, as of when
- ``replication``: as leader, how far each peer is
- ``follower``: taking in what a leader sends
- ``writes``: what goes to the disk, and what of term and vote is durable
- ``log``: the entries, and how far they are durable, committed, applied

What the whole guarantees, beside that:

- Term and vote are durable before a vote, an answer or a vote request leaves. A candidate counts its own vote, and a
  leader its own entries, once :meth:`Consensus.persisted` says so.
- There is one leader per term: who claims to be the second is not heard.
- A leader becomes a follower ``election_timeout_min_s`` after it sent the latest Confirm that a majority has answered.
  For as long a voter that hears a leader grants no other candidate its vote.

:class:`~paceline.core.raft.log.ConsensusViolation` from any method means that the log contradicts itself: stop the
node. A message never leads there: :meth:`Consensus.step` raises PeerViolation for one that no honest node sends, before
anything of it counts, and then all is as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any

from paceline.core.feature_levels import FEATURE_LEVEL, FIRST_LEVEL
from paceline.core.raft.configuration import checked_change, config_history
from paceline.core.raft.contents import Contents
from paceline.core.raft.election import Election, Role
from paceline.core.raft.eligibility import Eligibility
from paceline.core.raft.follower import Follower
from paceline.core.raft.leadership import Leadership
from paceline.core.raft.log import Entry, HardState, Log, Snapshot
from paceline.core.raft.pages import Stream
from paceline.core.raft.ready import Persist, Ready
from paceline.core.raft.replication import PeerProgress
from paceline.core.raft.terms import check_term, is_from_leader, is_hypothetical, refusal
from paceline.core.raft.timing import RandomSource, Timing
from paceline.core.raft.writes import Writes
from paceline_protocol.codec import encode_config
from paceline_protocol.errors import PeerViolation
from paceline_protocol.messages import consensus as m
from paceline_protocol.messages.consensus import Config, ConsensusMessage, EntryKind

BLANK = HardState()
NO_CONFIG = Config()


class Consensus:
    """One node of a replicated log.

    ``hard_state`` and ``log`` are what was persisted. ``config`` is the configuration at the log's snapshot point; the
    entries after that point hold the later ones. A node that is in no configuration listens and never campaigns.

    ``durable_at_once``: nothing is written to a disk, and a restart makes a new node. Then every change counts as
    durable as soon as take_ready hands it out, and ``Ready.persist`` is always None.

    ``feature_level``: the highest that this node understands. A log of a higher one raises NodeTooOld, here or in
    :meth:`step`: the node must stop.
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
        feature_level: int = FEATURE_LEVEL,
    ) -> None:
        self.node_id = node_id
        self.timing = timing
        self.log = log if log is not None else Log()
        self.leader_id = ""
        self.why_not_leader = ""  # why it does not lead any more, if it did before
        self._now = now
        self._durable_at_once = durable_at_once
        self._configs = configs = config_history(self.log, config, feature_level)
        self._writes = writes = Writes(self.log, hard_state)
        self._eligibility = Eligibility(node_id, self.log, configs)
        self._election = Election(node_id, self.log, configs, writes, timing=timing, random=random, now=now)
        self._follower = Follower(self.log, configs, writes)
        self._leadership: Leadership | None = None  # as leader
        self._last_ticket = 0
        self._send_now: list[tuple[str, ConsensusMessage]] = []
        self._send_after: list[tuple[str, ConsensusMessage]] = []

    # --- what it knows ---

    @property
    def hard_state(self) -> HardState:
        return self._writes.hard_state

    @property
    def term(self) -> int:
        return self._writes.hard_state.term

    @property
    def role(self) -> Role:
        if self._leadership is not None:
            return Role.LEADER
        if self._election.ballot is None:
            return Role.FOLLOWER
        return Role.CANDIDATE if self._election.is_candidate else Role.PRE_CANDIDATE

    @property
    def is_leader(self) -> bool:
        return self._leadership is not None

    @property
    def commit_index(self) -> int:
        return self.log.commit_index

    @property
    def heard_commit_index(self) -> int:
        """The highest commit index that this node's leaders have sent. Its own log may not reach there. For metrics."""
        return self._follower.heard_commit_index

    @property
    def applied_index(self) -> int:
        """The last entry that a Ready handed out."""
        return self.log.applied_index

    @property
    def durable_index(self) -> int:
        """The last entry up to which this node's own disk has the log."""
        return self.log.durable_index

    @property
    def config(self) -> Config:
        """The configuration in force: the last one in the log, whether it is committed or not."""
        return self._configs.current

    @property
    def config_committed(self) -> bool:
        return self._configs.index <= self.log.commit_index

    @property
    def is_removed(self) -> bool:
        """Whether this node knows of a configuration, later than the last one in its log, in which it does not vote."""
        return self._eligibility.is_removed

    @property
    def has_committed_in_term(self) -> bool:
        """Leader: whether every entry of earlier terms that may have been committed is known to be committed."""
        return self._leadership is not None and self._leadership.has_committed_in_term

    def has_quorum_lease(self, now: float) -> bool:
        """Whether a majority has answered a Confirm that this leader sent within the last
        ``election_timeout_min_s``."""
        return self._leadership is not None and now < self._leadership.replication.lease_until(now)

    def match_of(self, peer: str) -> int:
        """Leader: the last entry that this peer is known to hold durably. 0 if nothing is known."""
        return self._leadership.replication.match_of(peer) if self._leadership is not None else 0

    def progress(self, now: float) -> dict[str, PeerProgress]:
        """Leader: its peers, for ``status`` and for the choice of who is promoted. Empty elsewhere."""
        return self._leadership.replication.progress(now) if self._leadership is not None else {}

    def needed_behind(self, silent_s: float) -> int:
        """Leader: the entry behind which some peer may still need the log. A peer that has been silent for ``silent_s``
        does not count. A node that does not lead returns its last entry."""
        leadership = self._leadership
        return self.log.last_index if leadership is None else leadership.replication.needed_behind(self._now, silent_s)

    def snapshot_bytes(self) -> int:
        """Leader: the size of the largest snapshot that some peer is sent, or has not caught up behind yet."""
        return 0 if self._leadership is None else self._leadership.replication.snapshot_bytes()

    def snapshot(self, data: Stream) -> Snapshot:
        """The snapshot of ``data``, which is the state machine after ``applied_index``."""
        index = self.log.applied_index
        term = self.log.term_at(index)
        assert term is not None, "compaction stays at or below the applied index"
        return Snapshot(index, term, self._configs.at(index), data)

    # --- time ---

    def next_deadline(self) -> float:
        """When :meth:`tick` is due, if nothing happens before; infinity for a node that only listens."""
        if self._leadership is not None:
            return self._leadership.next_deadline(self._now)
        return self._election.next_deadline() if self._eligibility.may_campaign() else inf

    def tick(self, now: float) -> bool:
        """Do what is due at ``now``. True if this node leads and has just sent heartbeats."""
        self._now = max(now, self._now)
        self._check_quorum()
        if self._leadership is not None:
            return self._leadership.tick(now, self._send_now)
        if not self._eligibility.may_campaign():
            return False
        if now < self._election.timer.deadline:
            self._election.ask_again(now, self._send_after)
        elif self._election.is_candidate and not self._writes.has_durable_vote:
            self._election.timer.reset(now)  # the disk has not written its own vote yet; a new term would not help
        else:
            self.campaign(now)
        return False

    def _check_quorum(self) -> None:
        if self._leadership is not None and self._now >= self._leadership.gives_up_at(self._now):
            self._become_follower(self.term, "", "no majority of the voters has answered for too long")

    # --- forming a cluster, proposing, transferring the leadership ---

    def bootstrap(self, now: float, level: int = FIRST_LEVEL) -> None:
        """Form a cluster of this node alone. The node then wins an ordinary election that only its own disk can delay.

        A node may have a term and no log: a crash during an earlier attempt leaves that state, and the node had
        promised nothing by then. ``level``: the feature level to begin with. The caller makes sure that the node
        belongs to no other cluster. Raises ValueError if the node has a log.
        """
        if self.log.last_index or self.config.voters:
            raise ValueError("only a node without a log can form a cluster")
        self._writes.set_hard_state(HardState(max(self.term, 1), self.hard_state.vote or self.node_id))
        config = Config((self.node_id,), level=level)
        self.log.append((Entry(self.log.last_index + 1, self.term, EntryKind.CONFIG, encode_config(config)),))
        self._configs.append(self.log.last_index, config)
        self.campaign(now)

    def propose(self, kind: int, data: bytes, decoded: Any = None) -> int | None:
        """Append an entry and return its index; None unless this node leads. The next take_ready sends the entry."""
        return self._leadership.append(kind, data, self._now, decoded) if self._leadership is not None else None

    def propose_config(self, config: Config) -> bool:
        """Propose ``config``, which differs from the present one in one server. It is in force at once.

        Returns False if no change can be made now. Raises ValueError if ``config`` changes the role of more than one
        server, or leaves no voter.
        """
        config = checked_change(self.config, config)
        return self._leadership is not None and self._leadership.change_config(config, self._now)

    def read_index(self, now: float) -> int | None:
        """Begin a read that must not be stale. Returns a ticket; a later ``Ready.reads`` holds that ticket, with the
        index of the entry that has to be applied before the read. None unless this node leads and knows what earlier
        terms committed.

        If this node is deposed before it confirms a ticket, the ticket is never confirmed.
        """
        self._now = max(now, self._now)
        self._check_quorum()
        ticket = self._last_ticket + 1
        if self._leadership is None or not self._leadership.add_read(ticket):
            return None
        self._last_ticket = ticket
        return ticket

    def transfer_leadership(self, to: str, now: float) -> bool:
        """Leader: begin to transfer the leadership to this voter; see ``leadership_transfer.py``. False if ``to`` is
        not another voter, or if a transfer is under way.

        The attempt ends after ``election_timeout_max_s``. The caller must propose nothing until then."""
        return self._leadership is not None and self._leadership.transfer(to, now)

    def transfer_target(self, now: float) -> str:
        """Leader: the voter that the leadership is being transferred to; "" if no transfer is under way."""
        return self._leadership.transfer_target(now) if self._leadership is not None else ""

    # --- what the shell reports, and what it has to do ---

    def persisted(self, seq: int) -> None:
        """Every :class:`Persist` up to this one is durable."""
        self._writes.saved(seq)
        self._count_durable()

    def _count_durable(self) -> None:
        """More is durable here. That may win this node its election, or commit entries that it proposed as leader."""
        if self._election.ballot is not None and self._election.is_candidate and self._writes.has_durable_vote:
            self._record_vote(self.node_id, granted=True)
        if self._leadership is not None and self._leadership.advance_commit():
            self._resign(self._leadership)

    def snapshot_for(self, to: str, snapshot: Snapshot) -> None:
        """The snapshot for a peer that ``Ready.snapshots_wanted`` named. Each peer is named once. A snapshot that the
        peer no longer needs is ignored."""
        if self._leadership is not None:
            self._leadership.replication.start_transfer(to, snapshot)

    def compact(self, to_index: int) -> None:
        """Drop the log in memory up to an applied entry, as far as it is durable.

        The journal keeps those entries until a snapshot covers them. The shell writes that snapshot in order with the
        other writes, after the ones that truncate the log. Otherwise a crash could leave the snapshot in front of
        entries that don't follow it.
        """
        self.log.compact(to_index)
        self._configs.compact(self.log.snapshot_index)
        if self._leadership is not None:
            self._leadership.replication.compacted()

    def take_ready(self) -> Ready:
        """Everything that has to be done since the last call."""
        writes = self._writes
        reads = self._leadership.take_reads(self._now, self._send_now) if self._leadership is not None else []
        self._collect_messages()
        persist: Persist | None = None
        if self._durable_at_once:
            if writes.installed is not None:
                self.log.save_at_once()
            while writes.has_unsaved():
                writes.save_at_once()
                self._count_durable()  # this node may become leader by that, and append an entry
                self._collect_messages()
        else:
            persist = writes.take_persist()
        installed, writes.installed = writes.installed, None
        replication = self._leadership.replication if self._leadership is not None else None
        wanted = replication.take_snapshots_wanted() if replication is not None and replication.peers else []
        send_now, self._send_now = self._send_now, []
        send_after, self._send_after = self._send_after, []
        return Ready(persist, send_now, send_after, self.log.take_committed(), installed, wanted, reads)

    def _collect_messages(self) -> None:
        if self._leadership is not None and self._leadership.replication.peers:
            self._leadership.collect(self._send_now, self._now)

    # --- messages ---

    def set_contents(self, contents: Contents) -> None:
        """Say what the log is of: what leaders send is read by that before it counts."""
        self._follower.contents = contents

    def step(self, sender: str, message: ConsensusMessage, now: float) -> None:
        """A message of ``sender``, whom the transport has authenticated. Raises ProtocolError for one that no honest
        node sends, NodeTooOld, and LogForgotten, after which the node must stop. Nothing has changed then, but that the
        leader of a snapshot whose content makes no sense was heard."""
        self._now = max(now, self._now)
        self._check_quorum()
        read = self._checked(sender, message)
        if isinstance(message, m.Removed):
            self._on_removed(sender, message)
            return
        if isinstance(message, m.VoteRequest):
            removed = self._eligibility.answer_to(sender)
            if removed is not None:
                self._send_after.append((sender, removed))
        if not self._settle_term(sender, message):
            return
        match message:
            case m.Append():
                self._follow(sender)
                answer = self._follower.on_append(message, read)
                if answer.success:
                    self._eligibility.is_replicated_to()
                self._send_after.append((sender, answer))
            case m.AppendResponse() | m.SnapshotResponse() | m.Confirmed():
                leadership = self._leadership
                if leadership is not None:
                    if leadership.on_answer(sender, message, self._now):
                        self._resign(leadership)
                    self._send_now.extend(leadership.replication.take_reminders())
            case m.VoteRequest():
                response = self._election.answer(sender, message, self.leader_id, self._now)
                self._send_after.append((sender, response))
            case m.VoteResponse():
                if self._election.is_answer(message):
                    self._record_vote(sender, message.granted)
            case m.SnapshotChunk():
                self._follow(sender)
                self._send_after.append((sender, self._follower.on_snapshot_chunk(message)))
            case m.Confirm():
                self._follow(sender)
                self._follower.asked(message.term, message.number)
                # The answer promises nothing but the term, so it need not wait for the log to be written. If it did,
                # slow disks would depose a leader, and the next leader would have the same disks.
                send = self._send_now if self._writes.has_durable_vote else self._send_after
                send.append((sender, m.Confirmed(self.term, message.number)))
            case m.Forgotten():
                self._follow(sender)
                self._follower.check_memory(sender, message)
            case m.TimeoutNow():
                self._follow(sender)
                self.campaign(self._now, transfer=True)

    def _checked(self, sender: str, message: ConsensusMessage) -> Sequence[Entry]:
        """Raises PeerViolation for a message that no honest node sends. Returns the new entries of an Append.

        What comes from an earlier term is refused by its term alone: a deposed leader's log may differ, and late
        answers say nothing. What is asked of a message of this term holds since each term has one leader, who keeps its
        log and its numbers for as long as it leads; a node that restarts leads no term again.
        """
        term = self.term
        check_term(message, term)
        if message.term < term:
            return ()
        if message.term == term and is_from_leader(message) and self.leader_id not in ("", sender):
            raise PeerViolation(f"it leads in term {term}, and {self.leader_id} does")
        match message:
            case m.Append():
                return self._follower.read(message)
            case m.SnapshotChunk():
                self._follower.check_chunk(message)
            case m.VoteRequest() if message.last_term >= message.term:  # a candidate campaigns in a term of its own
                raise PeerViolation(f"a log that ends in term {message.last_term}, in an election for {message.term}")
            case m.AppendResponse() | m.Confirmed():
                if message.term == term and self._leadership is not None:
                    self._leadership.check_answer(message)
            case _:
                pass
        return ()

    def _settle_term(self, sender: str, message: ConsensusMessage) -> bool:
        """Move the node to the message's term. False if the message is to be dropped."""
        if message.term < self.term:
            answer = refusal(message, self.term)
            if answer is not None:
                self._send_after.append((sender, answer))
            return False
        if message.term > self.term:
            if self._election.protects_leader(message, self.is_leader, self._now):
                return False
            if not is_hypothetical(message):
                is_refused = self._election.ballot is not None and isinstance(message, m.VoteResponse)
                leader_id = sender if is_from_leader(message) else ""
                self._become_follower(message.term, leader_id, f"node {sender} is in term {message.term}")
                if is_refused:  # the voter refused because of the term, and its log may still allow this node to win
                    self._election.timer.retry(self._now)
        return True

    def _on_removed(self, sender: str, message: m.Removed) -> None:
        """A voter that this node has asked for its vote says so. From anyone else, or once the ballot is closed, it
        counts for nothing: whoever was removed asks again, and is told again."""
        if self._election.ballot is None or sender not in self.config.voters:
            return
        self._eligibility.heard(message)
        if self.is_removed:
            self._become_follower(self.term, "")

    # --- roles ---

    def campaign(self, now: float, transfer: bool = False) -> None:
        """Start an election. ``transfer``: the leader asked for it. Then voters grant their votes although they hear a
        leader, and there is no pre-vote, since the leader's next Append would end it."""
        if self.is_leader or not self._eligibility.may_campaign():
            return
        self._now, self.leader_id = max(now, self._now), ""
        self._election.campaign(not transfer, transfer, self._now, self._send_after)
        if not transfer:
            self._record_vote(self.node_id, granted=True)

    def _record_vote(self, voter: str, granted: bool) -> None:
        won = self._election.record(voter, granted, self._now, self._send_after)
        if won:
            self._become_leader(self._election.close())
        elif won is False:
            is_split = self._election.is_candidate  # the pre-vote was won, so two candidates have split the votes
            self._become_follower(self.term, "")
            if is_split:
                self._election.timer.retry(self._now)
        elif not granted and self._election.is_candidate:  # a rival has this vote, and who has not answered may be dead
            self._election.timer.hasten(self._now)

    def _become_leader(self, heard_at: dict[str, float]) -> None:
        self.leader_id = self.node_id
        self._leadership = Leadership(
            self.node_id, self.term, self.log, self._configs, self.timing, heard_at, self._now
        )
        self._leadership.beat(self._now, self._send_now)

    def _resign(self, leadership: Leadership) -> None:
        """This leader's removal is committed. Tell the others so now, rather than leave it to the next election, and
        have the voter with the longest log start that election at once, rather than after an election timeout."""
        self._send_now.extend(leadership.replication.messages(self._now))
        self._send_now.extend(leadership.replication.heartbeats(self._now))
        self._send_now.append((leadership.best_voter(), m.TimeoutNow(self.term)))
        self._become_follower(self.term, "", "it is a voter no more")

    def _become_follower(self, term: int, leader_id: str, why: str = "") -> None:
        """``why`` a leader is none any more."""
        if self._leadership is not None:
            self.why_not_leader = why
        if term > self.term:
            self._writes.set_hard_state(HardState(term))
        self.leader_id, self._leadership = leader_id, None
        self._election.close()
        self._follower.forget_incoming()
        self._election.timer.reset(self._now)

    def _follow(self, leader_id: str) -> None:
        """``leader_id`` leads in this term: its message says so."""
        if self.leader_id != leader_id:
            self._become_follower(self.term, leader_id)
        self._election.timer.hear_leader(self._now)
