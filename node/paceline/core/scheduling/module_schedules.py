"""Schedules that come with modules: what the nodes announce of them, and which of that the cluster is to have.

Each node announces the schedules of its modules to each leader, and again when they change; the leader compares that
with the schedules that the log has, every second. The rules:

- What nodes announce and the log does not have is added, as the node has it that announced last.
- As long as any node announces a schedule as the log has it, it stays so. Once none does, it becomes what was announced
  last. So in a rolling upgrade the old timetable counts until the last node of the old version is gone.
- What no node has announced for GONE_S is removed. A new leader counts that anew.
- A name belongs to the module that the log has it of, or to whoever made it by hand. Another module that announces a
  schedule of that name does not get it, and that is said.

What a node has announced counts as long as that process of it is enrolled. Nothing of this is in the log but the
schedules that come of it, each with its module as the owner.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

from paceline.core.incarnation import INCARNATION_SHIFT
from paceline.core.scheduling.unheard import Notice
from paceline_protocol.codec import decode_own_schedules
from paceline_protocol.errors import PeerViolation
from paceline_protocol.messages.schedules import OwnSchedule, ScheduleDefinition, WhenKind
from paceline_protocol.texts import one_line

if TYPE_CHECKING:
    from paceline.core.state.table import TaskTable

GONE_S: Final = 600.0
"""A schedule that no node has for so long is removed."""
KNOWN_LIMIT_BYTES: Final = 16 << 20
"""What nodes announce may take so much, packed, where nodes that announce the same count once. Past that what comes is
not taken in."""
TOLD_LIMIT: Final = 1_000
"""So much is remembered of what was said, so that it is not said again."""

Wanted = tuple[str, ScheduleDefinition | None]
"""A schedule that the cluster is to have; None: no longer."""


def anchored(definition: ScheduleDefinition, before: ScheduleDefinition | None, at_ms: int) -> ScheduleDefinition:
    """An interval without a beginning of its own counts from now, and goes on as it did if it is the same."""
    when = definition.when
    if when.kind != WhenKind.EVERY or when.from_ms:
        return definition
    is_same = before is not None and before.when.kind == when.kind and before.when.every_ms == when.every_ms
    from_ms = before.when.from_ms if before is not None and is_same else at_ms
    return definition._replace(when=when._replace(from_ms=from_ms))


class AnnouncedSchedules:
    """By one process of a node, ``order``: after how many others."""

    __slots__ = ("incarnation", "order", "packed", "version")

    def __init__(self, version: int, order: int, packed: bytes) -> None:
        self.version: Final = version
        self.incarnation: Final = version >> INCARNATION_SHIFT
        self.order: Final = order
        self.packed: Final = packed


class ModuleSchedules:
    """Of one leader."""

    __slots__ = ("_absent_since", "_by_node", "_count", "_is_full", "_lists", "_notice", "_present", "_table", "_told")

    def __init__(self, table: TaskTable, notice: Notice | None) -> None:
        self._table = table
        self._notice = notice
        self._by_node: dict[str, AnnouncedSchedules] = {}
        self._lists: dict[bytes, list[OwnSchedule]] = {}  # by how it is packed
        self._present: dict[
            str, list[ScheduleDefinition]
        ] = {}  # as of the last review; what was announced last is last
        self._absent_since: dict[str, float] = {}
        self._told: set[str] = set()
        self._count = 0
        self._is_full = False

    def __len__(self) -> int:
        return len(self._by_node)

    def hear(self, node_id: str, version: int, packed: bytes) -> None:
        """A node announces the schedules of its modules, each version once. Raises ProtocolError, with nothing changed,
        for what no honest node announces."""
        before = self._by_node.get(node_id)
        if before is not None and before.version >= version:
            return  # a copy
        found = self._lists.get(packed)
        if found is None:
            found = decode_own_schedules(packed)
            if len({name for name, _ in found}) < len(found) or not all(definition.owner for _, definition in found):
                raise PeerViolation("it announces a schedule twice, or one that comes with no module")
            if sum([len(each) for each in self._lists]) + len(packed) > KNOWN_LIMIT_BYTES:
                if not self._is_full and self._notice is not None:
                    self._notice("warning", _FULL)
                self._is_full = True
                return
            self._lists[packed] = found
        self._count += 1
        self._by_node[node_id] = AnnouncedSchedules(version, self._count, packed)
        if before is not None and before.packed != packed:
            self._drop_unused(before.packed)

    def _drop_unused(self, packed: bytes) -> None:
        if all(each.packed != packed for each in self._by_node.values()):
            self._lists.pop(packed, None)

    def has(self, name: str, owner: str) -> bool:
        """Whether a node that is there had this schedule of this module, at the last review."""
        return any(definition.owner == owner for definition in self._present.get(name, ()))

    def review(
        self, enrolled: Mapping[str, int], owned: Collection[str], *, is_settled: bool, now: float
    ) -> list[Wanted]:
        """What is to be changed of the schedules that the log has. ``enrolled``: the nodes that are there, each with
        the incarnation of its process. ``owned``: the schedules that come with modules, by the log. ``is_settled``:
        every node has given its account, or had time to."""
        self._gather(enrolled)
        wanted: list[Wanted] = []
        has_owner: set[str] = set()
        for name, definitions in self._present.items():
            row = self._table.schedules.get(name)
            if row is None:
                wanted.append((name, definitions[-1]))
                continue
            current = row.definition
            own = [each for each in definitions if each.owner == current.owner]
            if len(own) < len(definitions):
                self._tell_collision(name, current.owner, definitions)
            if not own:
                continue
            has_owner.add(name)
            if any(anchored(each, current, 0) == current for each in own):
                if len(own) > 1:
                    self._tell(
                        f"nodes have different versions of the schedule {one_line(name)} of the module "
                        f"{one_line(current.owner)}: it stays as it is until no node has it so any more"
                    )
            elif is_settled:
                wanted.append((name, own[-1]))
        for name in [name for name in self._absent_since if name in has_owner or name not in owned]:
            del self._absent_since[name]
        wanted.extend([(name, None) for name in owned if name not in has_owner and self._is_gone(name, now)])
        return wanted

    def _is_gone(self, name: str, now: float) -> bool:
        return now >= self._absent_since.setdefault(name, now) + GONE_S

    def _gather(self, enrolled: Mapping[str, int]) -> None:
        """What the nodes that are there announce."""
        for node_id in [node_id for node_id in self._by_node if enrolled.get(node_id, -1) > self._of(node_id)]:
            self._drop_unused(self._by_node.pop(node_id).packed)  # it was started anew
        orders: dict[bytes, int] = {}
        for node_id, each in self._by_node.items():
            if enrolled.get(node_id, -1) == each.incarnation:
                orders[each.packed] = max(each.order, orders.get(each.packed, 0))
        self._present = {}
        for packed in sorted(orders, key=lambda packed: orders[packed]):
            for name, definition in self._lists[packed]:
                known = self._present.setdefault(name, [])
                if definition in known:
                    known.remove(definition)
                known.append(definition)

    def _of(self, node_id: str) -> int:
        return self._by_node[node_id].incarnation

    def _tell_collision(self, name: str, owner: str, definitions: list[ScheduleDefinition]) -> None:
        others = sorted({each.owner for each in definitions if each.owner != owner})
        whose = f"the module {one_line(owner)}" if owner else "whoever made it by hand"
        then = f"name one of them otherwise, with Schedule(..., name=...){'' if owner else ', or remove it'}"
        self._tell(
            f"the schedule {one_line(name)} is of {whose}, and {', '.join(map(one_line, others))} has one of that "
            f"name, which is left out; {then}"
        )

    def refused(self, name: str, owner: str, why: str) -> None:
        """The cluster does not take it."""
        self._tell(f"the schedule {one_line(name)} of the module {one_line(owner)} can't be: {why}")

    def _tell(self, text: str) -> None:
        if self._notice is not None and text not in self._told and len(self._told) < TOLD_LIMIT:
            self._told.add(text)
            self._notice("warning", text)


_FULL: Final = (
    f"the schedules that come with modules take more than {KNOWN_LIMIT_BYTES >> 20} MiB: those that some nodes have "
    "are left out"
)
