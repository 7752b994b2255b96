"""`paceline cluster`: what each command asks of the leader, and what it says of the answer."""

from __future__ import annotations

import json
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from paceline.cli import cluster as module
from paceline.cli.app import run
from paceline.cli.cluster import cluster, node_id_of
from paceline.cli.exits import exit_code_of
from paceline.errors import RequestRefused
from paceline_protocol.messages.client import AdminOp

STATUS = {
    "leader_id": "1a" * 8,
    "nodes": [
        {"id": "1a" * 8, "address": "10.0.0.1:7077"},
        {"id": "1b" * 8, "address": "10.0.0.2:7077"},
        {"id": "2c" * 8, "address": ""},
    ],
}


class FakeClient:
    """Answers as a leader would, and remembers what it was asked."""

    def __init__(self, refusal: str = "") -> None:
        self.asked: list[tuple[AdminOp, str]] = []
        self._refusal = refusal

    def __enter__(self) -> FakeClient:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def status(self, timeout: float) -> dict[str, Any]:
        return STATUS

    def change_cluster(self, op: AdminOp, argument: str, timeout: float) -> str:
        self.asked.append((op, argument))
        if self._refusal:
            raise RequestRefused(self._refusal)
        return "3 voters, of which 1 may fail"


def invoke(client: FakeClient, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    monkeypatch.setattr(module, "connect", lambda *_: client)
    return CliRunner().invoke(cluster, arguments, standalone_mode=False)


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (("voters", "5"), (AdminOp.VOTERS, "5")),
        (("promote", "2c"), (AdminOp.PROMOTE, "2c" * 8)),
        (("remove", "10.0.0.2:7077"), (AdminOp.REMOVE, "1b" * 8)),
        (("transfer", "1b"), (AdminOp.TRANSFER, "1b" * 8)),
        (("transfer",), (AdminOp.STEP_DOWN, "1a" * 8)),
    ],
)
def test_each_command_asks_for_one_change_and_prints_what_is_the_case(
    arguments: tuple[str, ...], asked: tuple[AdminOp, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = FakeClient()
    result = invoke(client, monkeypatch, *arguments)
    assert result.exception is None
    assert client.asked == [asked]
    assert result.output == "3 voters, of which 1 may fail\n"


def test_json_is_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(FakeClient(), monkeypatch, "promote", "1b", "--json")
    assert json.loads(result.output) == {
        "change": "promote",
        "argument": "1b" * 8,
        "detail": "3 voters, of which 1 may fail",
    }


def test_a_refusal_has_the_reason_and_the_exit_code_of_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    error = invoke(FakeClient("two voters stop when either fails"), monkeypatch, "promote", "1b").exception
    assert isinstance(error, RequestRefused)
    assert str(error) == "two voters stop when either fails"
    assert exit_code_of(error) == 13


@pytest.mark.parametrize("arguments", [("voters", "2"), ("promote",), ("promote", "ff"), ("remove", "1")])
def test_a_wrong_argument_is_an_error_of_the_command_line_and_nothing_is_asked(
    arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = FakeClient()
    error = invoke(client, monkeypatch, *arguments).exception
    assert isinstance(error, click.UsageError)
    assert client.asked == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["voters"], "Missing argument 'NUMBER'. It is how many nodes vote; allowed are 1, 3, 5."),
        (["voters", "2"], "Invalid value for 'NUMBER': '2' is no number of voters; allowed are 1, 3, 5."),
        (["promote", ""], "Invalid value for 'NODE': it is empty; `paceline status` shows the nodes there are."),
        (["remove", " "], "Invalid value for 'NODE': it is empty; `paceline status` shows the nodes there are."),
        (["transfer", ""], "Invalid value for 'NODE': it is empty; `paceline status` shows the nodes there are."),
        (["recover", "--port", "99999"], "Invalid value for '--port': 99999 is not in the range 1<=x<=65535."),
        (
            ["recover", "--data-dir", ""],
            "Invalid value for '--data-dir': it is empty; name a directory, or leave the option out.",
        ),
    ],
)
def test_a_wrong_argument_is_named_with_what_is_allowed_before_anybody_is_asked(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "connect", lambda *_: pytest.fail("it was asked"))
    assert run(["cluster", *arguments]) == 2
    assert capsys.readouterr().err == (f"paceline: error: {message}\nTry `paceline cluster {arguments[0]} --help`.\n")


def test_usage_names_the_number_of_voters(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["cluster", "voters", "--help"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "Usage: paceline cluster voters [OPTIONS] NUMBER"


def test_a_name_that_fits_no_node_or_several_is_told_with_the_nodes_there_are() -> None:
    with pytest.raises(click.BadParameter, match=r"'1' means 2 nodes; there are: 1a1a1a1a at 10\.0\.0\.1:7077"):
        node_id_of("1", STATUS)
    with pytest.raises(click.BadParameter, match=r"'x' is no node of this cluster.*2c2c2c2c at an unknown address"):
        node_id_of("x", STATUS)
    assert node_id_of("1a" * 8, STATUS) == "1a" * 8


def test_an_address_names_its_node_in_every_spelling_and_without_its_port() -> None:
    for name in ("10.0.0.1:7077", "10.0.0.1", "[::ffff:10.0.0.1]", "[::ffff:10.0.0.1]:7077"):
        assert node_id_of(name, STATUS) == "1a" * 8
    for name in ("10.0.0.1:7078", "10.0.0.9", "a b"):
        with pytest.raises(click.BadParameter, match="is no node of this cluster"):
            node_id_of(name, STATUS)
    twice = {"nodes": [{"id": "1a" * 8, "address": "host:7077"}, {"id": "1b" * 8, "address": "host:7078"}]}
    assert node_id_of("HOST:7078", twice) == "1b" * 8
    with pytest.raises(click.BadParameter, match="'host' means 2 nodes"):
        node_id_of("host", twice)
