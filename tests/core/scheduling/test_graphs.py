"""Graphs: how many of their tasks are where, by the log and by the leader, and which they are."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from core.scheduling.test_leader import Lead, tid
from core.takeovers import taken_over
from modes import source_only
from paceline.core.feature_levels import NodeTooOld
from paceline.core.reports.found import found
from paceline.core.reports.graphs import PAGE_GRAPHS, graphs
from paceline.core.reports.listed import listed
from paceline.core.scheduling import live_graphs
from paceline.core.scheduling.live_tasks import Misplaced
from paceline.core.state.graphs import GraphSection, ends_of, live_of
from paceline.core.state.snapshots import digests_of, restore, snapshot_of
from paceline.core.state.table import TaskTable
from paceline.core.wall_clock import WallClock
from paceline_protocol.codec import encode_calls, encode_outcomes
from paceline_protocol.messages.client import Refusal, Submit
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.graphs import FindInGraph, GraphsRequest, TasksOfGraphRequest
from paceline_protocol.messages.queues import Holding
from paceline_protocol.messages.records import TaskEnd

OK, FAILED = TaskEnd.SUCCEEDED, TaskEnd.FAILED
ALL_STATES = (1, 2, 3)


def told(lead: Lead, name: str = "g") -> dict[str, int]:
    """What is known of a graph, without what is 0."""
    rows = graphs(lead.leader, lead.table, GraphsRequest(1, name, ""))["graphs"]
    if not rows:
        return {}
    (row,) = rows
    counts = {key: value for key, value in row.items() if key not in ("name", "ends")} | row["ends"]
    assert counts.pop("total") == sum(counts.values()), "each task is counted once"
    return {key: value for key, value in counts.items() if value}


def end(lead: Lead, seq: int, *numbers: int, end: TaskEnd = OK, commits: bool = True) -> None:
    lead.now += 0.5
    items = [(tid(number), 1, int(end), b"", 500) for number in numbers]
    lead.leader.nodes.on_outcomes("a", 3, seq, items, lead.now)
    if commits:
        lead.commit()
    lead.leader.tasks.check()


def lead_with_a_graph() -> Lead:
    """1 to 3 run, 4 waits, 5 is delayed, 6 depends on 1; all in the graph g. 7 waits, and 8 in another one."""
    lead = Lead()
    lead.enrol("a", slots=3)
    session = lead.client()
    lead.submit(session, 1, 2, 3, 4, graph="g")
    lead.submit(session, 5, seq=2, graph="g", not_before=-60_000)
    lead.submit(session, 6, seq=3, graph="g", after=tid(1))
    lead.submit(session, 7, seq=4)
    lead.submit(session, 8, seq=5, graph="other")
    lead.leader.dispatch(lead.now)
    lead.commit()
    return lead


def test_each_task_of_a_graph_is_counted_where_it_is() -> None:
    lead = lead_with_a_graph()
    assert told(lead) == {"running": 3, "waiting": 1, "delayed": 1, "depending": 1}
    end(lead, 1, 1)
    assert told(lead) == {"running": 2, "waiting": 2, "delayed": 1, "succeeded": 1}
    end(lead, 2, 2, end=FAILED)
    lead.leader.dispatch(lead.now)
    assert told(lead) == {"running": 3, "delayed": 1, "succeeded": 1, "failed": 1}
    assert told(lead, "other") == {"running": 1}
    assert told(lead, "unknown") == {}


def test_a_task_whose_end_the_log_does_not_have_is_none_that_has_ended() -> None:
    lead = lead_with_a_graph()
    end(lead, 1, 2, commits=False)
    assert told(lead) == {"running": 2, "waiting": 1, "delayed": 1, "depending": 1, "logging": 1}
    lead.commit()
    assert told(lead)["succeeded"] == 1


def test_a_task_that_the_log_does_not_have_yet_is_counted_where_it_is() -> None:
    lead = Lead()
    lead.enrol("a")
    lead.submit(lead.client(), 1, graph="g")
    assert told(lead) == {"waiting": 1}


def test_the_next_leader_counts_as_the_one_before() -> None:
    lead = lead_with_a_graph()
    end(lead, 1, 1)
    table = TaskTable()
    restore(table, snapshot_of(lead.table))
    following = Lead(table)
    # It has not heard yet what runs, and takes all of it for waiting.
    assert told(following) == {"waiting": 4, "delayed": 1, "succeeded": 1}
    assert told(following, "other") == {"waiting": 1}


def test_a_copy_of_a_submit_or_of_an_outcome_is_not_counted() -> None:
    lead = lead_with_a_graph()
    calls = encode_calls([(tid(2), "add", 4, b"", {"graph": "g"})])
    lead.leader.admission.submit(lead.client(), Submit(9, 0, calls), lead.now)
    end(lead, 1, 2)
    before = told(lead)
    for kind, data in (
        (EntryKind.ACCEPT, calls),
        (EntryKind.OUTCOME, encode_outcomes([(tid(2), 1, int(FAILED), b"", 1)])),
    ):
        lead.table.apply(kind, data)
    assert told(lead) == before


def test_what_is_cancelled_and_what_never_starts_is_counted_as_such() -> None:
    lead = lead_with_a_graph()
    lead.cancel(lead.client(), 4, 5)
    lead.commit()
    assert told(lead) == {"running": 3, "depending": 1, "cancelled": 2}
    end(lead, 1, 1, end=FAILED)
    lead.commit()
    assert told(lead) == {"running": 2, "cancelled": 2, "failed": 1, "upstream_failed": 1}


def test_a_graph_whose_tasks_have_ended_is_remembered_until_as_many_others_have() -> None:
    section = GraphSection(limit=2)
    for name in ("a", "b", "c"):
        section.is_accepted(name)
    section.is_accepted("b")
    for name in ("b", "c", "a"):
        section.has_ended(name, OK)
    assert list(section.live) == ["b"]
    assert list(section.over) == ["c", "a"]
    section.has_ended("b", FAILED)
    assert section.live == {}
    assert list(section.over) == ["a", "b"]
    assert section.counts_of("c") is None
    # One that goes on is not forgotten, and counts what it had.
    section.is_accepted("a")
    section.is_accepted("d")
    section.has_ended("d", OK)
    section.is_accepted("e")
    section.has_ended("e", OK)
    counts = section.counts_of("a")
    assert counts is not None
    assert (live_of(counts), ends_of(counts)["succeeded"]) == (1, 1)
    assert list(section.over) == ["d", "e"]


def test_graphs_are_in_snapshots_in_their_order_and_wrong_ones_are_refused() -> None:
    table = TaskTable()
    table.graphs.limit = 3
    rng = Random(7)
    live: list[tuple[bytes, str]] = []
    for number in range(300):
        if live and rng.random() < 0.5:
            task_id, _ = live.pop(rng.randrange(len(live)))
            end = rng.choice(list(TaskEnd))
            table.apply(EntryKind.OUTCOME, encode_outcomes([(task_id, 1, int(end), b"", 1)]))
        else:
            name = rng.choice("abcdefgh")
            live.append((tid(number), name))
            table.apply(EntryKind.ACCEPT, encode_calls([(tid(number), "add", 4, b"", {"graph": name})]))
        table.check()
    restored = TaskTable()
    restore(restored, snapshot_of(table))
    restored.check()
    assert digests_of(restored) == digests_of(table)
    assert (restored.graphs.live, restored.graphs.over) == (table.graphs.live, table.graphs.over)
    table.graphs.is_accepted("a")
    with pytest.raises(ValueError, match="other live tasks than are counted"):
        table.check()
    with pytest.raises(ValueError, match="twice"):
        GraphSection().read((("a", (("accepted", 1),)), ("a", (("accepted", 1),))))
    with pytest.raises(ValueError, match="more tasks ended"):
        GraphSection().read((("a", (("failed", 1),)),))
    with pytest.raises(NodeTooOld, match="'vanished' of a graph"):
        GraphSection().read((("a", (("accepted", 1), ("vanished", 1))),))


@source_only
def test_no_more_graphs_than_the_limit_have_tasks_and_one_that_has_may_have_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_graphs, "MAX_GRAPHS", 2)
    lead = Lead()
    lead.enrol("a", slots=3)
    for number, name in enumerate("abca", 1):
        lead.submit(lead.client(), number, seq=number, graph=name)
    assert lead.refusals() == {3: Refusal.QUEUE_FULL}
    lead.leader.dispatch(lead.now)
    end(lead, 1, 2)
    lead.submit(lead.client(), 5, seq=5, graph="c")
    assert lead.refusals() == {}


def find_all(lead: Lead, *states: int, change: tuple[int, str, int] = (0, "", 0), graph: str = "g") -> set[int]:
    ids: list[bytes] = []
    term = until = 0
    cursor: tuple[int, int, int] | None = (0, 0, 0)
    while cursor is not None:
        request = FindInGraph(1, "*", states, term, until, *cursor, "", 0, *change, graph)
        body = found(lead.leader, request, lead.now)
        ids += body["ids"]
        term, until, cursor = body["term"], body["until"], body["next"]
    return {int.from_bytes(task_id) for task_id in ids}


def test_tasks_are_found_and_listed_by_their_graph() -> None:
    lead = lead_with_a_graph()
    lead.pass_time(lead.now + 60.0, heard="a")
    assert find_all(lead, *ALL_STATES) == {1, 2, 3, 4, 5, 6}
    assert find_all(lead, 2) == {4}
    assert find_all(lead, *ALL_STATES, graph="other") == {8}
    assert find_all(lead, *ALL_STATES, graph="unknown") == set()
    assert find_all(lead, 1, 2, change=(Holding.HOLD, "", 0)) == {4, 5}, "what depends on others is not altered"
    page = listed(lead.leader, TasksOfGraphRequest(1, "*", ALL_STATES, "", 99, 0, 0, 0, 0, "g"), lead.now)
    assert {int.from_bytes(row["id"]) for row in page["tasks"]} == {1, 2, 3, 4, 5, 6}


def test_graphs_are_told_by_name_a_page_at_a_time() -> None:
    lead = Lead(queue_limit_tasks=1_000)
    lead.enrol("a")
    count = 2 * PAGE_GRAPHS + 3
    for number in range(1, count + 1):
        lead.submit(lead.client(), number, seq=number, graph=f"{number:04}")
    names: list[str] = []
    after: str | None = ""
    while after is not None:
        answer = graphs(lead.leader, lead.table, GraphsRequest(1, "", after))
        names += [row["name"] for row in answer["graphs"]]
        assert len(answer["graphs"]) <= PAGE_GRAPHS
        after = answer["next"]
    assert names == [f"{number:04}" for number in range(1, count + 1)]


def test_a_graph_that_is_counted_wrongly_is_found() -> None:
    lead = lead_with_a_graph()
    lead.leader.tasks.check()
    lead.leader.tasks.graphs.by_name["g"][0] += 1
    with pytest.raises(Misplaced, match="of graphs"):
        lead.leader.tasks.check()


def test_what_waits_for_a_limit_waits() -> None:
    lead = Lead()
    lead.enrol("a", slots=8)
    lead.submit(lead.client(), 1, 2, 3, graph="g", max_running=2)
    lead.commit()
    assert told(lead) == {"waiting": 3}
    lead.leader.dispatch(lead.now)
    assert told(lead) == {"running": 2, "waiting": 1}
    end(lead, 1, 1)
    lead.leader.dispatch(lead.now)
    lead.leader.tasks.check()
    assert told(lead) == {"running": 2, "succeeded": 1}


def test_what_is_held_keeps_its_graph() -> None:
    lead = lead_with_a_graph()
    task = lead.task(4)
    assert task.altered("slow", 7, is_held=True).graph == "g"


@pytest.mark.parametrize(
    "options",
    [{}, {"not_before": 9_000_000}, {"delivery": 1}, {"max_running": 2}, {"retries": 1, "expires": 9_000_000}],
)
def test_a_takeover_counts_what_it_takes_over(options: dict[str, Any]) -> None:
    table = TaskTable()
    calls = [(tid(n), "add", 4, b"", {**options, "graph": "ab"[n % 2]}) for n in range(1, 6)]
    table.apply(EntryKind.ACCEPT, encode_calls(calls))
    tasks, _due = taken_over(table, WallClock())
    tasks.check()
    assert {name: sum(counts) for name, counts in tasks.graphs.by_name.items()} == {"a": 2, "b": 3}
