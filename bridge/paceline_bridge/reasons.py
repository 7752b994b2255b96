"""RabbitMQ's errors in words for a person: what happened, and what to check."""

from __future__ import annotations

import math
import re
import socket
import ssl

import pika.exceptions
from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout


def reason_of(error: object) -> str:
    """The cause of an error, taken from the innermost of pika's exceptions."""
    error = _innermost(error)
    if isinstance(error, pika.exceptions.ProbableAuthenticationError):
        return "it refuses this user or password"
    if isinstance(error, pika.exceptions.ConnectionClosed | pika.exceptions.ChannelClosed):
        return f"{error.reply_text} ({error.reply_code})"
    if isinstance(error, pika.exceptions.StreamLostError):
        return "it was cut off"  # pika's own text is that of an exception within one
    if isinstance(error, pika.exceptions.AMQPHeartbeatTimeout):
        return "nothing was heard of RabbitMQ for too long"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return str(error) or type(error).__name__


def connect_reason_of(error: object, *, tls: bool, vhost: str) -> str:
    """Why a connection failed, and which part of the URL to check. ``tls``: whether the URL is amqps. ``vhost``: the
    vhost that the URL asks for."""
    inner = _innermost(error)
    if isinstance(inner, pika.exceptions.ProbableAccessDeniedError):
        # What RabbitMQ said is in there as the repr of another exception.
        said = re.search(r"\((\d+)\) (['\"])(.*)\2", str(inner))
        what = f"{said[3]} ({said[1]})" if said else "it ended the connection when it was asked for the vhost"
        if "limit" in what:
            return f"{what}; a bridge takes two connections: raise the limit, or end what holds them"
        return (
            f"{what}; the URL asks for the vhost {vhost!r}: is there one, and may this user use it? "
            "Without a path it is '/'"
        )
    if isinstance(inner, ConnectionRefusedError):
        return "nothing listens there; is RabbitMQ running, and is this its port? Usual are 5672 and, for amqps, 5671"
    if isinstance(inner, socket.gaierror):
        return f"{inner.strerror}; check the host in the URL"
    # pika closes an attempt itself that takes too long.
    if isinstance(inner, AMQPConnectorStackTimeout | TimeoutError | pika.exceptions.ConnectionOpenAborted):
        return "it does not answer in time; check host and port, and whether a firewall is between"
    if isinstance(inner, ssl.SSLCertVerificationError):
        return (
            f"certificate verify failed: {inner.verify_message}; "
            "say whom to trust with ?ssl_options={'ca_certs':'FILE'} in the URL"
        )
    # Before Connection.Start it is not known that the other end is RabbitMQ.
    is_stranger = isinstance(inner, pika.exceptions.StreamLostError | pika.exceptions.IncompatibleProtocolError)
    if tls and (is_stranger or isinstance(inner, ssl.SSLError | ConnectionError)):
        return (
            f"no TLS with what listens there ({reason_of(inner)}); is this its port for TLS, usually 5671? "
            "Without TLS write amqp://"
        )
    if is_stranger:
        return (
            "what listens there does not answer as RabbitMQ does; check the port, and write amqps:// "
            "if it is the one for TLS"
        )
    return reason_of(inner)


def consumer_reason_of(error: object) -> tuple[str, float]:
    """Why RabbitMQ has given up a consumer, and its ``consumer_timeout`` in seconds if that is why, as a message was
    kept for longer."""
    reason = reason_of(error)
    limit = re.search(r"delivery acknowledgement .* timed out.*Timeout value used: (\d+) ms", reason)
    if limit is None:
        return reason, math.inf
    limit_s = int(limit[1]) / 1e3
    advice = (
        f"; its consumer_timeout is {limit_s:g} s, which is shorter than the bridge keeps messages. From now on it "
        "acknowledges them earlier, and a reply may be lost with it: set 30 minutes or more"
    )
    return f"{reason}{advice}", limit_s


def _innermost(error: object) -> object:
    while isinstance(error, Exception):
        inner = getattr(error, "exceptions", None) or getattr(error, "exception", None) or error.args
        inner = inner[-1] if isinstance(inner, list | tuple) and inner else inner
        if not isinstance(inner, Exception):
            break
        error = inner
    return error
