"""In calm nobody has a reason to campaign, however large what the links carry is."""

from __future__ import annotations

from simulation.oracle.events import Calm, Led, TakesNone
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record


class SteadyLeader(Promise):
    says = "a leader leads on while nothing goes wrong"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._is_calm = False

    def on_calm(self, event: Calm) -> None:
        self._is_calm = True

    def on_takes_none(self, event: TakesNone) -> None:
        self._is_calm = False  # whoever drains has another lead

    def on_led(self, event: Led) -> None:
        if self._is_calm:
            self.broken(f"{event.node} comes to lead, in term {event.term}, and nothing has gone wrong")
