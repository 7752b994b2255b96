"""The messages, replies and notices of all parts of a node, until the shell takes them.

Each part appends in the order in which it handles events. The node takes from the outbox twice in a turn: first the
messages that wait for nothing (:meth:`Outbox.take_messages`, :meth:`Outbox.take_replies`), and then the rest, with the
effects (:meth:`Outbox.take_effects`). Messages to peers are kept by the recipient's node id, as its address may change
until they leave; a hello goes to an address, since the id of the node there may not be known.

There are two connections to each peer, and neither waits for the other. What is in QUICK says who leads, follows or
lives as of now. It is small, and behind what is large for the network it would come when its time is over. Whoever
hears it depends on nothing that was sent before, so that it may come first (docs/decisions/0033). All else takes the
main connection, and keeps its order. Whoever only the quick one reaches is silent (``membership/main_connection.py``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from paceline.core.effects import Effects, Notice
from paceline_protocol.messages import PeerMessage
from paceline_protocol.messages.client import ClientReply
from paceline_protocol.messages.consensus import Confirm, Confirmed, Removed, TimeoutNow, VoteRequest, VoteResponse
from paceline_protocol.messages.membership import OtherStart, PeerHello
from paceline_protocol.messages.work import NodeBeat

QUICK: Final[frozenset[type[Any]]] = frozenset(
    (Confirm, Confirmed, VoteRequest, VoteResponse, TimeoutNow, Removed, NodeBeat)
)
"""The messages that take the quick connection. Removed is sent in front of a VoteResponse, and has to stay there. A
Beat takes either (``scheduling/nodes.py``)."""


class Outbox:
    """Filled by any part of a node, emptied by the node itself."""

    __slots__ = ("_effects", "hellos", "messages", "quick", "replies")

    def __init__(self) -> None:
        self.messages: dict[str, list[PeerMessage]] = {}  # by node id
        self.quick: dict[str, list[PeerMessage]] = {}  # likewise, for the quick connection
        self.hellos: list[tuple[str, PeerHello | OtherStart]] = []  # by address
        self.replies: list[tuple[bytes, ClientReply]] = []  # by the client's connection
        self._effects = Effects()  # notices, and whatever else goes out with them

    def send(self, node_id: str, message: PeerMessage) -> None:
        """A message for a peer."""
        if type(message) in QUICK:
            self.send_quick(node_id, message)
            return
        messages = self.messages.get(node_id)
        if messages is None:
            self.messages[node_id] = [message]
        else:
            messages.append(message)

    def send_quick(self, node_id: str, message: PeerMessage) -> None:
        """A message for a peer, by the quick connection."""
        self.quick.setdefault(node_id, []).append(message)

    def send_all(self, messages: Iterable[tuple[str, PeerMessage]]) -> None:
        """Messages for peers, each with the recipient's node id."""
        for node_id, message in messages:
            self.send(node_id, message)

    def say_hello(self, address: str, hello: PeerHello) -> None:
        """A hello for the node at this address."""
        self.hellos.append((address, hello))

    def say_at(self, address: str, told: OtherStart) -> None:
        """A message for the process at this address, whatever node that is."""
        self.hellos.append((address, told))

    def reply(self, key: bytes, reply: ClientReply) -> None:
        """A message for the client on this connection."""
        self.replies.append((key, reply))

    def notice(self, level: str, text: str) -> None:
        """A line for the operator; see Notice."""
        self._effects.notices.append(Notice(level, text))

    def forget_addresses(self, addresses: Iterable[str]) -> None:
        """Have the shell close the connections to these addresses."""
        self._effects.forget_addresses += addresses

    def save_identity(self) -> None:
        """The node's identity has changed: it must be saved before anything else leaves."""
        self._effects.identity_changed = True

    # --- taken by the node ---

    def take_messages(self) -> dict[str, list[PeerMessage]]:
        messages, self.messages = self.messages, {}
        return messages

    def take_quick(self) -> dict[str, list[PeerMessage]]:
        messages, self.quick = self.quick, {}
        return messages

    def take_hellos(self) -> list[tuple[str, PeerHello | OtherStart]]:
        hellos, self.hellos = self.hellos, []
        return hellos

    def take_replies(self) -> list[tuple[bytes, ClientReply]]:
        replies, self.replies = self.replies, []
        return replies

    def take_effects(self) -> Effects:
        """Take the effects so far, such as notices. The caller adds messages and replies."""
        effects, self._effects = self._effects, Effects()
        return effects
