"""A node begins no task while as many run as it has slots, however many of its tasks wait for others.

Those that go on ask nobody. So more may run for a while; but none is begun meanwhile.
"""

from __future__ import annotations

from simulation.oracle.events import Bound
from simulation.oracle.promise import Promise


class Slots(Promise):
    says = "no task begins at a node where as many run as it has slots"

    def on_bound(self, event: Bound) -> None:
        if event.busy > event.slots:
            self.broken(f"{event.node_id} has {event.slots} slots, and {event.busy} of its workers are busy")
