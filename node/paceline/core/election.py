"""Who may lead: the election timer, the lease that a voter grants a leader by hearing it, and one count of votes.

The intuition. A leader is trusted for ``election_timeout_min_s`` after it was last heard: that long no voter helps to
depose it, and that long a leader that heard a majority may act as such. A node stands for election only after a longer,
random silence, and first asks whether it could win (pre-vote), which changes nothing at anybody. So a node that was cut
off and comes back does not disturb a leader that works.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


class RandomSource(Protocol):
    """``random.Random`` fits. Each node has its own, so that two nodes don't draw the same timeouts."""

    def uniform(self, a: float, b: float) -> float: ...


@dataclass(frozen=True, slots=True)
class Timing:
    """Defaults for a local network. A heartbeat must fit several times into the shortest election timeout."""

    heartbeat_interval_s: float = 0.05
    election_timeout_min_s: float = 0.25
    election_timeout_max_s: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.heartbeat_interval_s < self.election_timeout_min_s <= self.election_timeout_max_s:
            raise ValueError("0 < heartbeat_interval_s < election_timeout_min_s <= election_timeout_max_s must hold")


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

    def expire(self, now: float) -> None:
        """Stand at once: there is nobody to wait for."""
        self.deadline = now

    def hear_leader(self, now: float) -> None:
        self._heard_at = now
        self.deadline = now + self._timeout_s

    def lease_holds(self, now: float) -> bool:
        """Whether a leader was heard so lately that this voter must not help another."""
        return now - self._heard_at < self._timing.election_timeout_min_s


def majority(voters: int) -> int:
    return voters // 2 + 1


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
