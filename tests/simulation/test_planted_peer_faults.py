"""Breaks whole nodes and clients on purpose, in ways that schedulers have been broken, and sees each one found.

As ``test_planted_faults.py`` does for the consensus core. What breaks a promise to users is found by the simulated
world; what only costs time or patience, or needs a rare order of events, by the test that is named.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import pytest

from modes import source_only
from paceline.client.session.epoch import Epoch
from paceline.client.session.ledger import CallLedger
from paceline.core import outbox
from paceline.core.clients import sessions
from paceline.core.clients.session_table import SessionTable
from paceline.core.feature_levels import NodeTooOld
from paceline.core.membership import main_connection, replica_keeper, starts
from paceline.core.membership.directory import Directory
from paceline.core.membership.first_boot import FirstBoot
from paceline.core.membership.identity import Identity
from paceline.core.membership.main_connection import MainConnection
from paceline.core.membership.starts import Starts
from paceline.core.node import NodeCore
from paceline.core.raft.confirmations import Confirmations
from paceline.core.raft.consensus import Consensus
from paceline.core.raft.election import ElectionTimer
from paceline.core.raft.log import ConsensusViolation
from paceline.core.raft.replication import Progress, Replication
from paceline.core.raft.writes import Writes
from paceline.core.reports import graphs, questions
from paceline.core.scheduling import (
    dead_task_requests,
    dispatch,
    due_tasks,
    nodes,
    placed_lanes,
    recording,
    remark_requests,
    schedule_keeper,
)
from paceline.core.scheduling.admission import Admission
from paceline.core.scheduling.alter_requests import AlterRequests
from paceline.core.scheduling.cancelling import Cancelling
from paceline.core.scheduling.credits import NodeLedger
from paceline.core.scheduling.dead_limits import DeadLimits
from paceline.core.scheduling.dead_task_requests import DeadTaskRequests
from paceline.core.scheduling.defaults import Defaults
from paceline.core.scheduling.draft import Draft, Proposals
from paceline.core.scheduling.due_tasks import DueTasks
from paceline.core.scheduling.gates import Gates, LimitGate
from paceline.core.scheduling.inputs import Inputs
from paceline.core.scheduling.leader import Leader
from paceline.core.scheduling.live_tasks import LiveTasks
from paceline.core.scheduling.module_schedules import ModuleSchedules
from paceline.core.scheduling.nodes import Nodes
from paceline.core.scheduling.owners import Owners
from paceline.core.scheduling.paces import Pace
from paceline.core.scheduling.placement import Requirements, Room
from paceline.core.scheduling.queue_requests import QueueRequests
from paceline.core.scheduling.queue_turns import QueueTurns
from paceline.core.scheduling.queues import Queues
from paceline.core.scheduling.recording import Recording
from paceline.core.scheduling.releases import Releases
from paceline.core.scheduling.remark_requests import RemarkRequests
from paceline.core.scheduling.retention import Retention
from paceline.core.scheduling.retrying import Retrying
from paceline.core.scheduling.schedule_keeper import ScheduleKeeper
from paceline.core.state import retries, snapshots
from paceline.core.state.call_options import CallOptions
from paceline.core.state.dead_tasks import DeadTasks
from paceline.core.state.graphs import GraphSection
from paceline.core.state.queues import QueueSection
from paceline.core.state.records import Records
from paceline.core.state.results import Results
from paceline.core.state.retries import Retries
from paceline.core.state.schedules import Schedules
from paceline.core.state.table import TaskTable
from paceline.core.state.task import Task
from paceline.core.state.tasks import Tasks
from paceline.core.work import limits, slots
from paceline.core.work.amounts import TakenAmounts
from paceline.core.work.async_slot import AsyncSlot
from paceline.core.work.draining import Draining
from paceline.core.work.held import HeldTasks
from paceline.core.work.kept_remarks import KeptRemarks
from paceline.core.work.leader_link import LeaderLink
from paceline.core.work.limits import LimitedTask, TimeLimits
from paceline.core.work.parking import Parking
from paceline.core.work.slots import Slots
from paceline.core.work.started import StartedTasks
from paceline.core.work.unrecorded import UnrecordedBatch
from paceline.core.work.worker_slot import WorkerSlot
from paceline.errors import JournalCorrupt
from paceline.runtime.journal import recovery
from paceline.runtime.journal import writer as journal_writer
from paceline.runtime.reactor import Reactor
from paceline_protocol.messages.client import AdminOp
from paceline_protocol.messages.records import TaskEnd
from simulation import (
    alter_faults,
    async_faults,
    batch_faults,
    dead_faults,
    default_faults,
    dependency_faults,
    drain_faults,
    gate_faults,
    graph_faults,
    key_faults,
    limit_faults,
    owner_faults,
    parking_faults,
    place_faults,
    queue_faults,
    record_faults,
    remark_faults,
    retry_faults,
    schedule_faults,
    stop_faults,
    test_planted_faults,
)
from simulation import peer_faults as broken
from simulation.faults import NO_SILENCE, PEACE, Faults
from simulation.machines import SimulatedNode
from simulation.oracle.bounded_waits import LIMITS_S
from simulation.oracle.events import Wait
from simulation.oracle.promise import InvariantBroken
from simulation.slow_links import LINK_BYTE_S, limits_for
from simulation.tasks import LASTS
from simulation.world import World

SEEDS = range(1, 81)
SECONDS, TASKS_PER_S = 5.0, 40.0
FINISH_WITHIN_S = 15.0


@dataclass(frozen=True)
class Fault:
    """One attribute replaced. ``broken`` is given the true one. ``found_by``: "" or "module:test"."""

    name: str
    owner: Any
    attribute: str
    broken: Callable[[Any], Any]
    found_by: str = ""
    faults: dict[str, float] = field(default_factory=dict)  # that differ from the usual ones
    nodes: int = 3
    expect: int | None = None
    finding: str = ""  # what the world has to say of it, if there is something that it could say by accident
    seed: int = 1  # tried first, as one that has found it; once it does not any more, the others are


RIGHT_CLOCKS = dict.fromkeys(("wall_offset_s", "wall_drift", "wall_jump_rate", "clock_jump_rate"), 0.0) | {"keyed": 0.3}
"""So that no key is free before its time."""
STARTS = "core.membership.test_starts:test"
QUEUES = "core.scheduling.test_queues:test"
PLACEMENT = "core.scheduling.test_placement:test"
WITH_PLACES = {"places": 0.7}
WITH_SCHEDULES = {"schedules": 0.1}
ALTERING = "core.scheduling.test_altering:test"
WITH_ALTERS = {"alters": 8.0, "clock_jump_rate": 0.0}
PACES = "core.scheduling.test_paces:test"
BATCHES = "core.scheduling.test_batches:test"
OF_A_NODE = "core.work.test_batches:test"
WITH_BATCHES = {"batches": 0.8, "task_is_slow": 0.0, "task_kills": 0.0}
GATES = "core.scheduling.test_gates:test"
WITH_LIMITS = {"limits": 0.6, "task_is_slow": 0.2, "crash_rate": 0.4} | dict.fromkeys(NO_SILENCE, 0.0)
WITH_GRAPHS = {"graphs": 0.5, "clock_jump_rate": 0.0}
IN_QUEUES = {"queues": 0.5, "clock_jump_rate": 0.0}
TASK, LEADER, LINK = (
    "core.state.test_task:test",
    "core.scheduling.test_leader:test",
    "core.work.test_leader_link:test",
)
SESSIONS, DELIVERY, NODE = (
    "core.clients.test_sessions:test",
    "core.scheduling.test_delivery:test",
    "core.test_node:test",
)
MAIN = "core.membership.test_main_connection:test"
LARGE = "core.scheduling.test_large_arguments:test"
DISPATCH, SLOTS = "core.scheduling.test_dispatch:test", "core.work.test_slots:test"
DRAFT, SLOW_LOG = "core.scheduling.test_draft:test", "core.scheduling.test_slow_log:test"
RETRIES = "core.scheduling.test_retries:test"
CANCEL = "core.scheduling.test_cancelling:test"
OWNERS = "core.scheduling.test_owners:test"
STOPS = "core.work.test_stopping:test"
ASYNC = "core.work.test_async_slots:test"
DEFAULTS = "core.scheduling.test_defaults:test"
DUE = "core.scheduling.test_due_tasks:test"
RETENTION, READING = "core.scheduling.test_retention:test", "core.scheduling.test_reading_clients:test"
DEAD = "core.scheduling.test_dead_tasks:test"
CLIENT, HERE = "client.test_epoch:test", "simulation.test_planted_peer_faults:test"
SYNCED = "journal.test_synced:test"
JOURNAL, WORLD = "journal.test_recovery:test", "simulation.test_world:test"

CRASHES = {"crash_rate": 0.6}
DUPLICATES = {"duplicate": 0.3, "slow": 0.3}
SLOW = {"duplicate": 0.3, "slow": 0.6}
DISKS = {"crash_rate": 0.8, "disk_delay_s": 0.05, "reboot_rate": 0.4}
SLOW_DISKS = {"crash_rate": 1.0, "disk_delay_s": 0.15}
REBOOTS = {"crash_rate": 0.6, "disk_delay_s": 0.001, "reboot_rate": 0.5}
PUT_BACK = {"put_back_rate": 2.0, "wipe_rate": 0.0, "admin_rate": 0.0, "crash_rate": 0.1, "partition_rate": 0.0}
CLONES = {"clone_rate": 2.0, "wipe_rate": 0.0, "admin_rate": 0.0, "crash_rate": 0.1, "partition_rate": 0.0}
MOVED = {"crash_rate": 1.2, "move": 0.8}
WIPES = {"wipe_rate": 0.5, "crash_rate": 0.3}
PARTITIONS = {"partition_rate": 1.5}
CANCELS = {"cancel": 0.5}
KILLERS = {"task_kills": 0.2}
DEATHS = {"worker_death_rate": 4.0, "task_kills": 0.1}
LOSSES = {"crash_rate": 1.5, "task_kills": 0.3, "worker_death_rate": 4.0}
GHOSTS = {"wipe_rate": 0.5, "crash_rate": 0.6, "stale": 1.0, "partition_rate": 1.5}
LATE_GHOSTS = GHOSTS | {"duplicate": 0.3, "slow": 0.5}
BOOTS = {"crash_rate": 1.5, "late": 0.3, "cut_at_save": 0.5, "partition_rate": 1.5}
QUICK_ALONE = {"mains_alone": 1.0, "main_cut_rate": 0.5}
SLOW_LINKS = {"link_byte_s": LINK_BYTE_S, "large": 0.01}
MOVES = {"crash_rate": 1.5, "move": 0.8, "late": 0.6, "drop": 0.3, "partition_rate": 1.5}

FAULTS = [
    # the network
    Fault(
        "has one connection to each peer",
        outbox,
        "QUICK",
        lambda true: frozenset(),
        faults=SLOW_LINKS,
        finding="comes to lead",
    ),
    Fault(
        "asks a silent node behind all that it was sent",
        nodes,
        "QUIET_S",
        lambda true: inf,
        faults=SLOW_LINKS,
        finding="no node or worker was lost",
        seed=2,
    ),
    Fault(
        "asks past Dispatches for what they bring",
        Nodes,
        "beat",
        broken.count_what_is_on_its_way,
        f"{LARGE}_a_node_that_is_not_heard_is_asked_past_what_it_was_sent_and_only_for_what_it_has_named",
    ),
    Fault(
        "sends a node at once whatever it has slots for",
        NodeLedger,
        "__init__",
        broken.have_no_window,
        f"{LARGE}_a_node_is_given_no_more_than_a_window_before_it_has_named_what_has_arrived",
    ),
    Fault(
        "takes a quick connection for a whole one",
        MainConnection,
        "hear",
        lambda true: lambda *_: True,
        faults=QUICK_ALONE,
        finding="main connections carry nothing",
        seed=1,
    ),
    Fault(
        "gives a main connection no time for what is under way",
        main_connection,
        "SLOWEST_BYTES_PER_S",
        lambda true: inf,
        f"{MAIN}_what_is_under_way_is_waited_for",
    ),
    Fault(
        "forgets what a main connection has lost",
        main_connection,
        "LOSSES",
        lambda true: inf,
        f"{MAIN}_a_path_that_loses_what_is_large_again_and_again_is_given_no_time_for_it_until_it_carries_some",
    ),
    Fault(
        "takes what others were sent for what it was",
        Directory,
        "_hear_by_main",
        lambda true: lambda self, peer, envelope, now: true(self, peer, envelope._replace(recipient="me"), now),
        "core.membership.test_membership:test_what_others_were_sent_says_nothing_of_what_this_node_was",
    ),
    Fault(
        "asks nobody for what is missing",
        MainConnection,
        "is_to_ask",
        lambda true: lambda *_: False,
        f"{MAIN}_a_peer_of_which_something_is_missing_is_asked_for_an_answer_ever_more_seldom",
    ),
    # moments of the wall clock
    Fault("hands out what is delayed", DueTasks, "is_early", lambda true: lambda *_: False, faults=CRASHES),
    Fault("hands out what has expired", DueTasks, "is_late", lambda true: lambda *_: False, faults=CRASHES),
    Fault("sets no moments", DueTasks, "watch", lambda true: lambda *_: None),
    Fault(
        "starts what expired while its start was logged",
        Leader,
        "_end_late",
        broken.skip,
        f"{DUE}_what_expires_while_its_start_is_logged_before_the_nodes_have_told_does_not_start",
    ),
    Fault("lets moments pass", Leader, "meet_moments", lambda true: lambda *_: None),
    Fault(
        "tells what expires before that is committed",
        recording,
        "_DECIDED_HERE",
        lambda true: frozenset({TaskEnd.CANCELLED}),
        f"{DUE}_what_has_not_started_by_then_ends_as_expired_and_is_told_so_once_that_is_committed",
    ),
    # what is recorded
    Fault(
        "records every outcome",
        Results,
        "record",
        broken.record_every_outcome,
        f"{TASK}_the_first_outcome_of_a_task_is_recorded_and_later_ones_are_counted",
    ),
    Fault(
        "drops results by the limit of each node",
        Results,
        "record",
        broken.drop_by_own_limit,
        finding="another state",
    ),
    Fault(
        "accepts what it knows",
        Tasks,
        "apply",
        broken.accept_what_is_known,
        f"{TASK}_a_task_is_accepted_once_whether_it_is_live_ended_or_released",
    ),
    Fault(
        "snapshots have no attempts",
        snapshots.Capture,
        "__init__",
        broken.snapshot_without("attempts"),
        faults=LOSSES,
        seed=3,
    ),
    Fault(
        "snapshots have no results",
        snapshots.Capture,
        "__init__",
        broken.snapshot_without("results"),
        faults=CRASHES,
        seed=4,
    ),
    Fault(
        "snapshots have no released ids",
        snapshots.Capture,
        "__init__",
        broken.snapshot_without("released"),
        faults=REBOOTS,
        finding="another state",
        seed=2,
    ),
    Fault(
        "snapshots have no totals",
        snapshots.Capture,
        "__init__",
        broken.snapshot_without("totals"),
        faults=REBOOTS,
        finding="another state",
        seed=2,
    ),
    Fault(
        "raises the feature level whatever others understand",
        replica_keeper,
        "common_level",
        broken.raise_alone,
        faults=CRASHES,
        finding="this node understands up to",
        seed=2,
    ),
    Fault("logs the end before the acceptance", Draft, "entries", broken.end_before_acceptance),
    Fault(
        "releases before it is acknowledged",
        sessions.ClientSession,
        "acknowledge",
        broken.release_early,
        f"{SESSIONS}_results_are_released_when_their_update_is_acknowledged_and_once",
    ),
    # what is started
    Fault("does not see that a task is known", Recording, "open_task", broken.say_unknown, faults=CRASHES, seed=2),
    Fault("logs no start", Draft, "entries", broken.do_not_log_starts, faults=CRASHES, seed=2),
    Fault(
        "proposes while the log must not grow",
        Proposals,
        "make_room",
        broken.propose_at_once,
        f"{DRAFT}_during_a_transfer_nothing_is_proposed_however_much_comes_and_all_of_it_afterwards_in_order",
    ),
    Fault(
        "forgets what has ended before the log has it",
        Proposals,
        "end",
        broken.keep_no_account,
        f"{SLOW_LOG}_while_the_log_stands_still_what_has_ended_is_bounded_and_the_queue_refuses_what_it_has_no_room_for",
    ),
    Fault(
        "leads on while its own disk stands still",
        Leader,
        "waits_for_own_disk",
        broken.property_always(False),
        f"{SLOW_LOG}_a_leader_whose_own_disk_stands_still_gives_way_to_one_whose_disk_does_not",
    ),
    Fault(
        "leads on however many nodes have gone",
        Nodes,
        "remembers_too_many",
        broken.property_always(False),
        f"{LEADER}_a_leader_that_has_seen_very_many_nodes_come_and_go_gives_way_to_one_that_need_not_remember_them",
    ),
    Fault(
        "starts before the start is logged",
        Leader,
        "dispatch",
        broken.start_with_acceptance,
        faults=SLOW_DISKS,
        seed=23,
    ),
    Fault(
        "starts again what a leader had started", Recording, "give_up_exhausted", broken.skip, faults=CRASHES, seed=2
    ),
    Fault("does not see that a node was restarted", Nodes, "_node_restarted", broken.skip, faults=CRASHES, seed=34),
    Fault(
        "gives nodes up while the leadership is transferred",
        Nodes,
        "tick",
        broken.give_up_in_a_transfer,
        f"{HERE}_a_node_that_falls_silent_is_given_up_behind_a_transfer_and_not_within_it",
    ),
    Fault(
        "takes old accounts",
        Nodes,
        "on_enrol",
        broken.take_old_accounts,
        f"{LEADER}_an_old_account_that_comes_late_is_ignored",
    ),
    Fault("gives back what is under way", Nodes, "on_enrol", broken.give_back_whatever_is_missing, faults=SLOW, seed=3),
    Fault("takes a dispatch twice", LeaderLink, "on_dispatch", broken.take_twice, faults=DUPLICATES),
    Fault(
        "numbers dispatches from zero",
        LeaderLink,
        "__init__",
        broken.number_from_zero,
        f"{DELIVERY}_what_was_sent_to_a_node_before_it_was_restarted_does_not_start_there",
    ),
    Fault(
        "dispatches beyond its lease",
        Replication,
        "lease_until",
        broken.never_end_the_lease,
        faults=PARTITIONS,
        finding="dispatches, and can have heard only",
        seed=3,
    ),
    Fault(
        "takes a late answer for one of now",
        Confirmations,
        "answered",
        broken.count_answers_as_of_now,
        faults=LATE_GHOSTS,
        finding="dispatches, and can have heard only",
        seed=6,
    ),
    Fault(
        "hears deposed leaders",
        LeaderLink,
        "_follow",
        broken.follow_anyone,
        f"{LINK}_a_deposed_leader_is_not_heard",
    ),
    Fault(
        "does not adopt what runs",
        LiveTasks,
        "adopt",
        broken.skip,
        f"{LEADER}_a_new_leader_leaves_tasks_where_they_run_and_dispatches_the_rest",
    ),
    Fault(
        "ignores the number of an attempt",
        Recording,
        "attempts_lost",
        broken.lose_any_attempt,
        f"{LEADER}_the_loss_of_an_attempt_that_is_not_the_current_one_changes_nothing",
    ),
    Fault(
        "gives up a task early",
        Task,
        "attempt_limit",
        broken.attempts_more(-1),
        faults=KILLERS,
        finding="given up after attempt",
    ),
    Fault(
        "gives up a task late",
        Task,
        "attempt_limit",
        broken.attempts_more(1),
        faults=KILLERS,
        finding="attempt 3 starts, and 2 were lost",
        seed=2,
    ),
    Fault(
        "counts a lost attempt twice",
        LiveTasks,
        "lose_attempt",
        broken.count_again,
        f"{LEADER}_the_loss_of_an_attempt_that_an_earlier_leader_had_logged_is_not_counted_again",
    ),
    # what is told
    Fault("does not find recovered tasks", questions, "whereabouts", broken.overlook_recovered, faults=CRASHES, seed=2),
    Fault("forgets who waits for its window", SessionTable, "acknowledge", broken.acknowledge_only),
    Fault("keeps who was cut off", SessionTable, "_close_if_drained", broken.skip, faults=CRASHES),
    Fault("calls a failure a success", HeldTasks, "report", broken.call_failures_successes),
    Fault("tells a result before it is committed", Task, "waits_for_commit", broken.property_always(False)),
    Fault("logs what is not to be logged", Task, "is_logged", broken.property_always(True)),
    Fault(
        "takes what a dead worker had begun for not begun", Slots, "worker_lost", broken.begin_nothing, faults=DEATHS
    ),
    Fault(
        "reports an outcome in two batches",
        UnrecordedBatch,
        "withdraw",
        broken.leave_where_it_was,
        f"{DELIVERY}_a_task_that_comes_back_as_new_runs_on_the_node_that_had_lost_a_later_attempt_of_it",
    ),
    Fault(
        "leaves what has ended in its last account",
        LeaderLink,
        "_renew_account",
        broken.renew_account_once,
        f"{LINK}_an_account_of_missed_dispatches_is_followed_by_one_without_what_was_recorded_since",
    ),
    Fault("gives back what runs", Slots, "revoke", broken.give_back_what_runs, faults=CANCELS),
    Fault(
        "calls running what no worker has begun",
        Slots,
        "revoke",
        broken.keep_whatever_is_not_given_back,
        finding="has said nothing wrong",
        seed=39,
    ),
    Fault(
        "begins what it was asked to give back",
        Slots,
        "_wait_again",
        broken.forget_what_was_asked_back,
        f"{SLOTS}_what_was_asked_back_behind_a_task_that_runs_on_is_given_back_and_begun_by_nobody",
    ),
    Fault(
        "acknowledges outcomes at once",
        Nodes,
        "on_outcomes",
        broken.acknowledge_at_once,
        f"{LEADER}_a_node_may_forget_outcomes_only_once_they_are_committed",
    ),
    Fault(
        "takes outcomes behind a gap",
        Nodes,
        "on_outcomes",
        broken.take_any_batch,
        f"{LEADER}_outcomes_behind_a_gap_are_not_taken_until_it_is_closed",
    ),
    # what waits behind others
    Fault("asks nothing back", NodeLedger, "overdue", broken.always([]), finding="could run it"),
    Fault("leaves tasks behind one that lasts", Slots, "review", broken.skip, finding="could run it"),
    Fault(
        "takes back what has begun",
        Slots,
        "take_back",
        broken.take_back_what_has_begun,
        f"{SLOTS}_what_stands_behind_a_task_that_runs_on_goes_to_another_worker",
    ),
    Fault(
        "takes back what may begin",
        Slots,
        "take_back",
        broken.take_back_at_once,
        f"{SLOTS}_what_stands_behind_a_task_that_runs_on_goes_to_another_worker",
    ),
    Fault(
        "gives tasks to a worker that cleans up",
        Slots,
        "cleans_up",
        broken.take_cleaning_up_for_done,
        f"{SLOTS}_a_worker_that_cleans_up_behind_a_task_gives_back_what_it_has_and_gets_nothing_until_it_has_answered",
    ),
    Fault(
        "offers workers that clean up",
        Slots,
        "serving",
        broken.count_all_workers,
        f"{LINK}_a_worker_that_cleans_up_for_long_is_no_slot_of_its_node_meanwhile",
    ),
    Fault(
        "gives more to a node that is stuck",
        NodeLedger,
        "overdue",
        broken.never_stuck,
        f"{DISPATCH}_what_has_waited_at_its_node_too_long_is_overdue_and_the_node_gets_no_other_before_a_task_ends_there",
    ),
    # what is never finished
    Fault("never runs what it recovered", LiveTasks, "settle", broken.always(0), faults=CRASHES),
    Fault("never gives credit back", NodeLedger, "take", broken.keep_credit),
    Fault("forgets outcomes before they are recorded", HeldTasks, "report", broken.forget_outcomes, faults=DUPLICATES),
    Fault("reports an outcome once", LeaderLink, "_is_overdue", broken.always(False), faults=DUPLICATES, seed=5),
    Fault(
        "does not tell a new leader what the last one saw",
        LeaderLink,
        "_enter",
        broken.tell_nobody_again,
        faults=CRASHES,
        seed=3,
    ),
    Fault(
        "forgets what was only seen",
        LeaderLink,
        "on_beat",
        broken.take_seen_for_recorded,
        f"{LINK}_what_a_leader_has_only_seen_is_kept_for_the_next_one",
    ),
    Fault("client forgets what it sent", CallLedger, "requeue_sent", broken.forget_sent, faults=CRASHES),
    Fault("client forgets what only a leader had", CallLedger, "requeue_sent", broken.forget_taken, faults=CRASHES),
    Fault("client does not ask for what was accepted", Epoch, "_send_waits", broken.skip, faults=CRASHES),
    Fault(
        "client does not miss an update",
        Epoch,
        "on_update",
        broken.miss_an_update,
        f"{CLIENT}_a_gap_in_the_updates_begins_a_new_epoch_that_asks_for_what_is_missing",
    ),
    Fault(
        "client believes what follows a gap",
        Epoch,
        "on_update",
        broken.miss_an_update,
        f"{CLIENT}_what_is_called_accepted_behind_a_gap_may_have_been_refused_in_it",
    ),
    # what is on disk
    Fault("syncs nothing", journal_writer.Writer, "__init__", broken.sync_nothing, faults=DISKS),
    Fault(
        "does not sync what it found",
        journal_writer.Writer,
        "_sync_found",
        broken.skip,
        f"{JOURNAL}_a_follower_acknowledges_nothing_that_a_power_cut_takes_back",
    ),
    Fault(
        "notes as synced what is not",
        journal_writer.Writer,
        "_sync_group",
        broken.mark_before_syncing,
        faults=DISKS | {"crash_rate": 1.6, "disk_delay_s": 0.2},
        seed=18,
    ),
    Fault(
        "does not miss what was synced",
        recovery,
        "read_mark",
        broken.always(None),
        f"{SYNCED}_what_a_killed_node_had_synced_is_missed_if_it_is_gone",
    ),
    Fault(
        "writes a snapshot in one piece",
        journal_writer.Writer,
        "save_slice",
        broken.save_at_once,
        f"{WORLD}_no_task_waits_until_a_snapshot_is_written_and_no_leader_changes_because_of_one",
    ),
    Fault(
        "does not cut a torn tail",
        journal_writer,
        "cut_torn_tail",
        lambda true: lambda files, torn: None,
        faults=DISKS,
        seed=2,
    ),
    Fault("does not write term and vote", Writes, "take_persist", broken.write_no_hard_state, faults=DISKS),
    Fault("promises before it is durable", Consensus, "take_ready", broken.promise_at_once, faults=DISKS),
    Fault(
        "an empty disk votes under the old name",
        SimulatedNode,
        "insert_disk",
        broken.keep_the_name,
        faults=WIPES,
        seed=4,
    ),
    # disks that are put back as they were, and copies of machines
    Fault(
        "does not see what a voter has forgotten", Progress, "has_lost", broken.always(False), faults=PUT_BACK, seed=1
    ),
    Fault(
        "hears an older state of a node",
        Directory,
        "heard",
        broken.always(True),
        f"{STARTS}_an_older_state_of_a_node_is_not_heard",
    ),
    Fault(
        "leaves a copy beside its original",
        Starts,
        "follows",
        broken.skip,
        f"{STARTS}_the_process_before_is_asked_at_once_whether_it_lives",
    ),
    Fault(
        "ends the original, too",
        starts,
        "_began_later",
        lambda true: lambda *_: True,
        f"{STARTS}_after_a_split_between_original_and_copy_the_one_that_began_later_ends",
    ),
    Fault("ends whoever took its place", Starts, "on_other_start", broken.take_for_its_own, faults=MOVED),
    # how it comes back
    Fault(
        "stands late",
        ElectionTimer,
        "reset",
        broken.stand_late,
        faults={"reboot_rate": 0.5},
        finding="nobody leads within",
        seed=1,
    ),
    # how it begins
    Fault(
        "consents twice",
        FirstBoot,
        "step",
        broken.consent_again,
        faults=PARTITIONS | CRASHES,
        nodes=4,
        expect=3,
    ),
    Fault("does not save a consent", Reactor, "__init__", broken.save_nobody, faults=BOOTS, nodes=5, expect=3, seed=4),
    Fault(
        "tells before it saves", Reactor, "__init__", broken.tell_before_saving, faults=BOOTS, nodes=5, expect=3, seed=3
    ),
    Fault(
        "takes consents meant for another",
        NodeCore,
        "on_peer",
        broken.take_any_consent,
        f"{HERE}_a_consent_is_not_taken_by_whoever_listens_where_its_recipient_did",
    ),
    Fault(
        "forms a cluster by counting",
        FirstBoot,
        "step",
        broken.form_by_counting,
        f"{HERE}_nodes_that_do_not_all_hear_each_other_form_one_cluster",
    ),
    Fault(
        "does not begin again",
        Identity,
        "formed",
        broken.never_formed,
        f"{NODE}_a_node_that_crashed_before_the_first_entry_was_durable_forms_its_cluster_again",
    ),
    Fault(
        "sends a peer to what it announces, and answers",
        Directory,
        "_choose",
        broken.choose_what_is_announced,
        f"{HERE}_nodes_that_all_announce_one_address_reach_each_other_at_those_that_they_have_besides",
    ),
    Fault("a leader does not know of failures before it", Retries, "apply", broken.skip, faults=CRASHES, seed=5),
    Fault("a task is tried again before its wait is over", DueTasks, "fails", retry_faults.wait_for_nothing),
    Fault(
        "a task is tried again before its failure is logged",
        Recording,
        "attempts_failed",
        retry_faults.start_before_it_is_logged,
    ),
    Fault("a task is tried again once too often", Retrying, "count_of", retry_faults.count(-1)),
    Fault("a task is tried again once too seldom", Retrying, "count_of", retry_faults.count(+1)),
    Fault(
        "only the first failure counts",
        retries,
        "failed_again",
        retry_faults.keep_the_first_only,
        f"{RETRIES}_of_many_failures_the_first_and_the_last_ones_are_kept",
    ),
    Fault(
        "a failure that the log has is taken for an attempt under way",
        LiveTasks,
        "can_be_adopted",
        retry_faults.adopt_any_attempt,
        f"{RETRIES}_a_new_leader_does_not_take_a_failure_that_the_log_has_for_an_attempt_under_way",
    ),
    Fault(
        "failures count as losses",
        LiveTasks,
        "losses_with",
        retry_faults.count_failures_as_losses,
        f"{RETRIES}_attempts_that_failed_and_attempts_that_were_lost_are_counted_apart",
    ),
    Fault(
        "the last failure is told before it is committed",
        Recording,
        "end",
        retry_faults.tell_at_once,
        f"{RETRIES}_a_task_that_would_expire_before_it_is_tried_again_ends_with_its_error",
    ),
    Fault(
        "a task is tried again though it will have expired",
        Retrying,
        "wait_ms",
        retry_faults.retry_whatever_expires,
        f"{RETRIES}_a_task_that_would_expire_before_it_is_tried_again_ends_with_its_error",
    ),
    Fault(
        "a retry waits by the wall clock",
        DueTasks,
        "is_early",
        retry_faults.wait_by_the_wall_clock,
        f"{RETRIES}_the_wall_clock_makes_a_wait_neither_longer_nor_shorter",
    ),
    Fault(
        "a new leader begins waits anew",
        DueTasks,
        "recover",
        retry_faults.wait_anew,
        f"{RETRIES}_a_new_leader_goes_on_with_the_wait_of_the_one_before",
    ),
    Fault(
        "a new leader numbers attempts as if none had failed",
        LiveTasks,
        "recover",
        retry_faults.forget_the_number,
        f"{RETRIES}_a_new_leader_numbers_attempts_on_whatever_they_ended_with",
    ),
    # what is cancelled while it runs
    Fault(
        "asks a worker to stop the next task",
        WorkerSlot,
        "number_of",
        stop_faults.ask_the_next_one,
        faults=CANCELS,
        seed=1,
    ),
    Fault("asks no worker to stop", Slots, "stop", stop_faults.ask_nobody, finding="is wanted no more"),
    Fault("asks for any attempt", Slots, "stop", stop_faults.ask_for_any_attempt, finding="nobody wants it cancelled"),
    Fault(
        "leaves alone what has begun",
        Cancelling,
        "is_to_stop",
        broken.always(False),
        finding="is wanted no more",
    ),
    Fault(
        "says that a task is stopping before its node has",
        Cancelling,
        "ask",
        stop_faults.stop_at_once,
        faults=CANCELS,
        finding="no worker was asked",
    ),
    Fault(
        "tries again what was asked to stop",
        slots,
        "_last",
        stop_faults.end_as_the_worker_says,
        f"{STOPS}_what_fails_though_it_was_asked_to_stop_has_failed_and_is_not_tried_again",
    ),
    Fault("ends a grace early", TimeLimits, "asked_to_stop", stop_faults.have_grace(0.25), finding="after its grace"),
    Fault("ends a grace late", TimeLimits, "asked_to_stop", stop_faults.have_grace(4.0), finding="after its grace"),
    Fault(
        "has a grace begin with its task",
        TimeLimits,
        "begins",
        stop_faults.have_grace_from_the_beginning,
        finding="was not asked to stop",
    ),
    Fault(
        "takes every limit for a grace",
        LimitedTask,
        "outcome",
        stop_faults.say_killed,
        finding="nobody asked for it",
    ),
    Fault(
        "tells what is cancelled before that is committed",
        recording,
        "_DECIDED_HERE",
        lambda true: frozenset({TaskEnd.EXPIRED}),
        f"{CANCEL}_it_is_told_to_be_cancelled_once_that_is_committed_and_how_it_came_to_that",
    ),
    # how long tasks run
    Fault("a node is not told of a deadline", DueTasks, "assignment", limit_faults.tell_no_deadline),
    Fault("a node is told that twice the time is left", DueTasks, "assignment", limit_faults.tell_twice_the_time),
    Fault("a worker is given more tasks than it may run", slots, "own_max_tasks", limit_faults.allow_one_more, seed=3),
    Fault("a worker that is replaced ends with what it has", Slots, "take_left", limit_faults.end_at_once, seed=3),
    Fault("a task runs for longer than it may", TimeLimits, "begins", limit_faults.begin_late),
    Fault("a task is ended before its limit", TimeLimits, "begins", limit_faults.begin_early),
    Fault("the limit of a task strikes the next one", TimeLimits, "ends", limit_faults.never_end),
    Fault(
        "a task whose worker is killed for it is lost",
        TimeLimits,
        "worker_lost",
        limit_faults.forget_for_what,
        "core.work.test_limits:test_a_task_whose_worker_was_killed_for_it_has_timed_out_and_is_not_lost",
    ),
    # tasks that wait for tasks
    Fault(
        "a leader counts a task that waits as one that runs",
        LiveTasks,
        "park",
        parking_faults.never_give_slots_back,
    ),
    Fault(
        "a node keeps the slots of tasks that wait",
        Parking,
        "count",
        parking_faults.park_nobody,
    ),
    Fault(
        "a task that goes on has given two slots back",
        Parking,
        "room",
        parking_faults.count_twice,
        finding="of its workers are busy",
    ),
    # many tasks at once in a worker
    Fault(
        "an async worker is given more than it has room for",
        AsyncSlot,
        "is_free",
        async_faults.have_room_for_all,
        f"{ASYNC}_an_async_worker_has_as_many_as_it_has_room_for_and_the_others_none_of_them",
    ),
    Fault(
        "a worker with others is killed for a task that was not cancelled first",
        LimitedTask,
        "is_to_cancel",
        async_faults.kill_at_once,
        finding="was not cancelled before",
        seed=3,
    ),
    Fault(
        "what was cancelled for its limit goes on beside others",
        limits,
        "ASYNC_GRACE_S",
        async_faults.let_go_on,
        finding="longer than it may",
        seed=3,
    ),
    Fault(
        "what runs beside a task for which their worker is killed has lost an attempt",
        slots,
        "_is_spared",
        async_faults.spare_nobody,
        finding="no node or worker was lost",
        seed=6,
    ),
    Fault(
        "what may start once begins again as another one ends its worker",
        slots,
        "may_begin_again",
        async_faults.begin_all_again,
        f"{ASYNC}_one_that_goes_on_has_its_worker_killed_and_the_others_begin_again_as_the_same_attempt",
    ),
    Fault(
        "a leader takes places for async tasks for those of any",
        LiveTasks,
        "enrol",
        async_faults.have_one_ledger,
        "core.scheduling.test_async_ledgers:test_a_flood_of_one_kind_leaves_the_other_its_slots",
    ),
    Fault(
        "what has lost several attempts has others beside it",
        LiveTasks,
        "_place",
        async_faults.run_beside_others,
        "core.scheduling.test_async_ledgers:test_what_has_lost_several_attempts_runs_alone_in_the_slot_of_another_task",
    ),
    # what is kept for a time, and what is read
    Fault(
        "whoever has a result releases it though it is kept for a time",
        Recording,
        "without_kept",
        record_faults.release_what_is_kept,
        finding="released before its time is over",
    ),
    Fault(
        "keeps results for half of their time",
        Retention,
        "begins",
        record_faults.keep_for_half_the_time,
        finding="its result has expired after",
    ),
    Fault(
        "keeps for ever what is kept for a time",
        Retention,
        "take_reached",
        broken.always([]),
    ),
    Fault(
        "a new leader keeps for ever what the last one did", Retention, "recover", broken.skip, faults=CRASHES, seed=2
    ),
    Fault(
        "keeps results by the wall clock",
        Retention,
        "take_reached",
        record_faults.go_by_the_wall_clock,
        f"{RETENTION}_the_time_goes_by_the_monotonic_clock_of_who_heard_of_the_end",
    ),
    Fault(
        "releases what is kept while the leadership is transferred",
        Retention,
        "hold",
        broken.skip,
        f"{RETENTION}_during_a_transfer_nothing_expires_and_afterwards_all_that_should_have",
    ),
    Fault(
        "says of what has expired that it is unknown",
        Admission,
        "_untold",
        record_faults.know_nothing_of_what_expired,
        finding="nothing has released it",
    ),
    Fault(
        "snapshots have no records",
        snapshots.Capture,
        "__init__",
        broken.snapshot_without("records"),
        faults=CRASHES,
        seed=2,
    ),
    Fault(
        "snapshots do not have what has expired",
        snapshots.Capture,
        "__init__",
        broken.snapshot_without("expired"),
        faults=REBOOTS,
        seed=2,
    ),
    Fault(
        "remembers the last end of a task",
        Records,
        "_remember",
        record_faults.remember_the_last_end,
        f"{RETENTION}_of_two_ends_the_first_counts_and_so_does_its_record",
    ),
    Fault(
        "who reads a result releases it",
        SessionTable,
        "add_result",
        record_faults.lend_nothing,
        f"{READING}_what_a_reader_acknowledges_is_not_released_and_read_twice_it_is_told_twice",
    ),
    Fault(
        "who reads is told before it is committed",
        SessionTable,
        "add_result_for_others",
        record_faults.tell_readers_at_once,
        finding="read to have ended as",
    ),
    # clients that are gone
    Fault(
        "cancels nothing of a client that is gone",
        Owners,
        "take_lost",
        broken.always([]),
        finding="waiting in vain",
    ),
    Fault(
        "a drain gives back what may start once",
        Draining,
        "takes_back",
        drain_faults.give_back_what_may_start_once,
        finding="may once",
        seed=6,
    ),
    Fault(
        "a drain uses up attempts",
        Draining,
        "takes_back",
        broken.always(False),
        finding="no node or worker was lost",
        seed=12,
    ),
    Fault(
        "a drain gives back what its workers still run",
        Slots,
        "give_up",
        drain_faults.give_back_before_the_worker_is_gone,
        finding="no node or worker was lost",
        seed=9,
    ),
    Fault(
        "a drain ends before its leader knows",
        LeaderLink,
        "has_drained",
        drain_faults.go_before_the_leader_knows,
        found_by=f"{LINK}_a_node_has_drained_once_its_leader_has_all_and_knows_that_it_takes_nothing",
    ),
    Fault(
        "a node that drains keeps what it has not begun",
        LeaderLink,
        "set_availability",
        drain_faults.keep_the_queue,
        found_by=f"{LINK}_a_quiet_node_gives_back_what_it_has_not_begun_and_takes_nothing_more",
    ),
    Fault(
        "a node that drains gives its workers what comes back",
        LeaderLink,
        "assign",
        drain_faults.assign_all_the_same,
        found_by=f"{LINK}_what_comes_back_from_a_worker_of_a_quiet_node_goes_to_no_other_worker",
    ),
    Fault(
        "takes a client for gone too early",
        Owners,
        "take_lost",
        owner_faults.wait_for_a_part,
        finding="its client was gone or its leader came",
    ),
    Fault(
        "has no patience with the clients of an earlier leader",
        Owners,
        "begin",
        owner_faults.count_from_ever,
        f"{OWNERS}_with_a_new_leader_a_client_has_the_whole_grace",
    ),
    Fault(
        "blames clients for having stood still itself",
        Owners,
        "take_lost",
        owner_faults.never_stand_still,
        f"{OWNERS}_while_the_leader_stands_still_nobody_is_gone",
    ),
    Fault(
        "does not know whose the tasks are",
        Owners,
        "add",
        owner_faults.know_nobody,
        f"{OWNERS}_a_client_that_comes_back_in_time_has_its_tasks_again",
    ),
    # what running tasks say of themselves
    Fault(
        "tells how far an earlier attempt was",
        remark_requests,
        "_is_of_run",
        broken.always(True),
        finding="which had failed, and waits",
    ),
    Fault(
        "asks nobody how far a task is",
        RemarkRequests,
        "_nodes_of",
        broken.always(set()),
        finding="told nothing, and it runs",
    ),
    Fault(
        "tells how far another task is",
        KeptRemarks,
        "of",
        remark_faults.tell_of_another_task,
        finding="has said",
    ),
    # tasks that depend on tasks
    Fault(
        "waits for one input alone",
        CallOptions,
        "input_ids",
        dependency_faults.wait_for_the_first_alone,
        faults={"dependent": 0.4},
        finding="had ended",
    ),
    Fault(
        "starts what depends on what failed",
        Inputs,
        "_has_failed",
        dependency_faults.start_what_depends_on_what_failed,
        faults={"dependent": 0.4},
        finding="depends on failed",
    ),
    Fault(
        "does not end what depends on what failed",
        Recording,
        "end_upstream_failed",
        dependency_faults.end_nothing,
        faults={"dependent": 0.4},
    ),
    Fault(
        "drops results that tasks depend on",
        Releases,
        "_hold_needed",
        dependency_faults.drop_what_is_needed,
        faults={"dependent": 0.4},
    ),
    Fault(
        "a new leader forgets which results are held for tasks",
        TaskTable,
        "held",
        dependency_faults.forget_what_is_held,
        faults={"dependent": 0.4},
        finding="held for ever",
    ),
    # graphs
    Fault(
        "says of tasks of a graph that they ended that run",
        graphs,
        "_row",
        graph_faults.tell_what_the_log_does_not_have,
        faults=WITH_GRAPHS,
        finding="are told to have ended as",
    ),
    Fault(
        "counts each end of a task of a graph as success",
        GraphSection,
        "has_ended",
        graph_faults.take_each_end_for_success,
        faults=WITH_GRAPHS,
        finding="are told to have ended as",
    ),
    Fault(
        "forgets graphs that are over at once",
        GraphSection,
        "counts_of",
        graph_faults.forget_what_is_over,
        faults=WITH_GRAPHS,
        finding="had been accepted",
    ),
    # keys
    Fault(
        "runs a task again whose key is held",
        Recording,
        "has_result",
        key_faults.run_what_has_ended_again,
        faults=RIGHT_CLOCKS,
        finding="its key is held",
    ),
    Fault(
        "tells of a task with a key before that is committed",
        Task,
        "waits_for_commit",
        key_faults.tell_at_once,
        faults=RIGHT_CLOCKS,
        finding="told to end before that was committed",
    ),
    # dead tasks
    Fault(
        "what has died is not kept",
        DeadLimits,
        "may_keep",
        broken.always(False),
        finding="is no dead task",
    ),
    Fault(
        "keeps dead tasks for half of their time",
        Retention,
        "begins",
        dead_faults.keep_for_half_the_time,
        finding="is discarded after",
    ),
    Fault("keeps dead tasks for ever", Retention, "take_dead_reached", broken.always([])),
    Fault("a new leader keeps dead tasks for ever", Retention, "recover_dead", broken.skip, faults=CRASHES, seed=2),
    Fault(
        "snapshots have no dead tasks",
        snapshots.Capture,
        "__init__",
        broken.snapshot_without("dead"),
        faults=CRASHES,
        seed=2,
    ),
    Fault("what leaves stays dead", DeadTasks, "_drop", dead_faults.keep_what_leaves, finding="it has left before"),
    Fault(
        "says that a dead task is requeued before that is committed",
        DeadTaskRequests,
        "_wait",
        dead_faults.answer_at_once,
        finding="before the log has it",
    ),
    Fault(
        "hands out what is requeued before the log has it",
        Recording,
        "requeue",
        dead_faults.hand_out_at_once,
        finding="handed out before the log has it",
    ),
    Fault(
        "a new leader does not know what was requeued",
        DeadTaskRequests,
        "_is_known",
        broken.always(False),
        finding="told to be unknown, and it was requeued",
    ),
    Fault(
        "what is requeued has the moments of the dead task",
        due_tasks,
        "requeued_options",
        dead_faults.keep_its_moments,
        f"{DEAD}_its_arguments_can_be_others_and_its_moments_are_over",
    ),
    Fault(
        "more than there is room for is kept",
        DeadTaskRequests,
        "drop_past_limits",
        broken.skip,
        f"{DEAD}_past_the_limits_the_oldest_go_first_which_is_counted_and_said_once",
    ),
    Fault(
        "requests that wait for the log are kept without end",
        dead_task_requests,
        "OPEN_REQUESTS",
        lambda true: 10 * true,
        f"{DEAD}_requests_that_wait_for_the_log_are_bounded",
    ),
    Fault(
        "client does not ask the next leader for what it reads",
        CallLedger,
        "read_ids",
        broken.always([]),
        faults=CRASHES,
    ),
    Fault(
        "calls by name take nothing from what nodes announce",
        Defaults,
        "complete",
        default_faults.take_nothing,
    ),
    Fault(
        "new leader takes calls by name before any node has told of the name",
        Admission,
        "_refusal_by_name",
        default_faults.wait_for_nobody,
        f"{DEFAULTS}_while_nobody_has_told_of_a_name_a_call_by_it_waits_with_its_client",
    ),
    Fault(
        "hands out tasks of paused queues",
        Queues,
        "with_work",
        queue_faults.hand_out_of_paused_ones,
        faults=IN_QUEUES,
        finding="which is paused",
    ),
    Fault(
        "says that a queue is paused before the log has it",
        QueueRequests,
        "set",
        queue_faults.answer_before_the_log_has_it,
        faults=IN_QUEUES,
        finding="which is paused",
    ),
    Fault(
        "a new leader does not know which queues are paused",
        QueueRequests,
        "__init__",
        queue_faults.forget_what_the_log_says,
        faults=IN_QUEUES,
        finding="which is paused",
    ),
    Fault(
        "snapshots have nothing of queues",
        QueueSection,
        "captured",
        queue_faults.write_no_snapshot,
        found_by=f"{QUEUES}_a_snapshot_has_what_is_said_of_queues",
    ),
    Fault(
        "does what a copy of an answered request asks for",
        QueueRequests,
        "set",
        queue_faults.do_the_same_again,
        found_by=f"{QUEUES}_a_copy_of_a_request_that_comes_late_changes_nothing",
    ),
    Fault(
        "forgets what queues have had",
        QueueTurns,
        "__init__",
        queue_faults.serve_the_first,
        found_by=f"{QUEUES}_at_every_moment_each_queue_has_had_its_share_to_within_one_task",
    ),
    Fault(
        "queues save up what they could not be given",
        QueueTurns,
        "__init__",
        queue_faults.save_up,
        found_by=f"{QUEUES}_a_queue_of_whose_tasks_no_node_has_a_slot_free_holds_up_no_other_and_saves_nothing_up",
    ),
    Fault(
        "hands out what is held",
        DueTasks,
        "_is_stopped",
        alter_faults.hand_out_what_is_held,
        faults=WITH_ALTERS,
        finding="that is held",
    ),
    Fault(
        "a new leader does not know what is held",
        Task,
        "is_held",
        alter_faults.not_held,
        faults=WITH_ALTERS,
        finding="that is held",
    ),
    Fault(
        "says that a task is held before the log has it",
        AlterRequests,
        "alter",
        alter_faults.answer_before_the_log_has_it,
        found_by=f"{ALTERING}_nothing_is_handed_out_of_what_is_to_be_altered_before_the_log_has_it",
    ),
    Fault(
        "hands out what is to be held while the log is waited for",
        LiveTasks,
        "set_aside",
        alter_faults.leave_it_in_its_lane,
        found_by=f"{ALTERING}_nothing_is_handed_out_of_what_is_to_be_altered_before_the_log_has_it",
    ),
    Fault(
        "alters a task that a snapshot is packing",
        Task,
        "altered",
        alter_faults.change_the_task_itself,
        found_by=f"{ALTERING}_a_snapshot_that_is_being_packed_has_the_task_as_it_was",
    ),
    Fault(
        "alters what a copy of an answered request asks for",
        AlterRequests,
        "alter",
        alter_faults.do_it_again,
        found_by=f"{ALTERING}_a_copy_of_a_request_changes_nothing",
    ),
    Fault(
        "says that a task is held that has started",
        AlterRequests,
        "_state_of",
        alter_faults.take_what_has_started,
        found_by=f"{ALTERING}_what_has_started_is_told_and_left_as_it_is",
    ),
    Fault(
        "gives tasks to nodes that do not have their tags",
        Requirements,
        "is_met_by",
        place_faults.ask_for_no_tags,
        faults=WITH_PLACES,
        finding="which has no tag",
    ),
    Fault(
        "nodes trust their leader to know what runs there",
        TakenAmounts,
        "begins",
        place_faults.trust_the_leader,
        "core.work.test_amounts:test_a_task_waits_at_the_node_until_what_it_takes_is_free_and_others_pass_it",
    ),
    Fault(
        "gives two tasks the same unit",
        TakenAmounts,
        "_chosen",
        place_faults.give_the_first_units,
        faults=WITH_PLACES,
        finding="shares a unit",
    ),
    Fault(
        "a new leader does not count what it adopts",
        NodeLedger,
        "put",
        place_faults.forget_what_was_adopted,
        faults=WITH_PLACES,
    ),
    Fault(
        "a new leader counts twice what it adopts",
        NodeLedger,
        "put",
        place_faults.count_what_was_adopted_twice,
        faults=WITH_PLACES,
        finding="is taken at",
    ),
    Fault(
        "does not free what a lost attempt took",
        NodeLedger,
        "take",
        place_faults.keep_what_a_lost_attempt_took,
        faults=WITH_PLACES,
        finding="is taken at",
    ),
    Fault(
        "gives nodes more than they declare",
        Room,
        "has",
        place_faults.ask_for_no_amounts,
        f"{PLACEMENT}_a_node_is_given_no_more_than_it_declares_and_the_rest_waits",
    ),
    Fault(
        "gives tasks of one affinity to any node",
        Requirements,
        "preferred",
        place_faults.prefer_no_node,
        f"{PLACEMENT}_tasks_with_the_same_affinity_begin_on_the_same_node_as_long_as_it_has_room",
    ),
    Fault(
        "has a task wait for ever for the node that it prefers",
        placed_lanes,
        "waits_for_preferred",
        place_faults.wait_for_ever,
        f"{PLACEMENT}_a_task_waits_for_its_node_no_longer_than_its_affinity_wait_and_nobody_waits_behind_it",
    ),
    Fault(
        "keeps no node for what needs much",
        dispatch,
        "keep_nodes",
        place_faults.keep_no_node,
        f"{PLACEMENT}_a_task_that_needs_much_is_not_passed_for_ever_by_small_ones",
    ),
    Fault(
        "calls a function for more at once than may be",
        Slots,
        "_take_together",
        batch_faults.take_all,
        f"{OF_A_NODE}_they_have_a_worker_for_themselves_and_no_more_than_may_go_together",
    ),
    Fault(
        "calls a function at once for calls that ask for different things",
        slots,
        "together",
        batch_faults.forget_what_differs,
        faults=WITH_BATCHES,
        finding="is called with others that have another",
    ),
    Fault(
        "counts the first alone as lost of those that went together",
        WorkerSlot,
        "dies",
        batch_faults.lose_the_first_alone,
        f"{OF_A_NODE}_a_worker_that_dies_loses_an_attempt_of_each",
    ),
    Fault(
        "loses an attempt of those whose worker is killed for the deadline of another",
        WorkerSlot,
        "kept",
        batch_faults.spare_nobody,
        f"{OF_A_NODE}_a_deadline_is_of_one_call_and_the_others_begin_again_as_the_same_attempt",
    ),
    Fault(
        "ends one alone of those that are over the limit of their call",
        TimeLimits,
        "take_over",
        batch_faults.end_one_of_them,
        f"{OF_A_NODE}_their_time_limit_is_one_for_the_call_and_ends_all_of_them",
    ),
    Fault(
        "has tasks go with others and take a slot",
        NodeLedger,
        "put",
        batch_faults.ride_without_a_place,
        faults=WITH_BATCHES,
        finding="that go with others are counted",
    ),
    Fault(
        "has calls wait for others beyond their window",
        dispatch,
        "opens_at",
        batch_faults.never_open,
        f"{BATCHES}_the_first_waits_for_others_for_the_window_and_no_longer",
    ),
    Fault(
        "a new leader gives places of which it does not know yet who has them",
        Gates,
        "shut",
        gate_faults.never_shut,
        faults=WITH_LIMITS,
        finding="one too many",
    ),
    Fault(
        "counts no task that is at a node",
        LimitGate,
        "free",
        gate_faults.count_no_node,
        faults=WITH_LIMITS,
        finding="one too many",
    ),
    Fault(
        "counts what waits for its next attempt as if it ran",
        Gates,
        "leaves",
        gate_faults.keep_the_place_of_what_is_lost,
        faults=WITH_LIMITS,
        finding="are at nodes, and others are counted",
    ),
    Fault(
        "gives nobody the place that has come free",
        LimitGate,
        "next_move",
        gate_faults.offer_nothing_again,
        faults=WITH_LIMITS,
        finding="are to be offered, and others are",
    ),
    Fault(
        "hands out a task with a limit before the log has it",
        Retrying,
        "waits_for_log",
        gate_faults.do_not_wait_for_the_log,
        found_by=f"{GATES}_it_is_handed_out_once_the_log_has_it",
    ),
    Fault(
        "counts no start of a task with a rate",
        Pace,
        "takes",
        gate_faults.take_no_turn,
        faults=WITH_LIMITS,
        finding="starts as one too many",
    ),
    Fault(
        "a new leader takes it that nothing has started before",
        Pace,
        "__init__",
        gate_faults.know_all_starts,
        faults=WITH_LIMITS,
        finding="starts as one too many",
    ),
    Fault(
        "counts a start from when it was handed out",
        Pace,
        "takes",
        gate_faults.start_as_it_leaves,
        found_by=f"{PACES}_the_next_one_leaves_in_the_turn_in_which_its_moment_comes",
    ),
    Fault(
        "wakes nobody for the turn of a pace that comes back",
        Gates,
        "reached",
        gate_faults.reach_nothing,
        found_by=f"{PACES}_the_next_one_leaves_in_the_turn_in_which_its_moment_comes",
    ),
    Fault(
        "says of no task with a rate that it has started",
        StartedTasks,
        "begins",
        gate_faults.say_no_start,
        found_by="core.work.test_started:test_the_next_leader_is_told_of_all_of_them",
    ),
    Fault(
        "forgets which moment of a schedule has fired",
        Schedules,
        "_fire",
        schedule_faults.forget_that_it_has_fired,
        faults=WITH_SCHEDULES,
        finding="fires twice",
    ),
    Fault(
        "leaves every other moment of a schedule out",
        schedule_keeper,
        "next_after",
        schedule_faults.leave_one_out,
        faults=WITH_SCHEDULES,
        finding="is left out",
    ),
    Fault(
        "makes up for the last of all missed moments alone",
        schedule_keeper,
        "_due_moments",
        schedule_faults.make_up_for_the_last_alone,
        faults=WITH_SCHEDULES,
        finding="were to be made up for",
    ),
    Fault(
        "fires a schedule beside its earlier task",
        ScheduleKeeper,
        "_is_running",
        schedule_faults.fire_beside_what_runs,
        faults=WITH_SCHEDULES,
        finding="beside an earlier task",
    ),
    Fault(
        "names the task of a moment by its schedule",
        schedule_keeper,
        "fired_id",
        schedule_faults.name_it_by_its_schedule,
        faults=WITH_SCHEDULES,
        finding="has another id",
    ),
    Fault(
        "says that a schedule is changed before the log has it",
        ScheduleKeeper,
        "_log_change",
        schedule_faults.answer_before_the_log_has_it,
        faults=WITH_SCHEDULES,
        finding="before the log has it",
    ),
    Fault(
        "fires a schedule that is paused",
        Schedules,
        "_change",
        schedule_faults.fire_what_is_paused,
        faults=WITH_SCHEDULES,
        finding="and is paused",
    ),
    Fault(
        "a new leader does not know which schedules there are",
        ScheduleKeeper,
        "__init__",
        schedule_faults.watch_none_of_those_before,
        faults=WITH_SCHEDULES,
        finding="nothing has become of it",
    ),
    Fault(
        "has a schedule as the node has it that announced it last",
        ModuleSchedules,
        "_gather",
        schedule_faults.have_what_was_announced_last,
        faults=WITH_SCHEDULES,
        finding="its leader's own node still has it as it was",
    ),
    Fault(
        "lets anybody change the schedule of a module",
        ScheduleKeeper,
        "_is_owned",
        schedule_faults.let_anybody_change_them,
        faults=WITH_SCHEDULES,
        finding="and comes with a module that nodes have",
    ),
    Fault(
        "announces no schedules of its modules",
        LeaderLink,
        "_announce_schedules",
        schedule_faults.announce_none,
        faults=WITH_SCHEDULES,
        finding="that all nodes have is not there",
    ),
    Fault(
        "makes the task of a moment again when that is backfilled",
        ScheduleKeeper,
        "_was_made",
        schedule_faults.make_all_that_is_backfilled,
        faults=WITH_SCHEDULES,
        finding="is made twice",
    ),
    Fault(
        "backfills moments in another order",
        Schedules,
        "_want",
        schedule_faults.backfill_the_last_first,
        faults=WITH_SCHEDULES,
        finding="did not wait, or not in front",
    ),
    Fault(
        "forgets what is to be backfilled",
        ScheduleKeeper,
        "_watch",
        schedule_faults.forget_what_is_to_be_backfilled,
        faults=WITH_SCHEDULES,
        finding="waits for nothing",
    ),
    Fault(
        "snapshots have nothing of schedules",
        Schedules,
        "captured",
        schedule_faults.write_no_snapshot,
        found_by="core.scheduling.test_schedules:test_a_next_leader_fires_what_the_log_does_not_have_and_nothing_twice",
    ),
]


def run(seed: int, fault: Fault) -> None:
    usual = Faults()
    values = {name: getattr(usual, name) for name in Faults.__slots__} | fault.faults
    world = World(seed, nodes=fault.nodes, expect=fault.expect, faults=Faults(**values))
    try:
        with limits_for(world.faults):
            world.run(SECONDS, tasks_per_second=TASKS_PER_S)
            world.heal_and_finish()
    finally:
        world.close()


@pytest.fixture(autouse=True)
def _short_and_silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for wait in (Wait.RESULTS, Wait.APPLIED):
        monkeypatch.setitem(LIMITS_S, wait, FINISH_WITHIN_S)
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


FINDINGS = (InvariantBroken, JournalCorrupt, ConsensusViolation, NodeTooOld)
"""What says that something is wrong, and is meant to."""


def found_in_the_world(fault: Fault) -> bool:
    for seed in dict.fromkeys((fault.seed, *SEEDS)):
        try:
            run(seed, fault)
        except FINDINGS as found:
            if fault.finding in str(found):
                return True
        except Exception:  # noqa: BLE001, S112 - code that crashes over its fault has not been found to break a promise
            continue
    return False


def found_by_test(name: str) -> bool:
    module, _, test = name.partition(":")
    try:
        getattr(importlib.import_module(module), test)()
    except (AssertionError, *FINDINGS):
        return True
    return False


@source_only
@pytest.mark.timeout(0)  # bounded by the number of seeds
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
def test_planted_fault_is_found(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    if fault.found_by:
        assert not found_by_test(fault.found_by), "it fails without the fault, too"
    monkeypatch.setattr(fault.owner, fault.attribute, fault.broken(getattr(fault.owner, fault.attribute)))
    assert found_by_test(fault.found_by) if fault.found_by else found_in_the_world(fault)


PLANTED = 282
"""Of whole nodes and of consensus. Who plants another raises it; a fault that can't be planted any more is replaced."""


@source_only
def test_the_planted_faults_do_not_become_fewer() -> None:
    assert len(FAULTS) + len(test_planted_faults.FAULTS) == PLANTED
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


def world_of(fault: Fault) -> tuple[object, ...]:
    return (*sorted(fault.faults.items()), fault.nodes, fault.expect, fault.seed)


FAULTLESS = Fault("", None, "", broken.skip)
CONTROLS = [
    # the very worlds in which faults are found, each of them once
    *((fault, [fault.seed]) for fault in {world_of(fault): fault for fault in FAULTS if not fault.found_by}.values()),
    # what is promised on slow links and of consents, and worlds for which nothing is planted
    (replace(FAULTLESS, name="slow-links", faults=SLOW_LINKS), range(1, 6)),
    (replace(FAULTLESS, name="boots", faults=BOOTS, nodes=5, expect=3), range(1, 6)),
    (replace(FAULTLESS, name="clones", faults=CLONES), range(1, 4)),
    (replace(FAULTLESS, name="moves", faults=MOVES, nodes=5, expect=3), range(1, 4)),
]


@source_only  # as what it is the control of
@pytest.mark.parametrize(("control", "seeds"), CONTROLS, ids=[fault.name.replace(" ", "-") for fault, _ in CONTROLS])
def test_without_a_planted_fault_nothing_is_found(control: Fault, seeds: Sequence[int]) -> None:
    for seed in seeds:
        run(seed, control)


def test_nodes_that_do_not_all_hear_each_other_form_one_cluster() -> None:
    """Four that expect three: {A, C, D} and {B, C, D} are enough each and must not both begin (hashicorp/raft #122)."""
    for seed in range(1, 5):
        world = World(seed, nodes=4, expect=3, faults=Faults(slow=0.9))
        a, b = world.nodes[0].address, world.nodes[1].address
        world.cut = {(a, b), (b, a)}
        world.run(1.0)
        world.heal_and_finish()
        assert len({node.identity.cluster_id for node in world.nodes}) == 1


def test_a_consent_is_not_taken_by_whoever_listens_where_its_recipient_did() -> None:
    """Two machines get each other's address while the consent that one of them took is not confirmed."""
    world = World(1, nodes=4, expect=3, faults=PEACE)
    lowest, other, _, giver = world.nodes
    world.cut = {(each.address, deaf.address) for each in world.nodes for deaf in (lowest, other)}
    world.cut.remove((giver.address, lowest.address))
    until(world, lambda: giver.identity.handed_to == lowest.identity.node_id)
    world.cut.add((lowest.address, giver.address))
    until(world, lambda: giver.identity.node_id in lowest.identity.consents)
    lowest.crash(power_fails=True)
    other.crash(power_fails=True)
    lowest.address, other.address = other.address, lowest.address
    world.cut.clear()
    other.start()
    until(world, lambda: world.now > 1.0)
    lowest.start()
    until(world, lambda: world.now > 2.0)
    world.heal_and_finish()
    assert len({node.identity.cluster_id for node in world.nodes}) == 1


def test_nodes_that_all_announce_one_address_reach_each_other_at_those_that_they_have_besides() -> None:
    for seed in (1, 2, 4):
        world = World(seed, faults=Faults(slow=0.3))
        world.nat_address = "nat:7077"
        for node in world.nodes:  # they were started when the world was made
            node.crash(power_fails=True)
            node.start()
        world.run(SECONDS, tasks_per_second=TASKS_PER_S)
        world.heal_and_finish()
        assert len({node.identity.cluster_id for node in world.nodes}) == 1


def test_a_node_that_falls_silent_is_given_up_behind_a_transfer_and_not_within_it() -> None:
    """One of five nodes falls silent with tasks that may be begun once, and then the one that is to take over does."""
    world = World(1, nodes=5, faults=PEACE)
    until(world, lambda: (leader := world.leader()) is not None and len(leader.consensus.config.voters) == 5)
    silent, target, *_ = [node for node in world.nodes if node.core is not world.leader()]
    client = world.clients[0]
    for _ in range(10):
        client.submit(LASTS, {"max_attempts": 1})
    until(world, lambda: all(story.starts for story in world.stories.values()))
    leader = world.leader()
    assert leader is not None
    cut_off(world, silent)
    silent_until = world.now + world.settings.node_timeout_s + 0.5
    until(world, lambda: world.now > silent_until - 1.0)
    client.administer(AdminOp.TRANSFER, target.identity.node_id)
    until(world, lambda: leader.consensus.transfer_target(world.now) != "")
    cut_off(world, target)
    until(world, lambda: world.now > silent_until)
    assert leader.consensus.transfer_target(world.now), "it has to last"
    until(world, lambda: not leader.consensus.transfer_target(world.now))
    world.heal_and_finish()
    assert {story.outcome[0] for story in world.stories.values() if story.outcome} >= {TaskEnd.LOST}


def cut_off(world: World, alone: SimulatedNode) -> None:
    for node in world.nodes:
        world.cut |= {(alone.address, node.address), (node.address, alone.address)}


def until(world: World, condition: Callable[[], bool]) -> None:
    while not condition():
        assert world.now < 10.0
        world.step()
