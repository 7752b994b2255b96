"""Which addresses this machine has, and which of them others are likely to reach it at.

The order of interfaces says nothing: docker0 may come first, one may have no cable, and behind the NAT of a virtual
machine every machine has the same address. So the routes are asked: a datagram socket that is connected to an address
(nothing is sent by that) is bound by the system to the address that it would send from. Addresses by which known peers
are reached come first, then those of the default route, then the rest of the interfaces that are up.

The answer is a list, most promising first. Others try all of it, since only they can know what reaches this machine.
"""

from __future__ import annotations

import fcntl
import ipaddress
import socket
import struct
from collections.abc import Iterable, Sequence
from typing import Final

import ifaddr

from paceline.config import LOOPBACK_HOST, WILDCARD_HOSTS
from paceline.hosts import LOCALHOST, is_number
from paceline.runtime.container import CONTAINER_SIGNS
from paceline.runtime.limits import with_reserve

LOOPBACK_HOST_IPV6: Final = "::1"
HOSTS_MAX: Final = 8
"""Of one machine, that others are told to try."""

_ANY_HOST: Final = ("192.0.2.1", "2001:db8::1")
"""Of documentation alone (RFC 5737, RFC 3849), so that the default route is the way there."""
_SIOCGIFFLAGS: Final = 0x8913
_UP_AND_RUNNING: Final = 0x1 | 0x40  # IFF_UP, IFF_RUNNING: somebody has set it up, and there is a carrier
_BRIDGES: Final = ("docker", "br-", "virbr", "veth", "cni", "podman", "lxcbr", "lxdbr", "flannel", "cali")
"""What interfaces of containers and virtual machines are called, which only this machine reaches."""


def is_in_container() -> bool:
    """Whether this process is in a container of Docker or Podman, whose addresses other machines can't reach."""
    return any(sign.exists() for sign in CONTAINER_SIGNS)


def interface_names() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


def interface_hosts(name: str) -> list[str]:
    """The addresses of an interface, IPv4 first; empty if there is no such interface."""
    hosts = [host for interface, host in _every_host() if interface == name]
    return sorted(hosts, key=lambda host: ":" in host)


def reachable_hosts(bind_host: str, towards: Iterable[str] = ()) -> tuple[str, ...]:
    """The hosts that others may reach a socket by that is bound to ``bind_host``: a number, or a wildcard.
    ``towards``: numbers of known peers. Loopback alone if there are none."""
    if bind_host not in WILDCARD_HOSTS:
        return (local_host(bind_host),)
    every = _every_host()
    usable = [host for name, host in _by_promise(every) if bind_host != "0.0.0.0" or ":" not in host]  # noqa: S104 - compared with, not bound to
    routed = [*routed_hosts(towards), *routed_hosts(_ANY_HOST)]
    first = [host for host in routed if host in usable]
    return tuple(dict.fromkeys([*first, *usable]))[:HOSTS_MAX] or (LOOPBACK_HOST,)


def routed_hosts(towards: Iterable[str]) -> list[str]:
    """The addresses that this machine would send from to these, in their order, each once."""
    return list(dict.fromkeys(filter(None, map(_routed_host, towards))))


def _routed_host(target: str) -> str:
    """The address that this machine would send from to this one; "" if there is no route."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))
            return str(probe.getsockname()[0])
    except OSError:
        return ""


def local_host(bind_host: str) -> str:
    """The host that processes of this machine use for a socket bound to ``bind_host``."""
    if bind_host not in WILDCARD_HOSTS:
        return LOOPBACK_HOST if bind_host == LOCALHOST else bind_host
    return LOOPBACK_HOST_IPV6 if ":" in bind_host else LOOPBACK_HOST


def _every_host() -> list[tuple[str, str]]:
    """(interface, address) of every address of this machine, as the system lists them."""
    return [
        (adapter.name, ip.ip if isinstance(ip.ip, str) else str(ip.ip[0]))
        for adapter in with_reserve(ifaddr.get_adapters)
        for ip in adapter.ips
    ]


def is_broadcast(host: str) -> bool:
    """Whether a number is the broadcast address of a network that this machine is in, which no machine has."""
    return host in {str(network.broadcast_address) for network in _networks()}


def _networks() -> list[ipaddress.IPv4Network]:
    """The IPv4 networks of this machine that have a broadcast address."""
    found = [
        ipaddress.IPv4Network(f"{ip.ip}/{ip.network_prefix}", strict=False)
        for adapter in with_reserve(ifaddr.get_adapters)
        for ip in adapter.ips
        if isinstance(ip.ip, str)
    ]
    return [network for network in found if network.prefixlen < ipaddress.IPV4LENGTH - 1]


def _by_promise(every: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Those that another machine might use: no loopback, nothing of an interface that is down, and of IPv6 nothing that
    is of one link. IPv4 first, and bridges of containers last."""
    running: dict[str, bool] = {}
    found = []
    for name, host in every:
        if not is_number(host):
            continue
        address = ipaddress.ip_address(host)
        if address.is_loopback or address.is_unspecified or (address.version == 6 and address.is_link_local):
            continue
        if name not in running:
            running[name] = _is_running(name)
        if running[name]:
            found.append((address.is_link_local, name.startswith(_BRIDGES), address.version, name, host))
    return [(name, host) for *_, name, host in sorted(found, key=lambda each: each[:3])]


def _is_running(name: str) -> bool:
    request = struct.pack("16sh14x", name.encode()[:15], 0)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            answer = fcntl.ioctl(probe.fileno(), _SIOCGIFFLAGS, request)
    except OSError:
        return True  # a system that says it in another way
    flags: int = struct.unpack("16sH14x", answer)[1]
    return flags & _UP_AND_RUNNING == _UP_AND_RUNNING
