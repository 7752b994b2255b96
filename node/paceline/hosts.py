"""What may stand for a host, in one spelling: a name, an IPv4 address, or an IPv6 address without brackets. An address
of a node is a host and a port.

Nothing here asks the network or the system, as the core uses it, too. What a name stands for is in ``names.py``.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from typing import Final

DEFAULT_PORT: Final = 7077
LOCALHOST: Final = "localhost"
BROADCAST_HOST: Final = "255.255.255.255"
LABEL_CHARS: Final = 63
NAME_CHARS: Final = 253
"""RFC 1035: of one part between dots, and of the whole, without a dot at the end."""

ADDRESSES_KEPT: Final = 4_096
"""Addresses that need not be read again. A node of a large cluster hears the same thousand many times a second."""

NOT_SHOWN: Final = "(not shown, as there may be a password in it)"

_NAME = re.compile(r"[a-z0-9_][a-z0-9._-]*")


@functools.lru_cache(ADDRESSES_KEPT)
def split_address(text: str) -> tuple[str, int]:
    """("host", port) of "host:port", "host" (port 7077), "[v6]:port" or "[v6]", the host in its one spelling. Raises
    ValueError, which says what is wrong."""
    problem = f"{named(text)} is not an address; write HOST, HOST:PORT or [IPV6]:PORT, as in node1:{DEFAULT_PORT}"
    text = text.strip()
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or ":" not in host or (rest and not rest.startswith(":")):
            raise ValueError(problem)
        port_text = rest[1:] if rest else str(DEFAULT_PORT)
    else:
        host, colon, port_text = text.partition(":")
        port_text = port_text if colon else str(DEFAULT_PORT)
    try:
        host = canonical_host(host)
    except ValueError as error:
        raise ValueError(f"{problem} ({error})") from None
    # isdecimal alone takes the digits of every script, and int only so many of them.
    if not (port_text.isascii() and port_text.isdecimal() and len(port_text) <= 5 and 1 <= int(port_text) <= 65535):
        raise ValueError(f"{problem} (the port is a number from 1 to 65535)")
    return host, int(port_text)


def canonical_host(text: str) -> str:
    """The host in its one spelling: a name in lower case and in ASCII (RFC 3490), an IPv6 address compressed, or as the
    IPv4 address that it stands for. Raises ValueError, which says what is wrong."""
    if ":" in text:
        return _canonical_ipv6(text)
    name = text.lower()
    if name == f"{LOCALHOST}.":
        return LOCALHOST
    if not name.isascii():
        try:
            name = name.encode("idna").decode()
        except UnicodeError as error:
            raise ValueError(f"it is no host name ({error})") from error
    if not _NAME.fullmatch(name):
        raise ValueError("it is no host name")
    labels = name.removesuffix(".").split(".")
    if len(name.removesuffix(".")) > NAME_CHARS or not all(0 < len(label) <= LABEL_CHARS for label in labels):
        raise ValueError(
            f"a host name has {NAME_CHARS} characters at most, and 1 to {LABEL_CHARS} between two of its dots"
        )
    if labels[-1].isdecimal() and not is_ipv4(name):
        _refuse_number(name)
    return name


def _refuse_number(name: str) -> None:
    """The system would take "10.1" and "7077" for IPv4 addresses, which nobody means who writes them."""
    if "." in name or _is_ipv4_in_one_number(name):
        raise ValueError("it is neither a host name nor an IPv4 address, which has four numbers up to 255")


def _is_ipv4_in_one_number(digits: str) -> bool:
    """As inet_aton(3) reads it: octal behind a 0, and 32 bits. Containers are called by more digits than that."""
    try:
        return int(digits, 8 if digits.startswith("0") else 10) < 1 << 32
    except ValueError:
        return False  # an 8 or a 9 behind a 0


def _canonical_ipv6(text: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise ValueError("it is no IPv6 address, which is written without brackets here, and without a port") from None
    return str(address.ipv4_mapped or address)


def is_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def is_number(host: str) -> bool:
    """Whether a host is an address already, so that nobody has to be asked what it stands for."""
    return ":" in host or is_ipv4(host)


def is_of_one_link(host: str) -> bool:
    """Whether an IPv6 address means something on one link of one machine alone: link-local, or with a scope."""
    return ":" in host and ("%" in host or ipaddress.IPv6Address(host).is_link_local)


def why_nobodys(host: str) -> str:
    """Why no machine is at an address, in words that follow "is"; "" if one may be. Of a host in its one spelling."""
    if not is_number(host):
        return ""
    address = ipaddress.ip_address(host)
    if address.is_multicast:
        return "a multicast address, which no machine has for itself"
    if host == BROADCAST_HOST:
        return "the broadcast address, which no machine has for itself"
    return ""


def short(text: str, limit_chars: int = 80) -> str:
    """As much of a text as fits into a message."""
    return repr(text if len(text) <= limit_chars else f"{text[:limit_chars]}...")


def named(text: str) -> str:
    """As :func:`short`. But what was written in the wrong place may be a URL, and is not shown with its password."""
    return NOT_SHOWN if "@" in text else short(text)
