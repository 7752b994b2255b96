"""Where this node says that it is, as the network of its machine changes.

The address is chosen again and again: DHCP may answer after the node was started, a cable is plugged in, a lease ends.
It stays as it is for as long as the machine has it and known peers are reached from it, so that it does not swing from
one to another. Without any address left it stays too: nobody can be told of another.

A node that is bound to an interface is bound to one address of it. When the interface has lost that and has another,
the node has to be bound to the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from paceline.config import LOOPBACK_HOST, WILDCARD_HOSTS, format_address, is_loopback
from paceline.errors import ConfigError
from paceline.hosts import canonical_host, is_number, is_of_one_link
from paceline.names import Names
from paceline.runtime.interfaces import interface_hosts, interface_names, is_broadcast, reachable_hosts, routed_hosts

RESOLVE_S: Final = 5.0
"""How long a name in --bind may take to resolve."""


def bind_number(host: str, names: Names, *, is_advertised: bool = False) -> str:
    """What a socket is bound to for ``--bind HOST``: a number or a wildcard. An interface stands for its first address.
    ``is_advertised``: others are told of another. Raises ConfigError."""
    if host in interface_names():
        hosts = bindable_hosts(host)
        if not hosts:
            raise ConfigError(f"--bind {host}: that interface has no address; bind to another, or to 0.0.0.0 for all")
        if is_of_one_link(hosts[0]) and not is_advertised:
            raise ConfigError(
                f"--bind {host}: that interface has no address but {hosts[0]}, which is of one link, and which other "
                "machines know by another name; give it another address, bind to :: for all, or say with --advertise "
                "what others reach it by"
            )
        return hosts[0]
    if host != "*":
        host = canonical_host(host)
    refuse_broadcast("--bind", host)
    if host in WILDCARD_HOSTS or is_number(host):
        return host
    try:
        return names.resolve(host, RESOLVE_S)[0]
    except OSError as error:
        raise ConfigError(
            f"--bind {host}: this machine has no interface of that name, and as a host name it does not resolve "
            f"({error}); write an address of this machine, or 0.0.0.0 for all"
        ) from error


def refuse_broadcast(option: str, host: str) -> None:
    """Raises ConfigError for the broadcast address of a network, which only a machine in it knows to be one."""
    if is_broadcast(canonical_host(host) if host != "*" else host):
        raise ConfigError(
            f"{option} {host} is the broadcast address of a network of this machine; write one of its own"
        )


def bindable_hosts(interface: str) -> list[str]:
    """The addresses of an interface that a socket can be bound to, those that other machines can use first. One of one
    link has its scope."""
    hosts = interface_hosts(interface)
    links = [host for host in hosts if is_of_one_link(host)]
    return [host for host in hosts if host not in links] + [f"{host.partition('%')[0]}%{interface}" for host in links]


class OwnAddresses:
    """``address``: the one that is announced; ``others``: where this node may be reached besides. ``bind_host``: what
    its socket is to be bound to."""

    def __init__(
        self, bind_host: str, port: int, advertise_host: str | None, names: Names, interface: str | None = None
    ) -> None:
        """``interface``: that an operator has named, and whose address ``bind_host`` is."""
        self.bind_host = bind_host
        self._interface = interface
        self._port = port
        self._advertised = None if advertise_host is None else canonical_host(advertise_host)
        self._names = names
        self._hosts = self._seen = reachable_hosts(bind_host)
        self._set()

    @property
    def is_watched(self) -> bool:
        """Whether the network decides where this node is, and not its operator."""
        return self.bind_host in WILDCARD_HOSTS or self._interface is not None

    @property
    def is_chosen(self) -> bool:
        """Whether nobody has said where others reach this node."""
        return self._advertised is None

    @property
    def port(self) -> int:
        return self._port

    @property
    def interface_hosts(self) -> tuple[str, ...]:
        """What the machine has at this moment, which may be loopback alone."""
        return self._seen

    @property
    def numbers(self) -> tuple[str, ...]:
        """What a record of discovery can hold: numbers alone. Of an advertised name, what it stands for here; what the
        machine has if that is not known, or is loopback, as many a machine finds its own name in its hosts file."""
        if self._advertised is None:
            return self._hosts
        hosts = self._names.hosts(self._advertised)
        return tuple(host for host in hosts if not is_loopback(host)) or self._hosts

    def look(self, towards: Iterable[str]) -> bool:
        """Choose anew. ``towards``: numbers of peers that are reached. True if address or others have changed."""
        if self._interface is not None:
            return self._follow(self._interface)
        if not self.is_watched:
            return False
        towards = sorted(filter(is_number, towards))
        self._seen = hosts = reachable_hosts(self.bind_host, towards)
        if hosts == (LOOPBACK_HOST,):
            return False
        current = self._hosts[0]
        routed = routed_hosts(towards)
        if current in hosts and (current in routed or not routed):
            hosts = (current, *(host for host in hosts if host != current))
        if hosts == self._hosts:
            return False
        before = self.address, self.others
        self._hosts = hosts
        self._set()
        return (self.address, self.others) != before

    def _follow(self, interface: str) -> bool:
        """Go to another address of the interface, if it has lost this one. It may have none for a while; and if it has
        one of one link alone, the other is about to come."""
        hosts = bindable_hosts(interface)
        if self.bind_host in hosts or not hosts or (is_of_one_link(hosts[0]) and self._advertised is None):
            return False
        before = self.address
        self.bind_host = hosts[0]
        self._hosts = self._seen = reachable_hosts(hosts[0])
        self._set()
        return self.address != before

    def _set(self) -> None:
        hosts = self._hosts if self._advertised is None else (self._advertised,)
        self.address, *others = [format_address(host, self._port) for host in hosts]
        self.others = tuple(others)
