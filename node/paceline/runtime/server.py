"""Builds one node from its configuration, runs it until it is told to stop, and takes it apart again.

What is made here, once: the node's sockets, its journal, its workers, discovery, the core (``core_at_start.py``), and
the reactor that runs them. Everything that can go wrong at the start (a port in use, a module that does not import) is
raised as a named error after all of it is gone again.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import time
from collections.abc import Callable
from types import FrameType

from paceline.config import NodeConfig
from paceline.core.node import NodeCore
from paceline.errors import ModuleImportFailed, TasksCutShort
from paceline.local_token import read_token
from paceline.names import Names
from paceline.own_cluster import worker_environment
from paceline.runtime.children.children import WorkerChildren
from paceline.runtime.children.lifetimes import LifetimeLimits
from paceline.runtime.children.scaling import Scaling
from paceline.runtime.children.web_child import MetricsSource, Web, open_web
from paceline.runtime.children.worker_pool import WorkerPool
from paceline.runtime.core_at_start import new_core, open_storage, recovered_core
from paceline.runtime.drain import Drain, is_told_again
from paceline.runtime.greeting import Greeting, NodeInfo, announce
from paceline.runtime.interfaces import interface_names
from paceline.runtime.journal.data_directory import Storage
from paceline.runtime.journal.journal import DiskJournal
from paceline.runtime.key_watch import KeyWatch
from paceline.runtime.limits import start_threads
from paceline.runtime.memory import keep_freed_blocks
from paceline.runtime.node_view import view_of
from paceline.runtime.orphans import FIRST_PROCESS, Orphans
from paceline.runtime.own_addresses import OwnAddresses, bind_number, refuse_broadcast
from paceline.runtime.reactor import Reactor
from paceline.runtime.search import NodeSearch, SearchNews
from paceline.runtime.transport.zmq_transport import ZmqTransport
from paceline_protocol.codec import MAX_FRAME_BYTES, encode
from paceline_protocol.messages.children import NodeMoved, WorkerFailed

COLLECT_EVERY_S = 60.0
COLLECT_BELOW_TASKS = 10_000
TURNS_BETWEEN_CLOCKS = 256
WORKERS_STOP_S = 3.0

_logger = logging.getLogger("paceline.node")


def has_terminal() -> bool:
    """Whether this process has a terminal that is still there."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


class Server:
    """One node and everything around it."""

    def __init__(self, config: NodeConfig, on_ready: Callable[[NodeInfo], None] | None, start: int) -> None:
        """``start``: of this process; see ``core/membership/starts.py``."""
        keep_freed_blocks()
        self._config = config
        self._start = start
        self._signals: list[int] = []  # that told this node to end: the first has it drain, the second ends it
        self._told_at = 0.0  # when the first came
        self._drain: Drain | None = None
        self._is_to_reload = False
        self._has_terminal = has_terminal()
        self._cut_short: TasksCutShort | None = None
        self._failure: ModuleImportFailed | None = None
        self._collect_at = 0.0
        self._pool: WorkerPool | None = None
        self._web: Web | None = None
        self._metrics: MetricsSource | None = None
        self._storage: Storage | None = None
        self._journal: DiskJournal | None = None
        self._search: NodeSearch | None = None
        self._key_watch: KeyWatch | None = None
        self._names = Names()
        given = config.effective_bind_host
        if config.advertise_host is not None:
            refuse_broadcast("--advertise", config.advertise_host)
        bind_host = bind_number(given, self._names, is_advertised=config.advertise_host is not None)
        self._transport = ZmqTransport(
            bind_host,
            config.port,
            advertise_host=config.advertise_host,
            keys=config.cluster.node_keys if config.cluster else None,
            token=b"" if config.cluster or config.insecure else read_token(),
            max_frame_bytes=MAX_FRAME_BYTES,
            names=self._names,
        )
        interface = given if given in interface_names() else None
        self._own = OwnAddresses(bind_host, self._transport.port, config.advertise_host, self._names, interface)
        try:
            self._greeting = self._assemble(on_ready)
        except BaseException:
            self.close()
            raise

    def _assemble(self, on_ready: Callable[[NodeInfo], None] | None) -> Greeting:
        config, transport = self._config, self._transport
        self._web = web = open_web(config, transport.address)
        metrics_address = "" if web is None else web.address
        if config.journal == "memory":
            self._core = new_core(config, self._own, self._start, metrics_address)
        else:
            self._core = self._recover(metrics_address)
        transport.is_voters = self._core.is_voters
        node_id = self._core.node_id
        announce(config, {"id": node_id, "pid": os.getpid(), "address": transport.address, "metrics": metrics_address})
        self._pool = WorkerPool(
            size=config.workers,
            modules=config.modules,
            payload_limit_bytes=config.payload_limit_bytes,
            environment=worker_environment(transport.local_address, config.cluster),
            always_spare=config.replaces_workers and config.workers > 0,
            log_format=config.log_format,
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
            lifetime_limits=LifetimeLimits(
                config.worker_max_age_s, config.worker_max_rss_bytes, config.worker_memory_limit_bytes
            ),
            scaling=Scaling(config.workers, config.most_workers),
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
                    lambda host: self._reactor.tell(lambda _: self._bind(host)),
                    lambda lines: self._reactor.tell(lambda core: core.on_search(lines)),
                ),
            )
            self._search.start()
        if config.cluster is not None and config.cluster.path is not None:
            self._key_watch = KeyWatch(config.cluster, transport.wake)
            start_threads(self._key_watch.start)
        return Greeting(config, self._core, self._storage, metrics_address, on_ready, time.monotonic())

    def _recover(self, metrics_address: str) -> NodeCore:
        """Goes on with what the data directory has; it is this process's from here on."""
        self._storage = storage = open_storage(self._config, self._start)
        self._journal = DiskJournal(
            storage.journal_directory,
            storage.recovered,
            mode=self._config.journal,
            wake=self._transport.wake,
            check=storage.check,
        )
        storage.save_identity()
        return recovered_core(self._config, storage, self._own, metrics_address)

    def _moved(self, address: str, others: tuple[str, ...]) -> None:
        web = self._web
        metrics_address = "" if web is None else web.address_beside(address)
        self._reactor.tell(lambda core: core.on_own_addresses(address, others, metrics_address))

    def _bind(self, host: str) -> None:
        self._transport.set_bind_host(host)
        if self._pool is not None:
            address = self._transport.local_address
            self._pool.environment = worker_environment(address, self._config.cluster)
            for worker_id in self._pool.workers:
                self._transport.send_child(worker_id, encode(NodeMoved(address)))

    def run(self) -> None:
        """Run turns of the reactor until a signal or a failure ends them."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # which nohup asks for
                signal.signal(number, self._stop)
        self._collect_garbage()
        turn = self._reactor.turn
        orphans: Orphans | None = None
        if os.getpid() == FIRST_PROCESS:
            orphans = Orphans(self._own_processes, self._transport.wake)
            orphans.watch()
        while not (self._signals and self._is_over()):
            turn()
            if self._is_to_reload:
                self._is_to_reload = False
                self._reactor.reload(time.monotonic())
            if orphans is not None and orphans.are_due:
                orphans.reap()
            if self._reactor.counters.turns % TURNS_BETWEEN_CLOCKS == 0 and time.monotonic() >= self._collect_at:
                self._collect_garbage()
            if self._failure is not None:
                raise self._failure
            if self._key_watch is not None and self._key_watch.found is not None:
                self._change_keys(self._key_watch)
            if not self._greeting.is_over:
                self._greeting.look(time.monotonic())

    def _is_over(self) -> bool:
        """Whether the node, which was told to, is to end now. It drains first, unless it is told twice."""
        now, drain = time.monotonic(), self._drain
        if drain is None:
            name = signal.Signals(self._signals[0]).name
            drain = self._drain = Drain(self._core, name, self._config.drain_timeout_s, now)
        is_cut_short = len(self._signals) > 1
        if not is_cut_short and not drain.is_over(now):
            return False
        self._cut_short = drain.end(is_cut_short=is_cut_short)
        return True

    def _change_keys(self, watch: KeyWatch) -> None:
        keys = watch.take()
        for revoked in [] if keys is None else self._transport.set_keys(keys):
            self._reactor.revoked(revoked)

    def _own_processes(self) -> set[int]:
        pools = [pool for pool in (self._pool, self._web.pool if self._web is not None else None) if pool is not None]
        return {child.pid for pool in pools for child in pool.workers.values()}

    def _collect_garbage(self) -> None:
        """Run the collector now and then, while few tasks are alive. It walks all that is alive, which for a million
        tasks takes a fifth of a second. What the node keeps has no cycles; other libraries leave some."""
        gc.disable()
        if len(self._core.table.tasks) < COLLECT_BELOW_TASKS:
            gc.collect()
            gc.freeze()
        self._collect_at = time.monotonic() + COLLECT_EVERY_S

    def _stop(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP and not (self._has_terminal and not has_terminal()):
            self._is_to_reload = True
        elif not self._signals:
            self._told_at = time.monotonic()
            self._signals.append(number)
        elif is_told_again(number, time.monotonic() - self._told_at):
            self._signals.append(number)
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
        try:
            if self._storage is not None and all_is_durable:
                self._storage.save_identity(clean=True)
        finally:
            if self._storage is not None:
                self._storage.close()
            self._transport.close()

    def raise_what_was_not_written(self) -> None:
        """After :meth:`close`: raises the failure of a journal that had something left to write, or not its place; or
        that tasks which ran here were cut short."""
        if self._journal is not None and self._journal.failure is not None:
            raise self._journal.failure
        if self._cut_short is not None:
            raise self._cut_short

    # --- metrics ------------------------------------------------------------------------------------------------

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
        failure = ModuleImportFailed.told_by_worker(failed.module, failed.error, failed.traceback)
        if self._greeting.is_over:
            _logger.error("worker %s: %s", worker_id.hex(), failure)
            if self._reactor.is_reloading:
                _logger.error("the modules are not reloaded: the workers that there are go on; they are tried again")
        else:
            self._failure = failure

    def _no_worker_is_ever_ready(self, how: str) -> None:
        self._failure = ModuleImportFailed.without_a_word(self._config.modules, how)
