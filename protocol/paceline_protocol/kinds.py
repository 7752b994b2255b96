"""The kinds of messages: their numbers, and which fields each of them has.

A task crosses five processes, so the messages on its way have to cost little. The checks in ``AT_ONCE`` look at all
fields of a message in one call; they take only what is certainly valid, and what they don't take goes to the checks of
``KINDS``, which decide.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from paceline_protocol import fields as f
from paceline_protocol import messages as m
from paceline_protocol.limits import MAX_BATCH_ITEMS, MAX_INT

MAGIC: Final = 0x50  # "P"

_refusals: f.Check = f.many(f.record(f.identifier, f.one_of(m.Refusal), f.string))
_pairs: f.Check = f.many(f.record(f.string, f.string))
_entries: f.Check = f.many(f.record(f.integer, f.entry_kind, f.octets))
_stamps: f.Check = f.many(f.record(f.one_of(m.Stage), f.integer))
_attempts: f.Check = f.many(f.record(f.identifier, f.integer))

KINDS: Final[dict[int, tuple[type[m.Message], tuple[f.Check, ...]]]] = {
    # client -> node
    1: (m.Hello, (f.identifier, f.string)),
    2: (m.Submit, (f.integer, f.integer, f.octets, f.boolean)),
    3: (m.Wait, (f.integer, f.ids)),
    4: (m.Cancel, (f.integer, f.ids)),
    5: (m.Ping, (f.integer,)),
    6: (m.StatusRequest, (f.integer, _pairs)),
    7: (m.Admin, (f.integer, f.one_of(m.AdminOp), f.string)),
    # node -> client
    20: (m.Welcome, (f.string, f.string, f.string, f.integer, f.string, f.string, f.many(f.string), f.integer)),
    21: (m.Redirect, (f.integer, f.string, f.string)),
    22: (
        m.Update,
        (f.integer, f.many(f.integer), _refusals, f.results),
    ),
    23: (m.CancelReply, (f.integer, f.many(f.record(f.identifier, f.one_of(m.CancelState))))),
    24: (m.Pong, (f.integer,)),
    25: (m.StatusReply, (f.integer, f.octets)),
    26: (m.Failure, (f.one_of(m.Refusal), f.string)),
    27: (m.AdminReply, (f.integer, f.boolean, f.string)),
    # peer -> peer: the head of each batch, membership
    40: (m.Envelope, (f.string, f.string, f.integer, f.string)),
    41: (
        m.PeerHello,
        (f.string, f.string, f.integer, f.string, f.integer, _pairs, f.boolean, f.string, f.integer, f.integer),
    ),
    42: (m.Consent, (f.node_ids,)),
    43: (m.ConsentReceived, (f.node_ids,)),
    # peer -> peer: the replicated log
    50: (m.VoteRequest, (f.integer, f.integer, f.integer, f.boolean, f.boolean)),
    51: (m.VoteResponse, (f.integer, f.boolean, f.boolean)),
    52: (
        m.Append,
        (f.integer, f.integer, f.integer, f.integer, _entries),
    ),
    53: (m.AppendResponse, (f.integer, f.boolean, f.integer, f.integer, f.integer)),
    54: (m.SnapshotChunk, (f.integer, f.integer, f.integer, f.octets, f.integer, f.integer, f.octets)),
    55: (m.SnapshotResponse, (f.integer, f.integer, f.integer)),
    56: (m.TimeoutNow, (f.integer,)),
    57: (m.Removed, (f.integer, f.integer)),
    58: (m.Confirm, (f.integer, f.integer)),
    59: (m.Confirmed, (f.integer, f.integer)),
    # leader <-> node: tasks
    60: (m.Beat, (f.integer, f.integer, f.integer, f.integer)),
    61: (m.NodeBeat, (f.integer, f.integer, f.integer, f.integer, f.integer)),
    62: (
        m.Enrol,
        (f.integer, f.integer, f.integer, f.integer, f.integer, f.names, _attempts),
    ),
    63: (m.Dispatch, (f.integer, f.integer, f.assignments)),
    64: (m.NodeOutcomes, (f.integer, f.integer, f.octets)),
    65: (m.Revoke, (f.integer, f.ids)),
    66: (m.Revoked, (f.integer, f.ids, f.ids)),
    # node <-> worker
    80: (m.WorkerReady, (f.integer, f.names)),
    81: (m.WorkerFailed, (f.integer, f.string, f.long_string, f.long_string)),
    82: (m.Run, (f.assignments,)),
    83: (m.Done, (f.outcomes,)),
    84: (m.Stop, ()),
    # node <-> its web process
    90: (m.MetricsRequest, ()),
    91: (m.MetricsReply, (f.octets,)),
    # worker -> node -> leader -> client
    100: (m.Trace, (f.identifier, _stamps)),
}
"""Kind -> (class, one check per field). The numbers are on the wire: never renumber, never reuse."""

_TRUSTED: Final = frozenset(
    {
        *(m.Submit, m.Update, m.Append, m.SnapshotChunk, m.Beat, m.NodeBeat, m.Dispatch, m.NodeOutcomes, m.Run, m.Done),
        m.Trace,
    }
)

# The messages on the way of every task, checked at once. True: all of it is valid. False: it may still be, look closer.


def _is_submit(fields: Any) -> bool:
    if type(fields) is not tuple or len(fields) != 4:
        return False
    values: tuple[Any, ...] = fields
    seq, ack = values[0], values[1]
    return (
        type(seq) is int
        and 0 <= seq <= MAX_INT
        and type(ack) is int
        and 0 <= ack <= MAX_INT
        and type(values[2]) is bytes
        and type(values[3]) is bool
    )


def _is_update(fields: Any) -> bool:
    """Of an Update that refuses nothing."""
    if type(fields) is not tuple or len(fields) != 4:
        return False
    values: tuple[Any, ...] = fields
    seq, accepted, refused, results = values[0], values[1], values[2], values[3]
    if type(seq) is not int or not 0 <= seq <= MAX_INT:
        return False
    if type(accepted) is not tuple or type(refused) is not tuple or type(results) is not tuple:
        return False
    if refused or len(accepted) > MAX_BATCH_ITEMS or len(results) > MAX_BATCH_ITEMS:
        return False
    for number in accepted:
        if type(number) is not int or not 0 <= number <= MAX_INT:
            return False
    for result in results:  # noqa: SIM110 - compiled, this makes no object for each result
        if not f.is_result(result):
            return False
    return True


def _only_record(fields: Any) -> Any:
    """The record of a message whose one field is a batch of one, None if it is none."""
    if type(fields) is not tuple or len(fields) != 1:
        return None
    batch = fields[0]
    return batch[0] if type(batch) is tuple and len(batch) == 1 else None


def _is_run_of_one(fields: Any) -> bool:
    return f.is_assignment(_only_record(fields))


def _is_done_of_one(fields: Any) -> bool:
    return f.is_outcome(_only_record(fields))


AT_ONCE: Final[dict[type[m.Message], Callable[[Any], bool]]] = {
    m.Submit: _is_submit,
    m.Update: _is_update,
    m.Run: _is_run_of_one,
    m.Done: _is_done_of_one,
}


class Shape(NamedTuple):
    """What is known of one kind."""

    header: bytes
    cls: type[m.Message]
    checks: tuple[f.Check, ...]
    trusted: bool
    is_valid: Callable[[Any], bool] | None


def _shape(kind: int, cls: type[m.Message], checks: tuple[f.Check, ...]) -> Shape:
    header = bytes((MAGIC, m.PROTOCOL_VERSION, kind))
    return Shape(header, cls, checks, cls in _TRUSTED, AT_ONCE.get(cls))


BY_KIND: Final[dict[int, Shape]] = {kind: _shape(kind, cls, checks) for kind, (cls, checks) in KINDS.items()}
BY_CLASS: Final[dict[type[m.Message], Shape]] = {shape.cls: shape for shape in BY_KIND.values()}


def check_fields(shape: Shape, fields: Any) -> None:
    """Look at each field by itself. Raises ValueError, which names the field, or LimitExceeded."""
    if type(fields) is not tuple or len(fields) != len(shape.checks):
        raise ValueError(f"an array of {len(shape.checks)} fields is expected")
    name = ""
    try:
        for name, check, value in zip(shape.cls._fields, shape.checks, fields, strict=True):  # noqa: B007 - named in the error
            check(value)
    except ValueError as error:
        raise ValueError(f"{shape.cls.__name__}.{name}: {error}") from error
