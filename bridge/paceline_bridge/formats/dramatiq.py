"""dramatiq's messages: a JSON body that holds everything.

Sources: dramatiq/message.py, dramatiq/brokers/rabbitmq.py and dramatiq/middleware of dramatiq 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from paceline_bridge.formats import ids, moments
from paceline_bridge.message import TaskCall, UnsupportedMessage
from paceline_bridge.texts import quoted

FIELDS = frozenset(("queue_name", "actor_name", "args", "kwargs", "options", "message_id", "message_timestamp"))

_REFUSED: Mapping[str, str] = {
    "pipe_target": "pipeline",
    "group_completion_uuid": "group",
    "group_completion_callbacks": "group",
    "on_success": "callbacks",
    "on_failure": "callbacks",
    "on_retry_exhausted": "callbacks",
    "max_retries": "retries",
    "min_backoff": "retries",
    "max_backoff": "retries",
    "throws": "retries",
    "retry_when": "retries",
    "time_limit": "time-limit",
    "store_results": "results",
}
"""Option -> the reason for which it is refused. An option whose value is false or None asks for nothing."""


def is_message(body: object) -> bool:
    return isinstance(body, dict) and body.keys() >= FIELDS


def read(body: Mapping[str, Any], raw: bytes, names: Mapping[str, str], priority: int, now: float) -> TaskCall:
    """``raw``: the body as it came. ``now``: seconds since the epoch. Raises UnsupportedMessage."""
    name, message_id, args, kwargs = body["actor_name"], body["message_id"], body["args"], body["kwargs"]
    options = body["options"]
    for field, value in (("actor_name", name), ("message_id", message_id)):
        if not isinstance(value, str) or not value:
            raise UnsupportedMessage("bad-body", f"{field} is {quoted(value)}, and not a text with something in it")
    if not isinstance(args, list) or not isinstance(kwargs, dict) or not isinstance(options, dict):
        raise UnsupportedMessage("bad-body", "args is no list, or kwargs or options no map")
    for option, reason in _REFUSED.items():
        if options.get(option):
            raise UnsupportedMessage(reason, f"the message option {option} is not supported yet")
    carried, is_late = moments.options_of(_eta_ms(options), _expires_ms(options, body), now)
    number = ids.of_message("dramatiq", message_id, ids.retries_of(options.get("retries")), name, raw)
    return TaskCall("dramatiq", number, names.get(name, name), args, kwargs, priority, None, carried, is_late)


def _eta_ms(options: Mapping[str, Any]) -> int | None:
    """When it may start; None if at once. dramatiq makes it of ``delay``."""
    eta_ms = options.get("eta")
    return moments.carried_ms("eta", eta_ms) if isinstance(eta_ms, int | float) else None


def _expires_ms(options: Mapping[str, Any], body: Mapping[str, Any]) -> int | None:
    """When the message reaches the age that its ``max_age`` allows; None if that is any. The age counts from when it
    was sent."""
    max_age_ms, sent_ms = options.get("max_age"), body["message_timestamp"]
    if not isinstance(max_age_ms, int | float) or not isinstance(sent_ms, int | float) or not max_age_ms > 0:
        return None
    sent_ms = moments.carried_ms("message_timestamp", sent_ms)
    return moments.carried_ms("max_age", sent_ms + moments.carried_ms("max_age", max_age_ms))
