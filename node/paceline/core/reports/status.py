"""What a node knows of its cluster, as one map: the body of a StatusReply. Its keys are listed in docs/protocol.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from paceline.core.feature_levels import too_old
from paceline.core.reports.waiting import most_frequent
from paceline_protocol.messages.work import Availability

if TYPE_CHECKING:
    from paceline.core.node import NodeCore
    from paceline.core.scheduling.leader import Leader

NAMES = {
    Availability.SERVES: "serves",
    Availability.QUIET: "quiet",
    Availability.DRAINS: "draining",
    Availability.ENDS: "stopping",
}
"""Of what a node does about tasks."""
NAMES_LIMIT = 1_000
"""Of tasks. A status is asked for each second, and with more names than that it has none."""


def status(node: NodeCore, now: float) -> dict[str, Any]:
    """Made from this node's own tables: nobody else is asked, so it answers also when the others don't."""
    identity, table, leader = node.identity, node.table, node.leader
    queued = running = delayed = limited = unserved_names = unserved_total = unplaced = None  # only the leader knows
    if leader is not None:
        limited = leader.tasks.limited
        queued, running = leader.tasks.waiting + limited, leader.tasks.at_nodes
        delayed = leader.tasks.delayed
        unserved = leader.tasks.unserved_by_name()
        unplaced = leader.tasks.unplaced()
        unserved_names, unserved_total = most_frequent(unserved), sum(unserved.values())
    return {
        "node_id": node.node_id,
        "cluster_id": identity.cluster_id,
        "cluster_name": node.settings.cluster_name,
        "term": node.role.term(),
        "leader_id": node.leader_id(now),
        "nodes": nodes(node, now),
        "queued": queued,
        "delayed": delayed,
        "limited": limited,
        "running": running,
        "queue": None if leader is None else queue(node, leader),
        "unserved": unserved_names,
        "unserved_total": unserved_total,
        "unplaced": None if unplaced is None else most_frequent(unplaced),
        "unplaced_total": None if unplaced is None else sum(unplaced.values()),
        "tasks": task_names(node),
        **{f"{name}_total": count for name, count in table.totals.by_name().items()},
        "recorded_total": table.recorded,
        "results_kept": len(table.results),
        "dead_tasks": len(table.dead),
        "commit_index": node.consensus.commit_index,
        "applied_index": node.consensus.applied_index,
        "log_entries": node.consensus.log.last_index - node.consensus.log.first_index + 1,
        "executed_total": node.leader_link.slots.executed,
        "elections_won_total": node.role.elections_won,
        "sessions": 0 if leader is None else len(leader.sessions.by_key),
        "clients": node.clients.known.rows(now),
        "fault_tolerance": fault_tolerance(node, now),
        "feature_level": node.levels.of_cluster(now),
        "too_old": outdated(node, now),
        "voters_wanted": node.consensus.config.limit or node.settings.voters,
        "journal": node.settings.journal,
        "encrypted": node.settings.encrypted,
        "insecure": node.settings.insecure,
        "forming": forming(node, now),
        "leaderless": leaderless(node, now),
        "found": list(node.found),
        "twice": list(node.peering.starts.said.values()),
        "other_clusters": node.peering.directory.other_clusters(identity.cluster_id),
    }


def queue(node: NodeCore, leader: Leader) -> dict[str, int]:
    """How full the cluster is: at one of the limits it refuses new tasks."""
    return {
        "tasks": len(leader.tasks.live),
        "limit_tasks": node.settings.queue_limit_tasks,
        "bytes": leader.queue_bytes,
        "limit_bytes": node.settings.queue_limit_bytes,
    }


def task_names(node: NodeCore) -> list[str] | None:
    """What some node can run, as the leader knows once nodes with slots have enrolled; None if that is not known."""
    tasks = None if node.leader is None else node.leader.tasks
    if tasks is None or not tasks.is_settled or not any(ledger.slots for ledger in tasks.ledgers.values()):
        return None
    names = tasks.known_names()
    return names if len(names) <= NAMES_LIMIT else None


def fault_tolerance(node: NodeCore, now: float) -> int:
    """How many of the voters that are alive may fail before no majority is left."""
    voters = node.consensus.config.voters
    live = {peer.node_id for peer in node.peering.directory.live(now, node.identity.cluster_id)}
    live = {node.node_id, *(node_id for node_id in live if _silent_s(node, node_id, now) == 0.0)} - forgotten(node)
    return max(0, len(live.intersection(voters)) - (len(voters) // 2 + 1))


def forgotten(node: NodeCore) -> set[str]:
    """The replicas that lack what they had acknowledged, and count for nothing. Only the leader knows."""
    progress = node.consensus.progress(0.0)
    return {node_id for node_id, peer in progress.items() if peer.has_forgotten}


def forming(node: NodeCore, now: float) -> str:
    """What the cluster's beginning still waits for, in words; "" once it accepts tasks."""
    if waiting := node.peering.first_boot.waiting_for(len(node.peering.directory.live(now, ""))):
        return waiting
    missing = node.role.missing_voters()
    return f"{missing} of {node.settings.min_voters} voters are still to come" if missing else ""


def leaderless(node: NodeCore, now: float) -> str:
    """Why this node of a cluster knows of no leader, in words; "" if it knows one, or its cluster is not formed yet."""
    if not node.identity.cluster_id or node.leader_id(now):
        return ""
    voters = node.consensus.config.voters
    live = {node.node_id, *node.peering.live_peers(now)}
    if node.node_id not in voters:
        return "none of its voters answers" if live.isdisjoint(voters) else "an election is under way"
    silent = [node.peering.directory.address_of(voter) or voter for voter in voters if voter not in live]
    needed = len(voters) // 2 + 1
    if len(voters) - len(silent) >= needed:
        return "an election is under way"
    return (
        f"{len(voters) - len(silent)} of {len(voters)} voters are here, of {needed} that are needed; "
        f"start those that are not: {', '.join(silent)}"
    )


def outdated(node: NodeCore, now: float) -> str:
    """That this node is too old for its cluster, in words; "" if it is not."""
    level, understood = node.levels.of_cluster(now), node.levels.understood
    return too_old(understood, level) if level > understood else ""


def nodes(node: NodeCore, now: float) -> list[dict[str, Any]]:
    """One row for each node of the cluster, this one first."""
    cluster_id = node.identity.cluster_id
    live = {peer.node_id for peer in node.peering.directory.live(now, cluster_id)}
    config = node.consensus.config
    known = {peer.node_id for peer in node.peering.directory.peers.values() if peer.cluster_id == cluster_id}
    others = sorted((known | set(config.voters) | set(config.learners)) - {node.node_id})
    levels = node.levels.of_nodes(now)
    lost = forgotten(node)
    rows = []
    for node_id in [node.node_id, *others]:
        is_self = node_id == node.node_id
        row = {
            "id": node_id,
            "address": node.peering.directory.address_of(node_id),
            "role": role_of(node, node_id, now),
            "alive": is_self or node_id in live,
            "silent_s": _silent_s(node, node_id, now),
            "behind": _behind(node, node_id),
            "excluded": node_id in config.excluded,
            "forgotten": node_id in lost,
            "is_self": is_self,
            **_availability(node, node_id, now),
            "metrics": _metrics_address(node, node_id),
            "version": _version(node, node_id),
            "feature_level": levels.get(node_id) or None,
            **_load(node, node_id),
        }
        rows.append(row)
    return rows


def _metrics_address(node: NodeCore, node_id: str) -> str:
    if node_id == node.node_id:
        return node.peering.directory.own_metrics_address
    peer = node.peering.directory.peers.get(node_id)
    return "" if peer is None else peer.metrics_address


def _version(node: NodeCore, node_id: str) -> str:
    if node_id == node.node_id:
        return node.settings.version
    peer = node.peering.directory.peers.get(node_id)
    return "" if peer is None else peer.version


def role_of(node: NodeCore, node_id: str, now: float) -> str:
    if node_id == node.leader_id(now):
        return "leader"
    if node_id == node.node_id and node.consensus.is_removed:
        return "worker"  # its log does not say so yet
    if node_id in node.consensus.config.voters:
        return "voter"
    if node_id in node.consensus.config.learners:
        return "learner"
    return "worker" if node.identity.cluster_id else "blank"


def _silent_s(node: NodeCore, node_id: str, now: float) -> float | None:
    """How long nothing has been heard of a node; 0.0 if it is heard, None if that is not known. The leader judges a
    replica by its answers for the log, and counts from when it first missed them."""
    if node_id == node.node_id:
        return 0.0
    config = node.consensus.config
    if node.leader is not None and (node_id in config.voters or node_id in config.learners):
        return round(node.role.keeper.liveness.silent_s(node_id, now), 1)
    peer = node.peering.directory.peers.get(node_id)
    if peer is None:
        return None
    # Not by the list of live peers: this is asked of each node, and a list for each costs their square.
    heard = peer.cluster_id == node.identity.cluster_id and peer.heard_at >= node.peering.directory.live_since(now)
    return 0.0 if heard else round(now - peer.heard_at, 1)


def _behind(node: NodeCore, node_id: str) -> int | None:
    """How many committed entries a replica is not known to have. Only the leader knows of others."""
    if node_id == node.node_id:
        return 0 if node.leader is not None else None
    progress = node.consensus.progress(0.0).get(node_id) if node.leader is not None else None
    return None if progress is None else max(0, node.consensus.commit_index - progress.match)


def _availability(node: NodeCore, node_id: str, now: float) -> dict[str, Any]:
    """Whether a node takes tasks, and how long it still drains: of this node at first hand, of others as they told the
    leader; nothing where nothing is known."""
    if node_id == node.node_id:
        draining, held = node.leader_link.slots.draining, len(node.leader_link.slots.held.attempts)
        availability, left_s = draining.availability, draining.ends_at - now
    else:
        state = None if node.leader is None else node.leader.nodes.by_id.get(node_id)
        if node.leader is None or state is None or not state.enrolled:
            return {}
        held = sum(len(ledger.held) for ledger in node.leader.tasks.ledgers_of(node_id))
        availability, left_s = state.availability, state.drains_until - now
    if availability == Availability.DRAINS and not held:
        return {"availability": "drained", "drain_left_s": 0.0}
    drains = availability >= Availability.DRAINS
    return {"availability": NAMES[availability], "drain_left_s": round(max(0.0, left_s), 1) if drains else 0.0}


def _load(node: NodeCore, node_id: str) -> dict[str, int]:
    """Slots and tasks: of this node at first hand, of others what they told the leader; nothing where nothing is
    known."""
    if node_id == node.node_id:
        slots = node.leader_link.slots
        return {"slots": slots.slots, "running": slots.running_tasks, "queued": slots.waiting}
    state = None if node.leader is None else node.leader.nodes.by_id.get(node_id)
    if state is None or state.beat is None:
        return {}
    return {"slots": state.beat.slots, "running": state.beat.running, "queued": state.beat.queued}
