"""Nodes of this source and of the versions that are recorded can talk, as far as they promise to."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from protocol import recording
from protocol.recording import RECORDED, SINCE, complaints, recorded, version

NOW = recorded()
FILES = sorted(RECORDED.glob("*.json"))


def older(**changes: Any) -> dict[str, Any]:
    """As if this source had been released, and its successor is to talk to it."""
    return copy.deepcopy(NOW) | {"version": "0.0.9", **changes}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_node_of_a_recorded_version_and_one_of_this_source_read_each_other(path: Path) -> None:
    assert list(complaints(json.loads(path.read_text("utf-8")), NOW)) == []


def test_what_this_version_says_is_recorded() -> None:
    """Whoever changes what is said sees the change in its file, and whether an older version can live with it above."""
    path = RECORDED / f"{version()}.json"
    assert path.exists(), "run `./dev record`, and keep the files of older versions"
    assert json.loads(path.read_text("utf-8")) == NOW, "run `./dev record`, and look at what it changes"


def test_every_kind_of_message_and_all_that_is_packed_has_an_example() -> None:
    assert [name for name, kind in NOW["kinds"].items() if not kind["frames"]] == []
    assert len(NOW["packed"]) >= 10


def test_a_version_of_another_protocol_is_not_talked_to() -> None:
    other = older(protocol_version=NOW["protocol_version"] + 1)
    del other["kinds"]["Ping"]
    other["packed"]["calls"]["hex"] = "00"
    assert list(complaints(other, NOW)) == []


def test_a_field_that_is_added_is_a_complaint_that_says_what_to_do() -> None:
    old = older()
    old["kinds"]["Ping"]["fields"] = []
    (said,) = complaints(old, NOW)
    assert said.startswith("Ping: its fields were [], and are ['ack:int']: a node of 0.0.9 can read it no more.")
    assert "Raise PROTOCOL_VERSION" in said


@pytest.mark.parametrize(
    ("part", "name"), [("kinds", "Update"), ("kinds", "Append"), ("packed", "kept"), ("packed", "config")]
)
def test_what_is_read_otherwise_or_not_at_all_is_a_complaint(part: str, name: str) -> None:
    old = older()
    said = old[part][name]["frames"][0] if part == "kinds" else old[part][name]
    said["hex"] = said["hex"][:-2]
    (complaint,) = complaints(old, NOW)
    assert f"{name}: what 0.0.9 sends is refused" in complaint
    old = older()
    said = old[part][name]["frames"][0] if part == "kinds" else old[part][name]
    said["holds"] = [said["holds"]]
    (complaint,) = complaints(old, NOW)
    assert f"{name}: what 0.0.9 sends is read as" in complaint


def test_a_key_that_a_reply_has_no_more_is_a_complaint_and_a_new_one_is_none() -> None:
    old = older()
    old["bodies"]["TaskReply"].append("mood")
    old["bodies"]["TaskReply"].remove("losses")
    (said,) = complaints(old, NOW)
    assert said.startswith("TaskReply: its body lacks the key 'mood', which a client of 0.0.9 reads.")


def test_what_is_packed_otherwise_than_a_strict_reader_takes_it_is_a_complaint(monkeypatch: pytest.MonkeyPatch) -> None:
    encode, decode, value = recording.PACKED["calls"]
    monkeypatch.setitem(recording.PACKED, "calls", (lambda value: encode(value) + b"\xc0", decode, value))
    (complaint,) = complaints(older(), NOW)
    assert "calls: the same is packed otherwise than by 0.0.9" in complaint


@pytest.mark.parametrize("what", ["kind RunNow", "Refusal NOT_READY", "TaskEnd TIMED_OUT", "the option deadline"])
def test_what_an_older_node_does_not_know_needs_a_level_that_it_does_not_understand(what: str) -> None:
    old = older(feature_level=NOW["feature_level"] - 1)
    group, _, name = what.rpartition(" ")
    parts = {"kind": old["kinds"], "the option": old["options"]}
    del (parts[group] if group in parts else old["enumerations"][group])[name]
    told = list(complaints(old, NOW, {what: 0}))
    level = NOW["options"].get(name)
    assert len(told) == (1 if level is None or level <= old["feature_level"] else 0)
    assert all(f"{what} is not known to 0.0.9" in each and "say in SINCE" in each for each in told)
    assert list(complaints(old, NOW, {what: NOW["feature_level"]})) == ([] if level is None else told)


def test_a_new_kind_of_entry_has_its_level_where_the_log_looks_for_it() -> None:
    old = older(feature_level=NOW["entry_kinds"]["DEAD"] - 1)
    del old["enumerations"]["EntryKind"]["DEAD"]
    assert list(complaints(old, NOW)) == []
    old["feature_level"] += 1
    (told,) = complaints(old, NOW)
    assert "EntryKind DEAD is not known to 0.0.9" in told


@pytest.mark.parametrize("change", ["gone", "renumbered", "used again"])
def test_numbers_are_never_changed_and_never_used_again(change: str) -> None:
    old = older()
    ends, ping = old["enumerations"]["TaskEnd"], old["kinds"]["Ping"]
    if change == "gone":
        old["kinds"]["Cheer"] = {**ping, "kind": 199}
        ends["BORED"] = 99
    elif change == "renumbered":
        ping["kind"] = 199
        ends["LOST"] = 99
    else:
        old["kinds"]["Cheer"] = old["kinds"].pop("Ping")
        ends["BORED"] = ends.pop("LOST")
    told = list(complaints(old, NOW, {"kind Ping": 99}))
    assert any("Cheer of 0.0.9 is gone" in each or "Ping of 0.0.9 is gone" in each for each in told)
    assert any("TaskEnd" in each for each in told)


def test_what_has_a_level_of_its_own_is_one_that_there_is() -> None:
    assert all(0 < level <= NOW["feature_level"] for level in SINCE.values())
