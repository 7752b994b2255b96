"""What a client has asked the cluster, apart from its calls, until the answers are here.

One rule for every kind of request: it is sent when it is made, to whoever may answer it and is connected; it is sent
again, as it stands, to each that is connected later; that ends when it is answered, or when nobody waits for the answer
any more. So a request reaches one node after another until one answers, and may be carried out twice: each kind is such
that the second time changes nothing. Only the first answer counts.

Where kinds differ is their :class:`Rule`. And a Cancel becomes smaller on the way: whoever was given the result of a
task knows that it is over, and the next leader need not. It may have to run the task again, and must not be asked to
cancel it instead. When every task of a Cancel has ended so, that is its answer.

Pure bookkeeping: the search and the epoch send.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

from paceline_protocol.messages import (
    Admin,
    AdminReply,
    Cancel,
    CancelReply,
    CancelState,
    Result,
    StatusReply,
    StatusRequest,
    TaskEnd,
)

Request: TypeAlias = Cancel | StatusRequest | Admin
Reply: TypeAlias = CancelReply | StatusReply | AdminReply


@dataclass(frozen=True, slots=True)
class Rule:
    """``answer``: the kind of message that answers it. ``of_any_node``: a node that does not lead answers it as well.
    ``behind_calls``: it concerns calls that may be queued, and the leader has to be given those first."""

    answer: type[Reply]
    of_any_node: bool
    behind_calls: bool


RULES: Final[dict[type[Request], Rule]] = {
    Cancel: Rule(CancelReply, of_any_node=False, behind_calls=True),
    StatusRequest: Rule(StatusReply, of_any_node=True, behind_calls=False),
    Admin: Rule(AdminReply, of_any_node=False, behind_calls=False),
}

_OPEN: Final = 0
"""Beside the numbers of CancelState: what became of the task is not known."""


class Requests:
    """Requests by their number. ``replies``: those that are answered, until :meth:`forget`."""

    def __init__(self) -> None:
        self.replies: dict[int, Reply] = {}
        self._unanswered: dict[int, Request] = {}
        self._cancels: dict[int, dict[bytes, int]] = {}  # the Cancels among them: task -> its CancelState, or _OPEN
        self._numbers = 0

    def __len__(self) -> int:
        """How many are not answered."""
        return len(self._unanswered)

    def next_number(self) -> int:
        """For a new request."""
        self._numbers += 1
        return self._numbers

    def add(self, request: Request) -> None:
        """Somebody waits for the answer to this."""
        self._unanswered[request.request] = request
        if isinstance(request, Cancel):
            self._cancels[request.request] = dict.fromkeys(request.ids, _OPEN)

    def to_send(self, *, of_any_node: bool) -> list[Request]:
        """The unanswered ones that any node answers, or those that the leader alone does, oldest first."""
        return [request for request in self._unanswered.values() if RULES[type(request)].of_any_node is of_any_node]

    def note_results(self, results: Iterable[Result]) -> None:
        """The client has these results."""
        if not self._cancels:
            return
        for task_id, end, _ in results:
            state = int(CancelState.CANCELLED if end == TaskEnd.CANCELLED else CancelState.FINISHED)
            for number, states in list(self._cancels.items()):
                if states.get(task_id) == _OPEN:
                    states[task_id] = state
                    self._shrink(number, states)

    def _shrink(self, number: int, states: dict[bytes, int]) -> None:
        still_open = tuple(task_id for task_id, state in states.items() if state == _OPEN)
        if still_open:
            self._unanswered[number] = Cancel(number, still_open)
        else:
            self._answer(CancelReply(number, tuple(states.items())))

    def answered(self, reply: Reply) -> bool:
        """A node answers. False: nobody waits for that, or it is known already."""
        number = reply.request
        request = self._unanswered.get(number)
        if request is None or type(reply) is not RULES[type(request)].answer:
            return False
        if isinstance(reply, CancelReply):
            states = self._cancels.get(number, {})
            states.update((task_id, state) for task_id, state in reply.states if states.get(task_id) == _OPEN)
            reply = CancelReply(number, tuple(states.items()))
        self._answer(reply)
        return True

    def _answer(self, reply: Reply) -> None:
        self._drop(reply.request)
        self.replies[reply.request] = reply

    def _drop(self, number: int) -> None:
        self._unanswered.pop(number, None)
        self._cancels.pop(number, None)

    def forget(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        self._drop(number)
        self.replies.pop(number, None)

    def clear(self) -> None:
        """Nothing is to be asked any more. What is answered stays."""
        self._unanswered.clear()
        self._cancels.clear()
