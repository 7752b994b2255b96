"""``paceline node``: settings from the command line, a log on stderr, and a few lines that say how to go on.

The node itself is ``paceline.runtime.run``; it is imported once the settings are known to be good.
"""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING, Any

import click

from paceline.cli.environment import SettingArgument, no_environment, precedence, setting, warn_of_strays
from paceline.cli.exits import exit_code_of, message_of
from paceline.cli.logs import configure
from paceline.cli.options import DirectoryPath
from paceline.cli.output import say
from paceline.cli.parent import announce_error, check_descriptor, stop_with_parent
from paceline.config import (
    DEFAULT_PORT,
    MIB,
    QUEUE_LIMIT_BYTES,
    ClusterFile,
    NodeConfig,
    is_loopback,
    usable_cpus,
)
from paceline.errors import ConfigError
from paceline.files import expanded
from paceline_protocol.limits import PAYLOAD_LIMIT_MAX_BYTES

if TYPE_CHECKING:
    from paceline.runtime.greeting import NodeInfo

NAMES_SHOWN = 5


@click.command(epilog=precedence("the cluster file", "--port"))
@click.argument("modules", nargs=-1, metavar="MODULE...", cls=SettingArgument)
@setting(
    "--cluster",
    "cluster_path",
    metavar="FILE",
    help="The file that `paceline init` wrote.",
)
@setting("--join", multiple=True, metavar="HOST[:PORT]", help="Another node of the cluster; may be repeated.")
@setting("--bind", "bind_host", metavar="HOST", help="Default: every interface with --cluster, else loopback.")
@setting("--port", type=int, default=DEFAULT_PORT, show_default=True, help="0 for any free one.")
@setting("--advertise", "advertise_host", metavar="HOST", help="The name or address that others reach this node by.")
@setting("--workers", type=int, metavar="N", help="Worker processes. Default: one for each CPU.")
@setting(
    "--min-workers",
    type=int,
    metavar="N",
    help="In place of --workers: so many, and more while tasks wait. Default: 1, with --max-workers.",
)
@setting(
    "--max-workers",
    type=int,
    metavar="N",
    help="The most there are then. Default: one for each CPU, with --min-workers.",
)
@setting(
    "--async-slots",
    type=int,
    metavar="N",
    help="Async tasks that a worker for them runs at once: 1 to 65,536. Default: 100.",
)
@setting(
    "--max-parked",
    type=int,
    metavar="N",
    help="Tasks that wait for others, and give their slots back: 0 to 16,384. Default: 64, or 8 for each worker.",
)
@setting(
    "--queues",
    metavar="QUEUE,...",
    help="Take tasks of these queues alone. Default: of all.",
)
@setting(
    "--tag", "tags", multiple=True, metavar="TAG", help="What tasks may ask for, as ssd or zone-a; may be repeated."
)
@setting(
    "--resource",
    "resources",
    multiple=True,
    metavar="NAME=AMOUNT",
    help="What tasks may take parts of, as gpu=2 or memory=64GiB; may be repeated. Default: the CPUs and the memory.",
)
@setting(
    "--worker-max-tasks",
    type=int,
    metavar="N",
    help="A worker that has run so many tasks is replaced. Default: however many.",
)
@setting(
    "--worker-max-age",
    "worker_max_age_s",
    type=float,
    metavar="SECONDS",
    help="A worker that has run for so long is replaced, between two tasks. Default: however long.",
)
@setting(
    "--worker-max-rss-mib",
    type=int,
    metavar="MIB",
    help="A worker that has more memory is replaced, between two tasks. Default: however much.",
)
@setting(
    "--worker-memory-limit-mib",
    type=int,
    metavar="MIB",
    help="A worker that has more memory while it runs a task is killed. Default: however much.",
)
@setting(
    "--drain-timeout",
    "drain_timeout_s",
    type=float,
    metavar="SECONDS",
    help="When the node is told to stop, what it runs may take so long to end. Default: 30.",
)
@setting("--expect", type=int, metavar="N", help="Nodes that must be there before a cluster forms; more than half.")
@setting("--voters", type=int, metavar="N", help="How many nodes replicate the log: 1, 3 (default) or 5.")
@setting(
    "--journal", metavar="KIND", help="How safe accepted tasks are: fsync (default), os (written, not synced), memory."
)
@setting(
    "--data-dir",
    type=DirectoryPath(),
    help="Where identity and journal are kept. Default: a folder of yours for this cluster and port.",
)
@click.option(
    "--moved",
    is_flag=True,
    help="The data directory was moved here, and no other copy of it will ever be started. Say it once.",
)
@click.option(
    "--fresh", is_flag=True, help="Begin with nothing: what is in the data directory is moved to before-N in it."
)
@setting("--insecure", is_flag=True, help="Let everyone who reaches the port run tasks; needed without --cluster.")
@setting("--no-discovery", is_flag=True, help="Neither announce this node nor look for others; use --join.")
@setting(
    "--payload-limit",
    "payload_limit_mib",
    type=int,
    metavar="MIB",
    help=f"For the arguments of a task, and for its result: 1 to {PAYLOAD_LIMIT_MAX_BYTES // MIB}. Default: 16.",
)
@setting(
    "--queue-limit", "queue_limit_tasks", type=int, metavar="TASKS", help="Tasks that may wait. Default: 2,000,000."
)
@setting(
    "--queue-limit-mib",
    type=int,
    metavar="MIB",
    help="Memory that waiting tasks may take. Default: a quarter of this machine's or container's, 1024 at most.",
)
@setting(
    "--result-limit-mib",
    type=int,
    metavar="MIB",
    help="Results that are kept until their clients have them. The leader's counts. Default: 256.",
)
@setting(
    "--dead-limit-mib",
    type=int,
    metavar="MIB",
    help="Dead tasks that are kept, of calls with keep_dead. The leader's counts. Default: 64.",
)
@setting(
    "--metrics",
    metavar="HOST:PORT",
    help="Where Prometheus finds metrics and probes, or off. Default: loopback, the port of the node plus 2000.",
)
@setting("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@setting("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="warning", show_default=True)
@click.option("--announce-fd", type=int, metavar="FD", help="For programs: write address, readiness or error as JSON.")
@click.option("--parent-fd", type=int, metavar="FD", help="For programs: stop at the end of this file.")
@no_environment
def node(log_format: str, log_level: str, announce_fd: int | None, parent_fd: int | None, **settings: Any) -> int:
    """Run a node on this machine.

    MODULE is what holds the tasks: a name as `import` takes it, or the path of a .py file.

    \b
    paceline node tasks.py
    paceline node tasks.py --cluster cluster.toml     # the same on every machine
    """
    configure(log_format, log_level)
    warn_of_strays()
    if announce_fd is not None:
        check_descriptor("--announce-fd", announce_fd, os.O_WRONLY)
    try:
        if parent_fd is not None:
            check_descriptor("--parent-fd", parent_fd, os.O_RDONLY)
            stop_with_parent(parent_fd)
        config = config_of(announce_fd=announce_fd, log_format=log_format, **settings)
        from paceline.runtime.run import run_node

        return run_node(config, on_ready=lambda info: say(*greeting(config, info, settings["cluster_path"])))
    except Exception as error:
        announce_error(announce_fd, message_of(error), exit_code_of(error) or 1)
        raise


def config_of(
    *,
    cluster_path: str | None,
    no_discovery: bool,
    payload_limit_mib: int | None,
    queue_limit_mib: int | None,
    result_limit_mib: int | None,
    dead_limit_mib: int | None,
    worker_max_rss_mib: int | None,
    worker_memory_limit_mib: int | None,
    workers: int | None = None,
    min_workers: int | None = None,
    max_workers: int | None = None,
    **settings: Any,
) -> NodeConfig:
    """The checked settings. What was not given keeps the default of NodeConfig, so that no default stands twice."""
    given = {name: value for name, value in settings.items() if value is not None}
    modules = given.get("modules", ())
    given["modules"] = tuple(str(expanded(each)) if each.startswith("~") else each for each in modules)
    sizes_mib = {
        "payload_limit_bytes": payload_limit_mib,
        "queue_limit_bytes": queue_limit_mib,
        "result_limit_bytes": result_limit_mib,
        "dead_limit_bytes": dead_limit_mib,
        "worker_max_rss_bytes": worker_max_rss_mib,
        "worker_memory_limit_bytes": worker_memory_limit_mib,
    }
    given |= _workers_of(workers, min_workers, max_workers)
    given |= {name: mib * MIB for name, mib in sizes_mib.items() if mib is not None}
    if cluster_path is not None:
        given["cluster"] = ClusterFile.load(cluster_path)
    config = NodeConfig(discovery=not no_discovery, **given)
    config.validate()
    return config


def _workers_of(workers: int | None, fewest: int | None, most: int | None) -> dict[str, int]:
    """What of NodeConfig these say."""
    if fewest is None and most is None:
        return {} if workers is None else {"workers": workers}
    if workers is not None:
        raise ConfigError(
            "--workers says how many there are at any time, and --min-workers and --max-workers between which numbers; "
            "leave out the one or the others"
        )
    fewest = 1 if fewest is None else fewest
    return {"workers": fewest, "max_workers": max(fewest, usable_cpus()) if most is None else most}


def greeting(config: NodeConfig, info: NodeInfo, cluster_path: str | None) -> list[str]:
    """Who this is, who leads, and how another machine joins: six lines at most."""
    name = f" of {info.cluster_name}" if info.cluster_name else ""
    tasks = ", ".join(info.task_names[:NAMES_SHOWN]) + (", ..." if len(info.task_names) > NAMES_SHOWN else "")
    metrics = f", metrics at http://{info.metrics_address}/metrics" if info.metrics_address else ""
    data = f", data in {info.data_dir}" if info.data_dir else ""
    none = "none; put @task above a function of the module, and start the node again" if info.workers else "none"
    workers = _count(info.workers, "worker")
    if config.most_workers > config.workers:
        workers += f", up to {config.most_workers} while tasks wait"
    lines = [
        f"paceline node {info.node_id[:8]}{name} at {info.address}, {workers}{metrics}{data}",
        f"tasks: {tasks or none}",
    ]
    if config.queue_limit_bytes is None and config.effective_queue_limit_bytes < QUEUE_LIMIT_BYTES:
        lines[1] += (
            f"; up to {config.effective_queue_limit_bytes // MIB} MiB of them may wait, by the memory that there is "
            "here (--queue-limit-mib)"
        )
    if info.goes_on:
        lines.insert(1, f"goes on with {info.goes_on}; --fresh begins with nothing")
    if info.leader_id == info.node_id:
        lines.append("leader: this node")
    elif info.leader_id:
        where = f" at {info.leader_address}" if info.leader_address else ", whose address is not known yet"
        lines.append(f"leader: node {info.leader_id[:8]}{where}")
    else:
        lines.append(f"leader: none yet, {info.waiting}")
    if config.insecure:
        lines.append("WARNING: --insecure: everyone who reaches this address can run the tasks above")
    lines.append(_how_to_join(config, info.address, cluster_path))
    return lines


def _how_to_join(config: NodeConfig, address: str, cluster_path: str | None) -> str:
    modules = shlex.join(config.modules) or "MODULE"
    if config.cluster is not None:
        found = "" if config.discovery else f" --join {address}"
        return f"on another machine: paceline node {modules} --cluster {shlex.quote(cluster_path or 'FILE')}{found}"
    if config.insecure and not is_loopback(config.effective_bind_host):
        return f"on another machine: paceline node {modules} --insecure --bind 0.0.0.0 --join {address}"
    if config.join:
        return (
            f"joins {', '.join(config.join)}; nodes of other machines can't reach this one: "
            "for those, --cluster FILE, or --insecure --bind HOST, on each"
        )
    return "this machine only; for more: paceline init --nodes 3 > cluster.toml, then --cluster cluster.toml on each"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
