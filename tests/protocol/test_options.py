"""The table of options: what follows from it on the wire and on the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from paceline_protocol import codec
from paceline_protocol.errors import LocalProtocolError
from paceline_protocol.messages import records
from paceline_protocol.messages.records import NO_LOG, TRACED
from paceline_protocol.moments import FROM_NOW_MAX_MS, MOMENT_MAX_MS
from paceline_protocol.option_types import Choice, Moment, OptionType, Whole
from paceline_protocol.options import (
    BY_KEY,
    EXCLUSIONS,
    KEYWORDS,
    OPTIONS,
    Exclusion,
    Option,
    is_logged,
    is_traced,
    with_moments,
)

DOCS = Path(__file__).parents[2] / "docs"


def grammar_line(option: Option) -> str:
    value = f'                  "{option.key}" -> {option.type.grammar}'
    return f"{value:<67} ; for {', '.join(option.readers)}; level {option.level}"


def exclusion_line(exclusion: Exclusion) -> str:
    value, limit = exclusion.value, exclusion.limit
    return f'{"":<44}; "{exclusion.key}" {value} goes with "{exclusion.other}" of {limit} at most'


GRAMMAR = "\n".join(
    [
        "options         = nil / map                 ; any other key is refused; 0 is the default, as an absent key is",
        *map(grammar_line, OPTIONS),
        *(exclusion_line(exclusion) for exclusion in EXCLUSIONS if not exclusion.may_travel),
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
    def carried(value: Any) -> bytes:
        return codec.encode_calls([(b"i" * 16, "add", 4, b"", {option.key: value})])

    carried(0)
    carried(option.type.highest)
    lowest = -FROM_NOW_MAX_MS if isinstance(option.type, Moment) else 0
    carried(lowest)
    for wrong in (option.type.highest + 1, lowest - 1, True, None, "1", b"1", 1.5, (1,)):
        with pytest.raises(LocalProtocolError, match=rf"option '{option.key}' is an int from {lowest} to"):
            carried(wrong)


@pytest.mark.parametrize("exclusion", EXCLUSIONS, ids=lambda exclusion: f"{exclusion.key}-{exclusion.other}")
def test_a_call_that_contradicts_itself_is_refused_with_what_to_do(exclusion: Exclusion) -> None:
    def carried(other: int) -> bytes:
        options = {exclusion.key: exclusion.value, exclusion.other: other}
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
    ],
)
def test_what_can_not_be_given_is_refused_with_what_can(type: OptionType, given: object, refusal: str) -> None:
    with pytest.raises(ValueError, match=r"^(it is|what can) ") as raised:
        type.to_wire(given)
    assert str(raised.value) == refusal


def test_the_words_of_a_choice_are_numbered_from_the_default_on() -> None:
    with pytest.raises(ValueError, match="numbered from 0"):
        Choice(none=1, log=0)
