"""What clients of a simulated cluster do with schedules."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from paceline.core.scheduling.schedule_keeper import SETTLE_S
from paceline_protocol.codec import encode_definition
from paceline_protocol.messages.schedules import Misfire, Overlap, ScheduleDefinition, ScheduleOp, When, WhenKind
from simulation import tasks
from simulation.oracle.events import ModuleSeen, SchedulesSeen, TriggerAsked, Wait
from simulation.wall_clocks import right_ms

if TYPE_CHECKING:
    from simulation.clients import SimulatedClient
    from simulation.world import World

SCHEDULES = 4
"""At a time. One that is removed is followed by one of another name: ids are remembered for a while alone."""
CALM_S = 3.0
WHENS = (
    When(WhenKind.EVERY, every_ms=1_000),
    When(WhenKind.EVERY, every_ms=1_700),
    When(WhenKind.CRON, "* * * * * *", "UTC"),
    When(WhenKind.CRON, "*/2 * * * * *", "Europe/Berlin"),
)


OF_MODULE = "of a module"
"""A schedule that comes with the module of each node."""


def of_module(starts: int) -> ScheduleDefinition:
    """As a node has it that was started so often: when it is started for the second time it has another version."""
    return ScheduleDefinition(
        tasks.REVERSE, b"module.." if starts == 1 else b"changed.", 4, None, WHENS[0], owner="tasks"
    )


class ScheduleUse:
    """Of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._rng = random.Random(world.seed)
        self._names = [f"schedule {number}" for number in range(SCHEDULES)]
        self._made = SCHEDULES
        self._triggered = 0

    def use(self, client: SimulatedClient) -> None:
        """A client has something done to one of the schedules, which may not be there."""
        rng, world = self._rng, self._world
        place = rng.randrange(SCHEDULES + 1)
        name = self._names[place] if place < SCHEDULES else OF_MODULE
        drawn = rng.random()
        world.events["change of a schedule"] += 1
        if drawn < 0.5:
            client.ask_schedule(client.session.put_schedule(name, self._definition(), world.now), name, ScheduleOp.PUT)
        elif drawn < 0.6:
            to_ms = right_ms(world.now) - rng.randrange(3_000)
            request = client.session.backfill_schedule(name, to_ms - rng.randrange(8_000), to_ms, world.now)
            client.ask_schedule(request, name, 0)
        elif drawn < 0.7:
            self._triggered += 1
            task_id = b"triggers" + self._triggered.to_bytes(8, "big")
            world.oracle.hear(TriggerAsked(world.now, task_id))
            client.ask_schedule(client.session.trigger_schedule(name, task_id, world.now), name, 0, task_id)
        elif drawn < 0.8:
            self.change(client, name, ScheduleOp.PAUSE)
        elif drawn < 0.95:
            self.change(client, name, ScheduleOp.RESUME)
        else:
            self.change(client, name, ScheduleOp.REMOVE)
        if drawn >= 0.95 and place < SCHEDULES:
            self._names[place] = f"schedule {self._made}"
            self._made += 1

    def change(self, client: SimulatedClient, name: str, op: ScheduleOp) -> None:
        """Ask for this change."""
        client.ask_schedule(client.session.change_schedule(name, int(op), self._world.now), name, op)

    def _definition(self) -> bytes:
        rng = self._rng
        name = rng.choice((tasks.REVERSE, tasks.REVERSE, tasks.SLEEP, tasks.FLAKY))
        options = rng.choice((None, {}, {"delivery": 1})) if name != tasks.FLAKY else tasks.UNTIL_IT_SUCCEEDS
        args = rng.randrange(1 << 56).to_bytes(tasks.ARGS_BYTES, "big")
        misfire, overlap = int(rng.choice(list(Misfire))), int(rng.choice(list(Overlap)))
        limit = rng.choice((2, 5, 100))
        return encode_definition(ScheduleDefinition(name, args, 4, options, rng.choice(WHENS), misfire, limit, overlap))

    def end(self, since: float, wait: object) -> None:
        """All is healed: schedules fire for a while, and then nobody wants them any more. ``wait``: one step."""
        world = self._world
        assert callable(wait)
        while world.now < since + CALM_S:
            wait(Wait.RESULTS, since)
        leader = world.leader()
        if leader is not None and leader.leader is not None and leader.leader.recording.is_logging:
            is_settled = leader.leader.tasks.is_settled and world.now > leader.leader.since + 1.0
            if is_settled and not leader.leader.schedules.held:
                world.oracle.hear(SchedulesSeen(world.now, right_ms(world.now)))
            if is_settled and world.now > leader.leader.since + CALM_S:
                row = leader.table.schedules.get(OF_MODULE)
                versions = frozenset(of_module(node.starts) for node in world.nodes if node.core is not None)
                is_old = world.now > leader.leader.since + SETTLE_S + CALM_S
                world.oracle.hear(ModuleSeen(world.now, None if row is None else row.definition, versions, is_old))
        asked: set[str] = set()
        while True:
            wait(Wait.RESULTS, since)
            leader = world.leader()
            if leader is None or any(client.asks_schedules for client in world.clients):
                continue
            table = leader.table.schedules
            left = sorted(name for name in table if name != OF_MODULE or not table[name].paused)
            if not left and not asked:
                return
            asked = set(left)
            for name in left:
                op = ScheduleOp.PAUSE if name == OF_MODULE else ScheduleOp.REMOVE
                self.change(self._rng.choice(world.clients), name, op)
