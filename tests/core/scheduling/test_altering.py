"""Tasks that wait are held, released, moved and given another priority: by the log, and so under every leader."""

from __future__ import annotations

from random import Random

import pytest

from core.scheduling.test_due_tasks import Clocked, ms
from core.scheduling.test_leader import Lead, tid
from paceline.core.reports.found import found
from paceline.core.reports.whereabouts import whereabouts
from paceline.core.scheduling.alter_requests import OPEN_REQUESTS
from paceline.core.scheduling.finding import PAGE_TASKS
from paceline.core.state.table import TaskTable
from paceline_protocol.codec import encode_alterations, encode_calls
from paceline_protocol.limits import MAX_QUEUES
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.live import LiveState
from paceline_protocol.messages.queues import AlterReply, AlterState, AlterTasks, FindToAlter, Holding
from paceline_protocol.messages.records import AT_MOST_ONCE, CANCEL, NO_LOG, TaskEnd

DONE, RUNNING, ENDED, UNKNOWN, NOT_YET, UNLOGGED, FULL, DEPENDS = AlterState


def ask(
    lead: Lead, *numbers: int, holding: Holding = Holding.LEAVE, queue: str = "", priority: int = 0, request: int = 1
) -> list[AlterReply]:
    """What is replied at once."""
    ids = tuple(map(tid, numbers))
    lead.leader.alterations.alter(b"c", AlterTasks(request, ids, holding, queue, priority))
    return replies(lead)


def replies(lead: Lead) -> list[AlterReply]:
    told, lead.leader.alterations.replies = lead.leader.alterations.replies, []
    return [reply for _, reply in told]


def done(lead: Lead, *numbers: int, **change: object) -> None:
    """It is so once the log has it."""
    assert ask(lead, *numbers, **change) == []  # type: ignore[arg-type]
    lead.leader.tasks.check()
    lead.commit()
    (reply,) = replies(lead)
    assert [state for _, state in reply.states] == [DONE] * len(numbers)
    lead.leader.tasks.check()


def waiting(count: int, lead: Lead | None = None, **options: object) -> Lead:
    """So many tasks wait, from 1 on, as no node is there."""
    lead = Lead() if lead is None else lead
    session = lead.client()
    for number in range(1, count + 1):
        lead.submit(session, number, seq=number, **options)  # type: ignore[arg-type]
    lead.commit()
    return lead


def test_a_held_task_does_not_start_and_nobody_behind_it_waits_until_it_is_released() -> None:
    lead = waiting(3)
    done(lead, 1, holding=Holding.HOLD)
    assert whereabouts(lead.leader, tid(1), lead.now)["why"] == (
        f"somebody holds it; `paceline tasks unhold {tid(1).hex()}` lets it go on"
    )
    lead.enrol("a", slots=9)
    assert lead.dispatched() == {"a": [(2, 1), (3, 1)]}
    done(lead, 1, holding=Holding.RELEASE, request=2)
    assert lead.dispatched() == {"a": [(1, 1)]}


def test_nothing_is_handed_out_of_what_is_to_be_altered_before_the_log_has_it() -> None:
    lead = waiting(2)
    assert ask(lead, 1, queue="slow") == []
    assert "is being written to the log" in whereabouts(lead.leader, tid(1), lead.now)["why"]
    lead.enrol("a", slots=9)
    assert lead.dispatched() == {"a": [(2, 1)]}
    lead.commit()
    assert replies(lead) == [AlterReply(1, "", ((tid(1), DONE),))]
    assert lead.leader.goes_on()
    assert lead.dispatched() == {"a": [(1, 1)]}
    assert lead.leader.tasks.live[tid(1)].queue == "slow"


def test_the_next_leader_holds_it_too_and_knows_its_queue_and_priority() -> None:
    before = waiting(3)
    done(before, 1, holding=Holding.HOLD)
    done(before, 2, queue="video", priority=10, request=2)
    lead = Lead(before.table)
    lead.enrol("a", slots=9)
    given = lead.dispatched()["a"]
    assert (1, 1) not in given
    task = lead.leader.tasks.live[tid(2)]
    assert (task.queue, task.priority) == ("video", 9)
    done(lead, 1, holding=Holding.RELEASE)
    assert [number for number, _ in lead.dispatched()["a"]] == [1]


def test_a_moved_task_goes_to_nodes_of_its_new_queue_alone() -> None:
    lead = waiting(1)
    done(lead, 1, queue="video")
    lead.leader.tasks.enrol("a", 3, ["add"], queues=["default"])
    assert lead.dispatched() == {}
    assert lead.leader.tasks.queues.by_name["video"].count == 1


def test_a_task_of_another_priority_is_behind_those_that_have_it() -> None:
    lead = Lead()
    session = lead.client()
    for number in range(1, 4):
        lead.submit(session, number, seq=number)
    lead.commit()
    done(lead, 3, 1, priority=10)
    lead.enrol("a", slots=9)
    assert [number for number, _ in lead.dispatched()["a"]] == [1, 3, 2]


def test_what_has_started_is_told_and_left_as_it_is() -> None:
    lead = Lead()
    lead.enrol("a", slots=1)
    session = lead.client()
    lead.submit(session, 1)
    lead.submit(session, 2, seq=2, durability=NO_LOG)
    lead.submit(session, 3, seq=3)
    assert lead.dispatched()
    (reply,) = ask(lead, 1, 2, 3, 4, holding=Holding.HOLD)
    assert reply.states == ((tid(1), RUNNING), (tid(2), UNLOGGED), (tid(3), NOT_YET), (tid(4), UNKNOWN))
    lead.commit()
    lead.outcomes("a", 1, 1)
    (reply,) = ask(lead, 1, holding=Holding.HOLD, request=2)
    assert reply.states == ((tid(1), ENDED),)
    done(lead, 3, holding=Holding.HOLD, request=3)


def test_what_may_start_once_and_has_is_left_as_it_is() -> None:
    lead = Lead()
    lead.enrol("a")
    lead.submit(lead.client(), 1, delivery=AT_MOST_ONCE)
    assert lead.dispatched() == {}
    lead.commit()
    task = lead.leader.tasks.live[tid(1)]
    assert task.is_dispatched
    lead.leader.tasks.give_back(task, lead.now)
    (reply,) = ask(lead, 1, holding=Holding.HOLD)
    assert reply.states == ((tid(1), RUNNING),)


def test_a_task_that_ends_while_the_log_is_waited_for_is_told_so() -> None:
    lead = waiting(1)
    assert ask(lead, 1, holding=Holding.HOLD) == []
    lead.leader.recording.cancel([lead.leader.tasks.live[tid(1)]], lead.now)
    lead.commit()
    assert replies(lead) == [AlterReply(1, "", ((tid(1), ENDED),))]
    assert lead.table.results[tid(1)][0] == TaskEnd.CANCELLED
    lead.leader.tasks.check()
    assert not lead.leader.tasks.altering


def test_a_delayed_task_is_held_past_its_moment_and_expires_when_it_should() -> None:
    lead = Clocked()
    lead.enrol("a", slots=9)
    session = lead.client()
    lead.submit(session, 1, not_before=ms(5.0), expires=ms(20.0))
    lead.submit(session, 2, seq=2, not_before=ms(5.0))
    lead.commit()
    done(lead, 1, 2, holding=Holding.HOLD)
    lead.at(6.0)
    assert lead.dispatched() == {}
    done(lead, 2, holding=Holding.RELEASE, request=2)
    assert lead.dispatched() == {"a": [(2, 1)]}
    lead.at(20.0)
    lead.commit()
    assert lead.table.results[tid(1)][0] == TaskEnd.EXPIRED
    lead.leader.tasks.check()


def test_a_task_that_is_moved_before_its_moment_waits_for_that() -> None:
    lead = Clocked()
    lead.enrol("a", slots=9)
    lead.submit(lead.client(), 1, not_before=ms(5.0))
    lead.commit()
    assert ask(lead, 1, queue="video") == []
    lead.at(6.0)
    assert lead.dispatched() == {}, "its moment has come, and the log does not have yet where it is"
    lead.commit()
    assert lead.dispatched() == {"a": [(1, 1)]}


def test_a_copy_of_a_request_changes_nothing() -> None:
    lead = waiting(1)
    assert ask(lead, 1, holding=Holding.HOLD) + ask(lead, 1, holding=Holding.HOLD) == []
    lead.commit()
    assert len(replies(lead)) == 1
    done(lead, 1, holding=Holding.RELEASE, request=2)
    assert ask(lead, 1, holding=Holding.HOLD) == [AlterReply(1, "", ((tid(1), DONE),))]
    lead.commit()
    assert not lead.table.tasks[tid(1)].is_held


def test_what_is_so_already_is_not_logged() -> None:
    lead = waiting(1)
    before = lead.kinds()
    assert ask(lead, 1, holding=Holding.RELEASE, queue="default", priority=5) == [AlterReply(1, "", ((tid(1), DONE),))]
    assert not lead.leader.tasks.altering
    assert lead.kinds() == before


def test_what_can_not_be_is_refused_by_name() -> None:
    lead = waiting(1)
    (wrong,) = ask(lead, 1, queue="a b")
    assert "the name of a queue has 1 to 64 letters" in wrong.refused
    (wrong,) = ask(lead, 1, priority=11, request=2)
    assert wrong.refused == "a priority is a whole number from 0 to 9"
    lead.leader.admission.cluster_level = type(lead.leader.admission.cluster_level)(18)
    (old,) = ask(lead, 1, holding=Holding.HOLD, request=3)
    assert "needs feature level 21" in old.refused


def test_queues_and_requests_that_wait_for_the_log_are_bounded() -> None:
    lead = waiting(OPEN_REQUESTS + 2)
    for number in range(OPEN_REQUESTS):
        assert ask(lead, number + 1, queue=f"q{number}", request=number) == []
    (reply,) = ask(lead, OPEN_REQUESTS + 1, holding=Holding.HOLD, request=OPEN_REQUESTS)
    assert reply.states == ((tid(OPEN_REQUESTS + 1), NOT_YET),)
    lead.commit()
    for number in range(MAX_QUEUES):
        if lead.leader.tasks.queues.has_room_for(f"paused{number}"):
            lead.leader.tasks.queues.set(f"paused{number}", is_paused=True, weight=1)
    replies(lead)
    (reply,) = ask(lead, OPEN_REQUESTS + 2, queue="one-more", request=OPEN_REQUESTS + 1)
    assert reply.states == ((tid(OPEN_REQUESTS + 2), FULL),)


def test_a_task_that_ends_with_its_client_and_one_with_a_key_stay_so() -> None:
    lead = Lead()
    session = lead.client()
    lead.submit(session, 1, on_client_lost=CANCEL, fair_key="acme", expires=10**13)
    lead.commit()
    done(lead, 1, queue="video", holding=Holding.HOLD)
    task = lead.leader.tasks.live[tid(1)]
    assert task.options is not None
    assert (task.options.ends_with_client, task.options.fair_key, task.session) == (True, "acme", session)
    assert session.open_tasks == 1
    done(lead, 1, queue="default", holding=Holding.RELEASE, request=2)
    lead.enrol("a")
    assert lead.dispatched() == {"a": [(1, 1)]}
    lead.outcomes("a", 1, 1)
    lead.commit()
    assert session.open_tasks == 0
    lead.leader.tasks.check()


def test_a_snapshot_that_is_being_packed_has_the_task_as_it_was() -> None:
    table = TaskTable()
    table.apply(EntryKind.ACCEPT, encode_calls([(tid(number), "add", 4, b"", None) for number in (1, 2)]))
    (section,) = [each for each in table.sections if each.name == "tasks"]
    captured = section.captured()
    table.apply(EntryKind.ALTER, encode_alterations([(tid(1), "video", 9, True)]))
    assert [section.packed(each)[0][4] for each in captured] == [None, None]
    altered = {"queue": "video", "held": 1}
    assert [section.packed(each)[0][4] for each in section.captured()] == [altered, None]
    other = TaskTable()
    (into,) = [each for each in other.sections if each.name == "tasks"]
    into.read(tuple(section.packed(each)[0] for each in section.captured()))
    assert [(task.is_held, task.priority) for task in other.tasks.values()] == [(True, 9), (False, 4)]


def test_what_the_log_says_of_a_task_that_has_ended_changes_nothing() -> None:
    table = TaskTable()
    table.apply(EntryKind.ALTER, b"", [(tid(1), "video", 4, True)])
    assert table.tasks == {}


def test_all_that_match_a_filter_are_found_once_whatever_is_altered_meanwhile() -> None:
    lead = Clocked()
    session = lead.client()
    numbers = range(1, 2 * PAGE_TASKS)
    lead.submit(session, *[number for number in numbers if number % 3])
    lead.submit(session, *[number for number in numbers if not number % 3], seq=2, not_before=ms(500.0))
    lead.commit()
    states = (LiveState.DELAYED, LiveState.WAITING)
    for holding in (Holding.HOLD, Holding.RELEASE):
        seen: list[bytes] = []
        cursor, until, term = (0, 0, 0), 0, 0
        for _ in range(20):
            request = FindToAlter(1, "*", states, term, until, *cursor, "", 0, holding, "", 0)
            answer = found(lead.leader, request, lead.now)
            seen += answer["ids"]
            if answer["ids"]:
                some = [int.from_bytes(each, "big") for each in answer["ids"]]
                done(lead, *some, holding=holding, request=10_000 * holding + len(seen))
            if answer["next"] is None:
                break
            cursor, until, term = answer["next"], answer["until"], answer["term"]
        assert sorted(seen) == [tid(number) for number in numbers]
    assert lead.leader.tasks.delayed == len(numbers) // 3


@pytest.mark.parametrize("seed", range(20))
def test_whatever_is_altered_in_whatever_order_all_places_are_right_and_no_held_task_starts(seed: int) -> None:
    rng = Random(seed)
    lead = Lead()
    session = lead.client()
    held: set[int] = set()
    number = 0
    for step in range(60):
        match rng.randrange(6):
            case 0 | 1:
                number += 1
                lead.submit(session, number, seq=number, **({"fair_key": "a"} if rng.random() < 0.5 else {}))
            case 2 if number:
                some = rng.sample(range(1, number + 1), min(number, 3))
                holding = rng.choice(list(Holding))
                ask(lead, *some, holding=holding, queue=rng.choice(["", "q", "default"]), request=step)
            case 3:
                lead.commit()
            case 4:
                lead.enrol("a", slots=rng.choice([0, 1, 5]))
            case _ if lead.leader.tasks.live:
                task = rng.choice(list(lead.leader.tasks.live.values()))
                if task.waits_at_leader:
                    lead.leader.recording.cancel([task], lead.now)
        held = {each for each in range(1, number + 1) if (t := lead.table.tasks.get(tid(each))) and t.is_held}
        given = [each for some in lead.dispatched().values() for each, _ in some]
        assert not held & set(given)
        lead.leader.tasks.check()
