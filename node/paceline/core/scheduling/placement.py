"""What tasks ask of the nodes that run them: tags that a node has, and amounts that it has free.

A node declares tags and amounts with its account, and keeps both in a Room. A task that was given to a node takes its
amounts there until the node has answered for it, wherever it is meanwhile: starting, dispatched, or adopted from an
earlier leader. That is one line in NodeLedger.put and one in its take, so nothing else can forget it.

Tasks that ask for the same wait in lanes of their own, as others do, which only those nodes serve that have the tags
and declare so much (``queues.py``). These lanes have no rows: the least loaded of the nodes that have room is looked
for among all of them (``placed_lanes.py``). So no node has more to keep in order for it, and tasks that ask for nothing
cost what they did.

A task that needs much could be passed by small ones for ever: as soon as a little is free, one of those takes it. So a
lane whose first task has found no room for KEEP_AFTER_S has a node *kept* for it, the one that lacks least: nothing
else that takes amounts is given to that node until it has room. Which node that is is found anew in each round, the
oldest task in front: while a node is kept what it lacks becomes no more, so the first task begins once tasks that run
there have ended. What needs no amounts is given there all the while.

Tasks with the same *affinity* begin on the same node, as long as that has room: what one has left there, a file or a
model in memory, the next one finds. Which node that is follows from a hash of both, so that every leader finds the same
and a node that comes or goes moves its own share alone (rendezvous hashing, Thaler and Ravishankar 1998). So that there
are not as many lanes as texts, the texts are in AFFINITY_PARTS parts, and the tasks of a part have a lane and prefer a
node. No task waits behind one that waits for another node. After its ``affinity_wait`` a task goes to any node.

Calls that are handed to their function together (``batch``) wait in lanes of their own, too, those of each name and of
equal options: so what is in front of such a lane goes together, and how many wait there is how many there are to go.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, TypeAlias
from zlib import crc32

from paceline.core.state.call_options import CallOptions
from paceline_protocol.messages.records import Options
from paceline_protocol.places import Amounts, amounts_of, tags_of

Together: TypeAlias = tuple[tuple[str, int | str | bytes], ...]
Key: TypeAlias = tuple[str, str, int, str, Together]
"""What tells placements apart: tags, needs, the part of the affinity; and of what goes together the name, and the
options that its calls have in common."""

KEEP_AFTER_S: Final = 1.0
"""For so long the first task of a lane may find no room; then a node is kept for it."""
PLACEMENTS_LIMIT: Final = 1_000
"""So many different things tasks may ask for, each in each queue counted by itself: every round of dispatch looks at
the first task of each."""
AFFINITY_PARTS: Final = 128
"""More than a cluster has nodes, most often, so that their shares are about equal."""
NO_PLACES: Final = ("", "")
"""Of a node that declares nothing: tags, and amounts."""


class Room:
    """What one node declares, and how much of it is taken. ``kept_for``: the lane whose first task alone may take any
    of it in this round. ``is_full``: the node has given back a task for which it had no room, as tasks run there that
    this leader did not give it; until one ends there, or it gives another account."""

    __slots__ = ("_declared", "_tags", "amounts", "is_full", "kept_for", "tags", "taken")

    def __init__(self) -> None:
        self.tags: frozenset[str] = frozenset()
        self.amounts: dict[str, int] = {}
        self.taken: dict[str, int] = {}
        self.kept_for: object = None
        self.is_full = False
        self._declared = NO_PLACES

    def declare(self, places: tuple[str, str]) -> bool:
        """The node has these tags and amounts, as ``places.py`` writes them. True if that is news."""
        if places == self._declared:
            return False
        self._declared = places
        self.tags = frozenset(tags_of(places[0]))
        self.amounts = dict(amounts_of(places[1]))
        return True

    def take(self, amounts: Amounts) -> None:
        """A task is given to the node that takes so much."""
        for name, amount in amounts:
            self.taken[name] = self.taken.get(name, 0) + amount

    def give_back(self, amounts: Amounts) -> None:
        """It is there no longer."""
        for name, amount in amounts:
            left = self.taken[name] - amount
            if left:
                self.taken[name] = left
            else:
                del self.taken[name]

    def has(self, amounts: Amounts) -> bool:
        """Whether so much is free."""
        return all(self.free(name) >= amount for name, amount in amounts)

    def free(self, name: str) -> int:
        """How much of this is free; less than none if the node declares less than it did."""
        return self.amounts.get(name, 0) - self.taken.get(name, 0)

    def lacks(self, amounts: Amounts) -> float:
        """Which parts of these are not free, added up."""
        return sum([max(0, amount - self.free(name)) / amount for name, amount in amounts])


class Requirements:
    """What some tasks of one queue ask for, as :class:`CallOptions` has it. ``live``: how many of them there are,
    wherever they are. ``batch``: how many of them go together, and ``window_s``: how long the first waits for others.
    """

    __slots__ = ("amounts", "batch", "live", "needs", "part", "tags", "window_s")

    def __init__(self, tags: str, needs: str, part: int = -1, name: str = "", together: Together = ()) -> None:
        """``part``: of all affinities; -1 without one. ``name``, ``together``: of those that go together."""
        common: Options = dict(together)
        self.batch: int = common.get("batch", 1)
        window_ms: int = common.get("batch_window", 0)
        self.window_s = window_ms / 1_000
        self.part = part
        self.needs = needs
        self.tags: frozenset[str] = frozenset(tags_of(tags))
        self.amounts = amounts_of(needs)
        self.live = 0

    def is_met_by(self, room: Room) -> bool:
        """Whether a node with this room can run its tasks, once it has so much free."""
        return self.tags <= room.tags and all(room.amounts.get(name, 0) >= amount for name, amount in self.amounts)

    def missing(self, room: Room) -> list[str]:
        """What a node with this room does not have, in words."""
        tags = [f"no tag {tag}" for tag in sorted(self.tags - room.tags)]
        return tags + [
            f"{room.amounts.get(name, 0) or 'no'} {name} of {amount}"
            for name, amount in self.amounts
            if room.amounts.get(name, 0) < amount
        ]

    @property
    def asks(self) -> bool:
        """Whether there is anything that a node may lack."""
        return bool(self.tags or self.amounts)

    def preferred(self, node_ids: Iterable[str]) -> str:
        """The node of these that is best for its tasks; "" if all are as good."""
        if self.part < 0:
            return ""
        return max([(_weight(self.part, node_id), node_id) for node_id in node_ids], default=(b"", ""))[1]

    @property
    def shown(self) -> str:
        """What its tasks ask for, in words."""
        tags = ["tags " + ", ".join(sorted(self.tags))] if self.tags else []
        return " and ".join(tags + (["needs " + self.needs.replace(",", ", ")] if self.needs else []))


def _weight(part: int, node_id: str) -> bytes:
    return blake2b(f"{part} {node_id}".encode(), digest_size=8).digest()


def part_of(affinity: str) -> int:
    """The part of all affinities in which this text is; -1 for none."""
    return crc32(affinity.encode()) % AFFINITY_PARTS if affinity else -1


def key_of(name: str, options: CallOptions) -> Key:
    """Where a call waits that asks for this."""
    return key_in(name, options.tags, options.needs, options.affinity, options.together)


def key_in(name: str, tags: str, needs: str, affinity: str, common: Together) -> Key:
    """The same, of what it asks for. ``common``: see ``options.together``."""
    return tags, needs, part_of(affinity), name if common else "", common
