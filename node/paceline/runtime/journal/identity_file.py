"""Reads ``identity.json``: who the node of a data directory is, and how it last stopped. ``data_directory.py``
writes it."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from paceline.core.membership.identity import Identity, check_node_id
from paceline.errors import JournalCorrupt, JournalTooNew, JournalTooOld
from paceline.runtime.journal.files import read_data_file
from paceline.runtime.journal.records import FORMAT_VERSION, other_format
from paceline_protocol.errors import PeerViolation

_FIELDS: dict[str, type] = {
    "node_id": str,
    "incarnation": int,
    "cluster_name": str,
    "cluster_id": str,
    "consents": list,
    "handed_to": str,
    "formed": bool,
    "journal": str,
    "boot_id": str,
    "clean": bool,
    "machine": str,
    "inode": int,
    "marked": bool,
}
INCARNATIONS_READ: Final = 1 << 63
"""No process counts so far. What no node may have, and is less, is said as such (``IdentityUsedUp``)."""
_UNKNOWN = {"machine": "", "inode": 0, "marked": False}


@dataclass(frozen=True, slots=True)
class UnsafeRecovery:
    """The record of an operator making this node the only voter of a new cluster (``unsafe_recovery.py``). It is kept
    for as long as the node.

    ``finished``: the journal has been changed, too. Until then the node must not start.
    """

    at: str  # UTC, ISO 8601
    old_cluster_id: str
    last_term: int  # of the last entry that was kept
    last_index: int
    finished: bool


def read_identity(path: Path) -> dict[str, Any] | None:
    """What it says; None if there is none. Raises JournalCorrupt, JournalTooNew, JournalTooOld."""
    try:
        text = read_data_file(path)
    except FileNotFoundError:
        return None
    try:
        fields = json.loads(text)
        if isinstance(fields, dict) and isinstance(fields.get("format"), int) and fields["format"] != FORMAT_VERSION:
            error = JournalTooNew if fields["format"] > FORMAT_VERSION else JournalTooOld
            raise error(str(path), other_format(fields["format"]))
        fields = {**_UNKNOWN, **dict(fields.items())}
    except (ValueError, AttributeError, RecursionError) as error:
        raise JournalCorrupt(str(path), 0, f"it is no identity: {error}") from error
    # A truth value is no number here, though Python takes it for one.
    wrong = [name for name, kind in _FIELDS.items() if type(fields.get(name)) is not kind] or _senseless(fields)
    if wrong or fields.get("format") != FORMAT_VERSION:
        raise JournalCorrupt(str(path), 0, f"it is no identity: {', '.join(wrong) or 'format'} is missing or wrong")
    return dict(fields)


def _senseless(fields: dict[str, Any]) -> list[str]:
    """The names of what no node says of itself. All are there, and of their types."""
    ids = {"node_id": [fields["node_id"]], "consents": fields["consents"]}
    ids |= {name: [fields[name]] for name in ("cluster_id", "handed_to") if fields[name]}
    wrong = [name for name, each in ids.items() if not all(isinstance(one, str) and _is_id(one) for one in each)]
    return wrong if 0 <= fields["incarnation"] < INCARNATIONS_READ else ["incarnation", *wrong]


def _is_id(value: str) -> bool:
    try:
        check_node_id(value)
    except PeerViolation:
        return False
    return True


def recovery_in(path: Path, fields: dict[str, Any]) -> UnsafeRecovery | None:
    """What it says of a recovery, if there was one. Raises JournalCorrupt."""
    if "recovery" not in fields:
        return None
    try:
        recovery = UnsafeRecovery(**fields["recovery"])
    except TypeError as error:
        raise JournalCorrupt(str(path), 0, f"what it says of a recovery makes no sense: {error}") from error
    if not isinstance(recovery.finished, bool):
        raise JournalCorrupt(str(path), 0, "it does not say whether a recovery was finished")
    return recovery


def identity_of(found: dict[str, Any] | None) -> Identity:
    """What identity.json says; a new identity if there is none."""
    if found is None:
        return Identity(secrets.token_hex(8), incarnation=0)
    return Identity(
        found["node_id"],
        found["incarnation"],
        found["cluster_id"],
        frozenset(found["consents"]),
        found["handed_to"],
        found["formed"],
    )
