"""How numbers carry the incarnation of the node that they belong to: docs/decisions/0004."""

from __future__ import annotations

from typing import Final

INCARNATION_SHIFT: Final = 40
"""Account versions and the numbers of outcomes and dispatches have the incarnation above this bit: what a leader knows
of an earlier incarnation is then always older than what this one says, and what was sent to that one is not taken.

Nothing follows the last number of an incarnation. At 100,000 a second, more than any node is sent, it is reached after
127 days under one leader without a restart; with 32 bits 2,400 a second had reached it after 21."""
INCARNATIONS: Final = 1 << (63 - INCARNATION_SHIFT)
"""Incarnations are below this, so that every number that carries one fits into a frame."""
INCARNATION_STEP: Final = 1 << 13
"""A node that is known has no incarnation which is higher by more, however it was started: a restart is one step, and a
directory that was moved 4,096 at most. So nobody who speaks in its name can use up its incarnations, nor be heard in
its place for good."""
