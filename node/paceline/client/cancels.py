"""What a client has asked to be cancelled, until it is known what became of each.

The leader answers. But whoever was given the result of a task knows that it is over, and the next leader need not: it
may have to run the task again, and must not be asked to cancel it instead. Pure bookkeeping.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from paceline_protocol.messages import CancelReply, CancelState, Result, TaskEnd

_OPEN = 0


class Cancels:
    """Requests by their number. ``replies``: those that are answered, until :meth:`forget`."""

    def __init__(self) -> None:
        self.replies: dict[int, tuple[tuple[bytes, int], ...]] = {}
        self._asked: dict[int, dict[bytes, int]] = {}  # request -> task -> its CancelState, or _OPEN

    def __len__(self) -> int:
        """How many are not answered."""
        return len(self._asked)

    def ask(self, request: int, ids: Iterable[bytes]) -> None:
        """Somebody wants these tasks cancelled."""
        self._asked[request] = dict.fromkeys(ids, _OPEN)

    def open(self) -> Iterator[tuple[int, tuple[bytes, ...]]]:
        """What a new leader is to be asked."""
        for request, states in self._asked.items():
            yield request, tuple(task_id for task_id, state in states.items() if state == _OPEN)

    def ended(self, results: Iterable[Result]) -> None:
        """The client has these results."""
        for task_id, end, _ in results:
            state = CancelState.CANCELLED if end == TaskEnd.CANCELLED else CancelState.FINISHED
            for request, states in list(self._asked.items()):
                if states.get(task_id) == _OPEN:
                    states[task_id] = int(state)
                    if _OPEN not in states.values():
                        self._answer(request)

    def answered(self, reply: CancelReply) -> bool:
        """The leader says what it found. False: it was not asked, or all is known already."""
        states = self._asked.get(reply.request)
        if states is None:
            return False
        states.update((task_id, state) for task_id, state in reply.states if states.get(task_id) == _OPEN)
        self._answer(reply.request)
        return True

    def _answer(self, request: int) -> None:
        self.replies[request] = tuple(self._asked.pop(request).items())

    def forget(self, request: int) -> None:
        """Nobody waits for this answer any more."""
        self._asked.pop(request, None)
        self.replies.pop(request, None)

    def clear(self) -> None:
        self._asked.clear()
