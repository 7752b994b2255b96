"""Clusters of processes on this machine, for tests, demonstrations and notebooks.

``cluster.py`` is ``Cluster.local``: nodes that live as long as a ``with`` block. ``node_process.py`` is one of them,
started with two pipes: the node announces on one, and notices the end of this process on the other. ``scratch.py`` is a
temporary directory that goes with the last process that uses it, since it may hold keys.

This is no client: it starts nodes by their command line, as a user does, and makes clients of ``paceline.client`` for
them. Nothing here reaches into a node, and nodes don't know that they were started so, but for the two pipes.
"""

from paceline.local.cluster import Cluster

__all__ = ["Cluster"]
