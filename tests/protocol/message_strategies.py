"""Hypothesis strategies for every message, derived from the types of its fields.

Where a type says less than the grammar does (an ``int`` that is an enum, ``bytes`` that are an id), the field stands in
``NARROWER``.
"""

from __future__ import annotations

from typing import Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from paceline_protocol import messages as m
from paceline_protocol.codec import KINDS, MAX_INT
from paceline_protocol.options import EXCLUSIONS, OPTIONS

integers = st.integers(0, MAX_INT)
ids = st.binary(min_size=16, max_size=16)
names = st.text(min_size=1, max_size=30)


def without_contradictions(options: dict[str, Any]) -> dict[str, Any]:
    dropped = {each.other for each in EXCLUSIONS if not each.may_travel and each.holds(options)}
    return {key: value for key, value in options.items() if key not in dropped}


options = st.none() | st.fixed_dictionaries(
    {}, optional={option.key: st.integers(0, option.type.highest) for option in OPTIONS}
).map(without_contradictions)
task_ends = st.sampled_from([int(state) for state in m.TaskEnd])
refusals = st.sampled_from([int(code) for code in m.Refusal])
cancel_states = st.sampled_from([int(state) for state in m.CancelState])
admin_ops = st.sampled_from([int(op) for op in m.AdminOp])
stages = st.sampled_from([int(stage) for stage in m.Stage])
entry_kinds = st.sampled_from([int(kind) for kind in m.EntryKind])

calls = st.tuples(ids, names, st.integers(0, 9), st.binary(max_size=40), options)
assignments = st.tuples(ids, integers, names, st.binary(max_size=40), options)
outcomes = st.tuples(ids, integers, task_ends, st.binary(max_size=40), integers)
results = st.tuples(ids, task_ends, st.binary(max_size=40))


def several(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=3).map(tuple)


NARROWER: dict[tuple[type, str], st.SearchStrategy[Any]] = {
    (m.Hello, "client_id"): ids,
    (m.Failure, "code"): refusals,
    (m.Admin, "op"): admin_ops,
    (m.Wait, "ids"): several(ids),
    (m.Cancel, "ids"): several(ids),
    (m.Revoke, "ids"): several(ids),
    (m.Revoked, "given_back"): several(ids),
    (m.Revoked, "kept"): several(ids),
    (m.Update, "refused"): several(st.tuples(ids, refusals, st.text(max_size=20))),
    (m.Update, "results"): several(results),
    (m.CancelReply, "states"): several(st.tuples(ids, cancel_states)),
    (m.Append, "entries"): several(st.tuples(integers, entry_kinds, st.binary(max_size=40))),
    (m.Enrol, "names"): several(names),
    (m.Enrol, "held"): several(st.tuples(ids, integers)),
    (m.Dispatch, "tasks"): several(assignments),
    (m.Run, "tasks"): several(assignments),
    (m.Done, "outcomes"): several(outcomes),
    (m.WorkerReady, "names"): several(names),
    (m.Trace, "id"): ids,
    (m.Trace, "stamps"): several(st.tuples(stages, integers)),
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
    if get_origin(hint) is tuple:
        parts = get_args(hint)
        return several(of_type(parts[0])) if parts[-1] is ... else st.tuples(*map(of_type, parts))
    raise TypeError(f"no strategy for {hint}")


def of_class(cls: type) -> st.SearchStrategy[Any]:
    hints = get_type_hints(cls)
    by_field = {name: NARROWER[cls, name] if (cls, name) in NARROWER else of_type(hints[name]) for name in cls._fields}
    return st.builds(cls, **by_field)


CLASSES: list[type] = [cls for cls, _ in KINDS.values()]
