"""What peers said that no honest node says: counted, and said to the operator without filling the log.

The first time for each peer and kind of message, and then whenever ten times as many have come, with their number. So
one peer that repeats itself costs a line per power of ten. Peers can be invented: of the pairs beyond ``PAIRS`` only
the total tells.
"""

from __future__ import annotations

from typing import Final

from paceline.core.measures.repeats import is_power_of_ten
from paceline.core.outbox import Outbox

PAIRS: Final = 64
TEXT_CHARS: Final = 300
NAME_CHARS: Final = 40


class Violations:
    """``total``: all that one node has refused. ``counts``: of that, by sender and kind."""

    def __init__(self, outbox: Outbox) -> None:
        self.total = 0
        self._outbox = outbox
        self.counts: dict[tuple[str, str], int] = {}

    def refuse(self, sender: str, kind: str, why: Exception) -> None:
        """A message of this kind is dropped."""
        self.total += 1
        pair = (sender[:NAME_CHARS], kind)
        if pair not in self.counts and len(self.counts) >= PAIRS:
            return
        count = self.counts[pair] = self.counts.get(pair, 0) + 1
        if not is_power_of_ten(count):
            return
        times = "" if count == 1 else f" ({count} of them by now)"
        self._outbox.notice(
            "error", f"{kind} of node {pair[0]!r} is refused{times}, as no node may say that: {str(why)[:TEXT_CHARS]}"
        )
