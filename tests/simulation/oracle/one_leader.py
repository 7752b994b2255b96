"""Raft, figure 3: election safety and leader completeness."""

from __future__ import annotations

from simulation.oracle.events import Led
from simulation.oracle.promise import Promise


class OneLeader(Promise):
    says = "one leader in a term, who has every entry that was committed before"

    def on_led(self, event: Led) -> None:
        known = self.record.leaders[event.term]
        if known != event.node:
            self.broken(f"{known} and {event.node} both lead in term {event.term}")
        for index, (term, _kind, _data) in self.record.log.items():
            if term < event.term and index > event.snapshot_index and event.term_at(index) != term:
                self.broken(f"{event.node} leads without committed entry {index}")
