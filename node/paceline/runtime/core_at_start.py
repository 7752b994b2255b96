"""The core of a node when its process starts: a new one, or the one that its data directory describes."""

from __future__ import annotations

import logging
import random
import secrets
import time
from importlib.metadata import version
from pathlib import Path

from paceline.config import NodeConfig
from paceline.core.membership.identity import Identity
from paceline.core.node import NodeCore
from paceline.core.raft.consensus import Consensus
from paceline.core.raft.log import Log
from paceline.core.reports.questions import QUESTIONS
from paceline.core.settings import Settings
from paceline.core.state.snapshots import restore
from paceline.runtime.journal.data_directory import Storage, default_directory
from paceline.runtime.journal.recovery import Recovered, decoded
from paceline.runtime.own_addresses import OwnAddresses
from paceline_protocol.messages.consensus import Config

_logger = logging.getLogger("paceline.node")


def directory_of(config: NodeConfig) -> Path:
    """Where a node with this configuration keeps its data, if it keeps any."""
    return config.data_dir or default_directory(config.cluster_name, config.port)


def settings_of(config: NodeConfig) -> Settings:
    """The part of a configuration that the core acts on."""
    return Settings(
        cluster_name=config.cluster_name,
        expect=config.effective_expect,
        pointed=config.is_pointed,
        voters=config.voters,
        version=version("paceline"),
        journal=config.journal,
        encrypted=config.keys is not None,
        insecure=config.insecure,
        runs_tasks=config.workers > 0,
        worker_max_tasks=config.worker_max_tasks or 0,
        queues=config.queue_names,
        tags=config.tags_text,
        amounts=config.amounts_text,
        units=config.units,
        max_parked=config.most_parked,
        async_slots=config.async_slots,
        payload_limit_bytes=config.payload_limit_bytes,
        queue_limit_tasks=config.queue_limit_tasks,
        queue_limit_bytes=config.effective_queue_limit_bytes,
        result_limit_bytes=config.result_limit_bytes,
        dead_limit_bytes=config.dead_limit_bytes,
    )


def new_core(config: NodeConfig, own: OwnAddresses, start: int, metrics_address: str) -> NodeCore:
    """A node that keeps everything in memory: each start makes a new one."""
    return NodeCore(
        settings_of(config),
        Identity(secrets.token_hex(8), incarnation=1, start=start),
        address=own.address,
        other_addresses=own.others,
        spare_cluster_id=secrets.token_hex(8),
        random=_own_random(),
        now=time.monotonic(),
        durable_at_once=True,
        metrics_address=metrics_address,
        questions=QUESTIONS,
    )


def open_storage(config: NodeConfig, start: int) -> Storage:
    """The data directory of the node, which is this process's alone from now on. Says if an operator recovered it."""
    storage = Storage.open(
        directory_of(config),
        cluster_name=config.cluster_name,
        mode=config.journal,
        fresh=config.fresh,
        moved=config.moved,
    )
    if storage.recovery is not None:
        _logger.warning(
            "node %s was made the only voter of a new cluster on %s by `paceline cluster recover --unsafe`, from "
            "what it had of cluster %s up to entry %d of term %d; what only the lost voters had is gone",
            storage.identity.node_id,
            storage.recovery.at,
            storage.recovery.old_cluster_id,
            storage.recovery.last_index,
            storage.recovery.last_term,
        )
    storage.identity.start = start
    return storage


def recovered_core(config: NodeConfig, storage: Storage, own: OwnAddresses, metrics_address: str) -> NodeCore:
    """The node that its data directory describes, or a blank one if that is empty. Raises JournalCorrupt for a journal
    that is whole and makes no sense."""
    return decoded(storage.directory, lambda: _recovered(config, storage, own, metrics_address))


def _recovered(config: NodeConfig, storage: Storage, own: OwnAddresses, metrics_address: str) -> NodeCore:
    recovered, settings, now, rng = storage.recovered, settings_of(config), time.monotonic(), _own_random()
    snapshot = recovered.snapshot
    core = NodeCore(
        settings,
        storage.identity,
        address=own.address,
        other_addresses=own.others,
        spare_cluster_id=secrets.token_hex(8),
        random=rng,
        now=now,
        metrics_address=metrics_address,
        consensus=Consensus(
            storage.identity.node_id,
            timing=settings.timing,
            random=rng,
            now=now,
            hard_state=recovered.hard_state,
            log=Log(snapshot.index, snapshot.term, recovered.entries) if snapshot else Log(entries=recovered.entries),
            config=snapshot.config if snapshot else Config(),
            feature_level=settings.feature_level,
        ),
        questions=QUESTIONS,
    )
    if snapshot is not None:
        restore(core.table, snapshot.data)
    storage.recovered = Recovered()  # it would be a second copy of all tasks, for as long as the node runs
    return core


def _own_random() -> random.Random:
    return random.Random(secrets.randbits(64))  # noqa: S311 - for the pauses of elections
