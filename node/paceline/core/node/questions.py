"""The questions that an operator can ask a node. Each has a row, and the shell gives the rows to the node.

The node decides from a row whether it answers itself or redirects, and passes the request to the row's function, which
knows what is asked and what the reply holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from paceline_protocol.messages.client import ClientReply

if TYPE_CHECKING:
    from paceline.core.node.core import NodeCore


class AskedOf(Enum):
    """Who answers a question."""

    ANY_NODE = 1  # the node that is asked, whether it leads or not
    LEADER = 2  # the leader, on a connection that said Hello; another node redirects to it


@dataclass(frozen=True, slots=True)
class Question:
    """``request``: the message that asks. ``answer``: (the node, the client's connection, the request, now) -> the
    reply, or None if it follows later."""

    request: type[Any]
    asked_of: AskedOf
    answer: Callable[[NodeCore, bytes, Any, float], ClientReply | None]
