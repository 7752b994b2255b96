"""The child processes of a node as its reactor sees them: when they start, talk, end, and are replaced.

A child is known in two places, to the pool that owns its process and to the transport that has its link. What changes
in one changes in the other here, in such an order that nobody watches a file descriptor that is another's by then.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf

from paceline.runtime.children.pool import Child, ChildPool, Pool
from paceline.runtime.transport.transport import Source
from paceline.runtime.transport.zmq_transport import ZmqTransport

_logger = logging.getLogger("paceline.node")


class WorkerChildren:
    """The pools, joined to the transport that talks to their processes and watches them: the workers, and the web
    process if there is one, of whose end nobody else need know."""

    def __init__(
        self,
        pool: Pool,
        transport: ZmqTransport,
        web: ChildPool | None = None,
        web_ended: Callable[[], None] | None = None,
    ) -> None:
        self._pools: list[ChildPool] = [pool] if web is None else [pool, web]
        self._web_ended = web_ended
        self._transport = transport

    def start(self) -> None:
        for pool in self._pools:
            pool.start()
            self._add(pool, list(pool.workers.values()))

    def reap(self, fd: int) -> tuple[bytes, str] | None:
        for pool in self._pools:
            child = pool.child_at(fd)
            if child is not None:
                ended = self._reap(pool, child, fd)
                if pool.kind is not Source.WEB:
                    return ended
                if ended is not None:
                    _logger.warning("the process that serves metrics ended: %s; another is started", ended[1])
                    if self._web_ended is not None:
                        self._web_ended()
        return None

    def _reap(self, pool: ChildPool, child: Child, fd: int) -> tuple[bytes, str] | None:
        self._transport.remove_child(child.id)  # before the pool closes the link, and its number is another's
        ended = pool.reap(fd)
        if ended is None:
            # The link has ended. Most often the worker is about to, and the kernel has its exit code by then; one that
            # lives on can be given nothing and tells nothing.
            pool.kill(child.id)
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
            if child.fd != child.link.fileno():  # else the link, whose end the transport reports, is all there is
                self._transport.watch(child.fd)
