"""How attempts were lost: while a task lives, in its record, and in the error of one that has none left."""

from __future__ import annotations

import pytest

from core.scheduling.test_leader import Lead, tid
from core.scheduling.test_retention import clock
from paceline.client.task_record import record_of
from paceline.core.reports.dead import dead_task
from paceline.core.reports.whereabouts import whereabouts
from paceline.core.scheduling.losses import LOSSES_LIMIT, Losses, loss_on
from paceline_protocol.limits import KEPT_LOSSES, SUMMARY_LIMIT_BYTES
from paceline_protocol.messages.records import TaskEnd

TASK, OTHER = b"t" * 16, b"o" * 16


def test_the_last_loss_is_told_first_and_those_that_are_alike_together() -> None:
    losses = Losses()
    for attempt, loss in enumerate(
        ("on node a: killed by SIGSEGV", "on node b: exit code 3", "on node a: killed by SIGSEGV"), 1
    ):
        losses.add(TASK, attempt, loss)
    assert losses.all_of(TASK, "on node c: exit code 7") == (
        "last on node c: exit code 7; before that 2 times on node a: killed by SIGSEGV; on node b: exit code 3"
    )
    assert losses.all_of(OTHER, "on node c: exit code 7") == "last on node c: exit code 7"


def test_nothing_is_remembered_of_a_task_that_has_ended() -> None:
    losses = Losses()
    losses.add(TASK, 2, "on node a: killed\x1b by\nSIGSEGV")
    assert losses
    assert losses.of(TASK) == [(2, "on node a: killed\\x1b by\\nSIGSEGV")]
    assert losses.take(TASK) == ((2, "on node a: killed\\x1b by\\nSIGSEGV"),)
    assert losses.take(OTHER) == ()
    assert not losses


def test_what_is_remembered_is_bounded_in_tasks_in_losses_and_in_their_length() -> None:
    losses = Losses()
    for number in range(LOSSES_LIMIT + 1):
        losses.add(number.to_bytes(16, "big"), 1, "on node a: killed")
    assert len(losses._by_id) == LOSSES_LIMIT
    assert losses.all_of(bytes(16), "on node b: killed") == "last on node b: killed", "the oldest is forgotten"
    for number in range(2 * KEPT_LOSSES):
        losses.add(TASK, number, f"on node {number}: killed")
    assert losses.of(TASK) == [(number, f"on node {number}: killed") for number in range(KEPT_LOSSES, 2 * KEPT_LOSSES)]
    losses.add(OTHER, 1, f"on node {'n' * 4_000}: killed")
    assert len(losses.of(OTHER)[0][1]) == SUMMARY_LIMIT_BYTES
    assert len(loss_on("a", b"x" * 10_000)) < SUMMARY_LIMIT_BYTES + 20
    assert loss_on("a", b"\xff") == "on node a: \ufffd"


def lost_twice(lead: Lead, **options: int) -> Lead:
    """A task that runs for the third time."""
    lead.enrol("a", slots=1)
    lead.submit(lead.client(), 1, **options)
    lead.commit()
    for attempt in (1, 2):
        lead.dispatched()
        lead.outcomes("a", attempt, 1, end=TaskEnd.LOST, attempt=attempt)
        lead.commit()
    lead.dispatched()
    return lead


LOST_TWICE = [[1, "on node a: killed"], [2, "on node a: killed"]]


@pytest.mark.parametrize("is_known", [True, False])
def test_the_record_of_a_task_that_lost_attempts_says_how_once_all_nodes_can_read_that(is_known: bool) -> None:
    lead = lost_twice(Lead(clock=clock()), result_ttl=60_000)
    lead.leader.recording.may_log_losses = is_known
    where = whereabouts(lead.leader, tid(1), lead.now)
    assert (where["losses"], where["lost_attempts"]) == (LOST_TWICE, 2)
    lead.outcomes("a", 3, 1, attempt=3)
    lead.commit()
    for leader in (lead.leader, Lead(lead.table, clock=clock()).leader):
        where = whereabouts(leader, tid(1), lead.now)
        assert (where["losses"], where["lost_attempts"]) == (LOST_TWICE if is_known else [], 2)
    assert record_of(tid(1), where).losses == tuple(map(tuple, where["losses"]))
    assert not lead.leader.recording._losses


def test_a_dead_task_says_of_its_last_attempt_too_how_it_was_lost() -> None:
    lead = lost_twice(Lead(clock=clock()), keep_dead=60_000, max_attempts=3)
    lead.leader.recording.may_log_losses = True
    lead.outcomes("a", 3, 1, end=TaskEnd.LOST, attempt=3)
    lead.commit()
    assert dead_task(lead.table, tid(1))["losses"] == [*LOST_TWICE, [3, "on node a: killed"]]
    assert lead.table.dead_bytes == lead.table.dead[tid(1)].size_bytes
    assert not lead.leader.recording._losses


def test_who_is_told_by_an_older_leader_is_told_of_no_loss() -> None:
    where = whereabouts(lost_twice(Lead(clock=clock())).leader, tid(1), 0.0)
    del where["losses"]
    assert record_of(tid(1), where).losses == ()
