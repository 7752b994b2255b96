"""What the bridge owes: a delivery, and the task that one or more deliveries asked for. The ledger, ``deliveries.py``,
keeps and changes them."""

from __future__ import annotations

from dataclasses import dataclass, field

from paceline_bridge.message import Message, Refused, ReplyAddress, TaskCall

Tag = tuple[int, int]
"""(number of the consumer, delivery tag): which delivery of a link."""


@dataclass(slots=True)
class Delivery:
    """One message that the bridge has not acknowledged, or, ``acked``, for which only this process knows that a reply
    is owed: then what it said is not kept. ``weight_bytes``: as it counts for the share of its queue
    (``intake.py``). ``came_s``: when it was delivered, by the monotonic clock. ``retained``: for a delayed task
    (``delayed.py``). ``is_duplicate``: it is not the first for its task, and RabbitMQ does not deliver it again."""

    tag: Tag
    message: Message
    reply: ReplyAddress | None
    protocol: str
    weight_bytes: int = 0
    came_s: float = 0.0
    acked: bool = False
    retained: bool = False
    is_duplicate: bool = False


@dataclass(slots=True)
class OwedTask:
    """One task, and the deliveries that asked for it: more than one if a message was published twice.

    ``since``: when it was delivered, or became due if it was delayed. ``due_s``: when it may start, or start again.
    Both are moments of the monotonic clock. ``delayed``: it has no place in the window, as its moment was ahead when
    the cluster accepted it, or it has waited to be tried again. ``owing``: the replies that deliveries owe which were
    acknowledged before them, each once."""

    call: TaskCall
    since: float
    due_s: float
    deliveries: list[Delivery] = field(default_factory=list)
    submitted: bool = False
    accepted: bool = False
    delayed: bool = False
    told_started: bool = False
    owing: tuple[ReplyAddress | None, ...] = ()
    outcome: tuple[int, bytes] | Refused | None = None
