"""Schedules that come with modules: the cluster has what its nodes have.

The log is compared with what nodes have said as they were started. A leader's own node has something to say, too: so
what that still has may not be changed, whatever other nodes have.
"""

from __future__ import annotations

from paceline_protocol.messages.schedules import ScheduleDefinition, ScheduleOp, WhenKind
from simulation.oracle.events import Committed, Led, ModuleHas, ModuleSeen, ScheduleChanged
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record


def plain(definition: ScheduleDefinition) -> ScheduleDefinition:
    """As the module has it: an interval counts from when the cluster has it on."""
    when = definition.when
    return definition._replace(when=when._replace(from_ms=0)) if when.kind == WhenKind.EVERY else definition


class SchedulesOfModules(Promise):
    says = "a schedule of a module is as nodes have it, and is neither changed nor removed by hand"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._has: dict[str, ScheduleDefinition] = {}  # by node
        self._all: set[ScheduleDefinition] = set()
        self._leader_has: dict[int, ScheduleDefinition] = {}  # by term
        self._known: dict[str, ScheduleDefinition] = {}  # by the log
        self._term = 0

    def on_module_has(self, event: ModuleHas) -> None:
        self._has[event.node_id] = event.definition
        self._all.add(event.definition)

    def on_led(self, event: Led) -> None:
        if event.node in self._has:
            self._leader_has[event.term] = self._has[event.node]

    def on_committed(self, event: Committed) -> None:
        self._term = event.term

    def on_schedule_changed(self, event: ScheduleChanged) -> None:
        name, known = event.name, self._known.get(event.name)
        if event.op == ScheduleOp.REMOVE and self._known.pop(name, None) is not None and known is not None:
            if known.owner:
                self.broken(f"{name} is removed, and comes with a module that nodes have")
        elif event.op == ScheduleOp.PUT and event.definition is not None:
            new = plain(event.definition)
            if not new.owner and known is not None and known.owner:
                self.broken(f"{name} is changed by hand, and comes with a module that nodes have")
            if new.owner:
                self._check_new(name, known, new)
            self._known[name] = new

    def _check_new(self, name: str, known: ScheduleDefinition | None, new: ScheduleDefinition) -> None:
        if new not in self._all:
            self.broken(f"{name} comes with a module, and no node has it so")
        if known is not None and not known.owner:
            self.broken(f"{name} was made by hand, and a module overwrites it")
        if known is not None and known != new and known == self._leader_has.get(self._term):
            self.broken(f"{name} is changed, and its leader's own node still has it as it was")

    def on_module_seen(self, event: ModuleSeen) -> None:
        if event.definition is None:
            self.broken("the schedule of the module that all nodes have is not there")
        if event.is_old and event.definition.owner and plain(event.definition) not in event.versions:
            self.broken("the schedule of the module is as no node has it any more")
