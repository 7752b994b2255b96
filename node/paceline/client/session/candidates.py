"""Which addresses a client says Hello to while it looks for the leader, and when.

A round goes to at most ``ROUND_LIMIT_ADDRESSES`` candidates: first the address at which the leader is said to be, then
those that nodes have named, then those that the user gave. With more candidates than that the rounds move on through
the list, slowly enough for a connection to come up. Pure: the random source and the time come from outside.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Protocol

from paceline.errors import NoNodeFound, OutOfResources

ROUND_INTERVAL_S = 0.05
ROUND_LIMIT_ADDRESSES = 8
ROUNDS_PER_WINDOW = 10
LEARNED_LIMIT_ADDRESSES = 64
TERM_COUNTS_S = 5.0
"""For how long the leader of a term that was named keeps those of earlier terms out. A node may name a term that nobody
was elected in, as another claimed it; and no leader of an earlier term says for so long that it still leads."""


class Jitter(Protocol):
    """A source of random delays; ``random.Random`` fits."""

    def uniform(self, a: float, b: float) -> float: ...


class Candidates:
    """The addresses at which nodes may answer. ``starved``: why this process can't connect to any, if that is so."""

    def __init__(self, given: Iterable[str], random: Jitter) -> None:
        self.given = list(dict.fromkeys(given))
        self.starved = ""
        self._learned: list[str] = []
        self._found: list[str] = []
        self._random = random
        self._leader_address = ""
        self._cluster_id = ""
        self._term = 0
        self._term_heard_s = -math.inf
        self._rounds = 0
        self._problems: dict[str, str] = {}  # why the name in an address does not resolve, by address

    @property
    def addresses(self) -> tuple[str, ...]:
        """All of them, the most promising first."""
        leader = (self._leader_address,) if self._leader_address else ()
        return tuple(dict.fromkeys((*leader, *self._learned, *self.given, *self._found)))

    def add(self, addresses: Iterable[str]) -> None:
        """Add addresses that this side found, as by discovery. Those found longest ago are forgotten first."""
        self._found = list(dict.fromkeys((*addresses, *self._found)))[:LEARNED_LIMIT_ADDRESSES]

    def learn(self, addresses: Iterable[str]) -> None:
        """Take the addresses that a node has named. They replace the ones named before, so that old addresses are not
        tried for ever."""
        self._learned = [address for address in dict.fromkeys(addresses) if address][:LEARNED_LIMIT_ADDRESSES]

    def unresolved(self, address: str, why: str) -> None:
        """Note why the name in this address does not resolve; "" if it does."""
        if not why:
            self._problems.pop(address, None)
        elif address in self._problems or len(self._problems) < LEARNED_LIMIT_ADDRESSES:
            self._problems[address] = why

    def no_node_found(self, waited_s: float) -> Exception:
        """What to say when no node has answered."""
        if self.starved:
            return OutOfResources(self.starved)
        addresses = self.addresses
        unresolved = {address: self._problems[address] for address in addresses if address in self._problems}
        return NoNodeFound(addresses, waited_s, unresolved)

    def heard_of_leader(self, cluster_id: str, term: int, now: float) -> bool:
        """A node names a leader of this term. False if a leader of a later term was named of late.

        A term without a leader is not noted: it may be that of a candidate that crashed before any disk had the term,
        and then the cluster never reaches it.
        """
        if cluster_id != self._cluster_id:
            # A cluster that was formed anew counts its terms from the start.
            self._cluster_id, self._term = cluster_id, 0
        if self._is_past(term, now):
            return False
        self._term, self._term_heard_s = term, now
        return True

    def _is_past(self, term: int, now: float) -> bool:
        return term < self._term and now < self._term_heard_s + TERM_COUNTS_S

    def redirected(self, term: int, leader_address: str, now: float) -> bool:
        """A node of our cluster names the leader, or "". False if one of a later term was named of late."""
        if self._is_past(term, now):
            return False
        if leader_address:
            self._term, self._term_heard_s = term, now
        self.leader_is_at(leader_address)
        return True

    def leader_is_at(self, address: str) -> None:
        self._leader_address = address

    def next_round(self) -> list[str]:
        every = self.addresses
        windows = -(-len(every) // ROUND_LIMIT_ADDRESSES) or 1
        start = (self._rounds // ROUNDS_PER_WINDOW) % windows * ROUND_LIMIT_ADDRESSES
        self._rounds += 1
        return list(every[start : start + ROUND_LIMIT_ADDRESSES])

    def restart(self) -> None:
        """A new search begins with the most promising addresses again."""
        self._rounds = 0

    def round_interval_s(self) -> float:
        """The time to the next round. With jitter, so that the clients of a failed leader don't all reach the next one
        at the same time."""
        return ROUND_INTERVAL_S * self._random.uniform(0.8, 1.2)
