"""Tasks that wait under names which no node runs are counted exactly, told once, and found."""

from __future__ import annotations

import pytest

from core.cluster_stories import formed, node
from core.scheduling.test_due_tasks import Clocked, ms
from core.scheduling.test_leader import Lead, tid
from modes import source_only
from paceline.core.reports.metrics import _by_name
from paceline.core.reports.waiting import IDS_LIMIT, NAMES_BYTES, SHOWN_NAMES, most_frequent, waiting
from paceline.core.scheduling import live_tasks
from paceline.core.scheduling.lanes import SWEEP_TASKS
from paceline.core.scheduling.live_tasks import NAMES_LOOKED_AT
from paceline.core.scheduling.recent_names import KEPT_S
from paceline.core.scheduling.unserved import GRACE_S, NAMES_TOLD, Unserved
from paceline_protocol.codec import encode_calls
from paceline_protocol.messages.client import Refusal, Submit, WaitingRequest
from paceline_protocol.messages.work import Availability
from paceline_protocol.payload import pack_value


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.unserved = Unserved(self.notice)

    def notice(self, level: str, text: str) -> None:
        assert level == "warning"
        self.lines.append(text)


def renamed(count: int = 20) -> Clocked:
    """Tasks of a name that was there in the last release, some of a name that is, and one delayed: nodes run "add"."""
    lead = Clocked()
    session = lead.client()
    lead.submit(session, *range(count), name="old")
    lead.submit(session, 1_000, seq=2, name="older")
    lead.submit(session, 2_000, 2_001, seq=3)
    lead.submit(session, 3_000, seq=4, name="old", not_before=ms(60.0))
    lead.commit()
    lead.enrol("a", slots=1)
    return lead


def ask(lead: Lead, name: str = "", skip: int = 0) -> dict[str, object]:
    return waiting(lead.leader, WaitingRequest(1, name, skip))


# --- counts


def test_what_waits_is_counted_by_name_and_names_that_no_node_runs_come_first() -> None:
    lead = renamed()
    assert ask(lead)["names"] == [
        {"name": "old", "waiting": 20, "delayed": 1, "nodes": 0, "idle_nodes": 0},
        {"name": "older", "waiting": 1, "delayed": 0, "nodes": 0, "idle_nodes": 0},
        {"name": "add", "waiting": 2, "delayed": 0, "nodes": 1, "idle_nodes": 0},
    ]
    assert lead.leader.tasks.unserved_by_name() == {"old": 20, "older": 1}
    lead.leader.tasks.check()


def test_the_counts_follow_tasks_that_are_handed_out_cancelled_and_given_back_and_nodes_that_come_and_go() -> None:
    lead = renamed()
    tasks = lead.leader.tasks
    lead.dispatched()
    given_back = tasks.at_nodes
    assert [tasks.waiting_of(name) for name in ("old", "older", "add", "x")] == [20, 1, 2 - given_back, 0]
    lead.cancel(lead.client(b"operator"), 0, 1, 1_000)
    assert tasks.unserved_by_name() == {"old": 18}
    assert lead.pass_time(30.0) == ["a"]
    assert [tasks.waiting_of(name) for name in ("old", "older", "add")] == [18, 0, 2]
    assert tasks.unserved_by_name() == {}  # no worker is left: nobody knows which names the next node has
    lead.enrol("b")
    assert tasks.unserved_by_name() == {"old": 18}
    tasks.check()


def test_a_name_is_not_unknown_while_the_node_that_ran_it_may_come_back() -> None:
    """Its last worker was killed by a task, or the node is restarted: calls of its tasks wait for it meanwhile."""
    lead = Lead()
    session = lead.client()
    lead.enrol("a", names=("add", "old"))
    lead.enrol("b")
    lead.enrol("a", slots=0, names=())
    lead.submit(session, 1, name="old")
    assert lead.refusals() == {}
    lead.enrol("a", names=("add", "old"))
    assert lead.pass_time(2.0, heard="b") == ["a"]
    lead.submit(session, 2, seq=2, name="old")
    lead.submit(session, 3, seq=3, name="older")
    assert lead.refusals() == {3: Refusal.UNKNOWN_TASK}
    lead.pass_time(3.0 + KEPT_S, heard="b")
    lead.submit(session, 4, seq=4, name="old")
    assert lead.refusals() == {4: Refusal.UNKNOWN_TASK}


@pytest.mark.parametrize("availability", [Availability.QUIET, Availability.DRAINS])
def test_what_a_quiet_node_alone_runs_waits_for_it_however_long_and_whoever_leads(availability: Availability) -> None:
    for lead in (Lead(), Lead(ran_lately=("a", "b"))):
        session = lead.client()
        lead.enrol("b")
        lead.enrol("a", slots=0, names=("old",), availability=availability)
        lead.pass_time(10 * KEPT_S, heard="ab")
        lead.submit(session, 1, name="old")
        lead.submit(session, 2, seq=2, name="older")
        assert lead.refusals() == {2: Refusal.UNKNOWN_TASK}
        lead.pass_time(lead.now + KEPT_S / 2, heard="b")
        lead.submit(session, 3, seq=3, name="old")
        assert lead.refusals() == {}, "it is gone, and may be restarted"
        lead.pass_time(lead.now + 2 * KEPT_S, heard="b")
        lead.submit(session, 4, seq=4, name="old")
        assert lead.refusals() == {4: Refusal.UNKNOWN_TASK}


def test_of_a_name_that_waits_for_quiet_nodes_alone_it_is_told_how_many_there_are() -> None:
    lead = Lead()
    lead.enrol("a", names=("old", "add"))
    lead.submit(lead.client(), 1, 2, name="old")
    lead.enrol("a", slots=0, names=("old", "add"), availability=Availability.QUIET)
    lead.enrol("b")
    lead.enrol("c", slots=0, names=("old",), availability=Availability.DRAINS)
    (row,) = waiting(lead.leader, WaitingRequest(1, "", 0))["names"]
    assert (row["name"], row["waiting"], row["nodes"], row["idle_nodes"]) == ("old", 2, 0, 2)
    lead.enrol("c", names=("old",))
    (row,) = waiting(lead.leader, WaitingRequest(1, "", 0))["names"]
    assert (row["nodes"], row["idle_nodes"]) == (1, 0)


def test_what_a_quiet_node_ran_is_unknown_a_while_after_it_has_no_worker_or_is_told_to_end() -> None:
    for names, availability in (((), Availability.QUIET), (("old",), Availability.ENDS)):
        lead = Lead()
        session = lead.client()
        lead.enrol("b")
        lead.enrol("a", slots=0, names=("old",), availability=Availability.QUIET)
        lead.enrol("a", slots=0, names=names, availability=availability)
        lead.submit(session, 1, name="old")
        assert lead.refusals() == {}
        lead.pass_time(2 * KEPT_S, heard="ab")
        lead.submit(session, 2, seq=2, name="old")
        assert lead.refusals() == {2: Refusal.UNKNOWN_TASK}


def test_a_name_is_unknown_once_its_node_is_back_without_it() -> None:
    lead = Lead()
    lead.enrol("a", names=("old",))
    lead.enrol("a", slots=0, names=())
    lead.enrol("a", names=("new",))
    lead.submit(lead.client(), 1, name="old")
    assert lead.refusals() == {1: Refusal.UNKNOWN_TASK}


def test_a_new_leader_calls_no_name_unknown_before_each_node_that_may_have_run_it_runs_something() -> None:
    lead = Lead(ran_lately=("a", "b"))
    session = lead.client()
    lead.enrol("b", names=("other",))
    lead.submit(session, 1)
    lead.enrol("a", slots=0, names=())
    lead.submit(session, 2, seq=2)
    assert lead.refusals() == {}, "a has been restarted, and its workers are not ready"
    lead.enrol("a")
    lead.submit(session, 3, seq=3, name="older")
    assert lead.refusals() == {3: Refusal.UNKNOWN_TASK}


def test_a_node_that_is_to_have_no_workers_keeps_no_name_from_being_unknown() -> None:
    """Not what others may have run, nor what it ran itself before it was started so."""
    lead = Lead(ran_lately=("a", "b"))
    session = lead.client()
    lead.enrol("c")
    lead.enrol("b", names=("other",))
    lead.enrol("a", slots=0, names=(), runs_tasks=False)
    lead.submit(session, 1, name="older")
    assert lead.refusals() == {1: Refusal.UNKNOWN_TASK}
    lead.enrol("b", slots=0, names=())
    lead.submit(session, 2, seq=2, name="other")
    assert lead.refusals() == {}
    lead.enrol("b", slots=0, names=(), runs_tasks=False)
    lead.submit(session, 3, seq=3, name="other")
    assert lead.refusals() == {3: Refusal.UNKNOWN_TASK}


def test_a_new_leader_calls_a_name_unknown_at_once_though_a_node_is_to_have_no_workers() -> None:
    story = formed("abc")
    story.run("\n".join(f"worker {each} w ready add" for each in "bc"))
    story.run("restart a runs_tasks=0\nadvance 2")
    leader = node(story, "c").role.leader_id(story._now)
    story.run(f"client k hello {leader}")
    assert "1 refused as UNKNOWN_TASK" in story.run("client k submit 1 name=mistyped\nadvance 0.1")


def test_a_leader_that_has_led_for_a_minute_waits_for_the_names_of_nobody() -> None:
    lead = Lead(ran_lately=("a", "b"))
    session = lead.client()
    lead.enrol("b")
    lead.pass_time(KEPT_S, heard="b")
    lead.submit(session, 1, name="old")
    assert lead.refusals() == {}
    lead.pass_time(KEPT_S + 1.0, heard="b")
    lead.submit(session, 2, seq=2, name="old")
    assert lead.refusals() == {2: Refusal.UNKNOWN_TASK}


@pytest.mark.parametrize(("nodes", "events"), [("abcd", "restart a"), ("bcda", "restart a\ncut b")])
def test_a_name_is_not_unknown_to_the_next_leader_though_the_node_that_ran_it_is_restarted_meanwhile(
    nodes: str, events: str
) -> None:
    """Whether that node led, or is one without a vote that the next leader has heard."""
    story = formed(nodes)
    story.run("worker a w ready old\n" + "\n".join(f"worker {each} w ready add" for each in "bcd"))
    story.run(f"advance 1\n{events}\nadvance 2")
    leader = node(story, "c").role.leader_id(story._now)
    assert leader in nodes[1:]
    story.run(f"client k hello {leader}")
    assert "refused" not in story.run("client k submit 1 name=old\nadvance 0.1")
    assert "run 1/1" in story.run("worker a w ready old\nadvance 1")


def test_while_nodes_may_still_give_their_accounts_no_name_counts_as_unknown() -> None:
    lead = Lead(settled=False)
    lead.submit(lead.client(), 1, name="old")
    lead.enrol("a")
    assert lead.leader.tasks.unserved_by_name() == {}


def test_status_and_metrics_have_a_bounded_number_of_names_and_the_sum_is_exact() -> None:
    lead = Lead()
    session = lead.client()
    for number in range(SHOWN_NAMES + 5):
        lead.submit(session, *range(100 * number, 100 * number + number + 1), seq=number + 1, name=f"old{number}")
    lead.enrol("a")
    shown = most_frequent(lead.leader.tasks.unserved_by_name())
    assert list(shown.values()) == list(range(SHOWN_NAMES + 5, 5, -1))
    series = _by_name(lead.leader.tasks.unserved_by_name())
    assert (len(series), series["other"]) == (SHOWN_NAMES + 1, 15)


@pytest.mark.parametrize("letter", ["x", "é", "東"])
def test_an_answer_has_as_many_names_as_fit_and_says_how_many_it_leaves_out(letter: str) -> None:
    lead = Lead()
    session = lead.client()
    for number in range(500):
        lead.submit(session, number, seq=number + 1, name=f"{number:04d}{letter * 251}")
    answer = ask(lead)
    shown = len(answer["names"])  # type: ignore[arg-type]
    assert (shown + answer["more_names"], answer["ids"]) == (500, [])  # type: ignore[operator]
    assert NAMES_BYTES // 2 < len(pack_value(answer)) < NAMES_BYTES + 200


def test_an_answer_has_a_bounded_number_of_ids_and_whoever_goes_on_finds_the_others() -> None:
    lead = Lead()
    calls = [(tid(number), "old", 4, b"", None) for number in range(IDS_LIMIT + 5)]
    lead.leader.admission.submit(lead.client(), Submit(1, 0, encode_calls(calls)), lead.now)
    first = ask(lead, "old")
    assert (first["ids"], first["skip"]) == ([*map(tid, range(IDS_LIMIT))], IDS_LIMIT)
    rest = ask(lead, "old", IDS_LIMIT)
    assert (rest["ids"], rest["skip"]) == ([*map(tid, range(IDS_LIMIT, IDS_LIMIT + 5))], None)


def test_any_number_of_invented_names_costs_a_bounded_look() -> None:
    lead = Lead()
    invented = NAMES_LOOKED_AT + 50
    calls = [(tid(number), f"old{number}", 4, b"", None) for number in range(invented)]
    lead.leader.admission.submit(lead.client(), Submit(1, 0, encode_calls(calls)), lead.now)
    lead.enrol("a")
    assert len(lead.leader.tasks.unserved_by_name()) == NAMES_LOOKED_AT
    answer = ask(lead)
    assert len(answer["names"]) + answer["more_names"] == invented  # type: ignore[arg-type, operator]
    last = f"old{invented - 1}"
    assert ask(lead, last)["names"] == [{"name": last, "waiting": 1, "delayed": 0, "nodes": 0, "idle_nodes": 0}]


def test_invented_names_are_forgotten_once_no_task_of_them_waits_though_no_node_has_come() -> None:
    lead = Lead()
    session = lead.client()
    lead.submit(session, 0, name="kept")
    for number in range(1, 4 * SWEEP_TASKS):
        lead.submit(session, number, name=f"invented{number}")
        lead.cancel(session, number)
        assert lead.leader.tasks.name_count == 1
    assert [lane.names for lane in lead.leader.tasks.queues.default.ready._lanes] == [{"kept"}]
    lead.leader.tasks.check()
    assert lead.leader.tasks.waiting_names() == {"kept"}
    lead.leader.admission.submit(
        session, Submit(1, 0, encode_calls([(tid(1 << 20), "invented1", 4, b"", None)])), lead.now
    )
    assert lead.leader.tasks.waiting_names() == {"kept", "invented1"}
    lead.leader.tasks.check()


# --- ids


def test_a_skip_past_all_bounds_finds_nothing_and_harms_nobody() -> None:
    for skip in (22, 1 << 40, (1 << 63) - 1):
        answer = ask(renamed(), "old", skip)
        assert (answer["ids"], answer["skip"]) == ([], None)


def test_the_ids_of_a_name_are_found_also_of_delayed_tasks_and_of_no_other_name() -> None:
    answer = ask(renamed(), "old")
    assert answer["names"] == [{"name": "old", "waiting": 20, "delayed": 1, "nodes": 0, "idle_nodes": 0}]
    assert (answer["ids"], answer["skip"]) == ([*map(tid, range(20)), tid(3_000)], None)
    assert ask(renamed(), "gone") == {"names": [], "more_names": 0, "ids": [], "skip": None}


def test_what_a_node_has_is_not_found() -> None:
    lead = renamed()
    given = lead.dispatched()["a"]
    found = ask(lead, "add")["ids"]
    assert found == [tid(number) for number in (2_000, 2_001) if (number, 1) not in given]


def test_ids_are_looked_for_in_a_bounded_number_of_tasks_at_a_time() -> None:
    lead = renamed()
    tasks = lead.leader.tasks
    assert tasks.find_waiting("older", 0, 8, 9) == ([], 8, False)  # behind those of the other name, in one lane
    assert tasks.find_waiting("older", 16, 8, 9) == ([tid(1_000)], 5, True)
    assert tasks.find_waiting("older", 21, 8, 9) == ([], 0, True)
    assert tasks.find_waiting("old", 0, 100, 3) == ([*map(tid, range(3))], 3, False)


def test_every_page_has_its_tasks_in_order_however_deep_it_is_and_leaves_the_order_as_it_was() -> None:
    lead = Clocked()
    session = lead.client()
    for number in range(30):
        delay = {"not_before": ms(60.0)} if number > 20 else {}
        lead.submit(session, number, seq=1 + number, name="add" if number % 3 else "old", **delay)
    tasks = lead.leader.tasks
    lead.leader.recording.cancel([tasks.live[tid(number)] for number in (0, 4, 5, 25)], lead.now)
    waits = [number for number in range(30) if number % 3 and number not in (4, 5, 25)]
    for limit in (1, 4, 7, 99):
        found: list[bytes] = []
        skip, is_end = 0, False
        while not is_end:
            ids, looked_at, is_end = tasks.find_waiting("add", skip, limit, 99)
            found += ids
            skip += looked_at
        assert found == list(map(tid, waits))
    lead.enrol("a", slots=30)
    given = [number for number, _ in lead.dispatched()["a"]]
    assert given == [number for number in waits if number <= 20]


@source_only
def test_of_delayed_tasks_a_bounded_number_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_tasks, "DELAYED_SKIPPED", 4)
    lead = Clocked()
    lead.submit(lead.client(), *range(8), name="old", not_before=ms(60.0))
    tasks = lead.leader.tasks
    assert tasks.find_waiting("old", 4, 2, 9) == ([tid(4), tid(5)], 2, False)
    assert tasks.find_waiting("old", 6, 2, 9) == ([], 0, True)


# --- the line in the log


def test_a_name_is_told_once_it_has_been_without_a_node_for_a_while_and_only_then() -> None:
    lead = renamed()
    lead.pass_time(GRACE_S, heard="a")
    assert lead.notices == []
    lead.pass_time(GRACE_S + 2.0, heard="a")
    assert lead.notices == [
        (
            "warning",
            "no node runs what 21 tasks wait for: old (20), older (1). Start a node with the module that has them, or "
            "cancel them: `paceline tasks cancel --name NAME`",
        )
    ]
    lead.pass_time(10 * GRACE_S, heard="a")
    assert len(lead.notices) == 1


def test_a_name_that_comes_back_in_time_is_not_told() -> None:
    log = Log()
    for second in range(100):
        log.unserved.review({"old": 3} if second % 10 else {}, float(second))
    assert log.lines == []


def test_a_name_that_comes_and_goes_is_told_in_powers_of_ten() -> None:
    log = Log()
    for time in range(100):
        log.unserved.review({"old": 3}, 20.0 * time)
        log.unserved.review({"old": 3}, 20.0 * time + GRACE_S)
        log.unserved.review({}, 20.0 * time + 15.0)
    assert len(log.lines) == 3


def test_of_many_names_some_are_named() -> None:
    log = Log()
    names = {f"old{number:05}\n": 1 for number in range(5_000)}
    log.unserved.review(names, 0.0)
    log.unserved.review(names, GRACE_S)
    (line,) = log.lines
    assert line.count("old") == NAMES_TOLD
    assert "\n" not in line
    assert "990 others" in line
