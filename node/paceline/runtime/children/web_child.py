"""The node's side of its web process: the listening socket, the child that answers there, and the body of a
MetricsReply.

The node opens the socket once, and the child inherits it. So a port that is taken is found before anything runs, and
the address outlives the child. A child that ends is replaced, with growing pauses if that repeats (``pool.py``). The
node goes on meanwhile, and HTTP requests wait.
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
from paceline_protocol.messages.message import PROTOCOL_VERSION
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
        self._host, self._port = host, port
        self.address = self.address_beside(node_address)
        self._listener = listener
        self.pool = ChildPool(
            Source.WEB,
            size=1,
            program="paceline.web",
            arguments=("--listener", str(listener.fileno())),
            inherited=(listener.fileno(),),
        )

    def address_beside(self, node_address: str) -> str:
        """Where the metrics are, of a node that is reached at this address."""
        shown = parse_address(node_address)[0] if self._host in WILDCARD_HOSTS else self._host
        return format_address(shown, self._port)

    def close(self) -> None:
        self.pool.stop(0)
        self._listener.close()


def open_web(config: NodeConfig, node_address: str) -> Web | None:
    """Open the socket that ``config.metrics`` asks for; None if it is off. Raises PortInUse or ConfigError if an
    address was configured and can't be used.

    If none was configured and the default port is in use, any free port is taken. If there is none, the node starts
    without metrics.
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
    """Makes the bodies of MetricsReplies: the counts of the core, and those of the reactor, the journal and the
    pools."""

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
                "workers": reactor.scaling.size,
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
