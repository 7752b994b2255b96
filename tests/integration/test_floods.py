"""One client floods a real node, and another is served all the same.

What is asserted is order and outcome: that a number of the normal client's results come before so and so many answers
to the flood, and what the node's memory was at most. How long anything takes is for ``paceline bench floods``.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from statistics import median

import psutil
import pytest

from integration.conftest import wait_until
from paceline import Client, Cluster
from paceline.runtime.client_frames import MALFORMED_LIMIT_FRAMES
from paceline.runtime.transport.zmq_sockets import UNREAD_MESSAGES
from paceline_bench.bodies.floods import DRIBBLERS, FLOODS
from paceline_bench.bodies.tasks import noop
from paceline_bench.verbs.floods import count, flooding, most_rss_mib
from paceline_protocol.limits import MAX_FRAME_BYTES

TASKS = 20
DEADLINE_S = 60.0
FRAME_MIB = MAX_FRAME_BYTES >> 20

SMALL_MIB = 64
"""What a flood of small frames may take, beside what the node had before."""
LARGE_MIB = (UNREAD_MESSAGES + 3) * FRAME_MIB
"""What is unread of one connection, one frame that arrives, and what the node does with another."""

REFUSED = {"random", "nested", "announced", "many-calls", "one-task", "long-waits", "waits", "long-cancels"}
LARGE = {"big-frames", "big-submits", "big-calls"}
ANSWERED = {"hellos", "pings", "status", "where", "unknown", "cancels", "many-hellos", "many-status", "many-submits"}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A node for each flood, whose memory is its own."""
    with Cluster.local("paceline_bench.bodies.tasks", nodes=1, workers=1, journal="memory") as cluster:
        yield cluster


@pytest.fixture
def client(cluster: Cluster) -> Iterator[Client]:
    with cluster.client() as client:
        assert client.submit(noop, 0).result(DEADLINE_S) == 0
        yield client


def serve(client: Client) -> None:
    for number in range(TASKS):
        assert client.submit(noop, number).result(DEADLINE_S) == number


def test_every_flood_is_tried() -> None:
    assert {*REFUSED, *LARGE, *ANSWERED, "peers", "dribbles"} == set(FLOODS)


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_who_floods_with_what_is_no_message_is_soon_heard_no_more(name: str, cluster: Cluster, client: Client) -> None:
    node = cluster.nodes[0]
    before_mib = most_rss_mib(node.pid)
    with flooding(name, node.address) as flood:
        serve(client)
        wait_until(lambda: count(flood)[1] >= MALFORMED_LIMIT_FRAMES, "the node has refused so many")
        serve(client)
        sent, heard = count(flood)
    assert heard == MALFORMED_LIMIT_FRAMES
    assert most_rss_mib(node.pid) < before_mib + SMALL_MIB
    wait_until(lambda: client.status()["sessions"] == 1, "what the flood had sent is read, and its session is over")
    assert sent


@pytest.mark.parametrize("name", sorted(ANSWERED))
def test_who_floods_with_messages_does_not_keep_others_waiting(name: str, cluster: Cluster, client: Client) -> None:
    node = cluster.nodes[0]
    before_mib = most_rss_mib(node.pid)
    with flooding(name, node.address) as flood:
        heard = [count(flood)[1]]
        for number in range(TASKS):
            assert client.submit(noop, number).result(DEADLINE_S) == number
            heard.append(count(flood)[1])
    # On each way of a task a turn of the node may come first, and the flood goes on while the client computes, or waits
    # for a core. On a busy machine it does so for long, and not for most of its tasks.
    assert median(after - before for before, after in pairwise(heard)) < 2_000
    assert most_rss_mib(node.pid) < before_mib + SMALL_MIB


@pytest.mark.parametrize("name", sorted(LARGE))
def test_the_largest_frames_take_a_bounded_number_of_bytes(name: str, cluster: Cluster, client: Client) -> None:
    node = cluster.nodes[0]
    before_mib = most_rss_mib(node.pid)
    with flooding(name, node.address) as flood:
        serve(client)
        _, heard = count(flood)
    assert heard < TASKS * 20
    assert most_rss_mib(node.pid) < before_mib + LARGE_MIB


def test_frames_that_arrive_slowly_take_no_more_than_their_size(cluster: Cluster, client: Client) -> None:
    node = cluster.nodes[0]
    before_mib = most_rss_mib(node.pid)
    with flooding("dribbles", node.address) as flood:
        serve(client)
        wait_until(lambda: count(flood)[1] >= 2 * DRIBBLERS, "the node has refused so many, each of which came whole")
        serve(client)
    # Each connection begins another once its last was refused: however late a starved node does that, it has no more.
    assert most_rss_mib(node.pid) < before_mib + DRIBBLERS * FRAME_MIB + SMALL_MIB


def test_who_floods_with_peers_that_there_are_not_does_not_keep_clients_waiting(
    cluster: Cluster, client: Client
) -> None:
    node = cluster.nodes[0]
    before_mib = most_rss_mib(node.pid)
    with flooding("peers", node.address):
        serve(client)
    assert most_rss_mib(node.pid) < before_mib + SMALL_MIB
    assert psutil.Process(node.pid).is_running()
