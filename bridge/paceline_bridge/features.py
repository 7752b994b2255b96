"""The one table of what messages may ask for: honoured, ignored or refused. docs/bridge.md is drawn from it.

Every refusal in the code names a ``reason`` of this table, and no other; it travels in the header ``x-paceline-reason``
of a dead letter and at the head of a Celery caller's exception.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Treatment(Enum):
    HONOURED = "honoured"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that a message can carry, and what happens then."""

    protocol: str
    what: str
    treatment: Treatment
    meaning: str
    reason: str = ""  # of a refusal


_YES, _SKIP, _NO = Treatment.HONOURED, Treatment.IGNORED, Treatment.REFUSED

FEATURES: tuple[Feature, ...] = (
    # --- any message
    Feature(
        "any",
        "priority",
        _YES,
        "0 or none is what `@task` says at the nodes, and else the default, 4; 1 to 9 are 5 to 9, in this order",
    ),
    Feature(
        "any",
        "options that the message does not give",
        _YES,
        "what `@task` says at the nodes: retries, limits, delivery, ...; but `durability` is "
        '`"log"`, and `on_client_lost` `"keep"`',
    ),
    Feature(
        "any",
        "what contradicts the options of `@task`",
        _NO,
        "such as retries of a task that is `at_most_once`; the detail says what",
        "cluster",
    ),
    Feature("any", "a task that no node runs", _NO, "start a node with the module that has it", "unknown-task"),
    Feature("any", "a body that can't be read", _NO, "the detail says why", "bad-body"),
    Feature(
        "any",
        "a body that would become too much",
        _NO,
        "above 64 MiB decompressed, or about 256 MiB as Python objects",
        "too-large",
    ),
    Feature("any", "headers that can't be read", _NO, "the detail says why; the dead letter is without", "bad-headers"),
    Feature("any", "arguments over the payload limit", _NO, "see --payload-limit of the nodes", "too-large"),
    Feature("any", "arguments that paceline can't carry", _NO, "such as lists nested very deep", "arguments"),
    Feature("any", "what the cluster refuses", _NO, "for a reason of its own, which the detail names", "cluster"),
    Feature(
        "any", "what the bridge fails at", _NO, "a defect, with a traceback in its log; please report it", "bridge"
    ),
    Feature("any", "other compressions", _NO, "use gzip, bzip2 or lzma", "compression"),
    # --- plain
    Feature("plain", "body", _YES, "the one argument: JSON, msgpack, text or bytes by content_type"),
    Feature("plain", "no content_type", _YES, "JSON if it parses as JSON, else text if it is UTF-8, else bytes"),
    Feature(
        "plain",
        "charset in content_type, content_encoding",
        _YES,
        "the character set of JSON and text, one of the usual ones, and else `bad-body`; without one UTF-8. `binary`, "
        "as kombu has it: a text stays bytes",
    ),
    Feature("plain", "kombu's header compression", _YES, "as Celery's"),
    Feature(
        "plain",
        "message_id",
        _YES,
        "one task for each message_id of a queue, with its body if it is no UUID; without one every delivery is new",
    ),
    Feature("plain", "other headers, reply_to", _SKIP, "no reply is sent"),
    Feature("plain", "a queue without =TASK", _NO, "say `--queue NAME=TASK`", "no-task"),
    # --- celery
    Feature("celery", "protocols 2, 1 and the mix of both", _YES, "recognised by message"),
    Feature("celery", "JSON, msgpack", _YES, "with kombu's types: datetime, date, time, decimal, uuid, bytes"),
    Feature("celery", "compression", _YES, "gzip (zlib), bzip2 and lzma"),
    Feature(
        "celery",
        "id, retries",
        _YES,
        "one task for each id and number of retries, however often it is delivered; an id that is no UUID counts "
        "together with name and body",
    ),
    Feature(
        "celery",
        "reply_to, correlation_id",
        _YES,
        "STARTED after 0.2 s, then one final reply; in msgpack if the message is, and else in JSON",
    ),
    Feature("celery", "ignore_result", _YES, "no reply"),
    Feature(
        "celery",
        "the id of a task for which 100 others wait",
        _NO,
        "of callers whose messages are acknowledged; give it an id of its own",
        "callers",
    ),
    Feature("celery", "an id of more than 255 bytes, of a caller that waits", _NO, "no reply could name it", "id"),
    Feature("celery", "group, parent_id", _YES, "group().get() works: every part has its own reply"),
    Feature(
        "celery",
        "expires",
        _YES,
        "a task that has not started by then ends as EXPIRED, for the caller REVOKED; a new one whose message is late "
        "itself: REVOKED for the caller, else a dead letter",
    ),
    Feature(
        "celery", "eta, countdown", _YES, "the task starts at that moment and not before; without a zone it is UTC"
    ),
    Feature(
        "celery",
        "time_limit, soft_time_limit",
        _YES,
        "the task's options of these names; null and 0 are what `@task` says; for the caller TimeLimitExceeded and "
        "SoftTimeLimitExceeded",
    ),
    Feature(
        "celery",
        "autoretry_for, max_retries, retry_backoff, and a task's own limits",
        _SKIP,
        "they are in the class of the task, at Celery's worker, and in no message; what `@task` says at the nodes "
        "holds in their place",
    ),
    Feature("celery", "shadow, root_id, argsrepr, kwargsrepr, origin, lang, stamps", _SKIP, "only for display"),
    Feature("celery", "control.ping, inspect, revoke", _SKIP, "they go to Celery's workers alone, and nobody answers"),
    Feature("celery", "expired", _NO, "see expires", "expired"),
    Feature("celery", "chain", _NO, "not supported yet", "chain"),
    Feature("celery", "chord", _NO, "not supported yet", "chord"),
    Feature("celery", "callbacks, errbacks (link, link_error)", _NO, "not supported yet", "callbacks"),
    Feature(
        "celery",
        "time limits that are none",
        _NO,
        "less than 0, no numbers, or a soft one that is not below the hard one",
        "time-limit",
    ),
    Feature("celery", "pickle", _NO, "unpickling runs code of the sender's; use JSON", "pickle"),
    Feature("celery", "YAML and other serializers", _NO, "use JSON or msgpack", "serializer"),
    # --- dramatiq
    Feature("dramatiq", "actor_name, args, kwargs", _YES, "the task of that name; Q and Q.DQ are consumed"),
    Feature("dramatiq", "message_id, retries", _YES, "one task for each of them, as with Celery's id"),
    Feature("dramatiq", "delay (eta)", _YES, "the task starts at that moment and not before"),
    Feature(
        "dramatiq",
        "max_age",
        _YES,
        "a task that has not started by then ends as EXPIRED; a new one whose message is late itself: a dead letter, "
        "reason `expired`",
    ),
    Feature(
        "dramatiq",
        "max_retries",
        _YES,
        "how often it is tried again, without the `retries` that a worker of theirs has made; None is a million times, "
        "and without it what `@task` says holds",
    ),
    Feature(
        "dramatiq",
        "min_backoff, max_backoff",
        _YES,
        "the wait is doubled each time and has no chance in it; 7 days at most",
    ),
    Feature("dramatiq", "time_limit", _YES, "the task's soft_time_limit; infinity for none, 0 for what `@task` says"),
    Feature(
        "dramatiq",
        "an actor's own retries, throws, retry_when, limits",
        _SKIP,
        "they are at dramatiq's worker, and in no message; what `@task` says at the nodes holds in their place",
    ),
    Feature(
        "dramatiq",
        "pipe_ignore, notify_shutdown, requeue_timestamp, traceback, unknown options",
        _SKIP,
        "nothing to do",
    ),
    Feature("dramatiq", "pipe_target", _NO, "pipelines are not supported yet", "pipeline"),
    Feature("dramatiq", "group_completion_uuid, group_completion_callbacks", _NO, "not supported yet", "group"),
    Feature("dramatiq", "on_success, on_failure, on_retry_exhausted", _NO, "not supported yet", "callbacks"),
    Feature("dramatiq", "throws, retry_when in a message", _NO, "a class has no form in a message", "retries"),
    Feature("dramatiq", "retries and backoffs that are none", _NO, "less than 0, or no numbers", "retries"),
    Feature("dramatiq", "a time_limit that is none", _NO, "less than 0, or no number", "time-limit"),
    Feature("dramatiq", "store_results", _NO, "the bridge has no results backend", "results"),
)

REASONS = frozenset(feature.reason for feature in FEATURES if feature.reason)


def markdown() -> str:
    """The table as docs/bridge.md has it."""
    lines = ["| message | asks for | | |", "|---|---|---|---|"]
    for feature in FEATURES:
        reason = f", reason `{feature.reason}`" if feature.reason else ""
        lines.append(f"| {feature.protocol} | {feature.what} | {feature.treatment.value}{reason} | {feature.meaning} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown())
