"""What the nodes announce of their tasks: the options that each was decorated with, for calls by name alone.

A call by name says what it asks for as far as it says anything, and the rest is as its nodes announce. That is decided
once, when the call is admitted, and is in the log from then on: what is announced later changes no task that was
accepted.

Nodes may differ, as while a new version of a module is brought to one after the other. Then what was announced last
counts, and that is said. A node that gives its account again, with nothing new in it, announces nothing anew. What a
node had announced counts also while it is away, and until a node says otherwise.

Nothing of this is in the log: each node announces it to each new leader, together with its names. So while the leader
does not know yet which nodes have a name, it does not know either what they announce of it, and a call by that name is
not admitted before (``admission.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from paceline.core.scheduling.credits import NodeLedger
from paceline.core.scheduling.unheard import Notice
from paceline_protocol.codec import decode_defaults
from paceline_protocol.errors import PeerViolation
from paceline_protocol.messages.records import (
    CALL_ARGS,
    CALL_ID,
    CALL_NAME,
    CALL_OPTIONS,
    CALL_PRIORITY,
    PRIORITY_DEFAULT,
    Call,
    Default,
    Options,
)
from paceline_protocol.options import announced, completed

KNOWN_LIMIT_BYTES: Final = 16 << 20
"""What is known of all names may take so much, as it is packed. Past that, names that no node runs are forgotten, and
then what is new is not taken in."""
NAME_BYTES: Final = 100
"""Counted for each name beside its text."""
NAMES_SHOWN: Final = 10
"""In one line."""
NAMES_TOLD: Final = 1_000
"""Names of which it is remembered that it was said."""
_NOTHING: Final[Options] = {}


class Announced:
    """What one node has announced of one name."""

    __slots__ = ("node_id", "options", "priority", "size_bytes")

    def __init__(self, node_id: str, default: Default) -> None:
        name, priority, said = default
        options = announced(said)  # nothing else, whatever a node says
        self.node_id = node_id
        self.priority = priority
        self.options = options
        texts_bytes = sum([len(value) for value in options.values() if isinstance(value, str)])
        self.size_bytes = NAME_BYTES + len(name) + 16 * len(options) + texts_bytes


class Defaults:
    """Of one leader, by name. Names without options are not in it."""

    def __init__(self, ledgers: Mapping[str, NodeLedger], notice: Notice | None = None) -> None:
        """``ledgers``: of the nodes that enrolled. ``notice``: has a line logged; without it nothing is said."""
        self._ledgers = ledgers
        self._notice = notice
        self._by_name: dict[str, Announced] = {}
        self._size_bytes = 0
        self._said: dict[str, int] = {}  # by node: a hash of what it has announced last
        self._told: set[str] = set()  # names of which it was said that nodes differ
        self._is_full = False

    def __len__(self) -> int:
        return len(self._by_name)

    def complete(self, call: Call) -> Call:
        """A call by name with what its nodes announce, where it says nothing. The same one if there is nothing to
        change."""
        said = call[CALL_OPTIONS]
        found = self._by_name.get(call[CALL_NAME])
        if said is None or (found is None and not said):
            return call
        priority = call[CALL_PRIORITY]
        if found is not None and priority == PRIORITY_DEFAULT and not said.get("priority", 0):
            priority = found.priority
        options = completed(said, _NOTHING if found is None else found.options)
        return call[CALL_ID], call[CALL_NAME], priority, call[CALL_ARGS], options

    def of(self, name: str) -> Options:
        """What is announced of a name, beside its priority."""
        found = self._by_name.get(name)
        return _NOTHING if found is None else found.options

    def announce(self, node_id: str, names: tuple[str, ...], packed: bytes) -> None:
        """A node runs these names, and announces this of some of them. Raises ProtocolError, with nothing changed, for
        what no honest node announces."""
        said = hash((names, packed))
        if not names or self._said.get(node_id) == said:
            return  # without workers it says nothing of what it ran
        announced = {default[0]: Announced(node_id, default) for default in decode_defaults(packed)}
        if not announced.keys() <= set(names):
            raise PeerViolation("it announces options for names that it does not run")
        self._said[node_id] = said
        differing = [name for name in names if self._differs(name, node_id, announced.get(name))]
        for name in names:
            self._replace(name, announced.get(name))
        self._tell(differing, node_id)

    def _differs(self, name: str, node_id: str, new: Announced | None) -> bool:
        """Whether another node, which is there, has announced something else of this name."""
        before = self._by_name.get(name)
        if before is None or before.node_id == node_id:
            return False
        if new is not None and (new.priority, new.options) == (before.priority, before.options):
            return False
        ledger = self._ledgers.get(before.node_id)
        return ledger is not None and ledger.slots > 0 and name in ledger.announced

    def _replace(self, name: str, new: Announced | None) -> None:
        before = self._by_name.pop(name, None)
        if before is not None:
            self._size_bytes -= before.size_bytes
        if new is None or not self._has_room(new.size_bytes):
            return
        self._by_name[name] = new
        self._size_bytes += new.size_bytes

    def _has_room(self, size_bytes: int) -> bool:
        if self._size_bytes + size_bytes <= KNOWN_LIMIT_BYTES:
            return True
        if self._is_full:
            return False
        self._is_full = True  # said once, and looked for once: that costs as much as all names
        served = {name for ledger in self._ledgers.values() for name in ledger.announced}
        for name in [name for name in self._by_name if name not in served]:
            self._size_bytes -= self._by_name.pop(name).size_bytes
        if self._notice is not None:
            self._notice("warning", _FULL)
        return self._size_bytes + size_bytes <= KNOWN_LIMIT_BYTES

    def _tell(self, differing: list[str], node_id: str) -> None:
        new = [name for name in differing if name not in self._told]
        if not new or self._notice is None or len(self._told) >= NAMES_TOLD:
            return
        self._told.update(new[: NAMES_TOLD - len(self._told)])
        shown = ", ".join(name if name.isprintable() else ascii(name) for name in new[:NAMES_SHOWN])
        more = f" and {len(new) - NAMES_SHOWN} other names" if len(new) > NAMES_SHOWN else ""
        self._notice(
            "warning",
            f"nodes announce different options for {shown}{more}: for calls by name those of node {node_id} count, "
            "which came last. Start all nodes with the same version of the module",
        )


_FULL: Final = (
    f"the options that nodes announce for their tasks take more than {KNOWN_LIMIT_BYTES >> 20} MiB: calls by name of "
    "some tasks are without them"
)
