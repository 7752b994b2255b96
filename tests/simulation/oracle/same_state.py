"""Equal logs make equal states, byte for byte."""

from __future__ import annotations

from collections.abc import Mapping

from simulation.oracle.events import StateSeen
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record


class SameState(Promise):
    says = "equal logs make equal states"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._digests: dict[int, Mapping[str, bytes]] = {}  # by index

    def on_state_seen(self, event: StateSeen) -> None:
        known = self._digests.setdefault(event.index, event.digests)
        if known != event.digests:
            sections = known.keys() | event.digests.keys()
            others = ", ".join(sorted(each for each in sections if known.get(each) != event.digests.get(each)))
            self.broken(f"{event.node} has another state after entry {event.index}: {others}")
