"""Values of classes where they are shown, in a process that has not the class."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy
import pytest

from paceline import Cluster
from paceline.cli.options import show_value, to_json
from paceline.codecs import CodedValue
from paceline_protocol import payload

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))  # as a client has it, whose tasks are in a file beside its own

import value_tasks  # noqa: E402 - its folder is on the path by now
from value_tasks import Colour, Money, Order, Size  # noqa: E402

sys.path.remove(str(HERE))

VALUE = {"of": Order("a", [Size(1, 2), Colour.BLUE, Path("/x"), Money(5, "EUR")])}
TEXT = (
    "{'of': value_tasks.Order(id='a', lines=[value_tasks.Size(width=1, height=2), value_tasks.Colour.BLUE, "
    "pathlib.PosixPath('/x'), value_tasks.Money([5, 'EUR'])], colour=value_tasks.Colour.RED)}"
)
JSON = {
    "of": {
        "class": "value_tasks.Order",
        "fields": {
            "id": "a",
            "lines": [
                {"class": "value_tasks.Size", "fields": {"width": 1, "height": 2}},
                {"class": "value_tasks.Colour", "value": "BLUE"},
                {"class": "pathlib.PosixPath", "value": "/x"},
                {"class": "value_tasks.Money", "value": [5, "EUR"]},
            ],
            "colour": {"class": "value_tasks.Colour", "value": "RED"},
        },
    }
}


def known(value: Any) -> Any:
    return payload.unpack_value(payload.pack_value(value, None, payload.WITH_CLASSES))


def test_a_value_is_shown_by_class_and_fields() -> None:
    assert show_value(known(VALUE)) == TEXT
    assert json.loads(to_json(known(VALUE))) == JSON


@pytest.mark.parametrize(
    ("value", "text", "as_json"),
    [
        (
            {Colour.RED: [1]},
            "{value_tasks.Colour.RED: [1]}",
            {"value_tasks.Colour.RED": [1]},
        ),
        (
            [Size(numpy.arange(2_000), 2**20_000)],
            "<list with an int of more than 4300 digits; take it with future.result()>",
            None,
        ),
        (Size(float("nan"), b"x"), "value_tasks.Size(width=nan, height=b'x')", None),
    ],
    ids=["key", "numbers", "nan"],
)
def test_what_json_has_no_form_for_is_written_all_the_same(value: Any, text: str, as_json: Any) -> None:
    assert show_value(known(value)) == text
    shown = json.loads(to_json(known(value)))
    if as_json is not None:
        assert shown == as_json
    assert "value_tasks" in str(shown)


def test_an_array_in_a_value_is_shown_whole() -> None:
    assert "1999" in show_value(known(Size(numpy.arange(2_000), 1)))
    assert "..." not in show_value(known(Size(numpy.arange(2_000), 1)))


def command(cluster: Cluster, directory: Path, *args: str) -> str:
    """What a command prints that can't import the module of the task."""
    program = "import sys; from paceline.cli import main; sys.path.insert(0, ''); main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *args, "--connect", cluster.addresses[0]],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=directory,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_commands_show_a_value_whose_class_they_have_not(tmp_path: Path) -> None:
    (tmp_path / "value_tasks.py").write_text("raise SystemExit('nobody imports this')")
    with Cluster.local(HERE / "value_tasks.py", workers=1) as cluster, cluster.client() as client:
        future = client.submit(value_tasks.echo_async.options(result_ttl=60), VALUE)
        described = future.described(30)
        assert (type(described["of"]), repr(described)) == (CodedValue, TEXT)
        assert future.result(30) == VALUE
        assert future.described(30) == VALUE
        task_id = future.task_id.hex()
        assert command(cluster, tmp_path, "result", task_id) == TEXT + "\n"
        assert json.loads(command(cluster, tmp_path, "result", task_id, "--json"))["result"] == JSON

        dead = client.submit(value_tasks.refuse, VALUE["of"], why=Colour.RED)
        with pytest.raises(ValueError, match=r"a: Colour\.RED"):
            dead.result(30)
        shown = command(cluster, tmp_path, "dead", "show", dead.task_id.hex())
        assert TEXT.partition(": ")[2][:-1] in shown
        as_json = json.loads(command(cluster, tmp_path, "dead", "show", dead.task_id.hex(), "--json"))
        assert as_json["args"] == [JSON["of"]]
        assert as_json["kwargs"] == {"why": {"class": "value_tasks.Colour", "value": "RED"}}

        requeued = command(cluster, tmp_path, "dead", "requeue", dead.task_id.hex(), "--kwargs", '{"why": "again"}')
        with pytest.raises(ValueError, match="a: again"):  # its order is one again, as the command sent it on
            client.task(requeued.split()[-1]).result(30)
