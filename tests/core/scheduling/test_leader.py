"""What a node does while it leads."""

from __future__ import annotations

from typing import Any

import pytest

from core.cluster_stories import formed, node
from core.takeovers import taken_over
from paceline.core.clients.session_table import ClientBounds
from paceline.core.clients.sessions import ClientSession
from paceline.core.deadlines import Moments
from paceline.core.feature_levels import FEATURE_LEVEL, ClusterLevel
from paceline.core.incarnation import INCARNATION_SHIFT
from paceline.core.measures.durations import HOP_US
from paceline.core.scheduling.admission import SUBMIT_LIMIT_BYTES
from paceline.core.scheduling.cancelling import REQUESTS_PER_TASK
from paceline.core.scheduling.credits import LONG_US, OVERDUE_S
from paceline.core.scheduling.leader import Leader
from paceline.core.scheduling.nodes import BEAT_UNCHANGED_S, GONE_LIMIT_NODES, Nodes
from paceline.core.settings import Settings
from paceline.core.state.table import TaskTable
from paceline.core.state.task import TASK_BYTES, State, Task
from paceline.core.wall_clock import WallClock
from paceline_protocol.codec import MAX_BATCH_ITEMS, encode_calls, encode_held
from paceline_protocol.errors import LimitExceeded, ProtocolError, RemoteProtocolError
from paceline_protocol.messages.client import Cancel, CancelState, Refusal, Submit, Update, Wait
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.messages.work import Availability, Beat, Dispatch, Enrol, NodeBeat, Revoke, Revoked

TERM = 3


def tid(number: int) -> bytes:
    return number.to_bytes(16, "big")


class Lead:
    """A Leader with a log that commits when told to."""

    def __init__(
        self,
        table: TaskTable | None = None,
        *,
        settled: bool = True,
        ran_lately: tuple[str, ...] = (),
        clock: WallClock | None = None,
        **limits: Any,
    ) -> None:
        self.settings = Settings(cluster_name="test", **limits)
        self.table = table or TaskTable()
        self.entries: list[tuple[int, bytes, Any]] = []
        self.committed = 0
        self.now = 0.0
        self.notices: list[tuple[str, str]] = []
        self.versions: dict[str, int] = {}
        clock = self.clock = clock or WallClock()
        self.moments = Moments()
        self.leader = Leader(
            self.settings,
            TERM,
            self.table,
            self._propose,
            0.0,
            *taken_over(self.table, clock, self.moments),
            notice=lambda level, text: self.notices.append((level, text)),
            ran_lately=ran_lately,
        )
        self.leader.admission.cluster_level = ClusterLevel(FEATURE_LEVEL)
        if settled:
            self.leader.tick(0.0, [])

    def _propose(self, kind: int, data: bytes, decoded: Any) -> int:
        self.entries.append((kind, data, decoded))
        return len(self.entries)

    def commit(self) -> None:
        self.leader.log(self.now)
        for entry in self.entries[self.committed :]:
            self.table.apply(*entry)
        self.committed = len(self.entries)
        self.leader.applied(self.committed, self.now)

    def kinds(self) -> list[EntryKind]:
        self.leader.log(self.now)
        return [EntryKind(kind) for kind, _, _ in self.entries]

    def pass_time(self, until: float, *, heard: str = "") -> list[str]:
        """Tick every half second; ``heard``: nodes that answer each beat. Returns the nodes that were given up."""
        gone = []
        while self.now < until:
            self.now += 0.5
            for node_id in heard:
                self.leader.nodes.on_beat(node_id, NodeBeat(TERM, 0, 1, 0, 0), self.now)
            gone += self.leader.tick(self.now, [])
        return gone

    def client(self, key: bytes = b"c") -> ClientSession:
        self.leader.sessions.open(key, key * 16, self.now)
        return self.leader.sessions.by_key[key]

    def submit(self, session: ClientSession, *numbers: int, seq: int = 1, name: str = "add", **options: Any) -> None:
        calls = [(tid(number), name, 4, b"", options or None) for number in numbers]
        self.leader.admission.submit(session, Submit(seq, 0, encode_calls(calls)), self.now)
        self.leader.log(self.now)

    def enrol(
        self,
        node_id: str,
        held: dict[int, int] | None = None,
        *,
        slots: int = 1,
        dispatch_seq: int = 0,
        names: tuple[str, ...] = ("add",),
        runs_tasks: bool = True,
        availability: Availability = Availability.SERVES,
    ) -> None:
        """The node's next account."""
        if node_id not in self.leader.nodes.by_id:
            self.leader.nodes.beat([node_id], self.now)
        version = self.versions[node_id] = self.versions.get(node_id, 0) + 1
        packed = encode_held((tid(number), attempt) for number, attempt in (held or {}).items())
        account = Enrol(TERM, version, dispatch_seq, 0, slots, names, packed, runs_tasks)
        self.leader.nodes.on_enrol(node_id, account, self.now, availability=availability)

    def dispatched(self) -> dict[str, list[tuple[int, int]]]:
        """One round of dispatch: (task, attempt) by node."""
        self.leader.nodes.outbox.clear()
        self.leader.dispatch(self.now)
        given: dict[str, list[tuple[int, int]]] = {}
        for node_id, message in self.leader.nodes.outbox:
            assert isinstance(message, Dispatch)
            given.setdefault(node_id, []).extend((int.from_bytes(each[0], "big"), each[1]) for each in message.tasks)
        return given

    def outcomes(
        self, node_id: str, seq: int, *numbers: int, end: TaskEnd = TaskEnd.SUCCEEDED, attempt: int = 1
    ) -> None:
        items = [(tid(number), attempt, int(end), b"killed" if end is TaskEnd.LOST else b"", 500) for number in numbers]
        self.leader.nodes.on_outcomes(node_id, TERM, seq, items, self.now)

    def updates(self) -> list[Update]:
        return [update for _, update in self.leader.take_updates(self.now)]

    def results(self) -> dict[int, int]:
        return {int.from_bytes(task_id, "big"): end for update in self.updates() for task_id, end, _ in update.results}

    def refusals(self) -> dict[int, int]:
        return {int.from_bytes(task_id, "big"): why for update in self.updates() for task_id, why, _ in update.refused}

    def cancel(self, session: ClientSession, *numbers: int) -> None:
        self.leader.cancel(session, Cancel(1, tuple(tid(number) for number in numbers)), self.now)

    def cancel_states(self) -> dict[int, int]:
        replies, self.leader.cancelling.replies = self.leader.cancelling.replies, []
        return {int.from_bytes(task_id, "big"): state for _, reply in replies for task_id, state in reply.states}

    def task(self, number: int) -> Task:
        return self.leader.tasks.live[tid(number)]


def running(*numbers: int, **limits: Any) -> tuple[Lead, ClientSession]:
    """A leader whose node "a" was given these tasks, accepted and committed."""
    lead = Lead(**limits)
    lead.enrol("a", slots=len(numbers))
    session = lead.client()
    lead.submit(session, *numbers)
    lead.commit()
    lead.pass_time(1.0, heard="a")
    lead.updates()
    assert lead.dispatched() == {"a": [(number, 1) for number in numbers]}
    return lead, session


# --- admission


def test_a_task_is_dispatched_before_its_accept_entry_commits() -> None:
    lead = Lead()
    lead.enrol("a")
    lead.submit(lead.client(), 1)
    assert lead.dispatched() == {"a": [(1, 1)]}
    assert (lead.kinds(), lead.committed) == ([EntryKind.ACCEPT], 0)


def test_accepted_is_said_only_once_the_entry_is_committed() -> None:
    lead = Lead(accept_linger_s=0.0)
    lead.submit(lead.client(), 1, seq=7)
    assert lead.updates() == []
    lead.commit()
    assert [update.accepted for update in lead.updates()] == [(7,)]


def test_the_accept_entry_holds_the_clients_own_bytes_if_all_are_new() -> None:
    lead = Lead()
    calls = encode_calls([(tid(1), "add", 4, b"x", None)])
    lead.leader.admission.submit(lead.client(), Submit(1, 0, calls), 0.0)
    lead.leader.log(0.0)
    assert lead.entries[0][1] is calls


def test_a_batch_with_copies_logs_only_what_is_new() -> None:
    lead = Lead()
    session = lead.client()
    lead.submit(session, 1)
    lead.submit(session, 1, 2, 2, seq=2)
    assert lead.entries[1][1] == encode_calls([(tid(2), "add", 4, b"", None)])
    assert (len(lead.leader.tasks.live), session.open_tasks) == (2, 2)


def test_copies_are_accepted_when_their_originals_are() -> None:
    lead = Lead(accept_linger_s=0.0)
    session = lead.client()
    lead.submit(session, 1, seq=1)
    lead.submit(session, 1, seq=2)
    assert lead.updates() == []
    lead.commit()
    assert [update.accepted for update in lead.updates()] == [(1, 2)]
    lead.submit(session, 1, seq=3)
    assert [update.accepted for update in lead.updates()] == [(3,)]


def test_a_submit_that_would_not_fit_into_an_append_is_refused() -> None:
    lead = Lead()
    too_large = encode_calls([(tid(1), "add", 4, bytes(SUBMIT_LIMIT_BYTES), None)])
    with pytest.raises(LimitExceeded, match="bytes of calls in one Submit"):
        lead.leader.admission.submit(lead.client(), Submit(1, 0, too_large), 0.0)
    assert lead.leader.tasks.live == {}


def test_malformed_calls_admit_nothing() -> None:
    lead = Lead()
    with pytest.raises(ProtocolError):
        lead.leader.admission.submit(lead.client(), Submit(1, 0, b"\xc1"), 0.0)
    assert (lead.leader.tasks.live, lead.entries) == ({}, [])


def test_a_full_queue_refuses_and_names_the_limit() -> None:
    lead = Lead(queue_limit_tasks=2)
    lead.submit(lead.client(), 1, 2, 3)
    assert lead.refusals() == {3: Refusal.QUEUE_FULL}
    assert lead.entries[0][1] == encode_calls([(tid(number), "add", 4, b"", None) for number in (1, 2)])


def test_the_bytes_of_the_queue_are_arguments_and_what_a_task_takes_beside_them() -> None:
    lead = Lead(queue_limit_bytes=2 * TASK_BYTES + 1)
    lead.submit(lead.client(), 1, 2, 3)
    assert lead.refusals() == {3: Refusal.QUEUE_FULL}


def test_whoever_asks_for_a_result_that_was_dropped_is_told_by_which_limit() -> None:
    lead = Lead(result_limit_bytes=1 << 20)
    lead.table.released.add(tid(1))
    lead.leader.admission.wait(lead.client(), Wait(0, (tid(1), tid(2))), lead.now)
    details = {task_id: detail for update in lead.updates() for task_id, _, detail in update.refused}
    assert "keeps the newest 1 MiB of such results" in details[tid(1)]
    assert "200000 at most: fetch them sooner. A higher --result-limit-mib" in details[tid(1)]
    assert details[tid(2)] == "this cluster has no record of the task"


def test_a_name_that_no_node_knows_is_refused_once_the_nodes_have_given_their_accounts() -> None:
    lead = Lead(settled=False)
    session = lead.client()
    lead.enrol("a")
    lead.submit(session, 1, name="gpu")
    assert lead.refusals() == {}, "the node that knows it may be about to say so"
    lead.leader.tick(0.1, ["a"])
    lead.submit(session, 2, name="gpu")
    assert lead.refusals() == {2: Refusal.UNKNOWN_TASK}


def test_nothing_is_accepted_before_enough_voters_stand() -> None:
    lead = Lead(expect=3)
    lead.leader.admission.missing_voters = 2
    lead.submit(lead.client(), 1)
    assert lead.refusals() == {1: Refusal.NOT_READY}
    assert lead.entries == []


def test_a_task_that_was_released_is_not_run_again() -> None:
    lead, session = running(1)
    lead.outcomes("a", 1, 1)
    lead.commit()
    assert lead.results() == {1: TaskEnd.SUCCEEDED}
    lead.leader.admission.acknowledge(session, 99, lead.now)
    lead.leader.log(lead.now + 1)
    lead.commit()
    assert lead.table.results == {}
    lead.submit(session, 1, seq=2)
    assert lead.refusals() == {1: Refusal.UNKNOWN_ID}


# --- outcomes


def test_a_result_reaches_the_submitter_before_its_outcome_commits_and_is_recorded_once() -> None:
    lead, session = running(1)
    lead.outcomes("a", 1, 1)
    assert lead.results() == {1: TaskEnd.SUCCEEDED}
    assert session.open_tasks == 0
    lead.outcomes("a", 2, 1)
    assert lead.results() == {}
    lead.commit()
    assert lead.kinds() == [EntryKind.ACCEPT, EntryKind.OUTCOME]


def test_a_node_may_forget_outcomes_only_once_they_are_committed() -> None:
    lead, _ = running(1)
    state = lead.leader.nodes.by_id["a"]
    lead.outcomes("a", 1, 1)
    assert state.outcome_seq == 0
    lead.commit()
    assert state.outcome_seq == 1


def test_a_copy_of_an_outcome_counts_as_recorded_only_once_the_first_one_is() -> None:
    lead, session = running(1)
    lead.enrol("b", slots=0)
    lead.outcomes("a", 1, 1, end=TaskEnd.LOST)
    lead.cancel(session, 1)
    lead.committed, applied = 3, lead.committed  # the ATTEMPT entry is committed, the end is not
    lead.leader.applied(2, lead.now)
    lead.outcomes("b", 1, 1)
    assert lead.leader.nodes.by_id["b"].outcome_seq == 0
    lead.committed = applied
    lead.commit()
    assert lead.leader.nodes.by_id["b"].outcome_seq == 1


def test_outcomes_behind_a_gap_are_not_taken_until_it_is_closed() -> None:
    lead, _ = running(1, 2)
    lead.outcomes("a", 2, 2)
    assert lead.results() == {}
    lead.outcomes("a", 1, 1)
    lead.outcomes("a", 2, 2)
    assert set(lead.results()) == {1, 2}


def beats(lead: Lead) -> list[tuple[int, int]]:
    """What the Beats to node "a" since the last call say of outcomes: up to which they are recorded, and seen."""
    outbox, lead.leader.nodes.outbox = lead.leader.nodes.outbox, []
    return [(each.outcome_seq, each.outcome_seen) for _, each in outbox if isinstance(each, Beat)]


def test_a_node_is_told_with_the_next_heartbeat_which_outcomes_have_arrived_though_none_is_recorded() -> None:
    lead, _ = running(1, 2, 3)
    lead.leader.nodes.beat(["a"], lead.now)
    assert beats(lead) == [(0, 0)]
    lead.outcomes("a", 1, 1)
    lead.outcomes("a", 3, 3)  # behind a gap
    assert beats(lead) == []
    lead.leader.nodes.beat(["a"], lead.now)
    lead.leader.nodes.beat(["a"], lead.now)
    assert beats(lead) == [(0, 1)]
    lead.outcomes("a", 2, 2)
    lead.commit()
    lead.leader.nodes.beat(["a"], lead.now)
    assert beats(lead) == [(2, 2)]


def test_a_node_whose_window_fills_is_told_at_once_what_has_arrived() -> None:
    lead, _ = running(*range(1, 9))
    eighth = lead.settings.outcome_window_bytes // 8
    beats(lead)
    for number, size_bytes in enumerate((eighth // 2, eighth // 2 + 1, eighth - 1, 1, 1, 0, 0), 1):
        outcomes = [(tid(number), 1, int(TaskEnd.SUCCEEDED), b"", 0)]
        lead.leader.nodes.on_outcomes("a", TERM, number, outcomes, lead.now, size_bytes)
    assert beats(lead) == [(0, 2), (0, 5)]


def test_a_late_outcome_of_a_task_that_waits_again_is_as_good_as_any() -> None:
    lead, _ = running(1)
    lead.outcomes("a", 1, 1, end=TaskEnd.LOST)
    assert lead.task(1).state == State.READY
    lead.outcomes("a", 2, 1)
    assert lead.results() == {1: TaskEnd.SUCCEEDED}
    assert lead.dispatched() == {}


def test_a_task_that_ended_and_is_not_recorded_yet_is_known_to_whoever_asks() -> None:
    lead, _ = running(1)
    lead.outcomes("a", 1, 1)
    other = lead.client(b"d")
    lead.updates()
    lead.leader.admission.wait(other, Wait(0, (tid(1),)), lead.now)
    assert lead.results() == {1: TaskEnd.SUCCEEDED}
    lead.submit(other, 1)
    assert lead.results() == {1: TaskEnd.SUCCEEDED}
    lead.cancel(other, 1)
    assert lead.cancel_states() == {1: CancelState.FINISHED}
    assert lead.dispatched() == {}


@pytest.mark.parametrize("ends", [(TaskEnd.EXPIRED,), (TaskEnd.SUCCEEDED, TaskEnd.LOST)])
def test_ends_that_no_node_can_report_are_refused_and_change_nothing(ends: tuple[TaskEnd, ...]) -> None:
    lead, _ = running(1, 2)
    items = [(tid(number), 1, int(end), b"", 0) for number, end in enumerate(ends, 1)]
    with pytest.raises(RemoteProtocolError):
        lead.leader.nodes.on_outcomes("a", TERM, 1, items, lead.now)
    assert len(lead.leader.tasks.live) == 2
    assert lead.leader.nodes.by_id["a"].outcome_seen == 0


def test_only_tasks_that_ran_teach_how_long_they_take() -> None:
    lead = Lead()
    session = lead.client()
    before = lead.leader.dispatcher.durations.cost_us("add")
    lead.submit(session, 1)
    lead.cancel(session, 1)
    assert lead.leader.dispatcher.durations.cost_us("add") == before


def test_no_task_counts_as_run_for_longer_than_its_node_has_had_it() -> None:
    lead, _ = running(1)
    lead.now += 0.25
    lead.leader.nodes.on_outcomes("a", TERM, 1, [(tid(1), 1, int(TaskEnd.SUCCEEDED), b"", 1 << 62)], lead.now)
    assert lead.leader.dispatcher.durations.cost_us("add") <= 250_000 + HOP_US


# --- lost attempts


def test_an_attempt_that_died_with_its_worker_is_run_again_under_the_next_number() -> None:
    lead, _ = running(1)
    lead.outcomes("a", 1, 1, end=TaskEnd.LOST)
    assert lead.dispatched() == {"a": [(1, 2)]}
    lead.commit()
    assert lead.table.lost_attempts == {tid(1): 1}


def test_a_task_that_dies_too_often_ends_as_lost_with_how_and_where() -> None:
    lead, _ = running(1, attempt_limit=2)
    lead.outcomes("a", 1, 1, end=TaskEnd.LOST)
    lead.dispatched()
    lead.outcomes("a", 2, 1, end=TaskEnd.LOST, attempt=2)
    (update,) = lead.updates()
    (task_id, end, payload) = update.results[0]
    assert (task_id, end) == (tid(1), TaskEnd.LOST)
    assert b"node a: killed" in payload
    assert not lead.leader.tasks.live


def test_the_loss_of_an_attempt_that_an_earlier_leader_had_logged_is_not_counted_again() -> None:
    lead, _ = running(1, attempt_limit=2)
    lead.outcomes("a", 1, 1, end=TaskEnd.LOST)
    lead.commit()  # and before node "a" hears that, another leads
    lead = Lead(lead.table, settled=False, attempt_limit=2)
    lead.enrol("a", {1: 1})
    lead.outcomes("a", 1, 1, end=TaskEnd.LOST)
    assert tid(1) in lead.leader.tasks.live
    assert lead.task(1).attempt == 2
    lead.commit()
    assert lead.table.lost_attempts == {tid(1): 1}


def test_the_loss_of_an_attempt_that_is_not_the_current_one_changes_nothing() -> None:
    lead, _ = running(1)
    lead.outcomes("a", 1, 1, end=TaskEnd.LOST)
    lead.dispatched()
    lead.outcomes("a", 2, 1, end=TaskEnd.LOST)
    assert (lead.task(1).state, lead.task(1).attempt) == (State.DISPATCHED, 2)


def test_tasks_that_come_back_together_keep_their_order() -> None:
    lead, _ = running(1, 2, 3)
    lead.outcomes("a", 1, 1, 2, 3, end=TaskEnd.LOST)
    assert lead.dispatched() == {"a": [(1, 2), (2, 2), (3, 2)]}


def test_a_silent_node_loses_its_tasks_to_the_others() -> None:
    lead, _ = running(1, 2)
    lead.enrol("b", slots=2)
    assert lead.pass_time(2.5, heard="b") == []
    assert lead.pass_time(3.0, heard="b") == ["a"]
    assert lead.dispatched() == {"b": [(1, 2), (2, 2)]}


def test_a_leader_that_stood_still_does_not_take_its_nodes_for_gone() -> None:
    lead, _ = running(1)
    lead.now = 60.0
    assert lead.leader.tick(lead.now, []) == []
    assert lead.task(1).attempt == 1
    assert lead.pass_time(61.5) == [], "silence counts from when it woke"
    assert lead.pass_time(62.0) == ["a"]


def test_a_node_that_comes_back_in_the_same_term_goes_on_where_its_numbers_were() -> None:
    lead, _ = running(1, 2)
    lead.outcomes("a", 1, 1)  # received, not committed
    assert lead.pass_time(3.0) == ["a"]
    lead.enrol("a", {1: 1, 2: 1}, slots=2, dispatch_seq=1)
    lead.commit()
    assert lead.leader.nodes.by_id["a"].outcome_seq == 1
    lead.outcomes("a", 2, 2)
    assert 2 in lead.results()
    assert lead.leader.nodes.by_id["a"].dispatch_seq == 1


# --- accounts


def test_a_dispatch_that_never_arrived_is_sent_again_with_the_same_attempt() -> None:
    lead, _ = running(1, 2)
    lead.enrol("a", {2: 1}, slots=2, dispatch_seq=1)
    assert lead.dispatched() == {"a": [(1, 1)]}


def test_a_dispatch_that_an_account_could_not_know_of_is_left_alone() -> None:
    lead, _ = running(1)
    lead.enrol("a", {}, slots=1, dispatch_seq=0)
    assert lead.task(1).state == State.DISPATCHED


def test_an_old_account_that_comes_late_is_ignored() -> None:
    lead, _ = running(1)
    lead.enrol("a", {1: 1}, dispatch_seq=1)
    lead.versions["a"] = 0
    lead.enrol("a", {}, slots=9, dispatch_seq=1)
    assert (lead.task(1).state, lead.leader.tasks.ledgers["a"].slots) == (State.DISPATCHED, 1)


def test_a_node_that_holds_a_later_attempt_keeps_the_task() -> None:
    lead, _ = running(1)
    lead.enrol("a", {1: 2}, dispatch_seq=1)
    assert lead.task(1).state == State.DISPATCHED


def recovering(*numbers: int) -> Lead:
    """A new leader of tasks that an earlier one had accepted."""
    table = TaskTable()
    table.apply(EntryKind.ACCEPT, encode_calls([(tid(number), "add", 4, b"", None) for number in numbers]))
    return Lead(table, settled=False)


def test_a_new_leader_leaves_tasks_where_they_run_and_dispatches_the_rest() -> None:
    lead = recovering(1, 2)
    lead.enrol("a", {1: 1}, slots=2)
    assert lead.dispatched() == {}, "another node may hold it"
    lead.enrol("b", {})
    lead.leader.tick(0.1, ["a", "b"])
    assert lead.dispatched() == {"b": [(2, 1)]}
    lead.outcomes("a", 1, 1)
    assert tid(1) not in lead.leader.tasks.live


def test_a_new_leader_does_not_wait_for_ever_for_a_node_that_says_nothing() -> None:
    lead = recovering(1)
    lead.enrol("a")
    lead.leader.tick(0.1, ["a", "dead"])
    assert lead.dispatched() == {}
    lead.leader.tick(lead.settings.recovery_grace_s, ["a", "dead"])
    assert lead.dispatched() == {"a": [(1, 1)]}


def test_what_a_new_leader_gives_out_that_no_node_had_is_counted_apart_from_what_is_made_again() -> None:
    lead = recovering(1, 2)
    lead.enrol("a", {1: 1}, slots=2)
    lead.enrol("b", {})
    lead.leader.tick(0.1, ["a", "b"])
    lead.submit(lead.client(), 3)
    lead.dispatched()
    tally = lead.leader.tasks.tally
    assert (tally.recovered, tally.redelivered) == (1, 0)


def test_what_a_task_waits_for_behind_another_at_its_node_is_no_dispatch_latency() -> None:
    lead = Lead()
    lead.leader.dispatcher.durations.observe("add", LONG_US // 2)
    lead.enrol("a", slots=1)
    lead.submit(lead.client(), 1, 2)
    lead.now = 1.0
    assert lead.dispatched() == {"a": [(1, 1), (2, 1)]}
    lead.now = 5.0
    lead.outcomes("a", 1, 1)
    lead.outcomes("a", 2, 2)
    assert sum(lead.leader.tasks.tally.dispatch_latency.as_dict()["counts"]) == 1


def test_how_long_a_task_took_that_an_earlier_leader_gave_to_its_node_is_not_measured() -> None:
    lead = recovering(1, 2)
    lead.enrol("a", {1: 1}, slots=2)
    lead.leader.tick(0.1, ["a"])
    lead.now = 0.1
    assert lead.dispatched() == {"a": [(2, 1)]}
    lead.outcomes("a", 1, 1)
    lead.outcomes("a", 2, 2)
    assert not lead.leader.tasks.live
    assert sum(lead.leader.tasks.tally.dispatch_latency.as_dict()["counts"]) == 1


def test_an_adopted_task_that_the_next_account_does_not_name_is_run_again() -> None:
    lead = recovering(1)
    lead.enrol("a", {1: 1})
    lead.enrol("a", {})
    assert lead.task(1).state == State.READY


def test_an_adopted_earlier_attempt_is_not_taken_for_missing() -> None:
    lead = recovering(1)
    lead.table.lost_attempts[tid(1)] = 1
    lead = Lead(lead.table, settled=False)
    lead.enrol("a", {1: 1})
    lead.enrol("a", {1: 1})
    assert lead.task(1).state == State.DISPATCHED


# --- cancelling


def test_a_waiting_task_is_cancelled_and_whoever_asks_hears_it_once_that_is_committed() -> None:
    lead = Lead()
    session, other = lead.client(), lead.client(b"d")
    lead.submit(session, 1)
    lead.cancel(session, 1, 1, 9)
    lead.cancel(other, 1)
    assert lead.cancel_states() == {9: CancelState.UNKNOWN}
    assert lead.results() == {}
    assert lead.leader.recording.is_awaited
    lead.commit()
    assert [key for key, _ in lead.leader.cancelling.replies] == [b"c", b"d"]
    assert lead.cancel_states() == {1: CancelState.CANCELLED}
    assert lead.results() == {1: TaskEnd.CANCELLED}
    assert lead.table.totals.duplicates == 0


@pytest.mark.parametrize("held", [True, False])
def test_what_an_earlier_leader_may_have_dispatched_is_cancelled_once_the_nodes_have_told(held: bool) -> None:
    lead, _ = running(1)
    after = Lead(lead.table, settled=False)
    session = after.client()
    after.cancel(session, 1)
    after.commit()
    assert after.cancel_states() == {}
    after.enrol("a", {1: 1} if held else {})
    after.leader.tick(after.now, ["a"])
    after.leader.nodes.outbox.clear()
    after.leader.nodes.beat(["a"], after.now)
    if held:
        assert after.leader.nodes.outbox[-1] == ("a", Revoke(TERM, (tid(1),)))
        after.leader.nodes.on_revoked("a", Revoked(TERM, (), (tid(1),)), after.now)
        assert after.cancel_states() == {1: CancelState.RUNNING}
    else:
        after.commit()
        assert after.cancel_states() == {1: CancelState.CANCELLED}
    assert after.dispatched() == {}


def test_tasks_at_a_node_are_asked_back_together_and_its_answer_decides() -> None:
    lead, session = running(1, 2)
    lead.leader.nodes.outbox.clear()
    lead.cancel(session, 1, 2)
    assert lead.leader.nodes.outbox == [("a", Revoke(TERM, (tid(1), tid(2))))]
    assert lead.cancel_states() == {}
    lead.leader.nodes.on_revoked("a", Revoked(TERM, given_back=(tid(2),), kept=(tid(1),)), lead.now)
    assert lead.cancel_states() == {1: CancelState.RUNNING}
    lead.commit()
    assert lead.cancel_states() == {2: CancelState.CANCELLED}
    assert lead.results() == {2: TaskEnd.CANCELLED}
    assert lead.task(1).state == State.DISPATCHED


def test_more_tasks_than_a_message_may_name_are_asked_back_in_several() -> None:
    lead = Lead()
    lead.enrol("a", dict.fromkeys(range(2 * MAX_BATCH_ITEMS + 1), 1))
    revokes = [message for _, message in lead.leader.nodes.outbox if isinstance(message, Revoke)]
    assert [len(revoke.ids) for revoke in revokes] == [MAX_BATCH_ITEMS, MAX_BATCH_ITEMS, 1]
    assert [task_id for revoke in revokes for task_id in revoke.ids] == list(map(tid, range(2 * MAX_BATCH_ITEMS + 1)))


def test_a_task_that_ends_while_it_is_asked_back_has_finished() -> None:
    lead, session = running(1)
    lead.cancel(session, 1)
    lead.outcomes("a", 1, 1)
    assert lead.cancel_states() == {1: CancelState.FINISHED}
    lead.leader.nodes.on_revoked("a", Revoked(TERM, (), (tid(1),)), lead.now)
    assert lead.cancel_states() == {}


def test_a_task_that_comes_back_while_it_is_asked_back_goes_to_no_other_node() -> None:
    lead, session = running(1)
    lead.enrol("b", slots=1)
    lead.cancel(session, 1)
    lead.outcomes("a", 1, 1, end=TaskEnd.LOST)
    lead.commit()
    assert lead.cancel_states() == {1: CancelState.CANCELLED}
    assert lead.dispatched() == {}
    lead.leader.nodes.on_revoked("a", Revoked(TERM, (tid(1),), ()), lead.now)
    assert lead.cancel_states() == {}


def test_what_was_asked_back_is_asked_for_with_each_beat_until_it_is_answered() -> None:
    lead, session = running(1)
    lead.cancel(session, 1)
    lead.leader.nodes.outbox.clear()
    lead.leader.nodes.beat(["a"], lead.now)
    assert lead.leader.nodes.outbox[-1] == ("a", Revoke(TERM, (tid(1),)))
    lead.leader.nodes.on_revoked("a", Revoked(TERM, (), (tid(1),)), lead.now)
    lead.leader.nodes.outbox.clear()
    lead.leader.nodes.beat(["a"], lead.now)
    assert lead.leader.nodes.outbox == []


def waiting_behind_one(lead: Lead) -> None:
    """Node a, with one worker, has task 1; tasks 2 and 3 stand behind it, and have for too long."""
    lead.leader.dispatcher.durations.observe("add", 5)
    lead.enrol("a")
    lead.submit(lead.client(), 1, 2, 3)
    assert lead.dispatched() == {"a": [(1, 1), (2, 1), (3, 1)]}
    lead.now += OVERDUE_S
    lead.enrol("b")
    lead.leader.nodes.outbox.clear()


def test_what_waits_at_a_node_for_too_long_is_asked_back_and_goes_where_a_worker_is_free() -> None:
    lead = Lead()
    waiting_behind_one(lead)
    lead.leader.nodes.on_beat("a", NodeBeat(TERM, 0, 1, 1, 2), lead.now)
    lead.leader.nodes.beat([], lead.now)
    assert [message for _, message in lead.leader.nodes.outbox if isinstance(message, Revoke)] == [
        Revoke(TERM, (tid(1), tid(2), tid(3)))
    ]
    lead.leader.nodes.outbox.clear()
    lead.leader.nodes.on_revoked("a", Revoked(TERM, (tid(2), tid(3)), (tid(1),)), lead.now)
    assert lead.task(2).is_dispatched_to("a"), "this may be a copy of an earlier answer"
    ((node_id, beat),) = lead.leader.nodes.outbox
    assert node_id == "a"
    assert isinstance(beat, Beat)
    lead.enrol("a", {1: 1}, dispatch_seq=1)
    assert lead.dispatched() == {"b": [(2, 1), (3, 1)]}
    lead.submit(lead.client(), *range(10, 300), seq=2)
    assert list(lead.dispatched()) == ["b"]
    lead.outcomes("a", 1, 1)
    assert "a" in lead.dispatched()


def test_a_node_that_has_not_said_that_tasks_wait_there_is_asked_for_none() -> None:
    lead = Lead()
    waiting_behind_one(lead)
    lead.leader.nodes.on_beat("a", NodeBeat(TERM, 0, 1, 3, 0), lead.now)
    lead.leader.nodes.beat([], lead.now)
    assert [type(message) for _, message in lead.leader.nodes.outbox] == [Beat]


def test_while_another_takes_over_nothing_is_asked_back_for_waiting() -> None:
    lead = Lead()
    waiting_behind_one(lead)
    lead.leader.nodes.on_beat("a", NodeBeat(TERM, 0, 1, 1, 2), lead.now)
    lead.leader.set_logging(False, lead.now)
    lead.leader.nodes.beat([], lead.now)
    assert lead.leader.nodes.outbox == []


@pytest.mark.parametrize("how", ["it is silent", "it was restarted"])
def test_while_another_takes_over_no_attempt_is_lost_with_a_node(how: str) -> None:
    """The next leader would not know of the end that was told."""
    lead = Lead()
    lead.enrol("a")
    lead.submit(lead.client(), 1, max_attempts=1)
    assert lead.dispatched() == {"a": [(1, 1)]}
    lead.commit()
    lead.updates()
    lead.leader.set_logging(False, lead.now)
    if how == "it is silent":
        assert lead.pass_time(3.0) == []
    else:
        lead.versions["a"] = 1 << INCARNATION_SHIFT
        lead.enrol("a", {})
    assert (lead.results(), lead.task(1).is_dispatched_to("a")) == ({}, True)
    lead.leader.set_logging(True, lead.now)
    if how == "it is silent":
        assert lead.leader.tick(lead.now, []) == ["a"]
    else:
        lead.enrol("a", {})
    assert lead.results() == {1: TaskEnd.LOST}


def test_while_another_takes_over_a_new_leader_gives_up_nothing() -> None:
    lead, _ = running(1)
    lead.outcomes("a", 1, 1, end=TaskEnd.LOST)
    lead.commit()
    after = Lead(lead.table, settled=False, attempt_limit=1)
    after.leader.admission.wait(after.client(), Wait(0, (tid(1),)), after.now)
    after.leader.set_logging(False, after.now)
    after.pass_time(3.0)
    assert (after.results(), list(after.leader.tasks.live)) == ({}, [tid(1)])
    after.leader.set_logging(True, after.now)
    after.leader.tick(after.now, [])
    assert after.results() == {1: TaskEnd.LOST}


def test_a_node_of_which_nothing_is_new_is_told_so_less_often() -> None:
    lead, _ = running(1)
    leader, beats = lead.leader, []
    for turn in range(1, 9):
        leader.nodes.outbox.clear()
        leader.nodes.beat(["a"], lead.now + turn * BEAT_UNCHANGED_S / 4)
        beats += [turn for _, message in leader.nodes.outbox if isinstance(message, Beat)]
        if turn == 6:
            leader.nodes.by_id["a"].outcome_seq += 1
    assert beats == [1, 5, 7]  # the first has the Dispatch that it was sent


def test_an_account_answers_for_a_give_back_that_was_lost() -> None:
    lead, session = running(1)
    lead.cancel(session, 1)
    lead.enrol("a", {}, dispatch_seq=1)
    lead.commit()
    assert lead.cancel_states() == {1: CancelState.CANCELLED}
    assert not lead.leader.tasks.live


def test_a_give_back_of_another_term_is_ignored() -> None:
    lead, _ = running(1)
    lead.leader.nodes.on_revoked("a", Revoked(TERM - 1, (tid(1),), ()), lead.now)
    assert lead.task(1).state == State.DISPATCHED


# --- sessions


def test_a_client_that_comes_back_gets_results_that_came_meanwhile_and_those_still_to_come() -> None:
    lead, _ = running(1, 2)
    lead.leader.sessions.close(b"c")
    lead.outcomes("a", 1, 1)
    lead.commit()
    assert lead.updates() == []
    again = lead.client(b"d")
    lead.leader.admission.wait(again, Wait(0, (tid(1), tid(2), tid(9))), lead.now)
    (update,) = lead.updates()
    assert [result[0] for result in update.results] == [tid(1)]
    assert [(refused[0], refused[1]) for refused in update.refused] == [(tid(9), Refusal.UNKNOWN_ID)]
    lead.outcomes("a", 2, 2)
    assert lead.results() == {2: TaskEnd.SUCCEEDED}
    assert again.open_tasks == 0


def test_a_closed_session_does_not_stand_in_the_way_of_the_next_one_on_its_connection() -> None:
    lead = Lead()
    lead.submit(lead.client(), 1)
    lead.leader.sessions.close(b"c")
    again = lead.client()
    lead.submit(again, 2)
    lead.commit()
    lead.now = 1.0
    (update,) = lead.updates()
    assert update.accepted == (1,)


def test_a_lingering_accepted_is_a_deadline_until_it_has_left() -> None:
    lead = Lead(accept_linger_s=0.5)
    lead.submit(lead.client(), 1)
    lead.commit()
    assert lead.updates() == []
    assert lead.leader.due == 0.5
    lead.now = 0.5
    assert len(lead.updates()) == 1
    assert lead.leader.due == float("inf")


def test_a_deadline_that_a_result_made_idle_is_none_once_it_has_passed() -> None:
    lead = Lead(accept_linger_s=0.5)
    lead.enrol("a")
    lead.submit(lead.client(), 1, 2)
    lead.commit()
    lead.dispatched()
    lead.outcomes("a", 1, 1)
    (update,) = lead.updates()
    assert update.accepted == (1,)
    assert lead.leader.due == 0.5
    lead.leader.log(0.5)
    assert lead.leader.due == float("inf"), "the loop would come back to it at once, for ever"


def test_an_idle_client_is_forgotten_after_a_while_and_one_that_waits_is_not() -> None:
    lead = Lead()
    lead.client(b"idle")
    lead.submit(lead.client(b"waits"), 1)
    lead.commit()
    lead.leader.expire_sessions(lead.settings.session_timeout_s + 1)
    assert list(lead.leader.sessions.by_key) == [b"waits"]


def test_beyond_the_limit_the_longest_silent_idle_client_makes_room() -> None:
    lead = Lead(client_bounds=ClientBounds(sessions=2))
    for number, key in enumerate([b"a", b"b", b"c"]):
        lead.now = float(number)
        lead.client(key)
    assert list(lead.leader.sessions.by_key) == [b"b", b"c"]


def test_one_finished_task_is_answered_once_however_often_a_message_names_it() -> None:
    lead = Lead()
    lead.enrol("n1")
    session = lead.client()
    lead.submit(session, 1)
    lead.dispatched()
    lead.outcomes("n1", 1, 1)
    assert lead.results() == {1: TaskEnd.SUCCEEDED}
    lead.leader.admission.wait(session, Wait(0, (tid(1),) * 1_000), lead.now)
    assert len(session.results) == 1
    lead.updates()
    lead.submit(session, *[1] * 1_000, seq=2)
    assert len(session.results) == 1


def test_a_flood_of_requests_to_cancel_one_task_is_bounded_and_asks_its_node_once() -> None:
    lead = Lead()
    lead.enrol("n1")
    session = lead.client()
    lead.submit(session, 1)
    lead.dispatched()
    lead.leader.nodes.outbox.clear()
    for request in range(1, REQUESTS_PER_TASK + 11):
        lead.leader.cancel(session, Cancel(request, (tid(1),)), lead.now)
    assert [type(message) for _, message in lead.leader.nodes.outbox] == [Revoke]
    replies = [reply for _, reply in lead.leader.cancelling.replies]
    assert [reply.request for reply in replies] == list(range(1, 11)), "the oldest are told what is known"
    assert {state for reply in replies for _, state in reply.states} == {CancelState.RUNNING}
    lead.leader.cancelling.replies.clear()
    lead.leader.nodes.on_revoked("n1", Revoked(TERM, (tid(1),), ()), lead.now)
    lead.commit()
    assert len(lead.leader.cancelling.replies) == REQUESTS_PER_TASK


def test_nodes_that_never_gave_an_account_are_forgotten_once_they_are_not_heard_any_more() -> None:
    lead = Lead()
    lead.enrol("a")
    nodes = lead.leader.nodes
    for number in range(10_000):
        nodes.beat(["a", f"{number:016x}"], lead.now)
        nodes.outbox.clear()
    assert set(nodes.by_id) == {"a", f"{9_999:016x}"}


def test_the_numbers_of_a_node_that_was_given_up_go_on_when_it_returns() -> None:
    lead, session = running(1)
    assert lead.pass_time(4.0) == ["a"]
    lead.leader.nodes.beat(["b"], lead.now)
    lead.enrol("a")
    lead.submit(session, 2, seq=2)
    lead.leader.nodes.outbox.clear()
    lead.leader.dispatch(lead.now)
    assert [message.seq for _, message in lead.leader.nodes.outbox if isinstance(message, Dispatch)] == [2]


def have_come_and_gone(nodes: Nodes, term: int, count: int, now: float) -> None:
    """So many nodes are there, give an account each and fall silent."""
    names = [f"{number:016x}" for number in range(count)]
    nodes.beat(names, now)
    for gone in names:
        nodes.on_enrol(gone, Enrol(term, (1 << INCARNATION_SHIFT) + 1, 0, 0, 1, ("add",), b""), now)
        nodes._node_gone(gone, now)
    nodes.outbox.clear()


def test_a_leader_that_has_seen_very_many_nodes_come_and_go_gives_way_to_one_that_need_not_remember_them() -> None:
    story = formed("abc")
    leader = node(story, "a").leader
    assert leader is not None
    have_come_and_gone(leader.nodes, leader.term, GONE_LIMIT_NODES, story._now)
    story.run("advance 1")
    assert node(story, "a").leader is leader
    have_come_and_gone(leader.nodes, leader.term, GONE_LIMIT_NODES + 1, story._now)
    assert len(leader.nodes.by_id) == 3 + GONE_LIMIT_NODES + 1, "each may return, and its numbers go on"
    assert "nodes have come and gone" in story.run("advance 1")
    assert node(story, "a").leader is None
    (led,) = (each for name in "bc" if (each := node(story, name).leader) is not None)
    assert set(led.nodes.by_id) == {"a", "b", "c"}


def test_a_leader_that_no_other_voter_could_follow_leads_on_however_many_nodes_come_and_go() -> None:
    story = formed("a")
    leader = node(story, "a").leader
    assert leader is not None
    have_come_and_gone(leader.nodes, leader.term, GONE_LIMIT_NODES + 1, story._now)
    assert "come and gone" not in story.run("advance 1")
    assert node(story, "a").leader is leader


def test_who_was_forgotten_is_told_of_the_leader_at_once_and_given_tasks_again() -> None:
    lead = Lead()
    for heard in (["a"], ["b"], ["a", "b"]):
        lead.leader.nodes.outbox.clear()
        lead.leader.nodes.beat(heard, lead.now)
        assert ("a" in heard) == (("a", Beat(TERM, 0, 0, 0, 0)) in lead.leader.nodes.outbox)
    lead.enrol("a")
    lead.submit(lead.client(), 1)
    assert lead.dispatched() == {"a": [(1, 1)]}
