"""Equal logs make equal states, byte for byte."""

from __future__ import annotations

from simulation.oracle.events import StateSeen
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record


class SameState(Promise):
    says = "equal logs make equal states"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._states: dict[int, bytes] = {}  # by index

    def on_state_seen(self, event: StateSeen) -> None:
        if self._states.setdefault(event.index, event.state) != event.state:
            self.broken(f"{event.node} has another state after entry {event.index}")
