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
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from paceline.config import LOOPBACK_HOST, format_address, is_loopback, parse_address
from paceline.hosts import LOCALHOST, is_number
from paceline.names import SLOW_S, Names
from paceline_protocol.messages.message import PROTOCOL_VERSION

if TYPE_CHECKING:
    from zeroconf import ServiceStateChange, Zeroconf

SERVICE_TYPE: Final = "_paceline._tcp.local."
RECORD_VERSION: Final = "1"
REQUEST_TIMEOUT_MS: Final = 1000
CLOSE_TIMEOUT_S: Final = 2.0
SETTLE_S: Final = 0.05
"""How long find_nodes goes on after the first answer: the nodes of a cluster answer almost together."""

RESOLVE_INTERVAL_S: Final = 5.0
RECORD_ADDRESSES_MAX: Final = 8
NAME_CHARS: Final = 64
RETRY_S: Final = 5.0
"""From one try to use multicast to the next, on a network that carries none."""

_logger = logging.getLogger("paceline.discovery")


# --- multicast DNS ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sighting:
    """A node's announcement, as discovery found it. Anyone on the network may write one."""

    cluster_name: str
    node_id: str
    addresses: tuple[str, ...]
    protocol: str  # its version, "" if it does not say


class Discovery:
    """Announces one node, and passes on the announcements of others.

    It begins anew whenever the addresses of its machine have changed, since the sockets of multicast are bound to
    interfaces, and every RETRY_S while the network carries no multicast.
    """

    def __init__(
        self,
        *,
        node_id: str,
        cluster_name: str,
        port: int,
        hosts: Sequence[str],
        loopback: bool,
        on_sighting: Callable[[Sighting], None],
    ) -> None:
        """``hosts``: the numbers of this node, most promising first."""
        self._node_id = node_id
        self._cluster_name = cluster_name
        self._port = port
        self._hosts = tuple(hosts)
        self._interfaces: object = None
        self._loopback = loopback
        self._on_sighting = on_sighting
        self._is_told = False
        self._stopping = threading.Event()
        self._changed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="paceline-discovery", daemon=True)

    def start(self) -> bool:
        """Returns at once; the sockets are opened on another thread. False if the system has no room for that thread:
        then it is to be called again."""
        try:
            self._thread.start()
        except RuntimeError as error:
            self._tell("discovery can't start", error)
            return False
        return True

    def stop(self) -> None:
        """Withdraw the announcement. Returns within CLOSE_TIMEOUT_S, whatever the network does."""
        self._stopping.set()
        self._changed.set()
        if self._thread.is_alive():
            self._thread.join(CLOSE_TIMEOUT_S)

    def announce(self, hosts: Sequence[str], interfaces: object = None) -> None:
        """This node is at these numbers from now on. ``interfaces``: whatever tells one state of the machine's network
        from another. Returns at once; nothing happens if all is as it was."""
        if (tuple(hosts), interfaces) != (self._hosts, self._interfaces):
            self._hosts, self._interfaces = tuple(hosts), interfaces
            self._changed.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._changed.clear()
            try:
                self._take_part()
            except (RuntimeError, MemoryError, ImportError) as error:  # no room for zeroconf, or for its threads
                self._tell("discovery can't start", error)
                self._changed.wait(RETRY_S)
            except _network_errors() as error:
                self._tell("multicast discovery does not work on this network", error)
                self._changed.wait(RETRY_S)

    def _take_part(self) -> None:
        """Until the addresses of this node change, or it stops."""
        from zeroconf import ServiceBrowser

        # Leaving the browser ends its thread while zeroconf still works; leaving zeroconf withdraws the record.
        with (
            _open_zeroconf(self._loopback) as zeroconf,
            ServiceBrowser(zeroconf, SERVICE_TYPE, handlers=[self._seen]),
        ):
            if self._hosts and not self._stopping.is_set():
                self._register(zeroconf, self._hosts)
            if self._is_told:
                self._is_told = False
                _logger.info("multicast discovery works now")
            self._changed.wait()

    def _tell(self, what: str, error: Exception) -> None:
        """Once, until it works."""
        if not self._is_told:
            self._is_told = True
            reason = str(error) or "out of memory"
            _logger.warning("%s (%s); name other nodes with --join HOST:PORT. It is tried again", what, reason)

    def _register(self, zeroconf: Zeroconf, hosts: Sequence[str]) -> None:
        from zeroconf import ServiceInfo

        info = ServiceInfo(
            SERVICE_TYPE,
            f"{self._node_id}.{SERVICE_TYPE}",
            port=self._port,
            parsed_addresses=list(hosts),
            properties={
                "name": self._cluster_name,
                "id": self._node_id,
                "v": RECORD_VERSION,
                "p": str(PROTOCOL_VERSION),
            },
            server=f"{self._node_id}.local.",
        )
        # Node ids are random, so nobody else owns this name: probing for one would only delay the announcement.
        zeroconf.register_service(info, cooperating_responders=True)

    # zeroconf passes these by keyword.
    def _seen(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if self._stopping.is_set():
            return
        record = _read_record(zeroconf, service_type, name, state_change)
        if record is not None and record.node_id != self._node_id:
            self._on_sighting(record)


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
    except (RuntimeError, MemoryError) as error:
        _logger.info("discovery can't start: %s", error)
    except _network_errors() as error:
        _logger.info("multicast discovery does not work on this network: %s", error)
    return list(found)


def _read_record(zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> Sighting | None:
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
    protocol = (properties.get("p") or "")[:NAME_CHARS]
    if not f"{node_id}{protocol}".isprintable():  # both are shown as they are
        return None
    # Of IPv6, link-local addresses come with a scope that means nothing to anyone else.
    hosts = [host for host in info.parsed_addresses() if "%" not in host][:RECORD_ADDRESSES_MAX]
    addresses = tuple(format_address(host, info.port) for host in hosts)
    return Sighting(cluster_name[:NAME_CHARS], node_id[:NAME_CHARS], addresses, protocol)


def _open_zeroconf(loopback: bool) -> Zeroconf:
    """By IPv4 and IPv6 if the machine has both, else by what it has."""
    from zeroconf import InterfaceChoice, IPVersion, Zeroconf

    if loopback:
        return Zeroconf(interfaces=[LOOPBACK_HOST])
    try:
        return Zeroconf(interfaces=InterfaceChoice.All, ip_version=IPVersion.All)
    except RuntimeError as error:  # which zeroconf raises for a machine without an interface that is up
        raise OSError(str(error)) from error
    except _network_errors():
        return Zeroconf(interfaces=InterfaceChoice.All)


def _network_errors() -> tuple[type[Exception], ...]:
    from zeroconf import Error

    return (OSError, Error)


# --- seeds ------------------------------------------------------------------------------------------------------


class SeedResolver:
    """Finds out what the seeds stand for, on a thread of its own, again and again: behind a name, nodes come and go.

    ``on_address`` gets every address at every round. A seed that fails is logged when it starts to fail, or fails
    differently, and when it works again. One that takes long keeps no other waiting.
    """

    def __init__(
        self,
        seeds: Sequence[str],
        on_address: Callable[[str], None],
        *,
        names: Names,
        interval_s: float = RESOLVE_INTERVAL_S,
    ) -> None:
        self.seeds = {seed: parse_address(seed) for seed in seeds}  # host and port of each
        self._on_address = on_address
        self._names = names
        self._interval_s = interval_s
        self.addresses: dict[str, list[str]] = {}  # of each seed, when it last resolved; read by other threads
        self._answers = dict.fromkeys(self.seeds, 0)  # how many look-ups of each were heard of
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
            for seed, (host, _) in self.seeds.items():
                self._names.refresh(host)
                if is_number(host) or host == LOCALHOST:
                    self._answers[seed] = 0  # which is no look-up: it is passed on at each round
            end = time.monotonic() + self._interval_s
            while not self._stopping.is_set():
                for seed in self.seeds:
                    self._take(seed)
                if (left_s := end - time.monotonic()) <= 0:
                    break
                self._names.wait(min(left_s, SLOW_S))

    def _take(self, seed: str) -> None:
        """Pass on what the last look-up of a seed has found, once."""
        host, port = self.seeds[seed]
        if problem := self._names.problem(host):
            self._tell(seed, problem)
        answers = self._names.answers(host)
        if answers == self._answers[seed]:
            return
        self._answers[seed] = answers
        if not problem and self._failures.pop(seed, ""):
            _logger.info("the seed %s resolves again", seed)
        addresses = [format_address(number, port) for number in self._names.hosts(host)]
        if addresses:
            self.addresses = self.addresses | {seed: addresses}
        for address in addresses:
            if not self._stopping.is_set():
                self._on_address(address)

    def _tell(self, seed: str, problem: str) -> None:
        kind = problem.rstrip(" s0123456789")  # and not for how long
        if self._failures.get(seed) != kind:
            self._failures[seed] = kind
            _logger.warning("the seed %s does not resolve (%s); check its name, or give an IP address", seed, problem)
