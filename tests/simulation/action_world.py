"""A cluster without a common clock: what happens next is chosen, and no clock has a say in it.

The clock of a node stands still until the node is woken, and then jumps to what the node waits for. Frames between
machines and writes to disks take any time, so that each may overtake any other; only connections of clients and workers
keep their order. It looks for broken safety in orders that a realistic network would not produce for years.
"""

from __future__ import annotations

from collections.abc import Callable

from paceline.runtime.transport.memory_transport import BETWEEN_NODES, LinkKind
from simulation.faults import Faults
from simulation.oracle.events import ClockJumped
from simulation.oracle.promise import InvariantBroken
from simulation.world import World

SPREAD_S = 0.25
"""Delays are drawn up to this; as no clock moves with them, it only sets how much is under way at a time."""
WAKE = 0.25
"""The probability that a node is woken in a step."""
FAULTS = Faults(
    drop=0.05,
    duplicate=0.1,
    crash_rate=0.1,
    partition_rate=0.05,
    pause_rate=0.0,
    worker_death_rate=0.1,
    disk_delay_s=SPREAD_S,
    disk_failure_rate=0.02,
    wipe_rate=0.0,
    put_back_rate=0.0,  # what a voter has forgotten is found out in time, and here there is none
    clone_rate=0.0,
    clock_jump_rate=0.0,
)


class ActionWorld(World):
    """A World whose nodes' clocks move only when they are woken."""

    def __init__(self, seed: int, *, nodes: int = 3, trace: Callable[[str], None] | None = None) -> None:
        self._last_arrival: dict[tuple[str, str], float] = {}  # of connections, which keep their order
        super().__init__(seed, nodes=nodes, faults=FAULTS, trace=trace)
        self.clocks_tell_time = False

    def _deliver(self, kind: LinkKind, source: str, destination: str, size_bytes: int) -> tuple[float, ...]:
        delays = super()._deliver(kind, source, destination, size_bytes)
        if not self.clocks_tell_time:
            longest_s = SPREAD_S if kind in BETWEEN_NODES else SPREAD_S / 10
            delays = tuple(self.rng.uniform(0.0, longest_s) for _ in delays)
        if kind in BETWEEN_NODES:
            return delays
        link = (source, destination)
        arrival = max(self.now + max(delays, default=0.0), self._last_arrival.get(link, 0.0))
        self._last_arrival[link] = arrival
        return tuple(arrival - self.now for _ in delays)

    def _time_passed(self, passed_s: float) -> None:
        if not self.clocks_tell_time:
            for node in self.nodes:
                node.ahead_s -= passed_s

    def run_actions(self, steps: int) -> None:
        """So many steps. Raises InvariantBroken, naming the seed."""
        rng = self.rng
        try:
            for _ in range(steps):
                passed_s = self.step()
                if rng.random() < WAKE:
                    self._wake()
                if rng.random() < 0.1:
                    self._use(rng.choice(self.clients))
                self._misfortune.strike(passed_s)
        except InvariantBroken as broken:
            raise InvariantBroken(f"{broken} (seed {self.seed})") from broken
        self.clocks_tell_time = True

    def _wake(self) -> None:
        """The clock of one node jumps to what it waits for."""
        node = self.rng.choice(self.nodes)
        if node.core is not None:
            by_s = max(0.0, node.core.next_deadline() - node.now)
            node.ahead_s += by_s
            self.oracle.hear(ClockJumped(self.now, by_s))
