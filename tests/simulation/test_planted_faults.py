"""Breaks the consensus core on purpose, in ways that implementations have been broken, and sees each one found.

A fault that nothing finds would mean that the checks prove nothing about it. Most are found by the action scheduler;
some need a rare order of events, or break a promise that is not an invariant, and are found by the scenario named.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

import pytest

from core.scenarios import run_file
from modes import source_only
from paceline.core.raft import replication as progress
from paceline.core.raft import snapshot_transfer as transfer
from paceline.core.raft.configuration import ConfigHistory
from paceline.core.raft.confirmations import Confirmations
from paceline.core.raft.consensus import Consensus
from paceline.core.raft.election import Ballot, Election, Role
from paceline.core.raft.eligibility import Eligibility
from paceline.core.raft.follower import Follower
from paceline.core.raft.leadership import Leadership
from paceline.core.raft.log import ConsensusViolation, HardState, Log
from paceline.core.raft.read_index import ReadIndex
from paceline.core.raft.replication import Progress, Replication
from paceline.core.raft.writes import Writes
from paceline_protocol.errors import PeerViolation
from paceline_protocol.messages.consensus import Append, AppendResponse
from simulation.consensus_nodes import InvariantViolation
from simulation.schedulers import ActionRun

SCENARIOS = Path(__file__).parent.parent / "scenarios"
SEEDS, STEPS = 150, 3000

Method = Callable[..., Any]


@dataclass(frozen=True)
class Fault:
    """One method replaced. ``broken`` is given the true one."""

    name: str
    owner: type
    method: str
    broken: Callable[[Method], Method]
    found_by: str = "actions"


def always(answer: Any) -> Callable[[Method], Method]:
    return lambda true: lambda self, *args: answer


def acknowledge_before_durable(true: Method) -> Method:
    def take_ready(self: Consensus) -> Any:
        ready = true(self)
        ready.send_now, ready.send_after = ready.send_now + ready.send_after, []
        return ready

    return take_ready


def count_stale_answers(true: Method) -> Method:
    def settle_term(self: Consensus, sender: str, message: Any) -> bool:
        return isinstance(message, AppendResponse) or true(self, sender, message)

    return settle_term


def cut_without_conflict(true: Method) -> Method:
    def first_conflict(self: Log, prev_index: int, entries: Any) -> int | None:
        return prev_index + 1 if entries and prev_index >= self.snapshot_index else true(self, prev_index, entries)

    return first_conflict


def commit_to_last_index(true: Method) -> Method:
    def on_append(self: Follower, append: Append, read: Any) -> Any:
        answer = true(self, append, read)
        self._log.commit_to(min(append.commit, self._log.last_index))
        return answer

    return on_append


def skip_previous_term(true: Method) -> Method:
    def agrees(self: Follower, append: Append) -> bool:
        term = self._log.term_at(append.prev_index)
        return bool(true(self, append if term is None else append._replace(prev_term=term)))

    return agrees


def vote_for_itself_early(true: Method) -> Method:
    def record_vote(self: Consensus, voter: str, granted: bool) -> None:
        was_candidate = self.role is Role.CANDIDATE
        true(self, voter, granted)
        if self.role is Role.CANDIDATE and not was_candidate:
            true(self, self.node_id, granted=True)

    return record_vote


def stand_without_pre_vote(true: Method) -> Method:
    def campaign(self: Consensus, now: float, transfer: bool = False) -> None:
        if self.role is not Role.LEADER:
            self._now, self.leader_id = max(now, self._now), ""
            self._election.campaign(False, transfer, self._now, self._send_after)

    return campaign


def forget_vote(true: Method) -> Method:
    return lambda self, hard_state: true(self, HardState(hard_state.term))


def count_all_answers(true: Method) -> Method:
    return lambda self, voters: true(self, tuple(self.answers)) if len(self.answers) > len(voters) // 2 else None


def count_learners(true: Method) -> Method:
    def quorum_index(self: Replication) -> int:
        matches = [self._log.durable_index, *(peer.match for peer in self.peers.values())]
        return sorted(matches, reverse=True)[len(self._config.voters) // 2]

    return quorum_index


def count_own_entries_early(true: Method) -> Method:
    def quorum_index(self: Replication) -> int:
        self._log.durable_index = self._log.last_index
        return int(true(self))

    return quorum_index


def do_not_write(part: str) -> Callable[[Method], Method]:
    def broken(true: Method) -> Method:
        def take_persist(self: Writes) -> Any:
            persist = true(self)
            if persist is not None:
                setattr(persist, part, None)
            return persist

        return take_persist

    return broken


def answer_unasked(true: Method) -> Method:
    def take_confirmed(self: ReadIndex, through: int) -> list[tuple[int, int]]:
        reads = [(ticket, index) for _, ticket, index in self._waiting]
        self._waiting.clear()
        return reads

    return take_confirmed


def count_any_answer(true: Method) -> Method:
    return lambda self, peer, number: true(self, peer, self.last)


def count_answers_as_of_now(true: Method) -> Method:
    def answered(self: Confirmations, peer: str, number: int) -> float | None:
        true(self, peer, number)
        return max(self._asked_at.values(), default=None)

    return answered


def believe_to_know(true: Method) -> Method:
    return lambda self: True


def take_any_refusal(true: Method) -> Method:
    """However late it is, it shows that its sender has forgotten."""
    return lambda self, refusal: min(refusal.index - 1, refusal.hint_index) < self.match


FAULTS = [
    Fault("commits an old term's entry by counting", Leadership, "_may_count", always(True), "figure_8"),
    Fault("votes twice", Election, "_may_grant", always(True)),
    Fault("forgets its vote", Writes, "set_hard_state", forget_vote),
    Fault("does not write term and vote", Writes, "take_persist", do_not_write("hard_state")),
    Fault("does not write what it cut", Writes, "take_persist", do_not_write("truncate_from")),
    Fault("votes for a shorter log", Log, "is_at_least", always(True)),
    Fault("counts answers of an old term", Consensus, "_settle_term", count_stale_answers, "stale_acknowledgement"),
    Fault("cuts without a conflict", Log, "first_conflict", cut_without_conflict),
    Fault("commits to the last index", Follower, "on_append", commit_to_last_index),
    Fault("skips the previous entry's term", Follower, "_agrees", skip_previous_term),
    Fault("answers before it is durable", Consensus, "take_ready", acknowledge_before_durable),
    Fault("counts its own entries early", Replication, "quorum_index", count_own_entries_early),
    Fault("counts its own vote early", Consensus, "_record_vote", vote_for_itself_early, "bootstrap"),
    Fault("counts the votes of learners", Ballot, "outcome", count_all_answers),
    Fault("counts the logs of learners", Replication, "quorum_index", count_learners, "learner_promotion"),
    Fault("changes the configuration at any time", Leadership, "_may_change_config", always(True)),
    Fault(
        "changes the configuration before its term has committed",
        Leadership,
        "_may_change_config",
        lambda true: lambda self: self._configs.index <= self._log.commit_index,
        "config_of_two_terms",
    ),
    Fault(
        "changes the configuration before the last is committed",
        Leadership,
        "_may_change_config",
        lambda true: lambda self: self.has_committed_in_term,
    ),
    Fault("keeps a configuration that was cut", ConfigHistory, "truncate_from", always(None)),
    Fault("leads on without a majority", Leadership, "gives_up_at", always(inf), "check_quorum"),
    Fault("helps to depose a leader it hears", Election, "protects_leader", always(False), "prevote_keeps_leader"),
    Fault("stands without a pre-vote", Consensus, "campaign", stand_without_pre_vote, "prevote_keeps_leader"),
    Fault("never campaigns once its removal is in its log", ConfigHistory, "previous", always(None), "leader_removed"),
    Fault("answers a read without a question", ReadIndex, "take_confirmed", answer_unasked, "stale_read"),
    Fault("counts answers to an earlier question", Confirmations, "answered", count_any_answer, "stale_read"),
    Fault("takes a late answer for one of now", Confirmations, "answered", count_answers_as_of_now, "check_quorum"),
    Fault("reads before its term has committed", Leadership, "has_committed_in_term", believe_to_know, "stale_read"),
    Fault("goes on standing once it is removed", Eligibility, "is_removed", always(False), "removed_voter"),
    Fault("does not hear that it was removed", Eligibility, "heard", always(None), "removed_voter"),
    Fault("does not see that a voter has forgotten", Progress, "has_lost", always(False), "forgotten_voter"),
    Fault("takes a late answer for forgetting", Progress, "has_lost", take_any_refusal),
    Fault(
        "counts what a voter has forgotten",
        Progress,
        "counted",
        lambda true: lambda self: self.match,
        "forgotten_voter",
    ),
]


def found_by_actions() -> bool:
    for seed in range(SEEDS):
        try:
            ActionRun(seed).run(STEPS)
        except (InvariantViolation, ConsensusViolation, PeerViolation):
            return True
        except AssertionError:
            continue  # code that crashes over its fault has not been found to break a promise
    return False


def found_by_scenario(name: str) -> bool:
    path = SCENARIOS / f"{name}.txt"
    return run_file(path) != path.read_text()


@source_only
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_planted_fault_is_found(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "APPEND_LIMIT_ENTRIES", 2)
    monkeypatch.setattr(transfer, "SNAPSHOT_CHUNK_BYTES", 12)
    true = getattr(fault.owner, fault.method)
    broken: Any = fault.broken(true)
    if isinstance(true, property):
        broken = property(broken)
    monkeypatch.setattr(fault.owner, fault.method, broken)
    assert found_by_actions() if fault.found_by == "actions" else found_by_scenario(fault.found_by)
