"""Links that work one way only, that come and go, and that return: no endless elections, and work goes on."""

from __future__ import annotations

import time

import pytest

from hosts.checks import check_outcomes
from hosts.cluster import HostCluster, HostNode
from integration.conftest import wait_until

BEFORE = 50  # tasks that end before the fault
AFTER = 100  # tasks that are submitted after it, and end before it is over
FLAPS_S = (0.2, 0.6) * 5  # less than the shortest election timeout, and more than the longest
UP_S = 0.2
CUT_OFF_S = 1.5  # three times the longest election timeout
ROUNDS = 3


@pytest.mark.parametrize("direction", ["outgoing", "incoming"])
def test_a_leader_that_loses_one_direction_is_replaced_without_endless_elections(
    cluster: HostCluster, direction: str
) -> None:
    before = cluster.settled_totals()
    with cluster.stream() as stream:
        stream.wait_ended(BEFORE)
        broken, term = cluster.wait_leader()
        broken_at_s = time.monotonic()
        if direction == "outgoing":
            cluster.hosts.silence(broken.host)
        else:
            cluster.hosts.deafen(broken.host)
        cluster.wait_leader(after_term=term, besides=broken)
        stream.wait_ended(AFTER, since_s=broken_at_s)
        quiet = any(leads_on(cluster, besides=broken) for _ in range(ROUNDS))
        cluster.hosts.heal()
        healed_at_s = time.monotonic()
        stream.wait_ended(AFTER, since_s=healed_at_s)
        cluster.wait_healthy()
        stream.finish()
    check_outcomes(cluster, before, stream, leader_failed_s=(broken_at_s, healed_at_s))
    assert quiet, f"leader or term changed in each of {ROUNDS} rounds"


def test_a_follower_whose_link_flaps_disturbs_nobody(cluster: HostCluster) -> None:
    """It has to leave leader and term alone in one round, as below."""
    before = cluster.settled_totals()
    with cluster.stream() as stream:
        stream.wait_ended(BEFORE)
        flapping_s, first = time.monotonic(), cluster.wait_leader()
        quiet = any(flaps_quietly(cluster) for _ in range(ROUNDS))
        last_leader, flapped_at_s = cluster.wait_leader(), time.monotonic()
        stream.wait_ended(AFTER, since_s=flapped_at_s)
        cluster.wait_healthy()
        stream.finish()
    failed_s = None if last_leader == first == cluster.wait_leader() else (flapping_s, time.monotonic())
    check_outcomes(cluster, before, stream, leader_failed_s=failed_s)
    assert quiet, f"leader or term changed in each of {ROUNDS} rounds"


def test_a_follower_that_was_cut_off_returns_without_deposing_the_leader(cluster: HostCluster) -> None:
    """Raft's pre-vote: who hears nobody asks before it stands, so its term does not grow while nobody answers.

    That is asserted in each round. Leader and term have to be the same after the return in one of them, because a
    machine that stands still for an election timeout has elections of its own; without pre-vote they never are.
    """
    before = cluster.settled_totals()
    with cluster.stream() as stream:
        stream.wait_ended(BEFORE)
        started_s, first = time.monotonic(), cluster.wait_leader()
        quiet = any(returns_quietly(cluster) for _ in range(ROUNDS))
        last_leader, ended_s = cluster.wait_leader(), time.monotonic()
        stream.finish()
    check_outcomes(cluster, before, stream, leader_failed_s=None if last_leader == first else (started_s, ended_s))
    assert quiet, f"leader or term changed in each of {ROUNDS} rounds"


def leads_on(cluster: HostCluster, *, besides: HostNode) -> bool:
    """Whether leader and term stay the same for a while, whatever ``besides`` makes of what it hears."""
    leader = cluster.wait_leader(besides=besides)
    last(CUT_OFF_S)
    return cluster.wait_leader(besides=besides) == leader


def flaps_quietly(cluster: HostCluster) -> bool:
    """Take a follower's link down and up again many times. Whether leader and term are the same after that."""
    leader = cluster.wait_leader()
    follower = cluster.followers(leader[0])[0]
    for down_s in FLAPS_S:
        cluster.hosts.cut(follower.host)
        last(down_s)
        cluster.hosts.join(follower.host)
        last(UP_S)
    cluster.wait_healthy()
    return cluster.wait_leader() == leader


def returns_quietly(cluster: HostCluster) -> bool:
    """Cut a follower off and let it return. Whether leader and term are the same after that."""
    leader = cluster.wait_leader()
    follower = cluster.followers(leader[0])[0]
    cut_off(cluster, follower)
    cluster.hosts.join(follower.host)
    cluster.wait_healthy()
    return cluster.wait_leader() == leader


def cut_off(cluster: HostCluster, follower: HostNode) -> None:
    """Take the follower's link down for longer than it waits for a leader, and watch what it does meanwhile."""
    cluster.hosts.cut(follower.host)
    term = cluster.wait_status(follower)["term"]
    wait_until(lambda: cluster.leader_named_by(follower) == "", "the follower misses its leader")
    last(CUT_OFF_S)
    body = cluster.wait_status(follower)
    assert body["leader_id"] == ""
    assert body["term"] == term, "a node that reaches nobody has raised its term"


def last(fault_s: float) -> None:
    """How long a fault lasts is part of the fault. Nothing is waited for here."""
    time.sleep(fault_s)
