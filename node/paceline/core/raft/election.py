"""Who may lead: the election timer, the lease that a voter grants a leader by hearing it, and the votes.

The intuition. A leader is trusted for ``election_timeout_min_s`` after it was last heard: that long no voter helps to
depose it, and that long a leader that heard a majority may act as such. A node stands for election only after a longer,
random silence, and first asks whether it could win (pre-vote), which changes nothing at anybody. So a node that was cut
off and comes back does not disturb a leader that works. While its question is open, those that have not answered are
asked again with every heartbeat interval: a link may have lost it, and a voter that still trusted the last leader says
nothing, and may answer a moment later.

What this module guarantees:

- One vote per term, and only for a candidate whose log holds all that may be committed here. A pre-vote is no promise:
  it is given to anyone who could win, and changes nothing.
- A voter that hears a leader helps nobody to depose it, unless the leader itself asked for it (a hand-over).
- Only answers to the question that is open count, and only those of voters.

:class:`Election` counts and answers. What follows from it, a role or a term, is for ``consensus.py`` to settle.
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
from paceline_protocol.messages import ConsensusMessage, VoteRequest, VoteResponse


class Role(Enum):
    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class ElectionTimer:
    """When this node stands for election, unless it hears a leader before."""

    def __init__(self, timing: Timing, random: RandomSource, now: float) -> None:
        self._timing = timing
        self._random = random
        # A node that restarts has forgotten whom it heard last: it holds still for one lease, as if it just had.
        self._heard_at = now
        self.reset(now)

    def reset(self, now: float) -> None:
        """Draw a new timeout, at each change of term or role and for each vote granted."""
        self._timeout_s = self._random.uniform(self._timing.election_timeout_min_s, self._timing.election_timeout_max_s)
        self.deadline = now + self._timeout_s

    def retry(self, now: float) -> None:
        """Stand anew soon: there was nobody to hear when this node stood. Not so soon that whoever won could not say so
        before, and drawn again, or two that stood together would do so for ever."""
        self.reset(now)
        self.deadline = now + self._random.uniform(
            self._timing.heartbeat_interval_s, self._timing.election_timeout_min_s
        )

    def expire(self, now: float) -> None:
        """Stand at once: there is nobody to wait for."""
        self.deadline = now

    def hear_leader(self, now: float) -> None:
        self._heard_at = now
        self.deadline = now + self._timeout_s

    def lease_holds(self, now: float) -> bool:
        """Whether a leader was heard so lately that this voter must not help another."""
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
    """One node's part in elections: what it answers to candidates, and the votes that it asks for itself."""

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
        self.ballot: Ballot | None = None  # while it stands
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
        """Whether this is a candidate that would depose a leader that works: this node (``is_leader``), or one that it
        heard lately. Then even the candidate's term is ignored."""
        if not isinstance(message, VoteRequest) or message.transfer:
            return False
        return is_leader or self.timer.lease_holds(now)

    def answer(self, candidate: str, request: VoteRequest, leader_id: str, now: float) -> VoteResponse:
        """The answer to a request of this term, or to a pre-vote; it may leave only once the vote is durable."""
        granted = self._may_grant(candidate, request, leader_id)
        granted = granted and self._log.is_at_least(request.last_index, request.last_term)
        term = self._writes.hard_state.term
        if granted and not request.pre:
            self._writes.set_hard_state(HardState(term, candidate))
            self.timer.reset(now)
        return VoteResponse(request.term if granted else term, granted, request.pre)

    def _may_grant(self, candidate: str, request: VoteRequest, leader_id: str) -> bool:
        """Learners answer too: one that was promoted may not know it yet, and its vote may be needed."""
        term, vote = self._writes.hard_state.term, self._writes.hard_state.vote
        if request.pre:
            return request.term > term
        return vote == candidate or (not vote and not leader_id)

    # --- as a candidate ---

    @property
    def is_candidate(self) -> bool:
        """Whether it stands for real: in a term of its own, with its own vote."""
        return self.ballot is not None and not self.ballot.pre

    def stand(self, pre: bool, transfer: bool, now: float, send: list[tuple[str, ConsensusMessage]]) -> None:
        """Open a ballot and ask the other voters, which may leave only once term and vote are durable.

        Without ``pre`` it is for the next term, with this node's own vote in it. That one counts once it is recorded
        like any other, and so has to wait for the disk.
        """
        term = self._writes.hard_state.term + 1
        if not pre:
            self._writes.set_hard_state(HardState(term, self._node_id))
        self.timer.reset(now)
        self.ballot = Ballot(pre, transfer)
        self._ask(self.ballot, now, send)

    def next_deadline(self) -> float:
        """When this node is to stand (anew), or to ask again."""
        return self.timer.deadline if self.ballot is None else min(self.timer.deadline, self._ask_again_at)

    def ask_again(self, now: float, send: list[tuple[str, ConsensusMessage]]) -> None:
        """Repeat the open question if it is time to. Not while this node's own disk is busy: the first one has not left
        either, then."""
        if self.ballot is None or now < self._ask_again_at:
            return
        if self._writes.is_under_way:
            self._ask_again_at = now + self._timing.heartbeat_interval_s
        else:
            self._ask(self.ballot, now, send)

    def _ask(self, ballot: Ballot, now: float, send: list[tuple[str, ConsensusMessage]]) -> None:
        """Every other voter that has not answered."""
        self._ask_again_at = now + self._timing.heartbeat_interval_s
        term = self._writes.hard_state.term + ballot.pre
        request = VoteRequest(term, self._log.last_index, self._log.last_term, ballot.pre, ballot.transfer)
        silent = (voter for voter in self._configs.current.voters if voter not in ballot.answers)
        send.extend((voter, request) for voter in silent if voter != self._node_id)

    def is_answer(self, response: VoteResponse) -> bool:
        """Whether it answers the question that is open."""
        if self.ballot is None or self.ballot.pre != response.pre:
            return False
        return not (response.pre and response.granted) or response.term == self._writes.hard_state.term + 1

    def record(self, voter: str, granted: bool, now: float, send: list[tuple[str, ConsensusMessage]]) -> bool | None:
        """True if that wins the election, False if it is lost for good, None while it is open or if there is none.
        Who wins the pre-vote stands for real at once."""
        ballot = self.ballot
        if ballot is None:
            return None
        ballot.record(voter, granted, now)
        won = ballot.outcome(self._configs.current.voters)
        if won and ballot.pre:
            self.stand(pre=False, transfer=False, now=now, send=send)
            return None
        return won

    def close(self) -> dict[str, float]:
        """Stand no more. Returns when each voter answered."""
        ballot, self.ballot = self.ballot, None
        return ballot.heard_at if ballot is not None else {}
