"""The node's end of its web process: the socket that listens, the child that answers there, and what it is told.

The socket is opened here, once, and inherited: a port that is taken is found out before anything runs, and the address
outlives the child. A child that ends is replaced, ever more slowly if that goes on (``pool.py``); the node goes on
meanwhile, and who asks waits.
"""

from __future__ import annotations

import logging
import platform
import socket
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Any

from paceline.config import (
    LOOPBACK_HOST,
    METRICS_OFF,
    METRICS_PORT_OFFSET,
    WILDCARD_HOSTS,
    NodeConfig,
    format_address,
    parse_address,
    parse_listen_address,
)
from paceline.core.reports.metrics import metrics
from paceline.errors import ConfigError, PortInUse
from paceline.runtime.children.pool import ChildPool
from paceline.runtime.transport.transport import Source
from paceline.version import is_compiled
from paceline.web.listener import listen
from paceline_protocol.messages import PROTOCOL_VERSION
from paceline_protocol.payload import pack_value

if TYPE_CHECKING:
    from paceline.runtime.journal.journal import DiskJournal
    from paceline.runtime.reactor import Reactor

PORT_MAX = 65_535
JOURNAL_STUCK_S = 5.0
"""A node whose disk has been writing one group for so long is not ready."""

_logger = logging.getLogger("paceline.node")


class Web:
    """The socket of one node's metrics, and the pool of the one process that serves them."""

    def __init__(self, listener: socket.socket, node_address: str) -> None:
        host, port = listener.getsockname()[:2]
        shown = parse_address(node_address)[0] if host in WILDCARD_HOSTS else host
        self.address = format_address(shown, port)
        self._listener = listener
        self.pool = ChildPool(
            Source.WEB,
            size=1,
            program="paceline.web",
            arguments=("--listener", str(listener.fileno())),
            inherited=(listener.fileno(),),
        )

    def close(self) -> None:
        self.pool.stop(0)
        self._listener.close()


def open_web(config: NodeConfig, node_address: str) -> Web | None:
    """What ``config.metrics`` says. Raises PortInUse or ConfigError for an address that was asked for and can't be had.

    One that nobody asked for is no reason not to start: then it is any free port, and if there is none, no metrics.
    """
    if config.metrics == METRICS_OFF:
        return None
    if config.metrics is not None:
        return Web(listen(*parse_listen_address("--metrics", config.metrics)), node_address)
    wanted = config.port + METRICS_PORT_OFFSET if config.port else 0
    for port in (wanted, 0) if 0 < wanted <= PORT_MAX else (0,):
        try:
            web = Web(listen(LOOPBACK_HOST, port), node_address)
        except PortInUse:
            continue
        except ConfigError as error:
            _logger.warning("no metrics are served: %s", error)
            return None
        if port != wanted:
            _logger.warning(
                "port %d, where metrics are served by default, is in use or none: they are at %s", wanted, web.address
            )
        return web
    return None


class MetricsSource:
    """What the web process is told: the core's counts, and those of what is around it."""

    def __init__(self, reactor: Reactor, journal: DiskJournal | None, workers: int) -> None:
        self.web_exits = 0
        self._reactor = reactor
        self._journal = journal
        self._workers = workers
        self._build = [
            version_of("paceline"),
            str(PROTOCOL_VERSION),
            platform.python_version(),
            str(is_compiled()).lower(),
        ]

    def __call__(self, now: float) -> bytes:
        """The body of a MetricsReply."""
        reactor, journal = self._reactor, self._journal
        body: dict[str, Any] = metrics(reactor.core, now)
        ready = sum(body["slots"].values())
        if ready < self._workers:
            body["not_ready"].append(f"{ready} of {self._workers} workers are ready")
        if journal is not None:
            body["not_ready"] += _journal_problems(journal, now)
        return pack_value(
            body
            | reactor.counters.as_dict()
            | {
                "turn_time": reactor.turn_time.as_dict(),
                "journal_write": None if journal is None else journal.write_time.as_dict(),
                "workers": self._workers,
                "web_exits": self.web_exits,
                "build": self._build,
            }
        )


def _journal_problems(journal: DiskJournal, now: float) -> list[str]:
    if journal.failure is not None:
        return [str(journal.failure)]
    since = journal.writing_since  # read once: the journal's thread sets it
    if since is None or now - since < JOURNAL_STUCK_S:
        return []
    return [f"the disk does not answer: one write of the journal has taken {now - since:.0f} s"]
