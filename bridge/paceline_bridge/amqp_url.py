"""A URL of RabbitMQ as pika reads it, with its options checked: pika would fail at some of them when it connects, and
ignore others, each time anew. And no bridge can go on with all that pika takes, as with no heartbeat."""

from __future__ import annotations

import ast
import math
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pika
import pika.data
from pika.tcp_socket_opts import set_sock_opts

from paceline.errors import ConfigError
from paceline_bridge.config import shown, spelled_out
from paceline_bridge.texts import said

TLS_FILES = ("ca_certs", "cafile", "certfile", "keyfile")
TLS_TRUST = ("ca_certs", "cafile", "ca_path", "capath", "ca_data", "cadata")
TLS_OPTIONS = (*TLS_TRUST, "certfile", "keyfile", "password", "ciphers", "server_hostname", "protocol")
HEARTBEAT_MAX_S = 65_535  # it travels in 16 bits
TCP_OPTIONS = ("TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_KEEPCNT", "TCP_KEEPINTVL")


def parameters_of(url: str, **ours: Any) -> Any:
    """How pika reads a checked URL. ``ours``: options that count where the URL says nothing, of a map for each key.
    Raises ConfigError, which names the option and holds no password."""
    given = parse_qsl(urlsplit(url).query)
    for name, value in given:
        what = name
        try:
            if name == "ssl_options":
                what += _check_tls(ast.literal_eval(value))
            elif name == "tcp_options":
                _check_tcp(ast.literal_eval(value))
            read = pika.URLParameters(f"{urlsplit(url).scheme}://h/?{urlencode({name: value})}")
            _check_value(name, getattr(read, name))
        except Exception as error:
            raise ConfigError(f"{shown(url)} has an option that can't be used: {what}: {said(error)}") from error
    try:
        parameters = pika.URLParameters(spelled_out(url))
    except Exception as error:
        raise ConfigError(f"{shown(url)} has an option that can't be used: {said(error)}") from error
    for name, value in ours.items():
        if isinstance(value, dict):
            setattr(parameters, name, {**value, **(getattr(parameters, name) or {})})
        elif name not in dict(given):
            setattr(parameters, name, value)
    return parameters


def _check_value(name: str, value: Any) -> None:
    """What pika takes and fails at later, or a bridge can't do with. Raises ValueError."""
    if name == "heartbeat" and not 1 <= value <= HEARTBEAT_MAX_S:
        raise ValueError(
            f"it is {value}; write 1 to {HEARTBEAT_MAX_S} seconds, as without a heartbeat the bridge would not notice "
            "that RabbitMQ is gone"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"it is {value}; write seconds")
    if name == "client_properties" and value is not None:
        _check_properties(value)


def _check_properties(properties: Mapping[Any, Any]) -> None:
    """Raises ValueError."""
    if "capabilities" in properties:
        raise ValueError("capabilities are the client library's own; leave them out")
    try:
        pika.data.encode_table([], dict(properties))
    except Exception:  # noqa: BLE001 - of many kinds, with pieces of what was written before
        raise ValueError("it can't be sent; write texts and numbers") from None


def _check_tls(options: object) -> str:
    """The files that it names, for an error of ssl, which names none. Raises ValueError."""
    if options is None:
        return ""
    if not isinstance(options, Mapping):
        raise ValueError("it is a map, as {'ca_certs':'/etc/ssl/rabbit.pem'}")
    for name in options:
        if name not in TLS_OPTIONS:
            raise ValueError(f"it knows no {name!r}; write one of {', '.join(TLS_OPTIONS)}")
    for name in TLS_FILES:
        if options.get(name) is not None:
            try:
                open(options[name], "rb").close()
            except OSError as error:
                raise ValueError(f"{name} is {options[name]}, which can't be read: {error.strerror}") from None
    if not any(options.get(name) for name in TLS_TRUST):
        raise ValueError("it says nobody to trust; write {'ca_certs':'FILE'}")
    return f" with {', '.join(str(options[name]) for name in TLS_FILES if options.get(name) is not None)}"


def _check_tcp(options: object) -> None:
    """Raises ValueError, or what the system says of a value."""
    if options is None:
        return
    if not isinstance(options, Mapping):
        raise ValueError("it is a map, as {'TCP_KEEPIDLE':60}")
    for name, value in options.items():
        if name not in TCP_OPTIONS:
            raise ValueError(f"it knows no {name!r}; write one of {', '.join(TCP_OPTIONS)}")
        if type(value) is not int or value < 0:
            raise ValueError(f"{name} is {value!r}; write a whole number")
    with socket.socket() as tried:
        set_sock_opts(dict(options), tried)
