"""Where other nodes might be: multicast DNS (RFC 6762, 6763), and seeds that a person names.

The rules of this module:

- It gives addresses and nothing else. An address is a hint: who is there, and whether it still lives, is found out by
  talking to it. Records outlive a node that crashed by minutes.
- It never stops a node from starting. Many networks, every cloud's among them, carry no multicast: that is one warning
  with the remedy, and so is a seed whose name does not resolve.
- Callbacks come from threads of this module or of zeroconf. They must not block; Transport.wake is what they are for.

zeroconf is imported where it is used: it costs memory and start-up time that a process with addresses can save.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from paceline.config import LOOPBACK_HOST, format_address, is_loopback, parse_address

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange, Zeroconf

SERVICE_TYPE: Final = "_paceline._tcp.local."
RECORD_VERSION: Final = "1"
REQUEST_TIMEOUT_MS: Final = 1000
CLOSE_TIMEOUT_S: Final = 2.0
SETTLE_S: Final = 0.05
"""How long find_nodes goes on after the first answer: the nodes of a cluster answer almost together."""

RESOLVE_INTERVAL_S: Final = 5.0
SEED_ADDRESSES_MAX: Final = 64
RECORD_ADDRESSES_MAX: Final = 8

_logger = logging.getLogger("paceline.discovery")


# --- multicast DNS ----------------------------------------------------------------------------------------------


class Discovery:
    """Announces one node, and passes on the addresses of the others of its cluster."""

    def __init__(
        self,
        *,
        node_id: str,
        cluster_name: str,
        address: str,
        loopback: bool,
        on_address: Callable[[str], None],
        on_other: Callable[[str, str], None] | None = None,
    ) -> None:
        """``on_other``: gets the name of another cluster, and where a node of it is."""
        self._node_id = node_id
        self._cluster_name = cluster_name
        self._address = address
        self._loopback = loopback
        self._on_address = on_address
        self._on_other = on_other
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="paceline-discovery", daemon=True)

    def start(self) -> None:
        """Returns at once; the sockets are opened on another thread."""
        self._thread.start()

    def stop(self) -> None:
        """Withdraw the announcement. Returns within CLOSE_TIMEOUT_S, whatever the network does."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_S)

    def _run(self) -> None:
        from zeroconf import ServiceBrowser

        try:
            # Leaving the browser ends its thread while zeroconf still works; leaving zeroconf withdraws the record.
            with (
                _open_zeroconf(self._loopback) as zeroconf,
                ServiceBrowser(zeroconf, SERVICE_TYPE, handlers=[self._changed]),
            ):
                self._announce(zeroconf)
                self._stopping.wait()
        except _network_errors() as error:
            _logger.warning(
                "multicast discovery does not work on this network (%s); name other nodes with --join HOST:PORT", error
            )

    def _announce(self, zeroconf: Zeroconf) -> None:
        from zeroconf import ServiceInfo

        host, port = parse_address(self._address)
        info = ServiceInfo(
            SERVICE_TYPE,
            f"{self._node_id}.{SERVICE_TYPE}",
            port=port,
            parsed_addresses=_ip_addresses(host),
            properties={"name": self._cluster_name, "id": self._node_id, "v": RECORD_VERSION},
            server=f"{self._node_id}.local.",
        )
        # Node ids are random, so nobody else owns this name: probing for one would only delay the announcement.
        zeroconf.register_service(info, cooperating_responders=True)

    # zeroconf passes these by keyword.
    def _changed(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if self._stopping.is_set():
            return
        record = _read_record(zeroconf, service_type, name, state_change)
        if record is None or record.node_id == self._node_id:
            return
        for address in record.addresses:
            if record.cluster_name == self._cluster_name:
                self._on_address(address)
            elif self._on_other is not None:
                self._on_other(record.cluster_name, address)


def find_nodes(cluster_name: str | None, *, loopback: bool | None = None, timeout_s: float) -> list[str]:
    """Addresses of nodes that announce themselves, those of one cluster if it is named; empty if none does in time.

    ``loopback``: True, only nodes that this machine alone can reach; False, only others; None, both. Returns
    SETTLE_S after the first is found; a look-up under way can make that REQUEST_TIMEOUT_MS later.
    """
    from zeroconf import ServiceBrowser

    deadline_s = time.monotonic() + timeout_s
    found: dict[str, None] = {}  # a set that keeps its order
    first, over = threading.Event(), threading.Event()

    def changed(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        record = None if over.is_set() else _read_record(zeroconf, service_type, name, state_change)
        if record is None or cluster_name not in (None, record.cluster_name):
            return
        for address in record.addresses:
            if loopback is None or loopback == is_loopback(parse_address(address)[0]):
                found[address] = None
                first.set()

    try:
        # Outside the loopback interface alone, zeroconf listens on every interface, and loopback is one.
        with (
            _open_zeroconf(loopback is True) as zeroconf,
            ServiceBrowser(zeroconf, SERVICE_TYPE, handlers=[changed]),
        ):
            if first.wait(max(0.0, deadline_s - time.monotonic())):
                time.sleep(max(0.0, min(SETTLE_S, deadline_s - time.monotonic())))
            over.set()
    except _network_errors() as error:
        _logger.info("multicast discovery does not work on this network: %s", error)
    return list(found)


@dataclass(frozen=True, slots=True)
class _Announcement:
    """A node's announcement."""

    cluster_name: str
    node_id: str
    addresses: tuple[str, ...]


def _read_record(
    zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange
) -> _Announcement | None:
    """The record behind a change, if it tells of a node; None otherwise. Anyone on the network may write one."""
    from zeroconf import ServiceStateChange

    if state_change is ServiceStateChange.Removed:
        return None
    try:
        info = zeroconf.get_service_info(service_type, name, REQUEST_TIMEOUT_MS)
    except _network_errors() as error:
        _logger.info("can't read the record %s: %s", name, error)
        return None
    if info is None or not info.port:
        return None
    properties = info.decoded_properties
    cluster_name, node_id = properties.get("name"), properties.get("id")
    if cluster_name is None or not node_id or properties.get("v") != RECORD_VERSION:
        return None
    # Of IPv6, link-local addresses come with a scope that means nothing to anyone else.
    hosts = [host for host in info.parsed_addresses() if "%" not in host][:RECORD_ADDRESSES_MAX]
    return _Announcement(cluster_name, node_id, tuple(format_address(host, info.port) for host in hosts))


def _open_zeroconf(loopback: bool) -> Zeroconf:
    from zeroconf import InterfaceChoice, Zeroconf

    return Zeroconf(interfaces=[LOOPBACK_HOST] if loopback else InterfaceChoice.All)


def _network_errors() -> tuple[type[Exception], ...]:
    from zeroconf import Error

    return (OSError, Error)


def _ip_addresses(host: str) -> list[str]:
    return [parse_address(address)[0] for address in resolve_seed(host)]


# --- seeds ------------------------------------------------------------------------------------------------------


def resolve_seed(seed: str) -> list[str]:
    """The addresses that one seed stands for: a name's every A record. Blocks; raises OSError if there is none."""
    host, port = parse_address(seed)
    if ":" in host:  # an IPv6 address
        return [format_address(host, port)]
    try:
        answers = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty or too long
        raise OSError(f"{host} is not a host name") from error
    hosts = dict.fromkeys(str(answer[4][0]) for answer in answers)  # each once, in order
    return [format_address(ip, port) for ip in list(hosts)[:SEED_ADDRESSES_MAX]]


def resolve_seeds(seeds: Sequence[str]) -> list[str]:
    """The addresses that the seeds stand for, each once. Blocks. Seeds that don't resolve are logged and left out."""
    addresses: dict[str, None] = {}
    for seed in seeds:
        try:
            addresses.update(dict.fromkeys(resolve_seed(seed)))
        except OSError as error:
            _log_unresolved(seed, str(error))
    return list(addresses)


class SeedResolver:
    """Resolves the seeds on a thread of its own, again and again: behind a name, nodes come and go.

    ``on_address`` gets every address at every round. A seed that fails is logged when it starts to fail, or fails
    differently, and when it works again.
    """

    def __init__(
        self, seeds: Sequence[str], on_address: Callable[[str], None], *, interval_s: float = RESOLVE_INTERVAL_S
    ) -> None:
        self._seeds = tuple(seeds)
        self._on_address = on_address
        self._interval_s = interval_s
        self.addresses: dict[str, list[str]] = {}  # of each seed, when it last resolved; read by other threads
        self._failures: dict[str, str] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="paceline-seeds", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Does not wait for a look-up under way: it can take a minute, and its thread ends with the process."""
        self._stopping.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for seed in self._seeds:
                self._resolve(seed)
            self._stopping.wait(self._interval_s)

    def _resolve(self, seed: str) -> None:
        try:
            addresses = resolve_seed(seed)
        except OSError as error:
            if self._failures.get(seed) != str(error):
                _log_unresolved(seed, str(error))
            self._failures[seed] = str(error)
            return
        if self._failures.pop(seed, None):
            _logger.info("the seed %s resolves again", seed)
        self.addresses = self.addresses | {seed: addresses}
        for address in addresses:
            if not self._stopping.is_set():
                self._on_address(address)


def _log_unresolved(seed: str, reason: str) -> None:
    _logger.warning("the seed %s does not resolve (%s); check its name, or give an IP address", seed, reason)
