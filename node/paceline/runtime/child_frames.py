"""What the children of a node say, on its way to the core, and what their ends mean to it.

A worker runs user code, which reaches its link and may speak in its place. What only a worker can have said counts. One
that says anything else is ended: nothing that it says can be relied on any more, and what it was asked for might never
be answered. That is said once, and the worker is replaced as any that ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from typing import Any, Final, NamedTuple

from paceline.core.node import NodeCore
from paceline.core.work.parking import ANY_SLOTS
from paceline.core.work.slots import ASYNC_WORKERS
from paceline.core.work.worker_slot import CLEAN_UP_S, WorkerSlot
from paceline.runtime.children import causes
from paceline.runtime.children.interface import Children
from paceline.runtime.children.lifetimes import OUTDATED, RELOAD_PATIENCE_S, Finding, Lifetimes
from paceline.runtime.children.pool import ChildEnd
from paceline.runtime.children.scaling import NOT_NEEDED, Scaling, StandIns
from paceline.runtime.counters import Counters
from paceline.runtime.transport.transport import Source, Transport
from paceline_protocol.codec import decode_defaults, decode_fields, decode_own_schedules, encode
from paceline_protocol.errors import LimitExceeded, RemoteProtocolError
from paceline_protocol.limits import MAX_BATCH_ITEMS
from paceline_protocol.messages.children import (
    CleaningUp,
    Done,
    GoesOn,
    LoopBlocked,
    MetricsReply,
    MetricsRequest,
    Remarks,
    ServeAsync,
    StopAttempts,
    Waits,
    WorkerFailed,
    WorkerReady,
)
from paceline_protocol.messages.trace import Trace

_WORKER: Final = Source.WORKER
_Done: Final = Done

ChildHandler = Callable[[bytes, Any, float], None]
"""(the child's id, its message, now)"""

LONGEST_BLOCK_MS: Final = 3_600_000
"""What counts of one block: a worker runs user code, and may say anything."""
_LOST_SHOWN: Final = 3
_OF_EXITS: Final = " (os._exit() or exit() of C code, unless the worker has logged why)"
_IF_USER_CODE_SPEAKS: Final = "does a task write to descriptors that it did not open?"
_IF_MODULES_DIFFER: Final = (
    "if its modules have changed, restart the node; if not, start another node with some of them"
)

_logger = logging.getLogger("paceline.node")


class NodeKill(NamedTuple):
    """Why this node has killed a worker. ``how``: what is told of its tasks; "": how it ended. ``speaks_true``: whether
    its word is taken for what it had begun."""

    cause: str
    how: str = ""
    speaks_true: bool = True


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
        lifetimes: Lifetimes,
        scaling: Scaling,
    ) -> None:
        """``children``: their processes, None if there are none. ``metrics``: what the web process is answered."""
        self.respawn_at = inf
        self.lifetimes = lifetimes
        self.scaling = scaling
        self.stand_ins = StandIns()
        self._core = core
        self._transport = transport
        self._counters = counters
        self._children = children
        self._on_worker_failed = on_worker_failed
        self._metrics = metrics
        self._has_said_too_large = False
        self._next_reload_at = 0.0
        self._kills: dict[bytes, NodeKill] = {}  # of workers, until they have ended
        self.handlers: dict[Source, dict[type[Any], ChildHandler]] = {
            Source.WORKER: {
                Trace: self._on_trace,
                CleaningUp: self._on_cleaning_up,
                Remarks: self._on_remarks,
                LoopBlocked: self._on_loop_blocked,
                Waits: self._on_waits,
                GoesOn: self._on_goes_on,
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

    def _on_remarks(self, worker_id: bytes, remarks: Remarks, now: float) -> None:
        self._core.on_worker_remarks(worker_id, remarks.said, now)

    def _on_loop_blocked(self, worker_id: bytes, said: LoopBlocked, now: float) -> None:
        if worker_id in self._core.leader_link.slots.async_workers:
            self._counters.loops_blocked += 1
            self._counters.loops_blocked_s += min(said.blocked_ms, LONGEST_BLOCK_MS) / 1_000

    def _on_waits(self, worker_id: bytes, said: Waits, now: float) -> None:
        self._core.on_worker_waits(worker_id, said.id, said.waits_for, now)

    def _on_goes_on(self, worker_id: bytes, said: GoesOn, now: float) -> None:
        self._core.on_worker_goes_on(worker_id, said.id)

    def _on_worker_ready(self, worker_id: bytes, ready: WorkerReady, now: float) -> None:
        if not self._introduces_itself(worker_id):
            return
        slots = self._core.leader_link.slots
        try:
            defaults = decode_defaults(ready.defaults)
            schedules = decode_own_schedules(ready.schedules)
        except (RemoteProtocolError, LimitExceeded) as error:
            self.cast_out(worker_id, f"what it says of its tasks can't be read: {error}")
            return
        too_many = slots.too_many_names(ready.names) or slots.learn_defaults(ready.names, defaults)
        if too_many:
            self.cast_out(worker_id, too_many, _IF_MODULES_DIFFER)
            return
        slots.learn_async(ready.names, ready.async_names)
        slots.learn_schedules(schedules)
        if self._children is None or self._children.ready(worker_id, ready.names):
            self._core.on_worker_ready(worker_id, ready.names)
            self._serves(worker_id, now)

    def _serves(self, worker_id: bytes, now: float) -> None:
        """From now on this worker gets tasks. One that runs many at once is told so, before its first."""
        self.lifetimes.serves(worker_id, now)
        slot = self._core.leader_link.slots.async_workers.get(worker_id)
        if slot is not None:
            self._transport.send_child(worker_id, encode(ServeAsync(slot.room)))

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
        if self._children is None or worker_id in self._kills:
            return
        self._kills[worker_id] = NodeKill(causes.BY_NODE, f"the worker was killed, as {why}", speaks_true=False)
        self._core.leader_link.slots.is_being_ended(worker_id)
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
                self._kills.setdefault(worker_id, NodeKill(causes.BY_NODE))
                children.kill(worker_id)
        while slots.stuck:
            worker_id = slots.stuck.pop()
            begun = None if children is None else children.begun(worker_id)
            if children is None or begun is None:
                continue
            through = link.take_back(worker_id, begun, now)
            if through:
                children.withhold(worker_id, through)

    def start_async_workers(self, now: float) -> None:
        """The first task has come that is to run beside others."""
        self._core.leader_link.slots.lacks_async_workers = False
        children = self._children
        if children is not None and children.have_more(ASYNC_WORKERS):
            self._stands_in(children.replace(b"", now), now)  # a spare that is ready, in nobody's place
            self.respawn_at = children.next_respawn(now)

    def start_stand_ins(self, now: float) -> None:
        """Tasks wait for the slots of tasks that wait for others."""
        slots, children = self._core.leader_link.slots, self._children
        slots.lacks_stand_ins = False
        if children is None or not slots.draining.takes_tasks:
            return
        more = self.stand_ins.start(slots.parking.count, len(slots.queue), now)
        if more:
            slots.parking.slots = self.scaling.size or slots.slots
            _logger.info("%d tasks wait for others: %d more workers are started", slots.parking.count, more)
            self._start(children, more, now)

    def dismiss_stand_in(self, now: float) -> None:
        """Have one leave that was not needed for long."""
        slots = self._core.leader_link.slots
        if self._children is None or not self.stand_ins.may_leave(slots.parking.count, now):
            return
        leaver = self._leaver()
        if leaver is not None:
            self.stand_ins.leaves()
            slots.leave(leaver.worker_id, NOT_NEEDED)
        elif self._children.give_up_one():
            self.stand_ins.leaves()
            self.respawn_at = self._children.next_respawn(now)

    def _leaver(self) -> WorkerSlot | None:
        """A worker that has nothing to do, if there is one."""
        workers = self._core.leader_link.slots.workers.values()
        idle = (each for each in workers if not (each.is_async or each.running or each.is_leaving or each.is_ending))
        return next(idle, None)

    def stop_tasks(self) -> None:
        """Have workers asked to stop what somebody wants cancelled."""
        slots = self._core.leader_link.slots
        while slots.to_stop:
            worker_id, number = slots.to_stop.pop()
            if self._children is not None:
                self._children.stop_task(worker_id, number)
        if slots.to_cancel:
            to_cancel: dict[bytes, list[bytes]] = {}
            for worker_id, task_id in slots.to_cancel:
                to_cancel.setdefault(worker_id, []).append(task_id)
            slots.to_cancel.clear()
            for worker_id, ids in to_cancel.items():
                for first in range(0, len(ids), MAX_BATCH_ITEMS):
                    stop = StopAttempts(tuple(ids[first : first + MAX_BATCH_ITEMS]))
                    self._transport.send_child(worker_id, encode(stop))

    def keep_limits(self, now: float) -> None:
        """Tasks with time limits run: end the workers whose tasks are over them, and have a spare for the next one."""
        slots = self._core.leader_link.slots
        for worker_id, task in slots.take_over_limit(now) if slots.limits.is_over(now) else ():
            _logger.warning(
                "worker %s is killed, as task %s %s",
                worker_id.hex(),
                task.name,
                task.why,
                extra=_of_task(task.task_id, task.name, task.attempt),
            )
            cause = causes.CANCEL_GRACE if task.stop_by <= task.limit_at else causes.TIME_LIMIT
            self._kills.setdefault(worker_id, NodeKill(cause))
            if self._children is not None:
                self._children.kill(worker_id)
        if self._children is not None and self._children.keep_spare(now):
            self.respawn_at = self._children.next_respawn(now)

    def look(self, now: float) -> None:
        """Have those workers leave that are old or have grown, and end those that run a task with more memory than they
        may have. One that has run none has what each has: to replace it would change nothing. One leaves for the spare
        that is ready, so that no node is without workers as their modules can't be imported any more; but what is over
        its limit would have the next task lost."""
        slots, children = self._core.leader_link.slots, self._children
        if children is None:
            return
        if self.lifetimes.outdated and children.keep_spare(now):  # or nobody tries for longer to import the modules
            self.respawn_at = children.next_respawn(now)
        has_spare, is_patient = children.has_spare, bool(slots.leaving) and now < self._next_reload_at
        names, looked_at = slots.names(), self.lifetimes.look(now, children.memory_bytes)
        # An async one has its successor at once, and then there is no spare for any other until it has ended.
        for found in sorted(looked_at, key=lambda each: each.worker_id in slots.async_workers):
            slot = slots.workers.get(found.worker_id)
            if slot is None:
                continue
            if found.is_over and slot.running:
                self._kill_for_memory(found)
            elif found.is_large and not slot.given:
                self._say_too_large(found)
            elif found.why == OUTDATED and is_patient:
                continue
            elif found.is_over or (has_spare and not slot.is_leaving):
                slots.leave(found.worker_id, found.why)
                has_spare = False
                self._next_reload_at = now + RELOAD_PATIENCE_S
        if slots.names() != names:
            self._core.on_names_changed()

    def scale(self, now: float) -> None:
        """Have more workers if tasks wait that they could run, and fewer if they have long had nothing to do."""
        link, children, scaling = self._core.leader_link, self._children, self.scaling
        slots = link.slots
        if slots.parking.slots != ANY_SLOTS:
            slots.parking.slots = scaling.size
        ready = slots.slots
        running = sum([1 for each in slots.workers.values() if each.running and not each.is_async])
        # One that has just answered is about to get the task that waits here.
        busy = min(ready, running - slots.parking.count + len(slots.queue))
        wanted, link.more_wanted = link.more_wanted, 0
        scaling.look(busy, now)
        if children is None or not slots.draining.takes_tasks:
            return
        if scaling.asks(busy, ready):
            more = scaling.grow(wanted, now)
            if more:
                self._start_more(children, more, now)
            else:
                self._core.on_all_busy()
        elif scaling.may_shrink(now):
            if ready < scaling.size:
                self._give_up_one(children, now)
                return
            leaver = self._leaver()
            if leaver is not None:
                scaling.shrink()
                slots.leave(leaver.worker_id, NOT_NEEDED)

    def _give_up_one(self, children: Children, now: float) -> None:
        """One worker less, of those that are not ready."""
        if children.give_up_one():
            self.scaling.shrink()
            self.respawn_at = children.next_respawn(now)
            _logger.info("a worker that is not ready is given up, as %s", NOT_NEEDED)

    def _start_more(self, children: Children, count: int, now: float) -> None:
        _logger.info("tasks wait: %d more workers are started, for %d in all", count, self.scaling.size)
        self._start(children, count, now)

    def _start(self, children: Children, count: int, now: float) -> None:
        children.grow(count)
        for _ in range(count):
            self._stands_in(children.replace(b"", now), now)  # a spare that is ready, in nobody's place
        self.respawn_at = children.next_respawn(now)

    def reload(self, now: float) -> None:
        """Have every worker replaced by one that imports the modules as they are now: each leaves once such a one is
        ready as the spare. So if they can't be imported any more, the workers that there are go on."""
        children = self._children
        if children is None:
            return
        renewed = children.renew_spare(now)
        self.lifetimes.reload([each for each in children.worker_ids if each not in renewed], now)
        self.respawn_at = children.next_respawn(now)
        _logger.info("reloading the modules: %d workers are replaced, one after the other", self.lifetimes.outdated)

    def _kill_for_memory(self, found: Finding) -> None:
        if self._children is None or found.worker_id in self._kills:
            return
        self._kills[found.worker_id] = NodeKill(causes.MEMORY_LIMIT, f"the worker was killed, as {found.why}")
        self._core.leader_link.slots.is_being_ended(found.worker_id)
        _logger.warning("worker %s is killed, as %s", found.worker_id.hex(), found.why)
        self._children.kill(found.worker_id)

    def _say_too_large(self, found: Finding) -> None:
        if not self._has_said_too_large:
            self._has_said_too_large = True
            _logger.warning(
                "a worker that has run no task is to be replaced already, as %s: give --worker-max-rss-mib, or "
                "--worker-memory-limit-mib, a number above that",
                found.why,
            )

    def give_up(self) -> None:
        """The drain of this node is over: end the workers that still run something."""
        slots = self._core.leader_link.slots
        while slots.to_give_up:
            worker_id = slots.to_give_up.pop()
            how = f"the worker was killed, as its node drained for {slots.draining.lasts_s:g} s and the task went on"
            self._kills.setdefault(worker_id, NodeKill(causes.DRAINED, how))
            if self._children is not None:
                self._children.kill(worker_id)

    def replace_leaving(self, now: float) -> None:
        """Workers leave: end those that have nothing to do any more, and have others in their places. An async one has
        a successor at once, and ends what it runs beside that."""
        slots, children = self._core.leader_link.slots, self._children
        to_succeed = slots.to_succeed()
        if children is None or not to_succeed:
            return
        names = slots.names()
        for worker_id in to_succeed:
            if slots.leaving[worker_id] == NOT_NEEDED:
                children.let_go(worker_id)
            else:
                self._stands_in(children.replace(worker_id, now), now)
        for worker_id, why in slots.take_left():
            what = "ended" if why == NOT_NEEDED else "ended and replaced"
            _logger.info("worker %s is %s, as %s", worker_id.hex(), what, why)
            self._kills.setdefault(worker_id, NodeKill(causes.RECYCLED))
            children.dismiss(worker_id, now)
            if self.lifetimes.is_outdated(worker_id):
                self.lifetimes.ends(worker_id)
                if not self.lifetimes.outdated:
                    _logger.info("the modules are reloaded: every worker has them as they are now")
        if slots.names() != names:
            self._core.on_names_changed()
        self.respawn_at = children.next_respawn(now)

    def _stands_in(self, successor: tuple[bytes, tuple[str, ...]] | None, now: float) -> None:
        """This worker gets tasks from now on, as another does no more."""
        if successor is None:
            return
        too_many = self._core.leader_link.slots.too_many_names(successor[1])
        if too_many:  # which names there are may have changed since it was ready
            self.cast_out(successor[0], too_many, _IF_MODULES_DIFFER)
        else:
            self._core.on_worker_ready(*successor)
            self._serves(successor[0], now)

    # --- their ends ---------------------------------------------------------------------------------------------

    def ended(self, fd: int, now: float) -> None:
        """A child has ended, or its link has; ``fd`` belongs to it."""
        self._transport.unwatch(fd)
        children = self._children
        if children is None:
            return
        ended = children.reap(fd)
        if ended is not None:
            self._worker_ended(children, ended, now)
        self.respawn_at = children.next_respawn(now)

    def _worker_ended(self, children: Children, ended: ChildEnd, now: float) -> None:
        core, worker_id = self._core, ended.id
        kill = self._kills.pop(worker_id, None)
        self.lifetimes.ends(worker_id)
        self._counters.worker_exits[ended.cause if kill is None else kill.cause] += 1
        slot = core.leader_link.slots.workers.get(worker_id)
        # What it had begun it is not asked if its word is not taken.
        begun = children.begun(worker_id) if kill is None or kill.speaks_true else None
        how = self._say_ended(ended, slot, begun, is_recycled=kill is not None and kill.cause == causes.RECYCLED)
        had_task = slot is not None and (len(slot.running) > 0 or slot.is_ending)
        successor = children.stand_in(worker_id, had_task, now)
        if successor is not None:  # which names there are may have changed since it was ready
            too_many = core.leader_link.slots.too_many_names(successor[1], leaving=worker_id)
            if too_many:
                self.cast_out(successor[0], too_many, _IF_MODULES_DIFFER)
                successor = None
        if kill is not None and kill.how:
            how = kill.how
        blamed = children.blamed(worker_id) if kill is None else 0
        core.on_worker_lost(worker_id, how, now, successor, begun, blamed)
        if successor is not None:
            self._serves(successor[0], now)

    def _say_ended(self, ended: ChildEnd, slot: WorkerSlot | None, begun: int | None, *, is_recycled: bool) -> str:
        """Log it. ``slot``: None of a worker that was not ready, or has left. Returns how it ended, as is told of its
        tasks."""
        if slot is None and is_recycled:
            _logger.log(
                logging.INFO if ended.cause == causes.EXIT else logging.WARNING,
                "worker %s ended, as it was told to: %s",
                ended.id.hex(),
                ended.how,
            )
            return ended.how
        if slot is None:
            _logger.warning(
                "worker %s ended before it was ready: %s; another is started. If that goes on, see what the "
                "modules of tasks do when they are imported",
                ended.id.hex(),
                ended.how,
            )
            return ended.how
        lost, _ = slot.dies(begun)
        how = ended.how + _OF_EXITS if lost and ended.cause == causes.EXIT else ended.how
        ran = ", ".join(
            [f"{running[2]} {task_id.hex()}, attempt {running[0]}" for task_id, running in lost[:_LOST_SHOWN]]
        )
        if len(lost) > _LOST_SHOWN:
            ran += f" and {len(lost) - _LOST_SHOWN} others"
        extra = _of_task(lost[0][0], lost[0][1][2], lost[0][1][0]) if len(lost) == 1 else None
        while_it_ran = f", while it ran task {ran}" if ran else ""
        _logger.warning("worker %s ended: %s%s", ended.id.hex(), how, while_it_ran, extra=extra)
        return how

    def respawn(self, now: float) -> None:
        """Start what is due in place of children that ended."""
        if self._children is not None:
            self._children.respawn(now)
            self.respawn_at = self._children.next_respawn(now)


def _of_task(task_id: bytes, name: str, attempt: int) -> dict[str, str | int]:
    """What a line of the log has besides that is of one task."""
    return {"task_id": task_id.hex(), "task_name": name, "attempt": attempt}
