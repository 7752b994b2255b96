"""A node reads its cluster file again when it changes, so that keys are issued, revoked and replaced without a restart.

The rules:

- A file that can't be read, or is nonsense, or is another cluster's, changes nothing: what was known counts, and one
  line says so. Being copied, a file may be half there for a moment: no beginning of one is taken for a file
  (``cluster_file.py``).
- The file is looked at by a thread of its own, since a disk may hang. It hands over what it found, and wakes the node.
- Only keys are taken from it. Other settings count from the start of a node.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final

from paceline.cluster_file import ClusterFile
from paceline.errors import ConfigError
from paceline.files import Stamp, stamp_of
from paceline.security import NodeKeys

LOOK_EVERY_S: Final = 1.0

_logger = logging.getLogger("paceline.node")


class KeyWatch:
    """Of one node. ``found``: keys that are new to it, until it takes them."""

    def __init__(self, cluster: ClusterFile, wake: Callable[[], None], *, every_s: float = LOOK_EVERY_S) -> None:
        assert cluster.path is not None
        self.found: NodeKeys | None = None
        self._path: Path = cluster.path
        self._known = cluster
        self._seen: Stamp | None = None
        self._said = ""
        self._wake = wake
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="paceline-keys", daemon=True)

    def start(self) -> None:
        """Returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Does not wait: the thread may sit in a read, and ends with the process."""
        self._stopping.set()

    def take(self) -> NodeKeys | None:
        """The keys that count from now on; None if they are the same. For the thread of the node."""
        found, self.found = self.found, None
        return found

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - later changes, as that a key is revoked, must count
                self._keep(f"can't look at {self._path} ({error!r})")

    def look(self) -> None:
        """Read the file, if it has changed since the last look."""
        try:
            seen = stamp_of(os.stat(self._path))
            if seen == self._seen:
                return
            cluster = ClusterFile.load(self._path)
            self._seen = seen
        except OSError as error:
            self._seen = None
            self._keep(f"can't read {self._path} any more: {error.strerror}")
            return
        except ConfigError as error:
            self._seen = None if isinstance(error.__cause__, OSError) else seen  # nonsense is not parsed each second
            self._keep(str(error))
            return
        if cluster.name != self._known.name:
            self._keep(f"{self._path} is the file of the cluster {cluster.name!r} now")
            return
        self._said = ""
        if cluster.node_keys != self._known.node_keys:
            _logger.info("%s has changed: %d keys of clients", self._path, len(cluster.issued))
            self._known = cluster
            self.found = cluster.node_keys
            self._wake()

    def _keep(self, why: str) -> None:
        if why != self._said:
            self._said = why
            _logger.warning("%s. This node, of the cluster %r, goes on with the keys it has", why, self._known.name)
