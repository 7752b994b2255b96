"""What a client shows where it connects, as time goes by, and what it means to be refused."""

from __future__ import annotations

import logging
from pathlib import Path

from paceline.cluster_file import AnyFile, ClientFile, load_cluster
from paceline.errors import ConfigError
from paceline.files import Stamp, stamp_of
from paceline.local_token import NoToken, read_token, token_path
from paceline.security import Credentials

_logger = logging.getLogger("paceline.client")


class ClientKeys:
    """What a client shows where it connects. Its file is read again once it is not what was read, however long ago that
    was, so that a program goes on while the nodes replace their key."""

    def __init__(self, cluster: AnyFile | None, *, on_this_machine: bool) -> None:
        """``on_this_machine``: it is known to look for nodes there. Raises ConfigError for a token that can't be
        used."""
        self._cluster = cluster
        self._seen = cluster.stamp if cluster is not None else None
        self._token = b""
        self._no_token = ""
        if cluster is None and on_this_machine:
            self._read_token()

    def _read_token(self) -> None:
        """Without a token a client goes on: a node may be open (--insecure)."""
        try:
            self._token = read_token()
        except NoToken as error:
            self._no_token = str(error)

    def credentials(self) -> Credentials:
        """For a new connection. Raises ConfigError."""
        cluster = self._cluster
        if cluster is None:
            if not self._token and not self._no_token:
                self._read_token()
            return Credentials(token=self._token)
        if cluster.path is not None and (seen := _seen(cluster.path)) != self._seen:
            self._seen = seen
            try:
                found = load_cluster(cluster.path)
            except ConfigError as error:
                _logger.warning("%s. This client goes on with the keys it has", error)
            else:
                if found.name == cluster.name:
                    self._cluster = cluster = found
        return cluster.credentials

    def why_refused(self, is_unknown: bool) -> str:
        """Why a node that is reached lets nobody in who shows that. ``is_unknown``: it said so itself."""
        cluster = self._cluster
        if cluster is None:
            if not is_unknown:
                return "is no paceline node, or has a cluster file; give this client the file that belongs to it"
            if self._no_token:
                return f"serves its own user alone, as it has no cluster file, and {self._no_token}"
            return (
                "serves its own user alone, as it has no cluster file, and this process is another user's, or has "
                f"another home directory (its token is {token_path()}); give both a cluster file"
            )
        file = f"the cluster file {cluster.path}" if cluster.path else "the cluster file"
        if not is_unknown:
            return f"is no paceline node, or none that {file} belongs to; give the file that the nodes have"
        if isinstance(cluster, ClientFile):
            return (
                f"does not know the key of the {cluster.role.value} {cluster.client!r} ({cluster.path}): it was "
                "revoked, or the changed cluster file is not on that machine yet; see `paceline key list`"
            )
        return f"does not know the key in {file}; give the file that the nodes have"


def _seen(path: Path) -> Stamp | None:
    try:
        return stamp_of(path.stat())
    except OSError:
        return None  # it is gone; what was read counts
