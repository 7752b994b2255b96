"""What somebody has said of queues: which are paused, and their weights. Which tasks are in them their calls say."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from paceline.core.state.section import Section
from paceline_protocol import fields
from paceline_protocol.codec import decode_queues
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import QueueSettings

if TYPE_CHECKING:
    from paceline.core.state.table import TaskTable


class QueueSection(Section):
    """By name, (whether it is paused, its weight). One that is as usual is left out. An item is (name, both)."""

    def __init__(self) -> None:
        super().__init__("queues", (EntryKind.QUEUES,))
        self.by_name: dict[str, tuple[bool, int]] = {}

    def decode(self, kind: int, data: bytes) -> Any:
        return decode_queues(data)

    def apply(self, table: TaskTable, kind: int, data: bytes, decoded: Any) -> None:
        """QUEUES: this is said of these queues from now on."""
        settings: list[QueueSettings] = decoded if decoded is not None else decode_queues(data)
        for name, is_paused, weight in settings:
            self.by_name.pop(name, None)
            if (is_paused, weight) != AS_USUAL:
                self.by_name[name] = is_paused, weight

    def captured(self) -> list[Any]:
        return [(name, is_paused, weight) for name, (is_paused, weight) in self.by_name.items()]

    def read(self, items: Iterable[Any]) -> None:
        fields.queues(items)
        for name, is_paused, weight in items:
            self.by_name[name] = is_paused, weight

    def take_from(self, other: Any) -> None:
        read: QueueSection = other
        self.by_name = read.by_name


AS_USUAL = (False, 1)
