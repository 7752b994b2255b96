"""Which cluster a client belongs to that is given none.

A node tells its workers, in their environment, where it listens itself and which file has the keys of its cluster. So
code that runs in a worker, and whatever that starts, reaches the cluster that runs it. One address is enough: a node
outlives its workers, and tells every client who asks it where the others are. If the node has to listen at another
address, it tells its workers.

What is said for a client counts in this order: the arguments of Client; PACELINE_CONNECT and PACELINE_CLUSTER; the
cluster of the worker; this machine's default port and whatever discovery finds. The cluster of the worker is taken as a
whole or not at all: its keys are not used for addresses that somebody else named, nor its address for other keys.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from paceline.cluster_file import AnyFile, ClusterFile, load_cluster
from paceline.config import (
    CLUSTER_VARIABLE,
    DEFAULT_PORT,
    LOOPBACK_HOST,
    addresses_from_environment,
    cluster_path_from_environment,
    format_address,
    parse_address,
)
from paceline.errors import ConfigError
from paceline.options import shown

NODE_VARIABLE: Final = "PACELINE_WORKER_NODE"
"""Environment of a worker: the address at which its node is reached on this machine."""
FILE_VARIABLE: Final = "PACELINE_WORKER_CLUSTER"
"""Environment of a worker: the path of its node's cluster file; not set if the node has none."""


@dataclass(frozen=True, slots=True)
class ClusterAddress:
    """Where a client looks for its cluster, and with which keys. ``discovers``: it asks the local network as well."""

    addresses: tuple[str, ...]
    cluster: AnyFile | None
    discovers: bool


def worker_environment(
    node_address: str, cluster: ClusterFile | None, environment: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The environment for the workers of a node: the node's own, and where the node is.

    A cluster file that was never read from a path can't be passed on. Then nothing is, nor what this process was told
    itself, if it runs in a worker of another cluster.
    """
    passed = {name: value for name, value in environment.items() if name not in (NODE_VARIABLE, FILE_VARIABLE)}
    if cluster is None:
        return passed | {NODE_VARIABLE: node_address}
    if cluster.path is None:
        return passed
    if CLUSTER_VARIABLE in passed:  # it may be relative, and what the node was told by its option counts more
        passed[CLUSTER_VARIABLE] = str(cluster.path)
    return passed | {NODE_VARIABLE: node_address, FILE_VARIABLE: str(cluster.path)}


def node_moved(address: str, environment: MutableMapping[str, str] = os.environ) -> None:
    """In a worker, whose node listens at another address from now on. Nothing happens if it was not told of one."""
    if NODE_VARIABLE in environment:
        environment[NODE_VARIABLE] = address


def in_worker(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is a worker, or was started by what runs in one."""
    return NODE_VARIABLE in environment


def find_cluster(
    addresses: Sequence[str],
    cluster: str | Path | AnyFile | None,
    environment: Mapping[str, str] = os.environ,
) -> ClusterAddress:
    """What a client's arguments and environment say. Raises ConfigError."""
    if cluster is None:
        cluster = cluster_path_from_environment(environment)
    if isinstance(cluster, str | Path):
        cluster = load_cluster(cluster)
    elif cluster is not None and not isinstance(cluster, AnyFile):
        raise ConfigError(f"cluster {shown(cluster)} can't be used: give a cluster file or its path, or None for none")
    for address in addresses:
        if not isinstance(address, str):
            raise ConfigError(f"{shown(address)} is no address of a node; give a string, as in Client('host:7077')")
    given = tuple(format_address(*parse_address(address)) for address in addresses)
    given = given or addresses_from_environment(environment)
    if not given and cluster is not None:
        given = tuple(format_address(*parse_address(address)) for address in cluster.addresses)
    if given:
        return ClusterAddress(given, cluster, discovers=False)
    node, path = environment.get(NODE_VARIABLE), environment.get(FILE_VARIABLE)
    if node and (cluster is None or str(cluster.path) == path):
        if cluster is None and path:
            cluster = load_cluster(path)
        return ClusterAddress((node,), cluster, discovers=False)
    return ClusterAddress((format_address(LOOPBACK_HOST, DEFAULT_PORT),), cluster, discovers=True)
