"""What an operator asks of the cluster: a request is done in small steps, or is refused.

As the rule in ``replicas.py`` does, :func:`next_step` decides from what the leader sees, and changes one server at a
time. While a request is under way the rule is not applied, and every request ends in a state that the rule leaves as it
is. A leader that is deposed forgets its requests. The client sends them to the next leader, which goes on after the
steps that were done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf
from typing import NamedTuple, TypeAlias

from paceline.core.membership.replicas import least_needed, with_learner, with_voter, without
from paceline.core.raft.quorum import majority, wanted_voters
from paceline_protocol.messages.client import AdminOp
from paceline_protocol.messages.consensus import Config
from paceline_protocol.messages.work import Availability

VOTER_NUMBERS = (1, 3, 5)
DRAIN_MS_DIGITS = 11
"""Of how long a drain may last: up to three years."""
_AVAILABILITY: Mapping[int, Availability] = {
    AdminOp.SERVE: Availability.SERVES,
    AdminOp.QUIET: Availability.QUIET,
    AdminOp.DRAIN: Availability.DRAINS,
}
_IS = {Availability.QUIET: "is quiet, and goes on with what it runs", Availability.DRAINS: "drains"}
REQUESTS_LIMIT = 16
"""How many a leader has at a time; one more is refused."""
EXCLUDED_LIMIT_NODES = 64
REQUEST_TIMEOUT_S = 20.0
TRANSFER_TIMEOUT_S = 2.0
"""For a voter to take over. Nothing is logged during a transfer."""


@dataclass(slots=True)
class AdminRequest:
    """One request at its leader."""

    key: bytes  # the client's connection
    number: int
    op: int
    argument: str
    until: float
    transfer_until: float = inf


@dataclass(frozen=True, slots=True)
class View:
    """What the leader sees when it decides. ``config`` is committed."""

    config: Config
    own_id: str
    alive: frozenset[str]
    caught_up: frozenset[str]  # learners
    limit: int
    too_old: frozenset[str] = frozenset()  # they understand less than the cluster's feature level
    availability: Mapping[str, int] = field(default_factory=dict)  # of the nodes that have given their accounts
    untellable: frozenset[str] = frozenset()  # they do not know how to be quiet
    serving: frozenset[str] = frozenset()  # they offer slots


class Answer(NamedTuple):
    done: bool
    detail: str


class Waiting(NamedTuple):
    """There is nothing to do now. ``rule``: the rule in ``replicas.py`` is to do the rest."""

    why: str
    rule: bool = False


class TransferLeadership(NamedTuple):
    """Transfer the leadership to this voter; "": to any."""

    to: str


class SetNode(NamedTuple):
    """Tell this node whether it takes tasks, until its account says so."""

    node_id: str
    availability: Availability
    drain_ms: int = 0


Step: TypeAlias = Answer | Waiting | TransferLeadership | SetNode | Config


def next_step(op: int, argument: str, view: View) -> Step:
    """The next step of a request. A returned Config differs from the present one in one server at most."""
    if op == AdminOp.VOTERS:
        return _voters(argument, view)
    if op == AdminOp.PROMOTE:
        return _promote(argument, view)
    if op == AdminOp.REMOVE:
        return _remove(argument, view)
    if op == AdminOp.TRANSFER:
        return _transfer(argument, view)
    if op in _AVAILABILITY:
        return _availability(_AVAILABILITY[op], argument, view)
    return _step_down(argument, view)


def _voters(argument: str, view: View) -> Step:
    config = view.config
    if argument not in map(str, VOTER_NUMBERS):
        return Answer(False, f"the number of voters is 1, 3 or 5, and not {argument}")
    wanted = int(argument)
    if config.limit != wanted:
        return replace(config, limit=wanted)
    possible = wanted_voters(len(view.alive.union(config.voters) - set(config.excluded)), wanted)
    count = len(config.voters)
    if count == wanted:
        return Answer(True, counted(config))
    if count == possible or (possible < count < wanted):
        return Answer(True, f"{counted(config)}; more once there are enough nodes for {wanted}")
    return Waiting(f"{wanted} are wanted and noted, {count} vote so far", rule=True)


def _promote(node_id: str, view: View) -> Step:
    config = view.config
    if node_id in config.voters:
        others = replace(config, voters=tuple(voter for voter in config.voters if voter != node_id))
        if len(config.voters) > 2 and len(config.voters) % 2 == 0:
            return with_learner(config, least_needed(others, view.own_id, view.alive))
        return Answer(True, f"node {node_id} votes; {counted(config)}")
    if node_id in view.too_old:
        return Answer(False, f"node {node_id} is too old for feature level {config.level}; upgrade paceline there")
    if node_id not in view.alive:
        return Answer(False, f"node {node_id} is not heard; start it, or look at its name in `paceline status`")
    if len(config.voters) == 1:
        return Answer(False, "two voters stop when either of them fails; start a third node, then both others vote")
    return _toward_voter(node_id, view)


def _toward_voter(node_id: str, view: View) -> Step:
    if node_id in view.caught_up:
        return with_voter(view.config, node_id)
    if node_id in view.config.learners:
        return Waiting(f"node {node_id} has not caught up with the log yet")
    return with_learner(view.config, node_id)


def _remove(node_id: str, view: View) -> Step:
    config = view.config
    if node_id in config.excluded:
        return Answer(True, f"node {node_id} does not replicate; {counted(config)}")
    if node_id not in {*config.voters, *config.learners, *view.alive}:
        return Answer(False, f"node {node_id} is unknown; `paceline status` lists the nodes")
    if node_id in config.voters:
        before = _before_a_voter_leaves(node_id, view)
        if before is not None:
            return before
    excluded = set(config.excluded)
    if len(excluded) >= EXCLUDED_LIMIT_NODES:
        excluded &= view.alive
    if len(excluded) >= EXCLUDED_LIMIT_NODES:
        return Answer(False, f"{len(excluded)} removed nodes still run, which is the limit; stop some of them")
    return replace(without(config, node_id), excluded=tuple(sorted({*excluded, node_id})))


def _before_a_voter_leaves(node_id: str, view: View) -> Step | None:
    """What has to be done before a voter is removed: another node takes its place if there is one, and a leader
    transfers the leadership, since it does not remove itself. None: nothing."""
    config = view.config
    others = set(config.voters) - {node_id}
    candidates = sorted(view.alive - {*config.voters, *config.excluded}, key=lambda it: (it not in config.learners, it))
    if len(config.voters) % 2 and candidates:
        return _toward_voter(candidates[0], view)
    if not others:
        return Answer(False, f"node {node_id} is the only voter; start another node first")
    if len(others & view.alive) < majority(len(others)):
        return Answer(False, "too many of the other voters are silent; they could not go on without this one")
    return TransferLeadership("") if node_id == view.own_id else None


def _transfer(node_id: str, view: View) -> Step:
    if node_id == view.own_id:
        return Answer(True, f"node {node_id} leads")
    if node_id not in view.config.voters:
        return Answer(False, f"node {node_id} is no voter; promote it first")
    if node_id not in view.alive:
        return Answer(False, f"node {node_id} is not heard")
    return TransferLeadership(node_id)


def _step_down(node_id: str, view: View) -> Step:
    if node_id not in {view.own_id, *view.config.voters, *view.config.learners, *view.config.excluded, *view.alive}:
        return Answer(False, f"node {node_id} is unknown; `paceline status` lists the nodes, and says which leads")
    if node_id != view.own_id:
        return Answer(True, f"node {view.own_id} leads")
    if not view.alive.intersection(view.config.voters) - {node_id}:
        return Answer(False, "no other voter is heard that could take over")
    return TransferLeadership("")


def _availability(wanted: Availability, argument: str, view: View) -> Step:
    node_id, _, text = argument.partition(" ")
    drain_ms = 0
    if wanted == Availability.DRAINS:
        if not (text.isdecimal() and text.isascii() and len(text) <= DRAIN_MS_DIGITS):
            return Answer(
                False, f"{text!r} is no number of milliseconds; a drain takes a node and how long it may last"
            )
        drain_ms = int(text)
    is_now = view.availability.get(node_id)
    if is_now is None:
        return _unheard(node_id, view)
    if is_now == Availability.ENDS:
        why = f"node {node_id} was told to stop: it drains, and its process ends"
        return Answer(wanted == Availability.DRAINS, why)
    if node_id in view.untellable:
        return Answer(False, f"node {node_id} is older, and does not know how to do this; stop it, or upgrade it")
    if is_now != wanted:
        return SetNode(node_id, wanted, drain_ms)
    if wanted == Availability.SERVES:
        return Answer(True, f"node {node_id} takes tasks")
    alone = "" if view.serving - {node_id} else "; no other node takes tasks, so that what comes waits"
    return Answer(True, f"node {node_id} {_IS[wanted]}{alone}")


def _unheard(node_id: str, view: View) -> Answer:
    """It has given the leader no account."""
    if node_id in {*view.config.voters, *view.config.learners, *view.config.excluded, *view.alive}:
        return Answer(False, f"node {node_id} is not heard; what it ran goes to others, so there is nothing to drain")
    return Answer(False, f"node {node_id} is unknown, or gone; `paceline status` lists the nodes")


def counted(config: Config) -> str:
    """For a person: how many voters there are, and what that means."""
    count = len(config.voters)
    tolerated = (count - 1) // 2
    return f"{count} voter{'s' if count > 1 else ''}, of which {tolerated or 'none'} may fail"
