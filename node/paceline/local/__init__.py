"""Clusters of processes on this machine, for tests, demonstrations and notebooks. Not a client: it starts nodes, and
its clients are those of ``paceline.client``."""

from paceline.local.cluster import Cluster

__all__ = ["Cluster"]
