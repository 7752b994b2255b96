"""What a node says of itself when it has started: to the person at the terminal, and to the program that started it.

A person is told once, when the workers are ready and a leader is known. Where no leader comes, that is said after
GREET_WITHOUT_LEADER_AFTER_S, with what the node waits for. A program is told a line of JSON on a descriptor of its
choice: at once who the node is, and ``{"ready": true}`` when its cluster is complete. Then this is over, for good.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass

from paceline.config import NodeConfig
from paceline.core.node import NodeCore
from paceline.core.reports.status import forming, leaderless
from paceline.runtime.journal.data_directory import Storage

GREET_WITHOUT_LEADER_AFTER_S = 2.0
SLOW_IMPORT_S = 10.0

_logger = logging.getLogger("paceline.node")


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What a person wants to know of a node that has just started."""

    node_id: str
    address: str
    cluster_name: str
    cluster_id: str
    leader_id: str  # "" while there is none
    leader_address: str
    waiting: str  # why there is none
    workers: int
    task_names: tuple[str, ...]
    metrics_address: str = ""  # "" if none are served
    data_dir: str = ""  # "" if nothing is written
    goes_on: str = ""  # with what of an earlier start, in words; "" if it began with nothing


class Greeting:
    """Looked at each turn until ``is_over``: the node is ready, and everybody has been told."""

    def __init__(
        self,
        config: NodeConfig,
        core: NodeCore,
        storage: Storage | None,
        metrics_address: str,
        on_ready: Callable[[NodeInfo], None] | None,
        now: float,
    ) -> None:
        """``storage``: None if nothing is written. ``on_ready`` is called once, with what a person wants to know."""
        self.is_over = False
        self._config = config
        self._core = core
        self._storage = storage
        self._metrics_address = metrics_address
        self._on_ready = on_ready
        self._began_at = now
        self._is_said = False
        self._slow_import_said = False
        self._was_started = storage is not None and storage.identity.incarnation > 1
        self._open_tasks: int | None = None  # that there were when this node was first seen to lead

    def look(self, now: float) -> None:
        core = self._core
        if core.leader is not None and self._open_tasks is None:
            self._open_tasks = len(core.leader.tasks.live)
        ready = core.leader_link.slots.plain_workers
        if ready < self._config.workers:
            self._look_at_imports(ready, now)
            return
        leader_id = core.leader_id(now)
        if not self._is_said and (leader_id or now - self._began_at >= GREET_WITHOUT_LEADER_AFTER_S):
            self._is_said = True
            if self._on_ready is not None:
                self._on_ready(self._info(now, leader_id))
        # A leader that does not hear this node yet counts it for nothing: whoever goes on to the next node, as in a
        # rolling restart, would take its majority away.
        link = core.leader_link
        hears = leader_id and link.has_told and link.is_heard_by(leader_id)
        if hears and not core.role.missing_voters() and core.identity.cluster_id:
            self.is_over = True
            announce(self._config, {"ready": True})

    def _look_at_imports(self, ready: int, now: float) -> None:
        if self._slow_import_said or now - self._began_at < SLOW_IMPORT_S:
            return
        self._slow_import_said = True
        _logger.warning(
            "importing %s takes longer than %.0f s: %d of %d workers are ready. Each worker does it when it "
            "starts; leave to the first call of a task what can wait until then",
            ", ".join(self._config.modules),
            SLOW_IMPORT_S,
            ready,
            self._config.workers,
        )

    def _info(self, now: float, leader_id: str) -> NodeInfo:
        core = self._core
        return NodeInfo(
            core.node_id,
            core.peering.directory.own_address,
            core.settings.cluster_name,
            core.identity.cluster_id,
            leader_id,
            core.peering.directory.address_of(leader_id),
            forming(core, now) or leaderless(core, now),
            core.leader_link.slots.plain_workers,
            core.leader_link.slots.names(),
            self._metrics_address,
            "" if self._storage is None else str(self._storage.directory.absolute()),
            self._goes_on(),
        )

    def _goes_on(self) -> str:
        """What this node has of an earlier start. How many tasks there are only the leader knows."""
        cluster_id = self._core.identity.cluster_id
        if not self._was_started or not cluster_id:
            return ""
        count = self._open_tasks
        tasks = "" if count is None else f" and {count} task{'' if count == 1 else 's'} of before"
        return f"cluster {cluster_id[:8]}{tasks}"


def announce(config: NodeConfig, line: dict[str, object]) -> None:
    """Tell the program that started this node, if it asked to be told."""
    if config.announce_fd is None:
        return
    try:
        os.write(config.announce_fd, (json.dumps(line) + "\n").encode())
    except OSError as error:
        _logger.warning("can't announce on descriptor %d: %s", config.announce_fd, error)
