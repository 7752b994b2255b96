"""Whether this node leads, or which node does. Leading begins, is transferred, and ends here.

Consensus says who is elected. A node that is elected leads once it has applied all that earlier terms committed and
has taken over the tasks that they accepted (``takeover.py``); that may take some turns. It ceases to lead in the turn
in which consensus says so, and before anything else is done in that turn: what a former leader promises may be untrue.
"""

from __future__ import annotations

from math import inf
from typing import Any

from paceline.core.deadlines import BEAT, CONSENSUS, Deadlines
from paceline.core.feature_levels import level_of_kind
from paceline.core.measures.traces import Traces
from paceline.core.membership.levels import Levels
from paceline.core.membership.peering import Peering
from paceline.core.membership.replica_keeper import ReplicaKeeper
from paceline.core.outbox import Outbox
from paceline.core.raft.consensus import Consensus
from paceline.core.raft.log import ConsensusViolation
from paceline.core.raft.timing import RandomSource
from paceline.core.scheduling.cancelling import STOP_LEVEL
from paceline.core.scheduling.due_tasks import DueTasks
from paceline.core.scheduling.leader import Leader
from paceline.core.scheduling.nodes import GONE_LIMIT_NODES
from paceline.core.scheduling.retention import Retention
from paceline.core.scheduling.retrying import Retrying
from paceline.core.scheduling.takeover import Takeover
from paceline.core.settings import Settings
from paceline.core.state.applied import Applied
from paceline.core.wall_clock import WallClock
from paceline.core.work.leader_link import LeaderLink
from paceline_protocol.messages.client import Admin, Redirect
from paceline_protocol.messages.work import Availability
from paceline_protocol.options import LISTS_LEVEL


class LeaderRole:
    """``leader`` exists while this node leads, and is made anew for each term. ``takeover`` exists before that, while
    it takes over the accepted tasks. ``keeper`` works only while this node leads."""

    def __init__(
        self,
        settings: Settings,
        consensus: Consensus,
        applied: Applied,
        peering: Peering,
        levels: Levels,
        leader_link: LeaderLink,
        traces: Traces,
        outbox: Outbox,
        deadlines: Deadlines,
        clock: WallClock,
        random: RandomSource,
        now: float,
    ) -> None:
        """``now``: when this node starts."""
        self.leader: Leader | None = None
        self.takeover: Takeover | None = None
        self.keeper = ReplicaKeeper(settings, consensus, self.transfer, outbox)
        self.elections_won = 0
        self._give_way_at = -inf  # not before, lest a cluster whose voters are all alike does nothing else
        self._known_leader = ""
        self._settings = settings
        self._consensus = consensus
        self._applied = applied
        self._peering = peering
        self._levels = levels
        self._leader_link = leader_link
        self._traces = traces
        self._outbox = outbox
        self._deadlines = deadlines
        self._clock = clock
        self._random = random
        self._started_at = now

    # --- who leads ----------------------------------------------------------------------------------------------

    def leader_id(self, now: float) -> str:
        """The leader that this node would send a client to; "" if it knows of none."""
        consensus, link = self._consensus, self._leader_link
        own_id = consensus.node_id
        if self.leader is not None:
            return own_id
        if consensus.leader_id:
            return "" if consensus.leader_id == own_id else consensus.leader_id
        recent = now - 2 * self._settings.timing.election_timeout_max_s
        if link.heard_at >= recent and link.term >= consensus.term:
            return "" if link.leader == own_id else link.leader
        return ""

    def term(self) -> int:
        """The term that goes with :meth:`leader_id`: that in which this node leads, or the highest that it knows."""
        if self.leader is not None:
            return self.leader.term
        return max(self._consensus.term, self._leader_link.term)

    def redirect(self, now: float) -> Redirect:
        """The answer to a client whose message only a leader can handle."""
        leader_id = self.leader_id(now)
        return Redirect(self.term(), leader_id, self._peering.directory.address_of(leader_id))

    def missing_voters(self) -> int:
        """How many voters are still to come before the cluster accepts its first task, as far as this node knows."""
        consensus, config = self._consensus, self._consensus.config
        if consensus.node_id not in config.voters and consensus.node_id not in config.learners:
            return 0  # a node that does not replicate is not told
        if self._applied.table.totals.accepted or config.excluded:
            return 0  # it had them once: a cluster that has lost some since, or whose operator wants fewer, goes on
        wanted = min(self._settings.min_voters, config.limit or self._settings.min_voters)
        return max(0, wanted - len(config.voters))

    # --- leading begins and ends --------------------------------------------------------------------------------

    def review_if_changed(self, now: float) -> None:
        """Review, unless this node goes on leading in the same term."""
        leader, consensus = self.leader, self._consensus
        if leader is None or not consensus.is_leader or leader.term != consensus.term:
            self.review(now)

    def review(self, now: float) -> None:
        """Begin or cease to lead, as consensus says, and say so."""
        consensus, leader = self._consensus, self.leader
        if leader is not None and (not consensus.is_leader or consensus.term != leader.term):
            self._step_down(leader, now)
        if self._may_lead():
            self._take_over(now)
        elif self.takeover is not None:
            self.takeover = None
            self._deadlines.clear_tasks()
        self._leader_link.reject_before(consensus.term)
        known = self.leader_id(now)
        if known != self._known_leader:
            self._known_leader = known
            self._leader_link.slots.tally.leader_known(known, now)
            if known and known != consensus.node_id:
                self._outbox.notice("info", f"node {known} leads (term {self.term()})")

    def _step_down(self, leader: Leader, now: float) -> None:
        self.leader = None
        self._deadlines.set(BEAT, inf)
        self._deadlines.clear_tasks()
        self.keeper.end()
        redirect = self.redirect(now)
        for key in leader.sessions.by_key:
            self._outbox.reply(key, redirect)
        why = self._consensus.why_not_leader
        self._outbox.notice("warning", f"no longer leading (term {leader.term}){f': {why}' if why else ''}")

    def _may_lead(self) -> bool:
        """Whether this node leads the log, and its table holds every task that was accepted before."""
        consensus = self._consensus
        return (
            self.leader is None
            and consensus.has_committed_in_term
            and consensus.applied_index == consensus.commit_index
        )

    def _take_over(self, now: float) -> None:
        """Lead, once the tasks that were accepted before are taken over: at once, or a slice of them in each turn."""
        consensus, table, tally = self._consensus, self._applied.table, self._leader_link.slots.tally
        takeover = self.takeover
        if takeover is None or (takeover.term, takeover.applied_index) != (consensus.term, consensus.applied_index):
            retrying = Retrying(self._random, dict(table.failures))
            retention = Retention(self._clock, self._deadlines.retained, self._deadlines.dead)
            fires = self._deadlines.fires
            due = DueTasks(self._clock, self._deadlines.moments, self._deadlines.waits, retrying, retention, fires)
            takeover = Takeover(table, consensus.term, consensus.applied_index, due, consensus.node_id, tally)
        self.takeover = takeover
        if takeover.step(now):
            self.takeover = None
            leader = Leader(
                self._settings,
                consensus.term,
                table,
                self._propose,
                now,
                takeover.tasks,
                takeover.due,
                self._traces,
                self._outbox.notice,
                self._ran_lately(),
            )
            self.leader = leader
            leader.applied(consensus.applied_index, now)
            self._tell_admission(leader, now)
            self.elections_won += 1
            self._deadlines.set(BEAT, now)  # and from then on with the heartbeats of consensus
            self._deadlines.set(CONSENSUS, consensus.next_deadline())
            self.keeper.begin(now)
            self._outbox.notice("info", f"leading in term {consensus.term}")

    def _propose(self, kind: int, data: bytes, decoded: Any) -> int:
        level = self._consensus.config.level
        if level_of_kind(kind) > level:  # the caller must ask ClusterLevel first, and refuse the call
            raise ConsensusViolation(f"an entry of kind {kind} was to be proposed at feature level {level}")
        index = self._consensus.propose(kind, data, decoded)
        if index is None:  # deposed within this very turn: the leader half is about to be dropped with its promises
            return self._consensus.log.last_index + 1
        return index

    # --- while it leads -----------------------------------------------------------------------------------------

    def tick(self, now: float, *, heartbeat: bool) -> None:
        """Do what is due while this node leads. ``heartbeat``: consensus sends its heartbeats in this turn."""
        leader = self.leader
        if leader is None:
            return
        if heartbeat or self._deadlines.is_due(BEAT, now):
            self._deadlines.set(BEAT, inf)
            leader.nodes.beat(self._live_nodes(now), now)
        for node_id in leader.tick(now, self._expected_nodes(now) if not leader.tasks.is_settled else ()):
            if leader.nodes.by_id[node_id].availability == Availability.ENDS:
                self._outbox.notice("info", f"node {node_id} is gone, as it was told to stop")
            else:
                self._outbox.notice("warning", f"node {node_id} is silent; its tasks are given to others")
        if heartbeat:
            self.review_replicas(now)
            why = self._why_to_give_way(leader)
            if why and now >= self._give_way_at:
                self._give_way_at = now + self._settings.voter_timeout_s
                self._outbox.notice("warning", f"{why}: another is to lead")
                self.transfer(now)
            self.give_way(now)

    def _why_to_give_way(self, leader: Leader) -> str:
        """What this node can't go on with as the leader, and another could; "" if there is nothing."""
        if leader.waits_for_own_disk:
            return "this node's disk is behind those of a majority"
        if leader.nodes.remembers_too_many and len(self._consensus.config.voters) > 1:
            return (
                f"more than {GONE_LIMIT_NODES} nodes have come and gone, of which only a new term forgets the numbers"
            )
        return ""

    def is_to_give_way(self, now: float) -> bool:
        """Whether this node leads and drains, and a voter is heard that does not."""
        if not self._consensus.is_leader or not self._leader_link.slots.draining.drains:
            return False
        return any(not self._drains(voter) for voter in self._heard_voters(now))

    def give_way(self, now: float) -> None:
        """A node that drains transfers the leadership, and again whenever that was in vain or it has come to lead."""
        if now >= self._give_way_at and self.is_to_give_way(now) and self.transfer(now):
            self._give_way_at = now + self._settings.voter_timeout_s

    def _heard_voters(self, now: float) -> list[str]:
        """The other voters that are heard, as the leader knows."""
        progress = self._consensus.progress(now)
        heard = [voter for voter in self._consensus.config.voters if voter in progress]
        return [voter for voter in heard if progress[voter].recently_active]

    def _drains(self, node_id: str) -> bool:
        """Whether this node has told the leader that it drains."""
        state = None if self.leader is None else self.leader.nodes.by_id.get(node_id)
        return state is not None and state.availability >= Availability.DRAINS

    def ask(self, key: bytes, request: Admin, now: float) -> None:
        """Take an operator's request to change the cluster; see ReplicaKeeper. Only while this node leads."""
        if self.keeper.ask(key, request, now):
            self.review_replicas(now)

    def review_replicas(self, now: float) -> None:
        """Take the next step toward the replicas that there should be."""
        if self.leader is not None:
            # A node that is to be one of the first voters may be older, and not heard at this moment.
            may_raise = not self.missing_voters()
            self.keeper.review(self.leader, self._levels.of_nodes(now), now, may_raise=may_raise)
            self._tell_admission(self.leader, now)

    def _tell_admission(self, leader: Leader, now: float) -> None:
        """Tell admission how many voters are missing, and which feature level is in force."""
        leader.admission.missing_voters = self.missing_voters()
        in_force = self._levels.in_force(now)
        leader.admission.cluster_level = in_force
        leader.cancelling.may_stop = in_force.level >= STOP_LEVEL
        leader.recording.may_log_losses = in_force.level >= LISTS_LEVEL

    def _live_nodes(self, now: float) -> list[str]:
        """The nodes of this cluster that were heard lately, this one first."""
        return [self._consensus.node_id, *self._peering.live_peers(now)]

    def _expected_nodes(self, now: float) -> list[str]:
        """The nodes that may be there, and so may have tasks of an earlier leader, or hand them out until its lease is
        over: those that were heard lately. A node that has just started may not have heard all of them yet; for as long
        it counts on every other voter, among which is whoever led before."""
        live = self._live_nodes(now)
        if self._peering.directory.live_since(now) < self._started_at:
            live += self._consensus.config.voters
        return live

    def _ran_lately(self) -> set[str]:
        """The nodes that may have run tasks in the last minute, as far as this one knows: replicas, and who was heard
        since."""
        config = self._consensus.config
        return {*config.voters, *config.learners, *self._peering.known_peers()}

    def transfer(self, now: float, to: str = "") -> str:
        """Leader: transfer the leadership to the voter ``to``, or to the one that has most of the log, of those that do
        not drain if there is one. Returns the voter that is to lead, also if it was asked before, and "" if nobody can.

        Until then, or until an election timeout has passed without success, nothing is started, ended or logged.
        """
        consensus, leader = self._consensus, self.leader
        under_way = consensus.transfer_target(now)
        if under_way or leader is None:
            return under_way
        if not to:
            progress = consensus.progress(now)
            heard = self._heard_voters(now)
            to = max(heard, key=lambda voter: (not self._drains(voter), progress[voter].match), default="")
        leader.log(now)  # propose the draft first, so that it is in the next leader's log, too
        if not consensus.transfer_leadership(to, now):
            return ""
        leader.set_logging(False, now)
        self._outbox.notice("info", f"transferring the leadership to node {to}")
        return to
