"""What a node keeps on disk: the replicated log, and who the node is.

``journal.py`` is what the reactor sees: it submits Persists in order and learns up to which one everything is durable.
A thread behind it writes all that piled up as one group, with one sync, and between the groups a slice of a snapshot.

- The format: ``records.py`` (bytes; pure), ``snapshot_file.py``, ``recovery.py`` reads it, ``writer.py`` and
  ``snapshot_writer.py`` write it, ``synced.py`` notes how far it had been synced.
- The directory: ``data_directory.py`` (identity, incarnation; an identity without its journal is refused), ``hold.py``
  (the lock), ``identity_file.py``, ``place.py`` (is it a copy?), ``unusable.py`` (why it can't be used).
- ``files.py``: the few system calls, behind an interface, so that tests make each of them fail or cut the power after
  it; and the one way in which a file of the directory is opened.
- ``unsafe_recovery.py``: an operator makes one survivor the only voter of a new cluster.

The rules: a group counts whole or not at all; only a torn last group that had not been synced is cut, and any other
damage stops the node with the file's name; nothing is retried on a disk that has failed; and nothing here reads what an
entry means. With ``--journal memory`` this room is not used at all.
"""
