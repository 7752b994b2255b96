"""The keys that docs/protocol.md lists for the bodies of replies are those that a node sends."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

from paceline.core.membership.identity import Identity
from paceline.core.node import NodeCore
from paceline.core.reports.graphs import graphs
from paceline.core.reports.listed import listed
from paceline.core.reports.questions import QUESTIONS
from paceline.core.reports.scheduled import scheduled
from paceline.core.reports.status import status
from paceline.core.reports.waiting import waiting
from paceline.core.reports.whereabouts import whereabouts
from paceline.core.settings import Settings
from paceline_protocol.codec import encode_calls, encode_schedule_changes
from paceline_protocol.messages.client import Submit, WaitingRequest
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.graphs import GraphsRequest
from paceline_protocol.messages.live import TasksRequest
from paceline_protocol.messages.schedules import ScheduleDefinition, SchedulesRequest, When

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"
ROW = re.compile(r"\| (.*?) \| (.*) \|")
WORD = re.compile(r"`([a-z_]+)`")


def documented(message: str) -> dict[str, str]:
    """Key -> what the table says of it."""
    section = re.split(r"\n###? ", PROTOCOL.read_text().partition(f"### The body of a {message}\n")[2])[0]
    return {key: row[2] for row in ROW.finditer(section) for key in WORD.findall(row[1])}


def node() -> NodeCore:
    """A node that has formed a cluster of its own: of itself it knows everything that a row can hold."""
    core = NodeCore(
        Settings(cluster_name="test"),
        Identity("a", incarnation=1),
        address="a:1",
        spare_cluster_id="cluster-a",
        random=Random(1),
        now=0.0,
        durable_at_once=True,
        questions=QUESTIONS,
    )
    for tenth in range(20):
        core.tick(tenth / 10)
        core.take_effects(tenth / 10)
    return core


def test_the_documented_keys_of_a_status_are_those_of_a_real_one() -> None:
    assert sorted(documented("StatusReply")) == sorted(status(node(), 2.0))


def test_the_documented_keys_of_its_nodes_are_those_of_a_real_one() -> None:
    keys = set(WORD.findall(re.sub(r"\(.*?\)", "", documented("StatusReply")["nodes"])))
    (row,) = status(node(), 2.0)["nodes"]
    assert keys == row.keys()
    assert row["role"] == "leader"


def test_the_documented_keys_of_where_a_task_is_are_those_of_a_real_answer() -> None:
    leader = node().leader
    assert leader is not None
    assert sorted(documented("TaskReply")) == sorted(whereabouts(leader, b"i" * 16, 2.0))


def test_the_documented_keys_of_a_list_of_tasks_are_those_of_a_real_answer() -> None:
    leader = node().leader
    assert leader is not None
    leader.sessions.open(b"c", b"c" * 16, 2.0)
    leader.admission.submit(
        leader.sessions.by_key[b"c"], Submit(1, 0, encode_calls([(b"i" * 16, "add", 4, b"", None)])), 2.0
    )
    answer = listed(leader, TasksRequest(1, "*", (1, 2, 3), "", 9, 0, 0, 0, 0), 2.0)
    assert sorted(documented("TasksReply")) == sorted(answer)
    (row,) = answer["tasks"]
    told = re.sub(r"\(.*?\)", "", documented("TasksReply")["tasks"])
    assert set(WORD.findall(told)) - {"limit"} == row.keys()


def test_the_documented_keys_of_what_waits_are_those_of_a_real_answer() -> None:
    leader = node().leader
    assert leader is not None
    assert sorted(documented("WaitingReply")) == sorted(waiting(leader, WaitingRequest(1, "", 0)))


def test_the_documented_keys_of_graphs_are_those_of_a_real_answer() -> None:
    core = node()
    assert core.leader is not None
    core.table.apply(EntryKind.ACCEPT, encode_calls([(b"i" * 16, "add", 4, b"", {"graph": "nightly"})]))
    told = graphs(core.leader, core.table, GraphsRequest(1, "", ""))
    assert sorted(documented("GraphsReply")) == sorted(told)
    words = re.sub(r"\(.*?\)", "", documented("GraphsReply")["graphs"])
    (row,) = told["graphs"]
    assert set(WORD.findall(words)) - {"after"} == row.keys()


def test_the_documented_keys_of_schedules_are_those_of_a_real_list() -> None:
    core = node()
    assert core.leader is not None
    definition = ScheduleDefinition("add", b"", 4, None, When(1, "@daily", "UTC"))
    core.table.apply(EntryKind.SCHEDULE, encode_schedule_changes([(1, "nightly", definition, 2_000, 1_000)]))
    told = scheduled(core.leader, core.table, SchedulesRequest(1, "*", ""), 1_000)
    assert sorted(documented("SchedulesReply")) == sorted(told)
    words = re.sub(r"\(.*?\)", "", documented("SchedulesReply")["schedules"])
    (row,) = told["schedules"]
    assert set(WORD.findall(words)) - {"after"} == row.keys()
