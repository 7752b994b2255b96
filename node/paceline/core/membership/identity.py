"""Who a node is: its id, its cluster, its incarnation, and the consents that it holds. The data directory keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from paceline.hosts import short, split_address
from paceline_protocol.errors import PeerViolation
from paceline_protocol.limits import MAX_NAME_CHARS

ADDRESS_CHARS: Final = 300
"""A host name has 253, and a port 5."""


@dataclass(slots=True)
class Identity:
    """What a node must remember about itself. With the memory journal it lives as long as the process."""

    node_id: str
    incarnation: int
    cluster_id: str = ""  # "" while blank
    consents: frozenset[str] = frozenset()  # those that this node holds; at first {node_id}
    handed_to: str = ""  # the node to which it gave its consents; those that it receives later go there too
    formed: bool = False  # this node formed its cluster. If its log is blank all the same, it must bootstrap again
    start: int = 0  # this process of it; of two, that which began later has the higher one

    def __post_init__(self) -> None:
        if not self.consents and not self.handed_to:
            self.consents = frozenset({self.node_id})

    @property
    def is_blank(self) -> bool:
        """Whether nobody relies on this identity: it belongs to no cluster, and its consent was not given away."""
        return not self.cluster_id and not self.handed_to and self.consents <= {self.node_id}


class IdentityTaken(Exception):
    """Another process runs as this node, or ran later than this one's data: this one must end. ``is_blank``: nobody
    relies on this identity, so the node may go on with another one."""

    def __init__(self, identity: Identity, own_address: str, address: str) -> None:
        self.node_id = identity.node_id
        self.own_address = own_address
        self.address = address
        self.is_blank = identity.is_blank
        super().__init__(f"node {identity.node_id} is at {address} too, not only at {own_address}")


class Overtaken(Exception):
    """A copy of this node was started later than this process, and is heard in its place: this process has to begin
    again under an incarnation above ``incarnation``, with the same start. ``said``: what is to be said of that."""

    def __init__(self, identity: Identity, incarnation: int, own_address: str, address: str, said: str) -> None:
        self.node_id = identity.node_id
        self.own_address = own_address
        self.incarnation = incarnation
        self.address = address
        self.said = said
        super().__init__(f"node {identity.node_id} at {address}, a copy of this one that began later, is heard")


def check_node_id(node_id: str) -> None:
    """Raises PeerViolation for what no node is called."""
    if not node_id:
        raise PeerViolation("a node id of 0 characters")
    check_word("a node id", node_id, MAX_NAME_CHARS)


def check_word(what: str, word: str, limit_chars: int) -> None:
    """Raises PeerViolation for what no node says of itself or of others. People read it in their terminals and logs."""
    if len(word) > limit_chars:
        raise PeerViolation(f"{what} of {len(word)} characters, and at most {limit_chars} are allowed")
    if not word.isprintable():
        raise PeerViolation(f"{what} with characters that can't be printed")


def check_address(address: str) -> None:
    """Raises PeerViolation for an address that no node has: whoever connects to one, or chooses between several, needs
    its host and its port."""
    check_word("an address", address, ADDRESS_CHARS)
    try:
        split_address(address)
    except ValueError:
        raise PeerViolation(f"{short(address)} is no address") from None
