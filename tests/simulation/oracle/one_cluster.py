"""One cluster is formed: each consent is at one node, or on its way from one that has handed it on."""

from __future__ import annotations

from collections import Counter

from simulation.oracle.events import IdentitySeen
from simulation.oracle.promise import Promise
from simulation.oracle.record import Record


class OneCluster(Promise):
    says = "a consent is at one node at a time, and one cluster is formed"

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self._cluster_id = ""

    def on_identity_seen(self, event: IdentitySeen) -> None:
        if event.cluster_id:
            self._cluster_id = self._cluster_id or event.cluster_id
            if event.cluster_id != self._cluster_id:
                self.broken(f"{event.cluster_id} is formed beside {self._cluster_id}")
        held = Counter(consent for consents in event.consents.values() for consent in consents)
        twice = sorted(consent for consent, holders in held.items() if holders > 1)
        if twice:
            self.broken(f"more than one node holds the consents of {', '.join(twice)}")
