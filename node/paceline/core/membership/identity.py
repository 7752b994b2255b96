"""Who a node is: its id, its cluster, its incarnation, and the consents that it holds. The data directory keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from paceline_protocol.errors import PeerViolation
from paceline_protocol.limits import MAX_NAME_CHARS


@dataclass(slots=True)
class Identity:
    """What a node must remember about itself. With the memory journal it lives as long as the process."""

    node_id: str
    incarnation: int
    cluster_id: str = ""  # "" while blank
    consents: frozenset[str] = frozenset()  # those that this node holds; at first {node_id}
    handed_to: str = ""  # the node to which it gave its consents; those that it receives later go there too
    formed: bool = False  # this node formed its cluster. If its log is blank all the same, it must bootstrap again


def check_node_id(node_id: str) -> None:
    """Raises PeerViolation for what no node is called."""
    if not 0 < len(node_id) <= MAX_NAME_CHARS:
        raise PeerViolation(f"a node id of {len(node_id)} characters")
