"""``paceline bridge``: settings from the command line, a file and the environment; then the bridge, until SIGTERM."""

from __future__ import annotations

import logging
import signal
import threading
from typing import TYPE_CHECKING, Any

import click

from paceline.cli.environment import precedence, setting, warn_of_strays
from paceline.cli.logs import configure
from paceline.cli.options import reaches_a_cluster
from paceline.errors import ConfigError, MissingExtra
from paceline_bridge.config import (
    DEAD_LETTER,
    PREFETCH,
    PREFETCH_MIB,
    BridgeConfig,
    load,
    pairs_of,
    urls_of,
)

if TYPE_CHECKING:
    from paceline.cluster_file import AnyFile
    from paceline_bridge.bridge import Bridge

POLL_S = 0.5
"""A signal that another thread is given interrupts no wait of the main one, which runs its handler."""
_logger = logging.getLogger("paceline.bridge")


@click.command(epilog=precedence("the file of --config", "--prefetch"))
@setting(
    "--amqp",
    multiple=True,
    split_at=r"\s+",  # and at commas before the next URL: urls_of
    metavar="URL",
    help="RabbitMQ, amqp://user:password@host/vhost or amqps://; repeated for several hosts.",
)
@setting(
    "--queue",
    "queues",
    multiple=True,
    older=("PACELINE_QUEUES",),
    metavar="NAME[=TASK]",
    help="A queue to consume; TASK is what its plain messages are for. May be repeated.",
)
@setting(
    "--task",
    "tasks",
    multiple=True,
    metavar="NAME=TASK",
    help="Celery's or dramatiq's name of a task, and the one at the cluster, if they differ. May be repeated.",
)
@setting(
    "--config",
    "config_path",
    older=("PACELINE_BRIDGE",),
    metavar="FILE",
    help="TOML with the same settings.",
)
@setting("--declare", is_flag=True, help="Make a queue that does not exist, durable and without arguments.")
@setting("--prefetch", type=int, metavar="N", help=f"Unacknowledged messages of each queue. Default: {PREFETCH}.")
@setting("--prefetch-mib", type=int, metavar="N", help=f"What all of them may take, in MiB. Default: {PREFETCH_MIB}.")
@setting("--dead-letter", metavar="QUEUE", help=f"Where refused messages go. Default: {DEAD_LETTER}.")
@setting(
    "--metrics",
    older=("PACELINE_BRIDGE_METRICS",),  # for a machine that has nodes, too
    metavar="HOST:PORT|off",
    help="Where to serve /metrics, /livez and /readyz. Default: off.",
)
@reaches_a_cluster
@setting("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@setting("--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True)
def bridge(
    addresses: tuple[str, ...],
    cluster_path: str | None,
    connect_timeout_s: float,
    log_format: str,
    log_level: str,
    **settings: Any,
) -> int:
    """Run what comes from RabbitMQ: Celery, dramatiq, plain messages.

    \b
    paceline bridge --amqp amqp://guest:guest@localhost --queue celery
    paceline bridge --amqp amqp://guest:guest@localhost --queue task_queue=tasks.greet --declare
    """
    configure(log_format, log_level)
    warn_of_strays()
    MissingExtra.check("pika", "rabbitmq")
    from paceline.client.relay import Relay
    from paceline.config import METRICS_OFF
    from paceline_bridge.amqp_url import parameters_of
    from paceline_bridge.bridge import Bridge

    config = config_of(**settings)
    for url in config.urls:
        parameters_of(url)  # so that one that can't be used is an error of this command and not of every attempt
    cluster = _cluster_of(cluster_path) if cluster_path is not None else None
    # Made once for its checks, so that a wrong address is an error of this command and not of every attempt.
    Relay(*addresses, on_news=lambda: None, cluster=cluster).close()
    running = Bridge(
        config,
        lambda on_news: Relay(*addresses, on_news=on_news, cluster=cluster, connect_timeout_s=connect_timeout_s),
    )
    if config.metrics != METRICS_OFF:
        _serve_metrics(running, config.metrics)
    _run(running)
    return 0


def _cluster_of(path: str) -> AnyFile:
    """The file of a client, or of the nodes. Raises ConfigError, also for an observer's: no node would run a task for
    it, and every message would go back to RabbitMQ and come again."""
    from paceline.cluster_file import ClientFile, load_cluster
    from paceline.security import KeyRole

    found = load_cluster(path)
    if isinstance(found, ClientFile) and found.role is KeyRole.OBSERVER:
        raise ConfigError(
            f"{path} is the file of the observer {found.client!r}, which may only ask, and a bridge has tasks run; "
            "give it the file of a client, that `paceline key client NAME` writes"
        )
    return found


def _serve_metrics(running: Bridge, address: str) -> None:
    """Raises PortInUse, or ConfigError for an address that is none of this machine."""
    from paceline.config import format_address, parse_listen_address
    from paceline.web.listener import listen
    from paceline_bridge.metrics import MetricsServer

    listener = listen(*parse_listen_address("--metrics", address))
    _logger.info("metrics at http://%s/metrics", format_address(*listener.getsockname()[:2]))
    MetricsServer(listener, running.counters).start()


def config_of(
    *,
    amqp: tuple[str, ...],
    queues: tuple[str, ...],
    tasks: tuple[str, ...],
    config_path: str | None,
    declare: bool,
    prefetch: int | None,
    dead_letter: str | None,
    prefetch_mib: int | None = None,
    metrics: str | None = None,
) -> BridgeConfig:
    """The checked settings: what the command line or the environment says, else the file, else the default."""
    given: dict[str, Any] = load(config_path) if config_path is not None else {}
    if urls := urls_of(amqp):
        given["urls"] = urls
    given["queues"] = {**given.get("queues", {}), **pairs_of("--queue", queues, lone=True)}
    given["tasks"] = {**given.get("tasks", {}), **pairs_of("--task", tasks, lone=False)}
    given["declare"] = declare or given.get("declare", False)
    if prefetch is not None:
        given["prefetch"] = prefetch
    if prefetch_mib is not None:
        given["prefetch_mib"] = prefetch_mib
    if dead_letter is not None:
        given["dead_letter"] = dead_letter
    if metrics is not None:
        given["metrics"] = metrics
    config = BridgeConfig(**{"urls": (), **given})
    config.validate()
    return config


def _run(running: Bridge) -> None:
    """Run the bridge in a thread of its own, so that a signal never interrupts it while a frame is half written. Nor
    does a signal stop it by itself: a second one may interrupt the first, within a lock that either takes."""
    from paceline.client.driver.interrupts import Wake

    failures: list[BaseException] = []
    news = Wake()
    is_told, has_ended = False, False

    def work() -> None:
        nonlocal has_ended
        try:
            running.run()
        except BaseException as error:  # noqa: BLE001 - it is raised again by the thread that waits
            failures.append(error)
        has_ended = True
        news.set()

    def tell(*_: object) -> None:
        nonlocal is_told
        is_told = True
        news.set()

    thread = threading.Thread(target=work, name="paceline-bridge")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # which nohup asks for
            signal.signal(number, tell)
    thread.start()
    while not has_ended:
        news.wait(POLL_S)
        if is_told:
            is_told = False
            running.stop()
    thread.join()
    if failures:
        raise failures[0]
