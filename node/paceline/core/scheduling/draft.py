"""What the leader took in and has not proposed to the log yet.

Tasks are dispatched and results passed on at once; the log hears of them a moment later, of all that came in that
moment together. It is proposed in an order that holds whatever the order was in which it came: a task is accepted
before an attempt of it starts or is lost, that before it ends, and that before its result is released.
"""

from __future__ import annotations

from paceline.core.clients.sessions import ClientSession
from paceline.core.state.task import Task
from paceline_protocol.codec import MAX_BATCH_ITEMS, encode_calls
from paceline_protocol.messages import Call, Outcome, Submit

DRAFT_BYTES = 4 << 20
"""Beyond this the draft is proposed before more is added. One Submit, or one batch of outcomes, may have more."""
ITEM_BYTES = DRAFT_BYTES // MAX_BATCH_ITEMS
"""Counted for each call and outcome at least, so that an entry never has more items than a batch may have."""


class Draft:
    """The content of the next few entries, and who waits for them."""

    __slots__ = ("_calls", "_data", "attempts_lost", "new", "outcomes", "recorded", "size_bytes", "starting", "submits")

    def __init__(self) -> None:
        self.new: list[Task] = []
        self.submits: list[tuple[list[Task], ClientSession, Submit]] = []  # with its tasks if all its calls were new
        self.attempts_lost: list[bytes] = []
        self.starting: list[Task] = []  # they are dispatched when this is committed
        self.outcomes: list[Outcome] = []
        self.recorded: dict[str, int] = {}  # node -> the last NodeOutcomes.seq that is recorded with this
        self.size_bytes = 0
        self._calls: list[Call] = []
        self._data = b""

    def accept(
        self, session: ClientSession, submit: Submit, admitted: list[Call], new: list[Task], *, complete: bool
    ) -> None:
        """A Submit, and those of its calls that are ``admitted``, as the ``new`` tasks. ``complete``: all of them."""
        self._data = b"" if self.new or not complete else submit.calls
        self._calls += admitted
        self.new += new
        self.submits.append((new if complete else [], session, submit))
        self.size_bytes += max(len(submit.calls), len(admitted) * ITEM_BYTES)

    def end(self, outcome: Outcome) -> None:
        """A task ended."""
        self.outcomes.append(outcome)
        self.size_bytes += ITEM_BYTES + len(outcome[3])

    def packed_calls(self) -> bytes:
        """The calls of the new tasks: the client's own bytes, if they are of one Submit."""
        return self._data or encode_calls(self._calls, are_checked=True)

    def __bool__(self) -> bool:
        return bool(self.submits or self.outcomes or self.attempts_lost or self.recorded or self.starting)
