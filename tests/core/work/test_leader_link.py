"""A node as its leader sees it: what is repeated until both sides agree."""

from __future__ import annotations

import pytest

from modes import source_only
from paceline.core.incarnation import INCARNATION_SHIFT
from paceline.core.raft.terms import TERM_STEP
from paceline.core.settings import Settings
from paceline.core.work.held import HELD_LIMIT
from paceline.core.work.leader_link import LeaderLink
from paceline.core.work.slots import Slots
from paceline.core.work.unrecorded import BATCH_BYTES, OUTCOME_BYTES, UnrecordedBatch
from paceline.core.work.worker_slot import OVERRUN_S
from paceline_protocol import codec
from paceline_protocol.codec import (
    decode,
    decode_defaults,
    decode_held,
    decode_outcomes,
    encode,
    encode_failed_attempt,
)
from paceline_protocol.errors import PeerViolation
from paceline_protocol.limits import MAX_BATCH_ITEMS
from paceline_protocol.messages.records import AT_MOST_ONCE, MAY_RETRY, Assignment, Default, Outcome, TaskEnd
from paceline_protocol.messages.work import (
    MAX_DRAIN_MS,
    QUIET_LEVEL,
    Availability,
    Beat,
    Dispatch,
    Enrol,
    EnrolQuiet,
    EnrolWithDefaults,
    NodeBeat,
    NodeOutcomes,
    Revoke,
    Revoked,
    SetAvailability,
    WorkMessage,
)
from paceline_protocol.options import BY_KEY, DEFAULTS_LEVEL, Option

SETTINGS = Settings(cluster_name="test")
FIRST = 1 << INCARNATION_SHIFT


def task(number: int, attempt: int = 1) -> Assignment:
    return (number.to_bytes(16, "big"), attempt, "add", b"", None)


def outcome(number: int, attempt: int = 1, end: TaskEnd = TaskEnd.SUCCEEDED) -> Outcome:
    return (number.to_bytes(16, "big"), attempt, int(end), b"", 10)


def said(link: LeaderLink) -> list[WorkMessage]:
    """What the node has said since the last call."""
    outbox, link.outbox = link.outbox, []
    return [report.message(link.term) if isinstance(report, UnrecordedBatch) else report for report in outbox]


def the_enrol(link: LeaderLink) -> Enrol:
    enrols = [message for message in said(link) if isinstance(message, Enrol)]
    assert enrols, "no account was given"
    return enrols[-1]


def holds(account: Enrol) -> list[tuple[bytes, int]]:
    return decode_held(account.held)


def beat(
    link: LeaderLink, *, term: int = 1, dispatch_seq: int = 0, outcome_seq: int = 0, account: int = -1, now: float = 0.0
) -> None:
    """A Beat of leader "l", which has the latest account unless told otherwise."""
    link.on_beat("l", Beat(term, link._account if account < 0 else account, dispatch_seq, outcome_seq), now)


def enrolled(*workers: bytes) -> LeaderLink:
    """An link that follows "l" in term 1 with all said and done."""
    link = LeaderLink(SETTINGS, 1)
    for worker_id in workers:
        link.worker_ready(worker_id, ("add",))
    beat(link)
    said(link)
    return link


def test_a_new_leader_gets_an_account_and_everything_that_is_not_recorded() -> None:
    link = enrolled(b"w")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0), task(1))), 0.0)
    link.assign(0.0)
    link.worker_done(b"w", (outcome(0),), 0.0)
    said(link)
    link.on_beat("m", Beat(2, 0, 0, 0), 1.0)
    enrol, outcomes, *_ = said(link)
    assert isinstance(enrol, Enrol)
    assert (enrol.term, enrol.slots, enrol.names) == (2, 1, ("add",))
    assert [task_id for task_id, _ in holds(enrol)] == [task(0)[0], task(1)[0]]
    assert isinstance(outcomes, NodeOutcomes)
    assert (outcomes.term, decode_outcomes(outcomes.outcomes)) == (2, [outcome(0)])
    assert link.leader == "m"


def test_a_node_knows_that_its_leader_hears_it_once_a_beat_names_its_account() -> None:
    link = LeaderLink(SETTINGS, 1)
    link.worker_ready(b"w", ("add",))
    assert not link.has_told
    beat(link, account=0)
    assert not link.has_told, "it hears its leader, which may not hear it yet"
    beat(link, account=the_enrol(link).version)
    assert link.has_told
    link.on_beat("m", Beat(2, 0, 0, 0), 1.0)
    assert not link.has_told, "the next leader has to"


def test_a_leader_hears_a_node_if_its_last_beat_names_an_account_of_this_process() -> None:
    link = LeaderLink(SETTINGS, 1)
    assert not link.is_heard_by("l")
    link.worker_ready(b"w", ("add",))
    beat(link, account=FIRST)
    assert not link.is_heard_by("l"), "that was the process before"
    beat(link, account=the_enrol(link).version)
    assert link.is_heard_by("l")
    assert not link.is_heard_by("m"), "which has been elected, and has said nothing"
    link.worker_ready(b"v", ("add",))
    assert link.is_heard_by("l"), "of the other worker it will hear"
    beat(link, account=0)
    assert not link.is_heard_by("l"), "it has given the node up"
    beat(link)
    assert link.is_heard_by("l")
    link.on_beat("m", Beat(2, 0, 0, 0), 1.0)
    assert not link.is_heard_by("m")


def test_an_account_is_repeated_until_a_beat_names_it() -> None:
    link = enrolled(b"w")
    beat(link, account=0)
    version = the_enrol(link).version
    beat(link, account=version - 1)
    assert the_enrol(link).version == version
    beat(link, account=version)
    assert [type(message) for message in said(link)] == [NodeBeat]


def test_a_node_says_that_it_lives_beside_each_account_which_may_arrive_later() -> None:
    link = enrolled(b"w")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0),)), 0.0)
    beat(link, account=0, dispatch_seq=FIRST + 1)
    lives, account = said(link)
    assert lives == NodeBeat(1, FIRST + 1, 1, 0, 1)
    assert isinstance(account, Enrol)
    beat(link, dispatch_seq=FIRST + 1)
    assert said(link) == [lives]


def test_the_numbers_of_a_later_incarnation_are_greater_than_all_earlier_ones() -> None:
    link = LeaderLink(SETTINGS, 2)
    link.worker_ready(b"w", ("add",))
    beat(link, outcome_seq=FIRST + 70, account=FIRST + 70)
    enrol = the_enrol(link)
    assert min(enrol.version, enrol.outcome_seq) >= 2 << INCARNATION_SHIFT


def test_the_numbers_of_one_incarnation_last_for_longer_than_32_bits() -> None:
    link = enrolled(b"w")
    late = FIRST + (1 << 40) - 2
    beat(link, dispatch_seq=late - 1)
    link.on_dispatch("l", Dispatch(1, late, (task(0),)), 0.0)
    assert link.assign(0.0) == [(b"w", (task(0),))]
    link.slots.held.next_seq = late + 1
    beat(link, dispatch_seq=late, outcome_seq=late)
    link.worker_done(b"w", (outcome(0),), 0.0)
    outcomes = said(link)[-1]
    assert isinstance(outcomes, NodeOutcomes)
    again = LeaderLink(SETTINGS, 2)
    assert again.slots.held.next_seq > outcomes.seq
    assert again._dispatch_seq > late


def test_a_deposed_leader_is_not_heard() -> None:
    link = enrolled(b"w")
    link.on_beat("m", Beat(2, 0, 0, 0), 0.0)
    said(link)
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0),)), 0.0)
    link.on_revoke("l", Revoke(1, (task(0)[0],)), 0.0)
    beat(link)
    assert (said(link), link.assign(0.0)) == ([], [])


def test_a_leader_of_a_term_that_consensus_left_behind_is_not_heard() -> None:
    link = enrolled(b"w")
    link.reject_before(2)
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0),)), 0.0)
    assert link.assign(0.0) == []


def test_a_dispatch_that_comes_twice_is_taken_once() -> None:
    link = enrolled(b"w")
    for _ in range(2):
        link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0),)), 0.0)
    assert len(link.slots.queue) == 1


def test_a_gap_in_the_dispatches_is_answered_by_an_account() -> None:
    link = enrolled(b"w")
    link.on_dispatch("l", Dispatch(1, FIRST + 2, (task(1),)), 0.0)
    enrol = the_enrol(link)
    assert (enrol.dispatch_seq, [task_id for task_id, _ in holds(enrol)]) == (FIRST + 2, [task(1)[0]])
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0),)), 0.0)
    assert len(link.slots.queue) == 1, "what the account did not name is given to a node again, so it is not taken"


def test_a_dispatch_of_what_no_worker_knows_any_more_is_answered_by_an_account_without_it() -> None:
    """As one that was on its way while the modules were reloaded."""
    link = enrolled(b"v", b"w")
    link.slots.workers[b"v"].names = ("new",)
    link.slots.leave(b"w", "its modules are old")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0),)), 0.0)
    enrol = the_enrol(link)
    assert (enrol.dispatch_seq, enrol.names, holds(enrol)) == (FIRST + 1, ("new",), [])
    assert link.assign(0.0) == []


def test_a_lost_last_dispatch_is_found_out_by_the_next_beat() -> None:
    link = enrolled(b"w")
    beat(link, dispatch_seq=FIRST + 1)
    assert the_enrol(link).dispatch_seq == FIRST + 1


def test_an_account_of_missed_dispatches_is_followed_by_one_without_what_was_recorded_since() -> None:
    """A leader that never heard of the task may have ignored its outcome, and have sent the task here after that."""
    link = enrolled(b"w")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0),)), 0.0)
    link.assign(0.0)
    link.worker_done(b"w", (outcome(0),), 0.0)
    beat(link, dispatch_seq=FIRST + 2)
    assert holds(the_enrol(link)) == [(task(0)[0], 1)]
    beat(link, dispatch_seq=FIRST + 2, outcome_seq=FIRST + 1)
    assert holds(the_enrol(link)) == []
    beat(link, dispatch_seq=FIRST + 2, outcome_seq=FIRST + 1)
    assert [type(message) for message in said(link)] == [NodeBeat]


def test_outcomes_are_repeated_until_they_are_recorded() -> None:
    link = enrolled(b"w")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0),)), 0.0)
    link.assign(0.0)
    link.worker_done(b"w", (outcome(0),), 0.0)
    (first,) = said(link)
    assert isinstance(first, NodeOutcomes)
    link.on_beat("l", Beat(1, link._account, FIRST + 1, FIRST), SETTINGS.outcome_resend_s + 0.1)
    assert first in said(link)
    link.on_beat("l", Beat(1, link._account, FIRST + 1, first.seq), 9.0)
    assert [type(message) for message in said(link)] == [NodeBeat]


# --- what is on its way to the leader

MIB = 1 << 20
WINDOW_BYTES = SETTINGS.outcome_window_bytes


def ends(link: LeaderLink, number: int, size_bytes: int = 0, now: float = 0.0) -> None:
    """A task comes and ends."""
    link.on_dispatch("l", Dispatch(link.term, link._dispatch_seq + 1, (task(number),)), now)
    link.assign(now)
    link.worker_done(b"w", ((task(number)[0], 1, int(TaskEnd.SUCCEEDED), bytes(size_bytes), 1),), now)


def reported(link: LeaderLink) -> list[int]:
    """The batches that the node has reported since the last call, in order, and nothing else of what it said."""
    outbox, link.outbox = link.outbox, []
    return [report.seq - FIRST for report in outbox if isinstance(report, UnrecordedBatch)]


def saw(link: LeaderLink, through: int, now: float, recorded: int = 0) -> list[int]:
    """What the node reports once "l" says that it has seen so many batches, and recorded so many."""
    link.on_beat("l", Beat(1, link._account, link._dispatch_seq, FIRST + recorded, FIRST + through), now)
    return reported(link)


def test_outcomes_that_a_leader_has_seen_are_not_repeated_to_it_however_long_its_log_stands_still() -> None:
    link = enrolled(b"w")
    for number in range(3):
        ends(link, number)
    assert reported(link) == [1, 2, 3]
    assert saw(link, 2, 1.0) == []
    assert saw(link, 2, 1.4) == []
    assert saw(link, 2, 1.6) == [3], "that one has not arrived for half a second"
    assert [saw(link, 3, 2.0 + 10.0 * later) for later in range(5)] == [[]] * 5
    assert len(link.slots.held.unrecorded) == 3


def test_what_a_leader_has_only_seen_is_kept_for_the_next_one() -> None:
    link = enrolled(b"w")
    ends(link, 0)
    ends(link, 1)
    said(link)
    assert saw(link, 2, 0.1) == []
    link.on_beat("m", Beat(2, 0, 0, 0), 1.0)
    account, *outcomes = said(link)[:3]
    assert isinstance(account, Enrol)
    assert holds(account) == [(task(number)[0], 1) for number in range(2)]
    assert [decode_outcomes(each.outcomes) for each in outcomes if isinstance(each, NodeOutcomes)] == [
        [(task(number)[0], 1, TaskEnd.SUCCEEDED, b"", 1)] for number in range(2)
    ]


def test_small_outcomes_are_reported_in_the_turn_in_which_they_come_whatever_is_seen() -> None:
    link = enrolled(b"w")
    for number in range(10_000):
        ends(link, number)
        assert reported(link) == [number + 1]


def test_large_outcomes_wait_until_those_before_them_are_seen_and_go_in_order() -> None:
    link = enrolled(b"w")
    for number in range(5):
        ends(link, number, WINDOW_BYTES // 2 - OUTCOME_BYTES)
    assert reported(link) == [1, 2]
    ends(link, 5)
    assert reported(link) == [], "a small one passes none that waits"
    assert saw(link, 1, 0.1) == [3]
    assert saw(link, 3, 0.2) == [4, 5]
    assert saw(link, 4, 0.3) == [6]
    assert saw(link, 6, 0.4) == []


def test_an_outcome_that_is_larger_than_the_window_is_on_its_way_alone() -> None:
    link = enrolled(b"w")
    for number in range(3):
        ends(link, number, 2 * WINDOW_BYTES)
    assert reported(link) == [1]
    assert saw(link, 1, 0.1) == [2]
    assert saw(link, 2, 0.2) == [3]


def test_what_takes_longer_to_arrive_is_repeated_later() -> None:
    link = enrolled(b"w")
    ends(link, 0, 10 * MIB)
    assert reported(link) == [1]
    assert saw(link, 0, 1.4) == []
    assert saw(link, 0, 1.6) == [1]
    assert saw(link, 0, 3.0) == []
    assert saw(link, 0, 3.2) == [1]


def test_what_is_repeated_is_all_that_is_not_seen_in_order_and_within_the_window() -> None:
    link = enrolled(b"w")
    for number in range(8):
        ends(link, number, WINDOW_BYTES // 4 - 100)
    assert reported(link) == [1, 2, 3, 4]
    assert saw(link, 2, 0.1) == [5, 6]
    assert saw(link, 2, 0.1 + 2.0) == [3, 4, 5, 6], "a leader takes nothing behind a gap"
    assert saw(link, 6, 2.2) == [7, 8]


def test_a_new_leader_gets_everything_that_is_not_recorded_in_order_and_within_the_window() -> None:
    link = enrolled(b"w")
    for number in range(6):
        ends(link, number, WINDOW_BYTES // 2 - 100)
    for through in range(1, 6):
        saw(link, through, 0.1)
    assert saw(link, 6, 0.2, recorded=2) == []
    link.on_beat("m", Beat(2, 0, 0, 0), 1.0)
    assert reported(link) == [3, 4]
    for seen, more in ((4, [5, 6]), (6, [])):
        link.on_beat("m", Beat(2, link._account, 0, FIRST + 2, FIRST + seen), 1.0)
        assert reported(link) == more


def test_a_leader_that_is_followed_again_is_believed_what_it_saw_before() -> None:
    link = enrolled(b"w")
    for number in range(3):
        ends(link, number, WINDOW_BYTES)
    assert [reported(link), saw(link, 1, 0.1), saw(link, 2, 0.2)] == [[1], [2], [3]]
    link.on_dispatch("m", Dispatch(99, FIRST + 1000, ()), 0.3)  # in a term that nobody was elected in
    assert reported(link) == [1]
    for _ in range(2):
        link.on_beat("l", Beat(1, link._account, 0, 0, FIRST + 3), 0.3 + SILENT_S)
    assert (link.leader, reported(link)) == ("l", [1]), "it is told anew, and knows that"
    link.on_beat("l", Beat(1, link._account, 0, 0, FIRST + 3), 9.0)
    assert reported(link) == []


def test_a_node_that_leads_itself_hears_of_every_outcome_at_once() -> None:
    link = LeaderLink(SETTINGS, 1, own_id="l")
    link.worker_ready(b"w", ("add",))
    beat(link)
    said(link)
    for number in range(3):
        ends(link, number, 2 * WINDOW_BYTES)
        assert reported(link) == [number + 1]
    assert saw(link, 1, 0.4) == []
    assert saw(link, 1, 1.0) == [2, 3], "which it did not take, as its log must not grow"


def test_a_beat_says_what_the_node_does() -> None:
    link = enrolled(b"w")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0), task(1))), 0.0)
    link.assign(0.0)
    beat(link, dispatch_seq=FIRST + 1)
    assert said(link) == [NodeBeat(1, FIRST + 1, slots=1, running=1, queued=1)]


def test_a_worker_that_dies_ends_its_attempts_and_changes_the_account() -> None:
    link = enrolled(b"v", b"w")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0),)), 0.0)
    link.assign(0.0)
    link.worker_lost(b"v", "killed by signal 9", 0.0)
    outcomes, enrol = said(link)
    assert isinstance(outcomes, NodeOutcomes)
    assert isinstance(enrol, Enrol)
    assert decode_outcomes(outcomes.outcomes) == [
        (task(0)[0], 1, TaskEnd.LOST, b"killed by signal 9", 0),
    ]
    assert enrol.slots == 1


def test_a_worker_that_cleans_up_for_long_is_no_slot_of_its_node_meanwhile() -> None:
    """What the leader would give to it may have a free worker elsewhere."""
    link = enrolled(b"v", b"w")
    link.slots.take([task(0)], 0.0)
    link.assign(0.0)
    link.worker_cleans_up(b"v", (outcome(0),), 0.0)
    assert [type(message) for message in said(link)] == [NodeOutcomes]
    beat(link, now=0.0)
    beat(link, now=OVERRUN_S / 2)
    assert [type(message) for message in said(link)] == [NodeBeat, NodeBeat], "most are over by then"
    beat(link, now=OVERRUN_S)
    account = the_enrol(link)
    assert (account.slots, account.names) == (1, ("add",))
    beat(link, now=2 * OVERRUN_S)
    assert [type(message) for message in said(link)] == [NodeBeat]
    link.worker_done(b"v", (outcome(0, end=TaskEnd.CANCELLED),), 0.3)
    beat(link, now=0.3)
    assert the_enrol(link).slots == 2


def test_a_lost_attempt_that_is_recorded_is_followed_by_an_account_without_it() -> None:
    """Else a leader that knew the attempt under another number would wait for it for ever."""
    link = enrolled(b"v", b"w")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0, attempt=2),)), 0.0)
    link.assign(0.0)
    link.worker_lost(b"v", "killed", 0.0)
    said(link)
    beat(link, dispatch_seq=FIRST + 1, outcome_seq=FIRST + 1)
    assert holds(the_enrol(link)) == []


def test_a_failed_attempt_that_is_recorded_is_followed_by_an_account_without_it_too() -> None:
    """A leader that was given the task anew, and heard late of an account of before, would wait for it for ever."""
    link = enrolled(b"v", b"w")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0, attempt=2),)), 0.0)
    link.assign(0.0)
    failed = encode_failed_attempt(("no", 0, int(TaskEnd.FAILED), b""))
    link.worker_done(b"v", ((task(0)[0], 2, MAY_RETRY, failed, 5),), 0.0)
    said(link)
    beat(link, dispatch_seq=FIRST + 1, outcome_seq=FIRST + 1)
    assert holds(the_enrol(link)) == []


def test_a_task_whose_lost_attempt_was_reported_twice_is_in_no_account_once_that_is_recorded() -> None:
    """It came back as new, since it is not logged, and its dispatch was dropped: the leader waits for it here."""
    link = enrolled(b"v", b"w")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0, attempt=2),)), 0.0)
    link.assign(0.0)
    link.worker_lost(b"v", "killed", 0.0)
    link.on_dispatch("l", Dispatch(1, FIRST + 2, (task(0, attempt=1),)), 0.0)
    beat(link, dispatch_seq=FIRST + 2, outcome_seq=FIRST + 1)
    said(link)
    beat(link, dispatch_seq=FIRST + 2, outcome_seq=FIRST + 2)
    assert holds(the_enrol(link)) == []


@pytest.mark.parametrize("how", ["the node gives it back", "no worker is left to run it"])
def test_what_is_let_go_is_in_no_account_once_the_outcome_of_an_earlier_attempt_is_recorded(how: str) -> None:
    link = enrolled(b"w")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0), task(1))), 0.0)
    link.assign(0.0)
    link.worker_done(b"w", (outcome(0),), 0.0)
    link.assign(0.0)
    link.on_dispatch("l", Dispatch(1, FIRST + 2, (task(0, attempt=2),)), 0.0)
    link.on_dispatch("l", Dispatch(1, FIRST + 3, (task(0),)), 0.0)  # a copy, of what waits here
    if how == "the node gives it back":
        link.on_revoke("l", Revoke(1, (task(0)[0],)), 0.0)
        link.worker_done(b"w", (outcome(1),), 0.0)
        beat(link, dispatch_seq=FIRST + 3, account=link._account - 1)
    else:
        link.worker_lost(b"w", "killed", 0.0)
    assert dict(holds(the_enrol(link))) == {task(0)[0]: 1, task(1)[0]: 1}
    beat(link, dispatch_seq=FIRST + 3, outcome_seq=FIRST + 2)
    assert holds(the_enrol(link)) == []


def test_a_copy_of_what_has_ended_here_is_answered_by_its_outcome_again() -> None:
    link = enrolled(b"w")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0),)), 0.0)
    link.assign(0.0)
    link.worker_done(b"w", (outcome(0),), 0.0)
    said(link)
    link.on_dispatch("l", Dispatch(1, FIRST + 2, (task(0),)), 0.0)
    (again,) = said(link)
    assert isinstance(again, NodeOutcomes)
    assert (again.seq, decode_outcomes(again.outcomes)) == (FIRST + 2, [outcome(0)])


def test_what_is_given_back_is_also_missing_from_the_next_account() -> None:
    link = enrolled(b"w")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0), task(1))), 0.0)
    link.assign(0.0)
    account = link._account
    link.on_revoke("l", Revoke(1, (task(0)[0], task(1)[0])), 0.0)
    assert said(link) == [Revoked(1, given_back=(task(1)[0],), kept=(task(0)[0],))]
    beat(link, dispatch_seq=FIRST + 1, account=account)
    assert holds(the_enrol(link)) == [(task(0)[0], 1)]


def behind_one_that_lasts() -> LeaderLink:
    """Task 1 stands behind task 0 at the only worker, and the leader has asked for both, twice."""
    link = enrolled(b"w")
    link.slots.durations.observe("add", 80)
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0), task(1))), 0.0)
    assert len(link.assign(0.0)) == 1
    for now in (0.0, OVERRUN_S):
        link.on_revoke("l", Revoke(1, (task(0)[0], task(1)[0])), now)
        assert said(link) == [Revoked(1, given_back=(), kept=(task(0)[0],))]
    assert link.slots.stuck == [b"w"]
    return link


@pytest.mark.parametrize("how", ["taken back", "passed over", "its worker dies"])
def test_what_was_asked_for_behind_another_task_is_given_back_once_nobody_begins_it(how: str) -> None:
    link = behind_one_that_lasts()
    account = link._account
    assert link.take_back(b"w", 1, 1.0) == 2
    assert said(link) == []
    if how == "taken back":
        link.take_back(b"w", 1, 2.0)
    elif how == "passed over":
        link.worker_done(b"w", (outcome(1, end=TaskEnd.CANCELLED),), 1.0)
    else:
        link.worker_ready(b"v", ("add",))
        said(link)
        link.worker_lost(b"w", "killed", 1.0, begun=1)
    assert Revoked(1, given_back=(task(1)[0],), kept=()) in said(link)
    assert link.assign(2.0) == []
    beat(link, dispatch_seq=FIRST + 1, account=account)
    assert holds(the_enrol(link)) == [(task(0)[0], 1)]


def test_a_revoke_of_what_the_node_does_not_have_is_not_answered() -> None:
    link = enrolled(b"w")
    link.on_revoke("l", Revoke(1, (task(0)[0],)), 0.0)
    assert said(link) == []


def test_what_no_worker_is_left_to_run_is_not_held() -> None:
    link = enrolled(b"w")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0), task(1))), 0.0)
    link.assign(0.0)
    link.worker_lost(b"w", "killed", 0.0)
    assert holds(the_enrol(link)) == [(task(0)[0], 1)]
    link.on_dispatch("l", Dispatch(1, FIRST + 2, (task(2),)), 0.0)
    enrol = the_enrol(link)
    assert (enrol.dispatch_seq, enrol.slots, holds(enrol)) == (FIRST + 2, 0, [(task(0)[0], 1)])


# --- what is past the bounds of one message


def ran(link: LeaderLink, count: int, payload: bytes = b"") -> None:
    """So many short tasks have come, and their worker has answered for all of them at once."""
    link.on_dispatch("l", Dispatch(1, link._dispatch_seq + 1, tuple(map(task, range(count)))), 0.0)
    slot, answers = link.slots.workers[b"w"], []
    while link.slots.queue:
        link.slots.durations.observe("add", 0)
        slot.cost_us = 0  # they take no time, however many they are
        for _, tasks in link.assign(0.0):
            answers += [(given[0], 1, int(TaskEnd.SUCCEEDED), payload, 1) for given in tasks]
    link.worker_done(b"w", tuple(answers), 0.0)


def test_an_account_of_more_outcomes_than_a_batch_may_have_can_be_sent() -> None:
    link = enrolled(b"w")
    ran(link, MAX_BATCH_ITEMS + 1)
    said(link)
    link.worker_ready(b"v", ("sub",))
    account = the_enrol(link)
    assert decode(encode(account)) == account
    assert holds(account) == [(task(number)[0], 1) for number in range(MAX_BATCH_ITEMS + 1)]


def test_what_a_worker_answers_at_once_is_reported_in_messages_that_can_be_sent() -> None:
    link = enrolled(b"w")
    ran(link, MAX_BATCH_ITEMS + 1)
    assert [len(batch.items) for batch in link.slots.held.unrecorded] == [MAX_BATCH_ITEMS, 1]
    assert all(decode(encode(message)) == message for message in said(link))
    link = enrolled(b"w")
    ran(link, 5, bytes(BATCH_BYTES // 2))
    assert [len(batch.items) for batch in link.slots.held.unrecorded] == [2, 2, 1]


def test_a_node_that_holds_as_much_as_an_account_may_name_begins_nothing_until_outcomes_are_recorded() -> None:
    link = enrolled(b"w")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(0),)), 0.0)
    link.assign(0.0)
    link.worker_done(b"w", (outcome(0),), 0.0)
    link.slots.held.attempts.update((number.to_bytes(16, "little"), 1) for number in range(1, HELD_LIMIT))
    link.on_dispatch("l", Dispatch(1, FIRST + 2, (task(1),)), 0.0)
    assert link.assign(0.0) == []
    beat(link, dispatch_seq=FIRST + 2, outcome_seq=FIRST + 1)
    del link.slots.held.attempts[(1).to_bytes(16, "little")]
    assert link.assign(0.0) == [(b"w", (task(1),))]


# --- what no leader says


def test_what_no_leader_says_is_refused_and_changes_nothing() -> None:
    link = enrolled(b"w")
    account, top = link._account, 2**63 - 1
    beats = [Beat(top, 0, 0, 0), Beat(2 + TERM_STEP, 0, 0, 0), Beat(1, account, 0, top), Beat(1, account, top, 0)]
    beats += [Beat(2, account, 0, FIRST + 1), Beat(2, account, 2 * FIRST, 0), Beat(1, account, 0, 0, FIRST + 1)]
    for beat_ in beats:
        with pytest.raises(PeerViolation):
            link.on_beat("l", beat_, 0.0)
    for dispatch in (Dispatch(1, top, (task(1),)), Dispatch(2, 2 * FIRST, (task(1),)), Dispatch(top, FIRST + 1, ())):
        with pytest.raises(PeerViolation):
            link.on_dispatch("l", dispatch, 0.0)
    for second in (Beat(1, account, 0, 0), Dispatch(1, FIRST + 1, (task(1),)), Revoke(1, (b"i" * 16,))):
        with pytest.raises(PeerViolation, match="it leads in term 1, and l does"):
            {Beat: link.on_beat, Dispatch: link.on_dispatch, Revoke: link.on_revoke}[type(second)]("m", second, 0.0)
    assert (link.term, link.leader, link._account, said(link)) == (1, "l", account, [])
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(1),)), 0.0)
    assert len(link.assign(0.0)) == 1


SILENT_S = SETTINGS.node_timeout_s


def claimed() -> LeaderLink:
    """It has followed l, and then m in a term that nobody was elected in, with a Dispatch far ahead."""
    link = enrolled(b"w")
    link.on_dispatch("m", Dispatch(99, FIRST + 1000, ()), 0.0)
    said(link)
    return link


def test_a_term_that_nobody_was_elected_in_ends_once_a_leader_proves_that_it_leads_in_an_earlier_one() -> None:
    link = claimed()
    link.on_beat("l", Beat(1, 5, 0, 0), SILENT_S)
    (to, account), *more = link.aside
    assert isinstance(account, Enrol)
    assert (to, account.term, account.dispatch_seq, more) == ("l", 1, FIRST, [])
    link.on_beat("l", Beat(1, account.version, 0, 0), SILENT_S)
    assert (link.term, link.leader) == (1, "l")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(1),)), SILENT_S)
    assert len(link.assign(0.0)) == 1


def test_who_claims_a_term_first_keeps_the_leader_that_is_elected_in_it_out_for_as_long_as_it_speaks() -> None:
    link = claimed()
    with pytest.raises(PeerViolation, match="it leads in term 99, and m does"):
        link.on_beat("l", Beat(99, 0, 0, 0), SILENT_S / 2)
    with pytest.raises(PeerViolation):
        link.on_beat("l", Beat(99, 0, 0, 0), SILENT_S)
    ((to, account),) = link.aside
    assert isinstance(account, Enrol)
    assert (to, account.term) == ("l", 99)
    link.on_beat("l", Beat(99, account.version, 0, 0), SILENT_S)
    assert (link.term, link.leader) == (99, "l")


def test_a_late_copy_of_a_beat_proves_nothing() -> None:
    link = claimed()
    for _ in range(5):
        link.on_beat("l", Beat(1, link._account - 1, 0, 0), SILENT_S)
    assert (link.term, link.leader, len(link.aside)) == (99, "m", 5)


def test_a_leader_of_an_earlier_term_is_not_asked_while_that_of_the_later_is_heard_nor_below_the_logs_term() -> None:
    link = claimed()
    link.on_beat("l", Beat(1, 5, 0, 0), SILENT_S / 2)
    link.on_beat("m", Beat(99, 0, FIRST + 1000, 0), SILENT_S)
    link.on_beat("l", Beat(1, 5, 0, 0), SILENT_S)
    link.reject_before(2)
    link.on_beat("l", Beat(1, 5, 0, 0), 3 * SILENT_S)
    assert (link.term, link.aside) == (99, [])


# --- what the node announces of its tasks


def test_a_leader_that_understands_it_is_told_what_the_node_announces_and_any_other_is_not() -> None:
    levels = {"l": DEFAULTS_LEVEL, "old": DEFAULTS_LEVEL - 1}
    link = LeaderLink(SETTINGS, 1)
    link.level_of = lambda node_id: levels.get(node_id, 1)
    assert link.slots.learn_defaults(("add", "sub"), [("add", 9, {"retries": 3})]) == ""
    link.worker_ready(b"w", ("add", "sub"))
    beat(link)
    account = next(each for each in said(link) if isinstance(each, EnrolWithDefaults))
    assert (account.names, decode_defaults(account.defaults)) == (("add", "sub"), [("add", 9, {"retries": 3})])
    link.on_beat("old", Beat(2, 0, 0, 0), 1.0)
    assert the_enrol(link).names == ("add", "sub")


def test_a_leader_is_told_once_it_is_known_to_understand_it() -> None:
    levels = {"l": 1}
    link = LeaderLink(SETTINGS, 1)
    link.level_of = lambda node_id: levels.get(node_id, 1)
    link.slots.learn_defaults(("add",), [("add", 4, {"retries": 3})])
    link.worker_ready(b"w", ("add",))
    beat(link)
    assert isinstance(said(link)[0], Enrol)
    beat(link)
    assert [type(each) for each in said(link)] == [NodeBeat]
    levels["l"] = DEFAULTS_LEVEL
    beat(link)
    assert [type(each) for each in said(link)] == [NodeBeat, EnrolWithDefaults]
    beat(link)
    assert [type(each) for each in said(link)] == [NodeBeat]


@source_only
def test_a_leader_gets_no_option_that_it_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        BY_KEY, "retries", Option("retries", BY_KEY["retries"].type, ("leader",), (), DEFAULTS_LEVEL + 1)
    )
    link = LeaderLink(SETTINGS, 1)
    link.level_of = lambda _: DEFAULTS_LEVEL
    link.slots.learn_defaults(("add",), [("add", 4, {"retries": 3, "time_limit": 5})])
    link.worker_ready(b"w", ("add",))
    beat(link)
    account = said(link)[0]
    assert isinstance(account, EnrolWithDefaults)
    assert decode_defaults(account.defaults) == [("add", 4, {"time_limit": 5})]


def test_who_is_asked_for_a_proof_that_it_leads_gets_an_account_of_its_own_form() -> None:
    link = enrolled(b"w")
    link.level_of = lambda node_id: DEFAULTS_LEVEL if node_id == "m" else 1
    link.on_beat("claims", Beat(5, 0, 0, 0), 1.0)
    said(link)
    link.on_beat("m", Beat(4, 0, 0, 0), 100.0)
    assert [(node_id, type(account)) for node_id, account in link.aside] == [("m", EnrolWithDefaults)]


def test_what_the_worker_that_was_ready_last_says_of_a_task_is_announced_as_long_as_some_worker_has_it() -> None:
    slots = Slots()

    def announced() -> list[Default]:
        return decode_defaults(slots.defaults())

    def ready(worker_id: bytes, names: tuple[str, ...], *defaults: Default) -> None:
        assert slots.learn_defaults(names, defaults) == ""
        slots.worker_ready(worker_id, names)

    ready(b"v", ("add", "old"), ("add", 4, {"retries": 3}), ("old", 4, {"retries": 1}))
    ready(b"w", ("add",), ("add", 4, {"retries": 5}), ("elsewhere", 4, {"retries": 1}))
    assert announced() == [("add", 4, {"retries": 5}), ("old", 4, {"retries": 1})]
    slots.worker_lost(b"v", 0)
    assert announced() == [("add", 4, {"retries": 5})]
    ready(b"x", ("add",))
    assert announced() == []


@source_only
def test_a_worker_with_which_a_node_would_announce_too_much_is_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "MAX_DEFAULTS_BYTES", 100)
    slots = Slots()
    slots.learn_defaults(("add",), [("add", 4, {"retries": 3})])
    slots.worker_ready(b"v", ("add",))
    before = slots.defaults()
    assert "the options of its node's tasks take " in slots.learn_defaults(
        ("sub",), [("sub", 4, {"retry_on": "E" * 90})]
    )
    assert slots.defaults() == before


# --- a node that takes no tasks, and one that drains

ONCE = {"delivery": AT_MOST_ONCE}


def test_a_quiet_node_gives_back_what_it_has_not_begun_and_takes_nothing_more() -> None:
    link = enrolled(b"w")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(1), task(2))), 0.0)
    link.assign(0.0)
    said(link)
    link.set_availability(Availability.QUIET, 0.0)
    account = the_enrol(link)
    assert (account.slots, holds(account)) == (0, [(task(1)[0], 1)])
    link.on_dispatch("l", Dispatch(1, FIRST + 2, (task(3),)), 0.0)
    account = the_enrol(link)
    assert (account.dispatch_seq, holds(account)) == (FIRST + 2, [(task(1)[0], 1)])
    link.worker_done(b"w", (outcome(1),), 0.0)
    assert [type(each) for each in said(link)] == [NodeOutcomes]
    assert link.assign(0.0) == []


def test_a_node_that_serves_again_offers_its_slots() -> None:
    link = enrolled(b"w")
    link.set_availability(Availability.QUIET, 0.0)
    link.set_availability(Availability.SERVES, 0.0)
    assert the_enrol(link).slots == 1
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(1),)), 0.0)
    assert [worker_id for worker_id, _ in link.assign(0.0)] == [b"w"]


def test_what_comes_back_from_a_worker_of_a_quiet_node_goes_to_no_other_worker() -> None:
    link = enrolled(b"v", b"w")
    for number in range(4):
        link.slots.durations.observe("add", 1)
        link.on_dispatch("l", Dispatch(1, FIRST + 1 + number, (task(number),)), 0.0)
        link.assign(0.0)
    behind = {worker: list(slot.running)[1:] for worker, slot in link.slots.workers.items()}
    assert any(behind.values())
    link.set_availability(Availability.QUIET, 0.0)
    said(link)
    worker = next(worker for worker, ids in behind.items() if ids)
    link.worker_lost(worker, "signal 9", 0.0, begun=1)
    assert link.assign(0.0) == []
    left = {task_id for task_id, _ in holds(the_enrol(link))}
    assert left.isdisjoint(behind[worker])


def test_past_the_drain_what_runs_leaves_as_if_it_had_not_begun_once_its_worker_is_gone() -> None:
    link = enrolled(b"v", b"w", b"x")
    ends_at: list[float] = []
    link.on_drain = ends_at.append
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(1), (*task(2)[:4], ONCE), task(3))), 0.0)
    given_to = {tasks[0][0]: worker for worker, tasks in link.assign(0.0)}
    link.set_availability(Availability.DRAINS, 10.0, 5.0)
    assert ends_at == [15.0]
    link.worker_done(given_to[task(3)[0]], (outcome(3),), 14.0)
    link.slots.give_up()
    assert sorted(link.slots.to_give_up) == sorted([given_to[task(1)[0]], given_to[task(2)[0]]])
    said(link)
    assert {task(1)[0], task(2)[0]} <= set(link.slots.held.attempts)
    link.worker_lost(given_to[task(1)[0]], "killed", 15.0)
    assert task(1)[0] not in dict(holds(the_enrol(link)))
    link.worker_lost(given_to[task(2)[0]], "killed as the node drained", 15.0)
    lost = [each for each in said(link) if isinstance(each, NodeOutcomes)]
    assert [decode_outcomes(each.outcomes) for each in lost] == [
        [(task(2)[0], 1, TaskEnd.LOST, b"killed as the node drained", 0)]
    ]
    draining = link.slots.draining
    assert (draining.given_back, draining.lost, draining.lost_named) == (1, 1, [f"add {task(2)[0].hex()}"])


@pytest.mark.parametrize("then", [Availability.SERVES, Availability.ENDS])
def test_what_was_given_up_leaves_as_if_it_had_not_begun_though_the_node_is_told_otherwise_meanwhile(
    then: Availability,
) -> None:
    link = enrolled(b"w")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(1),)), 0.0)
    link.assign(0.0)
    link.set_availability(Availability.DRAINS, 0.0, 5.0)
    link.slots.give_up()
    link.set_availability(then, 5.0, 30.0)
    said(link)
    link.worker_lost(b"w", "killed", 5.0)
    messages = said(link)
    assert not [each for each in messages if isinstance(each, NodeOutcomes)]
    assert [holds(each) for each in messages if isinstance(each, Enrol)] == [[]]


def test_a_node_has_drained_once_its_leader_has_all_and_knows_that_it_takes_nothing() -> None:
    link = enrolled(b"w")
    link.on_dispatch("l", Dispatch(1, FIRST + 1, (task(1),)), 0.0)
    link.assign(0.0)
    link.set_availability(Availability.ENDS, 0.0, 5.0)
    account = link._account
    beat(link, dispatch_seq=FIRST + 1)
    assert not link.has_drained, "it runs something"
    link.worker_done(b"w", (outcome(1),), 0.0)
    beat(link, dispatch_seq=FIRST + 1)
    assert not link.has_drained, "that is not recorded"
    beat(link, dispatch_seq=FIRST + 1, outcome_seq=FIRST + 1, account=account - 1)
    assert link.has_drained, "it was heard before"
    link.on_dispatch("l", Dispatch(1, FIRST + 2, (task(2),)), 0.0)
    assert not link.has_drained, "its leader takes that to be here"
    beat(link, dispatch_seq=FIRST + 2, outcome_seq=FIRST + 1)
    assert link.has_drained
    link.on_beat("m", Beat(2, 0, 0, 0), 0.0)
    assert not link.has_drained, "another leads, and knows nothing yet"


def test_an_operator_may_change_it_until_the_process_is_to_end() -> None:
    link = enrolled(b"w")
    link.level_of = lambda _: QUIET_LEVEL
    said(link)
    link.on_set_availability("l", SetAvailability(1, Availability.DRAINS, 2_000), 0.0)
    (account,) = said(link)
    assert isinstance(account, EnrolQuiet)
    assert (account.slots, account.availability, account.left_ms) == (0, Availability.DRAINS, 2_000)
    link.on_set_availability("l", SetAvailability(1, Availability.DRAINS, 9_000), 1.0)
    assert (said(link), link.slots.draining.ends_at) == ([], 2.0)
    link.on_set_availability("l", SetAvailability(1, Availability.SERVES, 0), 1.0)
    assert [type(each) for each in said(link)] == [EnrolWithDefaults]
    link.set_availability(Availability.ENDS, 1.0, 1.0)
    said(link)
    link.on_set_availability("l", SetAvailability(1, Availability.SERVES, 0), 1.0)
    assert (said(link), link.slots.draining.availability) == ([], Availability.ENDS)


@pytest.mark.parametrize("wanted", [(Availability.ENDS, 0), (Availability.DRAINS, MAX_DRAIN_MS + 1)])
def test_what_no_leader_wants_of_a_node_changes_nothing(wanted: tuple[Availability, int]) -> None:
    """A drain that lasts for longer than a message can say would end the node as it says so."""
    link = enrolled(b"w")
    with pytest.raises(PeerViolation):
        link.on_set_availability("l", SetAvailability(1, *wanted), 0.0)
    assert (said(link), link.slots.draining.availability) == ([], Availability.SERVES)
