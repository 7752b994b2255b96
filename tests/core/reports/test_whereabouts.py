"""What the leader says of one task: each state has its sentence, and what a client asks gets its answer."""

from __future__ import annotations

from typing import Any

from core.scheduling.test_due_tasks import SINCE_1970_S, Clocked
from core.scheduling.test_leader import Lead, tid
from paceline.core.reports.whereabouts import whereabouts
from paceline.core.scheduling.credits import LONG_US
from paceline.core.state.table import TaskTable
from paceline_protocol.messages.client import Cancel
from paceline_protocol.messages.records import AT_MOST_ONCE, TaskEnd
from paceline_protocol.messages.work import Availability


def ask(lead: Lead, number: int = 1) -> dict[str, Any]:
    return whereabouts(lead.leader, tid(number), lead.now)


def test_a_task_that_was_never_accepted_is_unknown() -> None:
    answer = ask(Lead())
    assert answer["state"] == "unknown"
    assert "no task of this id was accepted" in answer["why"]


def test_a_task_whose_name_no_node_has_says_which_module_is_missing() -> None:
    lead = Lead()
    lead.enrol("n1")
    lead.submit(lead.client(), 1)
    task = lead.leader.tasks.live[tid(1)]
    task.name = "shop.gone"
    assert ask(lead) | {"why": "", "state": ""} == {
        "state": "",
        "why": "",
        "name": "shop.gone",
        "priority": 4,
        "attempt": 1,
        "node": "",
        "not_before_ms": None,
        "expires_ms": None,
        "failures": [],
        "losses": [],
        "failed_attempts": 0,
        "lost_attempts": 0,
        "cancel_asked": False,
        "cancel_asked_s": None,
        "stopping": False,
        "waits_for_worker": False,
        "is_open": True,
        "accepted_ms": None,
        "started_ms": None,
        "ended_ms": None,
        "kept_until_ms": None,
        "result_expired": False,
    }
    assert ask(lead)["why"] == "no node runs a task named shop.gone; start a node with the module that has it"


def test_a_task_waits_for_a_worker_first_to_come_and_then_to_be_free() -> None:
    lead = Lead()
    lead.enrol("n1", slots=0)
    session = lead.client()
    lead.submit(session, 1)
    assert (ask(lead)["state"], ask(lead)["why"]) == ("ready", "no worker is ready that could run add")
    lead.enrol("n1", slots=1)
    lead.submit(session, 2, 3, 4, 5, 6, 7, seq=2)
    lead.dispatched()
    waiting = lead.leader.tasks.waiting
    assert waiting > 0
    assert ask(lead, 7)["why"] == (
        f"all 1 workers that can run it are busy; 0 of the {waiting} tasks that wait have a higher priority"
    )
    assert ask(lead, 7)["waits_for_worker"]


def test_a_task_whose_nodes_take_no_tasks_says_which_they_are_and_what_has_them_take_some() -> None:
    lead = Lead()
    lead.enrol("n1")
    lead.enrol("other", names=("sub",))
    lead.submit(lead.client(), 1)
    lead.enrol("n1", slots=0, availability=Availability.QUIET)
    assert ask(lead)["why"] == (
        "no node that runs add takes tasks (n1 is quiet); `paceline quiet --off NODE` has one take them again"
    )
    assert not ask(lead)["waits_for_worker"]
    lead.enrol("n1", slots=0, availability=Availability.DRAINS)
    lead.enrol("n2", slots=0, availability=Availability.ENDS)
    assert "(n1 drains, n2 is being stopped); `paceline quiet --off NODE`" in ask(lead)["why"]
    lead.enrol("n1", slots=0, availability=Availability.ENDS)
    for number in range(3, 6):
        lead.enrol(f"n{number}", slots=0, availability=Availability.ENDS)
    assert "n3 is being stopped and 2 more); start another with its module" in ask(lead)["why"]
    lead.enrol("n2", slots=0, availability=Availability.SERVES)
    assert ask(lead)["why"] == "no node runs a task named add; start a node with the module that has it"


def test_a_task_that_its_node_was_given_behind_others_waits_there_for_a_worker() -> None:
    lead = Lead()
    lead.leader.dispatcher.durations.observe("add", LONG_US // 2)
    lead.enrol("n1", slots=1)
    session = lead.client()
    lead.submit(session, 1)
    lead.dispatched()
    lead.now += 1.0
    lead.submit(session, 2, seq=2)
    lead.dispatched()
    assert (ask(lead, 1)["state"], ask(lead, 1)["waits_for_worker"]) == ("dispatched", False)
    assert (ask(lead, 2)["state"], ask(lead, 2)["waits_for_worker"]) == ("dispatched", True)
    assert ask(lead, 2)["why"].endswith("and 1 before it, which are enough for all its workers")


def test_a_dispatched_task_is_at_its_node() -> None:
    lead = Lead()
    lead.enrol("n1")
    lead.submit(lead.client(), 1)
    lead.now = 1.0
    lead.dispatched()
    lead.now = 3.5
    answer = ask(lead)
    assert (answer["state"], answer["node"]) == ("dispatched", "n1")
    assert answer["why"] == "node n1 has it since 2.5 s: it runs there, or waits there for a worker"


def test_a_task_that_may_start_once_waits_for_the_log() -> None:
    lead = Lead()
    lead.enrol("n1")
    lead.submit(lead.client(), 1, delivery=AT_MOST_ONCE)
    lead.dispatched()
    answer = ask(lead)
    assert (answer["state"], answer["node"]) == ("starting", "n1")
    assert "is being written to the log" in answer["why"]


def test_a_delayed_task_says_its_moment_and_that_somebody_wants_it_cancelled() -> None:
    lead = Clocked()
    lead.enrol("n1")
    session = lead.client()
    lead.submit(session, 1, not_before=-60_000, expires=-90_000)
    answer = ask(lead)
    assert answer["state"] == "delayed"
    assert answer["why"] == "it may not start before 2023-11-14 22:14:20.000+00:00"
    assert answer["not_before_ms"] == (SINCE_1970_S + 60) * 1_000
    assert answer["expires_ms"] == (SINCE_1970_S + 90) * 1_000
    lead.leader.cancel(session, Cancel(1, (tid(1),)), lead.now)
    answer = ask(lead)
    assert (answer["state"], answer["why"]) == ("cancelled", "its end is being written to the log")
    lead.commit()
    assert (ask(lead)["state"], ask(lead)["why"]) == ("cancelled", "it was cancelled before it started")


def test_a_cancel_request_that_the_node_must_answer_is_told() -> None:
    lead = Lead()
    lead.enrol("n1")
    session = lead.client()
    lead.submit(session, 1)
    lead.dispatched()
    assert not ask(lead)["cancel_asked"]
    lead.leader.cancel(session, Cancel(1, (tid(1),)), lead.now)
    assert ask(lead)["cancel_asked"]


def test_a_recovered_task_waits_for_the_accounts_of_the_nodes_and_then_for_a_worker() -> None:
    before = Lead()
    before.enrol("n1")
    before.submit(before.client(), 1)
    before.commit()
    lead = Lead(before.table, settled=False)
    assert ask(lead)["state"] == "recovered"
    assert "once every node has said whether it has it" in ask(lead)["why"]
    lead.leader.tick(60.0, [])
    assert ask(lead)["why"] == "no worker is ready that could run add"


def test_during_a_transfer_nothing_is_handed_out() -> None:
    lead = Lead()
    lead.enrol("n1")
    lead.submit(lead.client(), 1)
    lead.leader.recording.is_logging = False
    assert ask(lead)["why"] == "the leadership is being transferred; the next leader hands it out"


def test_each_end_is_told_until_its_owner_has_the_result_and_that_it_ended_afterwards() -> None:
    lead = Lead()
    lead.enrol("n1", slots=4)
    session = lead.client()
    lead.submit(session, 1, 2)
    lead.commit()
    lead.dispatched()
    lead.outcomes("n1", 1, 1)
    assert ask(lead)["state"] == "succeeded"
    lead.commit()
    lead.outcomes("n1", 2, 2, end=TaskEnd.FAILED)
    lead.commit()
    assert [ask(lead, number)["state"] for number in (1, 2)] == ["succeeded", "failed"]
    assert lead.results() == {1: TaskEnd.SUCCEEDED, 2: TaskEnd.FAILED}
    table: TaskTable = lead.table
    assert table.results, "the client has not acknowledged them"
    lead.leader.admission.acknowledge(session, 1, lead.now)
    lead.pass_time(5.0, heard="n1")
    lead.leader.releases.propose(lead.now)
    lead.commit()
    assert [ask(lead, number)["state"] for number in (1, 2)] == ["ended", "ended"]
