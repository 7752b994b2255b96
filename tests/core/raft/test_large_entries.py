"""An entry that is large for the links: its leader goes on to lead, and commits it, however long that takes.

Three cores on links of so many bytes a second, each of which keeps its order, as a connection does. What takes the
quick connection (``core/outbox.py``) has links of its own.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

import pytest

from paceline.core.outbox import QUICK
from paceline.core.raft.consensus import Consensus
from paceline.core.raft.log import HardState, Log
from paceline.core.raft.timing import Timing
from paceline_protocol.messages.consensus import Append, Config, EntryKind

IDS = "abc"
MESSAGE_BYTES = 64
ROUND_TRIP_S = 0.0004
MIB = 1 << 20


class Links:
    """Three voters in virtual time."""

    def __init__(self, bytes_per_s: float, quick: frozenset[type[Any]] = QUICK) -> None:
        self.now = 0.0
        self.elected: list[str] = []  # who became leader, one after the other
        self.committed: list[int] = []  # the lengths of what was proposed, at whoever commits it first
        self._bytes_per_s = bytes_per_s
        self._quick = quick
        self._free_at: dict[tuple[str, str, bool], float] = {}
        self._wire: list[tuple[float, int, str, str, Any]] = []
        self._sent = 0
        self._led = 0
        self.nodes = {
            node_id: Consensus(
                node_id,
                timing=Timing(),
                random=random.Random(node_id),
                now=0.0,
                hard_state=HardState(1),
                log=Log(1, 1),
                config=Config(tuple(IDS)),
                durable_at_once=True,
            )
            for node_id in IDS
        }

    def leader(self) -> Consensus | None:
        leads = [node for node in self.nodes.values() if node.is_leader and node.has_quorum_lease(self.now)]
        return max(leads, key=lambda node: node.term, default=None)

    def run(self, until: float, done: Callable[[], bool] = lambda: False) -> None:
        while self.now < until and not done():
            wakes = [node.next_deadline() for node in self.nodes.values()]
            self.now = max(self.now, min([until, *wakes, *(arrival[0] for arrival in self._wire[:1])]))
            while self._wire and self._wire[0][0] <= self.now:
                _, _, sender, to, message = heapq.heappop(self._wire)
                self.nodes[to].step(sender, message, self.now)
                self.take(to)
            for node_id, node in self.nodes.items():
                if node.next_deadline() <= self.now:
                    node.tick(self.now)
                    self.take(node_id)

    def take(self, node_id: str) -> None:
        node = self.nodes[node_id]
        while ready := node.take_ready():
            for to, message in ready.send_now + ready.send_after:
                self._send(node_id, to, message)
            self.committed += [len(entry.data) for entry in ready.committed if entry.kind == EntryKind.ACCEPT]
        if node.is_leader and node.term > self._led:
            self._led = node.term
            self.elected.append(node_id)

    def _send(self, sender: str, to: str, message: Any) -> None:
        link = (sender, to, type(message) in self._quick)
        size = sum(len(data) for _, _, data in message.entries) if isinstance(message, Append) else 0
        free_at = max(self._free_at.get(link, 0.0), self.now) + (MESSAGE_BYTES + size) / self._bytes_per_s
        self._free_at[link] = free_at
        self._sent += 1
        heapq.heappush(self._wire, (free_at + ROUND_TRIP_S / 2, self._sent, sender, to, message))


def propose(links: Links, *sizes_mib: int) -> None:
    links.run(5.0, lambda: links.leader() is not None and links.nodes[links.elected[-1]].has_committed_in_term)
    for size_mib in sizes_mib:
        assert links.nodes[links.elected[-1]].propose(EntryKind.ACCEPT, bytes(size_mib * MIB)) is not None
    links.take(links.elected[-1])
    links.run(links.now + 60.0, lambda: len(links.committed) >= 3 * len(sizes_mib))


@pytest.mark.parametrize(("sizes_mib", "mib_per_s"), [((16,), 10), ((16, 16, 16), 10), ((62,), 60), ((4,), 1)])
def test_an_entry_that_is_large_for_the_links_commits_under_the_leader_that_proposed_it(
    sizes_mib: tuple[int, ...], mib_per_s: int
) -> None:
    links = Links(mib_per_s * MIB)
    propose(links, *sizes_mib)
    assert sorted(links.committed) == sorted(3 * [size * MIB for size in sizes_mib])
    assert len(links.elected) == 1


def test_on_one_connection_such_an_entry_would_depose_its_leader() -> None:
    links = Links(10 * MIB, quick=frozenset())
    propose(links, 16)
    assert len(links.elected) > 1


def test_a_leader_that_starts_anew_with_a_large_entry_on_its_way_is_followed_by_another_at_once() -> None:
    """What it had sent arrives for a while, and holds up neither the votes nor the next leader."""
    links = Links(10 * MIB)
    links.run(5.0, lambda: links.leader() is not None)
    first = links.elected[-1]
    links.nodes[first].propose(EntryKind.ACCEPT, bytes(16 * MIB))
    links.take(first)
    links.run(links.now + 0.3)
    restarted_at = links.now
    links.nodes[first] = Consensus(
        first,
        timing=Timing(),
        random=random.Random(first),
        now=links.now,
        hard_state=links.nodes[first].hard_state,
        log=Log(1, 1),
        config=Config(tuple(IDS)),
        durable_at_once=True,
    )
    links.run(links.now + 5.0, lambda: len(links.elected) > 1 and links.leader() is not None)
    assert links.elected[1] != first
    assert links.now < restarted_at + 1.0
