"""Hypothesis strategies for every message, derived from the types of its fields."""

from __future__ import annotations

from typing import Annotated, Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from paceline_protocol import messages as m
from paceline_protocol.codec import KINDS, MAX_INT

integers = st.integers(0, MAX_INT)
ids = st.binary(min_size=16, max_size=16)
names = st.text(min_size=1, max_size=30)
flags = st.integers(0, 1)
options = (
    st.none()
    | st.fixed_dictionaries({}, optional={"max_attempts": integers, "delivery": flags, "confirm": flags})
    | st.fixed_dictionaries({"durability": flags}, optional={"max_attempts": integers, "trace": flags})
)
task_ends = st.sampled_from([int(state) for state in m.TaskEnd])

calls = st.tuples(ids, names, st.integers(0, 9), st.binary(max_size=40), options)
assignments = st.tuples(ids, integers, names, st.binary(max_size=40), options)
outcomes = st.tuples(ids, integers, task_ends, st.binary(max_size=40), integers)
results = st.tuples(ids, task_ends, st.binary(max_size=40))


def several(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=3).map(tuple)


NAMED: dict[str, st.SearchStrategy[Any]] = {
    "id": ids,
    "name": names,
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
