"""One search for the leader: to which nodes the client says Hello, and when it gives up.

The client says Hello to several nodes at a time until one answers that it leads itself, or names the leader. A search
lasts until a leader has proved itself. A node that welcomes the client as its leader, and then only redirects it or is
silent, does not count, and the time without a leader goes on.

Pure: the session passes the time, and carries out what the search decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from paceline.client.session.candidates import Candidates
from paceline.client.session.requests import Request, Requests
from paceline.errors import AccessRefused, NoLeader
from paceline_protocol import codec
from paceline_protocol.messages.client import Redirect, Welcome


@dataclass(frozen=True, slots=True)
class SearchOptions:
    """``hello``: the frame that every node is greeted with. ``cluster_name``: nodes of others are ignored; "" is any.
    The timeouts are how long a search lasts that begins without a leader, and one that follows the loss of it."""

    hello: bytes
    cluster_name: str
    connect_timeout_s: float
    failover_timeout_s: float


class Search:
    """``answered``: whether any node has answered. ``connections``: the addresses to which a Hello was sent; after
    :meth:`settle` only that of the leader."""

    def __init__(
        self,
        options: SearchOptions,
        candidates: Candidates,
        requests: Requests,
        outbox: list[tuple[str, bytes | None]],
        *,
        now: float,
        next_round_s: float,
        timeout_s: float,
    ) -> None:
        self.answered = False
        self._unproved = ""  # the address of a node that said that it leads, and did no more
        self._refusals: dict[str, tuple[str, bool]] = {}  # by address: why, and whether the node itself said so
        self.connections: set[str] = set()
        self._options = options
        self._candidates = candidates
        self._requests = requests
        self._outbox = outbox
        self._since_s = now
        self._next_round_s = next_round_s
        self._timeout_s = timeout_s
        candidates.restart()

    # --- what is due ---------------------------------------------------------------------------------------------

    @property
    def gives_up_at_s(self) -> float:
        return self._since_s + self._timeout_s

    def next_deadline(self) -> float:
        """When the search is given up, or :meth:`tick` has something to do."""
        return min(self.gives_up_at_s, self._next_round_s)

    def tick(self, now: float) -> None:
        """Greet the next candidates, if it is time for that."""
        if now < self._next_round_s:
            return
        addresses = self._candidates.next_round()
        self._close_all_but(set(addresses))
        for address in addresses:
            self._greet(address)
        self._next_round_s = now + self._candidates.round_interval_s()

    def hurry(self, now: float) -> None:
        """More candidates are known: the next round is due now."""
        self._next_round_s = now

    def begin_waiting(self, now: float) -> None:
        """Nobody waited for anything until now: the time without a leader counts from here."""
        self._since_s = now

    def error(self, now: float) -> Exception:
        """Why no leader was found."""
        waited_s = now - self._since_s
        for address, (why, is_said) in self._refusals.items():
            if is_said or not self.answered:
                return AccessRefused(self._candidates.addresses, waited_s, f"{address} {why}")
        if self._unproved:
            return NoLeader(waited_s, f"{self._unproved} says that it leads, and then answers nothing as the leader")
        if self.answered:
            return NoLeader(waited_s, "nodes answer, but none of them leads")
        return self._candidates.no_node_found(waited_s)

    # --- greeting ------------------------------------------------------------------------------------------------

    def ask(self, request: Request) -> None:
        """Send a request that any node answers."""
        frame = codec.encode(request)
        self._outbox.extend((address, frame) for address in sorted(self.connections))

    def opened(self, address: str) -> None:
        """A connection came up. Says Hello at once, with the requests, since what was sent before may have had no
        connection to leave by."""
        self._refusals.pop(address, None)
        if address in self.connections:
            self._outbox.append((address, self._options.hello))
            self._ask_all(address)

    def refused(self, address: str, why: str, *, is_said: bool) -> None:
        """The node at this address takes connections, and not this client's. ``is_said``: by the node; else it may be
        one that died just then. Others may let it in, or this one a moment later, as while keys are being replaced: the
        search goes on."""
        if address in self.connections:
            self._refusals[address] = why, is_said

    def _greet(self, address: str) -> None:
        """Say Hello, once more if that was said before. The requests go once to each connection, however long a leader
        is looked for."""
        self._outbox.append((address, self._options.hello))
        if address not in self.connections:
            self.connections.add(address)
            self._ask_all(address)

    def _ask_all(self, address: str) -> None:
        for request in self._requests.to_send(of_any_node=True):
            self._outbox.append((address, codec.encode(request)))

    def _hear_of_leader(self, address: str) -> None:
        self._candidates.leader_is_at(address)
        if address and address not in self.connections:
            self._greet(address)

    def _close_all_but(self, keep: set[str]) -> None:
        for address in sorted(self.connections - keep):
            self._outbox.append((address, None))
        self.connections &= keep

    # --- what nodes answer ---------------------------------------------------------------------------------------

    def on_welcome(self, welcome: Welcome, now: float) -> bool:
        """A node has answered. True: it is the leader."""
        wanted = self._options.cluster_name
        if wanted and welcome.cluster_name != wanted:
            return False
        self._unproved = ""
        self._candidates.learn(welcome.addresses)
        if not welcome.leader_id or not self._candidates.heard_of_leader(welcome.cluster_id, welcome.term, now):
            return False
        if welcome.leader_id == welcome.node_id:
            return True
        self._hear_of_leader(welcome.leader_address)
        return False

    def on_redirect(self, redirect: Redirect, now: float) -> None:
        """A node names the leader."""
        if self._candidates.redirected(redirect.term, redirect.leader_address, now):
            self._hear_of_leader(redirect.leader_address)

    # --- from a search to an epoch, and back ---------------------------------------------------------------------

    def settle(self, address: str, now: float) -> None:
        """An epoch begins with the leader at this address; the other connections close."""
        self._candidates.leader_is_at(address)
        self._timeout_s = self._options.failover_timeout_s
        # An epoch that ends as soon as it began must not make a busy loop of Hello, Welcome and Redirect.
        self._next_round_s = now + self._candidates.round_interval_s()
        self._close_all_but({address})

    def resume(self, address: str, now: float) -> None:
        """The node that was found, at this address, has not shown that it leads: go on searching."""
        self._unproved = address
        self._next_round_s = max(now, self._next_round_s)
        self._candidates.restart()
        self.close()

    def successor(self, now: float) -> Search:
        """The search for the next leader, after the leader that was found is lost."""
        self.close()
        return Search(
            self._options,
            self._candidates,
            self._requests,
            self._outbox,
            now=now,
            next_round_s=max(now, self._next_round_s),
            timeout_s=self._options.failover_timeout_s,
        )

    def close(self) -> None:
        """Close every connection."""
        self._close_all_but(set())
