"""`paceline status`: what it says of a cluster that stands, that forms, and that has no leader."""

import json
from typing import Any

import pytest

from paceline.cli import status as module
from paceline.cli.app import run
from paceline.cli.status import bridge_rows, node_rows, summary
from paceline.errors import NoNodeFound

SILENT_VOTER = {"id": "3" * 32, "address": "10.0.0.3:7077", "role": "voter", "alive": False, "is_self": False}


def body(**changes: Any) -> dict[str, Any]:
    def node(node_id: str, role: str, **more: Any) -> dict[str, Any]:
        row = {"id": node_id, "address": f"10.0.0.{node_id[0]}:7077", "role": role, "alive": True, "slots": 2}
        row["version"] = "1.2.3"
        return row | {"running": 1, "queued": 0, "is_self": False} | more

    return {
        "cluster_id": "c" * 32,
        "cluster_name": "shop",
        "term": 7,
        "leader_id": "2" * 32,
        "node_id": "2" * 32,
        "nodes": [
            node("1" * 32, "voter", is_self=True),
            node("2" * 32, "leader", metrics="10.0.0.2:9077"),
            node("3" * 32, "learner", alive=False),
        ],
        "queued": 3,
        "running": 2,
        "accepted_total": 100,
        "succeeded_total": 90,
        "failed_total": 4,
        "cancelled_total": 1,
        "lost_total": 0,
        "expired_total": 5,
        "delayed": 6,
        "recorded_total": 95,
        "duplicates_total": 0,
        "commit_index": 1000,
        "journal": "memory",
        "feature_level": 1,
        "too_old": "",
        "encrypted": True,
        "fault_tolerance": 1,
        "forming": "",
        "insecure": False,
        "other_clusters": [],
    } | changes


def test_a_healthy_cluster_in_four_lines() -> None:
    assert summary(body()) == [
        "cluster shop: leader 22222222, term 7",
        "survives: the loss of 1 machine at a time; journal: memory; feature level: 1",
        "security: encrypted",
        "tasks: 3 queued, 2 running, 6 delayed; of 100 accepted 90 succeeded, 4 failed, 1 cancelled, 0 lost, 5 expired",
    ]


def test_dead_tasks_are_counted_if_there_are_any() -> None:
    assert summary(body(dead_tasks=3))[4:] == ["dead tasks: 3; `paceline dead ls` shows them"]
    assert summary(body(dead_tasks=0)) == summary(body())


@pytest.mark.parametrize(
    ("tasks", "mib", "filled"),
    [
        (74, 74, ""),
        (75, 10, "75 of 100 tasks (--queue-limit)"),
        (80, 100, "100 of 100 MiB (--queue-limit-mib)"),
    ],
)
def test_a_queue_that_is_nearly_full_is_told_by_the_limit_that_it_comes_to_first(
    tasks: int, mib: int, filled: str
) -> None:
    queue = {"tasks": tasks, "limit_tasks": 100, "bytes": mib << 20, "limit_bytes": 100 << 20}
    said = f"WARNING: the queue has {filled}; at the limit new tasks are refused until others end"
    assert [line for line in summary(body(queue=queue)) if "queue has" in line] == ([said] if filled else [])


def test_the_leader_comes_first_and_the_dead_are_marked() -> None:
    assert node_rows(body()) == [
        ("22222222", "10.0.0.2:7077", "leader", "", "2", "1", "0", "1.2.3", "10.0.0.2:9077"),
        ("11111111 *", "10.0.0.1:7077", "voter", "", "2", "1", "0", "1.2.3", ""),
        ("33333333", "10.0.0.3:7077", "learner (silent)", "", "2", "1", "0", "1.2.3", ""),
    ]


def test_a_row_tells_how_far_a_replica_is_behind_since_when_it_is_silent_and_that_it_was_removed() -> None:
    nodes = [
        SILENT_VOTER | {"silent_s": 12.3, "behind": 40, "excluded": False},
        SILENT_VOTER | {"role": "worker", "alive": True, "silent_s": 0.0, "behind": None, "excluded": True},
    ]
    assert [row[2:4] for row in node_rows(body(nodes=nodes))] == [
        ("voter (silent for 12 s)", "40"),
        ("worker (removed)", ""),
    ]


@pytest.mark.parametrize(
    ("changes", "line", "expected"),
    [
        ({"forming": "1 of 3 nodes are here"}, 0, "forming: 1 of 3 nodes are here"),
        ({"leader_id": ""}, 0, "no leader, term 7"),
        ({"leader_id": "", "leaderless": "1 of 3 voters are here"}, 0, "no leader, term 7: 1 of 3 voters are here"),
        ({"cluster_name": ""}, 0, "cluster (no name)"),
        ({"fault_tolerance": 0}, 1, "the loss of no machine (there are fewer than three voters)"),
        ({"fault_tolerance": 0, "nodes": [SILENT_VOTER]}, 1, "the loss of no machine (silent voters: 1)"),
        ({"fault_tolerance": 2}, 1, "the loss of 2 machines"),
        ({"insecure": True, "encrypted": False}, 2, "NONE"),
        ({"encrypted": False}, 2, "this machine only"),
    ],
)
def test_what_is_not_well_is_said(changes: dict[str, Any], line: int, expected: str) -> None:
    assert expected in summary(body(**changes))[line]


def test_nodes_of_another_version_are_named_as_far_as_it_matters() -> None:
    nodes = [
        SILENT_VOTER | {"id": number * 32, "feature_level": level}
        for number, level in (("1", 2), ("2", 1), ("3", None))
    ]
    assert summary(body(nodes=nodes))[-1] == "feature level: 2 once paceline is upgraded on 22222222, 33333333"
    assert summary(body(nodes=nodes, feature_level=2))[-1] == (
        "WARNING: too old for feature level 2, and idle until paceline is upgraded there: 22222222"
    )
    assert summary(body(nodes=nodes[:1], feature_level=2)) == summary(body(nodes=[], feature_level=2))
    assert summary(body(too_old="this node is too old"))[-1] == "WARNING: this node is too old"


def test_another_cluster_of_the_name_is_said_with_what_to_do() -> None:
    *_, line = summary(body(other_clusters=["d" * 32, "e" * 32]))
    assert line == (
        "WARNING: another cluster of this name was seen (dddddddd, eeeeeeee; this one is cccccccc): they never mix. "
        "To have its nodes in this one, stop them and start them again without their data and with "
        "--expect 0 --join 10.0.0.1:7077"
    )


BRIDGE = {"kind": "bridge", "host": "web1", "pid": "42", "state": "running", "rabbitmq": "amqp://mq", "queues": "[a]"}


def test_bridges_have_a_row_each_and_other_clients_have_none() -> None:
    assert bridge_rows(body(clients=[BRIDGE, {"kind": "other"}])) == [("web1:42", "running", "amqp://mq", "[a]", "")]
    assert bridge_rows(body()) == []


class StubClient:
    closed = False

    def status(self, timeout: float) -> dict[str, Any]:
        return body()

    def close(self, timeout: float) -> None:
        self.closed = True


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> StubClient:
    stub = StubClient()
    monkeypatch.setattr(module, "connect", lambda *_: stub)
    return stub


def test_the_bridges_are_a_table_of_their_own(
    client: StubClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client, "status", lambda timeout: body(clients=[BRIDGE]))
    assert run(["status"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split() == ["web1:42", "running", "amqp://mq", "[a]"]


ESCAPE = "\x1b[2J\x9b31m\nforged\u202e"


def test_nothing_that_others_say_reaches_the_terminal_raw(
    client: StubClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forged = {
        "nodes": [{**node, "address": ESCAPE, "version": ESCAPE, "metrics": ESCAPE} for node in body()["nodes"]],
        "cluster_name": ESCAPE,
        "found": [ESCAPE],
        "twice": [ESCAPE],
        "other_clusters": [ESCAPE],
        "unserved": {ESCAPE: 1},
        "unserved_total": 1,
        "clients": [{"kind": "bridge", "state": ESCAPE, "host": ESCAPE, "queues": ESCAPE}],
    }
    monkeypatch.setattr(client, "status", lambda timeout: body(**forged))
    for arguments in (["status"], ["status", "--json"]):
        assert run(arguments) == 0
        out = capsys.readouterr().out
        assert "forged" in out
        assert out.replace("\n", "").isprintable()


def test_the_table_has_every_node(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status"]) == 0
    printed = capsys.readouterr().out
    assert all(address in printed for address in ("10.0.0.1:7077", "10.0.0.2:7077", "10.0.0.3:7077"))
    assert client.closed


def test_json_is_the_whole_body(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == body()


def test_what_only_the_leader_knows_is_no_number_when_another_node_answers(
    client: StubClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = body(node_id="1" * 32, queued=None, running=None, delayed=None)
    monkeypatch.setattr(client, "status", lambda timeout: other)
    assert run(["status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "as node 11111111 sees it, which does not lead"
    assert lines[4].startswith("tasks: how many are queued, running and delayed only the leader knows; of 100 accepted")


def test_without_a_leader_the_exit_code_says_so(
    client: StubClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client, "status", lambda timeout: body(leader_id="", leaderless="an election is under way"))
    assert run(["status"]) == 31
    assert "no leader, term 7: an election is under way" in capsys.readouterr().out
    assert run(["status", "--json"]) == 31
    assert client.closed


def test_an_address_in_brackets_is_shown_as_it_is(
    client: StubClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(client, "status", lambda timeout: body(nodes=[SILENT_VOTER | {"address": "[fd00::1]:7077"}]))
    run(["status"])
    assert "[fd00::1]:7077" in capsys.readouterr().out


def test_an_address_is_no_markup_and_no_code_of_an_emoji_and_whole_in_80_columns_however_long(
    client: StubClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    address = "[fd00:1234:5678:9abc:def0:1234:5678:9abc]:7077"
    row = SILENT_VOTER | {"address": address, "version": "10.11.12"}
    monkeypatch.setattr(client, "status", lambda timeout: body(nodes=[row], found=[f"Node b at {address}: connected"]))
    monkeypatch.setattr(module, "PIPED_WIDTH_CHARS", 80)
    run(["status"])
    above, table = capsys.readouterr().out.split("\n\n")[:2]
    assert f"Node b at {address}: connected" in above
    column = table.splitlines()[0].index("address")
    lines = [line[column:].split()[0] for line in table.splitlines()[1:] if line[column:].strip()]
    assert "".join(lines).startswith(address)
    assert max(map(len, table.splitlines())) <= 80


def test_in_80_columns_every_address_is_whole(
    client: StubClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    row = SILENT_VOTER | {"address": "192.168.100.111:7077", "metrics": "192.168.100.111:9077", "version": "10.11.12"}
    monkeypatch.setattr(client, "status", lambda timeout: body(nodes=[row]))
    monkeypatch.setattr(module, "PIPED_WIDTH_CHARS", 80)
    run(["status"])
    table = capsys.readouterr().out.split("\n\n")[1].splitlines()
    assert "192.168.100.111:7077" in table[1]
    assert "10.11.12" in table[1]
    assert max(map(len, table)) <= 80


def test_watch_shows_it_again_until_it_is_interrupted(
    client: StubClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(module.time, "sleep", pause)
    assert run(["status", "--watch"]) == 130
    assert pauses == [2.0, 2.0, 2.0]
    assert capsys.readouterr().out.count("cluster shop: leader 22222222") == 3
    assert client.closed
    pauses.clear()
    assert run(["status", "--watch", "0.5"]) == 130
    assert pauses == [0.5, 0.5, 0.5]


def test_watch_says_that_nobody_answers_and_goes_on(
    client: StubClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: list[dict[str, Any] | Exception] = [body(), NoNodeFound(("a:1",), 5.0), TimeoutError("no answer"), body()]

    def answer(timeout: float) -> dict[str, Any]:
        if not answers:
            raise KeyboardInterrupt
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(client, "status", answer)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    assert run(["status", "--watch"]) == 130
    lines = capsys.readouterr().out.splitlines()
    assert [line[:42] for line in lines if line.startswith(("cluster", "nobody"))] == [
        "cluster shop: leader 22222222, term 7",
        "nobody answers: no paceline node answered ",
        "nobody answers: no answer",
        "cluster shop: leader 22222222, term 7",
    ]


@pytest.mark.parametrize("width", [20, 40, 50])
def test_where_the_table_does_not_fit_each_node_has_a_line_and_nothing_is_cut(
    client: StubClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    bridge = {
        "kind": "bridge",
        "host": "broker.example",
        "pid": 4711,
        "state": "connected",
        "queues": "celery",
        "unacked": "3",
    }
    monkeypatch.setattr(client, "status", lambda timeout: body(clients=[bridge | {"rabbitmq": "rabbit.example:5672/"}]))
    monkeypatch.setattr(module, "PIPED_WIDTH_CHARS", width)
    run(["status"])
    assert capsys.readouterr().out.split("\n\n")[1:] == [
        "22222222 10.0.0.2:7077 leader 1.2.3, slots 2, running 1, queued 0\n"
        "11111111 * 10.0.0.1:7077 voter 1.2.3, slots 2, running 1, queued 0\n"
        "33333333 10.0.0.3:7077 learner (silent) 1.2.3, slots 2, running 1, queued 0",
        "broker.example:4711 connected rabbit.example:5672/ celery, unacked 3\n",
    ]


@pytest.mark.parametrize("width", range(60, 130, 7))
def test_a_table_shows_every_cell_of_a_column_that_does_not_fold(
    client: StubClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], width: int
) -> None:
    monkeypatch.setattr(module, "PIPED_WIDTH_CHARS", width)
    run(["status"])
    shown = capsys.readouterr().out
    for word in ("22222222", "11111111 *", "10.0.0.3:7077", "leader", "voter", "learner", "1.2.3"):
        assert word in shown


def test_a_node_that_waits_shows_whom_it_has_found() -> None:
    lines = summary(body(found=["Discovery has found 1 other node", "Node b at [fd00::1]:7077: connected"]))
    assert lines[-2:] == ["  Discovery has found 1 other node", "  Node b at [fd00::1]:7077: connected"]


def test_a_voter_that_forgot_and_a_node_that_runs_twice_are_warned_of() -> None:
    nodes = [{**row, "forgotten": row["role"] == "voter"} for row in body()["nodes"]]
    lines = summary(body(nodes=nodes, twice=["node 3 runs twice: at x, and, begun later, at y"]))
    assert "WARNING: node 3 runs twice: at x, and, begun later, at y" in lines
    assert (
        "WARNING: node 11111111 has lost what it had promised, counts for nothing and is told to end; move its data "
        "directory away and start it: it joins as a new node"
    ) in lines
    assert [row[2] for row in node_rows(body(nodes=nodes))] == ["leader", "voter (forgot)", "learner (silent)"]
