"""How many tasks the cluster has accepted, and how many ended in which way."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from paceline.core.feature_levels import NodeTooOld
from paceline.core.state.section import Section
from paceline_protocol import fields
from paceline_protocol.messages.records import TaskEnd

_check_items: Final = fields.many(fields.record(fields.string, fields.integer))


class Totals(Section):
    """``ended`` is indexed by TaskEnd; each end has a total of its own. An item is (name, count), and a total of 0 has
    none: so a node that counts what another does not know reads that one's snapshots, and is read until it counts."""

    def __init__(self) -> None:
        super().__init__("totals")
        self.accepted = 0
        self.ended: list[int] = [0] * (max(TaskEnd) + 1)
        self.duplicates = 0  # outcomes of tasks that had one

    @property
    def recorded(self) -> int:
        """Outcomes recorded, each task once."""
        return sum(self.ended)

    def by_name(self) -> dict[str, int]:
        """Every total that there is."""
        ends = {end.name.lower(): self.ended[end] for end in TaskEnd}
        return {"accepted": self.accepted, **ends, "duplicates": self.duplicates}

    def captured(self) -> list[Any]:
        return [(name, count) for name, count in self.by_name().items() if count]

    def read(self, items: Iterable[Any]) -> None:
        _check_items(items)
        for name, count in items:
            if name == "accepted":
                self.accepted = count
            elif name == "duplicates":
                self.duplicates = count
            elif name.upper() in TaskEnd.__members__:
                self.ended[TaskEnd[name.upper()]] = count
            else:
                raise NodeTooOld(f"a snapshot counts {name!r}, which this node does not know")

    def take_from(self, other: Any) -> None:
        totals: Totals = other
        self.accepted, self.ended, self.duplicates = totals.accepted, totals.ended, totals.duplicates
