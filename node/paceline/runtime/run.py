"""Runs a node from its configuration until it is told to stop, and anew where it must be another node to go on.

Whatever the core or the server find that ends a node leaves here as an error of ``paceline.errors``.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from dataclasses import replace

from paceline.config import NodeConfig, parse_address
from paceline.core.feature_levels import NodeTooOld
from paceline.core.membership.identity import IdentityTaken, Overtaken
from paceline.core.raft.log import LogForgotten
from paceline.errors import IdentityLost, NodeOutdated, NodeRunsTwice
from paceline.runtime.core_at_start import directory_of
from paceline.runtime.greeting import NodeInfo
from paceline.runtime.journal.data_directory import give_up_identity, overtake
from paceline.runtime.journal.place import new_start
from paceline.runtime.journal.unusable import make_directory
from paceline.runtime.limits import raise_open_files
from paceline.runtime.server import Server
from paceline.worker.registry import check_module

_logger = logging.getLogger("paceline.node")


def run_node(config: NodeConfig, *, on_ready: Callable[[NodeInfo], None] | None = None) -> int:
    """Run a node until SIGTERM or SIGINT, or SIGHUP as its terminal is closed; returns the exit code.

    ``on_ready`` is called once, when the workers are ready and a leader is known, or, without a leader, after
    GREET_WITHOUT_LEADER_AFTER_S. Raises ConfigError, PortInUse or ModuleImportFailed if the node can't start, and
    NodeOutdated, then or later, if its cluster has what this version can't read.
    """
    config.validate()
    for module in config.modules:
        check_module(module)  # each worker would find the same, and with a traceback
    raise_open_files(config.most_workers)
    if config.journal != "memory":
        make_directory(directory_of(config))
    start = new_start()
    again: NodeConfig | None = config
    while again is not None:
        again = _run_once(again, on_ready, start)
    return 0


def _run_once(config: NodeConfig, on_ready: Callable[[NodeInfo], None] | None, start: int) -> NodeConfig | None:
    """Returns with what the node has to begin again, None if it has been stopped. It has to if its data directory was
    copied and another process has its identity: under another one, if nobody relies on that yet, or under a later
    incarnation, if this process began first."""
    try:
        server = Server(config, on_ready, start)
        try:
            server.run()
        finally:
            server.close()
        server.raise_what_was_not_written()
    except NodeTooOld as error:
        raise NodeOutdated(error.found) from error
    except LogForgotten as error:
        raise IdentityLost(str(directory_of(config)), str(error)) from error
    except IdentityTaken as error:
        if not error.is_blank or config.journal == "memory":
            raise NodeRunsTwice(error.node_id, error.own_address, error.address) from error
        _logger.warning(
            "a node at %s has this node's id, %s: their data directories are copies, and belong to no cluster yet. "
            "This node goes on under another id",
            error.address,
            error.node_id,
        )
        give_up_identity(directory_of(config))
        return _begin_again(config, error.own_address)
    except Overtaken as error:
        if config.journal == "memory":
            raise NodeRunsTwice(error.node_id, error.own_address, error.address) from error
        _logger.error("%s; this node begins again, so that it is heard", error.said)
        overtake(directory_of(config), error.incarnation)
        return _begin_again(config, error.own_address)
    return None


def _begin_again(config: NodeConfig, address: str) -> NodeConfig:
    """With the port and the data of the node. Until it has its own handlers again, a signal ends the process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    return replace(config, port=parse_address(address)[1], fresh=False, moved=False)
