"""The names of tasks that a node ran until lately, and may run again in a moment: while its last worker is replaced, or
the node itself is restarted; or as somebody has it be quiet or drain. Calls of these names wait, and are no calls of a
task that nobody has.

What a node ran that went before this leader came, only the leader before knew. So until each node that may have run
tasks then runs some again, or says that it never will, or KEPT_S have passed, any name may be one of these. Another
account without workers says nothing of what the node ran, or is about to.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Final

KEPT_S: Final = 60.0
"""For so long what a node ran counts as known. Longer than a node with large modules takes to start."""


class RecentNames:
    """By node, the names that it had when it was last without workers, or gone, and since when."""

    def __init__(self, since: float = 0.0, ran_lately: Iterable[str] = ()) -> None:
        """``since``: when this leader came. ``ran_lately``: the nodes that may have run tasks in the minute before."""
        self._since = since
        self._awaited = set(ran_lately)  # of these, those that have not told what they run
        self._left: dict[str, tuple[float, frozenset[str]]] = {}

    def left(self, node_id: str, names: frozenset[str], now: float) -> None:
        """A node runs nothing any more. ``names``: what it ran."""
        for other in [other for other, (since, _) in self._left.items() if since + KEPT_S < now]:
            del self._left[other]
        self._left[node_id] = now, names

    def is_quiet(self, node_id: str, names: Iterable[str]) -> None:
        """A node takes no tasks for as long as somebody wants it to: it knows these names meanwhile."""
        self._awaited.discard(node_id)
        self._left[node_id] = inf, frozenset(names)

    def is_quiet_no_more(self, node_id: str, now: float) -> None:
        """A node that was quiet has no worker any more, or is gone."""
        since, names = self._left.get(node_id, (now, frozenset()))
        if since == inf:
            self._left[node_id] = now, names

    def told(self, node_id: str) -> None:
        """A node runs tasks again, so that its account has the names, or it runs none and never will."""
        self._awaited.discard(node_id)
        self._left.pop(node_id, None)

    def has(self, name: str, now: float) -> bool:
        """Whether a node ran tasks of this name, or may have, that may come back. Cost: that of the nodes that are
        away."""
        return self.is_awaiting(now) or self.has_left(name, now)

    def is_awaiting(self, now: float) -> bool:
        """Whether a node may still come that ran tasks before, and has not told this leader which."""
        return bool(self._awaited) and now <= self._since + KEPT_S

    def has_left(self, name: str, now: float) -> bool:
        """Whether a node that is away has told this leader that it ran this name, and may come back."""
        return any(name in names and now <= since + KEPT_S for since, names in self._left.values())
