"""Every live task of a leader is in exactly one place, and counted there."""

from __future__ import annotations

from simulation.oracle.events import PlacesSeen
from simulation.oracle.promise import Promise


class OnePlace(Promise):
    says = "a live task is in one place"

    def on_places_seen(self, event: PlacesSeen) -> None:
        if event.wrong:
            self.broken(f"{event.node}, which leads: {event.wrong}")
