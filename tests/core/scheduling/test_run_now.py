"""Tasks that wait for their moments run now, if somebody asks for that."""

from __future__ import annotations

from core.scheduling.test_dead_tasks import dead, requeue
from core.scheduling.test_due_tasks import Clocked, ms
from core.scheduling.test_leader import Lead, tid
from core.scheduling.test_retries import Retried
from paceline.core.scheduling.run_now import run_now
from paceline_protocol.messages.live import RunNowState
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.messages.work import Enrol
from paceline_protocol.requeued import requeued_id

DUE, WAITING, RUNNING, ENDED, DEAD, UNKNOWN, NOT_YET = RunNowState


def asked(lead: Lead, *numbers: int) -> list[int]:
    states = run_now(lead.leader, map(tid, numbers), lead.now)
    assert [task_id for task_id, _ in states] == list(map(tid, dict.fromkeys(numbers)))
    lead.leader.tasks.check()
    return [state for _, state in states]


def test_a_delayed_task_runs_now_and_is_not_delayed_again_when_its_node_gives_it_back() -> None:
    lead = Clocked()
    lead.enrol("a")
    lead.submit(lead.client(), 1, not_before=ms(60.0), expires=ms(90.0))
    lead.commit()
    assert lead.dispatched() == {}
    assert asked(lead, 1, 1) == [DUE]
    assert lead.dispatched() == {"a": [(1, 1)]}
    assert asked(lead, 1) == [RUNNING]
    version = lead.versions["a"] + 1
    lead.leader.nodes.on_enrol("a", Enrol(3, version, 99, 0, 0, (), b"", True), lead.now)  # it never came
    assert asked(lead, 1) == [WAITING]
    lead.at(91.0)
    lead.commit()
    assert lead.table.results[tid(1)][0] == TaskEnd.EXPIRED, "its other moment is watched all the same"
    assert not lead.leader._due._hurried
    assert asked(lead, 1, 2) == [ENDED, UNKNOWN]


def test_a_task_that_has_failed_is_tried_again_now_once_the_log_has_that_and_waits_after_its_next_failure() -> None:
    lead = Retried(retries=5)
    assert lead.dispatched() == {"a": [(1, 1)]}
    lead.fails(1)
    assert asked(lead, 1) == [NOT_YET]
    lead.commit()
    assert lead.dispatched() == {}
    assert asked(lead, 1) == [DUE]
    assert lead.dispatched() == {"a": [(1, 2)]}
    lead.fails(2)
    lead.commit()
    assert lead.dispatched() == {}
    lead.at(1.9)
    assert lead.dispatched() == {}, "its second wait is twice as long as the first"
    lead.at(2.1)
    assert lead.dispatched() == {"a": [(1, 3)]}


def test_what_is_dead_or_about_to_take_the_place_of_a_dead_task_is_told_apart() -> None:
    lead = dead()
    assert asked(lead, 1) == [DEAD]
    requeue(lead, 1)
    new = int.from_bytes(requeued_id(tid(1)), "big")
    assert asked(lead, new) == [NOT_YET]
    lead.commit()
    assert asked(lead, 1, new) == [ENDED, WAITING]


def test_a_leader_that_does_not_know_yet_what_the_nodes_hold_or_hands_over_says_so() -> None:
    lead = Clocked(settled=False)
    lead.submit(lead.client(), 1, not_before=ms(60.0))
    assert asked(lead, 1) == [NOT_YET]
    lead.leader.tick(0.0, [])
    lead.leader.set_logging(False, 0.0)
    assert asked(lead, 1) == [NOT_YET]
    lead.leader.set_logging(True, 0.0)
    assert asked(lead, 1) == [DUE]


def test_the_next_leader_has_it_wait_again_unless_a_node_has_it() -> None:
    lead = Clocked()
    lead.submit(lead.client(), 1, not_before=ms(60.0))
    lead.commit()
    assert asked(lead, 1) == [DUE]
    other = Clocked(lead.table)
    other.enrol("a")
    assert other.dispatched() == {}
    assert asked(other, 1) == [DUE]
    assert other.dispatched() == {"a": [(1, 1)]}
