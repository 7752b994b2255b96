"""What a version says on the wire, written down so that the next one can be held against it.

``python -m protocol.recording``, with ``tests`` and the source on the path (``./dev record`` does that), writes
``recorded/VERSION.json`` for the version in pyproject.toml. It has:

- of each kind of message its number, its fields as the grammar names them, and frames with what they hold;
- of each enumeration its numbers; the options of calls and the kinds of log entries, each with its level;
- what entries and messages carry packed, and a snapshot, with what they hold;
- the keys of the bodies of replies, as docs/protocol.md lists them, whose readers ignore what they do not know;
- the protocol version and the feature level.

:func:`complaints` compares such a file with what the source does now. The rules are those of docs/protocol.md: frames
of one protocol version have the same fields, and what is new turns up only from a higher feature level on. ``SINCE``
says which level that is, of each thing that no table of the source has a level for.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, is_dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Final, get_type_hints

from docs.test_protocol import PROTOCOL, documented
from paceline.core.feature_levels import ENTRY_KINDS, FEATURE_LEVEL, OPTIONS
from paceline.core.state.snapshots import restore, snapshot_of
from paceline.core.state.table import TaskTable
from paceline_protocol import codec
from paceline_protocol.errors import ProtocolError
from paceline_protocol.messages import client, consensus, live, records, schedules, trace
from paceline_protocol.messages.consensus import EntryKind
from paceline_protocol.messages.message import MESSAGES, PROTOCOL_VERSION
from paceline_protocol.messages.records import MAY_RETRY, EndRecord, TaskEnd
from protocol.test_grammar import grammar_of
from protocol.test_hostile_frames import EXAMPLES

ROOT: Final = Path(__file__).parents[2]
RECORDED: Final = Path(__file__).parent / "recorded"

SINCE: Final[dict[str, int]] = {}
"""Of what is new since a version that is recorded: from which feature level on it is sent, as "kind TasksRequest" or
"Refusal NOT_READY". What only answers a request that is new has the level of that."""

ID: Final = bytes(range(16))
OTHER: Final = bytes(range(16, 32))
_RECORD: Final = EndRecord("add", 4, 2, 0, 1, "n1", 1, 2, 3, 4, ((1, 1, "ValueError: no"),))
_KEPT: Final = ((ID, 2, int(TaskEnd.SUCCEEDED), b"payload", 5), _RECORD)
_DEAD: Final = ((ID, 2, int(TaskEnd.LOST), b"error", 5), _RECORD._replace(losses=((2, "on node n1: killed"),)))
_CALL: Final = (ID, "add", 4, b"args", {"max_attempts": 2, "delivery": 1})
_PLAIN_CALL: Final = (OTHER, "add", 9, b"", None)

_DEFINITION: Final = schedules.ScheduleDefinition(
    "add", b"args", 4, {"expires": -1_000}, schedules.When(1, "0 2 * * *", "Europe/Berlin"), 3, 10, 3, "tasks"
)

Packed = tuple[Callable[[Any], bytes], Callable[[bytes], Any], Any]
PACKED: Final[dict[str, Packed]] = {
    "calls": (codec.encode_calls, codec.decode_calls, [_CALL, _PLAIN_CALL]),
    "outcomes": (
        codec.encode_outcomes,
        codec.decode_outcomes,
        [(ID, 1, int(end), b"payload", 250) for end in TaskEnd] + [(OTHER, 3, MAY_RETRY, b"failed", 0)],
    ),
    "retries": (codec.encode_retries, codec.decode_retries, [(ID, 1, 2_000, 1_000, "ValueError: no")]),
    "kept": (codec.encode_kept, codec.decode_kept, [_KEPT]),
    "dead": (codec.encode_kept, codec.decode_dead, [_DEAD]),
    "requeued": (codec.encode_requeued, codec.decode_requeued, [(OTHER, _CALL)]),
    "defaults": (codec.encode_defaults, codec.decode_defaults, [("add", 9, {"retries": 3})]),
    "held": (codec.encode_held, codec.decode_held, [(ID, 1), (OTHER, 2)]),
    "config": (codec.encode_config, codec.decode_config, consensus.Config(("a", "b"), ("c",), (), 3, 2)),
    "definition": (codec.encode_definition, codec.decode_definition, _DEFINITION),
    "owned": (
        codec.encode_own_schedules,
        codec.decode_own_schedules,
        [("nightly", _DEFINITION)],
    ),
    "schedule changes": (
        codec.encode_schedule_changes,
        codec.decode_schedule_changes,
        [(1, "nightly", _DEFINITION, 2_000, 1_000), (4, "nightly", None, 2_000, 1_000)],
    ),
    "backfills": (codec.encode_backfills, codec.decode_backfills, [("nightly", (1_000, 2_000))]),
    "firings": (
        codec.encode_firings,
        codec.decode_firings,
        [("nightly", 2_000, 1, 3, 4_000, _CALL), ("nightly", 4_000, 5, 0, 0, None)],
    ),
    "failed attempt": (
        codec.encode_failed_attempt,
        codec.decode_failed_attempt,
        ("ValueError: no", 1_001, int(TaskEnd.FAILED), b"error"),
    ),
}


BODY: Final = re.compile(r"^### The body of a (\w+)$", re.MULTILINE)


def version() -> str:
    """That of pyproject.toml."""
    return str(tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"])


def plain(value: Any) -> Any:
    """As JSON has it, in which tuples and lists are one."""
    if isinstance(value, bytes):
        return {"hex": value.hex()}
    if isinstance(value, Mapping):
        return {"map": [[plain(key), plain(item)] for key, item in value.items()]}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        return plain(astuple(value))
    return int(value) if isinstance(value, IntEnum) else value


def fields_of(cls: type[Any]) -> list[str]:
    hints = get_type_hints(cls, include_extras=True)
    return [f"{name}:{grammar_of(hints[name])}" for name in cls._fields]


def enumerations() -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for module in (client, consensus, live, records, schedules, trace):
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, IntEnum) and value is not IntEnum:
                found[name] = {each.name: int(each) for each in value}
    return dict(sorted(found.items()))


def table() -> TaskTable:
    """With something in every section."""
    made = TaskTable()
    ids = [bytes([number]) * 16 for number in range(8)]
    ended = [(each, 1, int(TaskEnd.SUCCEEDED), b"payload", 5) for each in ids[:2]]
    for kind, entry in (
        (EntryKind.ACCEPT, codec.encode_calls([(each, "add", 4, b"args", {"max_attempts": 2}) for each in ids])),
        (EntryKind.OUTCOME, codec.encode_outcomes(ended)),
        (EntryKind.ATTEMPT, ids[2]),
        (EntryKind.RETRY, codec.encode_retries([(ids[3], 1, 2_000, 1_000, "ValueError: no")])),
        (EntryKind.RELEASE, ids[0]),
        (EntryKind.RECORD, codec.encode_kept([((ids[4], *_KEPT[0][1:]), _RECORD)])),
        (EntryKind.RECORD, codec.encode_kept([((ids[5], *_KEPT[0][1:]), _RECORD)])),
        (EntryKind.EXPIRE, ids[5]),
        (EntryKind.DEAD, codec.encode_kept([((ids[6], *_DEAD[0][1:]), _DEAD[1])])),
        (EntryKind.SCHEDULE, codec.encode_schedule_changes([(1, "nightly", _DEFINITION, 2_000, 1_000)])),
        (EntryKind.FIRING, codec.encode_firings([("nightly", 2_000, 1, 3, 4_000, (bytes([9]) * 16, *_CALL[1:]))])),
        (EntryKind.FIRING, codec.encode_firings([("nightly", 4_000, 4, 0, 6_000, None)])),
    ):
        made.apply(kind, entry)
    return made


def recorded() -> dict[str, Any]:
    """What this source says."""
    kinds: dict[str, Any] = {}
    for cls, said in sorted(MESSAGES.items(), key=lambda item: item[1].kind):
        frames = [
            {"hex": codec.encode(message).hex(), "holds": plain(message)}
            for message in EXAMPLES
            if type(message) is cls
        ]
        kinds[cls.__name__] = {"kind": said.kind, "fields": fields_of(cls), "frames": frames}
    return {
        "version": version(),
        "protocol_version": PROTOCOL_VERSION,
        "feature_level": FEATURE_LEVEL,
        "kinds": kinds,
        "enumerations": enumerations(),
        "options": dict(sorted(OPTIONS.items())),
        "entry_kinds": {EntryKind(kind).name: level for kind, level in sorted(ENTRY_KINDS.items())},
        "packed": {
            name: {"hex": encode(value).hex(), "holds": plain(value)} for name, (encode, _, value) in PACKED.items()
        },
        "bodies": {reply: sorted(documented(reply)) for reply in sorted(BODY.findall(PROTOCOL.read_text("utf-8")))},
        "snapshot": snapshot_of(table()).hex(),
    }


# --- an older version beside this one ---------------------------------------------------------------------------

FIELDS_CHANGED: Final = (
    "{name}: its fields were {old}, and are {new}: a node of {version} can read it no more. Raise PROTOCOL_VERSION, so "
    "that nodes of the two do not talk; or leave it as it is, and make another message, from a feature level on"
)
NOT_READ: Final = (
    "{name}: what {version} sends is {what}. Nodes of the two are to talk: read both, or raise PROTOCOL_VERSION"
)
WRITTEN_ANEW: Final = (
    "{name}: the same is packed otherwise than by {version}, whose reader is strict. Pack it as before, or raise "
    "PROTOCOL_VERSION"
)
NO_LEVEL: Final = (
    "{name} is not known to {version}, which understands feature level {level}. Send it from a higher level on only, "
    "and say in SINCE of tests/protocol/recording.py from which; it has {has}"
)
KEY_GONE: Final = (
    "{name}: its body lacks the key {key!r}, which a client of {version} reads. Keep it, or raise PROTOCOL_VERSION"
)
GONE: Final = (
    "{name} of {version} is gone, or has another number: numbers are never changed, and old ones are still read"
)


def complaints(old: Mapping[str, Any], now: Mapping[str, Any], since: Mapping[str, int] = SINCE) -> Iterator[str]:
    """What keeps a node of this source from talking to one of the version that ``old`` was recorded of, if they are to:
    with another PROTOCOL_VERSION they do not. Each says what to do."""
    if old["protocol_version"] != now["protocol_version"]:
        return
    told = {"version": old["version"], "level": old["feature_level"]}
    for name, before in old["kinds"].items():
        after = now["kinds"].get(name)
        if after is None or after["kind"] != before["kind"]:
            yield GONE.format(name=name, **told)
        elif after["fields"] != before["fields"]:
            yield FIELDS_CHANGED.format(name=name, old=before["fields"], new=after["fields"], **told)
        else:
            yield from _frame_complaints(name, before["frames"], told)
    for name, packed in old["packed"].items():
        yield from _packed_complaints(name, packed, told)
    for reply, keys in old["bodies"].items():
        for key in sorted(set(keys) - set(now["bodies"].get(reply, ()))):
            yield KEY_GONE.format(name=reply, key=key, **told)
    yield from _snapshot_complaints(old["snapshot"], told)
    yield from _new_things(old, now, since, told)


def _frame_complaints(name: str, frames: list[dict[str, Any]], told: Mapping[str, Any]) -> Iterator[str]:
    for frame in frames:
        data = bytes.fromhex(frame["hex"])
        try:
            message = codec.decode(data)
        except ProtocolError as error:
            yield NOT_READ.format(name=name, what=f"refused ({error})", **told)
            continue
        if plain(message) != frame["holds"]:
            yield NOT_READ.format(name=name, what=f"read as {message}", **told)
        elif codec.encode(message) != data:
            yield WRITTEN_ANEW.format(name=name, **told)


def _packed_complaints(name: str, packed: Mapping[str, Any], told: Mapping[str, Any]) -> Iterator[str]:
    if name not in PACKED:
        yield GONE.format(name=name, **told)
        return
    encode, decode, _ = PACKED[name]
    data = bytes.fromhex(packed["hex"])
    try:
        value = decode(data)
    except ProtocolError as error:
        yield NOT_READ.format(name=name, what=f"refused ({error})", **told)
        return
    value = list(value) if name == "held" else value
    if plain(value) != packed["holds"]:
        yield NOT_READ.format(name=name, what=f"read as {value}", **told)
    elif encode(value) != data:
        yield WRITTEN_ANEW.format(name=name, **told)


def _snapshot_complaints(packed: str, told: Mapping[str, Any]) -> Iterator[str]:
    restored = TaskTable()
    try:
        restore(restored, bytes.fromhex(packed))
    except ValueError as error:
        yield NOT_READ.format(name="the snapshot", what=f"refused ({error})", **told)
        return
    if snapshot_of(restored).hex() != packed:
        yield WRITTEN_ANEW.format(name="the snapshot", **told)


def _new_things(
    old: Mapping[str, Any], now: Mapping[str, Any], since: Mapping[str, int], told: Mapping[str, Any]
) -> Iterator[str]:
    """What this source may send that the older one does not know."""
    levels: dict[str, int] = {}
    for name in now["kinds"].keys() - old["kinds"].keys():
        levels[f"kind {name}"] = since.get(f"kind {name}", 0)
    for name, numbers in now["enumerations"].items():
        before = old["enumerations"].get(name)
        if before is None:
            continue  # of a message that is new
        for member, number in numbers.items():
            if before.get(member, number) != number or (member not in before and number in before.values()):
                yield GONE.format(name=f"{name} {member}", **told)
            elif member not in before:
                given = now["entry_kinds"].get(member, 0) if name == "EntryKind" else 0
                levels[f"{name} {member}"] = given or since.get(f"{name} {member}", 0)
        for member in before.keys() - numbers.keys():
            yield GONE.format(name=f"{name} {member}", **told)
    for key in now["options"].keys() - old["options"].keys():
        levels[f"the option {key}"] = now["options"][key]
    for key in old["options"].keys() - now["options"].keys():
        yield GONE.format(name=f"the option {key}", **told)
    for name, level in sorted(levels.items()):
        if level <= old["feature_level"]:
            yield NO_LEVEL.format(name=name, has=f"level {level}" if level else "none", **told)


def main() -> None:
    RECORDED.mkdir(exist_ok=True)
    path = RECORDED / f"{version()}.json"
    path.write_text(json.dumps(recorded(), indent=1, sort_keys=False) + "\n", "utf-8")
    print(path.relative_to(ROOT))


if __name__ == "__main__":
    main()
