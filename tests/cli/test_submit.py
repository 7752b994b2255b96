"""`paceline submit`: how arguments are read, and what is printed of a result. The client is a stand-in."""

import datetime
import json
from typing import Any

import click
import numpy as np
import pytest

from paceline.cli import submit as module
from paceline.cli.app import run
from paceline.cli.options import parse_value, show_value, to_json
from paceline.client import NamedTask
from paceline.errors import TaskFailed, UnknownTask
from paceline_protocol.option_types import Moment


class StubFuture:
    task_id = bytes(range(16))

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome
        self.timeouts: list[float | None] = []

    def described(self, timeout: float | None = None) -> Any:
        self.timeouts.append(timeout)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    accepted = described


class StubClient:
    """Remembers what was submitted; every future ends with `outcome`."""

    def __init__(self) -> None:
        self.outcome: Any = None
        self.calls: list[tuple[Any, ...]] = []
        self.futures: list[StubFuture] = []

    def __enter__(self) -> "StubClient":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def submit(self, name: str, *args: Any, **kwargs: Any) -> StubFuture:
        self.calls.append((name, args, kwargs))
        self.futures.append(StubFuture(self.outcome))
        return self.futures[-1]


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> StubClient:
    stub = StubClient()
    monkeypatch.setattr(module, "connect", lambda *_: stub)
    return stub


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2", 2),
        ("-1.5", -1.5),
        ("true", True),
        ("null", None),
        ("two", "two"),
        ('"2"', "2"),
        ("[1, 2]", [1, 2]),
        ('{"a": 1}', {"a": 1}),
        ("", ""),
        ("2024-01-01", "2024-01-01"),
        ("KEY=VALUE", "KEY=VALUE"),
        ("NaN", "NaN"),
        ("Infinity", "Infinity"),
        ("-Infinity", "-Infinity"),
        ("[1, NaN]", "[1, NaN]"),
        ('"NaN"', "NaN"),
        ("1e300", 1e300),
        ("1e-999", 0.0),
    ],
)
def test_an_argument_is_json_if_it_parses_and_else_a_string(text: str, value: object) -> None:
    assert parse_value(text) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [("plain", "plain"), (5, "5"), (None, "null"), ([1, "é"], '[1, "é"]'), ({1}, "{1}"), (b"x", "b'x'")],
)
def test_a_result_is_shown_as_a_person_reads_it(value: object, text: str) -> None:
    assert show_value(value) == text


def test_without_wait_the_id_of_the_accepted_task_is_printed(
    client: StubClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["submit", "tasks.add", "2", "three", "--kw", "scale=4"]) == 0
    assert client.calls == [(NamedTask("tasks.add"), (2, "three"), {"scale": 4})]
    assert capsys.readouterr().out == bytes(range(16)).hex() + "\n"


def test_what_the_task_is_to_have_is_said_with_the_options_of_a_call(client: StubClient) -> None:
    options = ["--priority", "9", "--max-attempts", "1", "--delivery", "at_most_once", "--confirm", "committed"]
    assert run(["submit", "tasks.add", *options]) == 0
    target = NamedTask("tasks.add", priority=9, max_attempts=1, delivery="at_most_once", confirm="committed")
    assert client.calls == [(target, (), {})]


def test_options_that_contradict_each_other_are_refused_before_anybody_is_asked(
    client: StubClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["submit", "tasks.add", "--delivery", "at_most_once", "--durability", "none"]) == 40
    assert "delivery 'at_most_once' needs the log" in capsys.readouterr().err
    assert client.calls == []


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        ([], None),
        (["--when", "30"], datetime.timedelta(seconds=30)),
        (["--when", "1h30m"], datetime.timedelta(minutes=90)),
        (["--when", "2026-12-01T02:00+01:00"], datetime.datetime(2026, 12, 1, 1, tzinfo=datetime.UTC)),
    ],
)
def test_a_moment_is_given_as_a_time_from_now_or_as_a_date_with_its_offset(arguments: list[str], value: object) -> None:
    assert command_with_a_moment().main(arguments, standalone_mode=False) == value


def test_a_moment_that_can_not_be_read_is_a_usage_error_that_says_what_to_write() -> None:
    with pytest.raises(click.BadParameter, match=r"'2026-12-01T02:00' can't be used: it has no time zone; add its"):
        command_with_a_moment().main(["--when", "2026-12-01T02:00"], standalone_mode=False)


def test_how_long_a_dead_task_is_kept_may_be_left_to_paceline(
    client: StubClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["submit", "tasks.add", "--keep-dead", "yes"]) == 0
    assert client.calls == [(NamedTask("tasks.add", keep_dead=True), (), {})]
    assert run(["submit", "tasks.add", "--keep-dead", "maybe"]) == 2
    assert "or units of ms, s, m, h and d, as 5m or 1h30m; or yes, for 7 days" in capsys.readouterr().err
    assert run(["submit", "--help"]) == 0
    assert "--keep-dead yes|TIME|none" in capsys.readouterr().out


def command_with_a_moment() -> click.Command:
    return click.Command(
        "x", callback=lambda when: when, params=[click.Option(["--when"], **module._click_type(Moment()))]
    )


def test_wait_prints_the_result(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.outcome = {"sum": 5}
    assert run(["submit", "tasks.add", "--wait", "--timeout", "7", "--", "-1", "2"]) == 0
    assert client.calls == [(NamedTask("tasks.add"), (-1, 2), {})]
    assert client.futures[0].timeouts == [7.0]
    assert capsys.readouterr().out == '{"sum": 5}\n'


def test_json_is_one_object_even_for_values_that_json_does_not_know(
    client: StubClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.outcome = datetime.date(2026, 1, 2)
    assert run(["submit", "tasks.day", "--wait", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "task_id": bytes(range(16)).hex(),
        "state": "succeeded",
        "result": "datetime.date(2026, 1, 2)",
    }


def test_a_failed_task_ends_with_its_code_and_the_workers_traceback(
    client: StubClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.outcome = ValueError("no")
    client.outcome.__cause__ = TaskFailed("ValueError", "no", "line 3 of tasks.py")
    assert run(["submit", "tasks.add", "--wait"]) == 20
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("paceline: error: ValueError: no\n")
    assert "line 3 of tasks.py" in captured.err


@pytest.mark.parametrize(("outcome", "code"), [(UnknownTask("tasks.add"), 10), (TimeoutError(), 23)])
def test_refusals_and_timeouts_end_with_their_codes(client: StubClient, outcome: Exception, code: int) -> None:
    client.outcome = outcome
    assert run(["submit", "tasks.add"]) == code


@pytest.mark.parametrize("keyword", ["scale", "=4", "not a name=4"])
def test_a_keyword_that_is_not_key_value_is_a_usage_error(
    client: StubClient, keyword: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["submit", "tasks.add", "--kw", keyword]) == 2
    assert "KEY=VALUE" in capsys.readouterr().err
    assert client.calls == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            [""],
            "Invalid value for 'NAME': '' can't name a task; a name has 1 to 255 printable characters, as tasks.add.",
        ),
        (["x" * 256], f"Invalid value for 'NAME': '{'x' * 40}...' can't name a task; a name has 1 to 255"),
        (["caf\udce9"], "Invalid value for 'NAME': 'caf\\udce9' can't name a task; a name has 1 to 255"),
        (["x", "--kw", "a=1", "--kw", "a=2"], "Invalid value for --kw: 'a' is given twice"),
        (
            ["x", "[" * 100_000],
            f"Invalid value for an argument of the task: {'[' * 20}... can't be read as JSON: it is ",
        ),
        (["x", "9" * 5000], "can't be read as JSON: a number in it has too many digits; give the path of a file"),
        (["x", "--timeout", "nan"], "Invalid value for '--timeout': 'nan' is not a number of seconds."),
        (["x", "--timeout", "inf"], "Invalid value for '--timeout': inf is not in the range 0<=x<=1000000."),
        (["x", "--connect-timeout", "nan"], "Invalid value for '--connect-timeout': 'nan' is not a number of seconds."),
        (["x", "--connect-timeout", "1e300"], "Invalid value for '--connect-timeout': 1e+300 is not in the range"),
    ],
)
def test_what_can_not_be_submitted_is_named_before_anybody_is_asked(
    client: StubClient, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["submit", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert client.calls == []


def test_a_wait_that_is_over_says_that_the_task_goes_on(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.outcome = TimeoutError("task x did not end within 0.5 s")
    assert run(["submit", "x", "--wait", "--timeout", "0.5"]) == 23
    assert capsys.readouterr().err == (
        "paceline: error: task x did not end within 0.5 s; it may run all the same. Give a longer --timeout, or none\n"
    )


def test_a_timeout_of_the_task_itself_is_a_failed_task(client: StubClient, capsys: pytest.CaptureFixture[str]) -> None:
    client.outcome = TimeoutError("of the task")
    client.outcome.__cause__ = TaskFailed("TimeoutError", "of the task")
    assert run(["submit", "x", "--wait"]) == 20
    assert capsys.readouterr().err == "paceline: error: TimeoutError: of the task\n"


@pytest.mark.parametrize("error", [EOFError("no more"), BrokenPipeError(32, "gone"), TimeoutError("slow"), OSError(5)])
def test_whatever_a_task_raises_is_its_error_and_not_one_of_the_command_line(
    client: StubClient, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    error.__cause__ = TaskFailed(type(error).__name__, "said the task")
    client.outcome = error
    assert run(["submit", "tasks.add", "--wait"]) == 20
    assert f"{type(error).__name__}: said the task" in capsys.readouterr().err


DEEP: list[Any] = []
for _ in range(5000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("value", "as_json", "shown"),
    [
        (float("nan"), "nan", "nan"),
        ([1.5, float("inf"), -float("inf")], [1.5, "inf", "-inf"], "[1.5, inf, -inf]"),
        ({"a": float("nan"), "b": (1, None, True, "x")}, {"a": "nan", "b": [1, None, True, "x"]}, None),
        ({(1, 2): b"x", 3: 4, None: 5}, {"(1, 2)": "b'x'", "3": 4, "null": 5}, "{(1, 2): b'x', 3: 4, None: 5}"),
        (16**4000, "0x1" + "0" * 4000, "0x1" + "0" * 4000),
        ([16**4000, 1], ["0x1" + "0" * 4000, 1], None),
        ("\ud800", "\ud800", "\\ud800"),
        (["\ud800é"], ["\ud800é"], '["\\ud800é"]'),
        ({"\udcff": b"x"}, {"\udcff": "b'x'"}, None),
    ],
    ids=range(9),  # Python writes no int of so many digits
)
def test_every_result_can_be_shown_and_is_valid_json(
    client: StubClient, capsys: pytest.CaptureFixture[str], value: Any, as_json: Any, shown: str | None
) -> None:
    client.outcome = value
    assert run(["submit", "tasks.add", "--wait", "--json"]) == 0
    out = capsys.readouterr().out
    out.encode()
    assert json.loads(out, parse_constant=pytest.fail)["result"] == as_json
    assert run(["submit", "tasks.add", "--wait"]) == 0
    out = capsys.readouterr().out
    out.encode()
    assert shown is None or out == shown + "\n"


@pytest.mark.parametrize("text", ["1e999", "-1e999", '{"a": [1e999]}'])
def test_a_number_that_python_can_not_hold_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="a number in it is too large"):
        parse_value(text)


@pytest.mark.parametrize(
    "array",
    [
        np.arange(2_000),
        np.arange(2_000, dtype="u1").reshape(2, 1_000),
        np.array([0.1234567891234, 1 / 3, np.inf, -0.0]),
        np.array([1 / 3], dtype="f4"),
        np.array([1 + 1j / 3]),
        np.array([True, False]),
        np.array(["2026-01-01T00:00:00.000000001"], dtype="M8[ns]"),
        np.array([5, "NaT"], dtype="m8[s]"),
        np.array(["\u00fc", ""]),
        np.array([b"x"]),
        np.array(5),
        np.zeros((0, 3)),
        np.zeros(0),
    ],
    ids=lambda array: f"{array.dtype.str}{array.shape}",
)
def test_an_array_of_numpy_is_shown_whole_wherever_it_is(array: np.ndarray[Any, Any]) -> None:
    names = {"array": lambda items, dtype, shape=None: np.array(items, dtype).reshape(shape or np.shape(items))}
    names.update(inf=np.inf, nan=np.nan)
    for value in (array, [array], {"a": (1, array)}):
        shown = show_value(value)
        back = eval(shown, names)  # noqa: S307 - it was written here
        np.testing.assert_equal(back, value)
    assert json.loads(to_json([array])) == [show_value(array)]


def test_a_million_numbers_are_shown_whole() -> None:
    shown = show_value(np.arange(1_000_000) / 3)
    assert shown.count(",") == 1_000_000
    assert "..." not in shown


def test_what_is_nested_too_deep_to_be_shown_is_said_to_be_so(usual_recursion_limit: None) -> None:
    for text in (show_value(DEEP), to_json(DEEP), to_json([DEEP, float("nan")])):
        assert "nested too deep" in text
