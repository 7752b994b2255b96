"""A URL of RabbitMQ as pika reads it, with its options checked: pika would fail at some of them when it connects, and
ignore others, each time anew."""

from __future__ import annotations

import ast
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pika
from pika.tcp_socket_opts import set_sock_opts

from paceline.errors import ConfigError
from paceline_bridge.config import shown, spelled_out
from paceline_bridge.texts import said

TLS_FILES = ("ca_certs", "cafile", "certfile", "keyfile")
TLS_TRUST = ("ca_certs", "cafile", "ca_path", "capath", "ca_data", "cadata")
TLS_OPTIONS = (*TLS_TRUST, "certfile", "keyfile", "password", "ciphers", "server_hostname", "protocol")
TCP_OPTIONS = ("TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_KEEPCNT", "TCP_KEEPINTVL")


def parameters_of(url: str) -> Any:
    """How pika reads a checked URL. Raises ConfigError, which names the option and holds no password."""
    for name, value in parse_qsl(urlsplit(url).query):
        what = name
        try:
            if name == "ssl_options":
                what += _check_tls(ast.literal_eval(value))
            elif name == "tcp_options":
                _check_tcp(ast.literal_eval(value))
            pika.URLParameters(f"{urlsplit(url).scheme}://h/?{urlencode({name: value})}")
        except Exception as error:
            raise ConfigError(f"{shown(url)} has an option that can't be used: {what}: {said(error)}") from error
    try:
        return pika.URLParameters(spelled_out(url))
    except Exception as error:
        raise ConfigError(f"{shown(url)} has an option that can't be used: {said(error)}") from error


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
