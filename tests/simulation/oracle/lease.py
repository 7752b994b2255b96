"""Whoever hands out tasks has lately heard from a majority of the voters."""

from __future__ import annotations

from simulation.oracle.events import LeaseUsed
from simulation.oracle.promise import Promise


class Lease(Promise):
    says = "a leader that a majority does not hear hands out nothing"

    def on_lease_used(self, event: LeaseUsed) -> None:
        if len({event.node, *event.heard}.intersection(event.voters)) <= len(event.voters) // 2:
            self.broken(f"{event.node} dispatches, and can have heard only {event.heard} of {event.voters}")
