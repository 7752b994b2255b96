"""Which node is given the next task of a lane whose tasks ask something of their nodes, and which node is kept for one
that finds no room (``placement.py`` says why)."""

from __future__ import annotations

from math import inf

from paceline.core.scheduling.credits import NodeLedger
from paceline.core.scheduling.lanes import Lane
from paceline.core.scheduling.placement import KEEP_AFTER_S, Requirements, Room
from paceline.core.state.task import Task


def with_room(lane: Lane, placement: Requirements, task: Task, cost_us: int, now: float) -> NodeLedger | None:
    """Of the lane's nodes the one that is best for its next task; if that has no room, and the task has waited for it
    for long enough, the least loaded one that has; None if there is none. Cost: that of all its nodes."""
    preferred = lane.preferred
    if preferred is not None and not preferred.is_doubtful:
        if _has_room(lane, placement, preferred, cost_us):
            return preferred
        if waits_for_preferred(lane, task, now):
            return None
    best: NodeLedger | None = None
    for ledger in lane.ledgers:
        if (best is None or ledger.rank < best.rank) and _has_room(lane, placement, ledger, cost_us):
            best = ledger
    return best


def waits_for_preferred(lane: Lane, task: Task, now: float) -> bool:
    """Whether a task goes to no other node yet than to the one that is best for it."""
    preferred, options = lane.preferred, task.options
    if preferred is None or preferred.is_doubtful or options is None:
        return False
    return now < task.arrived_at + options.affinity_wait_s


def opens_at(lane: Lane, placement: Requirements) -> float:
    """Until when the lane's tasks, which go together, wait for others; -inf if there are enough."""
    if lane.lanes.count >= placement.batch:
        return -inf
    return lane.oldest_arrived_at() + placement.window_s


def _has_room(lane: Lane, placement: Requirements, ledger: NodeLedger, cost_us: int) -> bool:
    """Whether a node may be given the lane's next task. What takes amounts is given only in the place of a slot or a
    spare task, and not since all that its node holds is short: what it takes nobody else has meanwhile."""
    if not placement.amounts:
        return ledger.has_credit(cost_us)
    return ledger.has_place() and _may_take(lane, ledger.room) and ledger.room.has(placement.amounts)


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
