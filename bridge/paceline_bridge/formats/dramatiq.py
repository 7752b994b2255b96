"""dramatiq's messages: a JSON body that holds everything.

Sources: dramatiq/message.py, dramatiq/brokers/rabbitmq.py, dramatiq/common.py (``compute_backoff``) and
dramatiq/middleware of dramatiq 2.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any, Final

from paceline_bridge.formats import ids, moments
from paceline_bridge.message import TaskCall, UnsupportedMessage
from paceline_bridge.texts import quoted
from paceline_protocol.moments import FROM_NOW_MAX_DAYS
from paceline_protocol.options import RETRIES_MAX

FIELDS = frozenset(("queue_name", "actor_name", "args", "kwargs", "options", "message_id", "message_timestamp"))

_REFUSED: Mapping[str, str] = {
    "pipe_target": "pipeline",
    "group_completion_uuid": "group",
    "group_completion_callbacks": "group",
    "on_success": "callbacks",
    "on_failure": "callbacks",
    "on_retry_exhausted": "callbacks",
    "throws": "retries",
    "retry_when": "retries",
    "store_results": "results",
}
"""Option -> the reason for which it is refused. An option whose value is false or None asks for nothing."""


MAX_BACKOFF_MS: Final = 7 * 86_400_000
"""dramatiq waits no longer, whatever it is told."""
MAX_EXPONENT: Final = 32
"""It doubles no more often."""


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
    tried = ids.retries_of(options.get("retries"))
    carried |= _retries(options, tried) | _time_limit(options)
    number = ids.of_message("dramatiq", message_id, tried, name, raw)
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


def _retries(options: Mapping[str, Any], tried: int) -> dict[str, int]:
    """How often it may be tried again, of which dramatiq's workers have used up ``tried``, and when. Raises
    UnsupportedMessage.

    dramatiq waits for the backoff at least, and by chance up to twice as long; here it is the backoff itself. What a
    message does not say is the actor's business there; here it is as of any call by name that does not say it."""
    carried: dict[str, int] = {}
    if "max_retries" in options:
        most = options["max_retries"]
        if most is not None and (type(most) is not int or not 0 <= most <= RETRIES_MAX):
            raise UnsupportedMessage(
                "retries", f"max_retries is {quoted(most)}; give a whole number from 0 to {RETRIES_MAX}, or none"
            )
        carried["retries"] = max(0, min(RETRIES_MAX if most is None else most - tried, RETRIES_MAX))
    first_ms, longest_ms = _backoff_ms("min_backoff", options), _backoff_ms("max_backoff", options)
    if carried.get("retries") == 0:
        return carried
    if longest_ms or first_ms:
        carried["backoff_max"] = min(longest_ms or MAX_BACKOFF_MS, MAX_BACKOFF_MS)
    if first_ms:
        carried["backoff"] = min(first_ms << max(0, min(tried, MAX_EXPONENT)), carried["backoff_max"])
        carried["jitter"] = 1  # without: a random part of it could be less than the least that is asked for
    return carried


def _backoff_ms(option: str, options: Mapping[str, Any]) -> int:
    """0 for none. Raises UnsupportedMessage."""
    value = options.get(option)
    if value is None:
        return 0
    span_ms = 1 if value == 0 else moments.span_ms(value)
    if span_ms is None:
        raise UnsupportedMessage(
            "retries", f"{option} is {quoted(value)}; give milliseconds, of {FROM_NOW_MAX_DAYS} days at most"
        )
    return span_ms


def _time_limit(options: Mapping[str, Any]) -> dict[str, int]:
    """dramatiq raises its limit in the task, which is the soft one here. Infinity is for no limit, and 0 for that of
    the actor, and here of the task. Raises UnsupportedMessage."""
    limit = options.get("time_limit")
    if not limit:
        return {}
    return {"soft_time_limit": 0 if limit == inf else moments.limit_ms("time_limit", limit, 1)}
