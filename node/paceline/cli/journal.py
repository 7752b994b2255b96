"""``paceline journal``: look at what a node has on disk. Reads only."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from paceline.cli.output import show
from paceline.errors import JournalCorrupt, JournalError

if TYPE_CHECKING:
    from paceline.runtime.journal.records import Record
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
        directory = super().convert(value, param, ctx)
        if not os.path.isdir(value):  # which click asks of no device, FIFO or socket
            self.fail(f"{os.fsdecode(value)!r} is no directory.", param, ctx)
        return directory


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
    """Read everything, and say whether its node would start on it.

    Whether DIR is a copy of the directory that its node wrote is not looked at.
    """
    from paceline.runtime.journal.data_directory import read_stopped
    from paceline.runtime.journal.recovery import read_journal

    journal = _journal_in(directory)
    # What its node noted of how it stopped is beside the journal. Segments in another folder are looked at alone.
    beside = (journal.parent / name for name in ("identity.json", "lock"))
    has_node = journal.name == "journal" and any(map(os.path.lexists, beside))
    with _reading():
        found = read_stopped(journal.parent) if has_node else read_journal(journal)
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
    from paceline.runtime.journal.recovery import Recovered, find_segments, read_segment, read_synced
    from paceline_protocol.messages.consensus import EntryKind

    journal = _journal_in(directory)
    entry_names = {int(kind): kind.name for kind in EntryKind}
    names = {int(kind): kind.name for kind in RecordKind}
    printed = 0
    with _reading():
        synced = read_synced(journal)
        paths = find_segments(journal)
        for path in paths:
            for record in read_segment(path, Recovered(), is_last=path == paths[-1], synced=synced):
                kind = names.get(record.kind, str(record.kind))
                content: list[Any] = [{"bytes": len(record.body)}]
                if record.kind in names:
                    content = _fields(path, record)
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


def _fields(path: Path, record: Record) -> list[Any]:
    """What a record holds. Raises JournalCorrupt."""
    try:
        return record.fields()
    except ValueError as error:
        raise JournalCorrupt(str(path), record.offset, f"the record makes no sense: {error}") from error


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


@contextmanager
def _reading() -> Iterator[None]:
    """A file that can't be read is an error of the journal. app.py names what is another user's, and what can't be
    printed has no file."""
    try:
        yield
    except OSError as error:
        if isinstance(error, PermissionError) or error.filename is None:
            raise
        raise JournalError(f"can't read {error.filename}: {os.strerror(error.errno or 0)}") from error


def _journal_in(directory: Path) -> Path:
    """Where the segments are. Raises JournalError if there are none: that is not a journal that is whole."""
    from paceline.runtime.journal.recovery import find_segments

    inner = directory / "journal"
    journal = inner if inner.is_dir() else directory
    with _reading():
        has_segments = bool(find_segments(journal))
    if not has_segments:
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
