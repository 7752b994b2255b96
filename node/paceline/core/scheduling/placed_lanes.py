"""Which node is given the next task of a lane whose tasks ask something of their nodes, and which node is kept for one
that finds no room (``placement.py`` says why)."""

from __future__ import annotations

from math import inf

from paceline.core.scheduling.credits import NodeLedger
from paceline.core.scheduling.lanes import Lane
from paceline.core.scheduling.placement import KEEP_AFTER_S, Requirements, Room


def with_room(lane: Lane, placement: Requirements, cost_us: int) -> NodeLedger | None:
    """The least loaded of the lane's nodes that may be given its next task; None if there is none. Cost: that of all
    its nodes. What takes amounts is given only in the place of a slot or a spare task, and not since all that its node
    holds is short: what it takes nobody else has meanwhile."""
    amounts, best = placement.amounts, None
    for ledger in lane.ledgers:
        if best is not None and ledger.rank >= best.rank:
            continue
        if not amounts:
            if ledger.has_credit(cost_us):
                best = ledger
        elif ledger.has_place() and _may_take(lane, ledger.room) and ledger.room.has(amounts):
            best = ledger
    return best


def _may_take(lane: Lane, room: Room) -> bool:
    """Whether the node with this room is kept for no other lane, and has room as far as is known."""
    return (room.kept_for is None or room.kept_for is lane) and not room.is_full


def keep_nodes(lanes: list[Lane], now: float) -> list[Room]:
    """Keep nodes for the lanes whose first tasks have found no room for KEEP_AFTER_S: for each, as it comes, the one
    that lacks least. Returns their rooms, which the caller has kept for nobody any more before the next round. Cost:
    that of the lanes, and of the nodes of those for which one is kept."""
    waiting: list[tuple[int, int, int]] = []
    for index, lane in enumerate(lanes):
        head = lane.head()
        if head is None:
            lane.lacking_since = inf
        elif lane.lacking_since <= now - KEEP_AFTER_S:
            waiting.append((-head.priority, head.age, index))
    kept: list[Room] = []
    for _, _, index in sorted(waiting):
        lane = lanes[index]
        placement = lane.lanes.placement
        if placement is None or not placement.amounts:
            continue
        free = [ledger for ledger in lane.ledgers if ledger.room.kept_for is None]
        if free:
            least = min(free, key=lambda ledger: (ledger.room.lacks(placement.amounts), ledger.rank))
            least.room.kept_for = lane
            kept.append(least.room)
    return kept
