"""``paceline journal``: what it shows of a journal, and what it says of a damaged one."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import msgpack  # type: ignore[import-untyped]
import pytest

from paceline.cli.app import run
from paceline.core.raft.consensus import Persist
from paceline.core.raft.log import Entry, HardState
from paceline.errors import JournalCorrupt
from paceline.runtime.journal import recovery
from paceline.runtime.journal.data_directory import Storage
from paceline.runtime.journal.files import RealFiles
from paceline.runtime.journal.records import RecordKind, pack_record
from paceline.runtime.journal.recovery import Recovered, find_segments
from paceline.runtime.journal.writer import Writer


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    journal = tmp_path / "journal"
    journal.mkdir()
    writer = Writer(journal, Recovered(), RealFiles(), sync=True)
    for number in range(1, 4):
        writer.write([Persist(number, HardState(number, "a"), None, [Entry(number, number, 1, b"data")])])
    writer.close()
    return tmp_path


def test_verify_sums_up_what_is_there(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["journal", "verify", str(data_dir), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["segments"], found["entries"], found["first_index"], found["last_index"]) == (1, 3, 1, 3)
    assert (found["term"], found["vote"], found["snapshot"], found["torn_tail"]) == (3, "a", None, None)


def test_verify_tells_a_torn_tail_and_changes_nothing(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = find_segments(data_dir / "journal")
    data = path.read_bytes() + b"half of a record"  # which a process that was killed had begun to write
    path.write_bytes(data)
    assert run(["journal", "verify", str(data_dir / "journal")]) == 0
    out = capsys.readouterr().out
    assert "entries      3\n" in out
    assert "torn_tail    file 0000000000000001.segment, offset" in out
    assert path.read_bytes() == data


def test_verify_says_what_a_node_that_starts_there_would(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage = Storage.open(tmp_path / "node", cluster_name="", mode="fsync")
    writer = Writer(storage.journal_directory, storage.recovered, RealFiles(), sync=True)
    writer.stop()
    writer.close()
    storage.save_identity(clean=True)
    storage.close()
    assert run(["journal", "verify", str(tmp_path / "node")]) == 0
    (path,) = find_segments(storage.journal_directory)
    with path.open("ab") as file:
        file.write(b"half of a record")
    for directory in (tmp_path / "node", storage.journal_directory):
        assert run(["journal", "verify", str(directory)]) == 62
        assert "its node had stopped cleanly" in capsys.readouterr().err
    with pytest.raises(JournalCorrupt, match="its node had stopped cleanly"):
        Storage.open(tmp_path / "node", cluster_name="", mode="fsync")


def test_verify_ends_with_its_own_code_for_a_damaged_journal(
    data_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = find_segments(data_dir / "journal")
    data = bytearray(path.read_bytes())
    data[60] ^= 1
    path.write_bytes(data)
    assert run(["journal", "verify", str(data_dir)]) == 62
    assert "is damaged at byte" in capsys.readouterr().err


def test_dump_prints_a_line_for_each_record(data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["journal", "dump", str(data_dir), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["kind"] for line in lines] == ["HARD_STATE", *["HARD_STATE", "ENTRIES"] * 3]
    assert lines[2]["content"] == [{"index": 1, "term": 1, "kind": "CONFIG", "bytes": 4}]
    assert run(["journal", "dump", str(data_dir), "--limit", "2"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_dump_names_a_record_that_makes_no_sense_and_shows_what_a_later_version_wrote(
    data_dir: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    (path,) = find_segments(data_dir / "journal")
    data = path.read_bytes()
    later = pack_record(1, len(data), 5, 9, msgpack.packb([b"\xff", [1]]), last=True)  # type: ignore[arg-type]
    path.write_bytes(data + later)
    assert run(["journal", "dump", str(data_dir), *flags]) == 0
    assert f"{len(later) - 20 - 4}" in capsys.readouterr().out.splitlines()[-1]
    nonsense = pack_record(1, len(data), 5, RecordKind.ENTRIES, msgpack.packb([["a", 1, [], 5]]), last=True)
    path.write_bytes(data + nonsense)
    assert run(["journal", "dump", str(data_dir), *flags]) == 62
    assert f"is damaged at byte {len(data)}: the record makes no sense" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["verify", "dump"])
def test_a_directory_without_a_journal_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], verb: str
) -> None:
    for directory in (tmp_path / "nothing", tmp_path / "blank"):
        directory.mkdir()
    (tmp_path / "blank" / "journal").mkdir()
    for name in ("nothing", "blank"):
        assert run(["journal", verb, str(tmp_path / name)]) == 60
        said = capsys.readouterr()
        assert f"there is no journal in {tmp_path / name}; give the data directory of a node" in said.err
        assert not said.out


@pytest.mark.parametrize("verb", ["verify", "dump"])
def test_a_file_that_the_disk_does_not_give_back_is_named(
    data_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def fail(path: Path) -> bytes:
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(recovery, "read_data_file", fail)
    assert run(["journal", verb, str(data_dir)]) == 60
    assert f"can't read {data_dir / 'journal'}" in capsys.readouterr().err
