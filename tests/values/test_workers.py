"""Values of classes through real workers, and from them to a client's future."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import msgpack
import pytest

from paceline import Cluster
from paceline.codecs import CodedValue, build
from paceline_protocol import payload
from paceline_protocol.errors import ClassUnavailable, UnserializableValue
from paceline_protocol.forms import Ext
from paceline_protocol.messages.children import Done, Run, WorkerReady
from paceline_protocol.messages.records import TaskEnd
from worker.played_node import PlayedNode

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # as a client has it, whose tasks are in a file beside its own

import value_tasks  # noqa: E402 - its folder is on the path by now
from value_tasks import Colour, Money, Order, Size  # noqa: E402

sys.path.remove(str(HERE))


@pytest.fixture(scope="module")
def node() -> Iterator[PlayedNode]:
    started = PlayedNode(str(HERE / "value_tasks.py"))
    started.receive(WorkerReady)
    yield started
    started.close()


VALUES = [
    Order("a", [Size(1, 2), {Colour.BLUE: Path("/a")}], Colour.BLUE),
    Colour.RED,
    Size(1, 2),
    Path("/tmp/x"),
    Money(5, "EUR"),
    [Order("b", [Money(1, "USD")])],
]


def run(node: PlayedNode, name: str, packed_args: bytes) -> tuple[int, bytes]:
    task_id, attempt, task, _args, options = node.assignment(f"value_tasks.{name}")
    node.send(Run(((task_id, attempt, task, packed_args, options),)))
    (outcome,) = node.receive(Done).outcomes
    return outcome[2], outcome[3]


def packed(codec: str, class_name: str, state: Any) -> bytes:
    """Arguments, one of which is a value of a class."""
    mark = msgpack.ExtType(Ext.VALUE, b"")
    return msgpack.packb([None, [mark, codec, class_name, state]])  # type: ignore[no-any-return]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_goes_through_a_worker_and_comes_back_as_it_went(node: PlayedNode, value: Any) -> None:
    end, data = run(node, "echo", payload.pack_args((value,), {"key": value}))
    assert end == TaskEnd.SUCCEEDED
    back = payload.unpack_value(data, None, build)
    assert back == [(value,), {"key": value}]
    assert type(back[0][0]) is type(value)


def test_a_worker_gives_its_task_the_class_itself(node: PlayedNode) -> None:
    end, data = run(node, "names_of_types", payload.pack_args(VALUES, {}))
    assert end == TaskEnd.SUCCEEDED
    assert payload.unpack_value(data) == [
        "value_tasks.Order",
        "value_tasks.Colour",
        "value_tasks.Size",
        "pathlib.PosixPath" if sys.version_info[:2] != (3, 13) else "pathlib._local.PosixPath",
        "value_tasks.Money",
        "builtins.list",
    ]


@pytest.mark.parametrize(
    ("codec", "name", "state", "error", "says"),
    [
        ("dataclass", "value_tasks:Order", {"id": 1}, "FieldsDiffer", "the value lacks colour, lines"),
        ("dataclass", "value_tasks:Gone", {}, "ClassUnavailable", "no such class here"),
        ("dataclass", "shop.orders:Order", {}, "ClassUnavailable", "shop.orders is not imported in this process"),
        ("dataclass", "must_not_be_imported:Order", {"id": 1}, "ClassUnavailable", "nothing is imported for a value"),
        ("dataclass", "builtins:eval", {"source": "1"}, "ClassUnavailable", "no such class"),
        ("dataclass", "value_tasks:Money", {}, "ClassUnavailable", "the codec 'values.money'"),
        ("shop.other", "shop:Other", 1, "UnknownCodec", "have the module of the task register it"),
        ("values.money", "value_tasks:Money", 5, "CodecFailed", "decode raised TypeError"),
    ],
)
def test_a_value_that_can_not_be_made_fails_its_task_alone_as_an_error_of_the_call(
    node: PlayedNode, codec: str, name: str, state: Any, error: str, says: str
) -> None:
    end, data = run(node, "echo", packed(codec, name, state))
    info = payload.unpack_error(data)
    assert (end, info.type_name) == (TaskEnd.FAILED, error)
    assert says in info.message
    module = name.partition(":")[0]
    imported = run(node, "is_imported", payload.pack_args((module,), {}))
    assert payload.unpack_value(imported[1]) is (module in ("value_tasks", "builtins"))


def test_a_result_without_a_codec_fails_with_its_place_and_what_to_do(node: PlayedNode) -> None:
    end, data = run(node, "with_more", payload.pack_args((), {}))
    info = payload.unpack_error(data)
    assert (end, info.type_name) == (TaskEnd.FAILED, UnserializableValue.__name__)
    assert "the result of value_tasks.with_more is of type value_tasks.Order" in info.message
    assert "'extra' beside its fields" in info.message


def test_a_client_and_workers_send_each_other_values_of_classes_and_one_that_fails_fails_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Cluster.local(HERE / "value_tasks.py", workers=1) as cluster, cluster.client() as client:
        good = [client.submit(value_tasks.echo, value) for value in VALUES]
        bad = client.submit(value_tasks.of_a_class_of_workers_alone)
        of_async = client.submit(value_tasks.echo_async, VALUES)
        assert [future.result(30) for future in good] == [[(value,), {}] for value in VALUES]
        assert of_async.result(30) == VALUES
        with pytest.raises(ClassUnavailable, match=r"value_tasks\.Here .* no such class here"):
            bad.result(30)
        monkeypatch.setattr(value_tasks, "Here", _here(), raising=False)
        assert bad.result(30).x == 1
        with pytest.raises(
            UnserializableValue, match=r"argument 1, field lines, item 0 is of type value_tasks\.Unsent"
        ):
            client.submit(value_tasks.echo, Order("x", [_unsent()]))
        assert client.submit(value_tasks.echo, CodedValue("enum", "value_tasks:Colour", "RED")).result(30) == [
            (Colour.RED,),
            {},
        ]


def _here() -> type:
    return make_dataclass("Here", ["x"], namespace={"__module__": "value_tasks"})


def _unsent() -> Any:
    return type("Unsent", (), {"__module__": "value_tasks"})()
