"""Hypothesis strategies for every message, derived from the types of its fields."""

from __future__ import annotations

from typing import Annotated, Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from paceline_protocol.codec import KINDS, MAX_INT
from paceline_protocol.limits import MAX_ENTRY_KIND, MAX_QUEUE_CHARS
from paceline_protocol.messages.records import TaskEnd
from paceline_protocol.option_types import Errors, Needs, OptionType, Origin, QueueName, Tags, TaskIds, Units
from paceline_protocol.options import EXCLUSIONS, OPTIONS
from paceline_protocol.places import AMOUNT_MAX, UNIT_MAX, amounts_text, tags_text, units_text

integers = st.integers(0, MAX_INT)
ids = st.binary(min_size=16, max_size=16)
names = st.text(min_size=1, max_size=30)


queue_names = st.from_regex(rf"[A-Za-z0-9._:-]{{1,{MAX_QUEUE_CHARS}}}", fullmatch=True)
tags = st.lists(queue_names, max_size=4).map(tags_text)
amounts = st.dictionaries(queue_names, st.integers(1, AMOUNT_MAX), max_size=4).map(
    lambda found: amounts_text(found.items())
)
unit_numbers = st.sets(st.integers(0, UNIT_MAX), min_size=1, max_size=4).map(lambda found: tuple(sorted(found)))
units = st.dictionaries(queue_names, unit_numbers, min_size=1, max_size=4).map(
    lambda found: units_text(tuple(sorted(found.items())))
)


def _values(type: OptionType) -> st.SearchStrategy[Any]:
    if isinstance(type, Errors):
        return st.text(st.characters(codec="ascii"), min_size=1, max_size=40)
    if isinstance(type, Origin):
        return ids.map(bytes.hex)
    if isinstance(type, QueueName):
        return queue_names
    if isinstance(type, Tags):
        return st.just(0) | tags.filter(bool)
    if isinstance(type, Units):
        return units
    if isinstance(type, Needs):
        return st.just(0) | amounts.filter(bool)
    if isinstance(type, TaskIds):
        return st.lists(ids, min_size=1, max_size=3).map(b"".join)
    return st.integers(0, type.highest)


def without_contradictions(options: dict[str, Any]) -> dict[str, Any]:
    dropped = {each.other for each in EXCLUSIONS if not each.may_travel and each.holds(options)}
    return {key: value for key, value in options.items() if key not in dropped}


options = st.none() | st.fixed_dictionaries({}, optional={option.key: _values(option.type) for option in OPTIONS}).map(
    without_contradictions
)
task_ends = st.sampled_from([int(state) for state in TaskEnd])

calls = st.tuples(ids, names, st.integers(0, 9), st.binary(max_size=40), options)
assignments = st.tuples(ids, integers, names, st.binary(max_size=40), options)
outcomes = st.tuples(ids, integers, task_ends, st.binary(max_size=40), integers)
results = st.tuples(ids, task_ends, st.binary(max_size=40))


def several(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=3).map(tuple)


NAMED: dict[str, st.SearchStrategy[Any]] = {
    "id": ids,
    "name": names,
    "queue-name": queue_names,
    "queue-names": several(queue_names),
    "tags": tags,
    "amounts": amounts,
    "request-ids": st.lists(ids, max_size=3).map(tuple),
    "entry-kind": st.integers(0, MAX_ENTRY_KIND),  # known here or not
    "assignment": assignments,
    "outcome": outcomes,
    "result": results,
}

SIMPLE: dict[object, st.SearchStrategy[Any]] = {
    int: integers,
    bool: st.booleans(),
    str: st.text(max_size=20),
    bytes: st.binary(max_size=40),
}


def of_type(hint: Any) -> st.SearchStrategy[Any]:
    if hint in SIMPLE:
        return SIMPLE[hint]
    if get_origin(hint) is Annotated:
        bare, mark = get_args(hint)
        if isinstance(mark, str):
            return NAMED[mark] if mark in NAMED else of_type(bare)
        return st.sampled_from([int(member) for member in mark])
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        return several(of_type(parts[0])) if parts[-1] is ... else st.tuples(*map(of_type, parts))
    raise TypeError(f"no strategy for {hint}")


def of_class(cls: type) -> st.SearchStrategy[Any]:
    hints = get_type_hints(cls, include_extras=True)
    return st.builds(cls, **{name: of_type(hints[name]) for name in cls._fields})


CLASSES: list[type] = [cls for cls, _ in KINDS.values()]
