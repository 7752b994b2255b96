"""Recovery without a majority: one survivor becomes the only voter of a new cluster. An operator decides to do that.

Consensus can't help a cluster that has lost a majority for good: nobody knows what the lost voters had accepted. A
recovery takes the log of one disk as the truth. It works on the directory of a node that is stopped, and writes two
things:

* **A new cluster id.** Messages between peers name their cluster, so the node and its former peers ignore each other if
  those come back, and this disk never votes under two configurations. The consents of first boot stay as they are; a
  node that belongs to a cluster uses none.
* **A configuration entry** behind the last one, in a term above all that the node has seen, which names the node as the
  only voter. Started, it elects itself, and commits all of its log. ``limit``, how many voters the operator asked for,
  stays: the cluster grows to that again. Learners and excluded nodes go: under the new id none of them exists.

The id is written first. A node with the new id and the old configuration can't win an election, and has no peer to vote
for. A node with the old id and the new configuration would overwrite the logs of the voters that come back. Between the
two writes the identity says that the recovery is unfinished; no node starts on such a directory, and the recovery is
run again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from paceline.core.raft.configuration import config_history
from paceline.core.raft.log import Entry, HardState, Log
from paceline.core.raft.ready import Persist
from paceline.core.state.snapshots import restore
from paceline.core.state.table import TaskTable
from paceline.errors import DataDirInUse, RecoveryRefused
from paceline.runtime.journal.data_directory import Storage
from paceline.runtime.journal.files import Files, RealFiles
from paceline.runtime.journal.identity_file import UnsafeRecovery
from paceline.runtime.journal.recovery import Recovered, decoded
from paceline.runtime.journal.unusable import failure_of
from paceline.runtime.journal.writer import Writer
from paceline_protocol.codec import encode_config
from paceline_protocol.messages.consensus import Config, EntryKind


@dataclass(frozen=True, slots=True)
class Survivor:
    """The part of its cluster's state that one stopped node has."""

    directory: Path
    node_id: str
    cluster_name: str
    cluster_id: str
    config: Config  # the last one in its log
    last_term: int
    last_index: int
    queued: int  # tasks that were accepted and have no outcome, once all of the log counts
    results: int  # outcomes that wait for their owners

    @property
    def lost_voters(self) -> tuple[str, ...]:
        return tuple(voter for voter in self.config.voters if voter != self.node_id)


@dataclass(frozen=True, slots=True)
class Recovery:
    """The result of a recovery."""

    survivor: Survivor
    new_cluster_id: str
    at: str
    config_term: int  # of the entry that names the node as the only voter
    config_index: int


def look(directory: Path, *, files: Files | None = None) -> Survivor:
    """The state that a recovery would keep. Changes nothing. Raises the errors of :func:`recover`."""
    storage = _open(directory, files)
    try:
        return _survivor(storage)
    finally:
        storage.close()


def recover(directory: Path, *, new_cluster_id: str, at: str, files: Files | None = None) -> Recovery:
    """Make the node of this directory the only voter of a new cluster. Durable when it returns.

    ``new_cluster_id`` must never have been used; ``at`` is the time in UTC (ISO 8601), for people to read.

    Raises RecoveryRefused (no node, or one that has nothing to recover), DataDirInUse (it runs), IdentityLost,
    JournalCorrupt, JournalTooNew, JournalTooOld, NodeOutdated, JournalFailed. After a failure or a crash in the middle
    it can be called again.
    """
    storage = _open(directory, files)
    try:
        return _recover(storage, new_cluster_id, at, files or RealFiles())
    finally:
        storage.close()


def _open(directory: Path, files: Files | None) -> Storage:
    if not (directory / "identity.json").exists() and not (directory / "journal").exists():
        raise RecoveryRefused(
            f"{directory} is no data directory of a node; give the one that the surviving node was started with"
        )
    try:
        return Storage.open_stopped(directory, files)
    except DataDirInUse as error:
        advice = "a node that runs can't be recovered: stop it first"
        raise DataDirInUse(str(directory), error.pid, advice) from None


def _recover(storage: Storage, new_cluster_id: str, at: str, files: Files) -> Recovery:
    survivor = _survivor(storage)
    recovered = storage.recovered
    term = max(recovered.hard_state.term, survivor.last_term) + 1
    index = survivor.last_index + 1
    config = Config((survivor.node_id,), limit=survivor.config.limit, level=survivor.config.level)
    entry = Entry(index, term, int(EntryKind.CONFIG), encode_config(config))
    unfinished = UnsafeRecovery(at, survivor.cluster_id, survivor.last_term, survivor.last_index, finished=False)
    storage.identity.cluster_id = new_cluster_id
    storage.recovery = unfinished
    storage.save_identity()  # as one that writes with journal "fsync": no crash of the machine makes it a new node
    _write(storage, Persist(1, HardState(term, survivor.node_id), None, [entry]), files)
    storage.recovery = replace(unfinished, finished=True)
    storage.save_identity()
    return Recovery(survivor, new_cluster_id, at, term, index)


def _write(storage: Storage, persist: Persist, files: Files) -> None:
    try:
        writer = Writer(storage.journal_directory, storage.recovered, files, sync=True)
        try:
            writer.write([persist])
        finally:
            writer.close()
    except OSError as error:
        raise failure_of("write", storage.directory, error) from error


def _survivor(storage: Storage) -> Survivor:
    identity, recovered, directory = storage.identity, storage.recovered, storage.directory
    if not identity.cluster_id:
        raise RecoveryRefused(
            f"the node of {directory} never belonged to a cluster, so it has nothing to recover; just start it"
        )
    snapshot, entries = recovered.snapshot, recovered.entries
    config = _config_of(recovered, directory)
    if not config.voters:
        raise RecoveryRefused(
            f"the node of {directory} holds nothing of its cluster's log: it only ran tasks; "
            "recover from a node that voted or replicated"
        )
    last_term, last_index = (entries[-1].term, entries[-1].index) if entries else (0, 0)
    if not entries and snapshot is not None:
        last_term, last_index = snapshot.term, snapshot.index
    recovery = storage.recovery
    cluster_id = identity.cluster_id
    if recovery is not None and not recovery.finished:
        cluster_id = recovery.old_cluster_id  # of the cluster itself: nobody ever led the one in between
    elif config.voters == (identity.node_id,):
        raise RecoveryRefused(f"the node of {directory} is the only voter of its cluster already; just start it")
    table = _table_of(recovered, directory)
    return Survivor(
        directory,
        identity.node_id,
        storage.cluster_name,
        cluster_id,
        config,
        last_term,
        last_index,
        queued=len(table.tasks),
        results=len(table.results),
    )


def _config_of(recovered: Recovered, directory: Path) -> Config:
    snapshot = recovered.snapshot
    log = Log(snapshot.index, snapshot.term, recovered.entries) if snapshot else Log(entries=recovered.entries)
    config = snapshot.config if snapshot else Config()
    return decoded(directory, lambda: config_history(log, config).current)


def _table_of(recovered: Recovered, directory: Path) -> TaskTable:
    table = TaskTable()

    def fill() -> TaskTable:
        if recovered.snapshot is not None:
            restore(table, recovered.snapshot.data)
        for entry in recovered.entries:
            table.apply(entry.kind, entry.data)
        return table

    return decoded(directory, fill)
