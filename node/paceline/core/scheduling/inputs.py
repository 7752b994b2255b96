"""Which live tasks depend on which, and how many of its inputs each still waits for.

A task *depends* on its inputs: those whose results it is called with, and those that it starts after. It waits until
the log has the ends of all of them, so that no leader ever has to take a start back. Then the results that it is called
with are in the table, and they stay there until it has ended itself, since it may be handed out again: they are *kept*
for it, and ``releases.py`` proposes of none of them that it is dropped.

All of that follows from the options of the live tasks and from the results in the table, and so each new leader finds
it anew. An input is accepted before what depends on it, and its result is released after what depends on it has ended,
both in the log. So the table has the one or the other of each input, on every replica.

What is kept counts for the limit of the queue, as the arguments of tasks do, and not for that of results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from paceline.core.state.task import Task
from paceline_protocol.inputs import Input, enveloped_bytes
from paceline_protocol.limits import MAX_INT
from paceline_protocol.messages.records import TaskEnd

_SUCCEEDED: Final = int(TaskEnd.SUCCEEDED)
TOO_LARGE: Final = b""
"""In place of the input that failed: the results are too large together."""
_NO_RESULTS: Final[dict[bytes, tuple[int, bytes]]] = {}


class Inputs:
    """Of one leader. ``needed``: input -> the live tasks that depend on it. ``failed``: tasks that are to end, with
    the input that failed; emptied by the caller, who ends them. ``ready``: those whose inputs have all ended, likewise.
    ``kept_bytes``: of the results that are kept for tasks. ``limit_bytes``: what one task may be called with.
    """

    __slots__ = ("_kept", "_missing", "_results", "failed", "kept_bytes", "limit_bytes", "needed", "ready", "unneeded")

    def __init__(self, results: Mapping[bytes, tuple[int, bytes]] | None = None) -> None:
        """``results``: those of the table."""
        self.needed: dict[bytes, dict[bytes, None]] = {}
        self.failed: dict[bytes, bytes] = {}
        self.ready: list[bytes] = []
        self.unneeded: list[bytes] = []  # nothing that lives depends on them any more; emptied by the caller
        self.kept_bytes = 0
        self.limit_bytes = MAX_INT
        self._results: Mapping[bytes, tuple[int, bytes]] = _NO_RESULTS if results is None else results
        self._kept: dict[bytes, int] = {}  # inputs that have ended, with the bytes of their results
        self._missing: dict[bytes, int] = {}  # waiting task -> how many of its inputs have not ended

    @property
    def kept_tasks(self) -> int:
        """How many results are kept for tasks."""
        return len(self._kept)

    def add(self, task: Task) -> bool:
        """A task that depends on others lives now. True: it waits for them, or is to be ended, which ``failed`` says.
        False: all of them have ended."""
        options = task.options
        assert options is not None, "what depends on tasks says so"
        missing = 0
        for input_id in options.input_ids:
            dependants = self.needed.get(input_id)
            if dependants is None:
                dependants = self.needed[input_id] = {}
                if input_id in self._results:  # nobody else waits to hear that it has ended
                    self._keep(input_id)
            dependants[task.id] = None
            if input_id not in self._kept:
                missing += 1
            elif self._has_failed(task, input_id):
                self.failed.setdefault(task.id, input_id)
        if not missing and task.id not in self.failed:
            self._measure(task)
        if missing or task.id in self.failed:
            self._missing[task.id] = missing
            return True
        return False

    def recovered(self, task: Task, accepted: Mapping[bytes, Task]) -> None:
        """It was taken over from the table. What it waits for lives, or it would wait for ever."""
        for input_id in self.waits_for(task):
            if input_id not in accepted:
                self.failed.setdefault(task.id, input_id)

    def remove(self, task: Task) -> None:
        """It has ended."""
        options = task.options
        assert options is not None, "what depends on tasks says so"
        self._missing.pop(task.id, None)
        self.failed.pop(task.id, None)
        for input_id in options.input_ids:
            dependants = self.needed[input_id]
            del dependants[task.id]
            if not dependants:
                del self.needed[input_id]
                if input_id in self._kept:
                    self.kept_bytes -= self._kept.pop(input_id)
                    self.unneeded.append(input_id)

    def ended(self, input_id: bytes, live: Mapping[bytes, Task]) -> None:
        """The log has how this task ended. Cost: that of what depends on it."""
        dependants = self.needed.get(input_id)
        if dependants is None or input_id in self._kept:
            return
        self._keep(input_id)
        for task_id in dependants:
            missing = self._missing.get(task_id, 0)
            if not missing:
                continue
            self._missing[task_id] = missing - 1
            task = live[task_id]
            if self._has_failed(task, input_id):
                self.failed.setdefault(task_id, input_id)
            elif missing == 1 and task_id not in self.failed:
                self._measure(task)
                if task_id not in self.failed:
                    self.ready.append(task_id)

    def begins(self, task: Task) -> None:
        """It waits for its inputs no longer."""
        del self._missing[task.id]

    def waits_for(self, task: Task) -> list[bytes]:
        """The inputs that have not ended."""
        options = task.options
        return [] if options is None else [each for each in options.input_ids if each not in self._kept]

    def results_of(self, task: Task) -> list[Input]:
        """What a task is called with: all its inputs have ended."""
        options = task.options
        return [] if options is None else [(each, *self._results[each]) for each in options.carried_ids]

    def _keep(self, input_id: bytes) -> None:
        size_bytes = len(self._results[input_id][1])
        self._kept[input_id] = size_bytes
        self.kept_bytes += size_bytes

    def _has_failed(self, task: Task, input_id: bytes) -> bool:
        options = task.options
        return self._results[input_id][0] != _SUCCEEDED and not (options is not None and options.allows_failed_inputs)

    def _measure(self, task: Task) -> None:
        """All its inputs have ended: how much more it takes to be sent than its arguments."""
        options = task.options
        if options is None or not options.is_enveloped:
            return
        size_bytes = enveloped_bytes(task.args, [self._kept[each] for each in options.carried_ids])
        options.input_bytes = size_bytes - len(task.args)
        if size_bytes > self.limit_bytes:
            self.failed.setdefault(task.id, TOO_LARGE)

    def wrong(self, live: Mapping[bytes, Task], waits: Callable[[Task], bool]) -> Iterator[str]:
        """What is not as it has to be. Cost: that of all tasks."""
        needed: dict[bytes, set[bytes]] = {}
        for task in live.values():
            if task.options is None or not task.options.has_inputs:
                continue
            for input_id in task.options.input_ids:
                needed.setdefault(input_id, set()).add(task.id)
            if waits(task) != (task.id in self._missing):
                yield f"task {task.id.hex()} waits for tasks, or does not, and is counted otherwise"
            elif waits(task) and self._missing[task.id] != len(self.waits_for(task)):
                yield f"task {task.id.hex()} waits for {len(self.waits_for(task))} tasks, and others are counted"
            if not waits(task) and self.waits_for(task):
                yield f"task {task.id.hex()} does not wait for its inputs"
        if needed != {input_id: set(tasks) for input_id, tasks in self.needed.items()}:
            yield "the inputs that are needed are not those of the live tasks"
        if self.kept_bytes != sum(self._kept.values()) or not self._kept.keys() <= self.needed.keys():
            yield f"{self.kept_bytes} bytes are counted as kept for tasks"
        for input_id in self._kept:
            if input_id not in self._results:
                yield f"the result of task {input_id.hex()} is gone, which others need"
