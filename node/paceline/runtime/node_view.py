"""What the threads that search for other nodes may ask their node, and how they ask it.

Nothing here walks over a table that the reactor's thread changes: it is asked for one entry, or for a copy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from paceline.config import parse_address
from paceline.core.node import NodeCore


@dataclass(frozen=True, slots=True)
class Acquaintance:
    """What a node knows of another that has said hello to it."""

    cluster_id: str  # "" if it belongs to none
    address: str


@dataclass(frozen=True, slots=True)
class NodeView:
    """``is_reached``: whether a batch could be sent to an address; ``is_own``: whether this node is what is there.
    ``has_met``: whether any node has said hello; ``met``: what is known of one, None if it has not. ``cluster_id``: ""
    while the node belongs to none. ``towards``: the hosts at which peers answer."""

    is_reached: Callable[[str], bool]
    is_own: Callable[[str], bool]
    has_met: Callable[[], bool]
    met: Callable[[str], Acquaintance | None]
    cluster_id: Callable[[], str]
    has_leader: Callable[[], bool]
    towards: Callable[[], Iterable[str]]


def view_of(core: NodeCore, unreached: Collection[str]) -> NodeView:
    """``unreached``: addresses to which the last batch could not be sent."""
    directory = core.peering.directory

    def met(node_id: str) -> Acquaintance | None:
        peer = directory.peers.get(node_id)
        return None if peer is None else Acquaintance(peer.cluster_id, peer.address)

    def towards() -> list[str]:
        addresses = [address for peer in list(directory.peers.values()) for address in list(peer.reached)]
        return [parse_address(address)[0] for address in addresses]

    return NodeView(
        is_reached=lambda address: address in directory.addresses and address not in unreached,
        is_own=directory.is_own,
        has_met=lambda: bool(directory.peers),
        met=met,
        cluster_id=lambda: core.identity.cluster_id,
        has_leader=lambda: core.leader_id(time.monotonic()) != "",
        towards=towards,
    )
