"""How long work stood still after a leader died, computed from the times at which tasks completed.

Results that the leader had sent before it died still arrive after the kill, so the first completion after the kill says
little. A user notices the longest pause. The failover lasted from the kill to the end of that pause.
"""

from __future__ import annotations

from collections.abc import Iterable


def resumed_after_s(killed_at_s: float, completed_at_s: Iterable[float]) -> float | None:
    """Seconds from the kill to the end of the longest pause that follows it; None if nothing completed any more."""
    previous_s, longest_s, resumed_at_s = killed_at_s, -1.0, None
    for moment_s in sorted(moment_s for moment_s in completed_at_s if moment_s > killed_at_s):
        if moment_s - previous_s > longest_s:
            longest_s, resumed_at_s = moment_s - previous_s, moment_s
        previous_s = moment_s
    return None if resumed_at_s is None else resumed_at_s - killed_at_s
