"""Raft, figure 3: state-machine safety."""

from __future__ import annotations

from simulation.oracle.events import Applied
from simulation.oracle.promise import Promise


class SameLog(Promise):
    says = "no two nodes apply different entries"

    def on_applied(self, event: Applied) -> None:
        known = self.record.log.get(event.index)
        if known is not None and known != (event.term, event.kind, event.data):
            self.broken(f"{event.node} has applied another entry {event.index}")
