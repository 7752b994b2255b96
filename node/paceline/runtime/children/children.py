"""The child processes of a node as its reactor sees them: they start, talk, end, and are replaced.

Two objects know a child: the pool, which owns its process, and the transport, which has its link. This module changes
both together, in such an order that the transport never watches a file descriptor that has been closed and reused.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf

from paceline.runtime.children.pool import Child, ChildEnd, ChildPool
from paceline.runtime.children.worker_pool import ReadyWorker, WorkerPool
from paceline.runtime.limits import process_refused
from paceline.runtime.transport.transport import Source
from paceline.runtime.transport.zmq_transport import ZmqTransport
from paceline_protocol.codec import encode
from paceline_protocol.messages.children import Stop

_logger = logging.getLogger("paceline.node")


class WorkerChildren:
    """The pools of a node, and the transport that talks to their processes and watches them: the workers, and the web
    process if there is one. The end of the web process is handled here, and the core does not hear of it.

    ``hopeless`` is told how the last of many workers ended, none of which was ever ready."""

    def __init__(
        self,
        pool: WorkerPool,
        transport: ZmqTransport,
        web: ChildPool | None = None,
        web_ended: Callable[[], None] | None = None,
        hopeless: Callable[[str], None] | None = None,
    ) -> None:
        self._workers = pool
        self._pools: list[ChildPool] = [pool] if web is None else [pool, web]
        self._web_ended = web_ended
        self._hopeless = hopeless
        self._transport = transport

    def start(self) -> None:
        """Raises ConfigError if the system has no room for them."""
        for pool in self._pools:
            try:
                pool.start()
            except OSError as error:
                raise process_refused(pool.program, error) from error
            self._add(pool, list(pool.workers.values()))

    def introduces_itself(self, worker_id: bytes) -> bool:
        """A worker says whether it is ready. False if it has said so before."""
        return self._workers.introduces_itself(worker_id)

    def have_more(self, count: int) -> bool:
        """Beside the workers there are to be so many that run many tasks at once. False if there are already."""
        return self._workers.have_more(count)

    def grow(self, count: int) -> None:
        """There are to be so many workers more. They are started by :meth:`respawn`."""
        self._workers.grow(count)

    def let_go(self, worker_id: bytes) -> None:
        """That worker gets no tasks any more, and there is to be one less."""
        self._workers.let_go(worker_id)

    def give_up_one(self) -> bool:
        """There is to be one worker less, of those that are not ready. False if there is none."""
        return self._workers.give_up_one()

    def ready(self, worker_id: bytes, names: tuple[str, ...]) -> bool:
        """A worker is ready. True if it gets tasks; the spare does not, and the core does not hear of it."""
        return self._workers.ready(worker_id, names)

    @property
    def has_spare(self) -> bool:
        """Whether the spare is ready."""
        return self._workers.has_spare

    def stand_in(self, worker_id: bytes, had_task: bool, now: float) -> ReadyWorker | None:
        """Which worker gets tasks from now on in place of one that was reaped, if one can at once."""
        return self._workers.stand_in(worker_id, had_task, now)

    def replace(self, worker_id: bytes, now: float) -> ReadyWorker | None:
        """That worker gets no tasks any more. Returns the one that does in its place from now on, if one can at
        once."""
        return self._workers.replace(worker_id, now)

    def memory_bytes(self, worker_id: bytes) -> int:
        """How much memory a worker has now."""
        return self._workers.memory_bytes(worker_id)

    def dismiss(self, worker_id: bytes, now: float) -> None:
        """Have a worker end that has nothing to do and gets no tasks any more."""
        self._transport.send_child(worker_id, encode(Stop()))
        self._workers.dismissed(worker_id, now)

    def keep_spare(self, now: float) -> bool:
        """A worker may be ended soon: have one ready that stands in. True if one is to be started for that."""
        return self._workers.keep_spare(now)

    def renew_spare(self, now: float) -> frozenset[bytes]:
        """Have a spare that has imported the modules as they are now. Returns the workers that are ended for it."""
        return self._workers.renew_spare(now)

    @property
    def worker_ids(self) -> tuple[bytes, ...]:
        """All worker processes that there are."""
        return tuple(self._workers.workers)

    def begun(self, worker_id: bytes) -> int | None:
        """How many tasks a worker has begun, or had begun if it is the one that was reaped last; None if that is not
        known."""
        return self._workers.begun(worker_id)

    def blamed(self, worker_id: bytes) -> int:
        """Which of its tasks an async worker ran just when it ended, if it is the one that was reaped last; 0: not
        known."""
        return self._workers.blamed(worker_id)

    def withhold(self, worker_id: bytes, through: int) -> None:
        """The worker is to begin no other of its first ``through`` tasks."""
        self._workers.withhold(worker_id, through)

    def stop_task(self, worker_id: bytes, number: int) -> None:
        """The worker is asked to stop the task of this number, among those that it was given."""
        self._workers.stop_task(worker_id, number)

    def kill(self, worker_id: bytes) -> None:
        """Kill a worker. Its end is noticed as any other's."""
        self._workers.kill(worker_id)

    def reap(self, fd: int) -> ChildEnd | None:
        """The worker that has ended, and how. None for the other children, whose ends are dealt with here."""
        for pool in self._pools:
            child = pool.child_at(fd)
            if child is not None:
                is_spare = self._workers.is_spare(child.id)
                ended = self._reap(pool, child, fd)
                if pool.kind is not Source.WEB:
                    if ended is not None and self._workers.is_hopeless and self._hopeless is not None:
                        self._hopeless(ended.how)
                    return None if is_spare else ended
                if ended is not None:
                    _logger.warning("the process that serves metrics ended: %s; another is started", ended.how)
                    if self._web_ended is not None:
                        self._web_ended()
        return None

    def _reap(self, pool: ChildPool, child: Child, fd: int) -> ChildEnd | None:
        self._transport.remove_child(child.id)  # before the pool closes the link, whose number may then be reused
        ended = pool.reap(fd)
        if ended is None:
            # The link has ended and the process has not. Most often the worker is about to exit; in any case it can't
            # be given tasks any more, and reports none.
            pool.kill_unlinked(child)
            self._transport.watch(child.fd)  # is watched, but for a child without a pidfd: its fd is the link
        return ended

    def respawn(self, now: float) -> None:
        for pool in self._pools:
            self._add(pool, pool.respawn(now))

    def next_respawn(self, now: float) -> float:
        due = [pool.next_respawn(now) for pool in self._pools]
        return min([at for at in due if at is not None], default=inf)

    def _add(self, pool: ChildPool, children: list[Child]) -> None:
        for child in children:
            self._transport.add_child(child.id, pool.kind, child.link)
            if child.fd != child.link.fileno():  # else the link is all there is to watch, and the transport does
                self._transport.watch(child.fd)
