"""What ends with its client is cancelled when that is gone: in time, and not before."""

from __future__ import annotations

from math import inf

from paceline_protocol.messages.records import TaskEnd
from simulation.oracle.events import Calm, CancelAsked, Committed, Ended, Led
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record

GRACE_S = 4.0
"""For which a client may be silent."""
SPOKE_S = 0.2
"""So long before its end the last word of a client may have come that waits for tasks."""
LATE_S = 1.5


class LostClients(Promise):
    """That nothing is cancelled of a client that lives, others look at: nobody has asked for it."""

    says = "what ends with its client is cancelled a grace after that is gone, and after its leader came"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._asked: set[bytes] = set()
        self._led_at_s: dict[int, float] = {}
        self._term = 0  # of the entry that is committed
        self._calm_since_s = inf

    def on_calm(self, event: Calm) -> None:
        self._calm_since_s = event.at_s

    def on_cancel_asked(self, event: CancelAsked) -> None:
        self._asked.add(event.task_id)

    def on_led(self, event: Led) -> None:
        self._led_at_s.setdefault(event.term, event.at_s)

    def on_committed(self, event: Committed) -> None:
        self._term = event.term

    def on_ended(self, event: Ended) -> None:
        story = self.record.stories[event.task_id]
        if event.end != TaskEnd.CANCELLED or event.task_id in self._asked or story.client_gone_at is None:
            return
        since_s = max(story.client_gone_at - SPOKE_S, self._led_at_s.get(self._term, 0.0))
        if event.at_s < since_s + GRACE_S:
            self.broken(f"cancelled {event.at_s - since_s:.3f} s after its client was gone or its leader came", story)
        if story.submitted_at >= self._calm_since_s and event.at_s > story.client_gone_at + GRACE_S + LATE_S:
            self.broken(f"cancelled {event.at_s - story.client_gone_at:.3f} s after its client was gone", story)
