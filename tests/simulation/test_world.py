"""Whole clusters under faults, in virtual time. PACELINE_SIM_SEEDS=A..B runs those seeds instead of the usual few."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from math import inf
from pathlib import Path

import pytest

from modes import COMPILED, in_seeds, source_only
from paceline.core.membership.main_connection import SILENT_S
from paceline.core.scheduling import finding
from paceline_protocol.messages.client import AdminOp
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.queues import Pausing
from paceline_protocol.messages.records import CANCEL, TaskEnd
from simulation.action_world import ActionWorld
from simulation.faults import NO_SILENCE, PEACE, Faults
from simulation.misfortune import WAYS
from simulation.oracle.bounded_waits import LIMITS_S
from simulation.oracle.events import ResultsBounded, Wait
from simulation.oracle.lost_clients import GRACE_S
from simulation.sweeps import SimulatedSweep
from simulation.wall_clocks import right_ms
from simulation.world import World

SECONDS = 8.0


def _seeds() -> range:
    first, _, last = os.environ.get("PACELINE_SIM_SEEDS", "1..12").partition("..")
    return range(int(first), int(last) + 1)


@in_seeds
@pytest.mark.parametrize("seed", _seeds())
def test_no_accepted_task_is_lost_under_any_fault(seed: int) -> None:
    world = World(seed, nodes=(1, 3, 3, 4, 5)[seed % 5])
    world.run(SECONDS)
    world.heal_and_finish()
    assert len(world.stories) > 100


@in_seeds
@pytest.mark.parametrize("seed", range(1, 7))
def test_tasks_run_after_those_that_they_depend_on_with_their_results_whoever_leads(seed: int) -> None:
    world = World(seed, nodes=(1, 3, 5)[seed % 3], clients=2, faults=Faults(dependent=0.4))
    world.run(SECONDS)
    world.heal_and_finish()
    assert world.events["task that depends on others"]
    assert world.events["task that is called with results"]


@in_seeds
@pytest.mark.parametrize("seed", range(1, 7))
def test_calls_with_one_key_are_one_task_whoever_submits_them_and_whoever_leads(seed: int) -> None:
    """But for clocks that are wrong, by which a key may be free too soon."""
    clocks = dict.fromkeys(("wall_offset_s", "wall_drift", "wall_jump_rate", "clock_jump_rate"), 0.0)
    world = World(seed, nodes=(1, 3, 5)[seed % 3], clients=3, faults=Faults(keyed=0.3, **clocks))
    world.run(SECONDS)
    world.heal_and_finish()
    assert world.events["key of a task that lives"]
    assert world.events["key of a task that has ended"]


@in_seeds
@pytest.mark.parametrize("seed", range(1, 7))
def test_what_ends_with_its_client_is_cancelled_when_that_is_gone_whoever_leads(seed: int) -> None:
    world = World(seed, nodes=(1, 3, 5)[seed % 3], clients=3, faults=Faults(clock_jump_rate=0.0))
    late: list[bytes] = []
    for number in range(9):
        world.run(1.5)
        client = world.rng.choice(world.clients)
        late += [world.submit_late(client, on_client_lost=CANCEL) for _ in range(3)]
        world.run(0.5)
        client.dies()
        if number >= 2 and any(world.stories[task_id].accepted_at is not None for task_id in late):
            break  # else nobody has led whenever there were some
    world.run(2 * GRACE_S)
    world.heal_and_finish()
    ends = [world.stories[task_id].outcome for task_id in late if world.stories[task_id].accepted_at is not None]
    assert ends
    assert {end and end[0] for end in ends} == {TaskEnd.CANCELLED}


@source_only
def test_all_tasks_of_a_name_are_cancelled_that_were_there_and_none_that_came_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While nodes crash, tasks run and come, and each page has a few of them."""
    monkeypatch.setattr(finding, "PAGE_TASKS", 40)
    events = Counter[str]()
    for seed in range(1, 5):
        world = World(seed, faults=Faults(clock_jump_rate=0.0))
        world.run(1.5)
        client, other = world.clients
        late = [world.submit_late(client) for _ in range(20)]
        world.run(2.0)
        sweep = SimulatedSweep(other, "rev*", ("waiting", "delayed"))
        later: list[tuple[float, bytes]] = []
        while not sweep.step():
            later.append((world.now, world.submit_late(client)))
            assert len(later) < 300, "it comes to an end"
            leading = world.leader()
            if seed % 2 and len(later) == 3 and leading is not None:
                next(node for node in world.nodes if node.core is leading).crash(power_fails=False)
            world.run(0.05, tasks_per_second=30.0)
        accepted = [world.stories[task_id].told_accepted_at or inf for task_id in late]
        there = [task_id for task_id, at in zip(late, accepted, strict=True) if at < sweep.began_at]
        assert there
        assert {(world.stories[task_id].outcome or (0,))[0] for task_id in there} == {TaskEnd.CANCELLED}
        first_page_at = sweep.first_page_at
        assert not {task_id for at, task_id in later if at > first_page_at} & sweep.found
        events += world.events
        events["task that came later"] += len(later)
        for task_id in [task_id for _, task_id in later if task_id in client.open]:
            client.cancel(task_id)
        world.heal_and_finish()
    assert events["sweep that ends with its leader"]
    assert events["task that came later"]


@in_seeds
@pytest.mark.parametrize("seed", range(1, 7))
def test_each_moment_of_each_schedule_fires_once_or_comes_to_what_its_policies_say(seed: int) -> None:
    """Whoever leads, whatever clocks show, and while somebody changes schedules all the time."""
    world = World(seed, nodes=(1, 3, 3, 4, 5)[seed % 5], faults=Faults(schedules=0.08, reboot_rate=0.1))
    world.run(SECONDS)
    world.heal_and_finish()
    kinds = Counter(kind for _, kind, _ in world.log.values())
    assert kinds[EntryKind.SCHEDULE] > 5
    assert kinds[EntryKind.FIRING] > 5


@in_seeds
@pytest.mark.parametrize("seed", range(1, 9))
def test_nor_if_no_clock_tells_when(seed: int) -> None:
    world = ActionWorld(seed, nodes=(1, 3, 3, 4, 5)[seed % 5])
    world.run_actions(3_000)
    world.heal_and_finish()
    assert len(world.stories) > 100


def test_with_journal_os_a_machine_that_crashes_is_a_new_node_and_no_accepted_task_is_lost() -> None:
    """But not of all machines at once, nor of two voters before the first is replaced."""
    events = Counter[str]()
    for seed in (1, 2):
        faults = Faults(crash_rate=0.6, reboot_rate=0.0, admin_rate=0.0)
        world = World(seed, nodes=(3, 5)[seed % 2], journal="os", faults=faults)
        world.run(10.0)
        world.heal_and_finish()
        events += world.events
    assert events["power cut"] > 0
    assert events["kill"] > 0


def test_tasks_fail_and_kill_their_workers_and_wall_clocks_are_wrong() -> None:
    world = World(7, faults=Faults(task_fails=0.2, task_kills=0.2, wall_jump_rate=0.5))
    world.run(5.0)
    shown = {node.wall_clock.ms(node.now) for node in world.nodes}
    world.heal_and_finish()
    assert max(shown) - min(shown) > 10_000
    assert world.events["wall clock jump"] > 0
    assert world.events["worker killed by its task"] > 0
    ends = {story.told[0] for story in world.stories.values() if story.told is not None}
    assert {TaskEnd.SUCCEEDED, TaskEnd.FAILED, TaskEnd.LOST} <= ends
    shown = {node.wall_clock.ms(node.now) for node in world.nodes}
    assert shown == {right_ms(world.now)}


@in_seeds
@pytest.mark.parametrize("seed", range(1, 9))
def test_no_task_that_is_held_is_handed_out_under_any_fault(seed: int) -> None:
    faults = Faults(alters=8.0, queues=0.3, clock_jump_rate=0.0)
    world = World(seed, nodes=(1, 3, 5)[seed % 3], faults=faults)
    world.run(4.0)
    world.heal_and_finish()
    assert world.events["altered: DONE"]


@in_seeds
@pytest.mark.parametrize("seed", range(1, 9))
def test_no_task_of_a_paused_queue_is_handed_out_under_any_fault(seed: int) -> None:
    world = World(seed, nodes=(1, 3, 5)[seed % 3], faults=Faults(queues=0.5, clock_jump_rate=0.0))
    world.run(4.0)
    world.heal_and_finish()
    asked = Counter({pausing: world.events[f"queue: {pausing.name}"] for pausing in Pausing})
    assert asked[Pausing.PAUSE]
    assert any("queue" in story.options for story in world.stories.values())


@in_seeds
@pytest.mark.parametrize("seed", range(1, 9))
def test_the_tasks_of_a_graph_are_counted_as_the_log_has_them_under_any_fault(seed: int) -> None:
    world = World(seed, nodes=(1, 3, 5)[seed % 3], faults=Faults(graphs=0.5, dependent=0.2, clock_jump_rate=0.0))
    world.run(4.0)
    world.heal_and_finish()
    assert world.events["answer how far a graph is"]
    assert any("graph" in story.options and story.outcome is not None for story in world.stories.values())


@in_seeds
@pytest.mark.parametrize("seed", _seeds())
def test_no_node_is_over_committed_and_what_some_node_can_run_ends_under_any_fault(seed: int) -> None:
    world = World(seed, nodes=(1, 3, 5)[seed % 3], faults=Faults(places=0.5))
    world.run(4.0)
    world.heal_and_finish()
    asked = [story for story in world.stories.values() if "needs" in story.options or "tags" in story.options]
    assert any(story.starts for story in asked)


@in_seeds
@pytest.mark.parametrize("seed", range(1, 9))
def test_of_one_key_no_more_run_than_may_whoever_leads(seed: int) -> None:
    faults = Faults(limits=0.6, task_is_slow=0.2, crash_rate=0.4, **dict.fromkeys(NO_SILENCE, 0.0))
    world = World(seed, nodes=(1, 3, 5)[seed % 3], faults=faults)
    world.run(4.0)
    world.heal_and_finish()
    limited = [story for story in world.stories.values() if "max_running" in story.options]
    assert sum([len(story.starts) for story in limited]) > 50
    rated = [story for story in world.stories.values() if "rate" in story.options]
    assert sum([len(story.starts) for story in rated]) > 20


@in_seeds
@pytest.mark.parametrize("seed", range(1, 9))
def test_a_function_is_called_for_no_more_than_may_go_together_and_each_call_ends_as_itself(seed: int) -> None:
    world = World(seed, nodes=(1, 3, 5)[seed % 3], faults=Faults(batches=0.7))
    world.run(4.0)
    world.heal_and_finish()
    assert world.events["call for several tasks at once"] > 3


def test_without_faults_every_task_runs_once_and_once_more_for_each_failure() -> None:
    world = World(101, faults=PEACE)
    world.run(3.0)
    world.heal_and_finish()
    ran = {True: set[int](), False: set[int]()}
    for story in world.stories.values():
        end = story.outcome if story.requeued_from else story.told
        if end is None and (story.requeued_from or story.client_gone_at is not None):
            continue  # when it was asked for, the dead task was none any more; or nobody is there who could be told
        assert end is not None
        has_not_begun = end[0] in (TaskEnd.EXPIRED, TaskEnd.CANCELLED) and not story.stopping
        ran[has_not_begun].add(len(story.starts) - len(story.retried))
    assert ran == {True: {0}, False: {1}}


def test_no_task_waits_until_a_snapshot_is_written_and_no_leader_changes_because_of_one() -> None:
    world = World(1, faults=replace(PEACE))
    world.settings = replace(world.settings, snapshot_log_entries=300, snapshot_log_bytes=64 << 20)
    for node in world.nodes:
        node.crash(power_fails=False)
        node.start()
    world.run(6.0, tasks_per_second=200.0)  # the table grows
    leaders, snapshots = dict(world.leaders), world.events["own snapshot"]
    world.faults.disk_byte_s = 2e-5
    slow_since = world.now
    world.run(10.0, tasks_per_second=20.0)
    written_s = min(node.journal.snapshot_bytes() for node in world.nodes) * world.faults.disk_byte_s
    assert written_s > world.settings.timing.election_timeout_min_s
    assert world.events["own snapshot"] - snapshots >= 3
    assert world.leaders == leaders
    world.heal_and_finish()
    stories = [story for story in world.stories.values() if story.submitted_at >= slow_since]
    longest_s = max(story.accepted_at - story.submitted_at for story in stories if story.accepted_at is not None)
    assert longest_s < 3 / 4 * written_s


def test_a_follower_that_is_restarted_under_load_finds_the_log_where_it_was() -> None:
    world = World(2, faults=replace(PEACE))
    world.settings = replace(
        world.settings,
        log_keep_entries=16,
        log_keep_bytes=16 << 20,
        snapshot_log_entries=100_000,
        snapshot_log_bytes=64 << 20,
    )
    for node in world.nodes:
        node.crash(power_fails=False)
        node.start()
    world.run(3.0)
    follower = next(node for node in world.nodes if node.core is not None and not node.core.consensus.is_leader)
    assert follower.core is not None
    has = follower.core.consensus.log.last_index
    follower.crash(power_fails=True)
    back_at = world.now + world.settings.voter_timeout_s - 0.3
    while world.now < back_at:
        world.step(world.now + 0.0025)
        world.clients[0].submit()
    (log,) = (core.consensus.log for node in world.nodes if (core := node.core) and core.consensus.is_leader)
    assert log.snapshot_index <= has < log.applied_index - 4 * world.settings.log_keep_entries
    follower.start()
    world.heal_and_finish()


def test_nodes_that_were_restarted_while_none_could_reach_another_soon_find_each_other() -> None:
    world = World(3, faults=replace(PEACE))
    world.run(3.0)
    world.cut = {(one.address, another.address) for one, another in itertools.permutations(world.nodes, 2)}
    for node in world.nodes:
        node.crash(power_fails=False)
        node.start()
    until = world.now + 7.0  # by then an address that is silent is asked every five seconds
    while world.now < until:
        world.step(until)
    world.heal_and_finish()


def test_nodes_that_keep_different_numbers_of_results_hold_the_same_state_whoever_leads() -> None:
    world = World(8, faults=replace(PEACE))
    for node, limit_tasks in zip(world.nodes, (4, 10, 1_000), strict=True):
        node.crash(power_fails=False)
        node.limits = {"result_limit_tasks": limit_tasks}
        node.start()
    world.oracle.hear(ResultsBounded(world.now))
    kept: list[int] = []
    for node in world.nodes:
        world.run(0.5)
        world.clients[0].administer(AdminOp.TRANSFER, node.identity.node_id)
        world.run(0.5)
        most = 0  # at one moment it may be few, of any leader: whoever awaits results has just fetched them
        for _ in range(20):
            world.run(0.05)
            leader = world.leader()
            assert leader is not None
            assert leader is node.core
            most = max(most, len(leader.table.results))
        kept.append(most)
    world.heal_and_finish()
    few, some, many = kept
    assert few < some < many


def _settled() -> World:
    """Three voters, and a leader that knows what its nodes have."""
    world = World(4, nodes=3, faults=replace(PEACE))
    world.run(2.0, tasks_per_second=10.0)
    while not all(client.is_done for client in world.clients) or not world.has_all_accounts():
        world.step()
    return world


@pytest.mark.parametrize("ways", WAYS)
def test_a_leader_that_the_quick_connections_alone_reach_is_followed_by_another(ways: str) -> None:
    world = _settled()
    first = next(node for node in world.nodes if node.core is world.leader())
    world.cut_mains_of(first, ways)
    cut_at = world.now
    world.clients[0].submit()
    while world.leader() in (None, first.core):
        world.step()
        assert world.now < cut_at + LIMITS_S[Wait.SUCCESSOR]
    while not world.clients[0].is_done:
        world.step()
        assert world.now < cut_at + 10.0
    world.heal_and_finish()


@pytest.mark.parametrize("ways", WAYS)
def test_a_node_that_the_quick_connections_alone_reach_is_given_up_and_its_tasks_run_elsewhere(ways: str) -> None:
    world = _settled()
    leader = world.leader()
    assert leader is not None
    assert leader.leader is not None
    alone = next(node for node in world.nodes if node.core is not leader)
    world.cut_mains_of(alone, ways)
    cut_at = world.now
    for _ in range(20):
        world.clients[0].submit()
    while alone.identity.node_id in leader.leader.tasks.ledgers:
        world.step()
        assert world.now < cut_at + 1.0 + SILENT_S + world.settings.node_timeout_s
    while not world.clients[0].is_done:
        world.step()
        assert world.now < cut_at + 10.0
    assert world.leader() is leader
    world.heal_and_finish()


def test_the_same_seed_gives_the_same_run() -> None:
    def run() -> tuple[dict[int, tuple[int, int, bytes]], dict[str, int]]:
        world = World(5)
        world.run(3.0)
        world.close()
        return world.log, world.events

    assert run() == run()


_DIGEST = """
from hashlib import sha256
from paceline.version import is_compiled
from simulation.action_world import ActionWorld
from simulation.world import World
world = World(5)
world.run(3.0)
log = [(index, term, int(kind), data) for index, (term, kind, data) in sorted(world.log.items())]
print(is_compiled(), sha256(repr((log, sorted(world.events.items()))).encode()).hexdigest())
"""


@pytest.mark.skipif(not COMPILED, reason="compares the compiled modules with their source")
def test_the_compiled_modules_run_as_their_source_does() -> None:
    root = Path(__file__).parents[2]

    def run(*paths: str) -> list[str]:
        path = os.pathsep.join(str(root / each) for each in (*paths, "tests"))
        out = subprocess.run(
            [sys.executable, "-c", _DIGEST], env={**os.environ, "PYTHONPATH": path}, check=True, stdout=subprocess.PIPE
        )
        return out.stdout.decode().split()

    (of_source, source), (of_compiled, compiled) = run("node", "protocol"), run()
    assert (of_source, of_compiled) == ("False", "True")
    assert source == compiled
