"""Builds one node from its configuration, runs it until it is told to stop, and takes it apart again.

What is made here, once: the node's random identity, its sockets, its journal, its workers, discovery, the core, and the
reactor that runs them. Everything that can go wrong at the start (a port in use, a module that does not import) is
raised as a named error after all of it is gone again.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import random
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from types import FrameType

from paceline.config import NodeConfig, parse_address
from paceline.core.feature_levels import NodeTooOld
from paceline.core.membership.identity import Identity, IdentityTaken, Overtaken
from paceline.core.node import NodeCore
from paceline.core.raft.consensus import Consensus
from paceline.core.raft.log import Log, LogForgotten
from paceline.core.reports.questions import QUESTIONS
from paceline.core.reports.status import forming, leaderless
from paceline.core.settings import Settings
from paceline.core.state.snapshots import restore
from paceline.errors import ConfigError, IdentityLost, ModuleImportFailed, NodeOutdated, NodeRunsTwice
from paceline.local_token import read_token
from paceline.names import Names
from paceline.own_cluster import worker_environment
from paceline.ownership import is_denied
from paceline.runtime.children.children import WorkerChildren
from paceline.runtime.children.web_child import MetricsSource, Web, open_web
from paceline.runtime.children.worker_pool import WorkerPool
from paceline.runtime.journal.data_directory import Storage, default_directory, failure_of, give_up_identity, overtake
from paceline.runtime.journal.journal import DiskJournal
from paceline.runtime.journal.place import new_start
from paceline.runtime.journal.recovery import Recovered, decoded
from paceline.runtime.key_watch import KeyWatch
from paceline.runtime.memory import keep_freed_blocks
from paceline.runtime.node_view import view_of
from paceline.runtime.orphans import FIRST_PROCESS, Orphans
from paceline.runtime.own_addresses import OwnAddresses, bind_number
from paceline.runtime.reactor import Reactor
from paceline.runtime.search import NodeSearch, SearchNews
from paceline.runtime.transport.zmq_transport import ZmqTransport
from paceline.worker.registry import check_module
from paceline_protocol.codec import MAX_FRAME_BYTES
from paceline_protocol.messages import Config, WorkerFailed

GREET_WITHOUT_LEADER_AFTER_S = 2.0
SLOW_IMPORT_S = 10.0
COLLECT_EVERY_S = 60.0
COLLECT_BELOW_TASKS = 10_000
TURNS_BETWEEN_CLOCKS = 256
WORKERS_STOP_S = 3.0
TRANSFER_S = 2.0

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


def run_node(config: NodeConfig, *, on_ready: Callable[[NodeInfo], None] | None = None) -> int:
    """Run a node until SIGTERM, SIGHUP or SIGINT; returns the exit code.

    ``on_ready`` is called once, when the workers are ready and a leader is known, or, without a leader, after
    GREET_WITHOUT_LEADER_AFTER_S. Raises ConfigError, PortInUse or ModuleImportFailed if the node can't start, and
    NodeOutdated, then or later, if its cluster has what this version can't read.
    """
    config.validate()
    for module in config.modules:
        check_module(module)  # each worker would find the same, and with a traceback
    if config.journal != "memory":
        _make_directory(_directory_of(config))
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
    except NodeTooOld as error:
        raise NodeOutdated(error.found) from error
    except LogForgotten as error:
        raise IdentityLost(str(_directory_of(config)), str(error)) from error
    except IdentityTaken as error:
        if not error.is_blank or config.journal == "memory":
            raise NodeRunsTwice(error.node_id, error.own_address, error.address) from error
        _logger.warning(
            "a node at %s has this node's id, %s: their data directories are copies, and belong to no cluster yet. "
            "This node goes on under another id",
            error.address,
            error.node_id,
        )
        give_up_identity(_directory_of(config))
        return _begin_again(config, error.own_address)
    except Overtaken as error:
        if config.journal == "memory":
            raise NodeRunsTwice(error.node_id, error.own_address, error.address) from error
        _logger.error("%s; this node begins again, so that it is heard", error.said)
        overtake(_directory_of(config), error.incarnation)
        return _begin_again(config, error.own_address)
    return None


def _begin_again(config: NodeConfig, address: str) -> NodeConfig:
    """With the port and the data of the node. Until it has its own handlers again, a signal ends the process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    return replace(config, port=parse_address(address)[1], fresh=False, moved=False)


def _directory_of(config: NodeConfig) -> Path:
    return config.data_dir or default_directory(config.cluster_name, config.port)


def _make_directory(directory: Path) -> None:
    """Raises ConfigError for a data directory that this user can't have, which is no failure of a disk."""
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        (directory / "lock").touch(mode=0o600)  # the first file that the node would make there
    except OSError as error:
        if is_denied(Path(error.filename or directory), error):
            raise failure_of("keep data in", directory, error) from error
        reason = "it is a file" if isinstance(error, FileExistsError) else os.strerror(error.errno or 0)
        raise ConfigError(
            f"can't keep data in {directory}: {reason}; give another --data-dir, which this user can write to"
        ) from error


class Server:
    """One node and everything around it."""

    def __init__(self, config: NodeConfig, on_ready: Callable[[NodeInfo], None] | None, start: int) -> None:
        """``start``: of this process; see ``core/membership/starts.py``."""
        keep_freed_blocks()
        self._config = config
        self._start = start
        self._on_ready = on_ready
        self._stopping = False
        self._hurrying = False  # a second signal: don't wait for anybody
        self._failure: ModuleImportFailed | None = None
        self._greeted = False
        self._announced_ready = False
        self._slow_import_said = False
        self._was_started = False  # before, with this data
        self._open_tasks: int | None = None  # that there were when this node was first seen to lead
        self._collect_at = 0.0
        self._pool: WorkerPool | None = None
        self._web: Web | None = None
        self._metrics: MetricsSource | None = None
        self._storage: Storage | None = None
        self._journal: DiskJournal | None = None
        self._search: NodeSearch | None = None
        self._key_watch: KeyWatch | None = None
        self._names = Names()
        bind_host = bind_number(config.effective_bind_host, self._names)
        self._transport = ZmqTransport(
            bind_host,
            config.port,
            advertise_host=config.advertise_host,
            keys=config.cluster.node_keys if config.cluster else None,
            token=b"" if config.cluster or config.insecure else read_token(),
            max_frame_bytes=MAX_FRAME_BYTES,
            names=self._names,
        )
        self._own = OwnAddresses(bind_host, self._transport.port, config.advertise_host, self._names)
        try:
            self._assemble()
        except BaseException:
            self.close()
            raise

    def _assemble(self) -> None:
        config, transport = self._config, self._transport
        self._web = web = open_web(config, transport.address)
        self._core = self._restart() if config.journal != "memory" else self._begin()
        node_id = self._core.node_id
        self._announce(
            {"id": node_id, "pid": os.getpid(), "address": transport.address, "metrics": self._metrics_address}
        )
        self._pool = WorkerPool(
            size=config.workers,
            modules=config.modules,
            payload_limit_bytes=config.payload_limit_bytes,
            environment=worker_environment(transport.local_address, config.cluster),
        )
        web_pool = web.pool if web is not None else None
        children = WorkerChildren(self._pool, transport, web_pool, self._web_ended, self._no_worker_is_ever_ready)
        self._reactor = Reactor(
            self._core,
            transport,
            self._journal,
            clock=time.monotonic,
            wall_clock=time.time,
            children=children,
            save_identity=self._storage.save_identity if self._storage is not None else None,
            on_worker_failed=self._worker_failed,
            metrics=self._answer_metrics,
        )
        self._metrics = MetricsSource(self._reactor, self._journal, config.workers)
        children.start()
        if config.join or config.discovery or self._own.is_watched or config.effective_expect != 1:
            self._search = NodeSearch(
                config,
                node_id=f"{node_id}-{self._core.identity.start:x}",  # which a copy of its data directory has not
                own=self._own,
                names=self._names,
                view=view_of(self._core, self._reactor.unreached),
                news=SearchNews(
                    self._reactor.add_address,
                    self._moved,
                    lambda lines: self._reactor.tell(lambda core: core.on_search(lines)),
                ),
            )
            self._search.start()
        if config.cluster is not None and config.cluster.path is not None:
            self._key_watch = KeyWatch(config.cluster, transport.wake)
            self._key_watch.start()

    def _moved(self, address: str, others: tuple[str, ...]) -> None:
        web = self._web
        metrics_address = "" if web is None else web.address_beside(address)
        self._reactor.tell(lambda core: core.on_own_addresses(address, others, metrics_address))

    def _begin(self) -> NodeCore:
        """A node that keeps everything in memory: each start makes a new one."""
        return NodeCore(
            settings_of(self._config),
            Identity(secrets.token_hex(8), incarnation=1, start=self._start),
            address=self._own.address,
            other_addresses=self._own.others,
            spare_cluster_id=secrets.token_hex(8),
            random=random.Random(secrets.randbits(64)),  # noqa: S311 - for the pauses of elections
            now=time.monotonic(),
            durable_at_once=True,
            metrics_address=self._metrics_address,
            questions=QUESTIONS,
        )

    def _restart(self) -> NodeCore:
        """The node that its data directory describes, or a blank one if that is empty."""
        config, now = self._config, time.monotonic()
        self._storage = storage = Storage.open(
            _directory_of(config),
            cluster_name=config.cluster_name,
            mode=config.journal,
            fresh=config.fresh,
            moved=config.moved,
        )
        self._was_started = storage.identity.incarnation > 1
        recovered = storage.recovered
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
        storage.identity.start = self._start
        self._journal = DiskJournal(
            storage.journal_directory, recovered, mode=config.journal, wake=self._transport.wake
        )
        storage.save_identity()
        return decoded(storage.directory, lambda: self._recovered(storage, now))

    def _recovered(self, storage: Storage, now: float) -> NodeCore:
        recovered, settings = storage.recovered, settings_of(self._config)
        rng = random.Random(secrets.randbits(64))  # noqa: S311 - for the pauses of elections
        snapshot = recovered.snapshot
        core = NodeCore(
            settings,
            storage.identity,
            address=self._own.address,
            other_addresses=self._own.others,
            spare_cluster_id=secrets.token_hex(8),
            random=rng,
            now=now,
            metrics_address=self._metrics_address,
            consensus=Consensus(
                storage.identity.node_id,
                timing=settings.timing,
                random=rng,
                now=now,
                hard_state=recovered.hard_state,
                log=Log(snapshot.index, snapshot.term, recovered.entries)
                if snapshot
                else Log(entries=recovered.entries),
                config=snapshot.config if snapshot else Config(),
                feature_level=settings.feature_level,
            ),
            questions=QUESTIONS,
        )
        if snapshot is not None:
            restore(core.table, snapshot.data)
        storage.recovered = Recovered()  # it would be a second copy of all tasks, for as long as the node runs
        return core

    def run(self) -> None:
        """Run turns of the reactor until a signal or a failure ends them."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # which nohup asks for
                signal.signal(number, self._stop)
        started_at = time.monotonic()
        self._collect_garbage()
        turn = self._reactor.turn
        orphans: Orphans | None = None
        if os.getpid() == FIRST_PROCESS:
            orphans = Orphans(self._own_processes, self._transport.wake)
            orphans.watch()
        while not self._stopping:
            turn()
            if orphans is not None and orphans.are_due:
                orphans.reap()
            if self._reactor.counters.turns % TURNS_BETWEEN_CLOCKS == 0 and time.monotonic() >= self._collect_at:
                self._collect_garbage()
            if self._failure is not None:
                raise self._failure
            if self._key_watch is not None and self._key_watch.found is not None:
                self._change_keys(self._key_watch)
            if not self._announced_ready:
                self._greet_if_ready(started_at)
        self._transfer_leadership()

    def _change_keys(self, watch: KeyWatch) -> None:
        keys = watch.take()
        for revoked in [] if keys is None else self._transport.set_keys(keys):
            self._core.on_client_gone(revoked)  # it is told nothing any more

    def _own_processes(self) -> set[int]:
        pools = [pool for pool in (self._pool, self._web.pool if self._web is not None else None) if pool is not None]
        return {child.pid for pool in pools for child in pool.workers.values()}

    def _transfer_leadership(self) -> None:
        """Transfer the leadership, if this node leads: else the others would first have to miss it."""
        core = self._core
        if core.leader is None:
            return
        term = core.leader.term
        now = time.monotonic()
        deadline = now + TRANSFER_S
        while now < deadline and not self._hurrying:
            if core.leader is not None:
                if not core.transfer_leadership(now):
                    return  # nobody is there to take over
            elif core.leader_id(now) or core.consensus.term == term:
                return  # another leads; or, in the same term, the others are gone
            self._reactor.turn()
            now = time.monotonic()

    def _collect_garbage(self) -> None:
        """Run the collector now and then, while few tasks are alive. It walks all that is alive, which for a million
        tasks takes a fifth of a second. What the node keeps has no cycles; other libraries leave some."""
        gc.disable()
        if len(self._core.table.tasks) < COLLECT_BELOW_TASKS:
            gc.collect()
            gc.freeze()
        self._collect_at = time.monotonic() + COLLECT_EVERY_S

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        _logger.info("stopping on %s", signal.Signals(number).name)
        self._hurrying = self._stopping
        self._stopping = True
        self._transport.wake()

    def close(self) -> None:
        """Take everything down that was built, in bounded time."""
        if self._key_watch is not None:
            self._key_watch.stop()
        if self._search is not None:
            self._search.stop()
        if self._pool is not None:
            self._pool.stop(WORKERS_STOP_S)
        if self._web is not None:
            self._web.close()
        all_is_durable = self._journal is not None and self._journal.close()
        if self._storage is not None:
            if all_is_durable:
                self._storage.save_identity(clean=True)
            self._storage.close()
        self._transport.close()

    # --- metrics ------------------------------------------------------------------------------------------------

    @property
    def _metrics_address(self) -> str:
        return "" if self._web is None else self._web.address

    def _answer_metrics(self, now: float) -> bytes:
        assert self._metrics is not None, "who asks is started after this is made"
        return self._metrics(now)

    def _web_ended(self) -> None:
        if self._metrics is not None:
            self._metrics.web_exits += 1

    # --- telling others -----------------------------------------------------------------------------------------

    def _worker_failed(self, worker_id: bytes, failed: WorkerFailed) -> None:
        """A worker can't import its modules. Before the node was ready this ends the node; later, when a file was
        changed for instance, the pool tries again, ever more slowly."""
        failure = ModuleImportFailed(failed.module, failed.error, failed.traceback)
        if self._announced_ready:
            _logger.error("worker %s: %s", worker_id.hex(), failure)
        else:
            self._failure = failure

    def _no_worker_is_ever_ready(self, how: str) -> None:
        self._failure = ModuleImportFailed.without_a_word(self._config.modules, how)

    def _greet_if_ready(self, started_at: float) -> None:
        now = time.monotonic()
        core = self._core
        if core.leader is not None and self._open_tasks is None:
            self._open_tasks = len(core.leader.tasks.live)
        ready = len(core.leader_link.slots.workers)
        if ready < self._config.workers:
            if not self._slow_import_said and now - started_at >= SLOW_IMPORT_S:
                self._slow_import_said = True
                _logger.warning(
                    "importing %s takes longer than %.0f s: %d of %d workers are ready. Each worker does it when it "
                    "starts; leave to the first call of a task what can wait until then",
                    ", ".join(self._config.modules),
                    SLOW_IMPORT_S,
                    ready,
                    self._config.workers,
                )
            return
        leader_id = core.leader_id(now)
        if not self._greeted and (leader_id or now - started_at >= GREET_WITHOUT_LEADER_AFTER_S):
            self._greeted = True
            if self._on_ready is not None:
                self._on_ready(self._info(now, leader_id))
        if leader_id and not core.role.missing_voters() and core.identity.cluster_id:
            self._announced_ready = True
            self._announce({"ready": True})

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
            len(core.leader_link.slots.workers),
            core.leader_link.slots.names(),
            self._metrics_address,
            "" if self._config.journal == "memory" else str(_directory_of(self._config).absolute()),
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

    def _announce(self, line: dict[str, object]) -> None:
        """Tell the program that started this node, if it asked to be told."""
        if self._config.announce_fd is None:
            return
        try:
            os.write(self._config.announce_fd, (json.dumps(line) + "\n").encode())
        except OSError as error:
            _logger.warning("can't announce on descriptor %d: %s", self._config.announce_fd, error)


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
        payload_limit_bytes=config.payload_limit_bytes,
        queue_limit_tasks=config.queue_limit_tasks,
        queue_limit_bytes=config.effective_queue_limit_bytes,
        result_limit_bytes=config.result_limit_bytes,
    )
