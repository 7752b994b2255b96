"""Who may lead: the election timer, the lease that a voter grants a leader by hearing it, and the votes.

The intuition. A voter trusts a leader for ``election_timeout_min_s`` after it last heard it. For as long the voter
grants no other candidate its vote, and for as long a leader that was heard by a majority may act as leader. A node
campaigns only after a longer, random silence. It first asks whether it could win (pre-vote), which changes nothing at
any voter, so a node that was cut off and comes back does not disturb a leader that works. While its ballot is open the
node repeats its request to the voters that have not answered, once per heartbeat interval: a link may have lost the
request, and a voter that still trusts the last leader does not answer, but may do so a moment later.

What this module guarantees:

- One vote per term, and only for a candidate whose log holds all that may be committed here. A pre-vote is no promise:
  it is given to anyone who could win, and changes nothing.
- A voter that hears a leader votes for no other candidate, unless the leader itself asked for that (a leadership
  transfer).
- Only answers to the open ballot count, and only those of voters.

:class:`Election` counts votes and grants them. ``consensus.py`` decides which role and term follow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from math import inf

from paceline.core.raft.configuration import ConfigHistory
from paceline.core.raft.log import HardState, Log
from paceline.core.raft.quorum import majority
from paceline.core.raft.timing import RandomSource, Timing
from paceline.core.raft.writes import Writes
from paceline_protocol.messages.consensus import ConsensusMessage, VoteRequest, VoteResponse


class Role(Enum):
    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class ElectionTimer:
    """When this node campaigns, unless it hears a leader before."""

    def __init__(self, timing: Timing, random: RandomSource, now: float) -> None:
        self._timing = timing
        self._random = random
        # A node that restarts has forgotten when it heard a leader. For one lease it acts as if it had just heard one.
        self._heard_at = now
        self.reset(now)

    def reset(self, now: float) -> None:
        """Draw a new timeout, at each change of term or role and for each vote granted."""
        self._timeout_s = self._random.uniform(self._timing.election_timeout_min_s, self._timing.election_timeout_max_s)
        self.deadline = now + self._timeout_s

    def retry(self, now: float) -> None:
        """Campaign again soon: the last election had no winner, or was lost because of its term. The pause is long
        enough for a winner to make itself heard, and is drawn anew, or two candidates could split the votes for
        ever."""
        self.reset(now)
        self.deadline = now + self._pause_s()

    def hasten(self, now: float) -> None:
        """Campaign again soon, unless the open election is won before: it has a rival."""
        self.deadline = min(self.deadline, now + self._pause_s())

    def _pause_s(self) -> float:
        return self._random.uniform(self._timing.heartbeat_interval_s, self._timing.election_timeout_min_s)

    def expire(self, now: float) -> None:
        """Campaign at the next tick: there is no other voter to wait for."""
        self.deadline = now

    def hear_leader(self, now: float) -> None:
        self._heard_at = now
        self.deadline = now + self._timeout_s

    def lease_holds(self, now: float) -> bool:
        """Whether this voter heard a leader so recently that it must not vote for another candidate."""
        return now - self._heard_at < self._timing.election_timeout_min_s


@dataclass(slots=True, eq=False)
class Ballot:
    """The votes of one (pre-)election. The first answer of a voter stands."""

    pre: bool
    transfer: bool
    answers: dict[str, bool] = field(default_factory=dict)
    heard_at: dict[str, float] = field(default_factory=dict)

    def record(self, voter: str, granted: bool, now: float) -> None:
        self.answers.setdefault(voter, granted)
        self.heard_at[voter] = now

    def outcome(self, voters: tuple[str, ...]) -> bool | None:
        """True: won. False: lost for good. None: open. Answers of non-voters don't count."""
        needed = majority(len(voters))
        granted = sum(self.answers.get(voter, False) for voter in voters)
        refused = sum(not self.answers.get(voter, True) for voter in voters)
        if granted >= needed:
            return True
        return False if len(voters) - refused < needed else None


class Election:
    """One node's part in elections: the votes that it grants, and those that it requests."""

    def __init__(
        self,
        node_id: str,
        log: Log,
        configs: ConfigHistory,
        writes: Writes,
        *,
        timing: Timing,
        random: RandomSource,
        now: float,
    ) -> None:
        self.timer = ElectionTimer(timing, random, now)
        self.ballot: Ballot | None = None  # while it campaigns
        self._timing = timing
        self._ask_again_at = inf
        self._node_id = node_id
        self._log = log
        self._configs = configs
        self._writes = writes
        if configs.current.voters == (node_id,):
            self.timer.expire(now)

    # --- as a voter ---

    def protects_leader(self, message: ConsensusMessage, is_leader: bool, now: float) -> bool:
        """Whether this is a request of a candidate that would depose a leader that works: this node (``is_leader``), or
        one that it heard recently. Then even the candidate's term is ignored."""
        if not isinstance(message, VoteRequest) or message.transfer:
            return False
        return is_leader or self.timer.lease_holds(now)

    def answer(self, candidate: str, request: VoteRequest, leader_id: str, now: float) -> VoteResponse:
        """The answer to a request of this term, or to a pre-vote. It may be sent only once the vote is durable."""
        granted = self._may_grant(candidate, request, leader_id)
        granted = granted and self._log.is_at_least(request.last_index, request.last_term)
        term = self._writes.hard_state.term
        if granted and not request.pre:
            self._writes.set_hard_state(HardState(term, candidate))
            self.timer.reset(now)
        return VoteResponse(request.term if granted else term, granted, request.pre)

    def _may_grant(self, candidate: str, request: VoteRequest, leader_id: str) -> bool:
        """A learner grants votes, too: it may have been promoted without knowing it yet, and its vote may be needed."""
        term, vote = self._writes.hard_state.term, self._writes.hard_state.vote
        if request.pre:
            return request.term > term
        return vote == candidate or (not vote and not leader_id)

    # --- as a candidate ---

    @property
    def is_candidate(self) -> bool:
        """Whether the open ballot is an election and not a pre-vote: in a term of its own, with its own vote."""
        return self.ballot is not None and not self.ballot.pre

    def campaign(self, pre: bool, transfer: bool, now: float, send: list[tuple[str, ConsensusMessage]]) -> None:
        """Open a ballot and add requests to the other voters. They may be sent only once term and vote are durable.

        Without ``pre`` the node enters the next term and votes for itself. Its own vote is recorded like any other, and
        only once it is durable.
        """
        term = self._writes.hard_state.term + 1
        if not pre:
            self._writes.set_hard_state(HardState(term, self._node_id))
        self.timer.reset(now)
        self.ballot = Ballot(pre, transfer)
        self._ask(self.ballot, now, send)

    def next_deadline(self) -> float:
        """When this node is to campaign (again), or to repeat its requests."""
        return self.timer.deadline if self.ballot is None else min(self.timer.deadline, self._ask_again_at)

    def ask_again(self, now: float, send: list[tuple[str, ConsensusMessage]]) -> None:
        """Repeat the requests of the open ballot if that is due. While this node's own writes are under way the first
        requests have not been sent either, so nothing is repeated."""
        if self.ballot is None or now < self._ask_again_at:
            return
        if self._writes.is_under_way:
            self._ask_again_at = now + self._timing.heartbeat_interval_s
        else:
            self._ask(self.ballot, now, send)

    def _ask(self, ballot: Ballot, now: float, send: list[tuple[str, ConsensusMessage]]) -> None:
        """Send a request to every other voter that has not answered."""
        self._ask_again_at = now + self._timing.heartbeat_interval_s
        term = self._writes.hard_state.term + ballot.pre
        request = VoteRequest(term, self._log.last_index, self._log.last_term, ballot.pre, ballot.transfer)
        silent = (voter for voter in self._configs.current.voters if voter not in ballot.answers)
        send.extend((voter, request) for voter in silent if voter != self._node_id)

    def is_answer(self, response: VoteResponse) -> bool:
        """Whether this response is to the open ballot."""
        if self.ballot is None or self.ballot.pre != response.pre:
            return False
        return not (response.pre and response.granted) or response.term == self._writes.hard_state.term + 1

    def record(self, voter: str, granted: bool, now: float, send: list[tuple[str, ConsensusMessage]]) -> bool | None:
        """Count one vote. True if the election is won, False if it can't be won any more, None while it is open or if
        there is no ballot. A won pre-vote opens the ballot of the election itself."""
        ballot = self.ballot
        if ballot is None:
            return None
        ballot.record(voter, granted, now)
        won = ballot.outcome(self._configs.current.voters)
        if won and ballot.pre:
            self.campaign(pre=False, transfer=False, now=now, send=send)
            return None
        return won

    def close(self) -> dict[str, float]:
        """End the campaign. Returns when each voter answered."""
        ballot, self.ballot = self.ballot, None
        return ballot.heard_at if ballot is not None else {}
