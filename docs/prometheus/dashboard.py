"""Writes dashboard.json: ``./dev dashboards``. A test compares the file with what this makes, so change it here.

PANELS is the dashboard; everything below it is how that is said to Grafana. Expressions are by job and instance, and sum
over nodes as docs/metrics.md says. Those of bridges are of all bridges, which are no nodes and may be scraped as another
job.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement, StackingMode
from grafana_foundation_sdk.models.dashboard import DataSourceRef, VariableRefresh

PATH = Path(__file__).with_name("dashboard.json")
COLUMNS = 24

JOB = '{job=~"$job"}'
NODE = '{job=~"$job", instance=~"$instance"}'


class Panel(NamedTuple):
    """``queries``: (legend, expression). ``kind``: one number, lines, or areas that add up."""

    title: str
    unit: str
    description: str
    queries: tuple[tuple[str, str], ...]
    kind: str = "lines"
    width: int = 8


def rate(metric: str, labels: str = NODE) -> str:
    return f"rate({metric}{labels}[$__rate_interval])"


def quantiles(metric: str, by: str = "", labels: str = NODE, legend: str = "") -> tuple[tuple[str, str], ...]:
    """p50, p90 and p99 of a histogram."""
    grouped = f"le, {by}" if by else "le"
    return tuple(
        (f"{legend}p{name}", f"histogram_quantile({share}, sum by ({grouped}) ({rate(metric + '_bucket', labels)}))")
        for name, share in (("50", 0.5), ("90", 0.9), ("99", 0.99))
    )


def p99(metric: str, by: str, legend: str) -> tuple[tuple[str, str], ...]:
    return ((legend, f"histogram_quantile(0.99, sum by (le, {by}) ({rate(metric + '_bucket')}))"),)


PANELS: dict[str, tuple[Panel, ...]] = {
    "Overview": (
        Panel("Leader", "none", "How many nodes lead. Anything but 1 for long is a fault.", (("leaders", f"sum(paceline_is_leader{JOB})"),), "number", 4),
        Panel("Nodes alive", "none", "As the leader sees them.", (("nodes", 'sum(paceline_nodes{job=~"$job", state="alive"})'),), "number", 4),
        Panel("Machines that may fail", "none", "Voters that may fail now before no majority is left.", (("voters", f"max(paceline_fault_tolerance_nodes{JOB})"),), "number", 4),
        Panel("Waiting", "none", "Tasks that wait for a node.", (("tasks", f"sum(paceline_queue_tasks{JOB})"),), "number", 4),
        Panel("Finished a second", "ops", "Tasks that ended, however they ended.", (("tasks", f"sum({rate('paceline_tasks_finished_total', JOB)})"),), "number", 4),
        Panel("Dispatch latency, p99", "s", "What the cluster adds to a task that finds a free worker: both hops. What it waits for one is queue wait, and its place behind others at a node.", (("p99", f"histogram_quantile(0.99, sum by (le) ({rate('paceline_dispatch_latency_seconds_bucket', JOB)}))"),), "number", 4),
        Panel("Tasks by outcome", "ops", "Tasks that ended, a second, by how.", (("{{outcome}}", f"sum by (outcome) ({rate('paceline_tasks_finished_total', JOB)})"),), "areas", 12),
        Panel("Submitted and accepted", "ops", "Tasks that the leader took in, and those whose acceptance was committed. Without durability a task is never accepted in this sense.", (("submitted", f"sum({rate('paceline_tasks_submitted_total', JOB)})"), ("accepted", f"sum({rate('paceline_tasks_accepted_total', JOB)})")), width=12),
    ),
    "Dispatch latency": (
        Panel("Dispatch latency", "s", "From giving a task to a node with a free worker until its outcome was back at the leader, less the time it ran.", quantiles("paceline_dispatch_latency_seconds", labels=JOB)),
        Panel("Queue wait", "s", "From a task's arrival at the leader until it was first given to a node.", quantiles("paceline_queue_wait_seconds", labels=JOB)),
        Panel("Loop lag, p99", "s", "What one turn of a node's loop took: so long waits what comes meanwhile.", p99("paceline_loop_lag_seconds", "instance", "{{instance}}")),
    ),
    "Queues": (
        Panel("Waiting by priority", "none", "Tasks that wait for a node; 9 is the most urgent.", (("priority {{priority}}", f"sum by (priority) (paceline_queue_tasks{JOB})"),), "areas"),
        Panel("Age of the oldest", "s", "How long the oldest waiting task has waited at this leader.", (("age", f"max(paceline_queue_oldest_task_age_seconds{JOB})"),)),
        Panel("Share of the limits", "percentunit", "At 1 new tasks are refused.", (("tasks", f"sum(paceline_tasks{JOB}) / max(paceline_queue_limit_tasks{JOB})"), ("bytes", f"max(paceline_queue_bytes{JOB}) / max(paceline_queue_limit_bytes{JOB})"))),
        Panel("Tasks by state", "none", "Tasks that have not ended: waiting for a node, or dispatched to one.", (("{{state}}", f"sum by (state) (paceline_tasks{JOB})"),), "areas"),
        Panel("Refused", "ops", "Calls that the leader did not take in, a second, by why.", (("{{reason}}", f"sum by (reason) ({rate('paceline_tasks_refused_total', JOB)})"),)),
        Panel("Redelivered", "ops", "A second: attempts that were lost with a worker or node and made again; those that failed, of tasks that are tried again; and what a new leader gave out that no node had, of which some may have run with the old one.", (("redelivered", f"sum({rate('paceline_tasks_redelivered_total', JOB)})"), ("tried again", f"sum({rate('paceline_tasks_retried_total', JOB)})"), ("after a change of leader", f"sum({rate('paceline_tasks_recovered_total', JOB)})"))),
    ),
    "Nodes": (
        Panel("Busy workers", "percentunit", "Workers that run something, of those a node should have.", (("{{instance}}", f'sum by (instance) (paceline_slots{{job=~"$job", instance=~"$instance", state="busy"}}) / sum by (instance) (paceline_slots_desired{NODE})'),)),
        Panel("Workers that are wanted", "none", "Those that would run what runs and begin what waits within 10 s, as the leader counts it, beside those that are ready.", (("wanted", f"max(paceline_slots_wanted{JOB})"), ("ready", f"sum(paceline_slots{JOB})"))),
        Panel("Attempts by node", "ops", "Attempts that ended on each node, a second.", (("{{instance}}", f"sum by (instance) ({rate('paceline_tasks_executed_total')})"),), "areas"),
        Panel("Workers that ended", "ops", "A second, by why; a worker is replaced at once, and its task given to another.", (("{{instance}}, {{cause}}", f"sum by (instance, cause) ({rate('paceline_worker_exits_total')}) > 0"),)),
        Panel("Processor", "percentunit", "Of the node's own process, in cores; not of its workers.", (("{{instance}}", f"rate(process_cpu_seconds_total{NODE}[$__rate_interval])"),)),
        Panel("Memory", "bytes", "Of the node's own process, resident.", (("{{instance}}", f"process_resident_memory_bytes{NODE}"),)),
        Panel("Traffic", "Bps", "Frames that came in and that were sent, without what carries them.", (("{{instance}} in", f"sum by (instance) ({rate('paceline_received_bytes_total')})"), ("{{instance}} out", f"sum by (instance) ({rate('paceline_sent_bytes_total')})"))),
    ),
    "Elections and replication": (
        Panel("Who leads", "none", "1 for the node that leads.", (("{{instance}}", f"sum by (instance) (paceline_is_leader{NODE})"),)),
        Panel("Term, and changes of leader", "none", "The highest term known, and how often each node came to know another leader, in the range.", (("term", f"max(paceline_term{JOB})"), ("{{instance}} changes", f"sum by (instance) (increase(paceline_leader_changes_total{NODE}[$__range]))"))),
        Panel("Replication lag", "none", "Committed entries that each replica is not known to have.", (("{{peer}}", f"max by (peer) (paceline_peer_replication_lag_entries{JOB})"),)),
        Panel("Heartbeat age", "s", "How long the leader has not heard of each other node.", (("{{peer}}", f"max by (peer) (paceline_peer_heartbeat_age_seconds{JOB})"),)),
        Panel("Journal writes, p99", "s", "Writing one group of records, with its sync. What is accepted waits for it.", p99("paceline_journal_write_seconds", "instance", "{{instance}}")),
        Panel("Log entries kept", "none", "In memory, at each node.", (("{{instance}}", f"sum by (instance) (paceline_log_entries{NODE})"),)),
    ),
    "Tasks by name": (
        Panel("Attempts by name", "ops", "The ten busiest names, a second, all outcomes.", (("{{task}}", f"topk(10, sum by (task) ({rate('paceline_tasks_executed_total')}))"),), "areas"),
        Panel("Failed and lost by name", "ops", "The ten worst names, a second.", (("{{task}}, {{outcome}}", 'topk(10, sum by (task, outcome) (rate(paceline_tasks_executed_total{job=~"$job", instance=~"$instance", outcome!="succeeded"}[$__rate_interval])))'),)),
        Panel("Mean duration by name", "s", "Time run over attempts; the ten slowest names.", (("{{task}}", f"topk(10, sum by (task) ({rate('paceline_task_run_seconds_total')}) / (sum by (task) ({rate('paceline_tasks_executed_total')}) > 0))"),)),
        Panel("Duration, all names", "s", "How long tasks ran.", quantiles("paceline_task_duration_seconds"), width=24),
    ),
    "Dead tasks": (
        Panel("Dead by name", "none", "Tasks with keep_dead that failed for good, were lost or timed out, and wait for a person: paceline dead ls shows them.", (("{{task}}", f"max by (task) (paceline_dead_tasks{JOB})"),), "areas"),
        Panel("What they take", "bytes", "With their arguments and errors, in the memory of each voter. The limit is --dead-limit-mib, and 10,000 of them.", (("bytes", f"max(paceline_dead_task_bytes{JOB})"),)),
        Panel("Discarded for want of room", "none", "In the range: the oldest, past either limit, or what was too large to be kept.", (("discarded", f"sum(increase(paceline_dead_tasks_dropped_total{JOB}[$__range]))"),)),
    ),
    "Schedules": (
        Panel("Schedules", "none", "How many there are, and of how many a moment is due that can't have its task now: paceline cron ls says why.", (("schedules", f"max(paceline_schedules{JOB})"), ("held", f"max(paceline_schedules_held{JOB})"))),
        Panel("Moments", "ops", "A second, by what they came to.", (("{{became}}", f"sum by (became) ({rate('paceline_schedule_moments_total', JOB)})"),), "areas"),
        Panel("Missed", "none", "In the range: moments that have no task, as nobody could fire them in time.", (("missed", 'sum(increase(paceline_schedule_moments_total{job=~"$job", became="missed"}[$__range]))'),)),
    ),
    "Bridges to RabbitMQ": (
        Panel("Connected", "none", "Bridges that have RabbitMQ and the cluster.", (("bridges", "sum(paceline_bridge_connected)"),), "number", 4),
        Panel("Messages", "ops", "A second, by what became of them and whose they are.", (("{{result}}, {{protocol}}", "sum by (result, protocol) (rate(paceline_bridge_messages_total[$__rate_interval]))"),), width=10),
        Panel("Unacknowledged", "none", "Messages that a bridge has taken; RabbitMQ delivers them again if it dies.", (("{{instance}}", "sum by (instance) (paceline_bridge_unacked_messages)"),), width=10),
        Panel("At the cluster, of how many", "none", "Tasks of bridges that have not ended, and how many there may be.", (("tasks", "sum(paceline_bridge_outstanding_tasks)"), ("delayed", "sum(paceline_bridge_delayed_tasks)"), ("window", "sum(paceline_bridge_window_tasks)")), width=12),
        Panel("Connections lost", "none", "How often each bridge lost RabbitMQ or the cluster, in the range.", (("{{instance}}", "sum by (instance) (increase(paceline_bridge_connections_lost_total[$__range]))"),), width=12),
    ),
}  # fmt: skip


def build() -> str:
    """The text of dashboard.json."""
    board = (
        dashboard.Dashboard("paceline")
        .uid("paceline")
        .description("A paceline cluster: what it does, how fast, and whether it would survive a fault.")
        .tags(["paceline"])
        .refresh("30s")
        .time("now-1h", "now")
        .timezone("browser")
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(_variable("job", "Job", "label_values(paceline_build_info, job)"))
        .with_variable(_variable("instance", "Instance", 'label_values(paceline_build_info{job=~"$job"}, instance)'))
    )
    for title, panels in PANELS.items():
        board.with_row(dashboard.Row(title))
        for panel in panels:
            board.with_panel(_panel(panel))
    return JSONEncoder(sort_keys=True, indent=2).encode(board.build()) + "\n"


def _source() -> DataSourceRef:
    return DataSourceRef(type_val="prometheus", uid="$datasource")


def _variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .query(query)
        .datasource(_source())
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .multi(True)
        .include_all(True)
    )


def _panel(panel: Panel) -> stat.Panel | timeseries.Panel:
    built: stat.Panel | timeseries.Panel
    if panel.kind == "number":
        built = stat.Panel().height(4)
    else:
        legend = (
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        built = timeseries.Panel().height(8).legend(legend)
        if panel.kind == "areas":
            built.fill_opacity(25).stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    built.title(panel.title).description(panel.description).unit(panel.unit).span(panel.width).datasource(_source())
    for number, (legend_format, expression) in enumerate(panel.queries):
        query = prometheus.Dataquery().expr(expression).legend_format(legend_format).ref_id(chr(ord("A") + number))
        built.with_target(query)
    return built


if __name__ == "__main__":
    PATH.write_text(build())
