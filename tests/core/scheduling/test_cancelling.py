"""Requests to cancel what runs, at the leader: whose node is asked, what is answered, and that nothing runs again."""

from __future__ import annotations

import pytest

from core.scheduling.test_leader import TERM, Lead, running, tid
from core.scheduling.test_retries import Retried
from paceline.client.future import error_of
from paceline.core.clients.sessions import ClientSession
from paceline.core.reports.whereabouts import whereabouts
from paceline.core.scheduling.cancelling import REQUESTS_PER_TASK
from paceline.core.state.task import State
from paceline.errors import TaskCancelled
from paceline_protocol.cancelled import STOPPED
from paceline_protocol.messages.client import Cancel, CancelState
from paceline_protocol.messages.records import Outcome, TaskEnd
from paceline_protocol.messages.work import Revoke, Revoked, Stopping, StopTasks, WorkMessage


def stoppable(*numbers: int) -> tuple[Lead, ClientSession]:
    lead, session = running(*numbers)
    lead.leader.cancelling.may_stop = True
    lead.leader.nodes.outbox.clear()
    return lead, session


def sent(lead: Lead) -> list[tuple[str, WorkMessage]]:
    """What nodes are asked to give back or to stop, with the next beat."""
    lead.leader.nodes.outbox.clear()
    lead.leader.nodes.beat(["a"], lead.now)
    return [each for each in lead.leader.nodes.outbox if isinstance(each[1], Revoke | StopTasks)]


def stops(lead: Lead, seq: int, attempt: int = 1) -> None:
    """Its worker has stopped task 1."""
    outcome: Outcome = (tid(1), attempt, int(TaskEnd.CANCELLED), STOPPED, 500)
    lead.leader.nodes.on_outcomes("a", TERM, seq, [outcome], lead.now)


def test_what_a_node_has_is_asked_to_stop_with_its_attempt_until_the_node_has_answered() -> None:
    lead, session = stoppable(1, 2)
    lead.cancel(session, 1)
    asked = [("a", StopTasks(TERM, ((tid(1), 1),)))]
    assert lead.leader.nodes.outbox == asked
    assert sent(lead) == asked
    lead.leader.nodes.on_stopping("a", Stopping(TERM, (tid(1),)))
    assert lead.cancel_states() == {1: CancelState.STOPPING}
    assert sent(lead) == []
    lead.cancel(lead.client(b"d"), 1)
    assert lead.cancel_states() == {1: CancelState.STOPPING}, "whoever asks later is told at once"


def test_it_is_told_to_be_cancelled_once_that_is_committed_and_how_it_came_to_that() -> None:
    lead, session = stoppable(1)
    lead.cancel(session, 1)
    lead.leader.nodes.on_stopping("a", Stopping(TERM, (tid(1),)))
    lead.cancel_states()
    stops(lead, 1)
    assert (lead.cancel_states(), lead.results()) == ({}, {})
    lead.commit()
    assert lead.cancel_states() == {1: CancelState.CANCELLED}
    ((_, end, payload),) = [result for update in lead.updates() for result in update.results]
    error = error_of(end, payload)
    assert isinstance(error, TaskCancelled)
    assert error.began
    assert (lead.table.results[tid(1)], lead.leader.tasks.tally.finished[TaskEnd.CANCELLED]) == ((end, payload), 1)


def test_what_it_has_returned_all_the_same_is_told() -> None:
    lead, session = stoppable(1)
    lead.cancel(session, 1)
    lead.leader.nodes.on_stopping("a", Stopping(TERM, (tid(1),)))
    lead.outcomes("a", 1, 1)
    assert lead.cancel_states() == {1: CancelState.FINISHED}
    assert lead.results() == {1: TaskEnd.SUCCEEDED}


@pytest.mark.parametrize("is_stopping", [True, False])
def test_what_is_lost_while_it_is_asked_to_stop_does_not_run_again(is_stopping: bool) -> None:
    lead, session = stoppable(1)
    lead.cancel(session, 1)
    if is_stopping:
        lead.leader.nodes.on_stopping("a", Stopping(TERM, (tid(1),)))
    lead.pass_time(lead.now + 3.0)
    lead.enrol("b", slots=1)
    lead.commit()
    assert lead.cancel_states()[1] == CancelState.CANCELLED
    assert lead.dispatched() == {}


def test_what_fails_before_its_worker_is_asked_is_not_tried_again() -> None:
    lead = Retried(retries=2)
    lead.leader.cancelling.may_stop = True
    assert lead.runs_next(1)
    lead.cancel(lead.session, 1)
    lead.fails(1)
    lead.commit()
    assert lead.cancel_states() == {1: CancelState.CANCELLED}
    told = lead.told()
    assert told is not None
    assert str(error_of(*told)).startswith("the task was cancelled: it had run, and was not run again")


def test_a_task_that_comes_back_is_cancelled_and_had_not_begun() -> None:
    lead, session = stoppable(1)
    lead.cancel(session, 1)
    lead.leader.nodes.on_revoked("a", Revoked(TERM, (tid(1),), ()), lead.now)
    lead.commit()
    assert lead.cancel_states() == {1: CancelState.CANCELLED}
    ((_, end, payload),) = [result for update in lead.updates() for result in update.results]
    assert str(error_of(end, payload)) == "the task was cancelled before it started"


def test_the_answer_to_another_request_is_none_to_this_one() -> None:
    """As one for a task that has waited for too long at its node, and was asked back for that."""
    lead, session = stoppable(1)
    lead.cancel(session, 1)
    lead.leader.nodes.on_revoked("a", Revoked(TERM, (), (tid(1),)), lead.now)
    lead.leader.nodes.on_stopping("b", Stopping(TERM, (tid(1),)))
    lead.leader.nodes.on_stopping("a", Stopping(TERM - 1, (tid(1),)))
    assert lead.cancel_states() == {}
    assert sent(lead) == [("a", StopTasks(TERM, ((tid(1), 1),)))]


def test_a_new_leader_is_asked_again_and_takes_the_word_of_a_node_that_was_asked_before() -> None:
    lead, _ = stoppable(1, 2)
    after = Lead(lead.table, settled=False)
    after.leader.cancelling.may_stop = True
    session = after.client()
    after.cancel(session, 2)
    after.enrol("a", {1: 1, 2: 1}, slots=2)
    after.leader.tick(after.now, ["a"])
    assert sent(after) == [("a", StopTasks(TERM, ((tid(2), 1),)))]
    stops(after, 1)
    after.commit()
    assert after.table.results[tid(1)][0] == TaskEnd.CANCELLED
    assert after.task(2).state == State.DISPATCHED


def test_in_a_cluster_with_an_older_node_what_runs_is_left_alone() -> None:
    lead, session = running(1)
    lead.leader.nodes.outbox.clear()
    lead.cancel(session, 1)
    assert lead.leader.nodes.outbox == [("a", Revoke(TERM, (tid(1),)))]
    lead.leader.nodes.on_revoked("a", Revoked(TERM, (), (tid(1),)), lead.now)
    assert lead.cancel_states() == {1: CancelState.RUNNING}


def test_requests_for_one_task_are_bounded_while_it_runs_on() -> None:
    lead, session = stoppable(1)
    lead.cancel(session, 1)
    lead.leader.nodes.on_stopping("a", Stopping(TERM, (tid(1),)))
    for request in range(2 * REQUESTS_PER_TASK):
        lead.leader.cancel(session, Cancel(request, (tid(1),)), lead.now)
    assert len(lead.leader.cancelling.asked[tid(1)].requests) == REQUESTS_PER_TASK
    lead.outcomes("a", 1, 1)
    assert lead.leader.cancelling.asked == {}


def test_where_it_is_says_since_when_somebody_wants_it_cancelled() -> None:
    lead, session = stoppable(1)
    lead.cancel(session, 1)
    found = whereabouts(lead.leader, tid(1), lead.now + 2.5)
    assert (found["cancel_asked"], found["cancel_asked_s"], found["stopping"]) == (True, 2.5, False)
    assert found["why"].endswith("somebody wants it cancelled since 2.5 s, and its node is asked for it")
    lead.leader.nodes.on_stopping("a", Stopping(TERM, (tid(1),)))
    found = whereabouts(lead.leader, tid(1), lead.now + 2.5)
    assert found["why"].endswith("since 2.5 s, and its worker is asked to stop it")
    stops(lead, 1)
    lead.commit()
    found = whereabouts(lead.leader, tid(1), lead.now)
    assert (found["state"], found["why"]) == ("cancelled", "it was cancelled: it stopped when it was asked to")
