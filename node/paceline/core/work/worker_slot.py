"""One worker of a node, and the tasks that it was given: which of them it has begun, as far as that is known, and which
come back from it.

A task that was expected to be short may take an hour. Then what stands behind it at its worker is taken back, without a
word of the worker's, which runs user code and does not listen (:meth:`WorkerSlot.take_back`). It shares two numbers
with its node: how many tasks it has begun, and up to which of those that it was given it is to begin none. The worker
writes the first before a task and then looks at the second; the node writes the second, and looks at the first
TAKE_BACK_S later, when that is in everybody's sight. So what lies between them then is begun by nobody. The worker
passes over it, and answers for it with the end CANCELLED, in its turn.

In the same memory the node writes which task the worker is asked to stop (:attr:`WorkerSlot.stopping`), by the number
that it has among those that the worker was given: so it is asked of no other, whatever the worker has come to. One
that it has not begun by then it is to begin no more. What it answers for such a task counts as it is: a value that it
has returned all the same, CANCELLED if it stopped or has not begun.

A task may leave something that its worker ends before it begins another, once the outcome is told. Meanwhile that task
stays first in its worker's line, as one that is taken back: nothing is given to the worker, what stands behind the task
goes to others, and the worker answers for it once more. If that does not come, the worker is to be ended.

A worker that is to be replaced leaves (:attr:`WorkerSlot.is_leaving`): it is given nothing more, and has left once it
has answered for what it has. So no attempt is lost. What turns out to stand behind a long task there is taken back as
from any other.

So of a task that stands behind another it is not known at once what becomes of it: it may be begun in a moment, or be
taken back. If the leader asks for it, that is noted (:meth:`WorkerSlot.ask_back`).

Nor is that known of one which the worker came to in the moment in which it was told to begin none: it has begun it, or
passes over it. What it passes over, it says before it begins anything else. So of one that is first in its line for
OVERRUN_S, and that it has come to, the leader is told that it runs. Should the worker have stood still all that time
and pass over it after all, it is given back as others are that the leader has asked for.
"""

from __future__ import annotations

from math import inf
from typing import Final

from paceline.core.measures.durations import UNKNOWN_US
from paceline.core.work.limits import LimitedTask
from paceline_protocol.messages.records import Assignment, Outcome, TaskEnd

BATCH_TIME_US: Final = 1_000
"""The expected work of one batch. A worker that has no more than that to do is given another."""
ANY_NUMBER: Final = 1 << 53
"""Of tasks: more than a worker is ever given."""
OVERRUN_S: Final = 0.1
"""A worker that has begun no other task for so long, and should have, is stuck: nothing is to wait behind that one."""
CLEAN_UP_S: Final = 2.0
"""A worker that cleans up behind a task for so long is blocked by what it ends: it gives that itself a second."""
TAKE_BACK_S: Final = 0.02
"""From telling a worker to begin no more to looking at what it has begun. No store takes nearly as long to be seen."""

_PASSED_OVER: Final = int(TaskEnd.CANCELLED)
"""A worker gives this end to a task that it was told not to begin."""

Running = tuple[int, int, str, Assignment | None, float]
"""What a worker was given: (attempt, cost in us, name, the task itself or None, when). None: it counts as begun, or was
taken back. Of what the worker may not have begun the task is kept, since it may have to wait again."""


def own_max_tasks(worker_id: bytes, max_tasks: int) -> int:
    """How many tasks this worker may be given if the others may be given ``max_tasks``, 0 for any number: up to a tenth
    fewer, by its id, which is random. So workers that began together are not all replaced together."""
    return max_tasks - (max_tasks // 10) * worker_id[-1] // 256 if max_tasks else ANY_NUMBER


class WorkerSlot:
    """One worker process, and the tasks that it was given. It begins them in that order, and answers in that order.
    ``taken_back``: those that others may have by now, and the one behind which it cleans up, until the worker has
    answered for them, too. ``together``: those that its function is called with at once, as they were given.
    ``asked_back``: those that the leader has asked for, while it is not known whether this
    worker begins them. ``stopping``: those that it is asked to stop. ``max_tasks``: how many it may be given."""

    __slots__ = (
        "answered",
        "asked_back",
        "begun_when_told",
        "cleaning_up",
        "cost_us",
        "first",
        "first_since",
        "held_up",
        "is_async",
        "is_ending",
        "is_leaving",
        "max_tasks",
        "names",
        "over",
        "run_on",
        "running",
        "stopping",
        "taken_back",
        "together",
        "told_at",
        "told_before",
        "told_through",
        "worker_id",
    )

    def __init__(self, worker_id: bytes, names: tuple[str, ...], max_tasks: int = ANY_NUMBER) -> None:
        self.worker_id = worker_id
        self.names = names
        self.max_tasks = max_tasks
        self.running: dict[bytes, Running] = {}
        self.cost_us = 0  # of all running tasks together, as expected
        self.answered = 0  # tasks, since it is ready
        self.taken_back: set[bytes] = set()
        self.asked_back: set[bytes] = set()
        self.together: dict[bytes, Assignment] = {}
        self.stopping: set[bytes] = set()
        self.over: dict[bytes, LimitedTask] = {}  # of several at once: those that are over their limits
        self.is_async = False
        self.cleaning_up = ""  # the name of the task behind which it cleans up
        self.held_up = False  # by that, for longer than anything is to wait for it
        self.is_ending = False  # it is being killed: it gets nothing more, whatever it still answers
        self.is_leaving = False  # it is to be replaced: it gets nothing more, and ends once it has answered for all
        self.first = b""  # the task that it ran at the last review
        self.first_since = 0.0  # the first review of which that is true
        self.told_through = 0  # of the tasks that it was given: up to this one it is to begin none
        self.told_before = 0  # up to which it was to begin none before it was told that
        self.told_at = 0.0
        self.begun_when_told = 0
        self.run_on = 0  # of the tasks that it was given: one that it came to about then, and has not passed over

    @property
    def given(self) -> int:
        """Tasks that it was given, since it is ready."""
        return self.answered + len(self.running)

    @property
    def is_free(self) -> bool:
        """Whether it may be given more."""
        return self.cost_us <= BATCH_TIME_US and not (self.taken_back or self.is_ending or self.is_leaving)

    @property
    def has_left(self) -> bool:
        """Whether it leaves and has nothing to do any more. One that is being killed ends as such."""
        return self.is_leaving and not (self.running or self.is_ending)

    @property
    def running_tasks(self) -> int:
        """How many tasks it has, without those that others may have by now."""
        return len(self.running) - len(self.taken_back)

    # --- what it runs for long ----------------------------------------------------------------------------------

    def is_stuck(self, now: float) -> bool:
        """Whether it has run one task for so long that none is to stand behind it. To be asked every so often."""
        first = next(iter(self.running), b"")
        if not first or self.first != first:
            self.first, self.first_since = first, now
            return False
        return now >= self.first_since + OVERRUN_S

    def charge_first(self) -> str:
        """What its first task takes is not known after all, so that it is given nothing more meanwhile. Returns the
        name of that task."""
        attempt, cost_us, name, assignment, given_at = self.running[self.first]
        self.running[self.first] = (attempt, cost_us + UNKNOWN_US, name, assignment, given_at)
        self.cost_us += UNKNOWN_US
        return name

    def note_stuck(self, now: float) -> str:
        """It is stuck. Returns the name of the task behind which it cleans up if that blocks it: once."""
        self.held_up = self.cleaning_up != ""
        if not self.held_up or now < self.first_since + CLEAN_UP_S:
            return ""
        self.first_since = inf
        return self.cleaning_up

    @property
    def is_waited_for(self) -> bool:
        """Whether a task stands behind its first one, and may be begun by nobody else; or it is not known of its first
        one whether it has begun that."""
        if self.running_tasks > (self.first not in self.taken_back):
            return True
        is_open = self.running[self.first][3] is not None and self.answered < self.told_through
        return is_open and self.run_on <= self.answered

    # --- what it is to begin no more ----------------------------------------------------------------------------

    def withhold(self, begun: int, now: float) -> int:
        """It has ``begun`` so many tasks since it is ready. Returns up to which it is to be told to begin none, 0 if it
        was told so."""
        if self.told_through == self.given:
            return 0
        self.told_before, self.told_through = self.told_through, self.given
        self.begun_when_told, self.told_at = begun, now
        return self.given

    def take_back(self, begun: int, now: float) -> list[Running]:
        """Take back what it was told of, and can't begin any more."""
        if now < self.told_at + TAKE_BACK_S:
            return []
        running, given, number = self.running, list(self.running), begun - self.answered
        if self.first == given[0] and now >= self.first_since + OVERRUN_S:
            self.run_on = self.answered + 1
        if begun == self.begun_when_told:  # it has gone on with what it had begun, and has passed over nothing
            for task_id in given[max(self.told_before - self.answered, 0) : number]:
                self.counts_as_begun(task_id)
        ids = [task_id for task_id in given[number:] if task_id not in self.taken_back]
        back = [running[task_id] for task_id in ids]
        for task_id in ids:
            attempt, cost_us, name, _, given_at = running[task_id]
            running[task_id] = (attempt, 0, name, None, given_at)
            self.cost_us -= cost_us
        self.taken_back.update(ids)
        return back

    def kept(self, task_id: bytes, given: Running) -> Running:
        """What it was given, with the task itself if that is known: one that was begun with others may begin again."""
        attempt, cost_us, name, assignment, given_at = given
        return attempt, cost_us, name, self.together.get(task_id, assignment), given_at

    def cause_of_end(self, blamed: int) -> bytes:
        """The task that has ended it, of several that it ran; b"" if that is not known, or it ran one."""
        return b""

    def counts_as_begun(self, task_id: bytes) -> None:
        """From now on it does not come back from this worker."""
        attempt, cost_us, name, _, given_at = self.running[task_id]
        self.running[task_id] = (attempt, cost_us, name, None, given_at)

    def ask_back(self, wanted: set[bytes]) -> set[bytes]:
        """The leader asks for these. Returns those that it has begun, or is about to, as nothing stands before them;
        they count as begun from then on, unless it passes over one. Of its others it is not known yet."""
        there = wanted.intersection(self.running) - self.taken_back
        if not there:
            return there
        first = next(iter(self.running))
        if first in there and self.answered >= self.told_through:
            self.counts_as_begun(first)
        begun = {task_id for task_id in there if self.running[task_id][3] is None}
        self.asked_back.update(there - begun)
        if first in there and self.run_on > self.answered:
            begun.add(first)
        return begun

    def number_of(self, task_id: bytes) -> int:
        """Which of the tasks that it was given since it is ready this one is, from 1 on. It has it."""
        return self.answered + 1 + list(self.running).index(task_id)

    # --- what it answers ----------------------------------------------------------------------------------------

    def passes_over(self, outcome: Outcome, given: Running) -> bool:
        """Whether it says of a task, which it was ``given``, that it has not begun it, as it was told to."""
        task_id = outcome[0]
        if outcome[2] != _PASSED_OVER or outcome[1] != given[0]:
            return False
        if task_id in self.taken_back:
            self.taken_back.discard(task_id)
            self.cleaning_up, self.held_up = "", False
        elif given[3] is None or self.answered >= self.told_through:
            return False
        self.cost_us -= given[1]
        self.answered += 1
        return True

    def cleans_up(self, task_id: bytes, given: Running, now: float) -> None:
        """It ends what a task has left for which it has answered: it is to answer for that once more."""
        attempt, name = given[0], given[2]
        self.running = {task_id: (attempt, 0, name, None, now), **self.running}
        self.taken_back.add(task_id)
        self.answered -= 1
        self.cleaning_up = name
        self.first = b""  # it is so for another reason than before

    def dies(self, begun: int | None) -> tuple[list[tuple[bytes, Running]], list[Running]]:
        """It has died. Returns what it had begun of what nobody else may have, and what comes back of the rest.

        ``begun``: how many tasks it has begun since it was ready; None: not known, and all of them count as begun.
        """
        given, taken_back = list(self.running.items()), self.taken_back
        number = len(given)
        if begun is not None:
            number = min(max(begun - self.answered, 0), number)
        # The first in line is not kept: it counts as begun, even if the worker died before it read of it.
        while number < len(given) and given[number][1][3] is None:
            number += 1
        lost = [(task_id, running) for task_id, running in given[:number] if task_id not in taken_back]
        return lost, [running for task_id, running in given[number:] if task_id not in taken_back]
