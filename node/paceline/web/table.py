"""The table of metrics: one row of METRICS for each, from which /metrics and the table in docs/metrics.md are made.

Metrics of the cluster have samples at its leader only. Other nodes leave the family out, so that a sum over all nodes
is right and the series of a deposed leader end. Each present peer has series; those of a node that is gone end with it.
Labels have few values: no ids of tasks, no texts of errors, and at most 201 names.

The file is as long as the table, which is one: names are chosen beside each other, and looked up in it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

Body = dict[str, Any]
Sample = tuple[tuple[str, ...], Any]


class MetricSpec(NamedTuple):
    """One metric. ``samples``: called with a body, yields the label values and the value of each series; the value of a
    histogram is a map."""

    name: str
    kind: str  # counter, gauge, histogram
    labels: tuple[str, ...]
    help: str
    samples: Callable[[Body], Iterable[Sample]]


def _one(key: str) -> Callable[[Body], Iterable[Sample]]:
    return lambda body: [((), body[key])]


def _each(key: str) -> Callable[[Body], Iterable[Sample]]:
    return lambda body: [((label,), value) for label, value in body[key].items()]


def _led(key: str) -> Callable[[Body], Iterable[Sample]]:
    """A metric that only the leader has."""
    return lambda body: [((), body["leading"][key])] if body["leading"] else []


def _led_each(key: str) -> Callable[[Body], Iterable[Sample]]:
    return lambda body: [((label,), value) for label, value in body["leading"][key].items()] if body["leading"] else []


def _peers(column: int) -> Callable[[Body], Iterable[Sample]]:
    def samples(body: Body) -> Iterable[Sample]:
        rows = body["leading"]["peers"].items() if body["leading"] else ()
        return [((peer,), row[column]) for peer, row in rows if row[column] is not None]

    return samples


def _tasks_by_state(body: Body) -> Iterable[Sample]:
    led = body["leading"]
    if not led:
        return []
    counts = {
        "waiting": sum(led["waiting"].values()),
        "dispatched": led["dispatched"],
        "delayed": led["delayed"],
        "limited": led["limited"],
        "waits_for_tasks": led["waits_for_tasks"],
    }
    return [((state,), count) for state, count in counts.items()]


def _nodes_by_state(body: Body) -> Iterable[Sample]:
    rows = body["leading"]["nodes"].items() if body["leading"] else ()
    return [((role, state), count) for role, row in rows for state, count in zip(("alive", "silent"), row, strict=True)]


def _executed(body: Body) -> Iterable[Sample]:
    return [
        ((name, outcome), count)
        for name, row in body["by_name"].items()
        for outcome, count in row["ended"].items()
        if count or outcome in ("succeeded", "failed")
    ]


def _run_seconds(body: Body) -> Iterable[Sample]:
    return [((name,), row["run_us"] / 1e6) for name, row in body["by_name"].items()]


def _journal_writes(body: Body) -> Iterable[Sample]:
    return [((), body["journal_write"])] if body["journal_write"] else []


METRICS: tuple[MetricSpec, ...] = (
    # Tasks in the cluster: counted by whoever led, so that the sum over all nodes counts each once.
    MetricSpec("paceline_tasks_submitted_total", "counter", (), "Tasks that the leader took in.", _one("submitted")),
    MetricSpec(
        "paceline_tasks_accepted_total",
        "counter",
        (),
        "Tasks whose acceptance was committed: a majority of the voters has them.",
        _one("accepted"),
    ),
    MetricSpec(
        "paceline_tasks_refused_total",
        "counter",
        ("reason",),
        "Calls that the leader did not take in, by why.",
        _each("refused"),
    ),
    MetricSpec(
        "paceline_tasks_finished_total",
        "counter",
        ("outcome",),
        "Tasks that ended: succeeded, failed, cancelled, lost (every attempt ended with its worker or node), expired, "
        "timed_out, upstream_failed.",
        _each("finished"),
    ),
    MetricSpec(
        "paceline_tasks_redelivered_total",
        "counter",
        (),
        "Attempts that were lost with a worker or a node and are made again, as far as the leader of the time lived to "
        "see it.",
        _one("redelivered"),
    ),
    MetricSpec(
        "paceline_tasks_retried_total",
        "counter",
        (),
        "Attempts that failed, of tasks that are tried again, as far as the leader of the time lived to see it.",
        _one("retried"),
    ),
    MetricSpec(
        "paceline_tasks_given_back_total",
        "counter",
        (),
        "Tasks that had begun on this node and went on past its drain: another node runs them, and no attempt is used "
        "up.",
        _one("given_back"),
    ),
    MetricSpec(
        "paceline_tasks_recovered_total",
        "counter",
        (),
        "Tasks that an earlier leader had accepted and no node had, when they were given to one: what ran on its own "
        "node is among them.",
        _one("recovered"),
    ),
    MetricSpec(
        "paceline_task_duplicate_outcomes",
        "gauge",
        (),
        "Outcomes of tasks that had one already, in the replicated log: each voter has the same figure.",
        _one("duplicates"),
    ),
    MetricSpec(
        "paceline_dispatch_latency_seconds",
        "histogram",
        (),
        "From giving a task to a node with a free worker until its outcome was back at that leader, less the time it "
        "ran.",
        _one("dispatch_latency"),
    ),
    MetricSpec(
        "paceline_queue_wait_seconds",
        "histogram",
        (),
        "From a task's arrival at the leader until it was first given to a node.",
        _one("queue_wait"),
    ),
    # The queue: the leader's.
    MetricSpec(
        "paceline_tasks", "gauge", ("state",), "Tasks that have not ended, as the leader has them.", _tasks_by_state
    ),
    MetricSpec(
        "paceline_queue_tasks", "gauge", ("priority",), "Tasks that wait for a node, by priority.", _led_each("waiting")
    ),
    MetricSpec(
        "paceline_queue_oldest_task_age_seconds",
        "gauge",
        (),
        "How long the oldest waiting task has waited at this leader; 0 if none waits.",
        _led("oldest_s"),
    ),
    MetricSpec(
        "paceline_slots_wanted",
        "gauge",
        (),
        "Workers that would run what runs now and begin what waits within 10 s, if tasks run as long as they did so "
        "far; without async tasks, and without names that no node runs.",
        _led("slots_wanted"),
    ),
    MetricSpec(
        "paceline_tasks_unserved",
        "gauge",
        ("task",),
        "Tasks that wait under a name that no node runs; the 20 names with most, and all others as other.",
        _led_each("unserved"),
    ),
    MetricSpec(
        "paceline_tasks_unplaced",
        "gauge",
        (),
        "Tasks that wait for tags or amounts that no node has which runs their names.",
        _led("unplaced"),
    ),
    MetricSpec(
        "paceline_dead_tasks",
        "gauge",
        ("task",),
        "Dead tasks that are kept; the 20 names with most, and all others as other.",
        _led_each("dead"),
    ),
    MetricSpec(
        "paceline_dead_task_bytes",
        "gauge",
        (),
        "What dead tasks take: 2000 bytes each, their arguments and errors.",
        _led("dead_bytes"),
    ),
    MetricSpec(
        "paceline_dead_tasks_dropped_total",
        "counter",
        (),
        "Dead tasks that were discarded as there was no room for more, or that were too large to be kept.",
        _one("dead_dropped"),
    ),
    MetricSpec(
        "paceline_schedules",
        "gauge",
        (),
        "Schedules that there are.",
        _led("schedules"),
    ),
    MetricSpec(
        "paceline_schedules_held",
        "gauge",
        (),
        "Schedules of which a moment is due that can't have its task now; paceline cron ls says why.",
        _led("schedules_held"),
    ),
    MetricSpec(
        "paceline_schedule_moments_total",
        "counter",
        ("became",),
        "Moments of schedules by what they came to, as the log has it: fired, missed, overlapped, queued and then "
        "dequeued, backfilled; and triggered, which are none of the schedule.",
        _each("moments"),
    ),
    MetricSpec(
        "paceline_queue_bytes",
        "gauge",
        (),
        "What tasks take that have not ended, or whose ends disks have yet to write: 600 bytes each, and arguments.",
        _led("queue_bytes"),
    ),
    MetricSpec(
        "paceline_unlogged_bytes",
        "gauge",
        (),
        "How much of that has ended, with its results; above 64 MiB, or a quarter of the limit, tasks wait for disks.",
        _led("unlogged_bytes"),
    ),
    MetricSpec(
        "paceline_queue_limit_tasks", "gauge", (), "Above so many tasks none is accepted.", _led("queue_limit_tasks")
    ),
    MetricSpec(
        "paceline_queue_limit_bytes", "gauge", (), "Above so many bytes none is accepted.", _led("queue_limit_bytes")
    ),
    # What ran on this node.
    MetricSpec(
        "paceline_tasks_executed_total",
        "counter",
        ("task", "outcome"),
        "Attempts that ended on this node, by name; the 201st name and later ones are other.",
        _executed,
    ),
    MetricSpec(
        "paceline_task_run_seconds_total", "counter", ("task",), "Time that tasks ran on this node.", _run_seconds
    ),
    MetricSpec("paceline_task_duration_seconds", "histogram", (), "How long tasks ran on this node.", _one("duration")),
    MetricSpec(
        "paceline_slots", "gauge", ("state",), "Workers that are ready on this node: busy, idle.", _each("slots")
    ),
    MetricSpec(
        "paceline_parked_tasks",
        "gauge",
        (),
        "Tasks of this node that wait for others and have given their slots back.",
        _one("parked_tasks"),
    ),
    MetricSpec(
        "paceline_async_slots",
        "gauge",
        ("state",),
        "Places for tasks that run many at once in a worker of this node: busy, idle.",
        _each("async_slots"),
    ),
    MetricSpec(
        "paceline_async_loop_blocked_total",
        "counter",
        (),
        "Times that a task has kept the event loop of a worker of this node from running the others for 0.2 s or more.",
        _one("loops_blocked"),
    ),
    MetricSpec(
        "paceline_async_loop_blocked_seconds_total",
        "counter",
        (),
        "For how long they did.",
        _one("loops_blocked_s"),
    ),
    MetricSpec("paceline_slots_desired", "gauge", (), "Workers that this node is to have now.", _one("workers")),
    MetricSpec("paceline_assigned_tasks", "gauge", (), "Tasks on this node that no worker has yet.", _one("assigned")),
    MetricSpec(
        "paceline_worker_exits_total",
        "counter",
        ("cause",),
        "Workers of this node that ended, without the spare, by why: exit, crash, killed, out_of_memory, time_limit, "
        "cancel_grace, memory_limit, drained, by_node, recycled.",
        _each("worker_exits"),
    ),
    # Who leads, and the replicated log.
    MetricSpec(
        "paceline_is_leader", "gauge", (), "1 while this node leads.", lambda body: [((), int(bool(body["leading"])))]
    ),
    MetricSpec(
        "paceline_node_takes_tasks",
        "gauge",
        (),
        "1 while this node takes tasks: 0 of one that is quiet or drains.",
        lambda body: [((), int(body["takes_tasks"]))],
    ),
    MetricSpec(
        "paceline_ready",
        "gauge",
        (),
        "1 while this node does its part: what /readyz says.",
        lambda body: [((), int(not body["not_ready"]))],
    ),
    MetricSpec(
        "paceline_leader_known",
        "gauge",
        (),
        "1 while this node knows a leader.",
        lambda body: [((), int(body["leader_known"]))],
    ),
    MetricSpec("paceline_term", "gauge", (), "The highest term that this node knows.", _one("term")),
    MetricSpec(
        "paceline_leader_changes_total", "counter", (), "Leaders that this node came to know.", _one("leader_changes")
    ),
    MetricSpec("paceline_elections_won_total", "counter", (), "Elections that this node won.", _one("elections_won")),
    MetricSpec(
        "paceline_election_duration_seconds",
        "histogram",
        (),
        "How long this node knew of no leader, each time that it knew one before and after.",
        _one("election"),
    ),
    MetricSpec(
        "paceline_log_commit_index", "gauge", (), "The last entry that is committed here.", _one("commit_index")
    ),
    MetricSpec(
        "paceline_log_applied_index", "gauge", (), "The last entry that is applied here.", _one("applied_index")
    ),
    MetricSpec(
        "paceline_log_behind_entries",
        "gauge",
        (),
        "Entries that this node's leader has committed and this node has not applied.",
        _one("behind"),
    ),
    MetricSpec("paceline_log_entries", "gauge", (), "Entries that are kept in memory.", _one("log_entries")),
    MetricSpec(
        "paceline_peer_replication_lag_entries",
        "gauge",
        ("peer",),
        "Committed entries that a replica is not known to have, as the leader sees it.",
        _peers(1),
    ),
    MetricSpec(
        "paceline_peer_heartbeat_age_seconds",
        "gauge",
        ("peer",),
        "How long the leader has not heard of another node.",
        _peers(0),
    ),
    MetricSpec(
        "paceline_nodes", "gauge", ("role", "state"), "Nodes of the cluster, as the leader sees them.", _nodes_by_state
    ),
    MetricSpec(
        "paceline_fault_tolerance_nodes",
        "gauge",
        (),
        "Voters that may fail now before no majority is left, as the leader sees it.",
        _led("fault_tolerance"),
    ),
    MetricSpec(
        "paceline_forgotten_replicas",
        "gauge",
        (),
        "Replicas that lack what they had acknowledged to this leader, and count for nothing; its log says which.",
        _led("forgotten"),
    ),
    MetricSpec("paceline_sessions", "gauge", (), "Clients that are connected to the leader.", _led("sessions")),
    MetricSpec(
        "paceline_results_kept",
        "gauge",
        (),
        "Results that their owners have not fetched, or that are kept for their result_ttl; the same at every replica.",
        _one("results_kept"),
    ),
    MetricSpec(
        "paceline_result_bytes",
        "gauge",
        (),
        "What these results take; the same at every replica.",
        _one("result_bytes"),
    ),
    MetricSpec(
        "paceline_journal_write_seconds",
        "histogram",
        (),
        "Writing one group of records, with its sync; not with --journal memory.",
        _journal_writes,
    ),
    # The node process.
    MetricSpec(
        "paceline_loop_lag_seconds",
        "histogram",
        (),
        "What one turn of the node's loop took: so long waits what comes meanwhile.",
        _one("turn_time"),
    ),
    MetricSpec(
        "paceline_frames_received_total",
        "counter",
        (),
        "Frames from clients, peers and workers.",
        _one("frames_received"),
    ),
    MetricSpec(
        "paceline_frames_malformed_total",
        "counter",
        (),
        "Frames that are none of this protocol, or of another version of it.",
        _one("frames_malformed"),
    ),
    MetricSpec(
        "paceline_frames_ignored_total",
        "counter",
        (),
        "Frames, unread, of clients that are heard no more.",
        _one("frames_ignored"),
    ),
    MetricSpec(
        "paceline_clients_ignored_total",
        "counter",
        (),
        "Clients that are heard no more, as too many of their frames were malformed.",
        _one("clients_ignored"),
    ),
    MetricSpec(
        "paceline_frames_unexpected_total",
        "counter",
        (),
        "Well-formed frames from where such frames may not come.",
        _one("frames_unexpected"),
    ),
    MetricSpec(
        "paceline_frames_forbidden_total",
        "counter",
        (),
        "Frames that the key of their connection does not allow; the log says whose.",
        _one("frames_forbidden"),
    ),
    MetricSpec(
        "paceline_peer_violations_total",
        "counter",
        (),
        "Messages of peers that were refused, since no honest node sends them; the log says whose.",
        _one("peer_violations"),
    ),
    MetricSpec(
        "paceline_rival_processes",
        "gauge",
        (),
        "Processes that ran as a node beside another one, on a copy of its data, 16 at most; the log says where.",
        _one("rivals"),
    ),
    MetricSpec("paceline_received_bytes_total", "counter", (), "Bytes of frames that came in.", _one("bytes_received")),
    MetricSpec("paceline_sent_bytes_total", "counter", (), "Bytes of frames that were sent.", _one("bytes_sent")),
    MetricSpec(
        "paceline_peer_sends_failed_total",
        "counter",
        (),
        "Batches to peers that could not be sent; they are sent again.",
        _one("peer_sends_failed"),
    ),
    MetricSpec(
        "paceline_client_sends_stalled_total",
        "counter",
        (),
        "Times that a client took nothing and its frames had to be kept.",
        _one("client_sends_stalled"),
    ),
    MetricSpec(
        "paceline_clients_given_up_total",
        "counter",
        (),
        "Clients that took nothing until too much was kept for them. They come back for what they miss.",
        _one("clients_given_up"),
    ),
    MetricSpec("paceline_web_exits_total", "counter", (), "Web processes of this node that ended.", _one("web_exits")),
    MetricSpec(
        "paceline_build_info",
        "gauge",
        ("version", "protocol", "python", "compiled", "journal"),
        "1; the labels say what runs.",
        lambda body: [((*body["build"], body["journal"]), 1)],
    ),
    MetricSpec(
        "paceline_node_info",
        "gauge",
        ("node", "cluster", "cluster_id"),
        "1; the labels say which node this is.",
        lambda body: [((body["node_id"], body["cluster_name"], body["cluster_id"]), 1)],
    ),
)
