"""What the children of a node say, on its way to the core, and what their ends mean to it.

A worker runs user code, which reaches its link and may speak in its place. What only a worker can have said counts. One
that says anything else is ended: nothing that it says can be relied on any more, and what it was asked for might never
be answered. That is said once, and the worker is replaced as any that ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from typing import Any, Final

from paceline.core.node import NodeCore
from paceline.core.work.worker_slot import CLEAN_UP_S
from paceline.runtime.children.interface import Children
from paceline.runtime.counters import Counters
from paceline.runtime.transport.transport import Source, Transport
from paceline_protocol.codec import decode_fields, encode
from paceline_protocol.messages.children import (
    CleaningUp,
    Done,
    MetricsReply,
    MetricsRequest,
    WorkerFailed,
    WorkerReady,
)
from paceline_protocol.messages.trace import Trace

_WORKER: Final = Source.WORKER
_Done: Final = Done

ChildHandler = Callable[[bytes, Any, float], None]
"""(the child's id, its message, now)"""

_IF_USER_CODE_SPEAKS: Final = "does a task write to descriptors that it did not open?"
_IF_MODULES_DIFFER: Final = (
    "if its modules have changed, restart the node; if not, start another node with some of them"
)

_logger = logging.getLogger("paceline.node")


class ChildFrames:
    """``respawn_at``: when the next child is due in place of one that ended."""

    def __init__(
        self,
        core: NodeCore,
        transport: Transport,
        counters: Counters,
        children: Children | None,
        on_worker_failed: Callable[[bytes, WorkerFailed], None] | None,
        metrics: Callable[[float], bytes] | None,
    ) -> None:
        """``children``: their processes, None if there are none. ``metrics``: what the web process is answered."""
        self.respawn_at = inf
        self._core = core
        self._transport = transport
        self._counters = counters
        self._children = children
        self._on_worker_failed = on_worker_failed
        self._metrics = metrics
        self._cast_outs: dict[bytes, str] = {}  # workers that were killed for what they said, until they have ended
        self.handlers: dict[Source, dict[type[Any], ChildHandler]] = {
            Source.WORKER: {
                Trace: self._on_trace,
                CleaningUp: self._on_cleaning_up,
                WorkerReady: self._on_worker_ready,
                WorkerFailed: self._on_failed,
            },
            Source.WEB: {MetricsRequest: self._on_metrics_request},
        }

    # --- what they say ------------------------------------------------------------------------------------------

    def receive(self, source: Source, child_id: bytes, frame: bytes, now: float) -> None:
        """What a worker may say the web process may not, and the other way. Raises ProtocolError for what is no
        frame."""
        kind, fields = decode_fields(frame)
        if kind is _Done and source is _WORKER:  # on the way of every task: it needs no message object
            core = self._core
            core.on_worker_done(child_id, fields[0], now)
            if core.leader_link.slots.accused:
                self.cast_out_all(core.leader_link.slots.accused)
            return
        handler = self.handlers[source].get(kind)
        if handler is not None:
            handler(child_id, kind(*fields), now)
        else:
            self._counters.frames_unexpected += 1

    def _on_trace(self, worker_id: bytes, trace: Trace, now: float) -> None:
        self._core.on_worker_trace(trace)

    def _on_cleaning_up(self, worker_id: bytes, said: CleaningUp, now: float) -> None:
        self._core.on_worker_cleans_up(worker_id, said.outcomes, now)
        self.cast_out_all(self._core.leader_link.slots.accused)

    def _on_worker_ready(self, worker_id: bytes, ready: WorkerReady, now: float) -> None:
        if not self._introduces_itself(worker_id):
            return
        too_many = self._core.leader_link.slots.too_many_names(ready.names)
        if too_many:
            self.cast_out(worker_id, too_many, _IF_MODULES_DIFFER)
        elif self._children is None or self._children.ready(worker_id, ready.names):
            self._core.on_worker_ready(worker_id, ready.names)

    def _on_failed(self, worker_id: bytes, failed: WorkerFailed, now: float) -> None:
        if self._introduces_itself(worker_id) and self._on_worker_failed is not None:
            self._on_worker_failed(worker_id, failed)

    def _introduces_itself(self, worker_id: bytes) -> bool:
        """Whether this is the first that is heard of it: each worker says once whether it is ready."""
        if self._children is None or self._children.introduces_itself(worker_id):
            return True
        self.cast_out(worker_id, "it said once more whether it is ready")
        return False

    def _on_metrics_request(self, child_id: bytes, request: MetricsRequest, now: float) -> None:
        if self._metrics is not None:
            self._transport.send_child(child_id, encode(MetricsReply(self._metrics(now))))

    # --- workers that are ended, or told to begin no more --------------------------------------------------------

    def cast_out_all(self, accused: dict[bytes, str]) -> None:
        """End these workers, each for what it did. Empties the map."""
        while accused:
            self.cast_out(*accused.popitem())

    def cast_out(self, worker_id: bytes, why: str, advice: str = _IF_USER_CODE_SPEAKS) -> None:
        """End a worker that says what its node can't go by; unless told otherwise, user code speaks in its place."""
        if self._children is None or worker_id in self._cast_outs:
            return
        self._cast_outs[worker_id] = why
        _logger.error("worker %s is killed, as %s; %s", worker_id.hex(), why, advice)
        self._children.kill(worker_id)

    def take_back(self, now: float) -> None:
        """Take back what waits behind the tasks of workers that are stuck, and end those that are blocked."""
        link, children = self._core.leader_link, self._children
        slots = link.slots
        while slots.blocked:
            worker_id, name = slots.blocked.popitem()
            if children is not None:
                _logger.error(
                    "worker %s is killed, as what task %s has left in its event loop does not end within %g s and "
                    "blocks it; let the task end what it starts before it returns",
                    worker_id.hex(),
                    name,
                    CLEAN_UP_S,
                )
                children.kill(worker_id)
        while slots.stuck:
            worker_id = slots.stuck.pop()
            begun = None if children is None else children.begun(worker_id)
            if children is None or begun is None:
                continue
            through = link.take_back(worker_id, begun, now)
            if through:
                children.withhold(worker_id, through)

    # --- their ends ---------------------------------------------------------------------------------------------

    def ended(self, fd: int, now: float) -> None:
        """A child has ended, or its link has; ``fd`` belongs to it."""
        self._transport.unwatch(fd)
        children = self._children
        if children is None:
            return
        ended = children.reap(fd)
        if ended is not None:
            self._worker_ended(children, *ended, now)
        self.respawn_at = children.next_respawn(now)

    def _worker_ended(self, children: Children, worker_id: bytes, how: str, now: float) -> None:
        core = self._core
        why = self._cast_outs.pop(worker_id, "")
        self._counters.worker_exits += 1
        slot = core.leader_link.slots.workers.get(worker_id)
        if slot is not None:
            _logger.warning("worker %s ended: %s", worker_id.hex(), how)
        else:
            _logger.warning(
                "worker %s ended before it was ready: %s; another is started. If that goes on, see what the "
                "modules of tasks do when they are imported",
                worker_id.hex(),
                how,
            )
        had_task = slot is not None and len(slot.running) > 0
        successor = children.stand_in(worker_id, had_task, now)
        if successor is not None:  # which names there are may have changed since it was ready
            too_many = core.leader_link.slots.too_many_names(successor[1], leaving=worker_id)
            if too_many:
                self.cast_out(successor[0], too_many, _IF_MODULES_DIFFER)
                successor = None
        if why:  # nor is its word taken for what it had begun
            core.on_worker_lost(worker_id, f"the worker was killed, as {why}", now, successor)
        else:
            core.on_worker_lost(worker_id, how, now, successor, children.begun(worker_id))

    def respawn(self, now: float) -> None:
        """Start what is due in place of children that ended."""
        if self._children is not None:
            self._children.respawn(now)
            self.respawn_at = self._children.next_respawn(now)
