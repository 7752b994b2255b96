"""The nodes that discovery has found, and what has become of each: in words, for a node that waits for others."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Collection

from paceline.config import is_loopback, parse_address
from paceline.discovery import Sighting
from paceline.runtime.node_view import NodeView
from paceline_protocol.messages.message import PROTOCOL_VERSION

FOUND_MAX = 64
"""Nodes that are remembered. Anyone on the network can announce some."""
PROBES_MAX = 16
"""Connections that one report tries."""
PROBE_TIMEOUT_S = 1.0


class FoundNodes:
    """Of a node of this cluster name, and with keys or without."""

    def __init__(self, cluster_name: str, has_keys: bool, view: NodeView) -> None:
        self._cluster_name = cluster_name
        self._keys = "this node's cluster file" if has_keys else "this node, which was given none"
        self._view = view
        self._sightings: dict[str, Sighting] = {}  # by node id, those seen last at the end
        self._probes_left = 0

    def add(self, sighting: Sighting) -> None:
        """May be called from any thread."""
        sightings = dict(self._sightings)
        sightings.pop(sighting.node_id, None)
        sightings[sighting.node_id] = sighting
        while len(sightings) > FOUND_MAX:
            del sightings[next(iter(sightings))]
        self._sightings = sightings

    def report(self, own_address: str) -> list[str]:
        """One line for each node. Blocks for PROBES_MAX times PROBE_TIMEOUT_S at most."""
        self._probes_left = PROBES_MAX
        return [
            f"Node {node_id[:8]} at {', '.join(sighting.addresses) or 'no address'}: "
            f"{self._what_became_of(sighting, own_address)}"
            for node_id, sighting in self._sightings.items()
        ]

    def _what_became_of(self, sighting: Sighting, own_address: str) -> str:
        if sighting.cluster_name != self._cluster_name:
            name = f"the cluster {sighting.cluster_name!r}" if sighting.cluster_name else "a cluster without a file"
            return (
                f"it is of {name}, and this node of {self._cluster_name!r}; if they should be one, give each machine a "
                "copy of the same cluster file"
            )
        if sighting.protocol not in ("", str(PROTOCOL_VERSION)):
            return (
                f"it speaks version {sighting.protocol} of the protocol, and this node {PROTOCOL_VERSION}; install "
                "the same version of paceline on both"
            )
        met = self._view.met(sighting.node_id)
        if met is not None:
            cluster_id = self._view.cluster_id()
            if met.cluster_id and cluster_id and met.cluster_id != cluster_id:
                return f"it belongs to another cluster of this name ({met.cluster_id}, and not {cluster_id})"
            where = "" if met.address in sighting.addresses else f", at {met.address}"
            return f"connected{where}" + ("" if met.cluster_id else ", and it waits too")
        if reached := [address for address in sighting.addresses if self._view.is_reached(address)]:
            return (
                f"connected at {reached[0]}, and no answer comes back; can it reach this node at {own_address}? "
                "If not, give this node --advertise"
            )
        return self._why_not_reached(sighting, own_address)

    def _why_not_reached(self, sighting: Sighting, own_address: str) -> str:
        refusals: dict[str, int] = {}
        for address in sighting.addresses:
            if self._view.is_own(address):
                refusals[f"{address}: that is this node itself, whose machine has the same address"] = 0
                continue
            if self._probes_left <= 0:
                break
            self._probes_left -= 1
            host, port = parse_address(address)
            number, why = probe(host, port)
            if number == 0:
                return (
                    f"{address} takes connections but no handshake succeeds: it is no paceline node, or has other keys "
                    f"than {self._keys}; give both nodes the same cluster file"
                )
            refusals[f"{address}: {why}"] = number
        if not refusals:
            return "not connected"
        return " ".join([f"not connected ({'; '.join(refusals)})", *_advice(sighting, refusals.values(), own_address)])


def _advice(sighting: Sighting, numbers: Collection[int], own_address: str) -> list[str]:
    """What may be the cause, as far as the errors of all its addresses tell."""
    hosts = [parse_address(address)[0] for address in sighting.addresses]
    if all(map(is_loopback, hosts)) and not is_loopback(parse_address(own_address)[0]):
        return ["- it announces loopback, which its own machine alone reaches: was it started before its network?"]
    if set(numbers) <= {errno.ETIMEDOUT, errno.EHOSTUNREACH}:
        port = parse_address(sighting.addresses[0])[1]
        return [f"- multicast gets through and TCP does not: does a firewall drop port {port} there?"]
    if errno.ECONNREFUSED in numbers:
        return ["- nobody listens there: has it stopped, or does a firewall refuse the port?"]
    return []


def probe(host: str, port: int) -> tuple[int, str]:
    """(0, "") if a connection to this number succeeds; else the error and what the system says."""
    try:
        socket.create_connection((host, port), PROBE_TIMEOUT_S).close()
    except TimeoutError:
        return errno.ETIMEDOUT, f"no connection within {PROBE_TIMEOUT_S:.0f} s"
    except OSError as error:
        return error.errno or -1, os.strerror(error.errno) if error.errno else str(error)
    return 0, ""
