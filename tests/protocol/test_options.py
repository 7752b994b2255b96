"""The table of options: what follows from it on the wire and on the pages."""

from __future__ import annotations

from datetime import timedelta
from math import nan
from pathlib import Path
from typing import Any

import pytest

from option_values import carried, not_carried
from paceline_protocol import codec
from paceline_protocol.errors import LocalProtocolError, PayloadError
from paceline_protocol.messages import records
from paceline_protocol.messages.records import NO_LOG, TRACED
from paceline_protocol.moments import FROM_NOW_MAX_MS, MOMENT_MAX_MS
from paceline_protocol.option_types import (
    Choice,
    Errors,
    KeepOrNot,
    Key,
    Moment,
    Needs,
    OptionType,
    Span,
    TaskIds,
    Whole,
    YesOrNo,
)
from paceline_protocol.options import (
    BY_KEY,
    EXCLUSIONS,
    KEYWORDS,
    OPTIONS,
    Exclusion,
    Option,
    is_logged,
    is_traced,
    with_end,
    with_moments,
    with_time_left,
)

NO_ERROR = "it is a class of exceptions, its name as 'requests.exceptions.Timeout', or several of them"
DOCS = Path(__file__).parents[2] / "docs"


def grammar_line(option: Option) -> str:
    value = f'                  "{option.key}" -> {option.type.grammar}'
    return f"{value:<67} ; for {', '.join(option.readers)}; level {option.level}"


def exclusion_line(exclusion: Exclusion) -> str:
    value, limit = "of any value" if exclusion.value is None else exclusion.value, exclusion.limit
    return f'{"":<44}; "{exclusion.key}" {value} goes with "{exclusion.other}" of {limit} at most'


GRAMMAR = "\n".join(
    [
        "options         = nil / map                 ; any other key is refused; 0 is the default, as an absent key is",
        *map(grammar_line, OPTIONS),
        *(exclusion_line(exclusion) for exclusion in EXCLUSIONS if not exclusion.may_travel),
        f"{'':<44}; a map that is empty, or has a 0, is that of a call by name alone",
        "",
    ]
)
TASKS = "\n".join(
    [
        "| option | values | in short |",
        "|---|---|---|",
        *(f"| `{keyword.name}` | {keyword.type.values} | {keyword.help} |" for keyword in KEYWORDS),
        "",
    ]
)


@pytest.mark.parametrize(("page", "lines"), [("protocol.md", GRAMMAR), ("tasks.md", TASKS)])
def test_the_pages_have_these_lines(page: str, lines: str) -> None:
    if lines not in (DOCS / page).read_text("utf-8"):
        pytest.fail(f"docs/{page} is not what the table says, which is:\n{lines}", pytrace=False)


def test_every_option_and_every_keyword_has_a_name_of_its_own() -> None:
    assert len(BY_KEY) == len(OPTIONS)
    names = [keyword.name for keyword in KEYWORDS]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)


def test_the_places_in_a_record_are_those_that_are_said_of_it() -> None:
    for record in ("CALL (id, name, priority, args, options)", "ASSIGNMENT (id, attempt, name, args, options)",
                   "OUTCOME (id, attempt, state, payload, duration_us)", "RESULT (id, state, payload)"):  # fmt: skip
        name, fields = record.split(" ", 1)
        assert f"``{name.capitalize()}``" in str(records.__doc__)
        assert f"``{fields}``" in str(records.__doc__)
        for place, field in enumerate(fields.strip("()").split(", ")):
            assert getattr(records, f"{name}_{field.upper()}") == place


@pytest.mark.parametrize("option", OPTIONS, ids=lambda option: option.key)
def test_a_call_carries_each_option_up_to_its_bound_and_no_further(option: Option) -> None:
    def call_with(value: Any) -> bytes:
        return codec.encode_calls([(b"i" * 16, "add", 4, b"", {option.key: value})])

    for value in carried(option.type):
        ((*_, options),) = codec.decode_calls(call_with(value))
        assert options == {option.key: value}
    for wrong in not_carried(option.type):
        with pytest.raises(LocalProtocolError, match=rf"option '{option.key}' is {option.type.on_wire}"):
            call_with(wrong)


@pytest.mark.parametrize("exclusion", EXCLUSIONS, ids=lambda exclusion: f"{exclusion.key}-{exclusion.other}")
def test_a_call_that_contradicts_itself_is_refused_with_what_to_do(exclusion: Exclusion) -> None:
    def carried(other: int) -> bytes:
        kind = BY_KEY[exclusion.other].type
        given: Any = "k" if isinstance(kind, Key) else b"i" * 16 if isinstance(kind, TaskIds) else other
        if isinstance(kind, Needs):
            given = "gpu=1"
        value = 2 if exclusion.value is None else exclusion.value
        options = {exclusion.key: value, exclusion.other: given if other else other}
        return codec.encode_calls([(b"i" * 16, "add", 4, b"", options)])

    carried(exclusion.limit)
    if exclusion.may_travel:
        carried(exclusion.limit + 1)
    else:
        with pytest.raises(LocalProtocolError, match=exclusion.reason):
            carried(exclusion.limit + 1)


def test_what_the_client_and_workers_read_of_a_call() -> None:
    assert is_logged(None)
    assert is_logged({"max_attempts": 3})
    assert not is_logged({"durability": NO_LOG})
    assert not is_traced(None)
    assert is_traced({"trace": TRACED})


def test_what_is_relative_becomes_a_moment_when_the_call_is_admitted() -> None:
    options = {"max_attempts": 2, "not_before": -30_000, "expires": -60_000}
    assert with_moments(options, 1_000) == {"max_attempts": 2, "not_before": 31_000, "expires": 61_000}
    assert options["not_before"] == -30_000, "the next call has another moment"
    for absolute in ({"max_attempts": 2}, {"not_before": 5, "expires": 7}):
        assert with_moments(absolute, 1_000) is absolute
    assert with_moments({"expires": -FROM_NOW_MAX_MS}, MOMENT_MAX_MS) == {"expires": MOMENT_MAX_MS}


def test_how_much_time_is_left_no_client_says_and_no_sum_of_moments_is_past_what_travels() -> None:
    assert with_moments({"time_left": 5, "retries": 1}, 1_000) == {"retries": 1}
    last = {"deadline": MOMENT_MAX_MS}
    for leaders_ms, nodes_ms in ((-5_000, 0), (0, 0), (0, 5_000)):  # as of a machine whose clock begins at 1970
        left = with_end(with_time_left(last, leaders_ms), nodes_ms)
        assert codec.decode_calls(codec.encode_calls([(b"i" * 16, "add", 4, b"", left)]))
        assert left["time_left"] == MOMENT_MAX_MS


# --- types --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type", "given", "packed"),
    [
        (Whole(0, 9, 4), 0, 0),
        (Whole(0, 9, 4), 9, 9),
        (Whole(0, 9, 4), 4, None),
        (Whole(1, 5), None, None),
        (Whole(1, 5), 5, 5),
        (Choice(log=0, none=1), "log", None),
        (Choice(log=0, none=1), "none", 1),
        (Moment(), None, None),
        (Moment(), 1.5, -1_500),
        (Moment(absolute=False), 0, -1),
        (YesOrNo(default=True), True, None),
        (YesOrNo(default=True), False, 1),
        (YesOrNo(default=False), True, 1),
        (Span(1.0), 1, None),
        (Span(1.0), timedelta(seconds=1), None),
        (Span(1.0), 0, 1),
        (Span(1.0), 2.5, 2_500),
        (Span(None), None, None),
        (Span(None), 1, 1_000),
        (Span(None, may_be_zero=True), None, None),
        (Span(None, may_be_zero=True), 0, 1),
        (KeepOrNot("not at all", 7), True, 7 * 86_400_000),
        (KeepOrNot("not at all", 7), False, None),
        (KeepOrNot("not at all", 7), None, None),
        (KeepOrNot("not at all", 7), timedelta(hours=1), 3_600_000),
        (YesOrNo(default=False), False, None),
        (Errors("none", may_be_empty=True), (), None),
        (Errors("none", may_be_empty=False), None, None),
        (Errors("none", may_be_empty=False), ("builtins.KeyError", "IOError"), "KeyError,OSError"),
        (Errors("none", may_be_empty=False), "shop.tasks.pay.<locals>.Declined", "shop.tasks.pay.<locals>.Declined"),
        (Errors("none", may_be_empty=False), KeyError, "KeyError"),
        (Errors("none", may_be_empty=False), "requests.exceptions.Timeout", "requests.exceptions.Timeout"),
        (
            Errors("none", may_be_empty=False),
            (ValueError, PayloadError, ValueError),
            "ValueError,paceline_protocol.errors.PayloadError",
        ),
        (Errors("none", may_be_empty=False), iter(["a.B", OSError]), "a.B,OSError"),
    ],
)
def test_what_is_given_is_packed_and_what_is_as_usual_does_not_travel(
    type: OptionType, given: object, packed: object
) -> None:
    assert type.to_wire(given) == packed
    assert packed is None or type.is_valid(packed)


@pytest.mark.parametrize(
    ("type", "given", "refusal"),
    [
        (Whole(0, 9, 4), 10, "it is a whole number from 0 to 9"),
        (Whole(0, 9, 4), None, "it is a whole number from 0 to 9"),
        (Whole(0, 9, 4), True, "it is a whole number from 0 to 9"),
        (Whole(1, 5), 0, "it is a whole number from 1 to 5, or None"),
        (Whole(1, 2**63 - 1), 0, "it is a whole number from 1, or None"),
        (Whole(1, 2**63 - 1), 2**63, "it is a whole number from 1, or None; at most 2^63-1"),
        (Choice(log=0, none=1), "disk", "it is 'log' or 'none'"),
        (Choice(log=0, none=1), None, "it is 'log' or 'none'"),
        (Choice(log=0, none=1), [], "it is 'log' or 'none'"),
        (Moment(), "soon", "what can be given is seconds, a timedelta or a datetime with a time zone, or None"),
        (Moment(), True, "what can be given is seconds, a timedelta or a datetime with a time zone, or None"),
        (Moment(absolute=False), "5m", "what can be given is seconds or a timedelta, or None"),
        (Moment(relative=False), 30, "what can be given is a datetime with a time zone, or None"),
        (YesOrNo(default=True), 1, "it is True or False"),
        (Span(1.0), "5m", "it is seconds or a timedelta"),
        (Span(1.0), True, "it is seconds or a timedelta"),
        (Span(1.0), None, "it is seconds or a timedelta"),
        (Span(None), 0, "it would leave no time; leave it out, or give None, for no limit"),
        (Span(None), timedelta(0), "it would leave no time; leave it out, or give None, for no limit"),
        (Span(None), "5m", "it is seconds or a timedelta, or None"),
        (Span(None, may_be_zero=True), -0.5, "it is a time from 0 seconds to 36525 days"),
        (Span(None, may_be_zero=True), True, "it is seconds or a timedelta, or None"),
        (
            KeepOrNot("not at all", 7),
            0,
            "it would be kept for no time; leave it out, or give None, to keep it not at all",
        ),
        (
            KeepOrNot("not at all", 7),
            timedelta(days=367),
            "it is 366 days at most; put what is to last into a database, or a file",
        ),
        (KeepOrNot("not at all", 7), "7d", "it is True, for 7 days, seconds or a timedelta, or None"),
        (Span(1.0), -1, "it is a time from 0 seconds to 36525 days"),
        (Span(1.0), nan, "it is a time from 0 seconds to 36525 days"),
        (Errors("none", may_be_empty=False), 7, NO_ERROR),
        (Errors("none", may_be_empty=False), (), "it names none; leave it out for none"),
        (Errors("none", may_be_empty=False), "shop:Declined", NO_ERROR),
        (Errors("none", may_be_empty=False), "*", NO_ERROR),
        (Errors("none", may_be_empty=False), "", NO_ERROR),
        (Errors("none", may_be_empty=False), "Gr\u00f6\u00dfe", NO_ERROR),
        (Errors("none", may_be_empty=False), int, NO_ERROR),
        (Errors("none", may_be_empty=False), (ValueError, 7), NO_ERROR),
        (Errors("none", may_be_empty=False), "a b", NO_ERROR),
        (Errors("none", may_be_empty=False), ["a,b"], NO_ERROR),
        (Errors("none", may_be_empty=False), ValueError("x"), NO_ERROR),
        (
            Errors("none", may_be_empty=False),
            [f"module.Error{number}" for number in range(100)],
            "its names take more than 500 characters; name a class that they derive from",
        ),
    ],
)
def test_what_can_not_be_given_is_refused_with_what_can(type: OptionType, given: object, refusal: str) -> None:
    with pytest.raises(ValueError, match=r"^(it is|it names|it would|what can|its names) ") as raised:
        type.to_wire(given)
    assert str(raised.value) == refusal


def test_the_words_of_a_choice_are_numbered_from_the_default_on() -> None:
    with pytest.raises(ValueError, match="numbered from 0"):
        Choice(none=1, log=0)
