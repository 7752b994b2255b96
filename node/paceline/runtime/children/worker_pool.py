"""The pool of a node's workers: which of them get tasks, what their ends mean, and the spare that stands in.

The rules of this module:

- A worker that was ready and ended with a task is its task's victim, and no sign that workers can't live here. It is
  replaced without a pause: whoever waits behind a task that crashes did nothing wrong.
- A worker that never became ready can't live, however long that took; nor can one that ends by itself within
  QUICK_DEATH_S of its start. These are replaced after a growing pause, as any child is.
- After the first death by a task, and while tasks run that have a time limit, there is a *spare*: one process more
  than there are slots, which has imported the modules and waits. It gets no tasks, and the core does not hear of it
  until it stands in for a worker that ended, which takes no process start then. SPARE_KEPT_S after the last such death,
  or task, it is ended, so that a node whose tasks don't crash has no memory in use for it. Where workers are replaced
  as they get old, there is always one.
- There may come to be more workers, and fewer again (``scaling.py``). One that goes ends as one that is replaced, and
  nobody has its place. One that is not ready goes first: it may never be, and those that are ready would be missed.
- A worker that is to be replaced serves until it has run what it has, and the spare does then. It is told to end, which
  is no sign that workers can't live here, and killed if that takes longer than DISMISSED_S.

Which process is the spare is decided by who is ready first: as many workers as there are slots get tasks, and what is
ready beyond that is the spare.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from math import inf

from paceline.runtime.children.begun_tasks import BegunTasks
from paceline.runtime.children.pool import Child, ChildEnd, ChildPool, ChildSlot
from paceline.runtime.transport.transport import Source
from paceline.stop_signal import STOP_SIGNAL

SPARE_KEPT_S = 600.0
DISMISSED_S = 10.0
"""A worker that was told to end has this long to do so, which is more than it gives itself (``worker/ending.py``)."""
HOPELESS_TRIES = 4
"""So many workers for each slot ended before any was ever ready: that will not change by itself."""

_logger = logging.getLogger("paceline.pool")

ReadyWorker = tuple[bytes, tuple[str, ...]]
"""A worker's id, and the names of the tasks that it can run."""


class WorkerPool(ChildPool):
    """``size`` worker processes that get tasks, and sometimes a spare."""

    def __init__(
        self,
        *,
        size: int,
        modules: tuple[str, ...],
        payload_limit_bytes: int,
        environment: Mapping[str, str] | None = None,
        always_spare: bool = False,
        log_format: str = "text",
    ) -> None:
        """``always_spare``: there is a spare from the start on, and for good. ``log_format``: "text" or "json"."""
        format_arguments = () if log_format == "text" else ("--log-format", log_format)
        super().__init__(
            Source.WORKER,
            size=size + always_spare,
            program="paceline.worker",
            arguments=("--payload-limit", str(payload_limit_bytes), *format_arguments, "--", *modules),
            environment=environment,
        )
        self._size = size
        self._has_more = False  # workers beside those that the pool was made for, or has grown by
        self._introduced: set[bytes] = set()  # have said whether they are ready
        self._ready: set[bytes] = set()  # kept until their ends are weighed
        self._spare: ReadyWorker | None = None
        self._spare_until = inf  # when it is ended; only while there is one slot more than _size
        self._serving: set[bytes] = set()  # the workers that get tasks
        self._explained: set[bytes] = set()  # ended with a task, or as they were to; kept until their ends are weighed
        self._dismissed: dict[bytes, float] = {}  # were told to end, and until when they have to
        self._always_spare = always_spare
        self._ended_unready: int | None = 0  # workers that did, until the first is ready; then None
        self._last_begun = (b"", 0)  # of the worker that was reaped last
        self._renewed: set[bytes] = set()  # that were ended as they may have old modules, and got no tasks
        self._last_blamed = 0
        self._retired = b""  # the spare that was ended because nothing needs it any more
        self._let_go: set[bytes] = set()  # the workers that are to end, and in whose places nobody is to be

    def have_more(self, count: int) -> bool:
        """From now on so many more workers get tasks than the pool was made for. False if they do already."""
        if self._has_more:
            return False
        self._has_more = True
        self.grow(count)
        return True

    def grow(self, count: int) -> None:
        """From now on there are to be so many workers more."""
        self._size += count
        self._slots.extend(ChildSlot() for _ in range(count))

    def let_go(self, worker_id: bytes) -> None:
        """That worker gets no tasks any more, and has none; nobody does in its place."""
        if worker_id in self.workers and worker_id not in self._let_go:
            self._size -= 1
            self._serving.discard(worker_id)
            self._explained.add(worker_id)
            self._let_go.add(worker_id)

    def give_up_one(self) -> bool:
        """There is to be one worker less, of those that are to get tasks and are not ready, which one may never be.
        False if there is none."""
        if len(self._serving) >= self._size:
            return False
        ending = self._let_go | self._renewed
        slot = next((each for each in self._slots if each.child is None), None) or next(
            (each for each in self._slots if each.child is not None and each.child.id not in self._ready | ending), None
        )
        if slot is None:
            return False
        self._size -= 1
        if slot.child is None:
            self._slots.remove(slot)
        else:
            self._let_go.add(slot.child.id)
            self.kill(slot.child.id)
        return True

    def introduces_itself(self, worker_id: bytes) -> bool:
        """A worker says whether it is ready. False if it has said so before."""
        if worker_id in self._introduced:
            return False
        if worker_id in self.workers:
            self._introduced.add(worker_id)
        return True

    def ready(self, worker_id: bytes, names: tuple[str, ...]) -> bool:
        """A worker has imported its modules. True if it is to get tasks, False if it is the spare."""
        if worker_id not in self.workers or worker_id in self._renewed or worker_id in self._let_go:
            return False  # it has ended, or is being ended, and this was read late
        self._ready.add(worker_id)
        self._ended_unready = None
        if worker_id not in self._serving and len(self._serving) >= self._size:
            if not self.is_spare(worker_id):
                _logger.info("a spare worker is ready: it stands in for the next one that ends")
            self._spare = (worker_id, names)
            return False
        self._serving.add(worker_id)
        return True

    def begun(self, worker_id: bytes) -> int | None:
        """How many tasks a worker has begun, or had begun if it is the one that was reaped last; None if that is not
        known."""
        child = self.workers.get(worker_id)
        if child is not None:
            return None if child.begun_tasks is None else child.begun_tasks.begun
        reaped, number = self._last_begun
        return number if reaped == worker_id else None

    def blamed(self, worker_id: bytes) -> int:
        """Which of its tasks an async worker ran just when it ended, if it is the one that was reaped last; 0: not
        known."""
        return self._last_blamed if self._last_begun[0] == worker_id else 0

    def withhold(self, worker_id: bytes, through: int) -> None:
        """The worker is to begin no other of its first ``through`` tasks."""
        child = self.workers.get(worker_id)
        if child is not None and child.begun_tasks is not None:
            child.begun_tasks.withhold(through)

    def stop_task(self, worker_id: bytes, number: int) -> None:
        """The worker is asked to stop the task of this number, among those that it was given. To be called every so
        often, until that has ended: a signal may come when it makes nobody look."""
        child = self.workers.get(worker_id)
        if child is not None and child.begun_tasks is not None and child.begun_tasks.stop(number):
            with suppress(PermissionError):  # the task has made its process another user's
                os.kill(child.pid, STOP_SIGNAL)  # it is not reaped yet, so that nobody else has its number

    @property
    def is_hopeless(self) -> bool:
        """Whether no worker was ever ready, and several for each slot have ended."""
        return self._ended_unready is not None and self._ended_unready >= HOPELESS_TRIES * self._size

    def is_spare(self, worker_id: bytes) -> bool:
        """Whether the core does not know of this worker: it is ready and gets no tasks, or is being ended as such."""
        return (
            worker_id == self._retired
            or worker_id in self._renewed
            or (worker_id in self._let_go and worker_id not in self._ready)
            or (self._spare is not None and self._spare[0] == worker_id)
        )

    @property
    def _has_slot_for_spare(self) -> bool:
        """Beside those of workers that get tasks, and of those that have yet to end."""
        return len(self._slots) - len(self._let_go) > self._size

    @property
    def has_spare(self) -> bool:
        """Whether the spare is ready."""
        return self._spare is not None

    def reap(self, fd: int) -> ChildEnd | None:
        child = self.child_at(fd)
        ended = super().reap(fd)
        if ended is None:
            return None
        worker_id = ended.id
        self._introduced.discard(worker_id)
        self._dismissed.pop(worker_id, None)
        if child is not None and child.begun_tasks is not None:
            self._last_begun = (worker_id, child.begun_tasks.begun)
            self._last_blamed = child.begun_tasks.runs
        self._serving.discard(worker_id)
        if self._ended_unready is not None and worker_id not in self._renewed:
            self._ended_unready += 1
        if worker_id == self._retired or worker_id in self._let_go:
            self._slots = [slot for slot in self._slots if slot.unweighed is None or slot.unweighed.id != worker_id]
            for known in (self._ready, self._explained, self._let_go):
                known.discard(worker_id)
        elif worker_id in self._renewed:
            self._renewed.discard(worker_id)
        elif self.is_spare(worker_id):
            self._spare = None
            if not self._stopped:
                _logger.warning("the spare worker %s ended: %s; another is started", worker_id.hex(), ended.how)
        return ended

    def stand_in(self, worker_id: bytes, had_task: bool, now: float) -> ReadyWorker | None:
        """That worker was reaped. Returns the one that gets tasks in its place from now on, if the spare is ready.

        ``had_task``: it ended while it had a task. From then on the pool has a spare."""
        if had_task:
            self._explained.add(worker_id)
            self.keep_spare(now)
        return self._take_spare()

    def replace(self, worker_id: bytes, now: float) -> ReadyWorker | None:
        """That worker gets no tasks any more, and has none. Returns the one that gets tasks in its place from now on,
        if the spare is ready; otherwise whoever is ready next does."""
        if worker_id in self.workers:
            self._explained.add(worker_id)
            self._serving.discard(worker_id)
            self.keep_spare(now)
        return self._take_spare()

    def dismissed(self, worker_id: bytes, now: float) -> None:
        """That worker was told to end."""
        self._dismissed[worker_id] = now + DISMISSED_S

    def _take_spare(self) -> ReadyWorker | None:
        spare = self._spare
        if spare is None or len(self._serving) >= self._size:
            return None
        self._spare = None
        self._serving.add(spare[0])
        return spare

    def keep_spare(self, now: float) -> bool:
        """From now on the pool has a spare, for SPARE_KEPT_S. True if it had none."""
        if self._always_spare:
            return False
        self._spare_until = now + SPARE_KEPT_S
        if self._has_slot_for_spare:
            return False
        self._slots.append(ChildSlot())
        return True

    def respawn(self, now: float) -> list[Child]:
        if self._has_slot_for_spare and now >= self._spare_until:
            self._retire_spare(now)
        for worker_id, until in list(self._dismissed.items()):
            if now >= until:
                _logger.warning("worker %s does not end, though it was told to: it is killed", worker_id.hex())
                self._dismissed[worker_id] = inf
                self.kill(worker_id)
        return super().respawn(now)

    def next_respawn(self, now: float) -> float | None:
        due = super().next_respawn(now)
        if self._stopped:
            return due
        dues = [*self._dismissed.values(), self._spare_until if self._has_slot_for_spare else inf]
        soonest = min(dues) if due is None else min(due, *dues)
        return None if soonest == inf else soonest

    def renew_spare(self, now: float) -> frozenset[bytes]:
        """Have a spare that has imported the modules as they are now, without a pause though some could not be imported
        before. Returns those that are ended for that: the spare, and whoever still imports modules, which may be for
        good if one hangs."""
        if self._size:
            self.keep_spare(now)
        ended = self.workers.keys() - self._ready - self._renewed - self._let_go
        if self._spare is not None:
            ended.add(self._spare[0])
            self._spare = None
        self._renewed |= ended
        self._explained |= ended
        for worker_id in ended:
            self.kill(worker_id)
        for slot in self._slots:
            if slot.child is None:
                self._due(slot, now)
                slot.failures, slot.due = 0, now
        return frozenset(ended)

    def _retire_spare(self, now: float) -> None:
        """No worker has ended with a task for so long that none is expected to: end the spare, and give up its slot."""
        self._spare_until = now + SPARE_KEPT_S  # for the next try, if the spare is starting just now
        vacant = next((slot for slot in self._slots if slot.child is None), None)
        if vacant is not None:
            self._slots.remove(vacant)
        elif self._spare is not None:
            self._retired, self._spare = self._spare[0], None
            self.kill(self._retired)

    def _begun_tasks(self) -> BegunTasks | None:
        return BegunTasks() if hasattr(os, "memfd_create") else None

    def _could_not_live(self, child: Child, now: float) -> bool:
        was_ready, is_explained = child.id in self._ready, child.id in self._explained
        self._ready.discard(child.id)
        self._explained.discard(child.id)
        return not is_explained and (not was_ready or super()._could_not_live(child, now))
