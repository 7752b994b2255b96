"""``paceline journal``: look at what a node has on disk. Reads only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from paceline.cli.output import show
from paceline.errors import JournalError

if TYPE_CHECKING:
    from paceline.runtime.journal.recovery import Recovered


class _JournalDirectory(click.Path):
    """One that exists. Whether it does can't be told by a user who may not look; click says then that it does not."""

    def __init__(self) -> None:
        super().__init__(exists=True, file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            os.stat(value)
        except PermissionError:
            raise  # app.py says whose it is
        except (OSError, ValueError):
            pass  # click says what is wrong with it
        return super().convert(value, param, ctx)


_directory = click.argument("directory", metavar="DIR", type=_JournalDirectory())
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(no_args_is_help=False)
def journal() -> None:
    """Look at what a node has on disk. DIR is its data directory, or the folder `journal` in it.

    Nothing is changed. A node that runs meanwhile goes on writing, so its last write may look torn.
    """


@journal.command()
@_directory
@_json
def verify(directory: Path, as_json: bool) -> int:
    """Read everything, and say whether it is whole."""
    from paceline.runtime.journal.recovery import read_journal

    found = read_journal(_journal_in(directory))
    fields = summary(found)
    if as_json:
        show(json.dumps(fields))
        return 0
    for name, value in fields.items():
        show(f"{name:<12} {_text(value)}")
    return 0


@journal.command()
@_directory
@_json
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Stop after N records.")
def dump(directory: Path, as_json: bool, limit: int | None) -> int:
    """Print every record, a line each."""
    from paceline.runtime.journal.records import RecordKind
    from paceline.runtime.journal.recovery import Recovered, find_segments, read_segment
    from paceline_protocol.messages import EntryKind

    paths = find_segments(_journal_in(directory))
    entry_names = {int(kind): kind.name for kind in EntryKind}
    names = {int(kind): kind.name for kind in RecordKind}
    printed = 0
    for path in paths:
        for record in read_segment(path, Recovered(), is_last=path == paths[-1]):
            kind = names.get(record.kind, str(record.kind))
            content: list[Any] = record.fields()
            if record.kind == RecordKind.ENTRIES:
                content = [
                    {"index": index, "term": term, "kind": entry_names.get(number, str(number)), "bytes": len(data)}
                    for index, term, number, data in content
                ]
            fields = {"segment": path.name, "offset": record.offset, "group": record.group, "kind": kind}
            if as_json:
                show(json.dumps({**fields, "content": content}))
            else:
                show(f"{path.name} {record.offset:>10} group {record.group:>8} {kind:<10} {_text(content)}")
            printed += 1
            if limit is not None and printed >= limit:
                return 0
    return 0


def summary(found: Recovered) -> dict[str, Any]:
    """The content of a journal, as names and numbers."""
    entries = found.entries
    return {
        "segments": len(found.segments),
        "records": sum(segment.records for segment in found.segments),
        "bytes": sum(segment.size for segment in found.segments),
        "term": found.hard_state.term,
        "vote": found.hard_state.vote,
        "snapshot": None if found.snapshot is None else {"index": found.snapshot.index, "term": found.snapshot.term},
        "entries": len(entries),
        "first_index": entries[0].index if entries else None,
        "last_index": entries[-1].index if entries else None,
        "torn_tail": None
        if found.torn is None
        else {"file": found.torn.path.name, "offset": found.torn.offset, "bytes": found.torn.dropped_bytes},
    }


def _journal_in(directory: Path) -> Path:
    """Where the segments are. Raises JournalError if there are none: that is not a journal that is whole."""
    from paceline.runtime.journal.recovery import find_segments

    inner = directory / "journal"
    journal = inner if inner.is_dir() else directory
    if not find_segments(journal):
        raise JournalError(
            f"there is no journal in {directory}; give the data directory of a node, or the folder `journal` in it"
        )
    return journal


def _text(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    if isinstance(value, list):
        return "; ".join(_text(item) for item in value)
    return str(value)
