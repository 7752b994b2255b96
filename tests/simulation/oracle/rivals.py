"""Machines that must not be the node that they are: its disk was put back, or it is a copy beside the original."""

from __future__ import annotations

from simulation.oracle.events import GaveUp, RivalsAwaited, RivalStarted, WasOvertaken
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record


class Rivals(Promise):
    says = "what has forgotten its promises, or is a copy beside its original, ends soon, and nothing else does"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._may_end: set[str] = set()
        self._must_end: set[str] = set()
        self._overtaken: set[str] = set()

    def on_rival_started(self, event: RivalStarted) -> None:
        self._may_end.add(event.machine)
        if event.must_end:
            self._must_end.add(event.machine)

    def on_was_overtaken(self, event: WasOvertaken) -> None:
        self._overtaken.add(event.machine)

    def on_gave_up(self, event: GaveUp) -> None:
        if event.machine not in self._may_end and not (event.has_forgotten and event.machine in self._overtaken):
            self.broken(f"{event.machine} ends, and is no copy of anything")
        self._overtaken.discard(event.machine)
        self._may_end.discard(event.machine)
        self._must_end.discard(event.machine)

    def on_rivals_awaited(self, event: RivalsAwaited) -> None:
        if self._must_end:
            self.broken(f"{', '.join(sorted(self._must_end))} goes on")
