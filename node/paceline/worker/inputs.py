"""The arguments of a task that depends on others: their results in place of the references."""

from __future__ import annotations

from typing import Any

from paceline.codecs import build
from paceline.importing import import_own
from paceline_protocol.errors import MalformedPayload
from paceline_protocol.inputs import is_enveloped, open_envelope
from paceline_protocol.messages.records import TASK_ID_BYTES, Options, TaskEnd
from paceline_protocol.payload import unpack_args, unpack_value

_SUCCEEDED = int(TaskEnd.SUCCEEDED)


def args_with_results(packed: bytes, options: Options) -> tuple[list[Any], dict[str, Any]]:
    """The positional and the keyword arguments. A task that did not succeed is there as its error. A result that stands
    in several places is one object. Raises PayloadError."""
    results: dict[bytes, tuple[int, bytes]] = {}
    if is_enveloped(options):
        packed, inputs = open_envelope(packed)
        results = {task_id: (end, payload) for task_id, end, payload in inputs}
    values: dict[bytes, Any] = {}

    def put(form: bytes) -> Any:
        if form not in values:
            values[form] = _value(form, results)
        return values[form]

    return unpack_args(packed, None, build, put)


def _value(form: bytes, results: dict[bytes, tuple[int, bytes]]) -> Any:
    task_id, said = form[:TASK_ID_BYTES], form[TASK_ID_BYTES:]
    found = (said[0], said[1:]) if said else results.get(task_id)
    if found is None:
        raise MalformedPayload(f"the result of task {task_id.hex()} is missing among the arguments")
    end, payload = found
    if end == _SUCCEEDED:
        return unpack_value(payload, None, build)
    return import_own("paceline.client.future").error_of(end, payload)
