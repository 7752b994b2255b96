"""The data directory of one node: who it is, what it has promised, and that nobody else writes there.

    lock             holds the pid of the process that has the directory (hold.py)
    identity.json    ids, consents, how the node last stopped, and whether an operator made it the only voter
    journal/         segments, snapshots, and which of them must be there (recovery.py, synced.py, journal.py)
    lost-1/ ...      data that must not be used any more, kept for a person to look at
    before-1/ ...    what was there before a start with --fresh, kept for a person to delete

A node whose identity is there and whose journal is gone has forgotten what it promised: it must not vote under its old
id. With the journal mode "os" a crash of the whole machine has the same effect. The mode that counts is the one in
which the journal was last written; identity.json has that, whatever mode the node is started with now.

A copy of a directory would be the same node once more, or the node of an earlier time: see ``place.py``. A node does
not start on one, unless somebody says that the directory was moved.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from paceline.core.incarnation import INCARNATIONS
from paceline.core.membership.identity import Identity
from paceline.errors import (
    COPIED_ADVICE,
    ConfigError,
    IdentityLost,
    IdentityUsedUp,
    JournalCorrupt,
    JournalFailed,
    RecoveryUnfinished,
)
from paceline.runtime.journal.files import Files, RealFiles, kind_of, replace_file
from paceline.runtime.journal.hold import Hold
from paceline.runtime.journal.identity_file import UnsafeRecovery, identity_of, read_identity, recovery_in
from paceline.runtime.journal.place import boot_id, copied, inode_of, machine_id
from paceline.runtime.journal.records import FORMAT_VERSION
from paceline.runtime.journal.recovery import Recovered, find_segments, read_journal
from paceline.runtime.journal.synced import mark_path
from paceline.runtime.journal.unusable import failure_of, make_directory

MOVED_STEP = 4_096
"""Whoever says that a directory was moved has it counted for later than any start that was not."""
PATIENCE_S = 10.0
"""How long the node itself, which does nothing else meanwhile, waits until it can open a file."""
_JOURNAL_GONE = "identity.json is there and the journal is gone"
_logger = logging.getLogger("paceline.journal")


def default_directory(cluster_name: str, port: int) -> Path:
    """Where a node of this cluster and port keeps its data by default. Raises ConfigError if there is no such place."""
    try:
        return platformdirs.user_state_path("paceline") / (cluster_name or "local") / str(port)
    except RuntimeError:
        raise ConfigError(
            "the home directory of this user is not known, so there is no folder for the node's data: say which with "
            "--data-dir, set HOME, or write nothing with --journal memory"
        ) from None


@dataclass(slots=True)
class Storage:
    """An opened data directory. ``close`` it when the journal is closed."""

    directory: Path
    identity: Identity
    recovered: Recovered
    _hold: Hold
    _files: Files
    _cluster_name: str
    _mode: str  # of the journal
    recovery: UnsafeRecovery | None = None

    @property
    def cluster_name(self) -> str:
        return self._cluster_name

    @property
    def journal_directory(self) -> Path:
        return self.directory / "journal"

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        cluster_name: str,
        mode: str,
        fresh: bool = False,
        moved: bool = False,
        files: Files | None = None,
    ) -> Storage:
        """Lock the directory, read all of it, and count the start. ``fresh``: put aside what is there, whatever it is,
        and begin with nothing. ``moved``: somebody says that this is the only copy of its node, wherever it was before.

        Raises DataDirInUse, ConfigError (it belongs to another cluster), IdentityLost, IdentityUsedUp,
        JournalCorrupt, JournalTooNew, JournalTooOld, JournalFailed, RecoveryUnfinished.
        """
        storage = cls._open(directory, files, cluster_name, mode, fresh=fresh, moved=moved)
        if storage.recovery is not None and not storage.recovery.finished:
            storage.close()
            raise RecoveryUnfinished(str(directory))
        return storage

    @classmethod
    def open_stopped(cls, directory: Path, files: Files | None = None) -> Storage:
        """Open a directory of any cluster to look at it or to recover it, and not to run a node on it."""
        return cls._open(directory, files, None, None)

    @classmethod
    def _open(
        cls,
        directory: Path,
        files: Files | None,
        cluster_name: str | None,
        mode: str | None,
        *,
        fresh: bool = False,
        moved: bool = False,
    ) -> Storage:
        """``mode`` None: no node is going to run on the directory, so neither a crash in mode "os" nor that it is a
        copy matters."""
        files = files or RealFiles(PATIENCE_S)
        make_directory(directory)
        try:
            hold = Hold(directory)
        except OSError as error:
            raise failure_of("use", directory, error) from error
        try:
            if fresh:
                _begin_anew(directory, files)
            return cls._open_held(directory, hold, files, cluster_name, mode, moved=moved)
        except OSError as error:
            hold.release()
            raise failure_of("open", directory, error) from error
        except BaseException:
            hold.release()
            raise

    @classmethod
    def _open_held(
        cls, directory: Path, hold: Hold, files: Files, cluster_name: str | None, mode: str | None, *, moved: bool
    ) -> Storage:
        journal = directory / "journal"
        found = read_identity(directory / "identity.json")
        if found is not None and not _has_segments(journal):
            raise IdentityLost(str(directory), _JOURNAL_GONE)
        if cluster_name is None:
            cluster_name = found["cluster_name"] if found is not None else ""
        if found is not None and found["cluster_name"] != cluster_name:
            theirs, ours = found["cluster_name"] or "(none)", cluster_name or "(none)"
            raise ConfigError(
                f"the data directory {directory} belongs to a node of cluster {theirs}, and this one is of {ours}; "
                "give another --data-dir"
            )
        if found is not None and mode is not None and _may_have_lost(found):
            aside = _put_aside(directory, "lost", files)
            _logger.warning(
                "the machine was restarted without stopping this node, which ran with journal os and may have lost "
                "what it promised: it starts as a new node; what it had is in %s",
                aside,
            )
            found = None
        if found is not None and mode is not None and not moved and _is_new_because_copied(directory, found, files):
            found = None
        identity = identity_of(found)
        identity.incarnation += MOVED_STEP - identity.incarnation % MOVED_STEP if moved else 1
        if mode is not None and identity.incarnation >= INCARNATIONS:
            raise IdentityUsedUp(str(directory), identity.incarnation)
        journal.mkdir(exist_ok=True, mode=0o700)
        hold.add(journal)
        files.sync_directory(directory)
        recovered = _read_journal_of(directory, found)
        if recovered.torn is not None:
            torn = recovered.torn
            _logger.warning(
                "%s ends at byte %d in a write that a crash left incomplete; %d bytes, which were promised to nobody, "
                "are cut",
                torn.path,
                torn.offset,
                torn.dropped_bytes,
            )
        recovery = recovery_in(directory / "identity.json", found) if found is not None else None
        return cls(directory, identity, recovered, hold, files, cluster_name, mode or "fsync", recovery)

    def save_identity(self, *, clean: bool = False) -> None:
        """Write the identity, durably when this returns. Raises JournalFailed, and DataDirLost rather than
        write to another directory. The caller has opened the journal for writing before; with ``clean`` all of the
        journal must be durable."""
        self._hold.check()
        identity = self.identity
        fields: dict[str, object] = {
            "machine": machine_id(),
            "format": FORMAT_VERSION,
            "node_id": identity.node_id,
            "incarnation": identity.incarnation,
            "cluster_name": self._cluster_name,
            "cluster_id": identity.cluster_id,
            "consents": sorted(identity.consents),
            "handed_to": identity.handed_to,
            "formed": identity.formed,
            "journal": self._mode,
            "boot_id": boot_id(),
            "clean": clean,
            "marked": mark_path(self.journal_directory).exists(),
        }
        if self.recovery is not None:
            fields["recovery"] = asdict(self.recovery)
        path = self.directory / "identity.json"

        def content(descriptor: int) -> list[bytes]:
            fields["inode"] = inode_of(descriptor, self.directory)
            return [json.dumps(fields, indent=1).encode() + b"\n"]

        try:
            replace_file(self._files, path, content)
        except OSError as error:
            raise failure_of("write", self.directory, error) from error

    def check(self) -> None:
        """Raises DataDirLost if the directory is not at its path any more."""
        self._hold.check()

    def close(self) -> None:
        """Unlock the directory."""
        self._hold.release()


def _is_new_because_copied(directory: Path, found: dict[str, Any], files: Files) -> bool:
    """Whether the directory is a copy of one whose node had promised nothing: this one is another node, then. Raises
    IdentityLost if it had."""
    reason = copied(found, directory / "identity.json")
    if not reason:
        return False
    if not identity_of(found).is_blank:
        raise IdentityLost(str(directory), reason, COPIED_ADVICE)
    aside = _put_aside(directory, "lost", files)
    _logger.warning(
        "%s: %s. That node belonged to no cluster, so this one is another; what it had is in %s",
        directory,
        reason,
        aside,
    )
    return True


def overtake(directory: Path, incarnation: int) -> None:
    """Have the node that starts on this directory have a later incarnation than this one. It must have stopped. Raises
    as :meth:`Storage.open_stopped` and :meth:`Storage.save_identity` do."""
    storage = Storage.open_stopped(directory)
    found = read_identity(directory / "identity.json")
    assert found is not None, "it is locked, and a node ran on it"
    try:
        storage._mode = found["journal"]
        storage.identity.incarnation = max(storage.identity.incarnation, incarnation)
        storage.save_identity()
    finally:
        storage.close()


def give_up_identity(directory: Path) -> None:
    """Have the node that starts on this directory be another one. Nobody may rely on the one that it was, and it must
    have stopped. Raises JournalFailed."""
    try:
        _put_aside(directory, "lost", RealFiles(PATIENCE_S))
    except OSError as error:
        raise JournalFailed("move", str(error.filename or directory), os.strerror(error.errno or 0)) from error


def _may_have_lost(found: dict[str, Any]) -> bool:
    """Whether the machine may have crashed while a part of the journal was only in its cache."""
    return found["journal"] == "os" and not found["clean"] and found["boot_id"] != boot_id()


def read_stopped(directory: Path) -> Recovered:
    """What a node that starts on this directory goes on with. Changes nothing. Raises JournalCorrupt, JournalTooNew,
    JournalTooOld, IdentityLost, RecoveryUnfinished."""
    found = read_identity(directory / "identity.json")
    if found is not None and not _has_segments(directory / "journal"):
        raise IdentityLost(str(directory), _JOURNAL_GONE)
    recovered = _read_journal_of(directory, found)
    recovery = None if found is None else recovery_in(directory / "identity.json", found)
    if recovery is not None and not recovery.finished:
        raise RecoveryUnfinished(str(directory))
    return recovered


def _has_segments(journal: Path) -> bool:
    if not journal.is_dir() and os.path.lexists(journal):
        kind = kind_of(journal) or "a file"
        raise JournalCorrupt(str(journal), 0, f"it is {kind}, and should be a directory")
    return journal.is_dir() and bool(find_segments(journal))


def _read_journal_of(directory: Path, found: dict[str, Any] | None) -> Recovered:
    """The journal of a node, ``found`` being its identity."""
    is_clean, is_marked = (False, False) if found is None else (found["clean"], found["marked"])
    recovered = read_journal(directory / "journal", is_clean=is_clean, is_marked=is_marked)
    if found is None and (recovered.entries or recovered.snapshot or recovered.hard_state.term):
        raise IdentityLost(str(directory), "there is a journal and no identity.json")
    return recovered


def _begin_anew(directory: Path, files: Files) -> None:
    """Put aside all that a node has here. It is moved and not read, so that damaged data is no obstacle."""
    if any(os.path.lexists(directory / name) for name in ("journal", "identity.json")):
        aside = _put_aside(directory, "before", files)
        _logger.warning(
            "--fresh: this node begins without what it had, which is in %s and is not used any more. A node with "
            "--data-dir %s goes on with it; delete it when nobody needs it",
            aside,
            shlex.quote(str(aside)),
        )


def _put_aside(directory: Path, kind: str, files: Files) -> Path:
    number = 1
    while os.path.lexists(aside := directory / f"{kind}-{number}"):
        number += 1
    aside.mkdir(mode=0o700)
    for name in ("journal", "identity.json"):
        if os.path.lexists(directory / name):
            files.rename(directory / name, aside / name)
    files.sync_directory(aside)
    files.sync_directory(directory)
    return aside
