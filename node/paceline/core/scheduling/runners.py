"""Which nodes can run which tasks, by the names of these.

The lanes of all queues share it, as nodes name up to 10,000 tasks each. Lanes of the same nodes share their row, too
(``credits.py``): what a node is given moves it once, however many queues there are.
"""

from __future__ import annotations

from paceline.core.scheduling.credits import NodeLedger, Row
from paceline.core.scheduling.placement import Requirements


class Runners:
    """``ledgers``: of the nodes that run tasks, by key; a node that has two is two nodes here."""

    def __init__(self, own_id: str = "", *, is_alone: bool = False) -> None:
        """``own_id``: the leader's own node, which is preferred among equals because it is no hop away. ``is_alone``:
        of tasks of which a worker runs one at a time, whatever their names are."""
        self.ledgers: dict[str, NodeLedger] = {}
        self.is_alone = is_alone
        self._own_id = own_id
        self._nodes_of_name: dict[str, frozenset[str]] = {}
        self._names_of_node: dict[str, frozenset[str]] = {}
        self._known_names: list[str] | None = None  # made when somebody asks, as they are sorted
        self._rows: dict[frozenset[str], Row] = {}

    def serve(self, ledgers: dict[str, NodeLedger]) -> set[str]:
        """The nodes, or what they can run, changed. Returns the names that other nodes run than before. Whoever has a
        row needs another one. Cost: that of the names that nodes run or did."""
        changed: set[str] = set()
        for key in [*self._names_of_node]:
            if key not in ledgers:
                changed |= self._has_names(key, frozenset())
        for key, ledger in ledgers.items():
            changed |= self._has_names(key, ledger.announced if self.is_alone else ledger.names)
        self.ledgers = ledgers
        for row in self._rows.values():
            row.leave()
        self._rows.clear()
        return changed

    def _has_names(self, key: str, names: frozenset[str]) -> frozenset[str]:
        """These are what a node can run; none, if it is gone. Returns those that it could not run before, or can run no
        longer."""
        before = self._names_of_node.get(key, frozenset())
        if names == before:
            return frozenset()
        self._known_names = None
        if names:
            self._names_of_node[key] = names
        else:
            del self._names_of_node[key]
        of_node, nodes_of_name = frozenset((key,)), self._nodes_of_name
        for name in before - names:
            nodes = nodes_of_name.pop(name) - of_node
            if nodes:
                nodes_of_name[name] = nodes
        for name in names - before:
            nodes_of_name[name] = nodes_of_name.get(name, frozenset()) | of_node
        return names ^ before

    def nodes_of(self, name: str) -> frozenset[str]:
        """The keys of those that can run this name; empty if none can."""
        return self._nodes_of_name.get(name, frozenset())

    def takers_of(self, queue: str) -> frozenset[str] | None:
        """The keys of those that take tasks of this queue; None if all do."""
        if not any(ledger.queues for ledger in self.ledgers.values()):
            return None
        return frozenset([key for key, ledger in self.ledgers.items() if ledger.takes(queue)])

    def known_names(self) -> list[str]:
        """Every name that some node can run, in order. Not to be changed."""
        if self._known_names is None:
            self._known_names = sorted(self._nodes_of_name)
        return self._known_names

    def row(self, nodes: frozenset[str]) -> Row:
        """The row of these nodes."""
        row = self._rows.get(nodes)
        if row is None:
            row = self._rows[nodes] = Row(self.in_order(nodes))
        return row

    def in_order(self, nodes: frozenset[str]) -> list[NodeLedger]:
        """Their ledgers, of equally loaded ones the first in front."""
        return sorted([self.ledgers[key] for key in nodes], key=lambda it: (it.node_id != self._own_id, it.key))

    def that_meet(self, placement: Requirements) -> frozenset[str]:
        """The keys of those that have what some tasks ask for."""
        return frozenset([key for key, ledger in self.ledgers.items() if placement.is_met_by(ledger.room)])
