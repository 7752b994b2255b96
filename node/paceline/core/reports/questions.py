"""The questions of management: what each is answered, and by whom. A new one is a row here, and its message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from paceline.core.node.questions import AskedOf, Question
from paceline.core.reports.status import status
from paceline_protocol.messages import Admin, StatusReply, StatusRequest
from paceline_protocol.payload import pack_value

if TYPE_CHECKING:
    from paceline.core.node import NodeCore


def tell_status(node: NodeCore, key: bytes, request: StatusRequest, now: float) -> StatusReply:
    """What this node knows of the cluster. Whoever asks may say of itself what others are told who ask."""
    node.clients.known.told(key, request.about, now)
    return StatusReply(request.request, pack_value(status(node, now)))


def change_cluster(node: NodeCore, key: bytes, request: Admin, now: float) -> None:
    """What somebody wants changed. The reply follows once it is done, or can't be."""
    node.role.ask(key, request, now)


QUESTIONS: Final = (
    Question(StatusRequest, AskedOf.ANY_NODE, tell_status),
    Question(Admin, AskedOf.LEADER, change_cluster),
)
