"""What a leader does while its log does not commit, or its own disk stands still: what it keeps stays bounded."""

from __future__ import annotations

import pytest

from core.cluster_stories import formed, node
from core.reports.test_whereabouts import ask
from core.scheduling.test_leader import TERM, Lead, tid
from core.test_node import leading
from paceline.core.clients.sessions import ClientSession
from paceline.core.node import NodeCore
from paceline.core.state.task import TASK_BYTES
from paceline_protocol.codec import encode_calls
from paceline_protocol.messages.client import Hello, Submit, Update
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.options import NO_LOG

TASKS = 40
"""As many have room in the queue, and a quarter of them may have ended before the log says so."""
HELD_BACK = TASKS // 4 + 1


def slow_lead() -> tuple[Lead, ClientSession]:
    lead = Lead(queue_limit_bytes=TASKS * TASK_BYTES)
    lead.enrol("a")
    return lead, lead.client()


def run_one(lead: Lead, session: ClientSession, number: int) -> bool:
    """Submit a task, and let its node run it; False if it is not handed out. Nothing is committed."""
    lead.submit(session, number, seq=number)
    if lead.dispatched() != {"a": [(number, 1)]}:
        return False
    lead.outcomes("a", number, number)
    lead.leader.log(lead.now)
    return True


def run_until_held_back() -> tuple[Lead, ClientSession, int]:
    """The last one waits."""
    lead, session = slow_lead()
    number = 1
    while run_one(lead, session, number):
        number += 1
        assert number <= TASKS, "whatever has ended is forgotten"
    return lead, session, number


def test_while_the_log_stands_still_what_has_ended_is_bounded_and_the_queue_refuses_what_it_has_no_room_for() -> None:
    lead, session, number = run_until_held_back()
    assert number == HELD_BACK + 1
    while not lead.refusals():
        number += 1
        lead.submit(session, number, seq=number)
        assert not lead.dispatched()
    assert number == TASKS + 1, "what has ended takes its room in the queue until that is logged"
    assert len(lead.leader.tasks.live) + HELD_BACK == TASKS
    lead.commit()
    assert lead.leader.goes_on()
    assert not lead.leader.goes_on(), "it says so once"
    assert lead.dispatched()["a"][0] == (HELD_BACK + 1, 1)
    assert lead.leader.recording.unlogged_bytes == 0


def test_results_count_as_well() -> None:
    lead, session = slow_lead()
    lead.submit(session, 1, 2)
    lead.dispatched()
    result = bytes(TASKS * TASK_BYTES // 4)
    lead.leader.nodes.on_outcomes("a", TERM, 1, [(tid(1), 1, TaskEnd.SUCCEEDED, result, 500)], lead.now)
    assert lead.leader.recording.unlogged_bytes == len(result) + TASK_BYTES
    assert lead.leader.recording.is_full


def test_a_refusal_says_that_disks_are_behind() -> None:
    lead, session, number = run_until_held_back()
    details: list[str] = []
    while not details:
        number += 1
        lead.submit(session, number, seq=number)
        details = [detail for update in lead.updates() for _, _, detail in update.refused]
    assert f"{HELD_BACK * TASK_BYTES} of them until disks have written what has ended" in details[0]


def test_whoever_asks_why_a_task_does_not_run_is_told_of_the_disks() -> None:
    lead, _, number = run_until_held_back()
    assert "it waits until disks have written what has ended" in ask(lead, number)["why"]
    assert not ask(lead, number)["waits_for_worker"]
    lead.commit()
    assert "workers that can run it are busy" in ask(lead, number)["why"]


@pytest.mark.parametrize("moment", [None, 1])
def test_what_is_cancelled_or_expires_at_once_takes_its_room_in_the_queue_until_that_is_logged(
    moment: int | None,
) -> None:
    lead = Lead(queue_limit_bytes=TASKS * TASK_BYTES)
    session = lead.client()
    lead.now = 1.0
    options = {} if moment is None else {"expires": moment}
    number = 0
    while not lead.refusals():
        number += 1
        lead.submit(session, number, seq=number, **options)
        if moment is None:
            lead.cancel(session, number)
        assert not lead.leader.tasks.live
    assert number <= TASKS + 1
    lead.commit()
    lead.submit(session, number, seq=number + 1)
    assert not lead.refusals()


def test_a_task_that_needs_no_log_goes_on_and_is_accepted_though_others_stand_before_it() -> None:
    lead, session, number = run_until_held_back()
    lead.submit(session, number + 1, seq=number + 1, durability=NO_LOG)
    assert lead.dispatched() == {"a": [(number + 1, 1)]}
    lead.outcomes("a", number, number + 1)
    lead.now += 1.0
    (update,) = lead.updates()
    assert number + 1 in update.accepted
    assert update.results[-1][0] == tid(number + 1)
    lead.leader.tasks.check()


def test_tasks_with_and_without_the_log_go_out_by_priority_and_age_together() -> None:
    lead = Lead()
    session = lead.client()
    for number in range(1, 7):
        lead.submit(session, number, seq=number, durability=NO_LOG if number % 2 else 0)
    lead.leader.tasks.check()
    assert lead.leader.tasks.waiting == lead.leader.tasks.dispatchable == 6
    assert lead.leader.tasks.waiting_of("add") == 6
    assert lead.leader.tasks.find_waiting("add", 0, 10, 10)[0] == [tid(number) for number in (2, 4, 6, 1, 3, 5)]
    lead.enrol("a", slots=6)
    assert lead.dispatched() == {"a": [(number, 1) for number in range(1, 7)]}
    lead.leader.tasks.check()


def test_what_the_others_have_committed_counts_until_the_leaders_own_disk_has_it() -> None:
    lead, _, number = run_until_held_back()
    lead.leader.durable(0)
    lead.commit()
    assert lead.leader.recording.is_full
    assert not lead.dispatched()
    lead.leader.durable(len(lead.entries))
    assert lead.leader.goes_on()
    assert lead.dispatched() == {"a": [(number, 1)]}


# --- whole nodes, whose disks stand still


def test_a_leader_whose_own_disk_stands_still_gives_way_to_one_whose_disk_does_not() -> None:
    story = formed("abc", f"queue_limit_bytes={TASKS * TASK_BYTES}")
    story.run("worker b w ready add\nadvance 1\nclient k hello a\nhold a")
    said = ""
    number = 0
    while "another is to lead" not in said:
        number += 1
        assert number <= HELD_BACK, "it holds tasks back, and leads on"
        said += story.run(f"client k submit {number}\nadvance 0.1\nworker b w done {number}\nadvance 0.1")
    assert number == HELD_BACK
    story.run("advance 1")
    led = next(each for each in "bc" if node(story, each).leader is not None)
    assert node(story, "a").leader is None
    assert not node(story, led).leader.recording.is_full  # type: ignore[union-attr]
    story.run(f"client k hello {led}\nclient k submit {number + 1}\nadvance 0.1")
    assert ("b", b"w", number + 1) in story._attempts


def test_a_leader_whose_disk_is_as_slow_as_the_others_leads_on() -> None:
    story = formed("abc", f"queue_limit_bytes={TASKS * TASK_BYTES}")
    story.run("worker a w ready add\nadvance 1\nclient k hello a\nhold a\nhold b\nhold c")
    leader = node(story, "a").leader
    assert leader is not None
    number = 1
    while not leader.recording.is_full:
        story.run(f"client k submit {number}\nworker a w done {number}")
        number += 1
    assert not leader.waits_for_own_disk
    story.run("write b\nwrite c")
    assert leader.waits_for_own_disk


def spin(node: NodeCore, now: float, seqs: list[int]) -> int:
    """One turn, in which a worker runs what it is given. ``seqs``: writes that are not done. Returns the results."""
    results = 0
    node.tick(now)
    for _ in range(3):
        to_workers, _, to_clients = node.take_urgent(now)
        effects = node.take_effects(now)
        if effects.persist is not None:
            seqs.append(effects.persist.seq)
        for worker_id, tasks in to_workers + effects.to_workers:
            ends = [(task[0], task[1], int(TaskEnd.SUCCEEDED), b"", 1) for task in tasks]
            node.on_worker_done(worker_id, tuple(ends), now)
        for _, reply in to_clients + effects.to_clients:
            results += len(reply.results) if isinstance(reply, Update) else 0
    return results


def test_when_the_disk_goes_on_waiting_tasks_are_handed_out_in_that_turn() -> None:
    node = leading(queue_limit_bytes=TASKS * TASK_BYTES)
    seqs: list[int] = []
    node.on_worker_ready(b"w", ("add",))
    now = 0.0
    leader = node.leader
    assert leader is not None
    while not leader.tasks.nodes_that_run("add"):
        now += 0.05
        spin(node, now, seqs)
    node.on_client(b"c", Hello(b"c" * 16, ""), now)
    ended = 0
    for number in range(1, TASKS + 1):
        calls = encode_calls([(tid(number), "add", 4, b"", None)])
        node.on_client(b"c", Submit(number, 0, calls), now)
        ended += spin(node, now, seqs)
    assert HELD_BACK <= ended < TASKS
    assert leader.tasks.waiting == TASKS - ended
    node.persisted(seqs[-1])
    effects = node.take_effects(now)
    assert effects.to_workers, "no other event has to come"
    assert leader.tasks.waiting < TASKS - ended
