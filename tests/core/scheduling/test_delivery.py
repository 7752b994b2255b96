"""Tasks that ask for more than the usual, or for less: at most once, confirmed when committed, not logged."""

from __future__ import annotations

from typing import Any

import pytest

from core.scheduling.test_leader import Lead, tid
from paceline.core.clients.sessions import ClientSession
from paceline.core.incarnation import INCARNATION_SHIFT
from paceline.core.scheduling.nodes import BEAT_UNCHANGED_S
from paceline.core.settings import Settings
from paceline.core.state.task import State
from paceline.core.work.leader_link import LeaderLink
from paceline.core.work.unrecorded import UnrecordedBatch
from paceline_protocol.messages.client import CancelState, Wait
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.records import AT_MOST_ONCE, COMMITTED, NO_LOG, TaskEnd
from paceline_protocol.messages.work import Beat, Dispatch, Enrol, Revoked

ONCE = {"delivery": AT_MOST_ONCE}
TERM = 3


def led(*nodes: str, **limits: Any) -> tuple[Lead, ClientSession]:
    lead = Lead(**limits)
    for node_id in nodes:
        lead.enrol(node_id)
    return lead, lead.client()


def sent(lead: Lead) -> dict[str, list[int]]:
    """What went to nodes since the last time, by node, without a new round of dispatch."""
    messages, lead.leader.nodes.outbox = lead.leader.nodes.outbox, []
    given: dict[str, list[int]] = {}
    for node_id, message in messages:
        if isinstance(message, Dispatch):
            given.setdefault(node_id, []).extend(int.from_bytes(each[0], "big") for each in message.tasks)
    return given


def started(*nodes: str, number: int = 1) -> tuple[Lead, ClientSession]:
    """An at-most-once task that runs on the first node."""
    lead, session = led(*nodes)
    lead.submit(session, number, **ONCE)
    lead.dispatched()
    lead.commit()
    assert sent(lead) == {nodes[0]: [number]}
    return lead, session


# --- at most once ---------------------------------------------------------------------------------------------------


def test_a_task_that_starts_once_goes_nowhere_before_its_start_is_committed() -> None:
    lead, session = led("a")
    lead.submit(session, 1, **ONCE)
    assert lead.dispatched() == {}
    assert lead.task(1).state == State.STARTING
    assert lead.leader.recording.is_awaited
    assert lead.kinds() == [EntryKind.ACCEPT, EntryKind.ATTEMPT]
    assert sent(lead) == {}
    lead.commit()
    assert sent(lead) == {"a": [1]}
    assert lead.task(1).state == State.DISPATCHED


def test_a_node_that_answers_before_it_was_sent_the_task_stops_no_leader() -> None:
    lead, _ = led("a")
    lead.submit(lead.client(), 1, **ONCE)
    lead.dispatched()
    lead.outcomes("a", 1, 1)
    lead.leader.tasks.check()
    lead.commit()
    assert sent(lead) == {}
    assert lead.results() == {1: TaskEnd.SUCCEEDED}


def test_its_result_waits_for_the_commit() -> None:
    lead, _ = started("a")
    lead.outcomes("a", 1, 1)
    assert lead.results() == {}
    lead.commit()
    assert lead.results() == {1: TaskEnd.SUCCEEDED}


@pytest.mark.parametrize("how", ["its worker died", "its node was silent", "its node was restarted"])
def test_a_lost_attempt_is_the_end_of_it(how: str) -> None:
    lead, _ = started("a", "b")
    if how == "its worker died":
        lead.outcomes("a", 1, 1, end=TaskEnd.LOST)
    elif how == "its node was silent":
        lead.pass_time(60.0, heard="b")
    else:
        lead.versions["a"] = 1 << INCARNATION_SHIFT
        lead.enrol("a")
    assert lead.dispatched() == {}
    lead.commit()
    assert lead.results() == {1: TaskEnd.LOST}


def test_what_came_back_unstarted_is_sent_again_without_another_start() -> None:
    lead, _ = started("a", "b")
    lead.enrol("a", {}, slots=0, dispatch_seq=1)
    entries = len(lead.entries)
    assert lead.dispatched() == {"b": [(1, 1)]}
    lead.leader.log(lead.now)
    assert len(lead.entries) == entries


def test_a_node_that_goes_before_the_start_is_committed_costs_nothing() -> None:
    lead, session = led("a", "b")
    lead.submit(session, 1, **ONCE)
    lead.dispatched()
    lead.pass_time(60.0, heard="b")
    assert lead.dispatched() == {}
    assert lead.task(1).node == "b"
    lead.commit()
    assert sent(lead) == {"b": [1]}
    assert lead.task(1).state == State.DISPATCHED


def test_an_account_that_does_not_hold_it_yet_leaves_its_place_alone() -> None:
    lead, session = led("a", "b")
    lead.submit(session, 1, **ONCE)
    lead.dispatched()
    lead.enrol("a", {})
    assert lead.task(1).state == State.STARTING
    lead.commit()
    assert sent(lead) == {"a": [1]}


def test_cancelled_before_its_start_is_committed_it_never_starts() -> None:
    lead, session = led("a")
    lead.submit(session, 1, **ONCE)
    lead.dispatched()
    lead.cancel(session, 1)
    assert lead.cancel_states() == {}
    lead.commit()
    assert sent(lead) == {}
    assert lead.cancel_states() == {1: CancelState.CANCELLED}
    assert lead.results() == {1: TaskEnd.CANCELLED}


def test_a_copy_of_an_answer_does_not_take_a_task_from_the_node_that_runs_it() -> None:
    lead, _ = started("a", "b")
    lead.leader.nodes.on_revoked("a", Revoked(TERM, (tid(1),), ()), lead.now)
    assert lead.dispatched() == {}
    assert lead.task(1).state == State.DISPATCHED


def next_leader(lead: Lead, *nodes: str, held: dict[int, int] | None = None) -> Lead:
    """Another leads, of the same table; the first of these nodes holds something."""
    after = Lead(lead.table, settled=False)
    for node_id in nodes:
        after.enrol(node_id, held if node_id == nodes[0] else {})
    after.leader.tick(after.now, nodes)
    return after


def test_a_new_leader_never_starts_again_what_was_started() -> None:
    lead, _ = started("a", "b")
    after = next_leader(lead, "a", "b")
    session = after.client()
    after.leader.admission.wait(session, Wait(0, (tid(1),)), after.now)
    assert after.dispatched() == {}
    after.commit()
    assert after.results() == {1: TaskEnd.LOST}


def test_a_new_leader_leaves_it_to_the_node_that_has_it() -> None:
    lead, _ = started("a", "b")
    after = next_leader(lead, "a", "b", held={1: 1})
    assert after.dispatched() == {}
    assert after.task(1).node == "a"
    after.outcomes("a", 1, 1)
    after.commit()
    assert after.table.results[tid(1)][0] == TaskEnd.SUCCEEDED


def test_a_new_leader_starts_what_was_accepted_and_not_started() -> None:
    lead, session = led("a")
    lead.submit(session, 1, **ONCE)
    lead.commit()
    after = next_leader(lead, "a")
    after.dispatched()
    after.commit()
    assert sent(after) == {"a": [1]}


def test_what_was_sent_to_a_node_before_it_was_restarted_does_not_start_there() -> None:
    leader_link = LeaderLink(Settings(cluster_name="test"), 2)
    leader_link.worker_ready(b"w", ("add",))
    leader_link.on_beat("l", Beat(1, 0, 0, 0), 0.0)
    leader_link.on_dispatch("l", Dispatch(1, (1 << INCARNATION_SHIFT) + 7, ((tid(1), 1, "add", b"", ONCE),)), 0.0)
    assert leader_link.assign(0.0) == []


# --- confirmed when committed ---------------------------------------------------------------------------------------


def test_a_result_that_is_to_be_committed_is_not_told_before() -> None:
    lead, session = led("a")
    lead.submit(session, 1, confirm=COMMITTED)
    assert lead.dispatched() == {"a": [(1, 1)]}
    lead.outcomes("a", 1, 1)
    assert lead.results() == {}
    assert lead.leader.recording.is_awaited
    lead.commit()
    assert lead.results() == {1: TaskEnd.SUCCEEDED}


def test_whoever_asks_meanwhile_is_told_when_it_is_committed() -> None:
    lead, session = led("a")
    lead.submit(session, 1, confirm=COMMITTED)
    lead.dispatched()
    lead.outcomes("a", 1, 1)
    lead.leader.sessions.close(session.key)
    again, third = lead.client(b"d"), lead.client(b"e")
    lead.submit(again, 1, confirm=COMMITTED)
    lead.leader.admission.wait(third, Wait(0, (tid(1),)), lead.now)
    lead.cancel(third, 1)
    assert lead.cancel_states() == {}
    assert lead.results() == {}
    lead.commit()
    assert lead.cancel_states() == {1: CancelState.FINISHED}
    assert lead.results() == {1: TaskEnd.SUCCEEDED}
    assert [session.open_tasks for session in (again, third)] == [0, 0]


# --- not logged -----------------------------------------------------------------------------------------------------


def test_a_task_without_durability_leaves_nothing_in_the_log() -> None:
    lead, session = led("a")
    lead.submit(session, 1, durability=NO_LOG)
    assert lead.dispatched() == {"a": [(1, 1)]}
    lead.outcomes("a", 1, 1, end=TaskEnd.LOST)
    assert lead.dispatched() == {"a": [(1, 2)]}
    lead.outcomes("a", 2, 1, attempt=2)
    assert lead.results() == {1: TaskEnd.SUCCEEDED}
    lead.commit()
    assert lead.entries == []
    assert lead.leader.nodes.by_id["a"].outcome_seq == 2
    assert session.open_tasks == 0


def talk(lead: Lead, link: LeaderLink) -> None:
    """The leader and node "a" say all that they have to say to each other."""
    lead.leader.nodes.beat(["a"], lead.now)
    while lead.leader.nodes.outbox or link.outbox:
        messages, lead.leader.nodes.outbox = lead.leader.nodes.outbox, []
        for node_id, message in messages:
            if node_id == "a" and isinstance(message, Beat):
                link.on_beat("l", message, lead.now)
            elif node_id == "a" and isinstance(message, Dispatch):
                link.on_dispatch("l", message, lead.now)
        reports, link.outbox = link.outbox, []
        for report in reports:
            if isinstance(report, Enrol):
                lead.leader.nodes.on_enrol("a", report, lead.now)
            elif isinstance(report, UnrecordedBatch):
                lead.leader.nodes.on_outcomes("a", link.term, report.seq, report.items, lead.now)


def test_a_task_that_comes_back_as_new_runs_on_the_node_that_had_lost_a_later_attempt_of_it() -> None:
    """The node drops that dispatch as a copy of what it has, and its leader hears so. Else it would wait for ever."""
    lead, session = led("b")
    lead.submit(session, 1, durability=NO_LOG)
    assert lead.dispatched() == {"b": [(1, 1)]}
    lead.enrol("b", {1: 1}, slots=0)
    link = LeaderLink(Settings(cluster_name="test"), 1)
    link.worker_ready(b"w", ("add",))
    talk(lead, link)
    lead.outcomes("b", 1, 1, end=TaskEnd.LOST)
    lead.leader.dispatch(lead.now)
    talk(lead, link)
    assert link.assign(0.0)
    link.worker_lost(b"w", "killed", lead.now)  # the second attempt
    talk(lead, link)
    lead.enrol("b")
    assert lead.dispatched() == {"b": [(1, 3)]}
    lead.outcomes("b", 2, 1, attempt=3)
    assert lead.results() == {1: TaskEnd.SUCCEEDED}
    lead.enrol("b", slots=0)
    link.worker_ready(b"x", ("add",))
    talk(lead, link)
    lead.submit(lead.client(b"d"), 1, durability=NO_LOG)  # its client was cut off, and has not heard of that
    for _ in range(4):
        lead.leader.dispatch(lead.now)
        assert (lead.task(1).node, lead.task(1).attempt) == ("a", 1)
        lead.now += BEAT_UNCHANGED_S
        talk(lead, link)
        lead.commit()
    assert [task[:2] for _, tasks in link.assign(0.0) for task in tasks] == [(tid(1), 1)]


def test_in_a_batch_with_others_only_they_are_logged() -> None:
    lead, session = led("a")
    lead.submit(session, 1)
    lead.submit(session, 2, seq=2, durability=NO_LOG)
    lead.submit(session, 3, seq=3)
    lead.commit()
    assert list(lead.table.tasks) == [tid(1), tid(3)]
    lead.now += 1.0
    assert [update.accepted for update in lead.updates()] == [(2, 1, 3)]


def test_the_next_leader_takes_it_as_new_and_an_outcome_from_before_counts() -> None:
    lead, session = led("a")
    lead.submit(session, 1, durability=NO_LOG)
    lead.dispatched()
    after = next_leader(lead, "a", held={1: 1})
    again = after.client()
    after.submit(again, 1, durability=NO_LOG)
    after.outcomes("a", 1, 1)
    assert after.results() == {1: TaskEnd.SUCCEEDED}


def test_an_outcome_that_nobody_waits_for_any_more_is_acknowledged() -> None:
    lead, session = led("a")
    lead.submit(session, 1, durability=NO_LOG)
    lead.dispatched()
    after = next_leader(lead, "a", held={1: 1})
    after.outcomes("a", 1, 1)
    after.commit()
    assert after.leader.nodes.by_id["a"].outcome_seq == 1


def test_it_counts_toward_the_limits_and_can_be_cancelled() -> None:
    lead, session = led("a", queue_limit_tasks=1)
    lead.submit(session, 1, durability=NO_LOG)
    lead.submit(session, 2, seq=2, durability=NO_LOG)
    assert list(lead.refusals()) == [2]
    lead.cancel(session, 1)
    assert lead.cancel_states() == {1: CancelState.CANCELLED}
