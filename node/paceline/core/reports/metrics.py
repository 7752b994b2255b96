"""What a node tells its web process: the body of a MetricsReply, as one map of plain values.

Made from counters and the lengths of tables. Its cost grows with nodes, priorities, lanes and the capped task
names, and never with tasks: a leader with a million of them answers as fast as an idle one. ``web/table.py`` says what
metrics are made of it.

What is true of the cluster (``leading``) is told by its leader alone, so that a sum over all nodes is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paceline.core.measures.tally import OTHER, Tally
from paceline.core.reports.status import fault_tolerance, forgotten, forming, leaderless, nodes, outdated, role_of
from paceline.core.reports.waiting import most_frequent
from paceline.core.scheduling.demand import slots_wanted
from paceline_protocol.messages.client import Refusal
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.messages.schedules import Fired

if TYPE_CHECKING:
    from paceline.core.node import NodeCore
    from paceline.core.scheduling.leader import Leader

BEHIND_LIMIT_ENTRIES = 10_000
"""A replica that lacks more committed entries than this is not ready: it is being caught up."""


def metrics(node: NodeCore, now: float) -> dict[str, Any]:
    """Counts, and how things stand."""
    slots, table = node.leader_link.slots, node.table
    tally = slots.tally
    busy = sum(1 for slot in slots.workers.values() if slot.running and not slot.is_async)
    async_busy = sum(len(slot.running) for slot in slots.async_workers.values())
    leader = node.leader
    return {
        "node_id": node.node_id,
        "cluster_id": node.identity.cluster_id,
        "cluster_name": node.settings.cluster_name,
        "journal": node.settings.journal,
        "term": node.role.term(),
        "leader_known": bool(node.leader_id(now)),
        "is_voter": node.node_id in node.consensus.config.voters,
        "leader_changes": tally.leader_changes,
        "elections_won": node.role.elections_won,
        "election": tally.election.as_dict(),
        "submitted": tally.submitted,
        "accepted": tally.accepted,
        "redelivered": tally.redelivered,
        "given_back": slots.draining.given_back,
        "takes_tasks": slots.draining.takes_tasks,
        "retried": tally.retried,
        "dead_dropped": tally.dead_dropped,
        "moments": _moments(tally),
        "recovered": tally.recovered,
        "refused": {refusal.name.lower(): tally.refused[refusal] for refusal in Refusal},
        "finished": {end.name.lower(): tally.finished[end] for end in TaskEnd},
        "duplicates": table.totals.duplicates,
        "peer_violations": node.violations.total,
        "rivals": len(node.peering.starts.said),
        "queue_wait": tally.queue_wait.as_dict(),
        "dispatch_latency": tally.dispatch_latency.as_dict(),
        "duration": tally.duration.as_dict(),
        "by_name": {
            name: {"run_us": row.run_us, "ended": {end.name.lower(): row.ended[end] for end in TaskEnd}}
            for name, row in tally.by_name.items()
        },
        "slots": {"busy": busy, "idle": max(0, slots.slots - busy)},
        "parked_tasks": slots.parking.count,
        "async_slots": {"busy": async_busy, "idle": max(0, slots.async_serving - async_busy)},
        "assigned": slots.waiting,
        "commit_index": node.consensus.commit_index,
        "applied_index": node.consensus.applied_index,
        "behind": behind(node),
        "log_entries": node.consensus.log.last_index - node.consensus.log.first_index + 1,
        "results_kept": len(table.results),
        "result_bytes": table.result_bytes,
        "targets": _targets(node, now),
        "not_ready": not_ready(node, now),
        "leading": None if leader is None else _leading(node, leader, now),
    }


def behind(node: NodeCore) -> int:
    """How many entries that its leader has committed this replica has not applied, as far as it knows."""
    consensus = node.consensus
    return max(0, max(consensus.heard_commit_index, consensus.commit_index) - consensus.applied_index)


def not_ready(node: NodeCore, now: float) -> list[str]:
    """Why this node does not do its part for clients right now, in words; empty if it does."""
    reasons = []
    draining = node.leader_link.slots.draining
    if draining.drains:
        reasons.append("it drains, and takes no tasks")
    if waiting := forming(node, now):
        reasons.append(waiting)
    leader_id = node.leader_id(now)
    if not leader_id:
        why = leaderless(node, now)
        reasons.append("no leader is known" + (f": {why}" if why else ""))
    elif not node.leader_link.is_heard_by(leader_id):
        reasons.append("the leader does not hear it, or has not yet, and counts it for nothing")
    if why := outdated(node, now):
        reasons.append(why)
    lacking = behind(node)
    if lacking > BEHIND_LIMIT_ENTRIES:
        reasons.append(f"the log is being caught up: {lacking} committed entries are still to be applied")
    return reasons


def _targets(node: NodeCore, now: float) -> list[list[str]]:
    """Each node of the cluster that said where its metrics are: id, address, address of the metrics, role. One that has
    just gone silent, too, until it is forgotten: who scrapes it finds out that it is down."""
    cluster_id = node.identity.cluster_id
    directory = node.peering.directory
    found = [(node.node_id, directory.own_address, directory.own_metrics_address)]
    known = [peer for peer in directory.peers.values() if peer.cluster_id == cluster_id]
    found += [(peer.node_id, peer.address, peer.metrics_address) for peer in known]
    return [[node_id, address, metrics, role_of(node, node_id, now)] for node_id, address, metrics in found if metrics]


def _moments(tally: Tally) -> dict[str, int]:
    """What moments of schedules have come to. One that is skipped is among the missed."""
    told = (Fired.FIRED, Fired.TRIGGERED, Fired.QUEUED, Fired.OVERLAPPED, Fired.DEQUEUED, Fired.BACKFILLED)
    return {"missed": tally.missed_moments} | {each.name.lower(): tally.moments[each] for each in told}


def _leading(node: NodeCore, leader: Leader, now: float) -> dict[str, Any]:
    """The cluster, as its leader sees it."""
    tasks, settings = leader.tasks, node.settings
    oldest = tasks.oldest_arrived_at()
    return {
        "waiting": {str(priority): count for priority, count in enumerate(tasks.waiting_by_priority())},
        "oldest_s": max(0.0, now - oldest) if tasks.waiting and oldest < now else 0.0,
        "dispatched": tasks.at_nodes,
        "delayed": tasks.delayed - tasks.waits_for_tasks,
        "waits_for_tasks": tasks.waits_for_tasks,
        "limited": tasks.limited,
        "slots_wanted": slots_wanted(tasks, leader.dispatcher.durations),
        "unserved": _by_name(tasks.unserved_by_name()),
        "unplaced": sum(tasks.unplaced().values()),
        "dead": _by_name(node.table.dead_by_name),
        "dead_bytes": node.table.dead_bytes,
        "schedules": len(node.table.schedules),
        "schedules_held": len(leader.schedules.held),
        "queue_bytes": leader.queue_bytes,
        "unlogged_bytes": leader.recording.unlogged_bytes,
        "queue_limit_tasks": settings.queue_limit_tasks,
        "queue_limit_bytes": settings.queue_limit_bytes,
        "sessions": len(leader.sessions.by_key),
        "nodes": _nodes(node, now),
        "peers": _peers(node, leader, now),
        "fault_tolerance": fault_tolerance(node, now),
        "forgotten": len(forgotten(node)),
    }


def _by_name(counts: dict[str, int]) -> dict[str, int]:
    """As far as they are shown; all others together, as OTHER."""
    shown = most_frequent(counts)
    others = sum(counts.values()) - sum(shown.values())
    return {**shown, OTHER: others + shown.get(OTHER, 0)} if others else shown


def _nodes(node: NodeCore, now: float) -> dict[str, list[int]]:
    """Role -> how many nodes of it are alive, and how many silent."""
    counts = {role: [0, 0] for role in ("leader", "voter", "learner", "worker")}
    for row in nodes(node, now):
        is_silent = not row["alive"] or bool(row["silent_s"])
        counts.setdefault(row["role"], [0, 0])[is_silent] += 1
    return counts


def _peers(node: NodeCore, leader: Leader, now: float) -> dict[str, list[float | int | None]]:
    """Each other node that there is: seconds since it was heard, and entries that it lacks (None: no replica)."""
    commit_index = node.consensus.commit_index
    rows: dict[str, list[float | int | None]] = {}
    for node_id, state in leader.nodes.by_id.items():
        if state.enrolled and node_id != node.node_id:
            rows[node_id] = [max(0.0, now - state.heard_at), None]
    for node_id, progress in node.consensus.progress(now).items():
        heard_at = max(progress.heard_at, leader.since)
        rows[node_id] = [max(0.0, now - heard_at), max(0, commit_index - progress.match)]
    return rows
