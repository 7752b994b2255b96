"""The results that a task is called with: which tasks they are of, and how they travel to its worker.

A call names the tasks in its options, joined ids under ``inputs``; among its arguments stand references to them. Once
all of them have ended, the leader sends the arguments in an envelope with their results, and the worker puts these in
place. An envelope is packed: ``[args, [[id, end, payload], ...]]``. No node looks into what is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, TypeAlias

from msgpack import packb, unpackb  # type: ignore[import-untyped]

from paceline_protocol.errors import MalformedPayload
from paceline_protocol.limits import MAX_INPUTS
from paceline_protocol.messages.records import TASK_ID_BYTES, Options, TaskEnd

INPUTS: Final = "inputs"
AFTER: Final = "after"
_ENDS: Final = frozenset(int(end) for end in TaskEnd)
ENVELOPE_BYTES: Final = 16
"""What an envelope takes beside the arguments, and what it takes for each result beside its payload and its id."""

Input: TypeAlias = tuple[bytes, int, bytes]
"""(id, TaskEnd, payload) of a task that has ended."""


def split(joined: object) -> list[bytes]:
    """The ids in an option; none for 0, which says that there are none."""
    if type(joined) is not bytes:
        return []
    return [joined[at : at + TASK_ID_BYTES] for at in range(0, len(joined), TASK_ID_BYTES)]


def has_inputs(options: Options | None) -> bool:
    """Whether a call with these options waits for tasks."""
    return options is not None and bool(options.get(INPUTS) or options.get(AFTER))


def may_have_results(options: Options) -> bool:
    """Whether results of tasks may stand among the arguments of such a call, as a worker is sent them."""
    return INPUTS in options or "allow_failed_inputs" in options


def is_enveloped(options: Options | None) -> bool:
    """Whether a worker is sent the arguments of such a call in an envelope."""
    return options is not None and bool(options.get(INPUTS))


def with_ids(options: Options | None, key: str, ids: Iterable[bytes]) -> Options | None:
    """The options of a call that depends on these tasks; no option if there are none."""
    left = {name: value for name, value in (options or {}).items() if name != key}
    joined = b"".join(ids)
    found = {**left, key: joined} if joined else left
    return found if found or options is not None else None


def enveloped_bytes(args: bytes, payload_bytes: Iterable[int]) -> int:
    """How large an envelope is at most."""
    sizes = list(payload_bytes)
    return len(args) + sum(sizes) + ENVELOPE_BYTES + (ENVELOPE_BYTES + TASK_ID_BYTES) * len(sizes)


def envelope(args: bytes, results: Sequence[Input]) -> bytes:
    """The arguments of a call, with the results of its inputs."""
    packed: bytes = packb([args, [list(result) for result in results]])
    return packed


def open_envelope(data: bytes) -> tuple[bytes, list[Input]]:
    """The inverse. Raises MalformedPayload."""
    try:
        found = unpackb(data, max_map_len=0, max_ext_len=0)
    except Exception as error:  # msgpack raises many kinds
        raise MalformedPayload(f"not arguments with results: {error or type(error).__name__}") from error
    if type(found) is not list or len(found) != 2 or type(found[0]) is not bytes or type(found[1]) is not list:
        raise MalformedPayload("not arguments with results: an array of both is expected")
    args, results = found
    if len(results) > MAX_INPUTS or not all(map(_is_input, results)):
        raise MalformedPayload("not arguments with results: a result is an id, an end and a payload")
    return args, [(result[0], result[1], result[2]) for result in results]


def _is_input(item: Any) -> bool:
    return (
        type(item) is list
        and len(item) == 3
        and type(item[0]) is bytes
        and len(item[0]) == TASK_ID_BYTES
        and type(item[1]) is int
        and item[1] in _ENDS
        and type(item[2]) is bytes
    )
