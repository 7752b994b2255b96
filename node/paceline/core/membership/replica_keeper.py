"""The leader keeps the configuration as it should be: the right number of voters and learners, or what an operator
asks.

It makes one change at a time. The rule is in ``replicas.py``, operators' requests in ``admin_requests.py``. This module
has what both decide from: which nodes are heard, for how long, and which learners have caught up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from paceline.core.feature_levels import common_level
from paceline.core.membership.admin_requests import (
    REQUEST_TIMEOUT_S,
    REQUESTS_LIMIT,
    TRANSFER_TIMEOUT_S,
    AdminRequest,
    Answer,
    SetNode,
    TransferLeadership,
    View,
    Waiting,
    next_step,
)
from paceline.core.membership.replicas import Liveness, next_config
from paceline.core.outbox import Outbox
from paceline.core.raft.consensus import Consensus
from paceline.core.raft.quorum import majority
from paceline.core.scheduling.leader import Leader
from paceline.core.settings import Settings
from paceline_protocol.limits import MAX_DETAIL_CHARS
from paceline_protocol.messages.client import Admin, AdminReply
from paceline_protocol.messages.consensus import Config
from paceline_protocol.messages.work import QUIET_LEVEL


class ReplicaKeeper:
    """Idle while this node does not lead."""

    def __init__(
        self, settings: Settings, consensus: Consensus, transfer_leadership: Callable[[float, str], str], outbox: Outbox
    ) -> None:
        """``transfer_leadership``: called with (now, to); see LeaderRole.transfer."""
        self.liveness = Liveness()
        self._too_old: frozenset[str] = frozenset()  # nodes that were reported as too old
        self._forgotten: frozenset[str] = frozenset()  # replicas that were reported to have lost what they promised
        self._settings = settings
        self._consensus = consensus
        self._transfer_leadership = transfer_leadership
        self._outbox = outbox
        self._requests: list[AdminRequest] = []  # the first one is being worked on
        self._reviewed_commit = 0  # the commit index at the last review
        self._wanted: Config | None = None  # the next configuration, until enough of its voters have answered
        self._wanted_at = 0.0
        self._began_at = 0.0

    def begin(self, now: float) -> None:
        """This node leads from now on."""
        self._began_at = now
        self.liveness = Liveness()
        self._reviewed_commit = self._consensus.commit_index
        self._wanted = None
        self._forgotten = frozenset()

    def end(self) -> None:
        """This node leads no longer. The clients send their requests to the next leader."""
        self._requests.clear()

    def ask(self, key: bytes, message: Admin, now: float) -> bool:
        """Take an operator's request. False, with a reply, if there are too many already."""
        if len(self._requests) >= REQUESTS_LIMIT:
            refusal = "too many such requests are under way; try again"
            self._outbox.reply(key, AdminReply(message.request, False, refusal))
            return False
        until = now + REQUEST_TIMEOUT_S
        self._requests.append(AdminRequest(key, message.request, message.op, message.argument, until))
        return True

    def review(self, leader: Leader, levels: Mapping[str, int], now: float, *, may_raise: bool) -> None:
        """Take the next step of a request, or else of the rule. ``levels``: the nodes that are heard, this one
        included, and the feature level that each understands (0: it has not said). ``may_raise``: whether the cluster's
        level may rise to what they have in common."""
        consensus = self._consensus
        if consensus.transfer_target(now):
            return
        settings, current, liveness = self._settings, consensus.config, self.liveness
        alive = self._heard_nodes(leader, now)
        liveness.review(alive, (*current.voters, *current.learners), now)
        gone = {node_id for node_id in current.voters if liveness.silent_s(node_id, now) >= settings.voter_timeout_s}
        gone |= {n for n in current.learners if liveness.silent_s(n, now) >= settings.learner_timeout_s}
        # Under load a learner is always a little behind. It has caught up if it has what was committed at the last
        # review.
        caught_up = frozenset(
            node_id for node_id in current.learners if consensus.match_of(node_id) >= self._reviewed_commit
        )
        self._reviewed_commit = consensus.commit_index
        too_old = self._report_too_old(levels)
        self._report_forgotten(now)
        view = View(
            current,
            consensus.node_id,
            alive,
            caught_up,
            current.limit or settings.voters,
            too_old,
            leader.nodes.availability() if self._requests else {},
            frozenset(node_id for node_id, level in levels.items() if level < QUIET_LEVEL),
            frozenset(node_id for node_id, ledger in leader.tasks.ledgers.items() if ledger.slots),
        )
        if self._requests:
            # A new leader has not heard every live node yet, and must not refuse a request for that reason.
            is_early = now < self._began_at + settings.timing.election_timeout_min_s
            if (is_early and not alive.issuperset(current.voters)) or not self._advance(
                leader, self._requests[0], view, now
            ):
                return
        raised = self._raised(levels) if may_raise else None
        config = raised or next_config(
            current,
            own_id=view.own_id,
            alive=alive,
            caught_up=caught_up,
            steady=liveness.steady(settings.learner_stable_s, now),
            gone=frozenset(gone),
            limit=view.limit,
        )
        if config is not None:
            self._change(config, now)

    def _raised(self, levels: Mapping[str, int]) -> Config | None:
        """The configuration with a higher level, once all who replicate, and all others that are heard, understand it.
        A replica that is not heard may come back as what it was."""
        config = self._consensus.config
        level = common_level({*config.voters, *config.learners, *levels}, levels)
        return replace(config, level=level) if level > config.level else None

    def _report_too_old(self, levels: Mapping[str, int]) -> frozenset[str]:
        """The nodes that understand less than the cluster has. Each is said once, as long as it is there."""
        level = self._consensus.config.level
        too_old = frozenset(node_id for node_id, understood in levels.items() if 0 < understood < level)
        for node_id in sorted(too_old - self._too_old):
            text = (
                f"node {node_id} is too old: it understands feature level {levels[node_id]}, and the cluster has "
                f"{level}. It neither replicates nor runs tasks until paceline is upgraded there"
            )
            self._outbox.notice("error", text)
        self._too_old = too_old
        return too_old

    def _report_forgotten(self, now: float) -> None:
        """The replicas that lack what they had acknowledged. Each is said once, as long as it does."""
        progress = self._consensus.progress(now)
        forgotten = frozenset(node_id for node_id, peer in progress.items() if peer.has_forgotten)
        for node_id in sorted(forgotten - self._forgotten):
            text = (
                f"node {node_id} has lost what it had promised: its log ends at entry {progress[node_id].match} or "
                "before, and it had acknowledged more. Its data directory was put back as it was before, or its disk "
                "does not keep what it is told to. It counts for nothing, and is told to end; move its data directory "
                "away and start it: it joins as a new node"
            )
            self._outbox.notice("error", text)
        self._forgotten = forgotten

    def _change(self, config: Config, now: float) -> bool:
        """Propose a configuration, once a majority of its voters has answered since it was first wanted. A voter that
        died a moment ago still counts as heard, and a configuration that needs it could commit nothing. False
        while too few have answered."""
        if config != self._wanted:
            self._wanted, self._wanted_at = config, now
        if config.voters != self._consensus.config.voters:
            progress = self._consensus.progress(now)
            answered = [voter for voter in config.voters if voter in progress]
            answered = [voter for voter in answered if progress[voter].heard_at > self._wanted_at]
            own = self._consensus.node_id in config.voters
            if len(answered) + own < majority(len(config.voters)):
                return False
        level = self._consensus.config.level
        if self._consensus.propose_config(config):
            learners = ", ".join(config.learners) or "none"
            self._outbox.notice("info", f"replicas: voters {', '.join(config.voters)}; learners {learners}")
            if config.level > level:
                self._outbox.notice("info", f"feature level {config.level}: all nodes understand it now")
        return True

    def _advance(self, leader: Leader, request: AdminRequest, view: View, now: float) -> bool:
        """Take the next step of a request. True if the rule is to be applied meanwhile."""
        if not self._consensus.config_committed:
            return False
        step = next_step(request.op, request.argument, view)
        if isinstance(step, Config) and not self._change(step, now):
            step = Waiting("a majority of the voters that there would be has not answered")
        if isinstance(step, TransferLeadership):
            request.transfer_until = min(request.transfer_until, now + TRANSFER_TIMEOUT_S)
            if now >= request.transfer_until:
                step = Answer(False, f"no other voter took over within {TRANSFER_TIMEOUT_S:g} s")
            else:
                self._transfer_leadership(now, step.to)
        elif isinstance(step, SetNode):
            leader.nodes.set_availability(*step)
            step = Waiting(f"node {step.node_id} has not said that it does so")
        if isinstance(step, Waiting) and now >= request.until:
            step = Answer(False, f"not done within {REQUEST_TIMEOUT_S:g} s: {step.why}")
        if isinstance(step, Answer):
            self._requests.remove(request)
            self._outbox.reply(request.key, AdminReply(request.number, step.done, step.detail[:MAX_DETAIL_CHARS]))
        return isinstance(step, Waiting) and step.rule

    def _heard_nodes(self, leader: Leader, now: float) -> frozenset[str]:
        """The nodes that this leader has heard within the node timeout, itself included. A replica counts only if it
        has answered for its log: a node whose disk hangs may still send everything else."""
        since = now - self._settings.node_timeout_s
        progress = self._consensus.progress(now)
        alive = {node_id for node_id, state in leader.nodes.by_id.items() if state.enrolled and state.heard_at >= since}
        alive.difference_update(progress)
        alive |= {node_id for node_id, peer in progress.items() if peer.heard_at >= since}
        alive.add(self._consensus.node_id)
        return frozenset(alive)
