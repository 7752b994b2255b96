"""One worker that runs many tasks at once, on one event loop: those that are ``async def``, or run in threads.

A node has such workers beside the others, if it is to run many at once at all and its modules have such tasks (decision
47). What an async worker has is its ``running`` tasks, as another's, with these differences:

- It begins each task once it has read of it, whatever else it runs, and answers in any order. So nothing stands behind
  another task there, nothing is taken back, and none has more tasks than it has ``room`` for.
- The tasks are kept as they were given, as some may have to wait again: those that it had not read of when it died,
  and those that it had begun when its node killed it for another one, or when it ended just as another one ran. Of
  these no attempt is lost, unless they may start only once.
- Which task is to stop it is told by a message, which its loop reads as it goes: it shares one number for that with its
  node, and many may have to stop.
- A task that is over its limit is first cancelled in its loop (``over``). Only if it goes on is the worker killed.
"""

from __future__ import annotations

from typing import Final

from paceline.core.work.worker_slot import ANY_NUMBER, Running, WorkerSlot
from paceline_protocol.messages.records import AT_MOST_ONCE, OUTCOME_STATE, Assignment, Options, Outcome, TaskEnd

KEPT_BYTES: Final = 64 << 20
"""Of the arguments of what one worker runs. What was given to it beyond that does not begin again here."""
_SUCCEEDED: Final = int(TaskEnd.SUCCEEDED)


class AsyncSlot(WorkerSlot):
    """``room``: how many tasks it runs at once. ``kept_bytes``: of arguments, in case their tasks begin again."""

    __slots__ = ("kept_bytes", "numbers", "room")

    def __init__(self, worker_id: bytes, names: tuple[str, ...], room: int, max_tasks: int = ANY_NUMBER) -> None:
        super().__init__(worker_id, names, max_tasks)
        self.is_async = True
        self.room = room
        self.kept_bytes = 0
        self.numbers: dict[bytes, int] = {}  # which of all that it was given each task is that it has, from 1 on

    @property
    def is_free(self) -> bool:
        return len(self.running) < self.room and not (self.is_ending or self.is_leaving)

    @property
    def offered(self) -> int:
        """How many tasks it may have, as far as the leader is concerned."""
        if self.is_ending:
            return 0
        return len(self.running) if self.is_leaving else self.room

    def can_begin(self, assignment: Assignment) -> bool:
        """Whether it may be given this task: it knows its name, and runs no earlier attempt of it."""
        return assignment[2] in self.names and assignment[0] not in self.running

    def give(self, assignment: Assignment, now: float) -> None:
        """It is given a task. Past KEPT_BYTES of arguments the next are not kept."""
        task_id, attempt, name, args, _options = assignment
        is_kept = self.kept_bytes + len(args) <= KEPT_BYTES
        self.kept_bytes += len(args) if is_kept else 0
        self.numbers[task_id] = self.given + 1
        self.running[task_id] = (attempt, 0, name, assignment if is_kept else None, now)

    def answers(self, outcome: Outcome, given: Running, now: float) -> Outcome:
        """It has answered for a task, which it was ``given``. Returns how that has ended: what was over its limit and
        did not return a value was ended for it."""
        task_id = outcome[0]
        del self.numbers[task_id]
        assignment = given[3]
        self.kept_bytes -= 0 if assignment is None else len(assignment[3])
        limited = self.over.pop(task_id, None)
        if limited is None or outcome[OUTCOME_STATE] == _SUCCEEDED:
            return outcome
        return limited.outcome(now)

    def cause_of_end(self, blamed: int) -> bytes:
        return next((task_id for task_id in self.running if self.numbers[task_id] == blamed), b"")

    def is_stuck(self, now: float) -> bool:
        return False

    def ask_back(self, wanted: set[bytes]) -> set[bytes]:
        return wanted.intersection(self.running)

    def number_of(self, task_id: bytes) -> int:
        return self.numbers[task_id]

    def passes_over(self, outcome: Outcome, given: Running) -> bool:
        return False

    def dies(self, begun: int | None) -> tuple[list[tuple[bytes, Running]], list[Running]]:
        lost: list[tuple[bytes, Running]] = []
        rest: list[Running] = []
        for task_id, given in self.running.items():
            if begun is None or self.numbers[task_id] <= begun or given[3] is None:
                lost.append((task_id, given))
            else:
                rest.append(given)
        return lost, rest


def may_begin_again(options: Options | None) -> bool:
    """Whether a task may be begun once more as the same attempt, whose worker has ended by another task."""
    return options is None or options.get("delivery", 0) != AT_MOST_ONCE
