"""What a task may ask for, as users write it, compared with the table that says what there is."""

from __future__ import annotations

import dataclasses
import pickle
from datetime import datetime, timedelta
from typing import Any, get_args, get_type_hints

import click
import hypothesis
import pytest
from hypothesis import strategies as st

import paceline.client.client
import paceline.options
from option_values import carried as carried_values
from paceline.cli.submit import submit
from paceline.client import NamedTask
from paceline.errors import ConfigError
from paceline.options import OptionChanges, OptionKeywords, TaskOptions
from paceline.worker.registry import Task, task
from paceline_protocol.codec import encode_calls
from paceline_protocol.moments import datetime_of
from paceline_protocol.option_types import Choice, Moment
from paceline_protocol.options import (
    ANNOUNCED,
    EXCLUSIONS,
    KEYWORDS,
    OPTIONS,
    ORDERS,
    PRIORITY,
    Keyword,
    Option,
    completed,
    is_by_name,
)

NAMES = [keyword.name for keyword in KEYWORDS]
FIELDS = {field.name: field for field in dataclasses.fields(TaskOptions) if field.init}


def test_the_lists_that_are_written_out_for_type_checkers_are_those_of_the_table() -> None:
    assert list(FIELDS) == NAMES
    assert list(get_type_hints(OptionKeywords)) == NAMES
    assert list(get_type_hints(OptionChanges)) == NAMES


@pytest.mark.parametrize("keyword", KEYWORDS, ids=lambda keyword: keyword.name)
def test_the_default_and_the_type_of_each_are_those_of_the_table(keyword: Keyword) -> None:
    name = keyword.name
    assert FIELDS[name].default == keyword.type.default
    written = get_type_hints(TaskOptions)[name]
    assert get_type_hints(OptionKeywords)[name] == written
    assert get_type_hints(OptionChanges)[name] == written | None
    if isinstance(keyword.type, Choice):
        assert get_args(written) == keyword.type.words


@pytest.mark.parametrize("keyword", KEYWORDS, ids=lambda keyword: keyword.name)
def test_each_is_a_flag_of_the_command_line(keyword: Keyword) -> None:
    (flag,) = (parameter for parameter in submit.params if parameter.name == keyword.name)
    assert isinstance(flag, click.Option)
    assert flag.opts == [f"--{keyword.name.replace('_', '-')}"]
    assert keyword.help[1:] in (flag.help or "")


@pytest.mark.parametrize("keyword", KEYWORDS, ids=lambda keyword: keyword.name)
def test_what_can_not_be_used_is_named_wherever_it_is_given(keyword: Keyword) -> None:
    registered: Task[[], None] = Task(lambda: None, "a", TaskOptions())
    for given in (task, registered.options, TaskOptions, lambda **options: NamedTask("a", **options)):
        with pytest.raises(ConfigError, match=rf"^{keyword.name} <object object .*> can't be used: (it is|what can) "):
            given(**{keyword.name: object()})  # type: ignore[operator]


def test_what_is_as_usual_does_not_travel() -> None:
    assert TaskOptions().wire_options is None
    assert TaskOptions(priority=9, delivery="at_least_once").wire_options is None
    everything = TaskOptions(max_attempts=1, delivery="at_most_once", confirm="committed")
    assert everything.wire_options == {"max_attempts": 1, "delivery": 1, "confirm": 1}
    assert TaskOptions(max_attempts=7, durability="none").wire_options == {"max_attempts": 7, "durability": 1}


@pytest.mark.parametrize(
    ("options", "refusal"),
    [
        ({"delivery": "at_most_once", "durability": "none"}, "delivery 'at_most_once' needs the log"),
        ({"delivery": "at_most_once", "max_attempts": 2}, "'at_most_once' means one attempt; leave max_attempts out"),
        ({"durability": "none", "keep_dead": True}, "with durability 'none' no dead task is kept"),
        ({"durability": "none", "result_ttl": 60}, "with durability 'none' no result is kept"),
        (
            {"durability": "none", "idempotency_key": "k"},
            "with durability 'none' nobody remembers which keys there were",
        ),
        ({"durability": "none", "after": ["0f" * 16]}, "it can't depend on tasks"),
        ({"durability": "none", "max_running": 3}, "with durability .none. no new leader knows what runs"),
        ({"durability": "none", "graph": "nightly"}, "no graph can count it"),
        ({"durability": "none", "rate": "3/s"}, "no new leader knows what runs; leave rate out"),
        ({"batch": 2, "cancel_raises": True}, "its function runs for other calls, too"),
        ({"batch": 2, "cancel_grace": 0}, "its worker runs other calls, too"),
        ({"batch": 2, "needs": {"gpu": 1}}, "what a call needs would be taken for each"),
        ({"durability": "none", "confirm": "committed"}, "with durability 'none' nothing is committed"),
        ({"delivery": "at_most_once", "retries": 1}, "'at_most_once' means one attempt; leave retries out"),
        ({"time_limit": 5, "soft_time_limit": 5}, "soft_time_limit has to be less than time_limit"),
        ({"delay": 60, "deadline": timedelta(minutes=1)}, "what may not start before its deadline never does"),
        ({"delay": 60, "expires": 60.0}, "what may not start before it expires never does"),
    ],
)
def test_what_contradicts_itself_is_refused_with_what_to_do(options: dict[str, Any], refusal: str) -> None:
    assert len(EXCLUSIONS) + len(ORDERS) == 18, "each has its row here, but for inputs, which nobody gives"
    with pytest.raises(ConfigError, match=refusal):
        TaskOptions(**options)
    with pytest.raises(ConfigError, match=refusal):
        task(**options)


def test_how_long_a_dead_task_is_kept_may_be_as_usual_and_what_can_not_be_used_says_so() -> None:
    assert TaskOptions(keep_dead=True).wire_options == TaskOptions(keep_dead=timedelta(days=7)).wire_options
    with pytest.raises(ConfigError, match=r"^keep_dead 'yes' can't be used: it is True, for 7 days, seconds or "):
        TaskOptions(keep_dead="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["int", "print", "None"])
def test_what_python_itself_has_and_is_no_exception_is_none_by_its_name_either(name: str) -> None:
    with pytest.raises(ConfigError, match=f"^retry_on {name!r} can't be used: it is a class of exceptions"):
        TaskOptions(retries=1, retry_on=name)
    assert TaskOptions(retries=1, retry_on=("KeyError", "Unknown", f"shop.{name}")).wire_options


def test_options_can_be_pickled_and_compared() -> None:
    chosen = TaskOptions(max_attempts=7, durability="none")
    again = pickle.loads(pickle.dumps(chosen))
    assert again == chosen
    assert again.wire_options == chosen.wire_options


def test_a_changed_option_that_there_is_not_is_a_type_error_even_if_it_is_none() -> None:
    for name in ("priorty", "wire_options", "name"):
        with pytest.raises(TypeError, match=f"unexpected keyword argument '{name}'"):
            TaskOptions().changed({name: None})  # type: ignore[misc]


# --- calls by name alone, of whose task the nodes announce the defaults --------------------------------------------


@pytest.mark.parametrize(
    ("options", "priority", "carried"),
    [
        ({}, 4, {}),
        ({"priority": 9}, 9, {}),
        ({"priority": 4}, 4, {"durability": 0, "priority": 1}),
        ({"retries": 3}, 4, {"durability": 0, "retries": 3}),
        ({"retries": 0}, 4, {"durability": 0, "retries": 0}),
        ({"durability": "none"}, 4, {"durability": 1, "confirm": 0}),
        ({"durability": "log"}, 4, {"durability": 0}),
        ({"delivery": "at_most_once"}, 4, {"durability": 0, "delivery": 1}),
        ({"time_limit": None, "expires": None}, 4, {"durability": 0, "time_limit": 0, "expires": 0}),
        ({"eta": None}, 4, {"durability": 0, "not_before": 0}),
        ({"eta": None, "delay": 3}, 4, {"durability": 0, "not_before": -3_000}),
        (
            {"retry_on": None, "dont_retry_on": None},
            4,
            {"durability": 0, "retry_on": "Exception", "dont_retry_on": "-"},
        ),
        ({"jitter": True, "backoff": 1}, 4, {"durability": 0, "jitter": 0, "backoff": 0}),
    ],
)
def test_a_call_by_name_carries_what_it_gives_also_if_that_is_as_usual(
    options: dict[str, Any], priority: int, carried: dict[str, Any]
) -> None:
    named = NamedTask("a", **options)
    assert (named.priority, named.wire_options) == (priority, carried)
    encode_calls([(bytes(16), "a", 4, b"", named.wire_options)])
    assert is_by_name(carried)


@pytest.mark.parametrize("keyword", KEYWORDS, ids=lambda keyword: keyword.name)
def test_each_can_be_said_to_be_as_usual_and_then_nothing_that_is_announced_counts(keyword: Keyword) -> None:
    said = NamedTask("a", **{keyword.name: keyword.type.default}).wire_options
    assert said is not None
    if keyword is PRIORITY:
        assert said["priority"] == 1
        return
    (key,) = (option.key for option in OPTIONS if keyword in option.keywords)
    assert key in said
    for value in carried_values(keyword.type):
        assert completed(said, {key: value} if key in ANNOUNCED else {}) in (None, {key: keyword.type.usual})


def test_a_task_object_says_all_also_what_it_was_changed_back_to() -> None:
    registered: Task[[], None] = Task(lambda: None, "a", TaskOptions(retries=3, time_limit=5))
    changed = registered.options(retries=0)
    assert changed.wire_options == {"time_limit": 5_000}
    for options in (registered.wire_options, changed.wire_options):
        assert options is not None
        assert not is_by_name(options)
    assert changed.options(time_limit=9).wire_options == {"time_limit": 9_000}
    assert Task(lambda: None, "a", TaskOptions()).wire_options is None


@hypothesis.given(st.fixed_dictionaries({}, optional={name: st.just(FIELDS[name].default) for name in NAMES}))
def test_what_is_given_as_usual_makes_no_map_that_says_all(given_options: dict[str, Any]) -> None:
    assert is_by_name(NamedTask("a", **given_options).wire_options or {})


def test_a_named_task_can_be_changed_pickled_and_compared() -> None:
    named = NamedTask("a", retries=0, delay=5)
    again = pickle.loads(pickle.dumps(named))
    assert (again, again.wire_options) == (named, {"durability": 0, "not_before": -5_000, "retries": 0})
    assert NamedTask("a", retries=0) != NamedTask("a"), "the second is as the nodes announce it"
    later = named.changed({"eta": datetime_of(7), "retries": None})
    assert later.wire_options == {"durability": 0, "not_before": 7, "retries": 0}
    assert len({named, again, later}) == 2


def test_an_option_that_there_is_not_is_a_type_error_of_a_named_task_too() -> None:
    with pytest.raises(
        TypeError, match=r"^NamedTask\(\) got an unexpected keyword argument 'retires'; there are name, "
    ):
        NamedTask("a", retires=3)  # type: ignore[call-arg]


# --- two keywords of one option, and moments: on a table that has such rows ---------------------------------------

LATER = Option(
    "begin",
    Moment(),
    ("leader",),
    (Keyword("begin_in", Moment(absolute=False), "how long"), Keyword("begin_at", Moment(relative=False), "when")),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Later(TaskOptions):
    begin_in: Any = None
    begin_at: Any = None


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paceline.options, "OPTIONS", (*OPTIONS, LATER))
    monkeypatch.setattr(paceline.options, "_RIVALS", paceline.options._rivals())


@pytest.mark.usefixtures("later")
def test_of_two_keywords_that_say_the_same_one_is_given_and_a_change_replaces_the_other() -> None:
    moment = datetime_of(5)
    with pytest.raises(ConfigError, match=r"^begin_in and begin_at say the same in different ways; give one of them$"):
        Later(begin_in=3, begin_at=moment)
    delayed = Later(begin_in=timedelta(seconds=3))
    assert delayed.wire_options == {"begin": -3_000}
    assert delayed.changed({"begin_at": moment}).wire_options == {"begin": 5}  # type: ignore[typeddict-unknown-key]
    assert delayed.changed({"priority": 9}).wire_options == {"begin": -3_000}


@pytest.mark.usefixtures("later")
def test_a_naive_datetime_is_refused_with_the_option_and_what_to_write() -> None:
    with pytest.raises(
        ConfigError, match=r"^begin_at datetime.datetime\(2026, .*\) can't be used: it has no time zone, .*ZoneInfo"
    ):
        Later(begin_at=datetime(2026, 12, 1, 2))


def test_how_long_a_key_is_held_is_said_together_with_the_key() -> None:
    named = NamedTask("shop.charge", priority=9)
    plain: Task[[], None] = Task(lambda: None, "a", TaskOptions(unique_for=60))  # for those calls that have a key
    for write in (
        lambda: NamedTask("shop.charge", unique_for=60),
        lambda: named.changed({"unique_for": 60}),
        lambda: plain.options(unique_for=30),
    ):
        with pytest.raises(ConfigError, match=r"^unique_for is \d+, and there is no key .* give idempotency_key, too"):
            write()
    assert plain.options(idempotency_key="order 42").wire_options == {
        "unique_for": 60_000,
        "idempotency_key": "order 42",
    }
    assert named.changed({"unique_for": 60, "idempotency_key": "order 42"}).said == {
        "priority",
        "unique_for",
        "idempotency_key",
    }
