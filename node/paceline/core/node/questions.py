"""What a node can be asked by whoever manages the cluster: a row for each question, given to the node from outside.

The node knows who answers and hands the request over; what is asked, and what is told, are the row's business.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from paceline_protocol.messages import ClientReply

if TYPE_CHECKING:
    from paceline.core.node.core import NodeCore


class AskedOf(Enum):
    """Who answers a question."""

    ANY_NODE = 1  # whoever asks, and whoever leads
    LEADER = 2  # whoever said Hello on the connection; another node says who leads


@dataclass(frozen=True, slots=True)
class Question:
    """``request``: the message that asks. ``answer``: (the node, the client's connection, the request, now) -> the
    reply, or None if it follows later."""

    request: type[Any]
    asked_of: AskedOf
    answer: Callable[[NodeCore, bytes, Any, float], ClientReply | None]
